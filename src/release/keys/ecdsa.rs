//! ECDSA on P-256 and P-384 (FIPS 186-5), with signatures in DER: `SEQUENCE { r INTEGER, s INTEGER }`.
//!
//! One encoding, because openssl, the key services of clouds and in-toto's signers all write it. `s` may be in the upper
//! half, as it is in half of what they sign: a second signature for the same payload makes no second leaf.

use alloc::boxed::Box;

use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};

use super::{KeyFamily, Verifier, WHAT};
use crate::format::FormatError;

/// Decodes an uncompressed point on the family's curve. Infinity has no such encoding.
pub fn decode(family: KeyFamily, point: &[u8]) -> Result<Verifier, FormatError> {
    let wrong = |expected: &str, seen: &str| FormatError::malformed(WHAT, expected, seen);
    // Of one key there shall be one encoding and one ID.
    if point.first() != Some(&4) {
        let expected =
            "an uncompressed point (openssl pkey -pubin -in KEY -ec_conv_form uncompressed -pubout)";
        return Err(wrong(expected, "another encoding of the point"));
    }
    if family == KeyFamily::EcdsaP256 {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
        let key = key.map_err(|_| wrong("a point on P-256", "none"))?;
        return Ok(Verifier::P256(Box::new(key)));
    }
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let key = key.map_err(|_| wrong("a point on P-384", "none"))?;
    Ok(Verifier::P384(Box::new(key)))
}

pub fn is_p256_signature(signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_der(signature).is_ok()
}

pub fn is_p384_signature(signature: &[u8]) -> bool {
    p384::ecdsa::Signature::from_der(signature).is_ok()
}

pub fn p256_verifies(key: &p256::ecdsa::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// Accepts SHA-384 and SHA-256. Key services and go-securesystemslib pair P-384 with SHA-384, but openssl's default for a
/// key on any curve is SHA-256 (`openssl pkeyutl -sign -rawin`), and so is cosign's. No signature over one digest is one
/// over the other, short of a SHA-384 digest that begins with 128 zero bits.
pub fn p384_verifies(key: &p384::ecdsa::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    use p384::ecdsa::signature::hazmat::PrehashVerifier as _;
    p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
        key.verify(message, &signature).is_ok()
            || key.verify_prehash(&Sha256::digest(message), &signature).is_ok()
    })
}
