//! The log that a checkpoint belongs to, and the keys that sign for it.

use alloc::borrow::ToOwned;
use alloc::string::String;

use crate::format::{FormatError, cap, checked_text, quote};
use crate::merkle::Hash;
use crate::note::{KeyName, NoteKey};

/// Longest origin in bytes: what a `cosigned_message` of c2sp.org/tlog-cosignature can hold.
const MAX_ORIGIN_BYTES: usize = 255;

/// The identity of a log: the first line of its checkpoints.
///
/// c2sp.org/tlog-checkpoint, "Note text": it "MUST be non-empty", and "clients MUST NOT assume that the
/// origin is following" the recommended form. It may contain spaces, and may differ from the name of the log's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

checked_text!(Origin);

impl Origin {
    /// Checks an origin.
    ///
    /// # Errors
    /// [`FormatError`] unless it is 1 to 255 bytes without control characters.
    pub fn new(origin: &str) -> Result<Self, FormatError> {
        cap("an origin", origin.len(), MAX_ORIGIN_BYTES)?;
        // c2sp.org/signed-note: no "ASCII control characters (those below U+0020) other than newline".
        if origin.is_empty() || origin.bytes().any(|byte| byte < 0x20) {
            let expected = "one line that is not empty and has no control characters";
            return Err(FormatError::malformed("an origin", expected, quote(origin)));
        }
        Ok(Self(origin.to_owned()))
    }
}

impl From<KeyName> for Origin {
    fn from(name: KeyName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl From<&KeyName> for Origin {
    fn from(name: &KeyName) -> Self {
        Self(name.as_str().to_owned())
    }
}

impl PartialEq<KeyName> for Origin {
    fn eq(&self, name: &KeyName) -> bool {
        self.0 == name.as_str()
    }
}

impl PartialEq<Origin> for KeyName {
    fn eq(&self, origin: &Origin) -> bool {
        origin == self
    }
}

/// SHA-256 of a log's origin, or of a witness's name: what file names, addresses and file heads have in its place.
#[must_use]
pub fn origin_hash(origin: &(impl AsRef<str> + ?Sized)) -> Hash {
    Hash::digest(origin.as_ref().as_bytes())
}

/// A key with the log whose checkpoints it is trusted to sign.
pub trait SignsFor {
    /// The log.
    fn origin(&self) -> &str;
    /// The key.
    fn key(&self) -> &NoteKey;
}

/// A key alone is trusted for the origin that is its name: "The log's key name in its signature line SHOULD match the
/// origin line".
impl SignsFor for NoteKey {
    fn origin(&self) -> &str {
        self.name().as_str()
    }

    fn key(&self) -> &NoteKey {
        self
    }
}

/// A log's key, whose name may differ from the log's origin: `sum.golang.org+033de0ae+...` signs for
/// `go.sum database tree`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    origin: Origin,
    key: NoteKey,
}

impl LogKey {
    /// Pairs a log with a key that is trusted for its checkpoints.
    #[must_use]
    pub fn new(origin: impl Into<Origin>, key: NoteKey) -> Self {
        Self { origin: origin.into(), key }
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &Origin {
        &self.origin
    }

    /// The key.
    #[must_use]
    pub const fn note_key(&self) -> &NoteKey {
        &self.key
    }
}

/// The origin is the key's name.
impl From<NoteKey> for LogKey {
    fn from(key: NoteKey) -> Self {
        Self { origin: key.name().into(), key }
    }
}

impl SignsFor for LogKey {
    fn origin(&self) -> &str {
        self.origin.as_str()
    }

    fn key(&self) -> &NoteKey {
        &self.key
    }
}
