//! A publisher's secret key, in any of the files that people keep theirs in.
//!
//! ```text
//! PRIVATE KEY              PKCS#8 (RFC 5958), in PEM or DER: RFC 8410, RFC 5915 and RFC 9881 say what is in it
//! ENCRYPTED PRIVATE KEY    the same under a passphrase, by PBES2 (RFC 8018): PBKDF2 or scrypt, with AES
//! EC PRIVATE KEY           RFC 5915, as `openssl ecparam -genkey` writes it
//! OPENSSH PRIVATE KEY      as ssh-keygen writes it, also under a passphrase
//! ```
//!
//! RSA keys are left out. The crate `rsa` does not promise that signing takes the same time whatever the key is
//! (RUSTSEC-2023-0071), and those who have RSA keys have them in tokens, clouds or openssl, which sign as commands.

use ed25519_dalek::SigningKey as Ed25519Key;
use pkcs8::der::Decode as _;
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use ssh_key::private::KeypairData;
use zeroize::Zeroizing;

use crate::format::{FormatError, byte_order_mark, without_mark};
use crate::note::MlDsa44Key;
use crate::release::{KeyFamily, PublicKey, private_block};

#[cfg(feature = "ecdsa")]
use super::ecdsa::EcdsaKey;

const WHAT: &str = "a publisher's secret key";
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
#[cfg(feature = "ecdsa")]
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `rsaEncryption` and `id-RSASSA-PSS`.
const RSA: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"),
];
/// PKCS#8 of an Ed25519 key, before its seed: RFC 8410 section 7.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// PKCS#8 of an ML-DSA-44 key as a seed, before the seed: RFC 9881 section 6.
const ML_DSA_44_PKCS8: [u8; 22] =
    [0x30, 0x34, 2, 1, 0, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x11, 4, 0x22, 0x80, 0x20];
/// The seed and the expanded key, before each: `SEQUENCE { OCTET STRING (32), OCTET STRING (2,560) }`.
const ML_DSA_44_BOTH: [&[u8]; 2] = [&[0x30, 0x82, 0x0a, 0x26, 4, 0x20], &[4, 0x82, 0x0a, 0]];
/// Bytes of an expanded ML-DSA-44 key: FIPS 204, table 2.
const ML_DSA_44_EXPANDED_BYTES: usize = 2_560;
/// Rounds of PBKDF2 with HMAC-SHA-256 for a new key. openssl reads no scrypt that needs more than 32 MiB.
const PBKDF2_ROUNDS: u32 = 600_000;

/// A publisher's secret key. It is zeroized on drop, and `Debug` shows only the public one.
pub struct SecretKey {
    key: Key,
    public: PublicKey,
}

enum Key {
    Ed25519(Box<Ed25519Key>),
    MlDsa44(Box<MlDsa44Key>),
    #[cfg(feature = "ecdsa")]
    Ecdsa(Box<EcdsaKey>),
}

impl SecretKey {
    /// Makes a key of a family from 32 bytes, or 48 for [`KeyFamily::EcdsaP384`], which must come from the operating
    /// system's random source.
    ///
    /// # Errors
    /// [`FormatError`] for RSA, and for random bytes that make no key, as one in 2^32 does for [`KeyFamily::EcdsaP256`].
    pub fn from_random(family: KeyFamily, random: &[u8; 48]) -> Result<Self, FormatError> {
        let seed = random.first_chunk().expect("32 of 48");
        match family {
            KeyFamily::Ed25519 => Ok(Self::ed25519(seed)),
            KeyFamily::MlDsa44 => Ok(Self::ml_dsa_44(seed)),
            #[cfg(feature = "ecdsa")]
            KeyFamily::EcdsaP256 => EcdsaKey::p256(seed).map_or_else(|| Err(wrong("no scalar")), Self::ecdsa),
            #[cfg(feature = "ecdsa")]
            KeyFamily::EcdsaP384 => {
                EcdsaKey::p384(random).map_or_else(|| Err(wrong("no scalar")), Self::ecdsa)
            }
            #[cfg(not(feature = "ecdsa"))]
            KeyFamily::EcdsaP256 | KeyFamily::EcdsaP384 => Err(wrong("a family that this build leaves out")),
            KeyFamily::RsaPkcs1Sha256 | KeyFamily::RsaPssSha256 => Err(rsa()),
        }
    }

    /// Parses a key. Asks for the `passphrase` if it is encrypted.
    ///
    /// # Errors
    /// [`FormatError`], which never quotes the key; and the error of `passphrase`.
    pub fn parse<E: From<FormatError>>(
        bytes: &[u8],
        passphrase: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let bytes = without_mark(bytes);
        if let Some(mark) = byte_order_mark(bytes) {
            return Err(FormatError::malformed(WHAT, "UTF-8", mark).into());
        }
        let text = core::str::from_utf8(bytes).ok().filter(|text| text.contains("-----"));
        let Some(text) = text else {
            return if EncryptedPrivateKeyInfoRef::from_der(bytes).is_ok() {
                Self::decrypt(bytes, passphrase)
            } else {
                Ok(Self::from_pkcs8(bytes)?)
            };
        };
        let (label, der) = private_block(text).map_err(|seen| wrong(&seen))?;
        match label {
            "PRIVATE KEY" => Ok(Self::from_pkcs8(&der)?),
            "ENCRYPTED PRIVATE KEY" => Self::decrypt(&der, passphrase),
            "OPENSSH PRIVATE KEY" => Self::from_openssh(&der, passphrase),
            "RSA PRIVATE KEY" => Err(rsa().into()),
            #[cfg(feature = "ecdsa")]
            "EC PRIVATE KEY" => {
                let key = EcdsaKey::from_sec1(&der, None);
                let key = key.ok_or_else(|| wrong("an EC key on another curve than P-256 and P-384"))?;
                Ok(Self::ecdsa(key)?)
            }
            other => Err(wrong(&format!("a block of {other}")).into()),
        }
    }

    fn decrypt<E: From<FormatError>>(
        der: &[u8],
        passphrase: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let unknown = |seen: String| {
            let expected = "an encryption by PBES2 with PBKDF2 or scrypt, and AES (openssl pkcs8 -topk8 -in KEY -out NEW)";
            FormatError::malformed(WHAT, expected, seen)
        };
        let key = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|e| unknown(e.to_string()))?;
        let decrypted = key.decrypt(&*passphrase()?).map_err(|e| match e {
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
                wrong_passphrase()
            }
            other => unknown(other.to_string()),
        })?;
        Ok(Self::from_pkcs8(decrypted.as_bytes())?)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, FormatError> {
        let key = PrivateKeyInfoRef::from_der(der).map_err(|e| wrong(&e.to_string()))?;
        let (oid, inner) = (key.algorithm.oid, key.private_key.as_bytes());
        if oid == ED25519 {
            // It compares the public key, if there is one.
            let key = Ed25519Key::try_from(key).map_err(|e| wrong(&e.to_string()))?;
            return Ok(Self::ed25519(key.as_bytes()));
        }
        if oid == ML_DSA_44 {
            return Self::ml_dsa_44_of(inner);
        }
        #[cfg(feature = "ecdsa")]
        if oid == EC {
            let curve = key.algorithm.parameters_oid().ok();
            let key = curve.and_then(|curve| EcdsaKey::from_sec1(inner, Some(curve)));
            return Self::ecdsa(key.ok_or_else(|| wrong("an EC key on another curve than P-256 and P-384"))?);
        }
        if RSA.contains(&oid) {
            return Err(rsa());
        }
        Err(wrong(&format!("a key of the algorithm {oid}")))
    }

    /// The three forms of RFC 9881. One without the seed is refused, as the RFC allows: the seed can't be found again.
    fn ml_dsa_44_of(inner: &[u8]) -> Result<Self, FormatError> {
        if let Some(seed) = inner.strip_prefix(&[0x80, 0x20]).and_then(|seed| seed.try_into().ok()) {
            return Ok(Self::ml_dsa_44(seed));
        }
        let [before_seed, before_expanded] = ML_DSA_44_BOTH;
        let both = inner.strip_prefix(before_seed).and_then(|rest| rest.split_first_chunk());
        if let Some((seed, rest)) = both {
            let expanded =
                rest.strip_prefix(before_expanded).filter(|key| key.len() == ML_DSA_44_EXPANDED_BYTES);
            let key = MlDsa44Key::from_seed(seed);
            // RFC 9881 section 8.2: the two must belong together.
            return match expanded {
                Some(expanded) if *key.expanded() == *expanded => Ok(Self::ml_dsa_44(seed)),
                _ => Err(wrong("an ML-DSA-44 key whose two halves are not of one key")),
            };
        }
        if inner.len() == ML_DSA_44_BOTH[1].len() + ML_DSA_44_EXPANDED_BYTES {
            return Err(wrong("an ML-DSA-44 key without its seed"));
        }
        Err(wrong("an ML-DSA-44 key of another length"))
    }

    fn from_openssh<E: From<FormatError>>(
        der: &[u8],
        passphrase: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let seen = |e: ssh_key::Error| wrong(&e.to_string());
        let mut key = ssh_key::PrivateKey::from_bytes(der).map_err(seen)?;
        if key.is_encrypted() {
            key = key.decrypt(&*passphrase()?).map_err(|_| wrong_passphrase())?;
        }
        match key.key_data() {
            KeypairData::Ed25519(pair) => Ok(Self::ed25519(pair.private.as_ref())),
            #[cfg(feature = "ecdsa")]
            KeypairData::Ecdsa(pair) => {
                let key = EcdsaKey::from_openssh(pair);
                let key = key.ok_or_else(|| wrong("an EC key on another curve than P-256 and P-384"))?;
                Ok(Self::ecdsa(key)?)
            }
            KeypairData::Rsa(_) => Err(rsa().into()),
            _ => Err(wrong(&format!("a key of the type {}", key.algorithm())).into()),
        }
    }

    fn ed25519(seed: &[u8; 32]) -> Self {
        let key = Ed25519Key::from_bytes(seed);
        let public = PublicKey::from_encoded(KeyFamily::Ed25519, key.verifying_key().as_bytes());
        Self { key: Key::Ed25519(Box::new(key)), public: public.expect("no seed makes a weak key") }
    }

    fn ml_dsa_44(seed: &[u8; 32]) -> Self {
        let key = MlDsa44Key::from_seed(seed);
        let public = PublicKey::from_encoded(KeyFamily::MlDsa44, &key.public().to_bytes());
        Self { key: Key::MlDsa44(Box::new(key)), public: public.expect("of the right length") }
    }

    #[cfg(feature = "ecdsa")]
    fn ecdsa(key: EcdsaKey) -> Result<Self, FormatError> {
        let public = PublicKey::from_spki(&key.spki(), None)?;
        Ok(Self { key: Key::Ecdsa(Box::new(key)), public })
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message: Ed25519 and ML-DSA-44 without randomness, ECDSA by RFC 6979, with the hash of the curve's size.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        use ed25519_dalek::Signer as _;
        match &self.key {
            Key::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Key::MlDsa44(key) => key.sign(message),
            #[cfg(feature = "ecdsa")]
            Key::Ecdsa(key) => key.sign(message),
        }
    }

    /// The key in PKCS#8 DER.
    fn to_pkcs8(&self) -> SecretDocument {
        let of_seed = |before: &[u8], seed: &[u8; 32]| {
            let der = Zeroizing::new([before, &seed[..]].concat());
            SecretDocument::try_from(&der[..]).expect("DER")
        };
        match &self.key {
            Key::Ed25519(key) => of_seed(&ED25519_PKCS8, key.as_bytes()),
            Key::MlDsa44(key) => of_seed(&ML_DSA_44_PKCS8, &key.seed()),
            #[cfg(feature = "ecdsa")]
            Key::Ecdsa(key) => key.to_pkcs8(),
        }
    }

    /// The key in PKCS#8 PEM. Keep it secret.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.to_pkcs8().to_pem("PRIVATE KEY", LineEnding::LF).expect("a key always encodes")
    }

    /// The key in PKCS#8 PEM under a passphrase: PBKDF2 with HMAC-SHA-256, and AES-256 in CBC mode. `salt` and `iv` must be
    /// random.
    #[must_use]
    pub fn to_encrypted_pem(&self, passphrase: &[u8], salt: &[u8; 16], iv: [u8; 16]) -> Zeroizing<String> {
        let method = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ROUNDS, salt, iv);
        let plain = self.to_pkcs8();
        let key = PrivateKeyInfoRef::from_der(plain.as_bytes()).expect("a key of ours");
        let encrypted = key.encrypt_with_params(method.expect("a good method"), passphrase);
        let encrypted = encrypted.expect("a key always encrypts");
        encrypted.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("a key always encodes")
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn wrong(seen: &str) -> FormatError {
    let expected = "a PRIVATE KEY in PKCS#8 PEM or DER (openssl pkcs8 -topk8 -in KEY -out NEW) or an OPENSSH PRIVATE KEY, for ed25519, ml-dsa-44, ecdsa-p256 or ecdsa-p384";
    FormatError::malformed(WHAT, expected, seen.to_owned())
}

fn rsa() -> FormatError {
    let expected = "a key that this program signs with";
    let seen =
        "an RSA key: sign with --signer, as in --signer 'openssl dgst -sha256 -sign KEY' --public-key PUBLIC";
    FormatError::malformed(WHAT, expected, seen)
}

fn wrong_passphrase() -> FormatError {
    FormatError::malformed(WHAT, "the passphrase that it is encrypted with", "another one, or a damaged key")
}

#[cfg(test)]
mod tests;
