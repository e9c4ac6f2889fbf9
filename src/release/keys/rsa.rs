//! RSA (RFC 8017) with SHA-256, to verify only: what is said of the timing of this crate's private operations
//! (RUSTSEC-2023-0071) is about code that is not called here.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;

use der::asn1::UintRef;
use der::{Reader as _, SliceReader};
use rsa::pkcs1v15;
use rsa::pss;
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, PublicKey};
use sha2::Sha256;

use super::{Verifier, WHAT};
use crate::format::FormatError;
use crate::merkle::Hash;

/// Smallest modulus, in bits: 112 bits of strength (NIST SP 800-57 part 1).
const MIN_BITS: u32 = 2_048;
/// Largest modulus, in bits: where the key services of clouds end. A check takes time by the square of it.
const MAX_BITS: u32 = 4_096;
/// Smallest exponent: FIPS 186-5 section 5.1 wants more than 2^16. Small ones made forgeries of bad padding possible.
const MIN_EXPONENT: u64 = 65_537;
/// The modulus of a sound key has no factor below this; that of a key with a wrong byte usually has one.
const SMALL_FACTORS: u32 = 752;

/// Decodes an `RSAPublicKey` (RFC 8017 appendix A.1.1): the modulus, then the exponent.
pub fn decode(key: &[u8]) -> Result<Verifier, FormatError> {
    let wrong = |expected: &str, seen: String| FormatError::malformed(WHAT, expected, seen);
    let numbers =
        numbers(key).map_err(|e| wrong("an RSAPublicKey in DER", format!("an error in it ({e})")))?;
    let (modulus, exponent) = (numbers.0.as_bytes(), numbers.1.as_bytes());
    let n = BoxedUint::from_be_slice_vartime(modulus);
    let bits = n.bit_width_vartime();
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(wrong("an RSA modulus of 2048 to 4096 bits", format!("one of {bits} bits")));
    }
    let e = exponent.iter().try_fold(0_u64, |e, byte| e.checked_mul(256).map(|e| e | u64::from(*byte)));
    let e = e.filter(|e| (MIN_EXPONENT..=PublicKey::MAX_PUB_EXPONENT).contains(e) && e % 2 == 1);
    let e = e.ok_or_else(|| {
        let seen = if exponent.len() <= 1 {
            format!("{}", exponent.first().unwrap_or(&0))
        } else {
            "another".to_owned()
        };
        wrong("an odd RSA exponent from 65537 to 2^33 - 1", seen)
    })?;
    if has_small_factor(modulus) {
        let seen = "one that a small number divides: the key is damaged, or made to be weak";
        return Err(wrong("an RSA modulus of two large primes", seen.to_owned()));
    }
    let key = PublicKey::new(n, BoxedUint::from(e)).map_err(|e| wrong("an RSA key", format!("{e}")))?;
    Ok(Verifier::Rsa(Arc::new(key)))
}

fn numbers(key: &[u8]) -> Result<(UintRef<'_>, UintRef<'_>), der::Error> {
    let mut reader = SliceReader::new(key)?;
    let numbers = reader.sequence(|key| -> Result<_, der::Error> { Ok((key.decode()?, key.decode()?)) })?;
    reader.finish()?;
    Ok(numbers)
}

fn has_small_factor(modulus: &[u8]) -> bool {
    let remainder = |by: u32| modulus.iter().fold(0, |left: u32, byte| (left * 256 + u32::from(*byte)) % by);
    remainder(2) == 0 || (3..SMALL_FACTORS).step_by(2).any(|odd| remainder(odd) == 0)
}

/// SHA-256 of the modulus. Whoever knows the secret half of a key can sign with any other key of that modulus, whatever its
/// scheme, exponent and encoding are.
pub fn modulus_id(key: &PublicKey) -> Hash {
    Hash::digest(&key.n().to_be_bytes_trimmed_vartime())
}

pub fn is_signature(key: &PublicKey, signature: &[u8]) -> bool {
    signature.len() == key.size()
}

pub fn pkcs1_verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let key = pkcs1v15::VerifyingKey::<Sha256>::new(key.clone());
    pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// The salt has as many bytes as the digest.
pub fn pss_verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let key = pss::VerifyingKey::<Sha256>::new(key.clone());
    pss::Signature::try_from(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
