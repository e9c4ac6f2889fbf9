//! The log that a release is signed for, and the statement that it gets.

use crate::checkpoint::LogKey;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::cli::signers;
use crate::cli::trusting::TrustedHeads;
use crate::format::shown;
use crate::proof::ProofFile;
use crate::release::{Envelope, PublicKey, Release};
use crate::signing::{Signers, has_signed};

/// Added to errors before anything is sent.
pub const NOT_SENT: &str = "nothing was sent to the log";

/// Signs a statement into an entry.
pub fn sign(release: &Release, signers: &Signers) -> Result<Vec<u8>, Failure> {
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(signers::sign(signers, payload)?.into_entry())
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

/// Determines the keys of `--policy`, which must be this log's, and the origin to sign for, before anything is appended;
/// the origin must be `--origin`'s, if there is one.
pub fn target(
    trusted: &TrustedHeads,
    origin_meant: Option<&str>,
    log: &Connection,
    json: bool,
) -> Result<(Option<Vec<LogKey>>, String), Failure> {
    let (keys, origin) = match trusted.policy()? {
        None => (None, origin(log, None).map_err(|e| e.and(NOT_SENT))?),
        Some(policy) => {
            let keys = policy.log_keys();
            let why = format!("the policy is {}; {NOT_SENT}", trusted.file().display());
            let origin = origin(log, Some(&keys)).map_err(|e| e.and(&why))?;
            (Some(keys), origin)
        }
    };
    if let Some(expected) = origin_meant.filter(|expected| *expected != origin) {
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

/// Warns if the log has the statement without a signature of one of the keys: it came there under another one first, or
/// the log does not know the key. A log has each statement once.
pub fn warn_of_another_signature<'a>(proof: &ProofFile, keys: impl IntoIterator<Item = &'a PublicKey>) {
    let stored = proof.extra.as_deref().and_then(|entry| Envelope::parse_entry(entry).ok());
    let Some(stored) = stored else { return };
    let (signed, missing): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| has_signed(key, &stored));
    if missing.is_empty() {
        return;
    }
    if signed.is_empty() {
        let keyids: Vec<String> = stored.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
        say(&format!(
            "warning: the log has this statement under another signature (keyid {}): endpoints that do not know that key will refuse it; use the next sequence number",
            keyids.join(", ")
        ));
        return;
    }
    let missing: Vec<String> = missing.iter().map(|key| key.keyid().to_hex()).collect();
    say(&format!(
        "warning: the log has this statement without the signature of key {}: either the log does not know that key, or the statement was there before; endpoints that ask for that signature will refuse it",
        missing.join(", ")
    ));
}
