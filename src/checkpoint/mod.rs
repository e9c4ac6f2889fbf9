//! Tree heads: c2sp.org/tlog-checkpoint.
//!
//! ```text
//! <origin>
//! <tree size, decimal>
//! <root hash, base64>
//! <extension lines, optional, not empty>
//! ```

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::format::{FormatError, cap, cap_count, error_codes, quote, utf8};
use crate::merkle::{Hash, TreeSize};
use crate::note::{Note, NoteError, NoteKey, NoteSigner, SignatureType};
pub use origin::{LogKey, Origin, SignsFor, origin_hash};
pub use signer::LogSigner;

pub mod cosignature;
mod origin;
pub mod policy;
mod signer;

/// Largest checkpoint text: an origin, two short lines, and room for extensions.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Most lines of a checkpoint: thousands of short ones would cost many times their size.
const MAX_LINES: usize = 256;

/// Most trusted origins that an error lists.
const MAX_NAMED_LOGS: usize = 8;

/// A tree head, as its text states it. It does not tell who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity of the log.
    pub origin: Origin,
    /// Number of leaves.
    pub size: TreeSize,
    /// Merkle tree hash over them.
    pub root: Hash,
    /// Opaque lines after the third; none is empty. This log writes none.
    pub extensions: Vec<String>,
}

/// A checkpoint that is not accepted as a trusted log's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text is not a checkpoint.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The log's key did not sign the note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// None of the log's signatures covers the extension lines.
    #[error(
        "nobody signed the extension lines: expected an Ed25519 signature by {origin}, saw ML-DSA-44 alone, which does not cover them; trust the log's Ed25519 key too, and send the checkpoint with both signatures"
    )]
    UnsignedExtensions {
        /// The log.
        origin: Origin,
    },
    /// The checkpoint names a log that is not trusted.
    #[error("the checkpoint is of another log: expected origin {expected}, saw {seen}")]
    WrongOrigin {
        /// The origin that is trusted.
        expected: String,
        /// The origin in the text.
        seen: String,
    },
}

error_codes! { CheckpointCode of CheckpointError {
    Self::Format(_) => Malformed = 300, "checkpoint-malformed";
    Self::Note(_) | Self::UnsignedExtensions { .. } => Signature = 301, "checkpoint-signature";
    Self::WrongOrigin { .. } => UnknownLog = 302, "unknown-log";
}}

impl Checkpoint {
    const WHAT: &str = "a checkpoint";

    /// Makes a head without extension lines.
    #[must_use]
    pub fn new(origin: impl Into<Origin>, size: TreeSize, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// Parses the text of a note.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the lines drawn above.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_TEXT_BYTES)?;
        let wrong = |line, expected: &str, seen: &str| {
            FormatError::malformed(Self::WHAT, expected, quote(seen)).at_line(line)
        };
        let body = text
            .strip_suffix('\n')
            .ok_or_else(|| FormatError::malformed(Self::WHAT, "a final newline", quote(text)))?;
        cap_count(Self::WHAT, "lines", body.matches('\n').count() + 1, MAX_LINES)?;
        let lines: Vec<&str> = body.split('\n').collect();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            let expected = "at least three lines: origin, tree size, root hash";
            return Err(FormatError::malformed(Self::WHAT, expected, format!("{}", lines.len())));
        };
        if let Some(at) = lines.iter().position(|line| line.is_empty()) {
            return Err(wrong(at + 1, "a line that is not empty", ""));
        }
        Ok(Self {
            origin: Origin::new(origin).map_err(|e| e.at_line(1))?,
            size: TreeSize::parse(size)
                .ok_or_else(|| wrong(2, "a decimal tree size below 2^63 without leading zeros", size))?,
            root: Hash::from_base64(root).map_err(|e| e.at_line(3))?,
            extensions: extensions.iter().map(|&line| line.to_owned()).collect(),
        })
    }

    /// Signs the head as the log, with Ed25519 alone; [`LogSigner`] signs with both algorithms. [`open`] reads it back.
    ///
    /// # Panics
    /// If the signer is a witness's or another origin's: a log signs only its own heads.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> Note {
        assert_eq!(*signer.public().name(), self.origin, "a log signs under its own origin");
        Note::sign(self.to_string(), &[signer])
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Something that a trusted log signed. Only [`open_note`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSigned<T> {
    inner: T,
    /// The log's keys that signed it.
    keys: Vec<NoteKey>,
    note: Note,
}

impl<T> LogSigned<T> {
    /// The signed value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.inner
    }

    /// The note that carries it, with all its signature lines, verified or not.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The signed value and the note that carries it.
    pub(crate) fn into_parts(self) -> (T, Note) {
        (self.inner, self.note)
    }

    /// Positions of the verified signature lines, which are the log's.
    pub(crate) fn verified_lines(&self) -> Vec<usize> {
        let lines = self.note.signatures().iter().enumerate();
        let checked = lines.filter(|(_, line)| self.keys.iter().any(|key| line.names(key)));
        checked.map(|(at, _)| at).collect()
    }

    /// The note with only the verified signature lines, which are the log's.
    #[must_use]
    pub fn verified_note(&self) -> Note {
        self.note.signed_only_by(&self.keys)
    }
}

/// Parses a checkpoint and checks that one of `logs` signed it, under the origin for which its key is trusted.
///
/// # Errors
/// [`CheckpointError`] for the first step that fails.
pub fn open(bytes: &[u8], logs: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, CheckpointError> {
    open_note(Note::parse(bytes)?, logs)
}

/// Like [`open`], for a note that is already parsed.
///
/// # Errors
/// As [`open`].
pub fn open_note(note: Note, logs: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, CheckpointError> {
    // The origin only selects the keys to try; nothing in the note is trusted before one of them verifies it.
    let origin = note.text().split('\n').next().unwrap_or_default();
    let keys: Vec<NoteKey> = logs
        .iter()
        .filter(|log| log.origin() == origin && signs_for_logs(log.key().kind()))
        .map(|log| log.key().clone())
        .collect();
    if keys.is_empty() {
        let mut expected: Vec<&str> = logs.iter().map(SignsFor::origin).collect();
        expected.dedup();
        // A witness may trust thousands of logs.
        if expected.len() > MAX_NAMED_LOGS {
            expected.truncate(MAX_NAMED_LOGS);
            expected.push("another one that is trusted");
        }
        let expected = if expected.is_empty() { "none is trusted".to_owned() } else { expected.join(" or ") };
        return Err(CheckpointError::WrongOrigin { expected, seen: quote(origin) });
    }
    let checkpoint = Checkpoint::parse(note.text());
    let (note, keys) = note.verify_head(&keys, checkpoint.as_ref().ok())?.into_parts();
    let checkpoint = checkpoint?;
    // c2sp.org/tlog-cosignature: an ML-DSA-44 signature covers origin, size and root, but no extension lines.
    let covers_all = |key: &NoteKey| key.kind() == SignatureType::Ed25519;
    if !checkpoint.extensions.is_empty() && !keys.iter().any(covers_all) {
        return Err(CheckpointError::UnsignedExtensions { origin: checkpoint.origin });
    }
    Ok(LogSigned { inner: checkpoint, keys, note })
}

/// Tells whether logs sign with keys of this type: Ed25519 (0x01) or, as c2sp.org/tlog-checkpoint recommends,
/// ML-DSA-44 (0x06).
#[must_use]
pub const fn signs_for_logs(kind: SignatureType) -> bool {
    matches!(kind, SignatureType::Ed25519 | SignatureType::CosignatureMlDsa44)
}

/// Parses a checkpoint without verifying any signature, to show what a file claims.
///
/// # Errors
/// [`FormatError`] if it is not a checkpoint.
pub fn read_unverified(bytes: &[u8]) -> Result<(Checkpoint, Note), FormatError> {
    utf8(Checkpoint::WHAT, bytes)?;
    let note = Note::parse(bytes)?;
    Ok((Checkpoint::parse(note.text())?, note))
}

#[cfg(test)]
mod tests;
