//! Reason codes of verdicts.

#[expect(unused_imports, reason = "for the link in the enum's documentation")]
use super::Refusal;
use crate::format::codes;

codes! { VerdictCode of Refusal {
    ProofMalformed = 600, "proof-malformed";
    UnknownLog = 601, "unknown-log";
    CheckpointMalformed = 602, "checkpoint-malformed";
    CheckpointSignature = 603, "checkpoint-signature";
    Cosignature = 604, "cosignature";
    NoQuorum = 605, "no-quorum";
    EntryMissing = 606, "entry-missing";
    NotIncluded = 607, "not-included";
    EntryMalformed = 608, "entry-malformed";
    UnknownPublisher = 609, "unknown-publisher";
    PublisherSignature = 610, "publisher-signature";
    PublisherKeyRevoked = 611, "publisher-key-revoked";
    OtherLog = 612, "other-log";
    PublisherNotPermitted = 613, "publisher-not-permitted";
    NotARelease = 614, "not-a-release";
    NotAWithdrawal = 615, "not-a-withdrawal";
    OtherPackage = 616, "other-package";
    OtherPublisher = 617, "other-publisher";
    OtherKind = 618, "other-kind";
    OtherChannel = 619, "other-channel";
    OtherAudience = 620, "other-audience";
    BelowMinSequence = 621, "below-min-sequence";
    ArtifactMismatch = 622, "artifact-mismatch";
    ArtifactSwapped = 623, "artifact-swapped";
    NotInManifest = 624, "not-in-manifest";
    Stale = 625, "stale";
    FromTheFuture = 626, "from-the-future";
    Fork = 627, "fork";
    Rollback = 628, "rollback";
    LogRolledBack = 629, "log-rolled-back";
    StateDamaged = 630, "state-damaged";
    StateNewer = 631, "state-newer";
    Withdrawn = 632, "withdrawn";
    NoFork = 633, "no-fork";
    CouldNotTell = 634, "could-not-tell";
}}
