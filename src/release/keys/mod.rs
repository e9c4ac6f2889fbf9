//! The public keys of publishers: six families, and one type for all of them.
//!
//! ```text
//! family             public key                              signature
//! ed25519            32 bytes                                64 bytes (RFC 8032)
//! ml-dsa-44          1,312 bytes                             2,420 bytes (FIPS 204, pure, empty context)
//! ecdsa-p256         uncompressed point                      DER, SHA-256
//! ecdsa-p384         uncompressed point                      DER, SHA-384 or SHA-256
//! rsa-pkcs1-sha256   modulus of 2,048 to 4,096 bits,         as long as the modulus (RFC 8017 section 8.2)
//! rsa-pss-sha256     odd exponent from 65,537 to 2^33 - 1    as long as the modulus (section 8.1), MGF1-SHA-256, salt of 32
//! ```
//!
//! A key's ID is the SHA-256 of its `SubjectPublicKeyInfo` in DER, whatever file it came in. Each key has one such
//! encoding: DER, points uncompressed, parameters as RFC 5480, RFC 4055, RFC 8410 and RFC 9881 have them.

#[cfg(feature = "ecdsa")]
mod ecdsa;
mod file;
mod openssh;
#[cfg(feature = "rsa")]
mod rsa;
mod spki;
mod x509;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::format::{FormatError, base64_encode};
use crate::merkle::Hash;
use crate::note::{ML_DSA_44_SIGNATURE_BYTES, PublicKey as NotePublicKey};

pub use file::{MAX_KEY_BYTES, is_public_key_text};

const WHAT: &str = "a publisher key";
/// Bytes of an Ed25519 signature.
pub(super) const ED25519_SIGNATURE_BYTES: usize = 64;

/// Most bytes in the encoding of an RSA key whose modulus has 3,072 bits: with parameters of PSS, and an exponent of five
/// bytes.
const RSA_3072_SPKI_BYTES: usize = 476;

/// A family of keys: an algorithm, its parameters and its hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyFamily {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ML-DSA-44 (FIPS 204).
    MlDsa44,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384 or SHA-256.
    EcdsaP384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
    RsaPssSha256,
}

impl KeyFamily {
    /// All families.
    pub const ALL: [Self; 6] = [
        Self::Ed25519,
        Self::MlDsa44,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::RsaPkcs1Sha256,
        Self::RsaPssSha256,
    ];
    /// The names of all families, for messages.
    pub(crate) const NAMES: &str =
        "ed25519, ml-dsa-44, ecdsa-p256, ecdsa-p384, rsa-pkcs1-sha256 and rsa-pss-sha256";

    /// The name in files: `ed25519`, `ml-dsa-44`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::MlDsa44 => "ml-dsa-44",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPssSha256 => "rsa-pss-sha256",
        }
    }

    /// Finds a family by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }

    /// The cargo feature that verifies this family's signatures; none for those that every build has.
    #[must_use]
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Ed25519 | Self::MlDsa44 => None,
            Self::EcdsaP256 | Self::EcdsaP384 => Some("ecdsa"),
            Self::RsaPkcs1Sha256 | Self::RsaPssSha256 => Some("rsa"),
        }
    }

    pub(super) const fn is_rsa(self) -> bool {
        matches!(self, Self::RsaPkcs1Sha256 | Self::RsaPssSha256)
    }

    /// The error for a key of a family that this build leaves out.
    #[cfg_attr(all(feature = "ecdsa", feature = "rsa"), expect(dead_code, reason = "no family is left out"))]
    fn left_out(self) -> FormatError {
        let feature = self.feature().unwrap_or_default();
        let expected = "a key of a family that this build verifies";
        let seen = format!("one of {}: build with the feature `{feature}`", self.as_str());
        FormatError::malformed(WHAT, expected, seen)
    }
}

impl fmt::Display for KeyFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The family of the key that made a signature, by the signature's form alone: `rsa` for both schemes, and `unknown` for a
/// form that no family has. Nothing is verified.
#[must_use]
pub fn family_of_signature(signature: &[u8]) -> &'static str {
    // A SEQUENCE in DER, of two INTEGERs of at most 33 or 49 bytes.
    let is_der = signature.first() == Some(&0x30)
        && signature.get(1).map(|length| usize::from(*length) + 2) == Some(signature.len());
    match signature.len() {
        length if is_der && length <= 72 => KeyFamily::EcdsaP256.as_str(),
        length if is_der && length <= 104 => KeyFamily::EcdsaP384.as_str(),
        ED25519_SIGNATURE_BYTES => KeyFamily::Ed25519.as_str(),
        ML_DSA_44_SIGNATURE_BYTES => KeyFamily::MlDsa44.as_str(),
        256..=512 => "rsa",
        _ => "unknown",
    }
}

/// A publisher's public key.
#[derive(Clone)]
pub struct PublicKey {
    family: KeyFamily,
    keyid: Hash,
    spki: Vec<u8>,
    verifier: Verifier,
}

#[derive(Clone)]
enum Verifier {
    /// Ed25519 and ML-DSA-44, as notes have them.
    Note(NotePublicKey),
    #[cfg(feature = "ecdsa")]
    P256(alloc::boxed::Box<p256::ecdsa::VerifyingKey>),
    #[cfg(feature = "ecdsa")]
    P384(alloc::boxed::Box<p384::ecdsa::VerifyingKey>),
    #[cfg(feature = "rsa")]
    Rsa(alloc::sync::Arc<::rsa::PublicKey>),
}

impl PublicKey {
    /// Reads a key in any of its files: a `SubjectPublicKeyInfo` in PEM or DER, an X.509 certificate in PEM or DER (only
    /// its key counts), or a line of OpenSSH. `scheme` says how an RSA key signs; without it PKCS#1 v1.5, unless the key
    /// itself says that it is for PSS.
    ///
    /// # Errors
    /// [`FormatError`] for anything else, for a weak key, and for a family that this build leaves out. It never quotes
    /// the text.
    pub fn parse(bytes: &[u8], scheme: Option<KeyFamily>) -> Result<Self, FormatError> {
        file::parse(bytes, scheme)
    }

    /// Decodes a `SubjectPublicKeyInfo` in DER. `scheme` as for [`parse`](Self::parse).
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn from_spki(spki: &[u8], scheme: Option<KeyFamily>) -> Result<Self, FormatError> {
        spki::decode(spki, scheme)
    }

    /// Decodes a key as [`encoded`](Self::encoded) prints it.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn from_encoded(family: KeyFamily, bytes: &[u8]) -> Result<Self, FormatError> {
        let key = match family {
            KeyFamily::Ed25519 => NotePublicKey::ed25519(WHAT, bytes)?,
            KeyFamily::MlDsa44 => NotePublicKey::ml_dsa_44(WHAT, bytes)?,
            #[cfg(not(feature = "ecdsa"))]
            KeyFamily::EcdsaP256 | KeyFamily::EcdsaP384 => return Err(family.left_out()),
            #[cfg(not(feature = "rsa"))]
            KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 => return Err(family.left_out()),
            #[cfg(any(feature = "ecdsa", feature = "rsa"))]
            _ => return Self::from_spki(bytes, Some(family)),
        };
        Ok(Self::new(family, spki::with_prefix(family, bytes), Verifier::Note(key)))
    }

    fn new(family: KeyFamily, spki: Vec<u8>, verifier: Verifier) -> Self {
        Self { family, keyid: Hash::digest(&spki), spki, verifier }
    }

    /// Its family.
    #[must_use]
    pub const fn family(&self) -> KeyFamily {
        self.family
    }

    /// The ID that names it in envelopes: SHA-256 of its [`spki`](Self::spki).
    #[must_use]
    pub const fn keyid(&self) -> Hash {
        self.keyid
    }

    /// The ID of its secret half: keys with different IDs in envelopes may still be one key. An RSA modulus is one key,
    /// whether it is encoded as `rsaEncryption` or as `id-RSASSA-PSS`.
    pub(super) fn secret_id(&self) -> Hash {
        match &self.verifier {
            #[cfg(feature = "rsa")]
            Verifier::Rsa(key) => rsa::modulus_id(key),
            _ => self.keyid,
        }
    }

    /// Its `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// As trust files have it: the raw key for Ed25519 and ML-DSA-44, the `SubjectPublicKeyInfo` in DER for others.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        match self.family {
            KeyFamily::Ed25519 | KeyFamily::MlDsa44 => &self.spki[spki::prefix(self.family).len()..],
            _ => &self.spki,
        }
    }

    /// Its `SubjectPublicKeyInfo` in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let base64 = base64_encode(&self.spki);
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in base64.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem + "-----END PUBLIC KEY-----\n"
    }

    /// The scheme that has to be stated beside the [`spki`](Self::spki), if its default is another one.
    #[must_use]
    pub fn stated_scheme(&self) -> Option<KeyFamily> {
        let is_plain_rsa = self.spki.get(4..).is_some_and(|rest| rest.starts_with(spki::RSA_ENCRYPTION));
        (self.family == KeyFamily::RsaPssSha256 && is_plain_rsa).then_some(self.family)
    }

    /// The fields of a `[[publisher.key]]` in a publishers file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut toml = format!("pem = \"\"\"\n{}\"\"\"\n", self.to_pem());
        if let Some(scheme) = self.stated_scheme() {
            toml += &format!("scheme = \"{scheme}\"\n");
        }
        toml
    }

    /// Tells by its length or form whether a signature may be one of this family. A check of another one costs nothing.
    #[must_use]
    pub fn fits(&self, signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Note(_) if self.family == KeyFamily::Ed25519 => {
                signature.len() == ED25519_SIGNATURE_BYTES
            }
            Verifier::Note(_) => signature.len() == ML_DSA_44_SIGNATURE_BYTES,
            #[cfg(feature = "ecdsa")]
            Verifier::P256(_) => ecdsa::is_p256_signature(signature),
            #[cfg(feature = "ecdsa")]
            Verifier::P384(_) => ecdsa::is_p384_signature(signature),
            #[cfg(feature = "rsa")]
            Verifier::Rsa(key) => rsa::is_signature(key, signature),
        }
    }

    /// The time that a failed check takes, in checks of Ed25519, rounded up: `cargo bench --bench keys`.
    pub(super) fn cost(&self) -> u32 {
        match self.family {
            KeyFamily::Ed25519 => 1,
            KeyFamily::MlDsa44 => 2,
            KeyFamily::EcdsaP256 => 6,
            // With both hash functions.
            KeyFamily::EcdsaP384 => 40,
            KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 if self.spki.len() <= RSA_3072_SPKI_BYTES => {
                4
            }
            KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 => 7,
        }
    }

    /// Verifies a signature over the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Note(key) => key.verifies(message, signature),
            #[cfg(feature = "ecdsa")]
            Verifier::P256(key) => ecdsa::p256_verifies(key, message, signature),
            #[cfg(feature = "ecdsa")]
            Verifier::P384(key) => ecdsa::p384_verifies(key, message, signature),
            #[cfg(feature = "rsa")]
            Verifier::Rsa(key) if self.family == KeyFamily::RsaPssSha256 => {
                rsa::pss_verifies(key, message, signature)
            }
            #[cfg(feature = "rsa")]
            Verifier::Rsa(key) => rsa::pkcs1_verifies(key, message, signature),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.family == other.family && self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("family", &self.family)
            .field("keyid", &self.keyid)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "ecdsa", feature = "rsa"))]
mod tests;
