//! Signatures with nothing around them, by the crates that make and check them: ML-DSA-44 by `libcrux-ml-dsa` where the
//! program takes it, otherwise by `ml-dsa`.

#![allow(dead_code, reason = "each bench uses some of it")]

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};

/// A secret key.
pub enum Secret {
    Ed25519(Box<SigningKey>),
    MlDsa44(Box<ml_dsa_44::Secret>),
}

/// A public key.
pub enum Public {
    Ed25519(Box<VerifyingKey>),
    MlDsa44(Box<ml_dsa_44::Public>),
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
        Self::MlDsa44(Box::new(ml_dsa_44::secret([seed; 32])))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::MlDsa44(key) => ml_dsa_44::sign(key, message),
        }
    }

    pub fn public(&self) -> Public {
        match self {
            Self::Ed25519(key) => Public::Ed25519(Box::new(key.verifying_key())),
            Self::MlDsa44(key) => Public::MlDsa44(Box::new(ml_dsa_44::public(key))),
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
            Public::MlDsa44(key) => ml_dsa_44::verifies(key, &self.message, &self.signature),
        };
        assert!(good, "the signature is good");
    }
}

#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod ml_dsa_44 {
    use libcrux_ml_dsa::ml_dsa_44 as libcrux;

    pub use libcrux::{MLDSA44KeyPair as Secret, MLDSA44VerificationKey as Public};

    pub fn secret(seed: [u8; 32]) -> Secret {
        libcrux::generate_key_pair(seed)
    }

    pub fn public(key: &Secret) -> Public {
        key.verification_key.clone()
    }

    pub fn sign(key: &Secret, message: &[u8]) -> Vec<u8> {
        let signature = libcrux::sign(&key.signing_key, message, b"", [0; 32]);
        signature.expect("no context").as_slice().to_vec()
    }

    pub fn verifies(key: &Public, message: &[u8], signature: &[u8]) -> bool {
        let signature = libcrux::MLDSA44Signature::new(signature.try_into().expect("2,420 bytes"));
        libcrux::verify(key, message, b"", &signature).is_ok()
    }
}

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod ml_dsa_44 {
    use ml_dsa::MlDsa44;

    pub type Secret = ml_dsa::SigningKey<MlDsa44>;
    pub type Public = ml_dsa::VerifyingKey<MlDsa44>;

    pub fn secret(seed: [u8; 32]) -> Secret {
        Secret::from_seed(&seed.into())
    }

    pub fn public(key: &Secret) -> Public {
        AsRef::<Public>::as_ref(key).clone()
    }

    pub fn sign(key: &Secret, message: &[u8]) -> Vec<u8> {
        let signature = key.expanded_key().sign_deterministic(message, b"");
        signature.expect("no context").encode().to_vec()
    }

    pub fn verifies(key: &Public, message: &[u8], signature: &[u8]) -> bool {
        ml_dsa::Signature::<MlDsa44>::try_from(signature)
            .is_ok_and(|signature| key.verify_with_context(message, b"", &signature))
    }
}
