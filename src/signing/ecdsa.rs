//! Secret keys on P-256 and P-384.

use p256::ecdsa::signature::Signer as _;
use pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, ObjectIdentifier, SecretDocument};
use ssh_key::private::EcdsaKeypair;

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A secret key, zeroized on drop.
pub enum EcdsaKey {
    P256(p256::SecretKey),
    P384(p384::SecretKey),
}

impl EcdsaKey {
    /// The key of a big-endian number, unless that is 0 or too large.
    pub fn p256(number: &[u8; 32]) -> Option<Self> {
        p256::SecretKey::from_slice(number).ok().map(Self::P256)
    }

    /// The key of a big-endian number, unless that is 0 or too large.
    pub fn p384(number: &[u8; 48]) -> Option<Self> {
        p384::SecretKey::from_slice(number).ok().map(Self::P384)
    }

    /// Parses an `ECPrivateKey` (RFC 5915), which names its curve if nothing around it does.
    pub fn from_sec1(der: &[u8], curve: Option<ObjectIdentifier>) -> Option<Self> {
        let p256 = || p256::SecretKey::from_sec1_der(der).ok().map(Self::P256);
        let p384 = || p384::SecretKey::from_sec1_der(der).ok().map(Self::P384);
        match curve {
            None => p256().or_else(p384),
            Some(curve) if curve == P256 => p256(),
            Some(curve) if curve == P384 => p384(),
            Some(_) => None,
        }
    }

    pub fn from_openssh(pair: &EcdsaKeypair) -> Option<Self> {
        match pair {
            EcdsaKeypair::NistP256 { private, .. } => Self::p256(private.as_ref()),
            EcdsaKeypair::NistP384 { private, .. } => Self::p384(private.as_ref()),
            EcdsaKeypair::NistP521 { .. } => None,
        }
    }

    /// The public key's `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> Vec<u8> {
        let spki = match self {
            Self::P256(key) => key.public_key().to_public_key_der(),
            Self::P384(key) => key.public_key().to_public_key_der(),
        };
        spki.expect("a key always encodes").into_vec()
    }

    pub fn to_pkcs8(&self) -> SecretDocument {
        let der = match self {
            Self::P256(key) => key.to_pkcs8_der(),
            Self::P384(key) => key.to_pkcs8_der(),
        };
        der.expect("a key always encodes")
    }

    /// A signature in DER: SHA-256 on P-256, SHA-384 on P-384.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(key).sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = p384::ecdsa::SigningKey::from(key).sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }
}
