//! Signed notes and their keys: c2sp.org/signed-note.
//!
//! ```text
//! <text: one or more lines, each ending in a newline>
//!                                                      <- the last empty line separates
//! — <key name> base64(4-byte key ID || signature)      <- one or more
//! ```

mod key;
mod signed;

pub use key::{KeyId, KeyName, NoteKey, NoteSigner, SignatureType, ed25519_verify};
pub use signed::{MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, Note, NoteError, NoteSignature, VerifiedNote};

#[cfg(test)]
mod tests;
