//! Timestamped cosignatures, Ed25519 (0x04) and ML-DSA-44 (0x06): c2sp.org/tlog-cosignature.
//!
//! ```text
//! signature line     8-byte big-endian POSIX time || 64-byte Ed25519 or 2,420-byte ML-DSA-44 signature
//!
//! Ed25519 signs      cosignature/v1
//!                    time <decimal>
//!                    <the checkpoint's text>
//!
//! ML-DSA-44 signs    "subtree/v1\n\0"
//!                    1-byte length || cosigner's name
//!                    8-byte time
//!                    1-byte length || log's origin
//!                    8-byte start || 8-byte end || 32-byte root hash of leaves start..end
//! ```
//!
//! ML-DSA-44 does not sign a checkpoint's extension lines: "no statement is made about them".

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::checkpoint::{Checkpoint, Origin};
use crate::merkle::{HASH_BYTES, Hash};
use crate::note::{
    KeyName, Note, NoteError, NoteKey, NoteSignature, NoteSigner, SignatureType, VerifiedNote,
};

/// Largest timestamp: "It MUST NOT exceed 2^63 - 1".
const MAX_TIMESTAMP: u64 = i64::MAX as u64;
const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";

fn ed25519_message(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

fn ml_dsa_message(
    cosigner: &KeyName,
    time: u64,
    origin: &Origin,
    leaves: (u64, u64),
    hash: &Hash,
) -> Vec<u8> {
    let names = 2 + cosigner.as_str().len() + origin.as_str().len();
    let mut message = Vec::with_capacity(SUBTREE_LABEL.len() + names + 3 * 8 + HASH_BYTES);
    message.extend_from_slice(SUBTREE_LABEL);
    let push_name = |message: &mut Vec<u8>, name: &str| {
        message.push(u8::try_from(name.len()).expect("key names and origins are 1 to 255 bytes"));
        message.extend_from_slice(name.as_bytes());
    };
    push_name(&mut message, cosigner.as_str());
    message.extend_from_slice(&time.to_be_bytes());
    push_name(&mut message, origin.as_str());
    message.extend_from_slice(&leaves.0.to_be_bytes());
    message.extend_from_slice(&leaves.1.to_be_bytes());
    message.extend_from_slice(hash.as_bytes());
    message
}

fn split_time(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    (time <= MAX_TIMESTAMP).then_some((time, signature))
}

/// Returns the time at which `key` cosigned the checkpoint in `text`, or `None` if the signature is not valid. An
/// ML-DSA-44 cosigner may leave the time out, as zero; the checkpoint is consistent with all that it saw even then.
#[cfg(any(test, all(feature = "server", feature = "client")))]
pub(crate) fn verify(key: &NoteKey, text: &str, signature: &[u8]) -> Option<u64> {
    verify_head(key, (text, Checkpoint::parse(text).ok().as_ref()), signature)
}

/// Like [`verify`], for a text that is parsed already; `None` is for one that is not a checkpoint.
pub(crate) fn verify_head(
    key: &NoteKey,
    (text, head): (&str, Option<&Checkpoint>),
    signature: &[u8],
) -> Option<u64> {
    let (time, signature) = split_time(signature)?;
    let message = match key.kind() {
        SignatureType::Ed25519 => return None,
        SignatureType::CosignatureEd25519 => ed25519_message(time, text),
        SignatureType::CosignatureMlDsa44 => {
            let head = head?;
            ml_dsa_message(key.name(), time, &head.origin, (0, head.size.get()), &head.root)
        }
    };
    key.verifies(&message, signature).then_some(time)
}

impl Note {
    /// Verifies the note: at least one of `keys` signed it, and every signature that names one of `keys` is valid
    /// (c2sp.org/signed-note, "Signatures"). It is defined here because cosigner keys sign the checkpoint in the text,
    /// not the text itself.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] or [`NoteError::Unsigned`].
    pub fn verify(self, keys: &[NoteKey]) -> Result<VerifiedNote, NoteError> {
        let head = Checkpoint::parse(self.text()).ok();
        self.verify_head(keys, head.as_ref())
    }

    /// Like [`verify`](Self::verify), for a note whose text is parsed already; `None` is for one that is not a
    /// checkpoint.
    pub(crate) fn verify_head(
        self,
        keys: &[NoteKey],
        head: Option<&Checkpoint>,
    ) -> Result<VerifiedNote, NoteError> {
        self.verify_by(keys, |key, text, signature| match key.kind() {
            SignatureType::Ed25519 => key.verifies(text.as_bytes(), signature),
            SignatureType::CosignatureEd25519 | SignatureType::CosignatureMlDsa44 => {
                verify_head(key, (text, head), signature).is_some()
            }
        })
    }
}

/// Cosigns a tree head as of `time`, a POSIX time in seconds.
///
/// # Panics
/// If the signer is a log's Ed25519 key (which must never sign a cosignature), or `time` is over 2^63 - 1.
#[must_use]
pub fn cosign(head: &Checkpoint, signer: &NoteSigner, time: u64) -> NoteSignature {
    let message = match signer.public().kind() {
        SignatureType::Ed25519 => panic!("a log's Ed25519 key signs no cosignatures"),
        SignatureType::CosignatureEd25519 => ed25519_message(time, &head.to_string()),
        SignatureType::CosignatureMlDsa44 => {
            let leaves = (0, head.size.get());
            ml_dsa_message(signer.public().name(), time, &head.origin, leaves, &head.root)
        }
    };
    line(signer, time, &message)
}

fn line(signer: &NoteSigner, time: u64, message: &[u8]) -> NoteSignature {
    assert!(time <= MAX_TIMESTAMP, "cosignature times are below 2^63");
    let signature = [time.to_be_bytes().as_slice(), &signer.sign_bytes(message)].concat();
    NoteSignature::new(signer.public().name().clone(), signer.public().id(), signature)
}

/// Signs the subtree of leaves `start..end` of a log, whose root hash is `hash`. The signature says that the subtree
/// is consistent with all that the cosigner saw of the log, and leaves the time out.
///
/// # Panics
/// If the signer is not an ML-DSA-44 key: the Ed25519 format has no subtrees.
#[must_use]
pub fn cosign_subtree(
    origin: &Origin,
    (start, end): (u64, u64),
    hash: &Hash,
    signer: &NoteSigner,
) -> NoteSignature {
    assert_eq!(signer.public().kind(), SignatureType::CosignatureMlDsa44, "only ML-DSA-44 signs subtrees");
    line(signer, 0, &ml_dsa_message(signer.public().name(), 0, origin, (start, end), hash))
}

/// Returns true if `key` signed the subtree of leaves `start..end` of a log.
#[must_use]
pub fn verify_subtree(
    key: &NoteKey,
    origin: &Origin,
    (start, end): (u64, u64),
    hash: &Hash,
    signature: &[u8],
) -> bool {
    let Some((time, signature)) = split_time(signature) else { return false };
    // "If `start` is not zero, `timestamp` MUST be zero."
    (time == 0 || start == 0)
        && key.kind() == SignatureType::CosignatureMlDsa44
        && key.verifies(&ml_dsa_message(key.name(), time, origin, (start, end), hash), signature)
}

#[cfg(test)]
mod tests;
