//! The memory of an endpoint: heads of each log, which logs forked, the highest sequence of each publisher,
//! package and channel, which channel of a package it follows, and withdrawals. It only ever grows, except for
//! the channel, which is the last one asked for.
//!
//! Heads of a log are remembered until it proves online that they are of one history. Offline, two heads
//! cannot be compared unless they have the same size; so each is kept, with its signatures, until the log has
//! shown tiles that prove it a prefix of a newer one. Then that one stands for all.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::Cosigned;
use crate::endpoint::ProvenWithdrawal;
use crate::format::SortedMap;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::Note;
use crate::proof::fork::ForkEvidence;
use crate::release::{Release, Subject, Withdrawal};

pub use file::{MAX_STATE_BYTES, STATE_VERSION};

mod file;

/// Most heads of a log that wait to be proven. An endpoint that is never online forgets the one that it saw
/// first, but never the largest.
pub const MAX_UNPROVEN_HEADS: usize = 16;

/// The memory of an endpoint. Reading and writing its file is the caller's part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointState {
    logs: SortedMap<String, Heads>,
    sequences: SortedMap<SequenceKey, Seen>,
    withdrawals: SortedMap<WithdrawalKey, Withdrawn>,
}

/// A head that passed its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedHead {
    /// Number of leaves.
    pub size: TreeSize,
    /// Merkle tree hash over them.
    pub root: Hash,
    /// The checkpoint with the signature lines that were verified. Version 1 of the file had none.
    pub note: Option<Note>,
}

/// The heads of a log; each size once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heads {
    origin: String,
    /// The head of which all compared heads are prefixes.
    proven: Option<RememberedHead>,
    /// In the order in which they came.
    unproven: Vec<RememberedHead>,
    /// Set once and for all: a log that signed two histories can't be mended.
    forked: Option<KnownFork>,
}

/// A log that signed two histories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownFork {
    /// Name of the file in the endpoint's evidence that proves the fork. `None` if the remembered head has no signature
    /// that could be shown to others, or no file could be written.
    pub evidence: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SequenceKey {
    publisher: String,
    package: String,
    channel: String,
}

/// The releases accepted from a publisher, of a package, in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    /// The highest sequence.
    sequence: u64,
    /// Set if the package's last accepted release is in this channel.
    followed: bool,
}

/// The key of a withdrawal. It counts only if its publisher made the release, so those by others are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WithdrawalKey {
    publisher: String,
    origin: String,
    leaf: Hash,
}

/// A withdrawal that was proven to be in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// The publisher who withdrew it.
    pub publisher: String,
    /// Package and version, as the withdrawal names them.
    pub purl: String,
    /// [`Subject::digest_of_all`] of the artifacts that it names.
    pub artifacts: Hash,
    /// The log that has it, and the release that it names.
    pub origin: String,
    /// Leaf index of that release.
    pub index: LeafIndex,
    /// Leaf hash of that release.
    pub leaf: Hash,
    /// The publisher's reason, without control characters.
    pub reason: String,
    /// Leaf hash of the withdrawal itself.
    pub statement: Hash,
    /// SHA-256 of the release's payload, where the publisher is known to have signed it.
    pub payload: Option<Hash>,
}

impl EndpointState {
    /// The largest head remembered of a log.
    #[must_use]
    pub fn head(&self, origin: &str) -> Option<(TreeSize, Hash)> {
        self.heads(origin).map(|head| (head.size, head.root)).max_by_key(|(size, _)| *size)
    }

    /// All heads remembered of a log: the proven one first, then those that wait, in the order in which
    /// they came.
    pub fn heads(&self, origin: &str) -> impl Iterator<Item = &RememberedHead> {
        self.logs.get(origin).into_iter().flat_map(Heads::all)
    }

    fn heads_mut(&mut self, origin: &str) -> &mut Heads {
        self.logs.get_or_insert(origin.to_owned(), Heads::of(origin))
    }

    /// The head of this size, if another root is remembered for it: a second history.
    #[must_use]
    pub fn contradiction(&self, head: &Checkpoint) -> Option<&RememberedHead> {
        self.heads(head.origin.as_str()).find(|known| known.size == head.size && known.root != head.root)
    }

    /// The fork's evidence, from the note that carries `head`. `None` if nothing contradicts it, or if
    /// the remembered one has no signatures.
    #[must_use]
    pub fn fork_evidence(&self, head: &Checkpoint, note: &Note) -> Option<ForkEvidence> {
        let known = self.contradiction(head)?.note.clone()?;
        Some(ForkEvidence::same_size(known, note.clone()))
    }

    /// Remembers that a log forked, with the name of the file that proves it. From then on, the endpoint refuses
    /// everything proven under that log.
    pub fn fork(&mut self, origin: &str, evidence: Option<String>) {
        let fork = self.heads_mut(origin).forked.get_or_insert_default();
        // One file is enough; keep the first.
        fork.evidence = fork.evidence.take().or(evidence);
    }

    /// The log's fork, if it signed two histories.
    #[must_use]
    pub fn known_fork(&self, origin: &str) -> Option<&KnownFork> {
        self.logs.get(origin)?.forked.as_ref()
    }

    /// The highest sequence seen for a publisher, package and channel.
    #[must_use]
    pub fn sequence(&self, publisher: &str, release: &Release) -> Option<u64> {
        self.sequences.get(&SequenceKey::of(publisher, release)).map(|seen| seen.sequence)
    }

    /// The channel that the endpoint follows for this publisher's package, if the release is in another.
    ///
    /// A memory of an older version may know several channels, but not which one is followed. Then a channel
    /// must be asked for by name, and all of them are returned, in words.
    #[must_use]
    pub fn unfollowed_channel(&self, publisher: &str, release: &Release) -> Option<String> {
        let known: Vec<(&str, bool)> = self
            .channels(publisher, &release.purl.package())
            .map(|(key, seen)| (key.channel.as_str(), seen.followed))
            .collect();
        match known.iter().find(|(_, followed)| *followed) {
            Some((followed, _)) => (*followed != release.channel).then(|| (*followed).to_owned()),
            None if known.is_empty() => None,
            None => {
                let names: Vec<&str> = known.into_iter().map(|(channel, _)| channel).collect();
                Some(format!("{} to be asked for by name", names.join(" or ")))
            }
        }
    }

    /// The channels of a publisher's package from which the endpoint accepted releases.
    fn channels(&self, publisher: &str, package: &str) -> impl Iterator<Item = (&SequenceKey, &Seen)> {
        let (publisher, package) = (publisher.to_owned(), package.to_owned());
        let first = SequenceKey { publisher, package, channel: String::new() };
        let is_same = |key: &SequenceKey, of: &SequenceKey| {
            (&key.publisher, &key.package) == (&of.publisher, &of.package)
        };
        self.sequences.iter_from(&first).take_while(move |(key, _)| is_same(key, &first))
    }

    /// The withdrawal of a release, which has this leaf and payload hash, by one of those who signed it.
    ///
    /// An envelope is public: any registered publisher can add a signature to it, or leave one of two out, which makes
    /// another leaf, in this log or another. So a withdrawal applies to a version and its artifacts, and the leaf is
    /// only one way to name them. A publisher known to have signed this very payload counts as its signer even if that
    /// signature was left out.
    #[must_use]
    pub fn withdrawal(
        &self,
        release: &Release,
        leaf: &Hash,
        payload: &Hash,
        signers: &[String],
    ) -> Option<&Withdrawn> {
        let (purl, artifacts) = (release.purl.as_str(), Subject::digest_of_all(&release.subjects));
        self.withdrawals.values().find(|known| {
            let same = known.leaf == *leaf || known.artifacts == artifacts;
            let signed = signers.contains(&known.publisher) || known.payload == Some(*payload);
            same && known.purl == purl && signed
        })
    }

    /// Reports whether a withdrawal with this leaf hash is known, together with the release that it names.
    #[must_use]
    pub fn knows_withdrawal(&self, origin: &str, statement: &Hash) -> bool {
        self.withdrawals
            .values()
            .any(|known| known.statement == *statement && known.origin == origin && known.payload.is_some())
    }

    /// Remembers a withdrawal for each publisher that withdraws; it counts from then on, online or not.
    pub fn withdraw(&mut self, proven: &ProvenWithdrawal) {
        let Withdrawal { index, leaf, purl, subjects, reason, .. } = proven.withdrawal();
        for publisher in proven.publishers() {
            let withdrawn = Withdrawn {
                publisher: publisher.clone(),
                purl: purl.to_string(),
                artifacts: Subject::digest_of_all(subjects),
                origin: proven.head().get().origin.to_string(),
                index: *index,
                leaf: *leaf,
                reason: reason.clone(),
                statement: proven.statement(),
                payload: proven.payload_of(publisher),
            };
            // The first stays: a reason is not changed afterwards.
            let payload = withdrawn.payload;
            let known = self.withdrawals.get_or_insert(WithdrawalKey::of(&withdrawn), withdrawn);
            known.payload = known.payload.or(payload);
        }
    }

    /// Remembers a head that is to be proven later.
    pub fn see(&mut self, head: &Cosigned<Checkpoint>) {
        let (head, note) = (head.get(), head.verified_note());
        self.heads_mut(head.origin.as_str()).remember(RememberedHead::of(head, Some(note)));
    }

    /// Remembers that the heads `compared` (size and root of each) are prefixes of `latest`, by tiles. A
    /// `latest` that [contradicts](Self::contradiction) a remembered head changes nothing.
    pub fn confirm(&mut self, latest: &Cosigned<Checkpoint>, compared: &[(TreeSize, Hash)]) {
        let (head, note) = (latest.get(), latest.verified_note());
        // The first root of a size stays, to show the fork: a caller who asked first has refused it.
        if self.contradiction(head).is_some() {
            return;
        }
        let is_compared = |known: &RememberedHead| compared.contains(&(known.size, known.root));
        let heads = self.heads_mut(head.origin.as_str());
        heads.unproven.retain(|known| !is_compared(known));
        match &heads.proven {
            // Another process proved it meanwhile, and the two were not compared.
            Some(proven) if !is_compared(proven) && (proven.size, proven.root) != (head.size, head.root) => {
                heads.remember(RememberedHead::of(head, Some(note)));
            }
            _ => {
                heads.unproven.retain(|known| (known.size, known.root) != (head.size, head.root));
                heads.proven = Some(RememberedHead::of(head, Some(note)));
            }
        }
    }

    /// Remembers a verdict. Callers have verified all parts; see [`verify`](fn@super::verify). Returns true if
    /// that made it forget a head that was never compared.
    pub(crate) fn remember(
        &mut self,
        head: &Checkpoint,
        note: Option<Note>,
        publishers: &[impl AsRef<str>],
        release: &Release,
    ) -> bool {
        let forgotten = self.heads_mut(head.origin.as_str()).remember(RememberedHead::of(head, note));
        for publisher in publishers {
            let key = SequenceKey::of(publisher.as_ref(), release);
            self.follow(&key);
            let seen = self.sequences.get_or_insert(key, Seen::default());
            *seen = Seen { sequence: release.sequence.max(seen.sequence), followed: true };
        }
        forgotten
    }

    /// Makes this key's channel the one that the endpoint follows for its package.
    fn follow(&mut self, key: &SequenceKey) {
        let before: Vec<SequenceKey> = self
            .channels(&key.publisher, &key.package)
            .filter(|(_, seen)| seen.followed)
            .map(|(key, _)| key.clone())
            .collect();
        for key in before {
            self.sequences.get_or_insert(key, Seen::default()).followed = false;
        }
    }
}

impl Heads {
    /// No head yet.
    fn of(origin: &str) -> Self {
        Self { origin: origin.to_owned(), proven: None, unproven: Vec::new(), forked: None }
    }

    fn all(&self) -> impl Iterator<Item = &RememberedHead> {
        self.proven.iter().chain(&self.unproven)
    }

    /// Returns true if that made it forget another one.
    fn remember(&mut self, head: RememberedHead) -> bool {
        let Self { proven, unproven, .. } = self;
        if let Some(known) =
            proven.iter_mut().chain(unproven.iter_mut()).find(|known| known.size == head.size)
        {
            // The first root of a size stays, to show the fork. One of version 1 gets its signatures.
            if known.root == head.root && known.note.is_none() {
                known.note = head.note;
            }
            return false;
        }
        unproven.push(head);
        let full = unproven.len() > MAX_UNPROVEN_HEADS;
        if full {
            let largest = unproven.iter().map(|known| known.size).max();
            let first = unproven.iter().position(|known| Some(known.size) != largest);
            unproven.remove(first.expect("sizes differ"));
        }
        full
    }
}

impl RememberedHead {
    const fn of(head: &Checkpoint, note: Option<Note>) -> Self {
        Self { size: head.size, root: head.root, note }
    }
}

impl WithdrawalKey {
    fn of(withdrawn: &Withdrawn) -> Self {
        let Withdrawn { publisher, origin, leaf, .. } = withdrawn;
        Self { publisher: publisher.clone(), origin: origin.clone(), leaf: *leaf }
    }
}

impl SequenceKey {
    fn of(publisher: &str, release: &Release) -> Self {
        let (package, channel) = (release.purl.package(), release.channel.clone());
        Self { publisher: publisher.to_owned(), package, channel }
    }
}
