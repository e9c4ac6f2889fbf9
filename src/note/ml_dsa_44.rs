//! ML-DSA-44 (FIPS 204) by two crates. Where there is a standard library and the processor has AVX2 or NEON,
//! `libcrux-ml-dsa` signs and verifies: seven times and twice as fast. Everywhere else `ml-dsa` does. Keys grow from
//! the same seed, signatures have the same bytes, and both accept the same ones.
//!
//! Signing takes no randomness, as FIPS 204 section 3.4 allows: the core has none, and so the same head at the same
//! time has one cosignature.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ml_dsa::MlDsa44;
use zeroize::Zeroizing;

/// Bytes of an ML-DSA-44 public key: FIPS 204, table 2.
pub const ML_DSA_44_PUBLIC_BYTES: usize = 1_312;
/// Bytes of the seed of a secret key. Ed25519's has as many.
pub const SEED_BYTES: usize = 32;

/// The context string is empty: c2sp.org/tlog-cosignature does not define one.
const NO_CONTEXT: &[u8] = b"";

/// The crate that signs and verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// `ml-dsa`.
    Portable,
    /// `libcrux-ml-dsa`.
    #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
    Vector,
}

impl Backend {
    /// The faster one that this processor has the instructions for.
    fn detect() -> Self {
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Vector;
        }
        #[cfg(all(feature = "std", target_arch = "aarch64"))]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Vector;
        }
        Self::Portable
    }
}

/// A public key.
pub enum VerifyingKey {
    Portable(ml_dsa::VerifyingKey<MlDsa44>),
    #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
    Vector(vector::VerifyingKey),
}

impl VerifyingKey {
    /// Decodes a public key. Every string of the right length is one.
    pub fn decode(bytes: &[u8; ML_DSA_44_PUBLIC_BYTES]) -> Self {
        Self::decode_by(Backend::detect(), bytes)
    }

    fn decode_by(backend: Backend, bytes: &[u8; ML_DSA_44_PUBLIC_BYTES]) -> Self {
        match backend {
            Backend::Portable => Self::Portable(ml_dsa::VerifyingKey::decode(bytes.into())),
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Backend::Vector => Self::Vector(vector::VerifyingKey::decode(bytes)),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Portable(key) => key.encode().to_vec(),
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Self::Vector(key) => key.as_bytes().to_vec(),
        }
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Portable(key) => ml_dsa::Signature::<MlDsa44>::try_from(signature)
                .is_ok_and(|signature| key.verify_with_context(message, NO_CONTEXT, &signature)),
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Self::Vector(key) => key.verifies(message, signature),
        }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            (Self::Vector(one), Self::Vector(other)) => one.as_bytes() == other.as_bytes(),
            (one, other) => one.to_bytes() == other.to_bytes(),
        }
    }
}

/// A secret key with its public key, zeroized on drop.
pub struct SigningKey {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    public: Arc<VerifyingKey>,
    expanded: Expanded,
}

enum Expanded {
    Portable(Box<ml_dsa::SigningKey<MlDsa44>>),
    #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
    Vector(Box<vector::SigningKey>),
}

impl SigningKey {
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self::from_seed_by(Backend::detect(), seed)
    }

    fn from_seed_by(backend: Backend, seed: &[u8; SEED_BYTES]) -> Self {
        let (expanded, public) = match backend {
            Backend::Portable => {
                let key = Box::new(ml_dsa::SigningKey::from_seed(seed.into()));
                let public = VerifyingKey::Portable(AsRef::as_ref(key.as_ref()).clone());
                (Expanded::Portable(key), public)
            }
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Backend::Vector => {
                let (key, public) = vector::generate(seed);
                (Expanded::Vector(Box::new(key)), VerifyingKey::Vector(public))
            }
        };
        Self { seed: Zeroizing::new(*seed), public: Arc::new(public), expanded }
    }

    pub fn seed(&self) -> Zeroizing<[u8; SEED_BYTES]> {
        self.seed.clone()
    }

    pub const fn public(&self) -> &Arc<VerifyingKey> {
        &self.public
    }

    /// The expanded key, as FIPS 204 encodes it.
    #[cfg(feature = "cli")]
    pub fn expanded(&self) -> Zeroizing<Vec<u8>> {
        match &self.expanded {
            #[expect(deprecated, reason = "it is compared with one in a file, which RFC 9881 asks for")]
            Expanded::Portable(key) => Zeroizing::new(key.expanded_key().to_expanded().to_vec()),
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Expanded::Vector(key) => Zeroizing::new(key.as_bytes().to_vec()),
        }
    }

    /// Tells whether the processor's vector instructions sign.
    #[cfg(feature = "server")]
    pub const fn is_vector(&self) -> bool {
        !matches!(self.expanded, Expanded::Portable(_))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.expanded {
            Expanded::Portable(key) => {
                let signature = key.expanded_key().sign_deterministic(message, NO_CONTEXT);
                signature.expect("the context is shorter than 256 bytes").encode().to_vec()
            }
            #[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
            Expanded::Vector(key) => key.sign(message),
        }
    }
}

/// `libcrux-ml-dsa`, whose keys are plain bytes.
#[cfg(all(feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
mod vector {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use libcrux_ml_dsa::SIGNING_RANDOMNESS_SIZE;
    use libcrux_ml_dsa::ml_dsa_44::{
        MLDSA44Signature, MLDSA44SigningKey, MLDSA44VerificationKey, generate_key_pair, sign, verify,
    };
    use zeroize::Zeroize as _;

    use super::{ML_DSA_44_PUBLIC_BYTES, NO_CONTEXT, SEED_BYTES};

    pub struct VerifyingKey(Box<MLDSA44VerificationKey>);

    impl VerifyingKey {
        pub fn decode(bytes: &[u8; ML_DSA_44_PUBLIC_BYTES]) -> Self {
            Self(Box::new(MLDSA44VerificationKey::new(*bytes)))
        }

        pub fn as_bytes(&self) -> &[u8; ML_DSA_44_PUBLIC_BYTES] {
            MLDSA44VerificationKey::as_ref(&self.0)
        }

        pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
            signature.try_into().is_ok_and(|signature| {
                verify(&self.0, message, NO_CONTEXT, &MLDSA44Signature::new(signature)).is_ok()
            })
        }
    }

    pub struct SigningKey(MLDSA44SigningKey);

    impl SigningKey {
        #[cfg(feature = "cli")]
        pub fn as_bytes(&self) -> &[u8] {
            self.0.as_slice()
        }

        pub fn sign(&self, message: &[u8]) -> Vec<u8> {
            let signature = sign(&self.0, message, NO_CONTEXT, [0; SIGNING_RANDOMNESS_SIZE]);
            signature.expect("one of 814 attempts succeeds but once in 2^256").as_slice().to_vec()
        }
    }

    impl Drop for SigningKey {
        fn drop(&mut self) {
            self.0.as_ref_mut().zeroize();
        }
    }

    pub fn generate(seed: &[u8; SEED_BYTES]) -> (SigningKey, VerifyingKey) {
        let pair = generate_key_pair(*seed);
        (SigningKey(pair.signing_key), VerifyingKey(Box::new(pair.verification_key)))
    }
}

#[cfg(all(test, feature = "std", any(target_arch = "aarch64", target_arch = "x86_64")))]
mod tests;
