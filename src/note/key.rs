//! Note keys, in the text form of Go's note package.
//!
//! ```text
//! vkey     <name>+<8 hex digits: key ID>+base64(type || public key: 32 bytes, or 1,312 of ML-DSA-44)
//! signer   PRIVATE+KEY+<name>+<8 hex digits: key ID>+base64(type || 32-byte seed)
//! key ID   SHA-256(name || 0x0A || type || public key)[:4]
//! ```

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::algorithm::{PublicKey, SecretKey};
use super::ml_dsa_44::SEED_BYTES;
use crate::format::{
    FormatError, base64_decode, base64_encode, cap, checked_text, file_text, has_space_or_control,
    hex_decode, quote,
};

/// Longest key name or origin: 255 bytes, what a `cosigned_message` can hold.
const MAX_NAME_BYTES: usize = 255;
/// Longest vkey or signer key, in bytes: an ML-DSA-44 key is 1,312 bytes, 1,752 in base64.
const MAX_KEY_TEXT: usize = 4_096;

/// Name of a key: 1 to 255 bytes without Unicode spaces, plus signs or control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

checked_text!(KeyName);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`FormatError`] unless it is 1 to 255 bytes without space, plus or control character.
    pub fn new(name: &str) -> Result<Self, FormatError> {
        cap("a key name", name.len(), MAX_NAME_BYTES)?;
        if name.is_empty() || name.contains('+') || has_space_or_control(name) {
            return Err(FormatError::malformed(
                "a key name",
                "a name such as example.com/log, without spaces, plus signs or control characters",
                quote(name),
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

/// First four bytes of the hash of a key and its name. It finds a key; it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The signature type of a key: c2sp.org/signed-note, "Signature types".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureType {
    /// `0x01`: Ed25519 over the note text. Logs sign with it.
    Ed25519,
    /// `0x04`: timestamped Ed25519 cosignature. Witnesses sign with it.
    CosignatureEd25519,
    /// `0x06`: timestamped ML-DSA-44 cosignature of a tree or subtree. Witnesses and logs sign with it.
    CosignatureMlDsa44,
}

impl SignatureType {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureEd25519 => 0x04,
            Self::CosignatureMlDsa44 => 0x06,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureEd25519),
            0x06 => Some(Self::CosignatureMlDsa44),
            _ => None,
        }
    }

    /// The name in words, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::CosignatureEd25519 => "Ed25519 cosignature",
            Self::CosignatureMlDsa44 => "ML-DSA-44 cosignature",
        }
    }
}

fn key_id(name: &KeyName, material: &[u8]) -> KeyId {
    let hash =
        Sha256::new().chain_update(name.as_str()).chain_update(b"\n").chain_update(material).finalize();
    KeyId([hash[0], hash[1], hash[2], hash[3]])
}

/// Splits `<name>+<id>+<base64>` and decodes its parts; the meaning of the key material is not checked.
fn parse_parts(what: &'static str, text: &str) -> Result<(KeyName, KeyId, Zeroizing<Vec<u8>>), FormatError> {
    // The text may be secret, so errors never quote it.
    let wrong = |expected: &str, seen: &str| FormatError::malformed(what, expected, seen);
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("<name>+<key ID>+<base64>", "fewer parts"));
    };
    let name = KeyName::new(name)?;
    let id = hex_decode(id)
        .map(KeyId)
        .ok_or_else(|| wrong("a key ID of 8 lower-case hex digits", "something else"))?;
    let material = base64_decode(material)
        .map(Zeroizing::new)
        .filter(|m| !m.is_empty())
        .ok_or_else(|| wrong("padded base64 after the key ID", "something else"))?;
    Ok((name, id, material))
}

fn parse_type(what: &'static str, byte: u8) -> Result<SignatureType, FormatError> {
    SignatureType::from_byte(byte).ok_or_else(|| {
        let expected =
            "signature type 0x01 (Ed25519), 0x04 (Ed25519 cosignature) or 0x06 (ML-DSA-44 cosignature)";
        FormatError::malformed(what, expected, format!("type {byte:#04x}"))
    })
}

/// A public key that checks signatures on notes: a *vkey*.
#[derive(Clone)]
pub struct NoteKey {
    name: KeyName,
    id: KeyId,
    kind: SignatureType,
    key: PublicKey,
}

impl NoteKey {
    const WHAT: &str = "a verifier key";

    /// Decodes the bytes that follow the type byte in a vkey.
    fn from_material(name: KeyName, kind: SignatureType, bytes: &[u8]) -> Result<Self, FormatError> {
        let key = match kind {
            SignatureType::Ed25519 | SignatureType::CosignatureEd25519 => {
                PublicKey::ed25519(Self::WHAT, bytes)
            }
            SignatureType::CosignatureMlDsa44 => PublicKey::ml_dsa_44(Self::WHAT, bytes),
        };
        Ok(Self::named(name, kind, key?))
    }

    fn named(name: KeyName, kind: SignatureType, key: PublicKey) -> Self {
        let mut named = Self { name, id: KeyId([0; 4]), kind, key };
        named.id = key_id(&named.name, &named.material());
        named
    }

    /// The key with its type byte before it.
    fn material(&self) -> Vec<u8> {
        [&[self.kind.byte()], self.key.to_bytes().as_slice()].concat()
    }

    fn check_id(&self, what: &'static str, id: KeyId) -> Result<(), FormatError> {
        if id == self.id {
            return Ok(());
        }
        let expected = format!("key ID {} for this name and key", self.id);
        Err(FormatError::malformed(what, expected, id.to_string()))
    }

    /// Parses a file of vkeys, one on each line. Empty lines and white space around a vkey are ignored.
    ///
    /// # Errors
    /// [`FormatError`], with the line of a malformed vkey; for a file without any.
    pub fn parse_lines(bytes: &[u8]) -> Result<Vec<Self>, FormatError> {
        const WHAT: &str = "a file of verifier keys";
        let lines = file_text(WHAT, bytes)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys = lines.map(|(at, line)| Self::parse(line.trim()).map_err(|e| e.at_line(at + 1)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(FormatError::malformed(WHAT, "at least one verifier key, one a line", "none"));
        }
        Ok(keys)
    }

    /// Parses a vkey, without a newline.
    ///
    /// # Errors
    /// [`FormatError`] for a malformed vkey, a key ID that does not match the key, an unknown signature type, or a weak
    /// key.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_KEY_TEXT)?;
        if text.starts_with("PRIVATE+KEY+") {
            let seen = "a signer key, which is secret: use the .vkey file beside it";
            return Err(FormatError::malformed(Self::WHAT, "a public key", seen));
        }
        let (name, id, material) = parse_parts(Self::WHAT, text)?;
        let kind = parse_type(Self::WHAT, material[0])?;
        let key = Self::from_material(name, kind, &material[1..])?;
        key.check_id(Self::WHAT, id)?;
        Ok(key)
    }

    /// The key's name; usually a log's origin or a witness's name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's ID.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key's signature type.
    #[must_use]
    pub const fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The bare public key: 32 bytes, or 1,312 of ML-DSA-44.
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        self.key.to_bytes()
    }

    /// Verifies a bare signature. The form of `message` depends on the signature type.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(message, signature)
    }
}

/// Compares the keys themselves: an ID is only four bytes of a hash.
impl PartialEq for NoteKey {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.kind, &self.name) == (other.id, other.kind, &other.name) && self.key == other.key
    }
}

impl Eq for NoteKey {}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({}+{}, {})", self.name, self.id, self.kind.as_str())
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, base64_encode(&self.material()))
    }
}

/// A secret key that signs notes. It is zeroized on drop, and `Debug` shows nothing secret.
pub struct NoteSigner {
    public: NoteKey,
    key: SecretKey,
}

impl NoteSigner {
    const WHAT: &str = "a signer key";

    /// Makes a signer from a seed, which must come from the operating system's random source.
    #[must_use]
    pub fn from_seed(name: KeyName, kind: SignatureType, seed: &[u8; SEED_BYTES]) -> Self {
        let key = match kind {
            SignatureType::Ed25519 | SignatureType::CosignatureEd25519 => SecretKey::ed25519(seed),
            SignatureType::CosignatureMlDsa44 => SecretKey::ml_dsa_44(seed),
        };
        Self { public: NoteKey::named(name, kind, key.public()), key }
    }

    /// Parses a signer key, without a newline.
    ///
    /// # Errors
    /// [`FormatError`], which never quotes the key.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_KEY_TEXT)?;
        let rest = text.strip_prefix("PRIVATE+KEY+").ok_or_else(|| {
            FormatError::malformed(Self::WHAT, "a line that starts with PRIVATE+KEY+", "something else")
        })?;
        let (name, id, material) = parse_parts(Self::WHAT, rest)?;
        let kind = parse_type(Self::WHAT, material[0])?;
        let seed: Zeroizing<[u8; SEED_BYTES]> = Zeroizing::new(material[1..].try_into().map_err(|_| {
            let seen = format!("{} bytes", material.len() - 1);
            FormatError::malformed(Self::WHAT, "a 32-byte seed", seen)
        })?);
        let signer = Self::from_seed(name, kind, &seed);
        signer.public.check_id(Self::WHAT, id)?;
        Ok(signer)
    }

    /// The text form `PRIVATE+KEY+...`, without a newline. Keep it secret.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<String> {
        let mut material = Zeroizing::new(vec![self.public.kind.byte()]);
        material.extend_from_slice(self.key.seed().as_slice());
        let encoded = Zeroizing::new(base64_encode(&material));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{}+{}", self.public.name, self.public.id, *encoded))
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &NoteKey {
        &self.public
    }

    /// Tells whether a signature takes less than a fifth of a millisecond on average. ML-DSA-44 takes a whole one where
    /// the processor has no vector instructions for it.
    #[cfg(feature = "server")]
    pub(crate) const fn is_quick(&self) -> bool {
        self.key.is_quick()
    }

    /// Makes a bare signature. The form of `message` depends on the signature type.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message)
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("public", &self.public).finish_non_exhaustive()
    }
}
