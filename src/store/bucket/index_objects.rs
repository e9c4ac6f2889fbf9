//! The index in the bucket, for servers that start without one.
//!
//! ```text
//! index/<SHA-256>.run    a run of the index, byte for byte
//! index/manifest         "THIDX01\n" || runs u32 || (name of the run u64 || SHA-256 of its bytes (32))* || manifest of the runs
//! ```
//!
//! All of it is derived, and written by the server that appends, now and then. Whoever takes it compares each run with its
//! name, and the manifest's root with the tree. That the runs have the right pointers is what fsck checks.

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
use crate::bucket::{Headers, MAX_LISTED, Objects};
use crate::disk::{DiskError, read_if_exists};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};
use crate::store::StoreError;
use crate::store::derived::index::{FILE_NAME, manifest_size, run_file_name, runs_of};

const MAGIC: &[u8; 8] = b"THIDX01\n";
/// Length of the largest manifest object.
const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// Larger runs are not put into the bucket: they would not fit into memory.
const MAX_RUN_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes that are read at once of a run.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
/// Time between two looks at the local index.
const PERIOD: Duration = Duration::from_secs(if cfg!(test) { 3_600 } else { 20 });
/// The manifest is replaced; nobody but a server of the log reads it.
const MUTABLE: Headers = Headers { cache_control: Some("no-store"), ..IMMUTABLE };

/// The manifest in the bucket.
struct Manifest {
    runs: BTreeMap<u64, Hash>,
    /// The file `manifest` beside the runs.
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

/// Runs that are in the bucket, by their names and [checksums](runs_of) here.
pub type KnownRuns = BTreeMap<(u64, u32), Hash>;

/// Puts the local index in `dir` into the bucket. `known` has the digests of runs that are there. Returns the size of the
/// tree that it covers; `None` if there was nothing to do.
///
/// # Errors
/// [`StoreError`]; the manifest in the bucket names whole runs all the same.
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
    // A crash before this leaves runs that nobody names; the next manifest's writer removes them.
    objects.put(INDEX_MANIFEST, &manifest.to_bytes(), &MUTABLE).map_err(ChainError::from)?;
    remove_others(objects, &manifest)?;
    Ok(manifest_size(&manifest.local))
}

/// Puts a run into the bucket. `None` if it is too large.
fn upload_run(objects: &dyn Objects, path: &Path) -> Result<Option<Hash>, StoreError> {
    if fs::metadata(path).map_err(DiskError::io("read", path))?.len() > MAX_RUN_BYTES {
        return Ok(None);
    }
    // It may have been merged into another meanwhile; then the next look finds that one.
    let bytes = fs::read(path).map_err(DiskError::io("read", path))?;
    let digest = Hash::digest(&bytes);
    objects.put(&layout::index_run(&digest), &bytes, &IMMUTABLE).map_err(ChainError::from)?;
    Ok(Some(digest))
}

/// Removes the runs that the manifest does not name. Whoever is just reading one starts without the index.
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

/// Returns true if the bucket has an index, sound or not.
///
/// # Errors
/// [`ChainError::Bucket`].
pub fn is_there(objects: &dyn Objects) -> Result<bool, ChainError> {
    Ok(objects.get_range(INDEX_MANIFEST, 0, 1)?.is_some())
}

/// Fills the local index in `dir`, which is empty, from the bucket. `None` if it is not there, or does not check; otherwise
/// the size of the tree that it covers.
///
/// # Errors
/// [`StoreError`] if the bucket or the disk fails.
pub fn download(objects: &dyn Objects, dir: &Path, threads: usize) -> Result<Option<TreeSize>, StoreError> {
    let object = objects.get(INDEX_MANIFEST, MAX_MANIFEST_BYTES).map_err(ChainError::from)?;
    let Some(manifest) = object.and_then(|object| Manifest::parse(&object.bytes)) else { return Ok(None) };
    fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
    for (id, digest) in &manifest.runs {
        if !fetch_run(objects, &dir.join(run_file_name(*id)), digest, threads)? {
            tracing::warn!(run = %digest, "the index in the bucket does not check; making it anew");
            return Ok(None);
        }
    }
    // Nothing of it needs to be durable: sled, which is as old, is not either.
    let path = dir.join(FILE_NAME);
    fs::write(&path, &manifest.local).map_err(DiskError::io("write", &path))?;
    Ok(manifest_size(&manifest.local))
}

/// Reads a run in pieces. False if it is not there or not the one that is named.
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
        // The first one alone, for most runs have no other.
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

/// The thread that puts the index into the bucket while this server appends.
pub struct IndexUploader {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl IndexUploader {
    /// Starts the thread. `appends` says whether this server does.
    pub fn start(objects: Arc<dyn Objects>, dir: PathBuf, appends: Arc<AtomicBool>) -> Self {
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
                        tracing::warn!(%error, "the index was not put into the bucket; trying again");
                        known.clear();
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("index-objects".to_owned()).spawn(run);
        Self { stop: Some(stop), thread: Some(thread.expect("a thread can be started")) }
    }
}

impl Drop for IndexUploader {
    /// Waits for the object that is being written.
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its panic was printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
