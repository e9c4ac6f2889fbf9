//! Reviews: somebody looked at a source or a release, and says what came of it.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"commitments":["<hex>", ...],"finishedOn":"2026-01-31T12:00:00Z","log":"log.example.com/releases",
//!   "purl":"pkg:...@1.2.3","report":{"digest":{"sha256":"<hex>"},"uri":"https://..."},"result":"PASSED",
//!   "reviewer":{"id":"https://..."},"scope":["source","build"]},
//!  "predicateType":"urn:treehead:review:v1",
//!  "subject":[{"digest":{"gitCommit":"<hex>"},"uri":"git+https://..."},
//!             {"digest":{"sha256":"<hex>"},"name":"scanner.bin"}]}
//! ```
//!
//! `commitments`, `log`, `purl` and `report.uri` are optional. The subjects are what was looked at: a source by its
//! digest, the artifacts of a release by theirs. Findings that are not for everybody stay out of the log: it gets a
//! [commitment](super::Commitment) to each, and each can be [disclosed](super::Disclosure) later.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Commitment, Purl, Resource, check_text, open_as, purls_in, read_purl_and_log};
use crate::format::{FormatError, SortedMap, cap_count, names, quote};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json, describe};
use crate::release::{Timestamp, parse_time};

pub(super) const PREDICATE_TYPE: &str = "urn:treehead:review:v1";
/// Most findings of one review: their commitments fill a third of an entry.
pub const MAX_COMMITMENTS: usize = 256;

names! {
    /// The result of a review.
    ReviewResult {
        /// Nothing was found that speaks against it.
        Passed => "PASSED",
        /// Something was found that does not speak against using it.
        PassedWithFindings => "PASSED_WITH_FINDINGS",
        /// Something was found that speaks against using it.
        Failed => "FAILED",
    }
}

names! {
    /// A part of a release that a reviewer looked at.
    ReviewScope {
        /// The source code.
        Source => "source",
        /// An update: what it changes.
        Update => "update",
        /// Detection rules.
        Rules => "rules",
        /// The build: that the artifacts come from the source.
        Build => "build",
    }
}

/// The report of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of the report.
    pub sha256: Hash,
    /// URI at which it lies, if others may read it.
    pub uri: Option<String>,
}

/// A review statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The things reviewed, 1 to [`MAX_SUBJECTS`](super::MAX_SUBJECTS), each with a digest.
    pub subjects: Vec<Resource>,
    /// URI of the reviewer. Readers decide whether the signer may speak for it.
    pub reviewer: String,
    /// Time at which the review ended.
    pub finished: Timestamp,
    /// The parts that the reviewer looked at; each once, at least one.
    pub scope: Vec<ReviewScope>,
    /// The result.
    pub result: ReviewResult,
    /// The report.
    pub report: Report,
    /// Commitments to findings, each once, at most [`MAX_COMMITMENTS`].
    pub commitments: Vec<Commitment>,
    /// Package and version, if it names any.
    pub purl: Option<Purl>,
    /// Origin of the only log that it is for, if it names one.
    pub log: Option<String>,
    purls: Vec<Purl>,
}

impl Review {
    const WHAT: &str = "a review";

    /// Parses the payload of an envelope.
    ///
    /// Unknown fields of the statement are ignored, as in-toto demands; in the predicate, which is ours, they are rejected.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of the shape shown above.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        open_as(Self::WHAT, payload, PREDICATE_TYPE).and_then(Self::read)
    }

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let mut reviewer = predicate.object("reviewer")?;
        let reviewer_id = reviewer.string("id")?;
        reviewer.nothing_else()?;
        check_text("the id of a reviewer", &reviewer_id)?;
        let finished = parse_time(&predicate.text("finishedOn")?)?;
        let result = predicate.text("result")?;
        let result = ReviewResult::parse(&result).ok_or_else(|| {
            predicate.wrong("result", "to be PASSED, PASSED_WITH_FINDINGS or FAILED", &quote(&result))
        })?;
        let report = read_report(predicate.object("report")?)?;
        let scope = read_scope(predicate.array("scope")?)?;
        let commitments = read_commitments(predicate.optional_array("commitments")?.unwrap_or_default())?;
        let (purl, log) = read_purl_and_log(&mut predicate)?;
        predicate.nothing_else()?;
        let purls = purls_in(purl.as_ref().map(|purl| purl.as_str()), &subjects)?;
        Ok(Self {
            subjects,
            reviewer: reviewer_id,
            finished,
            scope,
            result,
            report,
            commitments,
            purl,
            log,
            purls,
        })
    }

    /// Every package and version that it is about, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }
}

fn read_report(mut report: Fields<'_>) -> Result<Report, FormatError> {
    let mut digest = report.object("digest")?;
    let sha256 = Hash::from_hex(&digest.text("sha256")?)?;
    digest.nothing_else()?;
    let uri = report.optional_string("uri")?;
    uri.as_deref().map_or(Ok(()), |uri| check_text("the uri of a report", uri))?;
    report.nothing_else()?;
    Ok(Report { sha256, uri })
}

fn read_scope(items: Vec<Json<'_>>) -> Result<Vec<ReviewScope>, FormatError> {
    let expected = "predicate.scope to have source, update, rules or build, at least one, each once";
    let wrong = |seen: String| FormatError::malformed(Review::WHAT, expected, seen);
    let mut scope = Vec::new();
    for item in items {
        let read = if let Json::String(text) = &item { ReviewScope::parse(text) } else { None };
        match read.filter(|read| !scope.contains(read)) {
            Some(read) => scope.push(read),
            None => return Err(wrong(describe(&item))),
        }
    }
    if scope.is_empty() { Err(wrong("none".into())) } else { Ok(scope) }
}

fn read_commitments(items: Vec<Json<'_>>) -> Result<Vec<Commitment>, FormatError> {
    cap_count(Review::WHAT, "commitments", items.len(), MAX_COMMITMENTS)?;
    let mut seen = SortedMap::default();
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        let Json::String(text) = &item else {
            let expected = "predicate.commitments[] to be a string";
            return Err(FormatError::malformed(Review::WHAT, expected, describe(&item)));
        };
        let commitment = Commitment::from_hex(text)?;
        if !seen.insert(commitment, ()) {
            return Err(FormatError::malformed(Review::WHAT, "each commitment once", quote(text)));
        }
        read.push(commitment);
    }
    Ok(read)
}
