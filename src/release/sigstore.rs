//! Sigstore bundles v0.1 to v0.3, as GitHub and npm publish them: the envelope inside, and the signer that it names.
//!
//! ```text
//! {"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
//!  "verificationMaterial":{"certificate":{"rawBytes":"<base64 of DER>"}, ...},
//!  "dsseEnvelope":{"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"<base64>"}]}}
//! ```
//!
//! Versions before v0.3 have `x509CertificateChain.certificates[]` for the certificate. Bundles by a key that is not in a
//! certificate have `publicKey.hint`. A signature that is not by its certificate's key is refused. Nothing else is verified: the log does not
//! know who certifies keys.
//!
//! A file may hold one bundle, one a line (`gh attestation download`), or `{"attestations":[{"bundle":{...}}, ...]}` (npm's
//! registry and GitHub's API).

mod certificate;

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::envelope::pae;
use super::json::{Fields, Json};
use super::{CarriedEnvelope, Imported, KeyFamily, MAX_ENTRY_BYTES, PAYLOAD_TYPE, PublicKey, Signer};
use crate::format::{FormatError, base64_decode_any, cap, cap_count, quote, utf8, without_mark};
use crate::merkle::Hash;

/// Most bytes of a file of bundles.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Most bundles in a file.
const MAX_BUNDLES: usize = 256;
const WHAT: &str = "a Sigstore bundle";
const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle+json;version=0.", "application/vnd.dev.sigstore.bundle.v0."];

/// A bundle with a DSSE envelope around an in-toto statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreBundle {
    media_type: String,
    envelope: CarriedEnvelope,
    certificate: Option<Vec<u8>>,
    signer: Signer,
    /// SHA-256 of the bundle: of its bytes, or in a list of attestations of its canonical JSON.
    digest: Hash,
}

impl SigstoreBundle {
    /// The statement that a publisher makes of it. Leaves out the certificate, and then the envelope, if the entry would be
    /// too large with them.
    ///
    /// # Errors
    /// [`FormatError`] unless the envelope has an in-toto statement that may be carried.
    pub fn import(self, log: Option<&str>) -> Result<Imported, FormatError> {
        let Self { media_type, envelope, certificate, signer, digest } = self;
        let mut imported = Imported::new(envelope, certificate, signer, (digest, media_type))?;
        imported.log = log.map(ToOwned::to_owned);
        // The entry has the payload in base64, and a signature.
        let fits = |imported: &Imported| {
            Ok::<_, FormatError>(imported.to_payload()?.len().div_ceil(3) * 4 + 512 <= MAX_ENTRY_BYTES)
        };
        if !fits(&imported)? {
            imported.certificate = None;
        }
        if !fits(&imported)? {
            imported.envelope = None;
        }
        Ok(imported)
    }
}

/// Reads the bundles in a file. Each is read by itself, so that one that is of no use does not hide the others.
///
/// # Errors
/// [`FormatError`] if the file is none of those shown above.
pub fn read_bundles(file: &[u8]) -> Result<Vec<Result<SigstoreBundle, FormatError>>, FormatError> {
    const WHAT: &str = "a file of Sigstore bundles";
    cap(WHAT, file.len(), MAX_FILE_BYTES)?;
    let file = without_mark(file).trim_ascii();
    utf8(WHAT, file)?;
    let lines: Vec<&[u8]> =
        file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    // One value over several lines, or one on each.
    let whole = Json::parse(WHAT, file);
    let values = match whole {
        Ok(whole) => vec![(whole, file)],
        Err(error) if lines.len() < 2 => return Err(error),
        Err(_) => {
            cap_count(WHAT, "bundles", lines.len(), MAX_BUNDLES)?;
            let parsed: Result<Vec<_>, _> = lines.iter().map(|line| Json::parse(WHAT, line)).collect();
            parsed?.into_iter().zip(lines.iter().copied()).collect()
        }
    };
    let mut bundles = Vec::new();
    for (json, bytes) in values {
        let mut fields = Fields::new(WHAT, "", json)?;
        match fields.optional_array("attestations")? {
            None => bundles.push(read(fields, Hash::digest(bytes))),
            Some(list) => {
                for item in list {
                    let mut item = Fields::new(WHAT, "attestations[]", item)?;
                    let bundle = item.optional("bundle").unwrap_or(Json::Null);
                    let digest = Hash::digest(&bundle.to_canonical());
                    bundles.push(Fields::new(WHAT, "bundle", bundle).and_then(|bundle| read(bundle, digest)));
                }
            }
        }
    }
    cap_count(WHAT, "bundles", bundles.len(), MAX_BUNDLES)?;
    Ok(bundles)
}

fn read(bundle: Fields<'_>, digest: Hash) -> Result<SigstoreBundle, FormatError> {
    let mut bundle = bundle.about(WHAT);
    let media_type = bundle.string("mediaType")?;
    if !MEDIA_TYPES.iter().any(|start| media_type.starts_with(start)) {
        let expected = "to be application/vnd.dev.sigstore.bundle.v0.3+json, or that of v0.1 or v0.2";
        return Err(bundle.wrong("mediaType", expected, &quote(&media_type)));
    }
    let Some(mut envelope) = bundle.optional_object("dsseEnvelope")? else {
        let seen = if bundle.optional("messageSignature").is_some() {
            "a bare signature, which states nothing"
        } else {
            "nothing"
        };
        return Err(bundle.wrong("dsseEnvelope", "to be there", seen));
    };
    let payload_type = envelope.text("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(envelope.wrong("payloadType", &format!("to be {PAYLOAD_TYPE}"), &quote(&payload_type)));
    }
    let payload = base64(&mut envelope, "payload")?;
    let mut signatures = Vec::new();
    for item in envelope.array("signatures")? {
        let mut item = Fields::new(WHAT, "dsseEnvelope.signatures[]", item)?.without_unset();
        let keyid = item.optional_string("keyid")?.unwrap_or_default();
        signatures.push((keyid, base64(&mut item, "sig")?));
    }
    let (certificate, signer) = read_signer(bundle.object("verificationMaterial")?)?;
    if certificate.as_deref().is_some_and(|der| is_by_another(der, &payload, &signatures)) {
        let expected = "a signature by the key of the certificate";
        return Err(FormatError::malformed(WHAT, expected, "one by another key, or of another payload"));
    }
    Ok(SigstoreBundle {
        media_type,
        envelope: CarriedEnvelope { payload, signatures },
        certificate,
        signer,
        digest,
    })
}

/// Tells that no signature is by the certificate's key: that would be evidence of nothing. Only keys that Sigstore hands
/// out certificates for are tried, if this build knows them.
fn is_by_another(certificate: &[u8], payload: &[u8], signatures: &[(String, Vec<u8>)]) -> bool {
    let key = PublicKey::parse(certificate, None).ok();
    let key = key.filter(|key| matches!(key.family(), KeyFamily::EcdsaP256 | KeyFamily::Ed25519));
    let message = pae(payload);
    key.is_some_and(|key| !signatures.iter().any(|(_, signature)| key.verifies(&message, signature)))
}

/// The signer's certificate and what it says, or the name of its key.
fn read_signer(material: Fields<'_>) -> Result<(Option<Vec<u8>>, Signer), FormatError> {
    let mut material = material.without_unset();
    let certificate = match material.optional_object("certificate")? {
        Some(certificate) => Some(certificate),
        None => match material.optional_object("x509CertificateChain")? {
            None => None,
            Some(mut chain) => match chain.array("certificates")?.into_iter().next() {
                None => None,
                Some(first) => Some(Fields::new(WHAT, "x509CertificateChain.certificates[]", first)?),
            },
        },
    };
    if let Some(mut certificate) = certificate {
        let der = base64(&mut certificate, "rawBytes")?;
        let (identity, issuer) = certificate::names(&der).ok_or_else(|| {
            let seen = format!("{} bytes without one", der.len());
            FormatError::malformed("a certificate", "DER with a subject alternative name", seen)
        })?;
        return Ok((Some(der), Signer::Certificate { identity, issuer }));
    }
    if let Some(mut key) = material.optional_object("publicKey")? {
        return Ok((None, Signer::Key(key.text("hint")?.to_string())));
    }
    Err(material.wrong("certificate", "or publicKey to be there", "neither"))
}

fn base64(fields: &mut Fields<'_>, key: &str) -> Result<Vec<u8>, FormatError> {
    let text = fields.text(key)?;
    base64_decode_any(&text).ok_or_else(|| fields.wrong(key, "to be padded base64", &quote(&text)))
}
