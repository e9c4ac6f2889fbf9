//! Statements that were signed for another system, such as Sigstore's, and carried into this log by a publisher of it.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"bundle":{"digest":{"sha256":"<hex>"},"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"},
//!   "certificate":"<base64 of DER>",
//!   "envelope":{"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"<base64>"}]},
//!   "log":"log.example.com/releases","payload":{"digest":{"sha256":"<hex>"}},
//!   "predicateType":"https://slsa.dev/provenance/v1",
//!   "signer":{"identity":"https://github.com/...","issuer":"https://token.actions.githubusercontent.com"}},
//!  "predicateType":"urn:treehead:imported:v1",
//!  "subject":[...]}                                            those of the carried statement
//! ```
//!
//! `envelope` and `certificate` are left out if they don't fit. A statement by a key without a certificate has
//! `"signer":{"key":"..."}`.
//!
//! Whoever signs this says that it found that bundle. The carried signature, the certificate and its chain are evidence:
//! neither the log nor an endpoint checks them, so nothing carried counts as a statement of the signer that it names.

use alloc::string::String;
use alloc::vec::Vec;

use super::kind::is_predicate_type;
use super::{Purl, Resource, check_text, open, open_as, purls_in, read_log, to_payload_of};
use crate::format::{FormatError, base64_decode, base64_decode_any, base64_encode, quote};
use crate::merkle::Hash;
use crate::release::PAYLOAD_TYPE;
use crate::release::json::{Fields, Json};

pub(super) const PREDICATE_TYPE: &str = "urn:treehead:imported:v1";

/// The signer that a carried statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The subject alternative name of its certificate, and the issuer of the identity, if the certificate has it.
    Certificate {
        /// Such as the URI of a workflow.
        identity: String,
        /// URI of the identity provider.
        issuer: Option<String>,
    },
    /// A name of its key.
    Key(String),
}

/// A carried statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The subjects of the carried statement.
    pub subjects: Vec<Resource>,
    /// Its predicate type.
    pub predicate_type: String,
    /// The signer that it names, which nobody checked.
    pub signer: Signer,
    /// SHA-256 of the bundle as it was found.
    pub bundle: Hash,
    /// Media type of the bundle.
    pub media_type: String,
    /// SHA-256 of the signed payload.
    pub payload_hash: Hash,
    /// The signed payload and the signatures, if they are carried.
    pub envelope: Option<CarriedEnvelope>,
    /// The signer's certificate in DER, if it is carried.
    pub certificate: Option<Vec<u8>>,
    /// Origin of the only log that it is for, if it names one.
    pub log: Option<String>,
    purls: Vec<Purl>,
}

/// A DSSE envelope inside a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedEnvelope {
    /// The signed payload.
    pub payload: Vec<u8>,
    /// keyid and signature.
    pub signatures: Vec<(String, Vec<u8>)>,
}

impl Imported {
    const WHAT: &str = "an imported statement";

    /// A statement about an envelope.
    ///
    /// # Errors
    /// [`FormatError`] unless the payload is an in-toto statement of a type that is not this program's own.
    pub fn new(
        envelope: CarriedEnvelope,
        certificate: Option<Vec<u8>>,
        signer: Signer,
        (bundle, media_type): (Hash, String),
    ) -> Result<Self, FormatError> {
        let (predicate_type, subjects) = carried(&envelope.payload)?;
        let purls = purls_in(None, &subjects)?;
        let payload_hash = Hash::digest(&envelope.payload);
        let (envelope, log) = (Some(envelope), None);
        let imported = Self {
            subjects,
            predicate_type,
            signer,
            bundle,
            media_type,
            payload_hash,
            envelope,
            certificate,
            log,
            purls,
        };
        imported.to_payload()?; // says what is wrong with it
        Ok(imported)
    }

    /// Parses the payload of an envelope.
    ///
    /// Unknown fields of the statement are ignored, as in-toto demands; in the predicate, which is ours, they are rejected.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of the shape shown above, and a carried envelope is what it says.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        open_as(Self::WHAT, payload, PREDICATE_TYPE).and_then(Self::read)
    }

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let predicate_type = predicate.string("predicateType")?;
        if !is_carried_type(&predicate_type) {
            let expected = "to be the URI of a predicate type that is not this program's";
            return Err(predicate.wrong("predicateType", expected, &quote(&predicate_type)));
        }
        let signer = read_signer(predicate.object("signer")?)?;
        let mut bundle = predicate.object("bundle")?;
        let media_type = bundle.string("mediaType")?;
        check_text("the media type of a bundle", &media_type)?;
        let bundle_hash = read_digest(bundle)?;
        let payload_hash = read_digest(predicate.object("payload")?)?;
        let envelope = predicate.optional_object("envelope")?.map(read_envelope).transpose()?;
        let certificate = match predicate.optional_string("certificate")? {
            None => None,
            Some(text) => Some(
                base64_decode(&text)
                    .ok_or_else(|| predicate.wrong("certificate", "to be padded base64", &quote(&text)))?,
            ),
        };
        let log = read_log(&mut predicate)?;
        predicate.nothing_else()?;
        if let Some(envelope) = &envelope {
            let same = Hash::digest(&envelope.payload) == payload_hash
                && carried(&envelope.payload)? == (predicate_type.clone(), subjects.clone());
            if !same {
                let expected = "the digest, predicate type and subjects of the carried payload";
                return Err(FormatError::malformed(Self::WHAT, expected, "others"));
            }
        }
        let purls = purls_in(None, &subjects)?;
        Ok(Self {
            subjects,
            predicate_type,
            signer,
            bundle: bundle_hash,
            media_type,
            payload_hash,
            envelope,
            certificate,
            log,
            purls,
        })
    }

    /// Every package and version that the `uri` or the name of a subject says, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }

    /// The payload to sign, in canonical JSON.
    ///
    /// # Errors
    /// [`FormatError`] for what [`parse`](Self::parse) would reject.
    pub fn to_payload(&self) -> Result<Vec<u8>, FormatError> {
        let string = Json::string;
        let digest = |hash: &Hash| Json::object([("sha256", string(&hash.to_hex()))]);
        let bundle =
            Json::object([("digest", digest(&self.bundle)), ("mediaType", string(&self.media_type))]);
        let signer = match &self.signer {
            Signer::Key(key) => Json::object([("key", string(key))]),
            Signer::Certificate { identity, issuer: None } => Json::object([("identity", string(identity))]),
            Signer::Certificate { identity, issuer: Some(issuer) } => {
                Json::object([("identity", string(identity)), ("issuer", string(issuer))])
            }
        };
        let mut predicate = vec![
            ("bundle".into(), bundle),
            ("payload".into(), Json::object([("digest", digest(&self.payload_hash))])),
            ("predicateType".into(), string(&self.predicate_type)),
            ("signer".into(), signer),
        ];
        if let Some(CarriedEnvelope { payload, signatures }) = &self.envelope {
            let signature = |(keyid, sig): &(String, Vec<u8>)| {
                let sig = ("sig", string(&base64_encode(sig)));
                if keyid.is_empty() {
                    return Json::object([sig]);
                }
                Json::object([("keyid", string(keyid)), sig])
            };
            let envelope = Json::object([
                ("payload", string(&base64_encode(payload))),
                ("payloadType", string(PAYLOAD_TYPE)),
                ("signatures", Json::Array(signatures.iter().map(signature).collect())),
            ]);
            predicate.push(("envelope".into(), envelope));
        }
        let certificate = self.certificate.as_deref().map(base64_encode);
        predicate.extend(certificate.map(|text| ("certificate".into(), string(&text))));
        predicate.extend(self.log.as_deref().map(|log| ("log".into(), string(log))));
        let subjects = self.subjects.iter().map(Resource::to_json).collect();
        let payload = to_payload_of(PREDICATE_TYPE, Json::Object(predicate), subjects);
        Self::parse(&payload).map(|_| payload)
    }
}

fn is_carried_type(predicate_type: &str) -> bool {
    is_predicate_type(predicate_type) && !super::OUR_TYPES.contains(&predicate_type)
}

/// Predicate type and subjects of a carried payload.
fn carried(payload: &[u8]) -> Result<(String, Vec<Resource>), FormatError> {
    const WHAT: &str = "a carried statement";
    let (predicate_type, fields) = open(WHAT, payload)?;
    if !is_carried_type(&predicate_type) {
        let expected = "to be the URI of a predicate type that is not this program's";
        return Err(fields.wrong("predicateType", expected, &quote(&predicate_type)));
    }
    Ok((predicate_type.into_owned(), Resource::subjects(WHAT, &mut fields.about(WHAT))?))
}

fn read_digest(mut object: Fields<'_>) -> Result<Hash, FormatError> {
    let mut digest = object.object("digest")?;
    let hash = Hash::from_hex(&digest.text("sha256")?)?;
    digest.nothing_else()?;
    object.nothing_else().map(|()| hash)
}

fn read_signer(mut signer: Fields<'_>) -> Result<Signer, FormatError> {
    let text = |text: &String| check_text("the signer of an imported statement", text);
    let read = if let Some(key) = signer.optional_string("key")? {
        text(&key)?;
        Signer::Key(key)
    } else {
        let (identity, issuer) = (signer.string("identity")?, signer.optional_string("issuer")?);
        text(&identity)?;
        issuer.as_ref().map_or(Ok(()), text)?;
        Signer::Certificate { identity, issuer }
    };
    signer.nothing_else().map(|()| read)
}

fn read_envelope(mut envelope: Fields<'_>) -> Result<CarriedEnvelope, FormatError> {
    let payload_type = envelope.text("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(envelope.wrong("payloadType", &format!("to be {PAYLOAD_TYPE}"), &quote(&payload_type)));
    }
    let payload = read_base64(&mut envelope, "payload")?;
    let mut signatures = Vec::new();
    for signature in envelope.array("signatures")? {
        let mut signature = Fields::new(Imported::WHAT, "predicate.envelope.signatures[]", signature)?;
        let keyid = signature.optional_string("keyid")?.unwrap_or_default();
        if !keyid.is_empty() {
            check_text("a keyid", &keyid)?;
        }
        signatures.push((keyid, read_base64(&mut signature, "sig")?));
        signature.nothing_else()?;
    }
    envelope.nothing_else()?;
    if signatures.is_empty() {
        return Err(FormatError::malformed(Imported::WHAT, "at least one signature", "none"));
    }
    Ok(CarriedEnvelope { payload, signatures })
}

fn read_base64(fields: &mut Fields<'_>, key: &str) -> Result<Vec<u8>, FormatError> {
    let text = fields.text(key)?;
    base64_decode_any(&text).ok_or_else(|| fields.wrong(key, "to be padded base64", &quote(&text)))
}
