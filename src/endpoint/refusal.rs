//! Refusals, with reason codes and advice.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::MissingAttestations;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::policy::QuorumError;
use crate::format::{FormatError, error_codes, quote};
use crate::merkle::{LeafIndex, ProofError, TreeSize};
use crate::note::NoteError;
use crate::release::{Kind, StatementError, StatementKind};

/// The reason that an artifact must not be installed: the first failure, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The proof file can't be read.
    #[error(transparent)]
    ProofMalformed(FormatError),
    /// No trusted log signed the checkpoint.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// Too few cosignatures, or an invalid one.
    #[error(transparent)]
    Quorum(QuorumError),
    /// The proof file does not carry the entry.
    #[error("the proof file carries no entry: expected an `extra` line with the signed statement, saw none")]
    EntryMissing,
    /// The entry is not in the tree.
    #[error("the entry is not in the log at leaf {index}: {source}")]
    NotIncluded {
        /// The leaf index in the proof file.
        index: LeafIndex,
        /// The error of the inclusion proof.
        source: ProofError,
    },
    /// The entry is not a signed statement.
    #[error(transparent)]
    EntryMalformed(FormatError),
    /// No trusted publisher signed the statement.
    #[error(transparent)]
    Publisher(StatementError),
    /// The statement is about a release, but is not one itself.
    #[error("the proof is of a {seen}: expected the proof of a release")]
    NotARelease {
        /// The statement's type.
        seen: StatementKind,
    },
    /// The statement is not a withdrawal.
    #[error("the proof is of a {seen}: expected the proof of a withdrawal")]
    NotAWithdrawal {
        /// The statement's type.
        seen: StatementKind,
    },
    /// The statement is about another package, or another version of it.
    #[error("the release is of another package: expected {expected}, saw {seen}")]
    OtherPackage {
        /// The purl or pattern that was asked for.
        expected: String,
        /// The statement's purl.
        seen: String,
    },
    /// The release is by another publisher.
    #[error("the release is by another publisher: expected {expected}, saw {seen}")]
    OtherPublisher {
        /// The publisher asked for.
        expected: String,
        /// All publishers who state it.
        seen: String,
    },
    /// The release is of another kind.
    #[error("the release is of another kind: expected {expected}, saw {seen}")]
    OtherKind {
        /// The kind that was asked for.
        expected: Kind,
        /// The statement's.
        seen: Kind,
    },
    /// The release is in another channel than the one asked for or followed.
    #[error(
        "the release is of another channel{}: expected {expected}, saw {seen}", if *followed { " than this endpoint follows" } else { "" }
    )]
    OtherChannel {
        /// The channel that was asked for, or is followed.
        expected: String,
        /// The statement's.
        seen: String,
        /// Set if `expected` comes from the endpoint's memory, not from the question.
        followed: bool,
    },
    /// The release is for another audience than the one asked for.
    #[error(
        "the release is for another audience: expected one for {}, saw one for {}", audience(expected.as_deref()), audience(seen.as_deref())
    )]
    OtherAudience {
        /// The audience that was asked for; `None` is everyone.
        expected: Option<String>,
        /// The statement's.
        seen: Option<String>,
    },
    /// The release's sequence number is below the lowest acceptable one.
    #[error("the release is older than you asked for: expected sequence {expected} or higher, saw {seen}")]
    BelowMinSequence {
        /// The lowest acceptable number.
        expected: u64,
        /// The statement's.
        seen: u64,
    },
    /// The artifact does not match the release.
    #[error("the artifact is not the one that was logged: expected SHA-256 {expected}, saw {seen}")]
    ArtifactMismatch {
        /// Digests in the statement, shortened to the first few.
        expected: String,
        /// The artifact's.
        seen: String,
    },
    /// The artifact belongs to the release, but is not the one that its name, or the question, says.
    #[error(
        "the file is another artifact of the release: expected {}, saw {} by its digest",
        called(expected),
        called(seen)
    )]
    ArtifactSwapped {
        /// Name of the wanted artifact.
        expected: String,
        /// Name under which the release has the file.
        seen: String,
    },
    /// The files are not in the release's manifest.
    #[error("the files are not in the release's manifest: {0}")]
    NotInManifest(String),
    /// No quorum of witnesses cosigned the head within the age limit.
    #[error("the proof is stale: expected a quorum of cosignatures since {expected}, saw {seen}")]
    Stale {
        /// The oldest acceptable time.
        expected: String,
        /// The newest cosignature that is not from the future.
        seen: String,
    },
    /// A witness's clock or the endpoint's is wrong.
    #[error("a cosignature is from the future: expected a time up to {expected}, saw {seen}")]
    FromTheFuture {
        /// The latest acceptable time.
        expected: String,
        /// The cosignature's time.
        seen: String,
    },
    /// The log's history differs from the remembered one.
    #[error("the log has forked at tree size {size}: expected root {expected}, as remembered, saw {seen}")]
    Fork {
        /// Size of both trees.
        size: TreeSize,
        /// The root remembered, base64.
        expected: String,
        /// The root now, base64.
        seen: String,
    },
    /// An earlier check found that the log signed two histories; it stays untrusted.
    #[error(
        "{origin} signed two histories, as this endpoint found earlier{}", evidence.as_ref().map(|name| format!(": {name} in the state's evidence proves it")).unwrap_or_default()
    )]
    Forked {
        /// The log.
        origin: String,
        /// Name of the file that proves it, if there is one.
        evidence: Option<String>,
    },
    /// The release is older than one seen before.
    #[error("the release is older than one seen before: expected sequence {expected} or higher, saw {seen}")]
    Rollback {
        /// The highest sequence seen.
        expected: u64,
        /// The statement's.
        seen: u64,
    },
    /// The release was withdrawn by its publisher.
    #[error("{purl}, the release at leaf {index}, was withdrawn by {publisher}: {reason}")]
    Withdrawn {
        /// Package and version.
        purl: String,
        /// Leaf index of the release.
        index: LeafIndex,
        /// The publisher who withdrew it.
        publisher: String,
        /// The publisher's reason.
        reason: String,
    },
    /// The release lacks attestations that the trust file asks for.
    #[error("{}", in_words(missing))]
    Attestations {
        /// Each requirement that is not met; at least one.
        missing: Vec<MissingAttestations>,
    },
}

error_codes! { VerdictCode of Refusal {
    Self::ProofMalformed(_) => ProofMalformed = 600, "proof-malformed";
    Self::Checkpoint(CheckpointError::WrongOrigin { .. }) => UnknownLog = 601, "unknown-log";
    Self::Checkpoint(CheckpointError::Format(_)) => CheckpointMalformed = 602, "checkpoint-malformed";
    Self::Checkpoint(CheckpointError::Note(_) | CheckpointError::UnsignedExtensions { .. }) =>
        CheckpointSignature = 603, "checkpoint-signature";
    Self::Quorum(QuorumError::BadCosignature { .. }) => Cosignature = 604, "cosignature";
    Self::Quorum(QuorumError::NotReached { .. }) => NoQuorum = 605, "no-quorum";
    Self::EntryMissing => EntryMissing = 606, "entry-missing";
    Self::NotIncluded { .. } => NotIncluded = 607, "not-included";
    Self::EntryMalformed(_) | Self::Publisher(StatementError::Statement(_)) =>
        EntryMalformed = 608, "entry-malformed";
    Self::Publisher(StatementError::UnknownKey { .. }) => UnknownPublisher = 609, "unknown-publisher";
    Self::Publisher(StatementError::BadSignature { .. }) => PublisherSignature = 610, "publisher-signature";
    Self::Publisher(StatementError::KeyRevoked { .. }) => PublisherKeyRevoked = 611, "publisher-key-revoked";
    Self::Publisher(StatementError::OtherLog { .. }) => OtherLog = 612, "other-log";
    Self::Publisher(
        StatementError::NotPermitted { .. }
        | StatementError::KeyNotValid { .. }
        | StatementError::TooManyTries { .. }
        | StatementError::Entry(_),
    ) => PublisherNotPermitted = 613, "publisher-not-permitted";
    Self::NotARelease { .. } => NotARelease = 614, "not-a-release";
    Self::NotAWithdrawal { .. } => NotAWithdrawal = 615, "not-a-withdrawal";
    Self::OtherPackage { .. } => OtherPackage = 616, "other-package";
    Self::OtherPublisher { .. } => OtherPublisher = 617, "other-publisher";
    Self::OtherKind { .. } => OtherKind = 618, "other-kind";
    Self::OtherChannel { .. } => OtherChannel = 619, "other-channel";
    Self::OtherAudience { .. } => OtherAudience = 620, "other-audience";
    Self::BelowMinSequence { .. } => BelowMinSequence = 621, "below-min-sequence";
    Self::ArtifactMismatch { .. } => ArtifactMismatch = 622, "artifact-mismatch";
    Self::ArtifactSwapped { .. } => ArtifactSwapped = 623, "artifact-swapped";
    Self::NotInManifest(_) => NotInManifest = 624, "not-in-manifest";
    Self::Stale { .. } => Stale = 625, "stale";
    Self::FromTheFuture { .. } => FromTheFuture = 626, "from-the-future";
    Self::Fork { .. } | Self::Forked { .. } => Fork = 627, "fork";
    Self::Rollback { .. } => Rollback = 628, "rollback";
    => LogRolledBack = 629, "log-rolled-back";
    => StateDamaged = 630, "state-damaged";
    => StateNewer = 631, "state-newer";
    Self::Withdrawn { .. } => Withdrawn = 632, "withdrawn";
    => NoFork = 633, "no-fork";
    => CouldNotTell = 634, "could-not-tell";
    Self::Attestations { .. } => Attestations = 635, "attestations";
    Self::Publisher(StatementError::SignaturesMissing { .. }) => SignaturesMissing = 636, "signatures-missing";
}}

impl Refusal {
    /// The expected and the actual value, for machines.
    #[must_use]
    pub fn contrast(&self) -> (String, String) {
        let own = |expected: &dyn ToString, seen: &dyn ToString| (expected.to_string(), seen.to_string());
        match self {
            Self::ProofMalformed(e)
            | Self::EntryMalformed(e)
            | Self::Checkpoint(CheckpointError::Format(e) | CheckpointError::Note(NoteError::Format(e)))
            | Self::Publisher(StatementError::Statement(e)) => e.contrast(),
            Self::Checkpoint(CheckpointError::Note(NoteError::BadSignature { name, id })) => {
                (format!("a signature by {name}+{id}"), "an invalid one".to_owned())
            }
            Self::Checkpoint(CheckpointError::UnsignedExtensions { origin }) => {
                (format!("an Ed25519 signature by {origin}"), "ML-DSA-44 alone".to_owned())
            }
            Self::Quorum(QuorumError::BadCosignature { name, id }) => {
                (format!("a cosignature by {name}+{id}"), "an invalid one".to_owned())
            }
            Self::Checkpoint(
                CheckpointError::Note(NoteError::Unsigned { expected, seen })
                | CheckpointError::WrongOrigin { expected, seen },
            )
            | Self::Quorum(QuorumError::NotReached { expected, seen, .. })
            | Self::Publisher(StatementError::SignaturesMissing { expected, seen, .. })
            | Self::OtherPackage { expected, seen }
            | Self::OtherPublisher { expected, seen }
            | Self::OtherChannel { expected, seen, .. }
            | Self::ArtifactMismatch { expected, seen }
            | Self::ArtifactSwapped { expected, seen }
            | Self::Stale { expected, seen }
            | Self::FromTheFuture { expected, seen }
            | Self::Fork { expected, seen, .. } => own(expected, seen),
            Self::EntryMissing => own(&"the signed statement", &"none"),
            Self::NotIncluded { source: ProofError::RootMismatch { expected, seen }, .. } => {
                own(expected, seen)
            }
            Self::NotIncluded { index, source } => {
                (format!("a proof that the entry is leaf {index}"), source.to_string())
            }
            Self::Publisher(e) => ("a signature by a publisher who may state it".to_owned(), e.to_string()),
            Self::NotARelease { seen } => own(&"a release", seen),
            Self::NotAWithdrawal { seen } => own(&"a withdrawal", seen),
            Self::OtherKind { expected, seen } => own(expected, seen),
            Self::OtherAudience { expected, seen } => {
                let whom =
                    |audience: &Option<String>| audience.clone().unwrap_or_else(|| "everyone".to_owned());
                (whom(expected), whom(seen))
            }
            Self::BelowMinSequence { expected, seen } | Self::Rollback { expected, seen } => {
                own(expected, seen)
            }
            Self::NotInManifest(why) => own(&"files of the release's manifest", why),
            Self::Forked { .. } => own(&"one history of the log", &"two, as found earlier"),
            Self::Attestations { missing } => {
                let list = |one: fn(&MissingAttestations) -> String| {
                    missing.iter().map(one).collect::<Vec<_>>().join("; ")
                };
                (list(MissingAttestations::wanted), list(MissingAttestations::found))
            }
            Self::Withdrawn { publisher, reason, .. } => {
                ("a release that stands".to_owned(), format!("one that {publisher} withdrew: {reason}"))
            }
        }
    }

    /// The next step for the user, in a sentence.
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
            Self::Publisher(StatementError::UnknownKey { .. }) => {
                "Do not install it; if the publisher is new to you, get its key from a source you trust."
            }
            Self::Publisher(StatementError::OtherLog { .. }) => {
                "Do not install it; someone copied it into this log from the one that it was signed for."
            }
            Self::Publisher(_) => "Do not install it; ask the publisher whether it made this release.",
            Self::NotARelease { .. } => {
                "Do not install it on this proof; fetch the proof file of the release itself."
            }
            Self::NotAWithdrawal { .. } => "Ask the log's operator why it calls this a withdrawal.",
            Self::OtherPackage { .. }
            | Self::OtherPublisher { .. }
            | Self::OtherKind { .. }
            | Self::OtherChannel { followed: false, .. }
            | Self::BelowMinSequence { .. } => {
                "Do not install it; it is genuine, but not what was asked for."
            }
            Self::OtherChannel { followed: true, .. } => {
                "Do not install it, unless you want this endpoint to change its channel; then ask for that channel by name."
            }
            Self::OtherAudience { .. } => {
                "Do not install it, unless it is meant for this endpoint; then ask for that audience by name."
            }
            Self::ArtifactSwapped { .. } => {
                "Do not install it under this name; get the artifact you want, or ask for this one by its name."
            }
            Self::ArtifactMismatch { .. } | Self::NotInManifest(_) => {
                "Do not install it; download the artifact again, and keep this copy as evidence."
            }
            Self::Stale { .. } => {
                "Fetch a newer proof; if there is none, the log has stalled, or someone hides it from you."
            }
            Self::FromTheFuture { .. } => "Check this machine's clock.",
            Self::Fork { .. } => "Do not install it; keep both checkpoints, they prove that the log lied.",
            Self::Forked { .. } => {
                "Do not install it; remove the log from the policy. To trust it again, delete the state; old and withdrawn releases may then pass as well."
            }
            Self::Rollback { .. } => "Do not install it; an old release is being passed off as the newest.",
            Self::Withdrawn { .. } => "Do not install it; look for another version.",
            Self::Attestations { .. } => {
                "Do not install it on this proof; fetch a bundle with the attestations that are asked for."
            }
        }
    }
}

fn in_words(missing: &[MissingAttestations]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A statement may leave a name out.
fn called(name: &str) -> String {
    if name.is_empty() { "one without a name".to_owned() } else { quote(name) }
}

fn audience(audience: Option<&str>) -> String {
    audience.map_or_else(|| "everyone".to_owned(), quote)
}
