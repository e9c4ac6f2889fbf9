//! Timestamped Ed25519 cosignatures (0x04): c2sp.org/tlog-cosignature.
//!
//! ```text
//! signature line   8-byte big-endian POSIX time || 64-byte Ed25519 signature
//! signed message   cosignature/v1
//!                  time <decimal>
//!                  <the checkpoint's text>
//! ```

use crate::note::{Note, NoteKey, NoteSignature, NoteSigner, SignatureType, ed25519_verify};

/// Largest timestamp: "It MUST NOT exceed 2^63 - 1".
const MAX_TIMESTAMP: u64 = i64::MAX as u64;

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Time at which `key` cosigned `text`; `None` unless it did.
pub(crate) fn verify(key: &NoteKey, text: &str, signature: &[u8]) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    let known = key.kind() == SignatureType::CosignatureEd25519 && time <= MAX_TIMESTAMP;
    (known && ed25519_verify(key.public_key(), message(time, text).as_bytes(), signature)).then_some(time)
}

/// Cosigns a checkpoint's text as of `time`, a POSIX time in seconds.
///
/// # Panics
/// If the signer is not a witness key (a log's key must never sign a cosignature), or `time` is over
/// 2^63 - 1.
#[must_use]
pub fn cosign(note: &Note, signer: &NoteSigner, time: u64) -> NoteSignature {
    let key = signer.public();
    assert_eq!(key.kind(), SignatureType::CosignatureEd25519, "only witness keys cosign");
    assert!(time <= MAX_TIMESTAMP, "cosignature times are below 2^63");
    let signature = signer.sign_bytes(message(time, note.text()).as_bytes());
    NoteSignature::new(key.name().clone(), key.id(), [time.to_be_bytes().as_slice(), &signature].concat())
}

#[cfg(test)]
mod tests;
