//! Statements: in-toto Statement v1 and v0.1, with one file here for each predicate.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{...},
//!  "predicateType":"<one of those below>",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}, ...]}
//! ```
//!
//! Payloads may be any JSON that all parsers agree about: see [`json`](super::json). Our own are canonical (RFC 8785).
//!
//! Version 0.1 differs in that every subject must have a name. Here that depends on the predicate, for both versions.

mod provenance;
mod release;
mod resource;
mod subject;
mod summary;
mod withdrawal;

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

pub use provenance::Provenance;
pub use release::{Kind, ManifestRef, Release, Source};
pub use resource::Resource;
pub use subject::Subject;
pub use summary::{VerificationResult, VerificationSummary};
pub use withdrawal::{MAX_REASON_BYTES, Withdrawal};

use super::Purl;
use super::json::{Fields, Json};
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
}

/// The kind of a statement. Publishers have rights for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementKind {
    /// A release, of this kind.
    Release(Kind),
    /// A withdrawal.
    Withdrawal,
    /// SLSA provenance.
    Provenance,
    /// A SLSA verification summary.
    VerificationSummary,
}

impl StatementKind {
    /// The kinds of release.
    pub const RELEASES: [Self; 3] =
        [Self::Release(Kind::Build), Self::Release(Kind::Update), Self::Release(Kind::DetectionRules)];

    /// The kinds that a publisher can have a right to. Withdrawals are not among them: a publisher that may release a
    /// package may withdraw what it released.
    pub const LISTABLE: [Self; 5] = [
        Self::RELEASES[0],
        Self::RELEASES[1],
        Self::RELEASES[2],
        Self::Provenance,
        Self::VerificationSummary,
    ];

    /// The name in configuration and searches.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release(kind) => kind.as_str(),
            Self::Withdrawal => "withdrawal",
            Self::Provenance => "provenance",
            Self::VerificationSummary => "verification-summary",
        }
    }

    /// Finds the kind of this name in [`LISTABLE`](Self::LISTABLE).
    #[must_use]
    pub fn parse_right(text: &str) -> Option<Self> {
        Self::LISTABLE.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl From<Kind> for StatementKind {
    fn from(kind: Kind) -> Self {
        Self::Release(kind)
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Statement {
    const WHAT: &str = "a statement";

    /// Parses the payload of an envelope.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of a known predicate type with all that the type demands.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let (predicate_type, fields) = open(Self::WHAT, payload)?;
        match &*predicate_type {
            release::PREDICATE_TYPE => Release::read(fields).map(Self::Release),
            withdrawal::PREDICATE_TYPE => Withdrawal::read(fields).map(Self::Withdrawal),
            provenance::PREDICATE_TYPE => Provenance::read(fields).map(Self::Provenance),
            summary::PREDICATE_TYPE => VerificationSummary::read(fields).map(Self::Summary),
            other => {
                let known = [
                    release::PREDICATE_TYPE,
                    withdrawal::PREDICATE_TYPE,
                    provenance::PREDICATE_TYPE,
                    summary::PREDICATE_TYPE,
                ];
                let expected = format!("to be one of {}", known.join(", "));
                Err(fields.wrong("predicateType", &expected, &quote(other)))
            }
        }
    }

    /// The kind of the statement.
    #[must_use]
    pub const fn kind(&self) -> StatementKind {
        match self {
            Self::Release(release) => StatementKind::Release(release.kind),
            Self::Withdrawal(_) => StatementKind::Withdrawal,
            Self::Provenance(_) => StatementKind::Provenance,
            Self::Summary(_) => StatementKind::VerificationSummary,
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
            Self::Provenance(_) | Self::Summary(_) => None,
        }
    }

    /// SHA-256 of each subject that has one, and the root of a release's manifest.
    pub fn digests(&self) -> impl Iterator<Item = Hash> + use<'_> {
        let (subjects, resources, manifest): (&[Subject], &[Resource], _) = match self {
            Self::Release(release) => (&release.subjects, &[], release.manifest),
            Self::Withdrawal(withdrawal) => (&withdrawal.subjects, &[], None),
            Self::Provenance(provenance) => (&[], &provenance.subjects, None),
            Self::Summary(summary) => (&[], &summary.subjects, None),
        };
        let named = subjects.iter().map(|subject| subject.sha256);
        named.chain(resources.iter().filter_map(Resource::sha256)).chain(manifest.map(|m| m.root))
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
    let statement = Json::object([
        ("_type", Json::string(STATEMENT_TYPE)),
        ("subject", Json::Array(subjects.iter().map(Subject::to_json).collect())),
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
