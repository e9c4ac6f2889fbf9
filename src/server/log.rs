//! An open log: store, sequencer, publishers and identity, shared by all handlers.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PublisherBook;
use super::problem::REFUSALS;
use super::profile::Profile;
use crate::checkpoint::LogSigner;
use crate::format::FormatError;
use crate::http::admission::Admission;
use crate::http::gzip::Gzip;
use crate::http::outcomes::Outcomes;
use crate::merkle::{Hash, LeafIndex, prove_inclusion};
use crate::note::{KeyName, Note};
use crate::proof::ProofFile;
use crate::sequencer::{Options, Published, Sequencer, StartCosigners, StartError};
use crate::store::{DiskStore, OpenOptions, Store as _, StoreError, StoreReader};

/// All that it takes to open a log.
pub struct LogConfig {
    /// The log's directory.
    pub dir: PathBuf,
    /// The log's keys; their name is the origin.
    pub signer: LogSigner,
    /// What it admits.
    pub profile: Profile,
    /// `publishers.toml`; not read by an opaque log.
    pub publishers: PathBuf,
    /// How it sequences.
    pub options: Options,
    /// Who collects cosignatures, where the log has witnesses.
    pub cosigners: Option<StartCosigners>,
    /// Told how far the tree has caught up with the journal.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `publishers.toml` can't be read.
    #[error("{}: {source}", path.display())]
    Publishers {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The settings say another profile than the log was made for.
    #[error(
        "{}: the log was made with profile = \"{}\", and keeps it for life: {why}; the settings say \"{}\"",
        dir.display(), kept.as_str(), said.as_str()
    )]
    Profile {
        /// The log's directory.
        dir: PathBuf,
        /// What it was made for.
        kept: Profile,
        /// What the settings say.
        said: Profile,
        /// Where that is known from, and what to do if it is wrong.
        why: String,
    },
    /// The file that says the profile is malformed.
    #[error("{}: {source}", path.display())]
    ProfileFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A file can't be read at all.
    #[error("could not read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store or the last checkpoint does not check.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// An open log. Clones are handles to the same one.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    origin: KeyName,
    profile: Profile,
    publishers: Arc<PublisherBook>,
    sequencer: Sequencer,
    admission: Admission,
    /// Of submissions.
    refusals: Outcomes,
    /// Searches read many entries: only so many run at once.
    searches: Arc<Semaphore>,
    /// Bundles have up to 16 MiB: only so many are read at once.
    reads: Arc<Semaphore>,
    gzip: Gzip,
}

/// Searches that run at once; the others wait their turn.
const SEARCHES: usize = 2;
/// Bundles that are read and packed at once: what is in memory before it is counted as an answer.
const READS: usize = 4;

impl Log {
    /// Opens a log's directory, recovers it, publishes its head, and starts to sequence.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: LogConfig) -> Result<Self, OpenError> {
        let origin = config.signer.origin().clone();
        let kept = config.profile.check(&config.dir)?;
        let publishers = Arc::new(config.profile.publishers(&config.publishers)?);
        let describe = config.profile.describe(publishers.clone());
        let open = OpenOptions {
            describe,
            progress: config.progress,
            log_key: Some(config.signer.ed25519().clone()),
            ..OpenOptions::new(origin.as_str())
        };
        let store = DiskStore::open(&config.dir, open).map_err(StartError::from)?;
        if kept.is_none() {
            config.profile.adopt(&config.dir, store.reader().as_ref())?;
        }
        let sequencer =
            Sequencer::start_with(Box::new(store), config.signer, &config.options, config.cosigners)?;
        let profile = config.profile;
        let turns = |count| Arc::new(Semaphore::new(count));
        let (searches, reads, gzip) = (turns(SEARCHES), turns(READS), Gzip::default());
        let (admission, refusals) = (Admission::default(), Outcomes::new(&REFUSALS));
        let shared =
            Shared { origin, profile, publishers, sequencer, admission, refusals, searches, reads, gzip };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The log's identity.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.shared.origin
    }

    /// What it admits.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.shared.profile
    }

    /// Who may publish.
    #[must_use]
    pub fn publishers(&self) -> &PublisherBook {
        &self.shared.publishers
    }

    /// Conditions that need attention although the log appends and publishes.
    pub(super) fn warnings(&self) -> Vec<String> {
        let quorum = self.sequencer().cosigners().and_then(|cosigners| cosigners.warning());
        quorum.into_iter().chain(self.publishers().warning()).collect()
    }

    /// What appends.
    #[must_use]
    pub fn sequencer(&self) -> &Sequencer {
        &self.shared.sequencer
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    /// How often submissions were refused, and why.
    pub(super) fn refusals(&self) -> &Outcomes {
        &self.shared.refusals
    }

    pub(super) fn reader(&self) -> &Arc<dyn StoreReader> {
        self.shared.sequencer.reader()
    }

    /// Held while a search runs.
    pub(super) async fn search_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.searches.clone().acquire_owned().await.ok()
    }

    /// Held while a bundle is read.
    pub(super) async fn read_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.reads.clone().acquire_owned().await.ok()
    }

    pub(super) fn gzip(&self) -> &Gzip {
        &self.shared.gzip
    }

    pub(super) fn published(&self) -> Published {
        self.shared.sequencer.published().borrow().clone()
    }

    /// The proof file of a leaf under a published head, with its entry in `extra`.
    pub(super) fn proof_file(&self, index: LeafIndex, head: &Published) -> Result<ProofFile, StoreError> {
        let entry = self.reader().entry(index)?;
        let (size, root) = (head.checkpoint.size, &head.checkpoint.root);
        let proof = prove_inclusion(self.reader().as_ref(), index, &Hash::leaf(&entry), size, root)?
            .map_err(|e| StoreError::TreeDamaged { detail: e.to_string() })?;
        let checkpoint = Note::parse(&head.note).map_err(|e| StoreError::Damaged {
            what: "the published note".to_owned(),
            detail: e.to_string(),
        })?;
        Ok(ProofFile { extra: Some(entry), index, proof, checkpoint })
    }
}
