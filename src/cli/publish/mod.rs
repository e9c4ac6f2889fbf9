//! `treehead publish`: one release (`one.rs`) or many (`many.rs`).

pub mod args;
mod artifact;
mod many;
mod one;
mod proofs;
mod report;
mod sequence;

use args::Publish;

use super::connection::Connection;
use super::exit::{CliResult, Failure};
use super::files;
use super::output::say;
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::checkpoint::{self, Checkpoint, LogKey};
use crate::client::ClientError;
use crate::endpoint::Refusal;
use crate::format::shown;
use crate::merkle::{Hash, verify_inclusion};
use crate::proof::ProofFile;
use crate::release::{Envelope, PublisherSigner, Release};

/// Added to errors before anything is sent.
const NOT_SENT: &str = "nothing was sent to the log";

pub fn run(args: &Publish, json: bool) -> CliResult {
    let key = files::read_secret(&args.key)?;
    let signer = PublisherSigner::from_pem(&key).map_err(|e| Failure::file(&args.key, &e))?;
    match &args.from {
        Some(from) => many::publish(args, from, &signer, json),
        None => one::publish(args, &signer, json),
    }
}

/// Signs a statement into an entry.
pub fn sign(release: &Release, signer: &PublisherSigner) -> Result<Vec<u8>, Failure> {
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let envelope = Envelope::sign(payload, &[signer]).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(envelope.to_entry())
}

/// Checks that a proof is for the entry that was sent, or for the same statement already in the log, signed
/// with another key or spelled differently. Returns the leaf hash of the proven entry.
pub fn check(proof: &ProofFile, entry: &[u8], logs: Option<&[LogKey]>) -> Result<Hash, Failure> {
    let head = open_head(proof.checkpoint.to_string().as_bytes(), logs)?;
    let proven = proof.extra.as_deref().unwrap_or_default();
    if !states_the_same(proven, entry) {
        let message = "the log answered with a proof of a different statement from the one sent";
        return Err(Failure::refused("wrong-entry", message, "Tell the log's operator."));
    }
    let leaf = Hash::leaf(proven);
    verify_inclusion(proof.index, head.size, &leaf, &proof.proof, &head.root).map_err(ClientError::from)?;
    Ok(leaf)
}

fn states_the_same(proven: &[u8], sent: &[u8]) -> bool {
    let envelopes = (Envelope::parse_entry(proven), Envelope::parse_entry(sent));
    proven == sent || matches!(envelopes, (Ok(proven), Ok(sent)) if proven.states_the_same(&sent))
}

/// Without keys, the server is trusted.
fn open_head(note: &[u8], logs: Option<&[LogKey]>) -> Result<Checkpoint, Failure> {
    if let Some(logs) = logs {
        return Ok(checkpoint::open(note, logs).map_err(Refusal::Checkpoint)?.get().clone());
    }
    let read = checkpoint::read_unverified(note);
    let malformed = |e: crate::format::FormatError| {
        Failure::refused("checkpoint-malformed", e.to_string(), "Tell the log's operator.")
    };
    read.map(|(head, _)| head).map_err(malformed)
}

/// Origin of the log that answers. It goes into the statement, which no other log then accepts.
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

/// The keys of `--policy`, which must be this log's, and the origin to sign for; both are determined before
/// anything is appended.
fn target(args: &Publish, log: &Connection, json: bool) -> Result<(Option<Vec<LogKey>>, String), Failure> {
    let (keys, origin) = match &args.policy {
        None => (None, origin(log, None).map_err(|e| e.and(NOT_SENT))?),
        Some(path) => {
            let keys = files::parse(path, "a policy", MAX_POLICY_BYTES, Policy::parse)?.log_keys();
            let why = format!("the policy is {}; {NOT_SENT}", path.display());
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

/// Says so where the log has the statement without a signature of this key: it came there under another one first, and a
/// log has each statement once.
fn warn_of_another_signature(proof: &ProofFile, signer: &PublisherSigner) {
    let stored = proof.extra.as_deref().and_then(|entry| Envelope::parse_entry(entry).ok());
    if let Some(stored) = stored.filter(|stored| !signer.has_signed(stored)) {
        let keyids: Vec<String> = stored.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
        say(&format!(
            "warning: the log has this statement under another signature (keyid {}): endpoints that do not know that key will refuse it; use the next sequence number",
            keyids.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::merkle::{LeafIndex, TreeSize};
    use crate::release::tests::{publisher_signer, sample_release, signed_entry};
    use crate::store::conformance::signer;

    /// The proof of the only entry in a log.
    fn proof(entry: &[u8]) -> ProofFile {
        let (log, size) = (signer(), TreeSize::new(1).unwrap());
        let head = Checkpoint::new(log.public().name().clone(), size, Hash::leaf(entry)).sign(&log);
        let index = LeafIndex::new(0).unwrap();
        ProofFile { extra: Some(entry.to_vec()), index, proof: Vec::new(), checkpoint: head }
    }

    #[test]
    fn a_proof_is_of_what_was_sent_or_of_the_same_statement() {
        let entry = |content: &[u8], seed| signed_entry(&sample_release(content), &[&publisher_signer(seed)]);
        let sent = entry(b"x", 1);
        for stored in [entry(b"x", 1), entry(b"x", 2)] {
            assert_eq!(check(&proof(&stored), &sent, None).unwrap(), Hash::leaf(&stored));
        }
        for other in [entry(b"y", 1), b"junk".to_vec()] {
            let refused = check(&proof(&other), &sent, None).unwrap_err();
            assert!(matches!(refused, Failure::Refused { code, .. } if code == "wrong-entry"));
        }
        let without = ProofFile { extra: None, ..proof(&sent) };
        assert!(check(&without, &sent, None).is_err());
        // The same statement, and proven of another entry.
        let moved = ProofFile { extra: Some(entry(b"x", 2)), ..proof(&sent) };
        assert!(check(&moved, &sent, None).is_err());
    }
}
