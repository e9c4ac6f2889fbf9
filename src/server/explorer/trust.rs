//! The log's own keys, witnesses and publishers, for readers who bring no trust of their own.

use crate::checkpoint::policy::Policy;
use crate::endpoint::TrustFile;
use crate::format::FormatError;
use crate::note::NoteKey;
use crate::release::Publishers;

/// The trust file of a log's own word. Its number is always 1: only a vendor counts.
///
/// # Errors
/// [`FormatError`] if it would be too large.
pub fn trust_file(policy: &Policy, publishers: &Publishers) -> Result<Vec<u8>, FormatError> {
    Ok(TrustFile::new(1, policy, publishers.clone(), Vec::new())?.to_bytes())
}

/// The policy of a log without witnesses: the signature of either key is enough.
pub fn own_policy(keys: &[NoteKey]) -> Policy {
    let lines: String = keys.iter().map(|key| format!("log {key}\n")).collect();
    Policy::parse(format!("{lines}quorum none\n").as_bytes()).expect("the keys of one log are a policy")
}
