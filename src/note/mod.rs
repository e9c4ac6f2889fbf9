//! Signed notes and their keys: c2sp.org/signed-note.
//!
//! ```text
//! <text: one or more lines, each ending in a newline>
//!                                                      <- the last empty line separates
//! — <key name> base64(4-byte key ID || signature)      <- one or more
//! ```

mod algorithm;
mod key;
mod ml_dsa_44;
mod signed;

pub(crate) use algorithm::PublicKey;
pub use algorithm::{ML_DSA_44_SIGNATURE_BYTES, ed25519_verify};
pub use key::{KeyId, KeyName, NoteKey, NoteSigner, SignatureType};
pub use ml_dsa_44::ML_DSA_44_PUBLIC_BYTES;
#[cfg(feature = "cli")]
pub(crate) use ml_dsa_44::SigningKey as MlDsa44Key;
pub use signed::{
    LineName, MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, Note, NoteCode, NoteError, NoteSignature, VerifiedNote,
};

#[cfg(test)]
mod tests;
