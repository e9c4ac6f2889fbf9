//! The signature algorithms of note keys: Ed25519 and ML-DSA-44 (FIPS 204).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use zeroize::Zeroizing;

use super::ml_dsa_44::{self, ML_DSA_44_PUBLIC_BYTES, SEED_BYTES};
use crate::format::FormatError;

/// Bytes of an ML-DSA-44 signature.
pub const ML_DSA_44_SIGNATURE_BYTES: usize = 2_420;

/// Verifies an Ed25519 signature; accepts exactly what Go's `crypto/ed25519` accepts.
#[must_use]
pub fn ed25519_verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// A public key. Clones share an ML-DSA-44 key, which is large.
#[derive(Clone, PartialEq)]
pub enum PublicKey {
    Ed25519(VerifyingKey),
    MlDsa44(Arc<ml_dsa_44::VerifyingKey>),
}

impl PublicKey {
    /// Decodes an Ed25519 public key.
    ///
    /// # Errors
    /// [`FormatError`] unless it is one, and for a weak one: a key of small order verifies forged signatures.
    pub fn ed25519(what: &'static str, bytes: &[u8]) -> Result<Self, FormatError> {
        let key = <[u8; 32]>::try_from(bytes).ok().and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        let key = key.ok_or_else(|| {
            let seen = format!("{} bytes that are none", bytes.len());
            FormatError::malformed(what, "a 32-byte Ed25519 public key", seen)
        })?;
        if key.is_weak() {
            let seen = "a weak one, of small order: generate another";
            return Err(FormatError::malformed(what, "a strong Ed25519 key", seen));
        }
        Ok(Self::Ed25519(key))
    }

    /// Decodes an ML-DSA-44 public key. Every string of the right length is one.
    ///
    /// # Errors
    /// [`FormatError`] for another length.
    pub fn ml_dsa_44(what: &'static str, bytes: &[u8]) -> Result<Self, FormatError> {
        let encoded = bytes.try_into().map_err(|_| {
            let expected = format!("a {ML_DSA_44_PUBLIC_BYTES}-byte ML-DSA-44 public key");
            FormatError::malformed(what, expected, format!("{} bytes", bytes.len()))
        })?;
        Ok(Self::MlDsa44(Arc::new(ml_dsa_44::VerifyingKey::decode(encoded))))
    }

    /// The encoded key, as it follows the type byte in a vkey.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.as_bytes().to_vec(),
            Self::MlDsa44(key) => key.to_bytes(),
        }
    }

    /// Verifies a signature over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => ed25519_verify(key, message, signature),
            Self::MlDsa44(key) => key.verifies(message, signature),
        }
    }
}

/// A secret key. Both kinds are zeroized on drop.
pub enum SecretKey {
    Ed25519(Box<SigningKey>),
    MlDsa44(ml_dsa_44::SigningKey),
}

impl SecretKey {
    pub fn ed25519(seed: &[u8; SEED_BYTES]) -> Self {
        Self::Ed25519(Box::new(SigningKey::from_bytes(seed)))
    }

    pub fn ml_dsa_44(seed: &[u8; SEED_BYTES]) -> Self {
        Self::MlDsa44(ml_dsa_44::SigningKey::from_seed(seed))
    }

    pub fn seed(&self) -> Zeroizing<[u8; SEED_BYTES]> {
        match self {
            Self::Ed25519(key) => Zeroizing::new(*key.as_bytes()),
            Self::MlDsa44(key) => key.seed(),
        }
    }

    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Self::MlDsa44(key) => PublicKey::MlDsa44(key.public().clone()),
        }
    }

    #[cfg(feature = "server")]
    pub const fn is_quick(&self) -> bool {
        match self {
            Self::Ed25519(_) => true,
            Self::MlDsa44(key) => key.is_vector(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::MlDsa44(key) => key.sign(message),
        }
    }
}
