//! DSSE v1 envelopes: a payload and the signatures over it.
//!
//! ```text
//! {"payload":"<base64>","payloadType":"application/vnd.in-toto+json",
//!  "signatures":[{"keyid":"<hex SHA-256 of the SPKI DER>","sig":"<base64>"}, ...]}
//! signed message   DSSEv1 SP len(type) SP type SP len(payload) SP payload
//! ```
//!
//! The canonical form (RFC 8785, signatures sorted by keyid) is the entry that a log makes from a
//! [submitted](super::SubmittedEnvelope) envelope.

use alloc::collections::BinaryHeap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey};

use super::keys::ED25519_SIGNATURE_BYTES;
use super::pem::{keyid, secret_key};
use super::{KeyFamily, MAX_ENTRY_BYTES, PublicKey, Release};
use crate::format::{FormatError, base64_push, cap};
use crate::merkle::{HASH_BYTES, Hash};

/// The only payload type that is accepted.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Most signatures on one statement.
pub const MAX_ENVELOPE_SIGNATURES: usize = 8;
/// Largest submitted envelope, in bytes: an entry, and as much again of white space and unknown fields.
pub const MAX_SUBMISSION_BYTES: usize = 2 * MAX_ENTRY_BYTES;

/// A well-formed envelope whose signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    /// keyid and signature, strictly increasing by keyid.
    signatures: Vec<(Hash, Vec<u8>)>,
    /// The canonical form, made once from the two fields above.
    pub(super) entry: Vec<u8>,
}

impl Envelope {
    pub(super) const WHAT: &str = "a DSSE envelope";

    pub(super) fn new(payload: Vec<u8>, signatures: Vec<(Hash, Vec<u8>)>) -> Result<Self, FormatError> {
        let signatures = BinaryHeap::from(signatures).into_sorted_vec();
        if signatures.is_empty() {
            return Err(FormatError::malformed(Self::WHAT, "at least one signature", "none"));
        }
        if let Some(pair) = signatures.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let seen = format!("keyid {} twice", pair[0].0.to_hex());
            return Err(FormatError::malformed(Self::WHAT, "one signature for each key", seen));
        }
        let entry = canonical(&payload, &signatures);
        cap("an entry", entry.len(), MAX_ENTRY_BYTES)?;
        Ok(Self { payload, signatures, entry })
    }

    /// Signs a payload with one key or several.
    ///
    /// # Errors
    /// [`FormatError`] for no signer, the same one twice, or an entry that would be too large.
    pub fn sign(payload: Vec<u8>, signers: &[&PublisherSigner]) -> Result<Self, FormatError> {
        let message = pae(&payload);
        let signatures = signers.iter().map(|s| (s.keyid, s.sign(&message))).collect();
        Self::new(payload, signatures)
    }

    /// The message to sign for a payload: its DSSE pre-authentication encoding.
    #[must_use]
    pub fn message_of(payload: &[u8]) -> Vec<u8> {
        pae(payload)
    }

    /// Puts signatures, each with its keyid, on a payload. They are not verified.
    ///
    /// # Errors
    /// [`FormatError`] for no signature, a keyid twice, or an entry that would be too large.
    pub fn assemble(payload: Vec<u8>, signatures: Vec<(Hash, Vec<u8>)>) -> Result<Self, FormatError> {
        Self::new(payload, signatures)
    }

    /// Size in bytes of the smallest entry with a payload of this size: one with a single signature.
    pub(super) fn least_entry_bytes(payload: usize) -> usize {
        // All others are longer, but for one ECDSA signature on P-256 in 2^60.
        entry_bytes(payload, [ED25519_SIGNATURE_BYTES])
    }

    /// The entry: canonical JSON, at most [`MAX_ENTRY_BYTES`].
    #[must_use]
    pub fn to_entry(&self) -> Vec<u8> {
        self.entry.clone()
    }

    /// The [entry](Self::to_entry), by value.
    #[must_use]
    pub fn into_entry(self) -> Vec<u8> {
        self.entry
    }

    /// The signed bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// keyid and signature, in order of keyid; 1 to [`MAX_ENVELOPE_SIGNATURES`].
    #[must_use]
    pub fn signatures(&self) -> &[(Hash, Vec<u8>)] {
        &self.signatures
    }

    /// Tells whether another envelope states the same: it has the same payload, or is a release with the same
    /// [`content`](Release::content). A log keeps only one of the two, and returns it for the other.
    #[must_use]
    pub fn states_the_same(&self, other: &Self) -> bool {
        let content = |envelope: &Self| Some(Release::parse(&envelope.payload).ok()?.content());
        self.payload == other.payload || content(self).is_some_and(|ours| content(other) == Some(ours))
    }

    /// The message that the signatures are over.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8> {
        pae(&self.payload)
    }
}

/// Prints the canonical form. The keys are in order here, and base64 and hex need no escapes.
fn canonical(payload: &[u8], signatures: &[(Hash, Vec<u8>)]) -> Vec<u8> {
    let length = entry_bytes(payload.len(), signatures.iter().map(|(_, sig)| sig.len()));
    // One allocation: a log prints every entry that it admits.
    let mut text = String::with_capacity(length);
    text += "{\"payload\":\"";
    base64_push(&mut text, payload);
    text += "\",\"payloadType\":\"";
    text += PAYLOAD_TYPE;
    text += "\",\"signatures\":[";
    for (at, (keyid, sig)) in signatures.iter().enumerate() {
        text += if at == 0 { "" } else { "," };
        text += "{\"keyid\":\"";
        text += &keyid.to_hex();
        text += "\",\"sig\":\"";
        base64_push(&mut text, sig);
        text += "\"}";
    }
    text += "]}";
    debug_assert_eq!(text.len(), length, "the length was computed beforehand");
    text.into_bytes()
}

/// Length of the canonical form with a payload and signatures of these lengths.
fn entry_bytes(payload: usize, signatures: impl IntoIterator<Item = usize>) -> usize {
    let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    let signature = |sig| "{\"keyid\":\"\",\"sig\":\"\"},".len() + 2 * HASH_BYTES + base64(sig);
    let signatures: usize = signatures.into_iter().map(signature).sum();
    let frame = "{\"payload\":\"\",\"payloadType\":\"\",\"signatures\":[]}".len() + PAYLOAD_TYPE.len();
    // No comma follows the last signature.
    frame + base64(payload) + signatures.saturating_sub(1)
}

/// DSSE v1 pre-authentication encoding.
pub(super) fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A publisher's secret key. It is zeroized on drop, and `Debug` shows only the keyid.
pub struct PublisherSigner {
    key: SigningKey,
    keyid: Hash,
}

impl PublisherSigner {
    /// Signs a message: 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_bytes().to_vec()
    }

    /// Tells whether this key signed an envelope.
    #[must_use]
    pub fn has_signed(&self, envelope: &Envelope) -> bool {
        let message = envelope.signed_message();
        let by_it = envelope.signatures().iter().filter(|(keyid, _)| *keyid == self.keyid);
        let mut signatures = by_it.filter_map(|(_, signature)| Signature::from_slice(signature).ok());
        signatures.any(|signature| self.key.verify(&message, &signature).is_ok())
    }

    /// Parses an Ed25519 key in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`FormatError`], which never quotes the key.
    pub fn from_pem(pem: &str) -> Result<Self, FormatError> {
        cap("a publisher key", pem.len(), 16 * 1024)?;
        let key = secret_key(pem)?;
        Ok(Self { keyid: keyid(&key.verifying_key()), key })
    }

    /// Makes a key from 32 bytes, which must come from the operating system's random source.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { keyid: keyid(&key.verifying_key()), key }
    }

    /// The key in PKCS#8 PEM. Keep it secret.
    #[must_use]
    pub fn to_pem(&self) -> zeroize::Zeroizing<String> {
        use ed25519_dalek::pkcs8::EncodePrivateKey as _;
        use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
        // openssl writes and reads it without the public key inside.
        let bare = ed25519_dalek::pkcs8::KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        bare.to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key always encodes")
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.key.verifying_key().to_bytes();
        PublicKey::from_encoded(KeyFamily::Ed25519, &bytes).expect("the key of a seed is strong")
    }

    /// The public key in SPKI PEM, for `publishers.toml`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.public_key().to_pem()
    }

    /// The keyid that names the key in envelopes: SHA-256 of the public key's SPKI DER.
    #[must_use]
    pub const fn keyid(&self) -> Hash {
        self.keyid
    }
}

impl fmt::Debug for PublisherSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherSigner").field("keyid", &self.keyid).finish_non_exhaustive()
    }
}
