//! The log that a release is signed for, and the statement that it gets.

use super::args::Publish;
use crate::checkpoint::LogKey;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::format::shown;
use crate::proof::ProofFile;
use crate::release::{Envelope, PublisherSigner, Release};

/// Added to errors before anything is sent.
pub const NOT_SENT: &str = "nothing was sent to the log";

/// Signs a statement into an entry.
pub fn sign(release: &Release, signer: &PublisherSigner) -> Result<Vec<u8>, Failure> {
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let envelope = Envelope::sign(payload, &[signer]).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(envelope.to_entry())
}

/// Asks for the origin of the log that answers. It goes into the statement, which no other log then accepts.
///
/// With the keys of a policy, one of them must have signed the log's tree head. Without, the server is trusted:
/// it might name another log, and submit the statement there. That log accepts it only as a genuine release of
/// this publisher. `--origin` says which log is meant.
fn origin(log: &Connection, logs: Option<&[LogKey]>) -> Result<String, Failure> {
    let head = log.ask("show its tree head", |client| match logs {
        Some(logs) => client.checkpoint(logs).map(|head| head.get().clone()),
        None => client.unverified_checkpoint(),
    })?;
    Ok(head.origin.to_string())
}

/// Determines the keys of `--policy`, which must be this log's, and the origin to sign for, before anything is appended.
pub fn target(
    args: &Publish,
    log: &Connection,
    json: bool,
) -> Result<(Option<Vec<LogKey>>, String), Failure> {
    let (keys, origin) = match args.trusted.policy()? {
        None => (None, origin(log, None).map_err(|e| e.and(NOT_SENT))?),
        Some(policy) => {
            let keys = policy.log_keys();
            let why = format!("the policy is {}; {NOT_SENT}", args.trusted.file().display());
            let origin = origin(log, Some(&keys)).map_err(|e| e.and(&why))?;
            (Some(keys), origin)
        }
    };
    if let Some(expected) = args.origin.as_ref().filter(|expected| **expected != origin) {
        let message = format!(
            "{} is the address of another log: expected origin {}, saw {}",
            log.url(),
            shown(expected),
            shown(&origin)
        );
        return Err(Failure::refused("other-log", message, "Nothing was signed or sent."));
    }
    if !json {
        say(&format!("for {}", shown(&origin)));
    }
    Ok((keys, origin))
}

/// Warns if the log has the statement without a signature of this key: it came there under another one first, and a log
/// has each statement once.
pub fn warn_of_another_signature(proof: &ProofFile, signer: &PublisherSigner) {
    let stored = proof.extra.as_deref().and_then(|entry| Envelope::parse_entry(entry).ok());
    if let Some(stored) = stored.filter(|stored| !signer.has_signed(stored)) {
        let keyids: Vec<String> = stored.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
        say(&format!(
            "warning: the log has this statement under another signature (keyid {}): endpoints that do not know that key will refuse it; use the next sequence number",
            keyids.join(", ")
        ));
    }
}
