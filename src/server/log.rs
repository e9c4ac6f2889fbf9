//! An open log: store, sequencer, publishers and identity, shared by all handlers.

use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "bucket")]
use std::sync::Weak;

use tokio::sync::Semaphore;

use super::explorer;
use super::open_error::OpenError;
use super::problem::Problem;
use super::profile::describe;
use super::tile_cache::TileCache;
#[cfg(feature = "bucket")]
use crate::bucket::Objects;
use crate::checkpoint::LogSigner;
use crate::checkpoint::policy::Policy;
use crate::http::RequestError;
use crate::http::admission::Admission;
use crate::http::gzip::Gzip;
use crate::http::outcomes::Outcomes;
use crate::http::problem::blocking;
use crate::http::watched_file::WatchedFile;
use crate::merkle::{Hash, LeafIndex, prove_inclusion};
use crate::note::{KeyName, Note};
use crate::proof::ProofFile;
use crate::release::{Profile, Publishers};
use crate::sequencer::{CosignersFactory, Options, Published, Sequencer, StartError};
#[cfg(feature = "bucket")]
use crate::store::bucket::{BucketOptions, BucketStore, LeaseKeeper, LeaseState, recognise};
use crate::store::{DiskStore, OpenOptions, Store, StoreError, StoreReader};

/// The place of a log.
#[derive(Default)]
pub enum Storage {
    /// In its directory.
    #[default]
    Directory,
    /// In a bucket. The directory has a disposable cache.
    #[cfg(feature = "bucket")]
    Bucket(Bucket),
}

/// A bucket that several servers of one log share.
#[cfg(feature = "bucket")]
pub struct Bucket {
    /// The bucket, below the log's prefix. [Probe](crate::bucket::probe) it first: on a store that ignores conditions,
    /// two servers would fork the log.
    pub objects: Arc<dyn Objects>,
    /// Length of the lease, in seconds.
    pub lease_seconds: u32,
    /// The URL at which this server accepts entries. Standbys name it to their clients.
    pub address: Option<String>,
}

/// The settings of a log.
pub struct LogConfig {
    /// The log's directory.
    pub dir: PathBuf,
    /// The place of the log.
    pub storage: Storage,
    /// The log's keys; their name is the origin.
    pub signer: LogSigner,
    /// The entries that the log admits.
    pub profile: Profile,
    /// `publishers.toml`; not read by an opaque log.
    pub publishers: PathBuf,
    /// The trust file of endpoints, for readers of the explorer who bring none of their own. `None` for a log without
    /// witnesses: its own keys.
    pub policy: Option<Policy>,
    /// The sequencer's settings.
    pub options: Options,
    /// Starts the collection of cosignatures, if the log has witnesses.
    pub cosigners: Option<CosignersFactory>,
    /// Memory for the filters of the index, in bytes.
    pub index_bytes: u64,
    /// Called with progress while the tree catches up with the journal: entries done, entries in all.
    pub progress: Arc<dyn Fn(u64, u64) + Send + Sync>,
}

/// An open log. Clones are handles to the same one.
#[derive(Clone)]
pub struct Log {
    pub(super) inner: Arc<LogInner>,
}

pub(super) struct LogInner {
    origin: KeyName,
    profile: Profile,
    /// `None` for an opaque log.
    publishers: Option<Arc<WatchedFile<Publishers>>>,
    /// The publishers of an opaque log.
    nobody: Arc<Publishers>,
    policy: Policy,
    sequencer: Sequencer,
    /// The bucket that the log is in, if it is in one, and the lease.
    #[cfg(feature = "bucket")]
    objects: Option<Arc<dyn Objects>>,
    #[cfg(feature = "bucket")]
    lease: Option<Weak<LeaseKeeper>>,
    pub(super) admission: Admission,
    /// Refused submissions by outcome.
    pub(super) refusals: Outcomes,
    /// Bounds the searches that run at once: each reads many entries.
    pub(super) searches: Arc<Semaphore>,
    /// Bounds the bundles that are read at once: each has up to 16 MiB.
    pub(super) reads: Arc<Semaphore>,
    /// Bounds the batches that are checked at once: one for each processor. More would only take turns, each in the
    /// memory of a thread of its own.
    pub(super) checks: Arc<Semaphore>,
    pub(super) gzip: Gzip,
    pub(super) tiles: TileCache,
}

/// Searches that run at once; others wait.
const SEARCHES: usize = 2;
/// Bundles that are read and compressed at once: their bytes are not counted as answers yet.
const READS: usize = 4;

impl Log {
    /// Opens a log's directory, recovers the log, publishes its head, and starts to sequence.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: LogConfig) -> Result<Self, OpenError> {
        let origin = config.signer.origin().clone();
        let policy = config.policy.unwrap_or_else(|| explorer::own_policy(&config.signer.keys()));
        let kept = config.profile.check(&config.dir)?;
        let publishers = config.profile.publishers(&config.publishers)?;
        let open = OpenOptions {
            describe: describe(publishers.clone()),
            progress: config.progress,
            log_key: Some(config.signer.ed25519().clone()),
            index_bytes: config.index_bytes,
            ..OpenOptions::new(origin.as_str())
        };
        #[cfg(feature = "bucket")]
        let objects = match &config.storage {
            Storage::Directory => None,
            Storage::Bucket(bucket) => Some(bucket.objects.clone()),
        };
        #[cfg(feature = "bucket")]
        let mut lease = None;
        let store: Box<dyn Store> = match config.storage {
            Storage::Directory => Box::new(DiskStore::open(&config.dir, open).map_err(StartError::from)?),
            #[cfg(feature = "bucket")]
            Storage::Bucket(bucket) => {
                let has_witnesses = config.cosigners.is_some();
                let (origin, profile) = (origin.as_str(), config.profile.as_str());
                recognise(bucket.objects.as_ref(), origin, profile)?;
                let bucket = BucketOptions {
                    has_witnesses,
                    lease_seconds: Some(bucket.lease_seconds),
                    address: bucket.address,
                    ..BucketOptions::new(bucket.objects, open)
                        .map_err(StoreError::from)
                        .map_err(StartError::from)?
                };
                let store = BucketStore::open(&config.dir, bucket).map_err(StartError::from)?;
                lease = store.lease();
                Box::new(store)
            }
        };
        if kept.is_none() {
            config.profile.adopt(&config.dir, store.reader().as_ref())?;
        }
        let sequencer = Sequencer::start(store, config.signer, &config.options, config.cosigners)?;
        let profile = config.profile;
        let bound = |count| Arc::new(Semaphore::new(count));
        let (searches, reads, gzip) = (bound(SEARCHES), bound(READS), Gzip::default());
        let checks = bound(std::thread::available_parallelism().map_or(1, NonZero::get));
        let (admission, refusals) =
            (Admission::default(), Outcomes::new(&[Problem::COUNTED, RequestError::COUNTED]));
        let inner = LogInner {
            origin,
            profile,
            publishers,
            nobody: Arc::default(),
            policy,
            sequencer,
            #[cfg(feature = "bucket")]
            objects,
            #[cfg(feature = "bucket")]
            lease,
            admission,
            refusals,
            searches,
            reads,
            checks,
            gzip,
            tiles: TileCache::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The log's origin.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.inner.origin
    }

    /// The entries that the log admits.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.inner.profile
    }

    /// The trust file of endpoints.
    pub(super) fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// The publishers whose statements the log admits, at most ten milliseconds old.
    pub(super) fn publishers(&self) -> Arc<Publishers> {
        let file = self.inner.publishers.as_deref();
        file.map_or_else(|| self.inner.nobody.clone(), WatchedFile::current)
    }

    /// The fault of the publishers file, if any: it can't be read, or no publisher may publish any more.
    pub(super) fn publishers_fault(&self) -> Option<String> {
        self.inner.publishers.as_deref().and_then(WatchedFile::fault)
    }

    /// Reads the publishers file at once.
    pub fn reload_publishers(&self) {
        self.inner.publishers.as_deref().inspect(|file| file.reload());
    }

    /// Conditions that need attention although the log appends and publishes.
    pub(super) fn warnings(&self) -> Vec<String> {
        let quorum = self.sequencer().cosigners().and_then(|cosigners| cosigners.warning());
        let publishers = self.inner.publishers.as_deref().and_then(WatchedFile::warning);
        let warnings = quorum.into_iter().chain(publishers);
        #[cfg(feature = "bucket")]
        let warnings = warnings.chain(self.lease_warning());
        warnings.collect()
    }

    /// The sequencer, which appends entries.
    #[must_use]
    pub fn sequencer(&self) -> &Sequencer {
        &self.inner.sequencer
    }

    /// The bucket that the log is in, if it is in one.
    #[cfg(feature = "bucket")]
    pub(super) fn objects(&self) -> Option<&dyn Objects> {
        self.inner.objects.as_deref()
    }

    /// The state of the lease, if several servers may serve the log.
    #[cfg(feature = "bucket")]
    pub(super) fn lease(&self) -> Option<LeaseState> {
        Some(self.inner.lease.as_ref()?.upgrade()?.state())
    }

    /// The URL of the holder, if this server stands by and knows it.
    #[cfg(feature = "bucket")]
    pub(super) fn holder(&self) -> Option<String> {
        self.lease()?.holder
    }

    /// A warning if the last request for the lease failed.
    #[cfg(feature = "bucket")]
    fn lease_warning(&self) -> Option<String> {
        self.lease()?.error.map(|error| format!("the lease can't be read or renewed: {error}"))
    }

    /// Commits and publishes everything that was accepted, and refuses further entries.
    ///
    /// # Errors
    /// [`io::Error`] if not everything that is durable could be published.
    pub async fn shut_down(&self) -> io::Result<()> {
        let log = self.clone();
        let stopped = tokio::task::spawn_blocking(move || log.sequencer().shut_down()).await;
        stopped.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    pub(super) fn reader(&self) -> &Arc<dyn StoreReader> {
        self.inner.sequencer.reader()
    }

    pub(super) fn published(&self) -> Published {
        self.inner.sequencer.published().borrow().clone()
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

/// Runs work off the threads that serve connections, once it has a turn. The turn lasts as long as the work, whether or
/// not the client still waits.
pub(super) async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RequestError> {
    let turn = turns.clone().acquire_owned().await;
    blocking(move || {
        let _turn = turn;
        work()
    })
    .await
}
