//! Submitted envelopes: DSSE 1.0.2 in full.
//!
//! ```text
//! {"payload":"<base64>","payloadType":"application/vnd.in-toto+json",
//!  "signatures":[{"keyid":"<whatever names the key, or nothing>","sig":"<base64>", ...}, ...], ...}
//! ```
//!
//! Unknown fields are ignored, the keyid is only a hint, and base64 may have either alphabet. A log never stores these
//! bytes: it finds the signers of the payload, and makes an [`Envelope`] of its own around it.

use alloc::string::String;
use alloc::vec::Vec;

use super::MAX_ENTRY_BYTES;
use super::envelope::{Envelope, MAX_ENVELOPE_SIGNATURES, MAX_SUBMISSION_BYTES, PAYLOAD_TYPE, pae};
use super::json::{Fields, Json, describe};
use super::keys::ED25519_SIGNATURE_BYTES;
use crate::format::{FormatError, base64_decode_any, cap, cap_count, quote};
use crate::merkle::Hash;

/// An envelope as submitted. Its signatures are not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedEnvelope {
    payload: Vec<u8>,
    signatures: Vec<SubmittedSignature>,
}

/// A signature as submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedSignature {
    /// The keyid as submitted; empty if missing.
    pub keyid: String,
    /// The signature.
    pub sig: Vec<u8>,
}

impl SubmittedEnvelope {
    /// Parses an envelope without verifying its signatures.
    ///
    /// # Errors
    /// [`FormatError`] unless it is a DSSE envelope around an in-toto statement, with 1 to
    /// [`MAX_ENVELOPE_SIGNATURES`] signatures, and small enough to become an entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Envelope::WHAT, bytes.len(), MAX_SUBMISSION_BYTES)?;
        let mut fields = Fields::new(Envelope::WHAT, "", Json::parse(Envelope::WHAT, bytes)?)?;
        let payload_type = fields.text("payloadType")?;
        if payload_type != PAYLOAD_TYPE {
            return Err(fields.wrong("payloadType", &format!("to be {PAYLOAD_TYPE}"), &quote(&payload_type)));
        }
        let payload = decode(&mut fields, "payload")?;
        cap("an entry", Envelope::least_entry_bytes(payload.len()), MAX_ENTRY_BYTES)?;
        let signatures = fields.array("signatures")?;
        cap_count(Envelope::WHAT, "signatures", signatures.len(), MAX_ENVELOPE_SIGNATURES)?;
        if signatures.is_empty() {
            return Err(FormatError::malformed(Envelope::WHAT, "at least one signature", "none"));
        }
        let signatures = signatures.into_iter().map(parse_signature).collect::<Result<_, _>>()?;
        Ok(Self { payload, signatures })
    }

    /// The signed bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, in the order of the submission; 1 to [`MAX_ENVELOPE_SIGNATURES`].
    #[must_use]
    pub fn signatures(&self) -> &[SubmittedSignature] {
        &self.signatures
    }

    /// Tells whether a signature is not as long as Ed25519's are: checks of other families take up to forty times as long,
    /// too long for a thread that serves others.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.signatures.iter().any(|signature| signature.sig.len() != ED25519_SIGNATURE_BYTES)
    }

    /// The signed message.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8> {
        pae(&self.payload)
    }

    /// Makes the envelope of an entry, if all keyids are in the form of an entry's.
    ///
    /// # Errors
    /// [`FormatError`] if a keyid is not the hex SHA-256 of a key, or is repeated.
    pub fn into_named(self) -> Result<Envelope, FormatError> {
        let named = |signature: SubmittedSignature| Ok((Hash::from_hex(&signature.keyid)?, signature.sig));
        let signatures = self.signatures.into_iter().map(named).collect::<Result<_, FormatError>>()?;
        Envelope::new(self.payload, signatures)
    }
}

impl Envelope {
    /// Parses an entry of a log: an envelope in its canonical form.
    ///
    /// # Errors
    /// [`FormatError`] for anything else, and for more than [`MAX_ENTRY_BYTES`].
    pub fn parse_entry(entry: &[u8]) -> Result<Self, FormatError> {
        cap("an entry", entry.len(), MAX_ENTRY_BYTES)?;
        let envelope = SubmittedEnvelope::parse(entry)?.into_named()?;
        if envelope.entry != entry {
            let seen = "the same envelope in another order, with other spaces or with other fields";
            return Err(FormatError::malformed(Self::WHAT, "canonical JSON (RFC 8785)", seen));
        }
        Ok(envelope)
    }
}

fn decode(fields: &mut Fields<'_>, key: &str) -> Result<Vec<u8>, FormatError> {
    let text = fields.text(key)?;
    base64_decode_any(&text)
        .ok_or_else(|| fields.wrong(key, "to be padded base64, standard or URL-safe", &quote(&text)))
}

fn parse_signature(value: Json<'_>) -> Result<SubmittedSignature, FormatError> {
    let mut fields = Fields::new(Envelope::WHAT, "signatures[]", value)?;
    // A missing keyid counts as empty, and some signers write null for a missing one.
    let keyid = match fields.optional("keyid") {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(keyid)) => keyid.into_owned(),
        Some(other) => return Err(fields.wrong("keyid", "to be a string, if any", &describe(&other))),
    };
    Ok(SubmittedSignature { keyid, sig: decode(&mut fields, "sig")? })
}
