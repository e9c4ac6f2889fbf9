//! Statements: in-toto Statement v1 and v0.1, with one file here for each predicate.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{...},
//!  "predicateType":"<one of those below>",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}, ...]}
//! ```
//!
//! Payloads may be any JSON that all parsers agree about: see [`json`](mod@super::json). Our own are canonical (RFC 8785).
//!
//! Version 0.1 differs in that every subject must have a name. Here that depends on the predicate, for both versions.

mod attestation;
mod commitment;
mod disclosure;
mod imported;
mod kind;
mod provenance;
mod release;
mod resource;
mod review;
mod subject;
mod summary;
mod withdrawal;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

pub use attestation::{Attestation, Document, Reference, TestResult};
pub use commitment::{Commitment, MAX_FINDING_BYTES, Opening};
pub use disclosure::{Disclosure, Shown};
pub use imported::{CarriedEnvelope, Imported, Signer};
pub use kind::StatementKind;
pub use provenance::Provenance;
pub use release::{Kind, ManifestRef, Release, Source};
pub use resource::Resource;
pub use review::{MAX_COMMITMENTS, Report, Review, ReviewResult, ReviewScope};
pub use subject::Subject;
pub use summary::{VerificationResult, VerificationSummary};
pub use withdrawal::{MAX_REASON_BYTES, Withdrawal};

use super::json::{Fields, Json};
use super::{Purl, Timestamp};
use crate::format::{FormatError, cap, quote};
use crate::merkle::Hash;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const STATEMENT_TYPE_0_1: &str = "https://in-toto.io/Statement/v0.1";
/// Most artifacts in a statement. A release of more has a manifest.
pub const MAX_SUBJECTS: usize = 256;
/// Longest name of a subject or an audience, and longest URI, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;

/// A statement of a known predicate type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// A release.
    Release(Release),
    /// A withdrawal of a release, which should not be used any more.
    Withdrawal(Withdrawal),
    /// SLSA provenance: how artifacts were built.
    Provenance(Provenance),
    /// A SLSA verification summary: the result of a check of artifacts.
    Summary(VerificationSummary),
    /// A review of a source or a release.
    Review(Review),
    /// The disclosure of a finding of a review.
    Disclosure(Disclosure),
    /// A statement that was signed for another system, carried by a publisher of this log.
    Imported(Imported),
    /// Any other attestation.
    Attestation(Attestation),
}

/// The predicate types of this program.
const OUR_TYPES: [&str; 4] = [
    withdrawal::PREDICATE_TYPE,
    review::PREDICATE_TYPE,
    disclosure::PREDICATE_TYPE,
    imported::PREDICATE_TYPE,
];

impl Statement {
    const WHAT: &str = "a statement";

    /// Parses the payload of an envelope.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON with all that its predicate type demands.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let (predicate_type, fields) = open(Self::WHAT, payload)?;
        match &*predicate_type {
            release::PREDICATE_TYPE => Release::read(fields).map(Self::Release),
            withdrawal::PREDICATE_TYPE => Withdrawal::read(fields).map(Self::Withdrawal),
            provenance::PREDICATE_TYPE => Provenance::read(fields).map(Self::Provenance),
            summary::PREDICATE_TYPE => VerificationSummary::read(fields).map(Self::Summary),
            provenance::PREDICATE_TYPE_0_2 => Provenance::read_0_2(fields).map(Self::Provenance),
            summary::PREDICATE_TYPE_0_2 => VerificationSummary::read_0_2(fields).map(Self::Summary),
            review::PREDICATE_TYPE => Review::read(fields).map(Self::Review),
            disclosure::PREDICATE_TYPE => Disclosure::read(fields).map(Self::Disclosure),
            imported::PREDICATE_TYPE => Imported::read(fields).map(Self::Imported),
            other => Attestation::read(other, fields).map(Self::Attestation),
        }
    }

    /// Makes the payload of an attestation, in canonical JSON.
    ///
    /// # Errors
    /// [`FormatError`] unless `predicate` is strict JSON, and for what [`parse`](Self::parse) would reject. Releases and
    /// withdrawals are not made so.
    pub fn attestation(
        predicate_type: &str,
        predicate: &[u8],
        subjects: &[Resource],
    ) -> Result<Vec<u8>, FormatError> {
        let predicate = Json::parse("a predicate", predicate)?;
        let subjects = subjects.iter().map(Resource::to_json).collect();
        let payload = to_payload_of(predicate_type, predicate, subjects);
        match Self::parse(&payload)?.predicate_type() {
            Some(_) => Ok(payload),
            None => Err(FormatError::malformed(Self::WHAT, "an attestation", quote(predicate_type))),
        }
    }

    /// The kind of the statement.
    #[must_use]
    pub fn kind(&self) -> StatementKind {
        match self {
            Self::Release(release) => StatementKind::Release(release.kind),
            Self::Withdrawal(_) => StatementKind::Withdrawal,
            Self::Provenance(_) => StatementKind::Provenance,
            Self::Summary(_) => StatementKind::VerificationSummary,
            Self::Review(_) => StatementKind::Review,
            Self::Disclosure(_) => StatementKind::Disclosure,
            Self::Imported(_) => StatementKind::Imported,
            Self::Attestation(attestation) => attestation.kind.clone(),
        }
    }

    /// The predicate type of an attestation, which publishers can have a right to by itself; `None` for releases and
    /// withdrawals.
    #[must_use]
    pub fn predicate_type(&self) -> Option<&str> {
        match self {
            Self::Release(_) | Self::Withdrawal(_) => None,
            Self::Provenance(provenance) => Some(provenance.predicate_type),
            Self::Summary(summary) => Some(summary.predicate_type),
            Self::Review(_) => Some(review::PREDICATE_TYPE),
            Self::Disclosure(_) => Some(disclosure::PREDICATE_TYPE),
            Self::Imported(_) => Some(imported::PREDICATE_TYPE),
            Self::Attestation(attestation) => Some(&attestation.predicate_type),
        }
    }

    /// Tells whether a right, or a demand, covers it: the name of its kind, or its predicate type.
    #[must_use]
    pub fn is_of(&self, right: &StatementKind) -> bool {
        match right {
            StatementKind::Other(predicate_type) => self.predicate_type() == Some(predicate_type),
            named => self.kind() == *named,
        }
    }

    /// The result of a check: `PASSED` or `FAILED` of a verification summary; of a review also `PASSED_WITH_FINDINGS`, of a
    /// test also `WARNED`.
    #[must_use]
    pub const fn result(&self) -> Option<&'static str> {
        match self {
            Self::Summary(summary) => Some(summary.result.as_str()),
            Self::Review(review) => Some(review.result.as_str()),
            Self::Attestation(Attestation { result: Some(result), .. }) => Some(result.as_str()),
            _ => None,
        }
    }

    /// The time that a verification summary or a review states for itself. The log does not check it.
    #[must_use]
    pub const fn stated_time(&self) -> Option<Timestamp> {
        match self {
            Self::Summary(summary) => Some(summary.time_verified),
            Self::Review(review) => Some(review.finished),
            _ => None,
        }
    }

    /// The package and version that it is about, if it names any; the first of several.
    #[must_use]
    pub const fn purl(&self) -> Option<&Purl> {
        self.purls().first()
    }

    /// Every package and version that it is about, each once. A release or a withdrawal has exactly one.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        match self {
            Self::Release(release) => core::slice::from_ref(&release.purl),
            Self::Withdrawal(withdrawal) => core::slice::from_ref(&withdrawal.purl),
            Self::Provenance(provenance) => provenance.purls(),
            Self::Summary(summary) => summary.purls(),
            Self::Review(review) => review.purls(),
            Self::Disclosure(disclosure) => disclosure.purls(),
            Self::Imported(imported) => imported.purls(),
            Self::Attestation(attestation) => attestation.purls(),
        }
    }

    /// Checks the rules of purl types, which apply to statements that are new to a log, but not to logged ones. A withdrawal
    /// is exempt, because it repeats the purl of its release.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check_new(&self) -> Result<(), FormatError> {
        match self {
            Self::Withdrawal(_) => Ok(()),
            _ => self.purls().iter().try_for_each(|purl| purl.check_type()),
        }
    }

    /// Origin of the only log that it is for, if it names one. Only our own predicates can.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::Release(release) => release.log.as_deref(),
            Self::Withdrawal(withdrawal) => withdrawal.log.as_deref(),
            Self::Review(review) => review.log.as_deref(),
            Self::Disclosure(disclosure) => disclosure.log.as_deref(),
            Self::Imported(imported) => imported.log.as_deref(),
            Self::Provenance(_) | Self::Summary(_) | Self::Attestation(_) => None,
        }
    }

    /// SHA-256 of each subject that has one, and the root of a release's manifest.
    pub fn digests(&self) -> impl Iterator<Item = Hash> + use<'_> {
        let (subjects, manifest): (&[Subject], _) = match self {
            Self::Release(release) => (&release.subjects, release.manifest),
            Self::Withdrawal(withdrawal) => (&withdrawal.subjects, None),
            _ => (&[], None),
        };
        let named = subjects.iter().map(|subject| subject.sha256);
        named.chain(self.resources().iter().filter_map(Resource::sha256)).chain(manifest.map(|m| m.root))
    }

    /// The subjects of an attestation; none for a release or a withdrawal, whose subjects are named.
    #[must_use]
    pub const fn resources(&self) -> &[Resource] {
        match self {
            Self::Release(_) | Self::Withdrawal(_) => &[],
            Self::Provenance(provenance) => provenance.subjects.as_slice(),
            Self::Summary(summary) => summary.subjects.as_slice(),
            Self::Review(review) => review.subjects.as_slice(),
            Self::Disclosure(disclosure) => disclosure.subjects.as_slice(),
            Self::Imported(imported) => imported.subjects.as_slice(),
            Self::Attestation(attestation) => attestation.subjects.as_slice(),
        }
    }

    /// The documents that it refers to by digest.
    #[must_use]
    pub const fn documents(&self) -> &[Document] {
        match self {
            Self::Attestation(attestation) => attestation.documents.as_slice(),
            _ => &[],
        }
    }

    /// Tells whether it refers to a document with this digest: one of its [`documents`](Self::documents), or the report of a
    /// review.
    #[must_use]
    pub fn has_document(&self, sha256: &Hash) -> bool {
        let report = if let Self::Review(review) = self { Some(review.report.sha256) } else { None };
        let documents = self.documents().iter().filter_map(|document| document.resource.sha256());
        documents.chain(report).any(|known| known == *sha256)
    }

    /// The release, if it is one.
    #[must_use]
    pub const fn as_release(&self) -> Option<&Release> {
        match self {
            Self::Release(release) => Some(release),
            _ => None,
        }
    }

    /// The withdrawal, if it is one.
    #[must_use]
    pub const fn as_withdrawal(&self) -> Option<&Withdrawal> {
        match self {
            Self::Withdrawal(withdrawal) => Some(withdrawal),
            _ => None,
        }
    }
}

/// Parses what all statements have in common. Returns the predicate type and the remaining fields.
fn open<'a>(what: &'static str, payload: &'a [u8]) -> Result<(Cow<'a, str>, Fields<'a>), FormatError> {
    let mut fields = Fields::new(what, "", Json::parse(what, payload)?)?;
    let seen = fields.text("_type")?;
    if seen != STATEMENT_TYPE && seen != STATEMENT_TYPE_0_1 {
        let expected = format!("to be {STATEMENT_TYPE} or {STATEMENT_TYPE_0_1}");
        return Err(fields.wrong("_type", &expected, &quote(&seen)));
    }
    Ok((fields.text("predicateType")?, fields))
}

/// Like [`open`], but demands a predicate type.
fn open_as<'a>(
    what: &'static str,
    payload: &'a [u8],
    predicate_type: &str,
) -> Result<Fields<'a>, FormatError> {
    let (seen, fields) = open(what, payload)?;
    if seen == predicate_type {
        return Ok(fields);
    }
    Err(fields.wrong("predicateType", &format!("to be {predicate_type}"), &quote(&seen)))
}

/// Makes the payload of a statement of ours.
fn to_payload(predicate_type: &str, predicate: Json<'_>, subjects: &[Subject]) -> Vec<u8> {
    to_payload_of(predicate_type, predicate, subjects.iter().map(|subject| subject.to_json(None)).collect())
}

/// Like [`to_payload`], with subjects of any form.
fn to_payload_of(predicate_type: &str, predicate: Json<'_>, subjects: Vec<Json<'_>>) -> Vec<u8> {
    let statement = Json::object([
        ("_type", Json::string(STATEMENT_TYPE)),
        ("subject", Json::Array(subjects)),
        ("predicateType", Json::string(predicate_type)),
        ("predicate", predicate),
    ]);
    statement.to_canonical()
}

fn check_text(what: &'static str, text: &str) -> Result<(), FormatError> {
    cap(what, text.len(), MAX_TEXT_BYTES)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(FormatError::malformed(what, "text without control characters, not empty", quote(text)));
    }
    Ok(())
}

/// Reads `purl` and `log` of a predicate, both optional.
fn read_purl_and_log(predicate: &mut Fields<'_>) -> Result<(Option<Purl>, Option<String>), FormatError> {
    let purl = predicate.optional_string("purl")?.as_deref().map(Purl::parse_logged).transpose()?;
    Ok((purl, read_log(predicate)?))
}

/// Reads `log` of a predicate, which is optional.
fn read_log(predicate: &mut Fields<'_>) -> Result<Option<String>, FormatError> {
    let log = predicate.optional_string("log")?;
    log.as_deref().map_or(Ok(()), |log| check_text("the log of a statement", log))?;
    Ok(log)
}

/// The packages that subjects name, and those in `others`, each once.
///
/// Rejects a text that looks like a purl but is not one with a version: if it were ignored, it would escape the patterns
/// of its signer's rights, and people would still read it as a purl.
fn purls_in<'a>(first: Option<&'a str>, subjects: &'a [Resource]) -> Result<Vec<Purl>, FormatError> {
    let of_subjects = subjects.iter().flat_map(|subject| [subject.uri.as_deref(), subject.name.as_deref()]);
    let mut purls = Vec::new();
    for text in first.into_iter().chain(of_subjects.flatten()) {
        let scheme = text.trim_start().get(..4);
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("pkg:")) {
            let purl = Purl::parse_logged(text)?;
            if !purls.contains(&purl) {
                purls.push(purl);
            }
        }
    }
    Ok(purls)
}
