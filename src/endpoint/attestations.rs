//! The attestations of a release, against the gate of a trust file.
//!
//! An attestation belongs to a release if a subject of it has the SHA-256 of the artifact that is being verified, and if
//! the packages that it names, if any, include the release's, in the same version. For files of a manifest that digest is
//! that of the release's only artifact, which is the manifest file; if there are several, the manifest's root.
//!
//! Publishers are counted, never keys or statements. Of several statements of one publisher for one requirement, the one
//! with the highest leaf index counts: it takes back what the others say.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::proven::ProvenEntry;
use super::{Artifact, FUTURE_ALLOWANCE_SECONDS, Proven, Question, Refusal, Requirement, Unmet};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{
    Publisher, Publishers, Release, Statement, StatementKind, Timestamp, VerifiedStatement,
};

/// A requirement that a release does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingAttestations {
    /// The kind of attestation.
    pub attestation: StatementKind,
    /// The number of different publishers that it takes.
    pub at_least: u64,
    /// The publishers that would count.
    pub from: Vec<String>,
    /// Those of them that attest it.
    pub seen: Vec<String>,
    /// The others. Those with an attestation that does not count, also with its leaf index and the condition that it does
    /// not meet.
    pub missing: Vec<(String, Option<(LeafIndex, Unmet)>)>,
}

impl MissingAttestations {
    /// The requirement, in words.
    pub(super) fn wanted(&self) -> String {
        wanted(&self.attestation, self.at_least, &self.from)
    }

    /// The attestations that were found, in words.
    pub(super) fn found(&self) -> String {
        let seen = if self.seen.is_empty() { "none".to_string() } else { self.seen.join(", ") };
        let missing = self.missing.iter().map(|(name, why)| match why {
            None => name.clone(),
            Some((index, unmet)) => format!("{name} ({unmet}, at leaf {index})"),
        });
        format!("{seen}; missing {}", missing.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for MissingAttestations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: saw {}", self.wanted(), self.found())
    }
}

/// `verification-summary by 2 of (a, b, c)`.
pub(super) fn wanted(attestation: &StatementKind, at_least: u64, from: &[String]) -> String {
    format!("{attestation} by {at_least} of ({})", from.join(", "))
}

/// The digest that attestations of a release have to be about.
fn digest_of(artifact: Artifact<'_>, release: &Release) -> Option<Hash> {
    match artifact {
        Artifact::File { digest, .. } | Artifact::Manifest(_, digest) => Some(*digest),
        Artifact::Files(..) => match release.subjects.as_slice() {
            [manifest] => Some(manifest.sha256),
            _ => release.manifest.map(|manifest| manifest.root),
        },
    }
}

/// Checks a release and the statements beside it against the gate.
pub(super) fn check(
    proven: &Proven<'_>,
    entry: &ProvenEntry,
    release: &Release,
    question: &Question<'_>,
) -> Result<(), Refusal> {
    let gate = proven.trust.gate.iter().filter(|requirement| requirement.is_about(release));
    let gate: Vec<&Requirement> = gate.collect();
    if gate.is_empty() {
        return Ok(());
    }
    let beside =
        proven.beside(entry, |statement| gate.iter().any(|asked| statement.is_of(&asked.attestation)));
    let beside: Vec<(LeafIndex, &VerifiedStatement)> =
        beside.into_iter().map(|(entry, verified)| (entry.index, verified)).collect();
    let digest = digest_of(question.artifact, release);
    check_all(&gate, proven.trust.publishers, release, digest, &beside, question.freshness.now)
}

fn check_all(
    gate: &[&Requirement],
    publishers: &Publishers,
    release: &Release,
    digest: Option<Hash>,
    beside: &[(LeafIndex, &VerifiedStatement)],
    now: Timestamp,
) -> Result<(), Refusal> {
    let missing = gate.iter().filter_map(|requirement| {
        let is_asked = |(_, verified): &&(LeafIndex, &VerifiedStatement)| {
            verified.statement().is_of(&requirement.attestation)
                && belongs(verified.statement(), release, digest)
        };
        let belonging: Vec<_> = beside.iter().filter(is_asked).copied().collect();
        missing(publishers, requirement, release, &belonging, now)
    });
    let missing: Vec<MissingAttestations> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(Refusal::Attestations { missing }) }
}

/// Tells whether an attestation is about the digest, and about the release's package and version if it names any.
fn belongs(statement: &Statement, release: &Release, digest: Option<Hash>) -> bool {
    let purls = statement.purls();
    digest.is_some_and(|digest| statement.digests().any(|seen| seen == digest))
        && (purls.is_empty() || purls.iter().any(|purl| purl.is_same_release(&release.purl)))
}

/// The missing part of a requirement; `None` if it is met.
fn missing(
    publishers: &Publishers,
    requirement: &Requirement,
    release: &Release,
    belonging: &[(LeafIndex, &VerifiedStatement)],
    now: Timestamp,
) -> Option<MissingAttestations> {
    let Requirement { attestation, from, at_least, says, .. } = requirement;
    let may_speak = |name: &String| {
        let mut named = publishers.list().iter().filter(|publisher| publisher.name == *name);
        named.any(|publisher: &Publisher| publisher.covers(&release.purl))
    };
    let latest = now.saturating_add(FUTURE_ALLOWANCE_SECONDS);
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    for name in from {
        let theirs = belonging.iter().filter(|(_, verified)| {
            verified.publishers().contains(name) && says.selects(verified.statement())
        });
        let last = theirs.max_by_key(|(index, _)| *index).filter(|_| may_speak(name));
        match last.map(|(index, verified)| (*index, says.unmet(verified.statement(), now, latest))) {
            Some((_, None)) => seen.push(name.clone()),
            Some((index, Some(unmet))) => missing.push((name.clone(), Some((index, unmet)))),
            None => missing.push((name.clone(), None)),
        }
    }
    if seen.len() as u64 >= *at_least {
        return None;
    }
    let (attestation, at_least, from) = (attestation.clone(), *at_least, from.clone());
    Some(MissingAttestations { attestation, at_least, from, seen, missing })
}

#[cfg(test)]
mod tests;
