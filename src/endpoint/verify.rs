//! The endpoint's verdict: bytes, a policy and a state become a [`VerifiedRelease`] or a
//! [`Refusal`] with a stable reason code. No network, no clock, no files.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::proven::{Opened, ProvenEntry};
use super::{Artifact, Freshness, Pins, Proven, Question, Refusal, Trust, attestations, subjects};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::endpoint::{EndpointState, FUTURE_ALLOWANCE_SECONDS, KnownFork, Withdrawn};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Release, Statement, Subject, format_time};

/// A release that may be installed. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedRelease {
    head: Cosigned<Checkpoint>,
    index: LeafIndex,
    leaf: Hash,
    release: Release,
    publishers: Vec<String>,
    signers: Vec<String>,
    keyids: Vec<Hash>,
    artifacts: Vec<Subject>,
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

    /// The publisher's statement.
    #[must_use]
    pub const fn release(&self) -> &Release {
        &self.release
    }

    /// The publisher of the release: the one that was asked for, otherwise the first authorized signer in order
    /// of keyid.
    #[must_use]
    pub fn publisher(&self) -> &str {
        &self.publishers[0]
    }

    /// Names of all signers, whatever their rights: each of them may withdraw the release.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// The keys that signed it.
    #[must_use]
    pub fn keyids(&self) -> &[Hash] {
        &self.keyids
    }

    /// The matched artifacts, by name and digest; at least one. For a file: the artifact of the release that it
    /// is, followed by others with the same digest, closest name first. For files in a manifest: all of them,
    /// in the proof's order.
    #[must_use]
    pub fn artifacts(&self) -> &[Subject] {
        &self.artifacts
    }

    /// Remembers this verdict, so that nothing older passes for newer later. Returns whether another head was
    /// forgotten for this one's, before it was compared: a fork that it shows will not be found.
    pub fn remember_in(&self, state: &mut EndpointState) -> bool {
        state.remember(self.head.get(), Some(self.head.verified_note()), &self.publishers, &self.release)
    }
}

/// Judges an artifact. The steps and their order are those of the design, "What an endpoint's
/// verdict checks"; the first that fails is the answer.
///
/// # Errors
/// [`Refusal`].
pub fn verify(
    question: &Question<'_>,
    trust: Trust<'_>,
    memory: Option<&EndpointState>,
) -> Result<VerifiedRelease, Refusal> {
    // Steps 1 to 4.
    Proven::open(question.proof, trust)?.judge(question, memory)
}

impl Proven<'_> {
    /// Judges an artifact by these entries, from step 5 on: the proof in the question is this one. If several releases have
    /// the artifact, the newest that is accepted counts; if none is, the refusal of the newest.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(
        &self,
        question: &Question<'_>,
        memory: Option<&EndpointState>,
    ) -> Result<VerifiedRelease, Refusal> {
        let mut candidates = self.candidates(question.artifact).into_iter();
        let newest = candidates.next().expect("at least one");
        let judge = |entry| self.judge_by(entry, question, memory);
        judge(newest).or_else(|refusal| candidates.find_map(|entry| judge(entry).ok()).ok_or(refusal))
    }

    fn judge_by(
        &self,
        entry: &ProvenEntry,
        question: &Question<'_>,
        memory: Option<&EndpointState>,
    ) -> Result<VerifiedRelease, Refusal> {
        let Self { trust, head, .. } = self;
        // 5. Signature by a publisher that may speak for the package and kind, for this log or for any.
        let Opened { payload, keyids, verified } = self.opened(entry)?;
        let (index, leaf, keyids) = (entry.index, entry.leaf, keyids.clone());
        let (mut publishers, signers) = (verified.publishers().to_vec(), verified.signers().to_vec());
        let release = match verified.statement() {
            Statement::Release(release) => release.clone(),
            other => return Err(Refusal::NotARelease { seen: other.kind() }),
        };
        // The release is the one that was asked for.
        let pins = &question.pins;
        pins.check(&release, &publishers)?;
        if let Some(at) = publishers.iter().position(|name| Some(name.as_str()) == pins.publisher) {
            publishers.swap(0, at);
        }
        // 6. The artifact is a subject and does not bear another subject's name, or its files are in the manifest.
        let artifacts = subjects::find(question.artifact, pins, &release)?;
        // 7. Freshness.
        check_freshness(trust.policy, head, question.freshness)?;
        if let Some(state) = memory {
            // 8. Rollback and fork, against what is remembered.
            check_memory(state, head.get(), &publishers, &release, pins)?;
        }
        // 9. Its publisher has not withdrawn it, as far as is remembered, or as the same proof says.
        let mut told = EndpointState::default();
        self.withdrawals(entry).iter().for_each(|withdrawal| told.withdraw(withdrawal));
        for state in memory.into_iter().chain([&told]) {
            if let Some(withdrawn) = state.withdrawal(&release, &leaf, payload, &signers) {
                let Withdrawn { publisher, purl, reason, .. } = withdrawn.clone();
                return Err(Refusal::Withdrawn { purl, index, publisher, reason });
            }
        }
        // 10. The attestations that the trust file asks for.
        attestations::check(self, entry, &release, question)?;
        Ok(VerifiedRelease {
            head: head.clone(),
            index,
            leaf,
            release,
            publishers,
            signers,
            keyids,
            artifacts,
        })
    }
}

/// The release that a proof file is for, whatever the question: steps 1 to 5 of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The log.
    pub origin: String,
    /// Its place there.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The release.
    pub release: Release,
}

/// The release that a proof is for, to explain a refusal. Never install anything on the strength of it.
#[must_use]
pub fn stated(proof: &[u8], artifact: Artifact<'_>, trust: Trust<'_>) -> Option<Stated> {
    Proven::open(proof, trust).ok()?.stated(artifact)
}

/// A statement that is in a log, by a publisher with the right to make it.
#[derive(Debug)]
pub struct LoggedStatement {
    /// The log.
    pub origin: String,
    /// Its place there.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The statement and its signers.
    pub verified: crate::release::VerifiedStatement,
}

/// The statement that a proof of one entry is for, of whatever kind: steps 1 to 5 of [`verify`]. What follows from it is for
/// the caller to decide. Of a bundle, it is the first.
///
/// # Errors
/// [`Refusal`].
pub fn logged_statement(proof: &[u8], trust: Trust<'_>) -> Result<LoggedStatement, Refusal> {
    let proven = Proven::open(proof, trust)?;
    let entry = proven.entries.first().ok_or(Refusal::EntryMissing)?;
    let verified = proven.opened(entry)?.verified.clone();
    let origin = String::from(proven.head.get().origin.as_str());
    Ok(LoggedStatement { origin, index: entry.index, leaf: entry.leaf, verified })
}

/// Step 7 alone: a quorum cosigned this head, neither too long ago nor in the future. Callers use it for a newer head
/// that was found to continue the proof's, and so holds the same entries.
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
    pins: &Pins<'_>,
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
    // In a channel that the endpoint does not follow, no number is remembered that an old release would be below.
    let unfollowed = |publisher: &String| state.unfollowed_channel(publisher, release);
    if pins.channel.is_none()
        && let Some(expected) = publishers.iter().find_map(unfollowed)
    {
        return Err(Refusal::OtherChannel { expected, seen: release.channel.clone(), followed: true });
    }
    // For each publisher: a cosigner must not hide another publisher's higher number.
    match publishers.iter().filter_map(|publisher| state.sequence(publisher, release)).max() {
        Some(expected) if release.sequence < expected => {
            Err(Refusal::Rollback { expected, seen: release.sequence })
        }
        _ => Ok(()),
    }
}
