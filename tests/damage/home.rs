//! A small but complete log, and comparisons after its files were damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use treehead::checkpoint::{Checkpoint, origin_hash};
use treehead::disk::DiskError;
use treehead::merkle::{Growth, Hash, LeafIndex, RightEdge, Tile, TreeSize, prove_inclusion, tiles_of};
use treehead::note::{KeyName, NoteKey, NoteSigner, SignatureType};
use treehead::proof::bundle;
use treehead::release::{Claim, Facts, SearchField, Term};
use treehead::store::{
    Batch, Describe, DiskStore, Layout, OpenOptions, Store, StoreError, StoreReader, Stored,
};

use crate::common::faulty_disk::{FaultyDisk, Plan};
use crate::common::locks::once_unlocked;

pub const ORIGIN: &str = "example.com/damage";
/// Small, so that a few entries make several segments.
pub const SEGMENT_BYTES: u64 = 700;

pub fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[3; 32])
}

pub fn key() -> NoteKey {
    signer().public().clone()
}

/// An entry that is in every index.
pub fn entry(at: usize) -> Vec<u8> {
    format!("entry {at} {}", "x".repeat(at % 17)).into_bytes()
}

fn payload(entry: &[u8]) -> Hash {
    Hash::digest(&[b"payload ", entry].concat())
}

fn facts(entry: &[u8]) -> Facts {
    let claim = Claim { key: Hash::digest(entry), content: Hash::leaf(entry) };
    let terms = vec![Term::new(SearchField::Package, &entry.len().to_string())];
    Facts { payload: Some(payload(entry)), claims: vec![claim], terms, ..Facts::default() }
}

pub fn options() -> OpenOptions {
    let describe: Describe = Arc::new(facts);
    OpenOptions { describe, segment_bytes: SEGMENT_BYTES, log_key: Some(key()), ..OpenOptions::new(ORIGIN) }
}

/// Opens a store, once its last user in this process is gone.
pub fn open(dir: &Path) -> Result<DiskStore, StoreError> {
    open_with(dir, options)
}

pub fn open_with(dir: &Path, options: impl Fn() -> OpenOptions) -> Result<DiskStore, StoreError> {
    let is_locked = |e: &StoreError| matches!(e, StoreError::Disk(DiskError::Locked { .. }));
    once_unlocked(Duration::from_secs(5), is_locked, || DiskStore::open(dir, options()))
}

pub fn head_of(edge: &RightEdge) -> Vec<u8> {
    let head = Checkpoint::new(signer().public().name().clone(), edge.size(), edge.root());
    head.sign(&signer()).to_string().into_bytes()
}

pub fn grow(edge: &RightEdge, entries: &[Vec<u8>]) -> Growth {
    edge.grow(&entries.iter().map(|entry| Hash::leaf(entry)).collect::<Vec<_>>())
}

/// The head of the first `count` entries.
pub fn head(count: usize) -> Vec<u8> {
    head_of(&grow(&RightEdge::default(), &(0..count).map(entry).collect::<Vec<_>>()).edge)
}

pub fn append(store: &mut DiskStore, entries: Vec<Vec<u8>>) {
    let edge = store.edge();
    let batch = Batch {
        first: edge.next_index(),
        leaf_hashes: entries.iter().map(|entry| Hash::leaf(entry)).collect(),
        facts: entries.iter().map(|entry| facts(entry)).collect(),
        growth: grow(&edge, &entries),
        entries,
    };
    let staged = store.stage(&batch).unwrap();
    store.apply(&batch, staged).unwrap();
}

pub fn publish(store: &mut DiskStore) {
    let (old, new) = (store.checkpoint(), head_of(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

/// Appends entries up to `count` in batches of `step`, and publishes each.
pub fn fill(store: &mut DiskStore, count: usize, step: usize) {
    if store.checkpoint().is_none() {
        publish(store);
    }
    loop {
        let next = usize::try_from(store.edge().size().get()).unwrap();
        if next >= count {
            return;
        }
        append(store, (next..count.min(next + step)).map(entry).collect());
        publish(store);
    }
}

/// A closed log of `count` entries.
pub fn log_of(count: usize, step: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    fill(&mut open(dir.path()).unwrap(), count, step);
    fs::write(dir.path().join("log.vkey"), format!("{}\n", key())).unwrap();
    dir
}

/// All files below a directory, by their paths in it.
pub fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for item in fs::read_dir(next).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The content of all files, to see that nothing was changed.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = fs::read(dir.join(&path)).unwrap();
        (path, bytes)
    };
    // A look may create lock files.
    files_of(dir).into_iter().filter(|path| path != Path::new("lock")).map(read).collect()
}

/// Copies a directory. An open sled may remove files meanwhile.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy_dir(&item.path(), &target);
        } else if let Err(e) = fs::copy(item.path(), target) {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    files_of(&Layout::new(dir).journal())
        .into_iter()
        .map(|path| Layout::new(dir).journal().join(path))
        .collect()
}

/// The length of a segment's header, which has its marker at byte 48.
pub const SEGMENT_HEAD_BYTES: usize = 60;
pub const OLD_MARKER: &[u8; 8] = b"THBATCH\n";

/// The offset of the last batch of a segment.
pub fn last_batch(segment: &[u8]) -> usize {
    segment.windows(8).rposition(|window| *window == segment[48..56]).unwrap()
}

/// The batches of a log's journal: first index and entries.
pub fn batches(dir: &Path) -> Vec<(PathBuf, u64, Vec<Vec<u8>>)> {
    let mut scan =
        treehead::store::Scan::new(&Layout::new(dir).journal(), origin_hash(ORIGIN), None).unwrap();
    let mut found = Vec::new();
    while let Some(record) = scan.next_record().unwrap() {
        let entries = record.entries().into_iter().map(<[u8]>::to_vec).collect();
        found.push((record.path_in(Path::new("journal")), record.first, entries));
    }
    found
}

fn seal(head: &mut [u8]) {
    let (content, crc) = head.split_at_mut(head.len() - 4);
    crc.copy_from_slice(&crc32fast::hash(content).to_be_bytes());
}

/// A batch with another marker, as somebody may write it who knows everything but the segment's marker.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "markers are byte strings")]
pub fn marked(batch: &[u8], marker: &[u8; 8]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(marker);
    seal(&mut bytes[..60]);
    bytes
}

/// Rewrites a log's journal in the format of older programs.
pub fn make_old(dir: &Path) {
    for path in segments(dir) {
        let whole = fs::read(&path).unwrap();
        let mut old = [b"THSEG01\n", &whole[8..48], &[0; 4]].concat();
        seal(&mut old);
        let mut rest = &whole[SEGMENT_HEAD_BYTES..];
        while !rest.is_empty() {
            let body = u32::from_be_bytes(rest[20..24].try_into().unwrap());
            let (batch, behind) = rest.split_at(60 + usize::try_from(body).unwrap() + 4);
            old.extend(marked(batch, OLD_MARKER));
            rest = behind;
        }
        fs::write(&path, old).unwrap();
    }
    // Its rows point into the journal that was there.
    let _ = fs::remove_dir_all(Layout::new(dir).sled());
}

/// Checks that a store has exactly the first `count` entries, and everything that follows from them.
pub fn check_served(store: &DiskStore, count: usize) {
    let entries: Vec<Vec<u8>> = (0..count).map(entry).collect();
    let edge = grow(&RightEdge::default(), &entries).edge;
    assert_eq!(store.edge(), edge);
    check_reader(store.reader().as_ref(), &entries, &edge);
}

fn check_reader(reader: &dyn StoreReader, entries: &[Vec<u8>], edge: &RightEdge) {
    for tile in tiles_of(edge.size()) {
        if matches!(tile.id, treehead::merkle::TileId::Entries { .. }) {
            let bytes = reader.bundle(tile.id.index(), tile.width()).unwrap();
            let first = usize::try_from(tile.id.index()).unwrap() * 256;
            assert_eq!(bundle::split(&bytes, 256).unwrap(), entries[first..first + tile.width()]);
        }
    }
    for (at, entry) in entries.iter().enumerate().step_by(7) {
        let (index, leaf) = (LeafIndex::new(at as u64).unwrap(), Hash::leaf(entry));
        assert_eq!(reader.find_leaf(&leaf).unwrap(), Some(index));
        let stored = Stored { index, leaf };
        assert_eq!(reader.find_payload(&payload(entry)).unwrap(), Some(stored));
        assert_eq!(reader.find_claim(&Hash::digest(entry)).unwrap(), Some((stored, leaf)));
        prove_inclusion(reader, index, &leaf, edge.size(), &edge.root()).unwrap().unwrap();
    }
    let beyond = Tile::in_tree(treehead::merkle::TileId::Entries { index: 0 }, TreeSize::new(256).unwrap());
    if entries.len() < 256 {
        assert!(reader.bundle(0, entries.len() + 1).is_err(), "{beyond:?}");
    }
}

/// A disk that crashes after this many steps.
pub fn crash_after(steps: usize) -> Arc<FaultyDisk> {
    Arc::new(FaultyDisk::new(Plan::crash_after(steps)))
}

/// Runs `try_one` on each of `0..count`, several at a time, because most of the time is spent waiting for the disk.
/// Each thread has a copy of the log.
pub fn each(log: &Path, count: usize, try_one: impl Fn(&Path, usize) + Sync) {
    const THREADS: usize = 8;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let try_one = &try_one;
            scope.spawn(move || {
                let dir = TempDir::new().unwrap();
                copy_dir(log, dir.path());
                (thread..count).step_by(THREADS).for_each(|at| try_one(dir.path(), at));
            });
        }
    });
}

/// Checks that an error helps an operator: it names the file and the command that repairs it.
#[track_caller]
pub fn check_says(message: &str, file: &str, remedy: &str) {
    assert!(message.contains(file), "expected {file} in: {message}");
    assert!(message.contains(remedy), "expected {remedy} in: {message}");
}
