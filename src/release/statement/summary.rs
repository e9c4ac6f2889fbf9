//! SLSA verification summaries v1 and v0.2: the results of checking artifacts against a policy.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"policy":{"uri":"https://..."},"resourceUri":"pkg:...@1.2.3",
//!   "timeVerified":"2026-01-31T12:00:00Z","verificationResult":"PASSED",
//!   "verifiedLevels":["SLSA_BUILD_LEVEL_3"],"verifier":{"id":"https://..."}},
//!  "predicateType":"https://slsa.dev/verification_summary/v1",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}, ...]}
//! ```
//!
//! Required are the fields that version 1.0 of the SLSA specification requires. Unknown fields are ignored.
//!
//! Version 0.2 has one `policyLevel` for the levels. Its signers also write the names of fields as `policy_level`, which
//! comes from the way in which protobuf prints JSON.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Purl, Resource, check_text, purls_in};
use crate::format::{FormatError, SortedMap, names, quote};
use crate::release::json::{Fields, Json, describe};
use crate::release::{Timestamp, parse_time};

pub(super) const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";
pub(super) const PREDICATE_TYPE_0_2: &str = "https://slsa.dev/verification_summary/v0.2";

/// Names of fields in version 0.2, as some signers write them, and as its specification does.
const OLD_NAMES: [(&str, &str); 5] = [
    ("time_verified", "timeVerified"),
    ("resource_uri", "resourceUri"),
    ("input_attestations", "inputAttestations"),
    ("verification_result", "verificationResult"),
    ("policy_level", "policyLevel"),
];

names! {
    /// The result of a verification.
    VerificationResult {
        /// The artifacts meet the policy.
        Passed => "PASSED",
        /// They do not.
        Failed => "FAILED",
    }
}

/// A verification summary, as far as this log parses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationSummary {
    /// The artifacts, 1 to [`MAX_SUBJECTS`](super::MAX_SUBJECTS), each with a digest.
    pub subjects: Vec<Resource>,
    /// URI of the verifier: `verifier.id`. Readers decide whether the signer may speak for it.
    pub verifier: String,
    /// Time of the verification, to the second.
    pub time_verified: Timestamp,
    /// URI of what was verified: `resourceUri`. If it is a purl, it is one of the [`purls`](Self::purls).
    pub resource_uri: String,
    /// URI of the policy: `policy.uri`.
    pub policy: String,
    /// The result.
    pub result: VerificationResult,
    /// The levels, such as `SLSA_BUILD_LEVEL_3`; at most one for each track.
    pub levels: Vec<String>,
    /// The predicate type, which tells the version.
    pub(super) predicate_type: &'static str,
    purls: Vec<Purl>,
}

impl VerificationSummary {
    const WHAT: &str = "a verification summary";

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        Self::read_version(statement, PREDICATE_TYPE)
    }

    /// Version 0.2.
    pub(super) fn read_0_2(statement: Fields<'_>) -> Result<Self, FormatError> {
        Self::read_version(statement, PREDICATE_TYPE_0_2)
    }

    fn read_version(statement: Fields<'_>, predicate_type: &'static str) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let old = predicate_type == PREDICATE_TYPE_0_2;
        if old {
            OLD_NAMES.iter().for_each(|(snake, camel)| predicate.rename(snake, camel));
        }
        let verifier = predicate.object("verifier")?.string("id")?;
        check_text("the id of a verifier", &verifier)?;
        let time_verified = time(&predicate.text("timeVerified")?)?;
        let resource_uri = predicate.string("resourceUri")?;
        check_text("the resourceUri of a verification summary", &resource_uri)?;
        let policy = predicate.object("policy")?;
        let Resource { uri: Some(policy), .. } = Resource::read(policy, false)? else {
            return Err(predicate.wrong("policy.uri", "to be there", "nothing"));
        };
        // They are not kept, but each MUST have a digest.
        let attestations = predicate.optional_array("inputAttestations")?.unwrap_or_default();
        Resource::read_all(Self::WHAT, "predicate.inputAttestations[]", attestations, true)?;
        let result = predicate.text("verificationResult")?;
        let result = VerificationResult::parse(&result).ok_or_else(|| {
            predicate.wrong("verificationResult", "to be PASSED or FAILED", &quote(&result))
        })?;
        let levels = if old {
            predicate.optional("policyLevel").into_iter().collect()
        } else {
            predicate.array("verifiedLevels")?
        };
        let levels = levels.into_iter().map(level).collect::<Result<Vec<_>, _>>()?;
        check_levels(&levels)?;
        let purls = purls_in(Some(&resource_uri), &subjects)?;
        Ok(Self {
            subjects,
            verifier,
            time_verified,
            resource_uri,
            policy,
            result,
            levels,
            predicate_type,
            purls,
        })
    }

    /// Every package and version in the resource URI, and in the URI or the name of a subject, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }
}

/// Parses in-toto's Timestamp: RFC 3339 in UTC. A fraction of a second is dropped.
fn time(text: &str) -> Result<Timestamp, FormatError> {
    let whole = text.strip_suffix('Z').and_then(|text| text.split_once('.'));
    match whole {
        Some((seconds, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) => {
            parse_time(&format!("{seconds}Z"))
        }
        _ => parse_time(text),
    }
}

fn level(value: Json<'_>) -> Result<String, FormatError> {
    match value {
        Json::String(level) => check_text("a verified level", &level).map(|()| level.into_owned()),
        other => {
            let expected = "predicate.verifiedLevels[] to be a string";
            Err(FormatError::malformed(VerificationSummary::WHAT, expected, describe(&other)))
        }
    }
}

/// Levels "MUST NOT include more than one level per SLSA track".
fn check_levels(levels: &[String]) -> Result<(), FormatError> {
    let mut tracks = SortedMap::default();
    let track = |level: &'_ String| -> Option<String> {
        Some(level.strip_prefix("SLSA_")?.rsplit_once("_LEVEL_")?.0.to_owned())
    };
    match levels.iter().find(|level| track(level).is_some_and(|track| !tracks.insert(track, ()))) {
        None => Ok(()),
        Some(level) => Err(FormatError::malformed(
            VerificationSummary::WHAT,
            "at most one of verifiedLevels for each track",
            format!("{} and another", quote(level)),
        )),
    }
}
