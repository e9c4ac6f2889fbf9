//! Signatures with nothing around them, by the crates that make and check them.

#![allow(dead_code, reason = "each bench uses some of it")]

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use ml_dsa::MlDsa44;

/// A secret key.
pub enum Secret {
    Ed25519(Box<SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

/// A public key.
pub enum Public {
    Ed25519(Box<VerifyingKey>),
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
}

/// A signature to be checked: the key is read, the signature is as it came.
pub struct Signed {
    pub key: Public,
    pub message: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Secret {
    pub fn ed25519(seed: u8) -> Self {
        Self::Ed25519(Box::new(SigningKey::from_bytes(&[seed; 32])))
    }

    pub fn ml_dsa_44(seed: u8) -> Self {
        Self::MlDsa44(Box::new(ml_dsa::SigningKey::from_seed(&[seed; 32].into())))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::MlDsa44(key) => {
                let signature = key.expanded_key().sign_deterministic(message, b"");
                signature.expect("no context").encode().to_vec()
            }
        }
    }

    pub fn public(&self) -> Public {
        match self {
            Self::Ed25519(key) => Public::Ed25519(Box::new(key.verifying_key())),
            Self::MlDsa44(key) => Public::MlDsa44(Box::new(key.as_ref().as_ref().clone())),
        }
    }

    /// Signs a message of so many bytes.
    pub fn signed(&self, filler: u8, length: usize) -> Signed {
        let message = vec![filler; length];
        let signature = self.sign(&message);
        Signed { key: self.public(), message, signature }
    }
}

impl Signed {
    /// # Panics
    /// If it is not good.
    pub fn check(&self) {
        let good = match &self.key {
            Public::Ed25519(key) => Signature::from_slice(&self.signature)
                .is_ok_and(|signature| key.verify(&self.message, &signature).is_ok()),
            Public::MlDsa44(key) => ml_dsa::Signature::<MlDsa44>::try_from(self.signature.as_slice())
                .is_ok_and(|signature| key.verify_with_context(&self.message, b"", &signature)),
        };
        assert!(good, "the signature is good");
    }
}
