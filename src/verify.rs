//! The endpoint's verdict: bytes, a policy and a state become a [`VerifiedRelease`] or a
//! [`Refusal`] with a stable reason code. No network, no clock, no files.

use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, MultiProof, ProofError, TreeSize, manifest_leaf, verify_inclusion};
use crate::policy::{Cosigned, Policy, QuorumError};
use crate::proof_file::ProofFile;
use crate::release::{
    Envelope, Publishers, PurlPattern, Release, SpeakError, Spoken, Statement, StatementKind, Timestamp,
    format_time,
};
use crate::state::{EndpointState, KnownFork, Withdrawn};

pub use withdrawn::{ProvenWithdrawal, logged_withdrawal, verify_withdrawal};

mod withdrawn;

/// How far a witness's clock may be ahead of the endpoint's: five minutes, as Kerberos allows.
pub const FUTURE_ALLOWANCE_SECONDS: u64 = 300;

/// What is about to be installed.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// One file, by its SHA-256: it has to be a subject of the statement.
    File(&'a Hash),
    /// Files of a release with a manifest: path and SHA-256 of each, in the proof's order.
    Files(&'a [(String, Hash)], &'a MultiProof),
}

/// How old a proof may be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// The endpoint's time.
    pub now: Timestamp,
    /// Most seconds since a quorum of witnesses cosigned; `None` for any age.
    pub max_age: Option<u64>,
}

/// All that a verdict rests on.
#[derive(Debug)]
pub struct Question<'a> {
    /// What is about to be installed.
    pub artifact: Artifact<'a>,
    /// The `.tlog-proof` file that came with it.
    pub proof: &'a [u8],
    /// Trusted logs, witnesses and quorum.
    pub policy: &'a Policy,
    /// Publishers that are believed.
    pub publishers: &'a Publishers,
    /// Time and age limit.
    pub freshness: Freshness,
    /// What the endpoint remembers, if it does.
    pub state: Option<&'a EndpointState>,
    /// The package that was asked for, if that is known: a genuine release of something else by the
    /// same vendor is not what was to be installed.
    pub package: Option<&'a PurlPattern>,
}

/// A release that may be installed. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedRelease {
    head: Cosigned<Checkpoint>,
    index: LeafIndex,
    leaf: Hash,
    release: Release,
    publishers: Vec<String>,
}

impl VerifiedRelease {
    /// The tree head that it is proven under.
    #[must_use]
    pub const fn head(&self) -> &Cosigned<Checkpoint> {
        &self.head
    }

    /// Its place in the log.
    #[must_use]
    pub const fn index(&self) -> LeafIndex {
        self.index
    }

    /// Its leaf hash.
    #[must_use]
    pub const fn leaf(&self) -> &Hash {
        &self.leaf
    }

    /// What the publisher states.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// Who states it: the first signer, in order of keyid, that may.
    #[must_use]
    pub fn publisher(&self) -> &str {
        &self.publishers[0]
    }

    /// Remembers this verdict, so that nothing older passes for newer later. Returns whether another head was
    /// forgotten for this one's, before anybody had compared it: a fork that it shows will not be found.
    pub fn remember_in(&self, state: &mut EndpointState) -> bool {
        state.remember(self.head.get(), Some(self.head.verified_note()), &self.publishers, &self.release)
    }
}

/// Why an artifact must not be installed; the first failure found, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The proof file can't be read.
    #[error(transparent)]
    ProofMalformed(FormatError),
    /// The checkpoint is not by a trusted log.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// Too few witnesses, or a false one.
    #[error(transparent)]
    Quorum(QuorumError),
    /// The proof file does not carry the entry.
    #[error("the proof file carries no entry: expected an `extra` line with the signed statement, saw none")]
    EntryMissing,
    /// The entry is not in the tree.
    #[error("the entry is not in the log at leaf {index}: {source}")]
    NotIncluded {
        /// The place it was said to have.
        index: LeafIndex,
        /// What the inclusion proof lacks.
        source: ProofError,
    },
    /// The entry is no signed statement.
    #[error(transparent)]
    EntryMalformed(FormatError),
    /// The statement is not by a believed publisher.
    #[error(transparent)]
    Publisher(SpeakError),
    /// The statement is about a release, and not one itself.
    #[error("the proof is of a {seen}: expected the proof of a release")]
    NotARelease {
        /// What is stated.
        seen: StatementKind,
    },
    /// The statement is no withdrawal.
    #[error("the proof is of a {seen}: expected the proof of a withdrawal")]
    NotAWithdrawal {
        /// What is stated.
        seen: StatementKind,
    },
    /// The statement is about another package.
    #[error("the release is of another package: expected {expected}, saw {seen}")]
    OtherPackage {
        /// The pattern that was asked for.
        expected: String,
        /// The statement's purl.
        seen: String,
    },
    /// The artifact is another one.
    #[error("the artifact is not the one that was logged: expected SHA-256 {expected}, saw {seen}")]
    ArtifactMismatch {
        /// Digests in the statement, shortened to the first few.
        expected: String,
        /// The artifact's.
        seen: String,
    },
    /// The files are not in the release's manifest.
    #[error("the files are not in the release's manifest: {0}")]
    NotInManifest(String),
    /// No quorum of witnesses saw the head lately.
    #[error("the proof is stale: expected a quorum of cosignatures since {expected}, saw {seen}")]
    Stale {
        /// The oldest time that would do.
        expected: String,
        /// The newest cosignature that is not from the future.
        seen: String,
    },
    /// A witness's clock or the endpoint's is wrong.
    #[error("a cosignature is from the future: expected a time up to {expected}, saw {seen}")]
    FromTheFuture {
        /// The latest time that would do.
        expected: String,
        /// The cosignature's time.
        seen: String,
    },
    /// The log shows another history than before.
    #[error("the log has forked at tree size {size}: expected root {expected}, as remembered, saw {seen}")]
    Fork {
        /// Size of both trees.
        size: TreeSize,
        /// The root remembered, base64.
        expected: String,
        /// The root now, base64.
        seen: String,
    },
    /// The log was met showing two histories before, and can't be believed since.
    #[error(
        "{origin} signed two histories, as was found before{}", evidence.as_ref().map(|name| format!(": {name} in the state's evidence proves it")).unwrap_or_default()
    )]
    Forked {
        /// The log.
        origin: String,
        /// Name of the file that proves it, where there is one.
        evidence: Option<String>,
    },
    /// An older release than one seen before.
    #[error("the release is older than one seen before: expected sequence {expected} or higher, saw {seen}")]
    Rollback {
        /// The highest sequence seen.
        expected: u64,
        /// The statement's.
        seen: u64,
    },
    /// Its publisher took it back.
    #[error("{purl}, the release at leaf {index}, was withdrawn by {publisher}: {reason}")]
    Withdrawn {
        /// Package and version.
        purl: String,
        /// Place of the release.
        index: LeafIndex,
        /// Who withdrew it.
        publisher: String,
        /// Why, in words.
        reason: String,
    },
}

impl Refusal {
    /// The reason code: stable, for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ProofMalformed(_) => "proof-malformed",
            Self::Checkpoint(CheckpointError::WrongOrigin { .. }) => "unknown-log",
            Self::Checkpoint(CheckpointError::Format(_)) => "checkpoint-malformed",
            Self::Checkpoint(CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. }) => {
                "checkpoint-signature"
            }
            Self::Quorum(QuorumError::BadCosignature { .. }) => "cosignature",
            Self::Quorum(QuorumError::NotReached { .. }) => "no-quorum",
            Self::EntryMissing => "entry-missing",
            Self::NotIncluded { .. } => "not-included",
            Self::EntryMalformed(_) | Self::Publisher(SpeakError::Statement(_)) => "entry-malformed",
            Self::Publisher(SpeakError::UnknownKey { .. }) => "unknown-publisher",
            Self::Publisher(SpeakError::BadSignature { .. }) => "publisher-signature",
            Self::Publisher(SpeakError::KeyRevoked { .. }) => "publisher-key-revoked",
            Self::Publisher(_) => "publisher-not-permitted",
            Self::NotARelease { .. } => "not-a-release",
            Self::NotAWithdrawal { .. } => "not-a-withdrawal",
            Self::OtherPackage { .. } => "other-package",
            Self::ArtifactMismatch { .. } => "artifact-mismatch",
            Self::NotInManifest(_) => "not-in-manifest",
            Self::Stale { .. } => "stale",
            Self::FromTheFuture { .. } => "from-the-future",
            Self::Fork { .. } | Self::Forked { .. } => "fork",
            Self::Rollback { .. } => "rollback",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// What to do about it, in a sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::ProofMalformed(_)
            | Self::EntryMissing
            | Self::EntryMalformed(_)
            | Self::NotIncluded { .. } => "Do not install it; fetch the proof file again from the log.",
            Self::Checkpoint(CheckpointError::WrongOrigin { .. }) => {
                "Do not install it; it is from another log, or the policy lacks a log line for this one."
            }
            Self::Checkpoint(_) | Self::Quorum(QuorumError::BadCosignature { .. }) => {
                "Do not install it; the tree head was tampered with."
            }
            Self::Quorum(QuorumError::NotReached { .. }) => {
                "Do not install it; fetch a proof that enough witnesses have cosigned."
            }
            Self::Publisher(SpeakError::UnknownKey { .. }) => {
                "Do not install it; if the publisher is new to you, get its key from a source you trust."
            }
            Self::Publisher(_) => "Do not install it; ask the publisher whether it made this release.",
            Self::NotARelease { .. } => {
                "Do not install it on this proof; fetch the proof file of the release itself."
            }
            Self::NotAWithdrawal { .. } => "Ask the log's operator why it calls this a withdrawal.",
            Self::OtherPackage { .. } => "Do not install it; it is genuine, but not what was asked for.",
            Self::ArtifactMismatch { .. } | Self::NotInManifest(_) => {
                "Do not install it; download the artifact again, and keep this copy as evidence."
            }
            Self::Stale { .. } => {
                "Fetch a newer proof; if there is none, the log has stalled or is kept from you."
            }
            Self::FromTheFuture { .. } => "Check this machine's clock.",
            Self::Fork { .. } => "Do not install it; keep both checkpoints, they prove that the log lied.",
            Self::Forked { .. } => {
                "Do not install it; remove the log from the policy. To believe it again, delete the state, and accept that old releases and withdrawn ones may pass as well."
            }
            Self::Rollback { .. } => "Do not install it; an old release is being passed off as the newest.",
            Self::Withdrawn { .. } => "Do not install it; look for another version.",
        }
    }
}

/// Judges an artifact. The steps and their order are those of the design, "What an endpoint's
/// verdict checks"; the first that fails is the answer.
///
/// # Errors
/// [`Refusal`].
pub fn verify(question: &Question<'_>) -> Result<VerifiedRelease, Refusal> {
    // 1. to 5., but for what is said.
    let Opened { head, index, leaf, spoken } = open(question.proof, question.policy, question.publishers)?;
    let (publishers, signers) = (spoken.publishers().to_vec(), spoken.signers().to_vec());
    let release = match spoken.into_statement() {
        Statement::Release(release) => release,
        other => return Err(Refusal::NotARelease { seen: other.kind() }),
    };
    if let Some(package) = question.package.filter(|package| !package.covers(&release.purl)) {
        let (expected, seen) = (package.as_str().to_owned(), release.purl.to_string());
        return Err(Refusal::OtherPackage { expected, seen });
    }
    // 6. The artifact is a subject, or its files are in the manifest.
    check_artifact(question.artifact, &release)?;
    // 7. Freshness.
    check_freshness(question.policy, &head, question.freshness)?;
    if let Some(state) = question.state {
        // 8. Rollback and fork, against what is remembered.
        check_memory(state, head.get(), &publishers, &release)?;
        // 9. Its publisher did not take it back.
        if let Some(withdrawn) = state.withdrawal(&release, &leaf, &signers) {
            let Withdrawn { publisher, purl, reason, .. } = withdrawn.clone();
            return Err(Refusal::Withdrawn { purl, index, publisher, reason });
        }
    }
    Ok(VerifiedRelease { head, index, leaf, release, publishers })
}

/// An entry that is in a log, and stated by who may.
struct Opened {
    head: Cosigned<Checkpoint>,
    index: LeafIndex,
    leaf: Hash,
    spoken: Spoken,
}

/// Steps 1 to 5: what a proof file is worth, whatever it is the proof of.
fn open(proof: &[u8], policy: &Policy, publishers: &Publishers) -> Result<Opened, Refusal> {
    // 1. to 4.
    let Logged { head, index, entry } = open_logged(proof, policy)?;
    // 5. Signature by a publisher that may speak for the package and kind.
    let envelope = Envelope::parse_entry(&entry).map_err(Refusal::EntryMalformed)?;
    let spoken = publishers.verify(&envelope, None).map_err(Refusal::Publisher)?;
    Ok(Opened { head, index, leaf: Hash::leaf(&entry), spoken })
}

/// An entry that is in a log, whatever it is.
struct Logged {
    head: Cosigned<Checkpoint>,
    index: LeafIndex,
    entry: Vec<u8>,
}

/// Steps 1 to 4.
fn open_logged(proof: &[u8], policy: &Policy) -> Result<Logged, Refusal> {
    // 1. The proof file parses.
    let file = ProofFile::parse(proof).map_err(Refusal::ProofMalformed)?;
    // 2. A trusted log signed the checkpoint.
    let signed = checkpoint::open_note(file.checkpoint, &policy.log_keys()).map_err(Refusal::Checkpoint)?;
    // 3. The witness quorum.
    let head = policy.check(&signed).map_err(Refusal::Quorum)?;
    // 4. Inclusion of the entry, carried in `extra`.
    let entry = file.extra.ok_or(Refusal::EntryMissing)?;
    let Checkpoint { size, root, .. } = head.get();
    verify_inclusion(file.index, *size, &Hash::leaf(&entry), &file.proof, root)
        .map_err(|source| Refusal::NotIncluded { index: file.index, source })?;
    Ok(Logged { head, index: file.index, entry })
}

fn check_artifact(artifact: Artifact<'_>, release: &Release) -> Result<(), Refusal> {
    match artifact {
        Artifact::File(digest) => {
            if release.subjects.iter().any(|subject| subject.sha256 == *digest) {
                return Ok(());
            }
            let expected: Vec<String> = release
                .subjects
                .iter()
                .take(3)
                .map(|s| format!("{} ({})", s.sha256.to_hex(), s.name))
                .collect();
            Err(Refusal::ArtifactMismatch { expected: expected.join(" or "), seen: digest.to_hex() })
        }
        Artifact::Files(files, proof) => {
            let refuse = Refusal::NotInManifest;
            let manifest =
                release.manifest.ok_or_else(|| refuse("the statement has no manifest".to_owned()))?;
            if manifest.files != proof.total as u64 {
                let (expected, seen) = (manifest.files, proof.total);
                return Err(refuse(format!("expected a proof over {expected} files, saw {seen}")));
            }
            let leaves: Vec<Hash> = files.iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
            proof.verify(&leaves, &manifest.root).map_err(|e| refuse(e.to_string()))
        }
    }
}

/// Step 7 alone: whether a quorum cosigned this head, not too long ago and not in the future. For a newer
/// head than the proof's, which was found to continue it: what is in the one is in the other.
///
/// # Errors
/// [`Refusal::Stale`] and [`Refusal::FromTheFuture`].
pub fn check_freshness(
    policy: &Policy,
    head: &Cosigned<Checkpoint>,
    freshness: Freshness,
) -> Result<(), Refusal> {
    let latest = freshness.now.saturating_add(FUTURE_ALLOWANCE_SECONDS);
    if !policy.quorum_between(head, 0, latest) {
        let seen = head.times().max().unwrap_or_default();
        return Err(Refusal::FromTheFuture { expected: format_time(latest), seen: format_time(seen) });
    }
    let Some(max_age) = freshness.max_age else { return Ok(()) };
    // Time zero is none: a clock or an age that reaches back to 1970 makes it no fresher.
    let oldest = freshness.now.saturating_sub(max_age).max(1);
    // Without a quorum rule any witness will do, but there has to be one: a log's signature has no time.
    let newest = head.times().filter(|time| *time <= latest).max();
    if newest.is_some_and(|time| time >= oldest) && policy.quorum_between(head, oldest, latest) {
        return Ok(());
    }
    let seen = newest.map_or_else(|| "no cosignature, so no time at all".to_owned(), format_time);
    Err(Refusal::Stale { expected: format_time(oldest), seen })
}

fn check_memory(
    state: &EndpointState,
    head: &Checkpoint,
    publishers: &[String],
    release: &Release,
) -> Result<(), Refusal> {
    let origin = head.origin.as_str();
    if let Some(KnownFork { evidence }) = state.known_fork(origin) {
        return Err(Refusal::Forked { origin: origin.to_owned(), evidence: evidence.clone() });
    }
    // A proof under an older checkpoint than the one remembered is no rollback: proofs are made
    // once and shipped for years. The same size with another root is a second history.
    if let Some(known) = state.contradiction(head) {
        let (expected, seen) = (known.root.to_base64(), head.root.to_base64());
        return Err(Refusal::Fork { size: head.size, expected, seen });
    }
    // Under each of them: who signs along must not hide the number that another one is at.
    match publishers.iter().filter_map(|publisher| state.sequence(publisher, release)).max() {
        Some(expected) if release.sequence < expected => {
            Err(Refusal::Rollback { expected, seen: release.sequence })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
