//! Parses, verifies and prints notes.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{KeyId, KeyName, NoteKey, NoteSigner, SignatureType};
use crate::format::{
    FormatError, base64_decode, base64_decode_any_bits, base64_encode, cap, cap_count, checked_text,
    error_codes, quote, shown, utf8,
};

/// Largest note, in bytes: 64 ML-DSA-44 signatures and the text fit.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;
/// Most signatures in a note. The specification demands that 16 be accepted.
pub const MAX_NOTE_SIGNATURES: usize = 64;

/// A signature line begins with an em dash and a space.
const SIGNATURE_PREFIX: &str = "— ";

/// A note that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum NoteError {
    /// The note is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A signature names a trusted key, but is not valid.
    #[error("the signature by {name}+{id} is not valid: the text or the signature was changed")]
    BadSignature { name: KeyName, id: KeyId },
    /// No signature names a trusted key.
    #[error("no trusted key signed this note: expected {expected}, saw {seen}")]
    Unsigned { expected: String, seen: String },
}

error_codes! { NoteCode of NoteError {
    Self::Format(_) => Malformed = 200, "note-malformed";
    Self::BadSignature { .. } => BadSignature = 201, "bad-signature";
    Self::Unsigned { .. } => Unsigned = 202, "unsigned";
}}

/// Longest key name in a message, in characters.
const SHOWN_CHARS: usize = 80;

/// The key name in a signature line: "non-empty", without "Unicode spaces or plus". The specification asks no more of
/// an unknown key's name; a [`KeyName`] is stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineName(String);

checked_text!(LineName);

impl LineName {
    fn new(name: &str) -> Result<Self, FormatError> {
        if name.is_empty() || name.contains('+') || name.contains(char::is_whitespace) {
            let expected = "a name without spaces or plus signs";
            return Err(FormatError::malformed("a key name", expected, quote(name)));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name for a message: shortened, and with hidden characters escaped.
    #[must_use]
    pub fn shown(&self) -> String {
        let tail = if self.0.chars().nth(SHOWN_CHARS).is_some() { "…" } else { "" };
        shown(&self.0.chars().take(SHOWN_CHARS).collect::<String>()) + tail
    }
}

impl From<KeyName> for LineName {
    fn from(name: KeyName) -> Self {
        Self(name.as_str().to_owned())
    }
}

/// A signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: LineName,
    id: KeyId,
    /// The signature after the key ID, in the encoding of its type. Empty if the line is `odd`.
    bytes: Vec<u8>,
    /// The base64 of a line, if it is not canonical. An unknown key's line is ignored and may be so; a known key's line
    /// then counts as having no signature, so that no signature has two spellings.
    odd: Option<Box<str>>,
}

impl NoteSignature {
    /// Makes a signature line from a signature made elsewhere.
    #[must_use]
    pub fn new(name: impl Into<LineName>, id: KeyId, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), id, bytes, odd: None }
    }

    /// The key name in the line. It proves nothing.
    #[must_use]
    pub const fn name(&self) -> &LineName {
        &self.name
    }

    /// The key ID in the line. It proves nothing.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The signature, without the key ID.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tells whether the line names `key`, whether or not its signature is valid.
    #[must_use]
    pub fn names(&self, key: &NoteKey) -> bool {
        self.name.as_str() == key.name().as_str() && self.id == key.id()
    }

    /// The key that the line names, for a message: `name+id`.
    #[must_use]
    pub fn key_shown(&self) -> String {
        format!("{}+{}", self.name.shown(), self.id)
    }

    /// The type that a signature of this length probably has, in words: only the key would tell for sure.
    #[must_use]
    pub const fn type_shown(&self) -> &'static str {
        match self.bytes.len() {
            64 => SignatureType::Ed25519.as_str(),
            72 => SignatureType::CosignatureEd25519.as_str(),
            2_428 => SignatureType::CosignatureMlDsa44.as_str(),
            _ => "unknown",
        }
    }

    /// Parses a line, without its newline. c2sp.org/signed-note demands a key name without spaces or plus signs and
    /// "the base64 encoding of 4+n bytes", whoever signed: anything else is malformed.
    fn parse(line: &str) -> Result<Self, FormatError> {
        let wrong = || {
            let expected = "a signature line: — <key name> base64(key ID || signature)";
            FormatError::malformed("a signed note", expected, quote(line))
        };
        let (name, signature) =
            line.strip_prefix(SIGNATURE_PREFIX).and_then(|l| l.split_once(' ')).ok_or_else(wrong)?;
        let name = LineName::new(name)?;
        let (mut bytes, odd) = match base64_decode(signature) {
            Some(bytes) => (bytes, None),
            None => (base64_decode_any_bits(signature).ok_or_else(wrong)?, Some(signature.into())),
        };
        let id = KeyId(*bytes.first_chunk().ok_or_else(wrong)?);
        bytes.drain(..if odd.is_none() { id.0.len() } else { bytes.len() });
        Ok(Self { name, id, bytes, odd })
    }

    /// Parses 1 to [`MAX_NOTE_SIGNATURES`] lines of `what`, the first of which has this number.
    pub(crate) fn parse_all(what: &'static str, text: &str, first: usize) -> Result<Vec<Self>, FormatError> {
        let lines = text.strip_suffix('\n').ok_or_else(|| {
            FormatError::malformed(what, "a signature line that ends in a newline", quote(text))
        })?;
        cap_count(what, "signatures", lines.matches('\n').count() + 1, MAX_NOTE_SIGNATURES)?;
        let parse = |(at, line)| Self::parse(line).map_err(|e| e.at_line(first + at));
        lines.split('\n').enumerate().map(parse).collect()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = || base64_encode(&[self.id.0.as_slice(), &self.bytes].concat());
        let encoded = self.odd.as_deref().map_or_else(ours, str::to_owned);
        writeln!(f, "{SIGNATURE_PREFIX}{} {encoded}", self.name)
    }
}

/// A well-formed note whose signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    /// Shared by clones, because every verdict keeps its head, and 9 signatures with ML-DSA-44 are 13 kB of it.
    signatures: Arc<Vec<NoteSignature>>,
}

impl Note {
    const WHAT: &str = "a signed note";

    /// Parses a note.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the format shown above, in valid UTF-8 without control
    /// characters, within [`MAX_NOTE_BYTES`] and [`MAX_NOTE_SIGNATURES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_NOTE_BYTES)?;
        Self::parse_text(utf8(Self::WHAT, bytes)?)
    }

    /// Like [`parse`](Self::parse), for text that is known to be UTF-8.
    pub(crate) fn parse_text(note: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, note.len(), MAX_NOTE_BYTES)?;
        if let Some(at) = control_in(note.as_bytes()) {
            let (line, seen) =
                (note[..at].matches('\n').count() + 1, format!("byte {:#04x}", note.as_bytes()[at]));
            let wrong = FormatError::malformed(Self::WHAT, "no control character but the newline", seen);
            return Err(wrong.at_line(line));
        }
        // The text is separated from the signatures by the last empty line.
        // Signature lines are long: to look for newlines alone is faster than `rfind`.
        let mut newlines = note.rmatch_indices('\n').map(|(at, _)| at);
        let empty_line = newlines.find(|at| note.as_bytes().get(at + 1) == Some(&b'\n'));
        let split = empty_line.ok_or_else(|| {
            FormatError::malformed(Self::WHAT, "an empty line between text and signatures", "none")
        })?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let first_line = text.matches('\n').count() + 2;
        let signatures = Arc::new(NoteSignature::parse_all(Self::WHAT, signatures, first_line)?);
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Signs `text`, which must be valid as the text of a note and end in a newline.
    ///
    /// # Panics
    /// On text that [`Note::parse`] would reject, and on a key that is not a log's Ed25519 key.
    #[must_use]
    pub fn sign(text: String, signers: &[&NoteSigner]) -> Self {
        let sign = |signer: &&NoteSigner| {
            let key = signer.public();
            assert_eq!(key.kind(), SignatureType::Ed25519, "witness keys sign cosignatures, not notes");
            NoteSignature::new(key.name().clone(), key.id(), signer.sign_bytes(text.as_bytes()))
        };
        let note = Self { signatures: Arc::new(signers.iter().map(sign).collect()), text };
        assert_eq!(Self::parse(note.to_string().as_bytes()).as_ref(), Ok(&note), "a note that reads back");
        note
    }

    /// Makes a note without signatures, to which the caller [adds](Self::push) those made elsewhere.
    #[must_use]
    pub fn unsigned(text: String) -> Self {
        Self { text, signatures: Arc::default() }
    }

    /// The signed text, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note with only the signature lines that name one of `keys`. After [`verify`](Self::verify) with the same
    /// keys, these are the verified ones.
    #[must_use]
    pub fn signed_only_by(&self, keys: &[NoteKey]) -> Self {
        let named = |signature: &&NoteSignature| keys.iter().any(|key| signature.names(key));
        let signatures = self.signatures.iter().filter(named).cloned().collect();
        Self { text: self.text.clone(), signatures: Arc::new(signatures) }
    }

    /// Adds a signature line at the end.
    pub fn push(&mut self, signature: NoteSignature) {
        Arc::make_mut(&mut self.signatures).push(signature);
    }

    /// Like [`verify`](Self::verify), with a function that verifies a key's signature over the text.
    pub(crate) fn verify_by(
        self,
        keys: &[NoteKey],
        mut valid: impl FnMut(&NoteKey, &str, &[u8]) -> bool,
    ) -> Result<VerifiedNote, NoteError> {
        let mut signers: Vec<NoteKey> = Vec::new();
        for (at, signature) in self.signatures.iter().enumerate() {
            // Signatures by unknown keys are ignored, even if they share a name or an ID.
            let Some(key) = keys.iter().find(|key| signature.names(key)) else { continue };
            // Skip copies of a line that is already verified: they cost a stranger nothing, but verifying them is slow.
            if self.signatures[..at].contains(signature) {
                continue;
            }
            if !valid(key, &self.text, &signature.bytes) {
                return Err(NoteError::BadSignature { name: key.name().clone(), id: key.id() });
            }
            if !signers.contains(key) {
                signers.push(key.clone());
            }
        }
        if signers.is_empty() {
            let list = |keys: Vec<String>| if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            return Err(NoteError::Unsigned {
                expected: list(keys.iter().map(|k| format!("{}+{}", k.name(), k.id())).collect()),
                seen: list(self.signatures.iter().map(|s| format!("{}+{}", s.name.shown(), s.id)).collect()),
            });
        }
        Ok(VerifiedNote { note: self, signers })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)
    }
}

/// A note that a trusted key signed. Only [`Note::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedNote {
    note: Note,
    signers: Vec<NoteKey>,
}

impl VerifiedNote {
    /// The note.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The note, as one that counts as unverified again.
    #[must_use]
    pub fn into_note(self) -> Note {
        self.note
    }

    /// The note and the trusted keys that signed it.
    pub(crate) fn into_parts(self) -> (Note, Vec<NoteKey>) {
        (self.note, self.signers)
    }

    /// The trusted keys that signed it, each once, at least one.
    #[must_use]
    pub fn signers(&self) -> &[NoteKey] {
        &self.signers
    }
}

/// The place of a control character other than the newline. Signature lines are long, so this looks at eight bytes at once.
fn control_in(note: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::MAX / 255;
    let is_control = |b: &u8| *b < 0x20 && *b != b'\n';
    let (words, rest) = note.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let bytes = u64::from_le_bytes(*word);
        // Not 0 if a byte is below 0x20, newlines included.
        if bytes.wrapping_sub(EACH * 0x20) & !bytes & (EACH * 0x80) != 0
            && let Some(place) = word.iter().position(is_control)
        {
            return Some(8 * at + place);
        }
    }
    rest.iter().position(is_control).map(|place| 8 * words.len() + place)
}
