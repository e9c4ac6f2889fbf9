//! The index in the bucket, for servers that start without one.
//!
//! ```text
//! index/<SHA-256>.run    a run of the index, byte for byte
//! index/manifest         "THIDX01\n" || runs u32 || (name of the run u64 || SHA-256 of the run)* || local manifest
//! ```
//!
//! All of it is derived data. The appending server uploads it periodically. A server that loads it compares each run
//! with its name, and the manifest's root with the tree. `treehead fsck` checks that the runs have the right pointers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::layout::{self, IMMUTABLE, INDEX, INDEX_MANIFEST};
use super::{ChainError, parallel};
use crate::bucket::{BucketError, Headers, MAX_LISTED, Objects};
use crate::disk::{DiskError, read_if_exists};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};
use crate::store::StoreError;
use crate::store::derived::index::{FILE_NAME, manifest_size, run_file_name, runs_of};
use crate::threads::{self, ThreadError};

const MAGIC: &[u8; 8] = b"THIDX01\n";
/// Length of the largest manifest object.
const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// Size of the largest run to upload. Larger runs would not fit into memory.
const MAX_RUN_BYTES: u64 = 1024 * 1024 * 1024;
/// Size of one ranged read of a run.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
/// Interval between checks of the local index for new runs.
const PERIOD: Duration = Duration::from_secs(if cfg!(test) { 3_600 } else { 20 });
/// Headers of the manifest, which is replaced and which only the log's servers read.
const MUTABLE: Headers = Headers { cache_control: Some("no-store"), ..IMMUTABLE };

/// The manifest in the bucket.
struct Manifest {
    runs: BTreeMap<u64, Hash>,
    /// The bytes of the local file `manifest`.
    local: Vec<u8>,
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (count, mut rest) = rest.split_first_chunk()?;
        let mut runs = BTreeMap::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (id, after) = rest.split_first_chunk()?;
            let (digest, after) = after.split_first_chunk::<HASH_BYTES>()?;
            runs.insert(u64::from_be_bytes(*id), Hash::from_bytes(*digest));
            rest = after;
        }
        let ids = runs_of(rest)?;
        let all = ids.len() == runs.len() && ids.iter().all(|(id, _)| runs.contains_key(id));
        all.then(|| Self { runs, local: rest.to_vec() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(self.runs.len()).expect("runs are merged").to_be_bytes());
        for (id, digest) in &self.runs {
            bytes.extend(id.to_be_bytes());
            bytes.extend(digest.as_bytes());
        }
        bytes.extend(&self.local);
        bytes
    }
}

/// Digests of the runs in the bucket, by their local names and [checksums](runs_of).
pub type KnownRuns = BTreeMap<(u64, u32), Hash>;

/// Uploads the local index in `dir`. `known` has the digests of the runs that the bucket has. Returns the tree size
/// that the index covers; `None` if there was nothing to upload.
///
/// # Errors
/// [`StoreError`]. Even then, the manifest in the bucket names only complete runs.
pub fn upload(
    objects: &dyn Objects,
    dir: &Path,
    known: &mut KnownRuns,
) -> Result<Option<TreeSize>, StoreError> {
    let Some(local) = read_if_exists(&dir.join(FILE_NAME))? else { return Ok(None) };
    let Some(ids) = runs_of(&local) else { return Ok(None) };
    if ids.is_empty() || ids.iter().all(|id| known.contains_key(id)) && known.len() == ids.len() {
        return Ok(None);
    }
    let mut runs = KnownRuns::new();
    for id in ids {
        let digest = match known.get(&id) {
            Some(digest) => Some(*digest),
            None => upload_run(objects, &dir.join(run_file_name(id.0)))?,
        };
        let Some(digest) = digest else { return Ok(None) };
        runs.insert(id, digest);
    }
    let by_name = runs.iter().map(|((id, _), digest)| (*id, *digest)).collect();
    *known = runs;
    let manifest = Manifest { runs: by_name, local };
    // A crash before this line leaves runs that no manifest names. The next upload deletes them.
    objects.put(INDEX_MANIFEST, &manifest.to_bytes(), &MUTABLE).map_err(ChainError::from)?;
    remove_others(objects, &manifest)?;
    Ok(manifest_size(&manifest.local))
}

/// Uploads a run. `None` if it is too large.
fn upload_run(objects: &dyn Objects, path: &Path) -> Result<Option<Hash>, StoreError> {
    if fs::metadata(path).map_err(DiskError::io("read", path))?.len() > MAX_RUN_BYTES {
        return Ok(None);
    }
    // A merge may have removed the run meanwhile. The read then fails, and the next check finds the merged run.
    let bytes = fs::read(path).map_err(DiskError::io("read", path))?;
    let digest = Hash::digest(&bytes);
    objects.put(&layout::index_run(&digest), &bytes, &IMMUTABLE).map_err(ChainError::from)?;
    Ok(Some(digest))
}

/// Deletes the runs that the manifest does not name. A server that is reading one of them starts without the index.
fn remove_others(objects: &dyn Objects, manifest: &Manifest) -> Result<(), ChainError> {
    let listing = objects.list(INDEX, "", MAX_LISTED)?;
    let named: Vec<String> = manifest.runs.values().map(layout::index_run).collect();
    for listed in listing.objects {
        if listed.key != INDEX_MANIFEST && !named.contains(&listed.key) {
            objects.delete(&listed.key)?;
        }
    }
    Ok(())
}

/// Returns true if the bucket has an index, whether or not it is sound.
///
/// # Errors
/// [`ChainError::Bucket`].
pub fn is_there(objects: &dyn Objects) -> Result<bool, ChainError> {
    Ok(objects.get_range(INDEX_MANIFEST, 0, 1)?.is_some())
}

/// Downloads the index from the bucket into the empty directory `dir`. Returns the tree size that it covers; `None` if
/// it is missing or damaged.
///
/// # Errors
/// [`StoreError`] if the bucket or the disk fails.
pub fn download(objects: &dyn Objects, dir: &Path, threads: usize) -> Result<Option<TreeSize>, StoreError> {
    let object = match objects.get(INDEX_MANIFEST, MAX_MANIFEST_BYTES) {
        // It is no manifest, so the index is damaged.
        Err(BucketError::TooLarge { .. }) => None,
        object => object.map_err(ChainError::from)?,
    };
    let Some(manifest) = object.and_then(|object| Manifest::parse(&object.bytes)) else { return Ok(None) };
    fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
    for (id, digest) in &manifest.runs {
        if !fetch_run(objects, &dir.join(run_file_name(*id)), digest, threads)? {
            tracing::warn!(run = %digest, "the index in the bucket is damaged; rebuilding it from the batches");
            return Ok(None);
        }
    }
    // No sync: sled's tree, written in the same start, is not durable yet either.
    let path = dir.join(FILE_NAME);
    fs::write(&path, &manifest.local).map_err(DiskError::io("write", &path))?;
    Ok(manifest_size(&manifest.local))
}

/// Downloads a run in pieces. Returns false if it is missing or does not match its name.
fn fetch_run(
    objects: &dyn Objects,
    path: &PathBuf,
    digest: &Hash,
    threads: usize,
) -> Result<bool, StoreError> {
    let key = layout::index_run(digest);
    let mut file = File::create(path).map_err(DiskError::io("create", path))?;
    let (mut at, mut is_over) = (0, false);
    while !is_over && at < MAX_RUN_BYTES {
        let offsets: Vec<u64> =
            (0..threads.clamp(1, 8) as u64).map(|n| at + n * PIECE_BYTES as u64).collect();
        let piece = |offset: &u64| objects.get_range(&key, *offset, PIECE_BYTES);
        // Read the first piece alone, because most runs have only one.
        let first = piece(&offsets[0]).map_err(ChainError::from)?;
        let Some(first) = first else { return Ok(false) };
        let mut pieces = vec![Some(first)];
        if pieces[0].as_ref().is_some_and(|piece| piece.bytes.len() == PIECE_BYTES) {
            pieces.extend(parallel::map(&offsets[1..], threads, piece).map_err(ChainError::from)?);
        }
        for piece in pieces.into_iter().flatten() {
            file.write_all(&piece.bytes).map_err(DiskError::io("write", path))?;
            at += piece.bytes.len() as u64;
            is_over |= piece.bytes.len() < PIECE_BYTES;
        }
    }
    drop(file);
    let bytes = fs::read(path).map_err(DiskError::io("read", path))?;
    Ok(Hash::digest(&bytes) == *digest)
}

/// The thread that uploads the index while this server appends.
pub struct IndexUploader {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl IndexUploader {
    /// Starts the thread. `appends` is true while this server appends.
    ///
    /// # Errors
    /// [`ThreadError`].
    pub fn start(
        objects: Arc<dyn Objects>,
        dir: PathBuf,
        appends: Arc<AtomicBool>,
    ) -> Result<Self, ThreadError> {
        let (stop, stopped) = sync_channel::<()>(0);
        let run = move || {
            let mut known = KnownRuns::new();
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                if !appends.load(Ordering::Relaxed) {
                    known.clear();
                    continue;
                }
                match upload(objects.as_ref(), &dir, &mut known) {
                    Ok(_) => {}
                    Err(StoreError::Disk(error)) if error.is_not_found() => {}
                    Err(error) => {
                        tracing::warn!(%error, "could not upload the index to the bucket; will retry");
                        known.clear();
                    }
                }
            }
        };
        let thread = threads::start("index-objects", run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for IndexUploader {
    /// Waits for the upload in flight.
    fn drop(&mut self) {
        drop(self.stop.take());
        // The panic handler has already printed a panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
