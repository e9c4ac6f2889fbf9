//! `SubjectPublicKeyInfo` in DER.
//!
//! ```text
//! SubjectPublicKeyInfo  ::=  SEQUENCE {
//!     algorithm         AlgorithmIdentifier,   compared byte for byte with those below
//!     subjectPublicKey  BIT STRING }           no unused bits
//! ```

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode as _, Reader as _, SliceReader};

use super::{KeyFamily, PublicKey, WHAT};
use crate::format::FormatError;

/// `rsaEncryption` with NULL (RFC 3279 section 2.3.1).
pub const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// `id-RSASSA-PSS` (RFC 4055 section 3.1) without parameters, which allows all of them, and with ours. The identifiers of
/// hash functions in there may have NULL, as openssl writes it, or nothing.
const RSA_PSS: [&[u8]; 3] = [
    b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
    b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
      \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
      \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
      \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
      \xa2\x03\x02\x01\x20",
    b"\x30\x3d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x30\
      \xa0\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\
      \xa1\x1a\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
      \x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\
      \xa2\x03\x02\x01\x20",
];

/// Everything before the key, for a family whose keys all have the same length; empty for RSA.
pub const fn prefix(family: KeyFamily) -> &'static [u8] {
    match family {
        // RFC 8410 section 4.
        KeyFamily::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        // RFC 9881 section 4.
        KeyFamily::MlDsa44 => {
            b"\x30\x82\x05\x32\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11\x03\x82\x05\x21\x00"
        }
        // RFC 5480 section 2.1.1.1: a named curve.
        KeyFamily::EcdsaP256 => {
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
        }
        KeyFamily::EcdsaP384 => {
            b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
        }
        KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 => b"",
    }
}

/// The encoding of a key of such a family.
pub fn with_prefix(family: KeyFamily, key: &[u8]) -> Vec<u8> {
    [prefix(family), key].concat()
}

/// The encoding of an RSA key whose numbers are big-endian.
pub fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, der::Error> {
    use der::Encode as _;
    use der::asn1::UintRef;
    let numbers = [UintRef::new(modulus)?.to_der()?, UintRef::new(exponent)?.to_der()?].concat();
    let key = AnyRef::new(der::Tag::Sequence, &numbers)?.to_der()?;
    let key = [RSA_ENCRYPTION, &BitStringRef::from_bytes(&key)?.to_der()?].concat();
    AnyRef::new(der::Tag::Sequence, &key)?.to_der()
}

/// Algorithm identifier and key.
fn split(spki: &[u8]) -> Result<(&[u8], &[u8]), der::Error> {
    let mut reader = SliceReader::new(spki)?;
    let (algorithm, key) = reader.sequence(|spki| -> Result<_, der::Error> {
        Ok((spki.tlv_bytes()?, spki.decode::<BitStringRef<'_>>()?))
    })?;
    reader.finish()?;
    let key = key.as_bytes().ok_or_else(|| der::Tag::BitString.value_error())?;
    Ok((algorithm, key))
}

/// Tells whether the bytes are a `SubjectPublicKeyInfo` of any algorithm.
pub fn is_spki(bytes: &[u8]) -> bool {
    split(bytes).is_ok_and(|(algorithm, _)| oids(algorithm).is_ok())
}

/// Decodes a key. See [`PublicKey::from_spki`].
pub fn decode(spki: &[u8], scheme: Option<KeyFamily>) -> Result<PublicKey, FormatError> {
    let (algorithm, key) = split(spki).map_err(|e| {
        FormatError::malformed(WHAT, "a SubjectPublicKeyInfo in DER", format!("an error in it ({e})"))
    })?;
    let family = family(algorithm, scheme)?;
    match family {
        KeyFamily::Ed25519 | KeyFamily::MlDsa44 => PublicKey::from_encoded(family, key),
        #[cfg(feature = "ecdsa")]
        KeyFamily::EcdsaP256 | KeyFamily::EcdsaP384 => {
            Ok(PublicKey::new(family, spki.to_vec(), super::ecdsa::decode(family, key)?))
        }
        #[cfg(feature = "rsa")]
        KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 => {
            Ok(PublicKey::new(family, spki.to_vec(), super::rsa::decode(key)?))
        }
        #[cfg(not(all(feature = "ecdsa", feature = "rsa")))]
        _ => Err(family.left_out()),
    }
}

/// The family of a key with this algorithm identifier.
fn family(algorithm: &[u8], scheme: Option<KeyFamily>) -> Result<KeyFamily, FormatError> {
    let has_prefix = |family: &KeyFamily| {
        // The head of the sequence before the identifier has two bytes or four.
        let starts_at = |at| prefix(*family).get(at..).is_some_and(|rest| rest.starts_with(algorithm));
        starts_at(2) || starts_at(4)
    };
    let family = if let Some(family) = KeyFamily::ALL.into_iter().find(has_prefix) {
        family
    } else if algorithm == RSA_ENCRYPTION {
        scheme.filter(|scheme| scheme.is_rsa()).unwrap_or(KeyFamily::RsaPkcs1Sha256)
    } else if RSA_PSS.contains(&algorithm) {
        KeyFamily::RsaPssSha256
    } else {
        let expected = format!("a key of one of the families {}", KeyFamily::NAMES);
        return Err(FormatError::malformed(WHAT, expected, describe(algorithm)));
    };
    match scheme {
        Some(scheme) if scheme != family => {
            let seen = format!("one of {family}");
            Err(FormatError::malformed(WHAT, format!("a key of {scheme}"), seen))
        }
        _ => Ok(family),
    }
}

/// The identifiers in an algorithm identifier: the algorithm, and the curve or whatever else its parameters are.
fn oids(algorithm: &[u8]) -> Result<(ObjectIdentifier, Option<AnyRef<'_>>), der::Error> {
    AnyRef::from_der(algorithm)?.sequence(|fields| {
        let oid = fields.decode()?;
        let parameters = if fields.is_finished() { None } else { Some(fields.decode()?) };
        Ok((oid, parameters))
    })
}

/// A foreign algorithm, for a message.
fn describe(algorithm: &[u8]) -> String {
    let Ok((oid, parameters)) = oids(algorithm) else { return "no algorithm identifier".to_owned() };
    let curve = parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
    let name = |oid: &str| match oid {
        "1.2.840.113549.1.1.1" => Some("an RSA key with parameters that are not NULL"),
        "1.2.840.113549.1.1.10" => {
            Some("an RSA-PSS key for other parameters than SHA-256, MGF1 with SHA-256 and a salt of 32 bytes")
        }
        "1.3.132.0.35" => Some("a key on P-521"),
        "1.3.132.0.10" => Some("a key on secp256k1"),
        "1.3.101.113" => Some("an Ed448 key"),
        "2.16.840.1.101.3.4.3.18" => Some("an ML-DSA-65 key"),
        "2.16.840.1.101.3.4.3.19" => Some("an ML-DSA-87 key"),
        _ => None,
    };
    let oids = [Some(oid), curve].into_iter().flatten().map(|oid| oid.to_string());
    let oids: Vec<String> = oids.collect();
    match oids.iter().rev().find_map(|oid| name(oid)) {
        Some(name) => name.to_owned(),
        None => format!("one with the object identifier {}", oids.join(" ")),
    }
}
