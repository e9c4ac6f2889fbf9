use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::bucket::Objects;
use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::checkpoint::Origin;
use crate::disk::{DiskError, DiskIo, RealDisk, SledIo};
use crate::merkle::{Tile, TreeSize};
use crate::store::bucket::{
    BucketFsck, BucketSource, BucketStore, ChainError, FsckScope, IndexScope, IndexSeen, Lease, MoveError,
    MoveToBucket, MoveToDirectory, WriterId, layout, make, set_journal_aside,
};
use crate::store::tests::conformance::check;
use crate::store::tests::fixtures::{
    ORIGIN, append, batch_of, copy_dir, describe, facts_of, numbered, open_bucket, open_disk, options,
    signed, signer, unlocked,
};
use crate::store::{DiskStore, EntrySource as _, ExportError, Store as _, StoreError};

/// Number of entries of the log that moves, including the last few that no head covers.
const ENTRIES: usize = 700;
const UNSIGNED: usize = 7;

/// A log in a directory.
fn on_disk() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut disk = open_disk(dir.path(), options).unwrap();
    disk.replace_checkpoint(None, &signed(&disk.edge())).unwrap();
    let mut size = 0;
    for count in [1, 300, 2, 257, 60, 3, ENTRIES - UNSIGNED - 623] {
        append(&mut disk, numbered(size, count));
        size += count;
    }
    let old = disk.checkpoint();
    disk.replace_checkpoint(old.as_deref(), &signed(&disk.edge())).unwrap();
    append(&mut disk, numbered(size, UNSIGNED));
    dir
}

/// A log with simulated settings that say where it is.
struct World<'a> {
    dir: &'a Path,
    objects: Arc<dyn Objects>,
    /// The bucket without any faults.
    memory: MemoryObjects,
    io: Arc<dyn DiskIo>,
    in_bucket: Cell<bool>,
}

impl<'a> World<'a> {
    fn new(dir: &'a Path, objects: &MemoryObjects) -> Self {
        let (shared, io) = (Arc::new(objects.clone()), Arc::new(RealDisk));
        Self { dir, objects: shared, memory: objects.clone(), io, in_bucket: Cell::new(false) }
    }

    /// Moves the log like `treehead move`.
    fn to_bucket(&self) -> Result<(), MoveError> {
        let key = signer().public().clone();
        let moving = MoveToBucket {
            dir: self.dir,
            keys: &[key],
            witnesses: None,
            publish_unwitnessed: false,
            profile: "opaque",
            objects: self.objects.clone(),
            threads: 3,
            io: self.io.clone(),
            progress: &|_, _| (),
        };
        if self.in_bucket.get() {
            return moving.finish().map(drop);
        }
        moving
            .run(&mut || {
                // The bucket can't be served while the directory can.
                assert!(!is_served(&self.memory));
                self.switch(true)
            })
            .map(drop)
    }

    fn to_directory(&self) -> Result<(), MoveError> {
        if !self.in_bucket.get() {
            return Ok(super::super::finish_move(self.io.as_ref(), self.dir)?);
        }
        let moving = MoveToDirectory {
            dir: self.dir,
            keys: &[signer().public().clone()],
            profile: "opaque",
            has_witnesses: false,
            objects: self.objects.clone(),
            threads: 3,
            io: self.io.clone(),
            segment_bytes: 9_000,
            progress: &|_, _| (),
        };
        moving.run(&mut || self.switch(false)).map(drop)
    }

    fn switch(&self, in_bucket: bool) -> Result<(), DiskError> {
        // A disk that fails in this step leaves either the old or the new settings.
        let path = self.dir.join("settings");
        let replaced = crate::disk::replace(self.io.as_ref(), &path, format!("{in_bucket}").as_bytes());
        self.in_bucket.set(fs::read_to_string(&path).is_ok_and(|said| said == "true"));
        replaced
    }
}

/// True if a server accepts the bucket as a log.
fn is_served(objects: &MemoryObjects) -> bool {
    make::recognise(objects, ORIGIN, "opaque").is_ok() && objects.bytes("checkpoint").is_some()
}

fn open_in_bucket(dir: &Path, objects: &MemoryObjects) -> Result<BucketStore, StoreError> {
    unlocked(|| open_bucket(dir, objects))
}

fn open_on_disk(dir: &Path) -> DiskStore {
    unlocked(|| open_disk(dir, options)).unwrap()
}

fn head(store: &mut dyn crate::store::Store) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

fn is_moved_away<T>(result: Result<T, StoreError>) {
    let error = result.err().expect("the log was moved away");
    assert!(matches!(error, StoreError::Chain(ChainError::Sealed { .. })), "{error}");
}

#[test]
fn a_log_moves_into_a_bucket_and_back_and_continues_each_time() {
    let (dir, objects) = (on_disk(), MemoryObjects::default());
    let note = fs::read(dir.path().join("checkpoint")).unwrap();
    let world = World::new(dir.path(), &objects);
    let disk = open_on_disk(dir.path());
    let served = world.to_bucket().unwrap_err();
    assert!(matches!(served, MoveError::Store(StoreError::Disk(DiskError::Locked { .. }))), "{served}");
    drop(disk);
    unlocked_move(|| world.to_bucket());
    assert!(crate::disk::note_of(&note) == objects.bytes("checkpoint").unwrap());
    // The directory has nothing left that could pass for the log.
    for name in ["journal", "checkpoint", "leaves", "sled", "index"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    assert!(dir.path().join("moved/journal").exists() && dir.path().join("moved/checkpoint").exists());
    // Small batches were joined, except those at the end.
    let batches: Vec<u64> =
        objects.all().keys().filter_map(|key| Some(layout::parse_batch(key)?.get())).collect();
    assert_eq!(batches, [0, 560, 620, 623, 693]);
    for size in [620, 623, 693] {
        for tile in crate::merkle::tiles_of(TreeSize::new(size).unwrap()).filter(|tile| !tile.is_full()) {
            assert!(objects.bytes(&layout::tile(tile)).is_some(), "{tile} of a head of {size}");
        }
    }
    let mut store = open_in_bucket(dir.path(), &objects).unwrap();
    check(&store, &numbered(0, ENTRIES));
    append(&mut store, numbered(ENTRIES, 50));
    head(&mut store);
    append(&mut store, numbered(ENTRIES + 50, 5));
    // Another server, which is paused during all of the following.
    let cache = TempDir::new().unwrap();
    let mut other = open_in_bucket(cache.path(), &objects).unwrap();
    drop(store);
    let mut source =
        BucketSource::new(Arc::new(objects.clone()), &Origin::from(signer().public().name().clone()));
    assert_eq!(source.entries(640, 2).unwrap(), numbered(640, 2));
    unlocked_move(|| world.to_directory());
    let mut disk = open_on_disk(dir.path());
    check(&disk, &numbered(0, ENTRIES + 55));
    append(&mut disk, numbered(ENTRIES + 55, 9));
    head(&mut disk);
    // It finds the next key taken, permanently, and still answers reads.
    let late = batch_of(&other.edge(), numbered(5_000, 5));
    is_moved_away(other.stage(&late));
    is_moved_away(other.reload());
    check(&other, &numbered(0, ENTRIES + 55));
    is_moved_away(open_in_bucket(TempDir::new().unwrap().path(), &objects));
    drop((disk, other));
    // A sealed bucket accepts no log again, but another bucket does.
    let left = world.to_bucket().unwrap_err();
    assert!(matches!(left, MoveError::Left { .. }), "{left}");
    let again = MemoryObjects::default();
    let world = World::new(dir.path(), &again);
    unlocked_move(|| world.to_bucket());
    assert!(dir.path().join("moved-2/journal").exists());
    check(&open_in_bucket(dir.path(), &again).unwrap(), &numbered(0, ENTRIES + 64));
}

/// Retries a move while a process that another test has just forked still holds the lock.
fn unlocked_move(mut run: impl FnMut() -> Result<(), MoveError>) {
    for _ in 0..1_000 {
        match run() {
            Err(MoveError::Store(StoreError::Disk(DiskError::Locked { .. }))) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            moved => return moved.unwrap(),
        }
    }
    panic!("it is locked");
}

#[test]
fn another_log_an_older_copy_and_a_running_server_prevent_a_move() {
    let (dir, objects) = (on_disk(), MemoryObjects::default());
    let world = World::new(dir.path(), &objects);
    // The bucket has another log's entries.
    let cache = TempDir::new().unwrap();
    let mut other = open_bucket(cache.path(), &objects).unwrap();
    append(&mut other, numbered(5, 10));
    let refused = world.to_bucket().unwrap_err();
    assert!(matches!(refused, MoveError::OtherEntries { .. }), "{refused}");
    assert!(!world.in_bucket.get() && objects.bytes("checkpoint").is_none());
    // The bucket has more than the directory, which is an older copy.
    let older = TempDir::new().unwrap();
    copy_dir(dir.path(), older.path());
    let objects = MemoryObjects::default();
    let world = World::new(dir.path(), &objects);
    unlocked_move(|| world.to_bucket());
    let mut store = open_in_bucket(dir.path(), &objects).unwrap();
    append(&mut store, numbered(ENTRIES, 1));
    let copy = World::new(older.path(), &objects);
    let refused = copy.to_bucket().unwrap_err();
    assert!(matches!(refused, MoveError::OtherEntries { .. }), "{refused}");
    assert!(!copy.in_bucket.get() && older.path().join("journal").exists());
    drop(store);
    // A server renews its lease.
    let keeper = Lease::new(WriterId::random().unwrap(), Some("http://other".to_owned()), 1);
    let shared: Arc<dyn Objects> = Arc::new(objects.clone());
    let keeper = super::super::LeaseKeeper::start(keeper, shared, true).unwrap();
    let served = world.to_directory().unwrap_err();
    assert!(
        matches!(&served, MoveError::Served { holder: Some(holder), .. } if holder == "http://other"),
        "{served}"
    );
    drop(keeper);
    unlocked_move(|| world.to_directory());
    // A second directory of the same log is too late.
    let second = TempDir::new().unwrap();
    let world = World::new(second.path(), &objects);
    world.in_bucket.set(true);
    let left = world.to_directory().unwrap_err();
    assert!(matches!(left, MoveError::Left { .. }) && world.in_bucket.get(), "{left}");
}

#[test]
fn a_journal_that_has_more_than_the_bucket_is_not_set_aside() {
    let (dir, objects) = (on_disk(), MemoryObjects::default());
    let key = signer().public().clone();
    let aside = || set_journal_aside(&RealDisk, dir.path(), &objects, std::slice::from_ref(&key));
    objects.set("checkpoint", &signed(&crate::merkle::RightEdge::default()));
    let error = unlocked(aside).unwrap_err();
    assert!(matches!(error, StoreError::Chain(ChainError::RolledBack { .. })), "{error}");
    assert!(dir.path().join("journal").exists());
    objects.set("checkpoint", b"noise");
    assert!(unlocked(aside).is_err() && dir.path().join("journal").exists());
}

/// Counts steps of one kind, and makes one of them fail.
#[derive(Default)]
struct Steps {
    count: AtomicUsize,
    /// The number of the step that fails, from 1; 0 for none.
    fails: AtomicUsize,
    /// True if the failing step takes effect anyway.
    is_done: std::sync::atomic::AtomicBool,
}

impl Steps {
    fn set(&self, fails: usize, is_done: bool) {
        self.count.store(0, Ordering::SeqCst);
        self.fails.store(fails, Ordering::SeqCst);
        self.is_done.store(is_done, Ordering::SeqCst);
    }

    /// Counts a step. If it fails, returns whether it takes effect anyway.
    fn fails_next(&self) -> Option<bool> {
        let at = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        (at == self.fails.load(Ordering::SeqCst)).then(|| self.is_done.load(Ordering::SeqCst))
    }
}

/// A handle on `objects` whose request fails when `steps` says so. Requests for the lease, which a thread sends, do not
/// count.
fn faulty(objects: &MemoryObjects, steps: Arc<Steps>) -> MemoryObjects {
    objects.hooked(move |_, key, _| {
        let is_done = (key != layout::LEASE).then(|| steps.fails_next())??;
        Some(if is_done { Fault::FailedButPersisted } else { Fault::Failed })
    })
}

/// A disk whose step fails when [`Steps`] says so.
struct FaultyDisk(Arc<Steps>);

impl FaultyDisk {
    fn take<T>(&self, run: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        match self.0.fails_next() {
            None => run(),
            Some(is_done) => {
                let _ = is_done.then(run);
                Err(std::io::Error::other("an injected fault"))
            }
        }
    }
}

impl SledIo for FaultyDisk {}

impl DiskIo for FaultyDisk {
    fn create(&self, path: &Path) -> std::io::Result<fs::File> {
        self.take(|| RealDisk.create(path))
    }

    fn write_at(&self, file: &fs::File, path: &Path, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.take(|| RealDisk.write_at(file, path, bytes, offset))
    }

    fn sync_data(&self, file: &fs::File, path: &Path) -> std::io::Result<()> {
        self.take(|| RealDisk.sync_data(file, path))
    }

    fn sync_all(&self, file: &fs::File, path: &Path) -> std::io::Result<()> {
        self.take(|| RealDisk.sync_all(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.take(|| RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.take(|| RealDisk.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.take(|| RealDisk.sync_dir(path))
    }
}

/// Checks that a start finds the log where the settings say, and that it is nowhere else. `may_be_ended` is true if a
/// move out of the bucket may have sealed the chain without completing.
fn check_one_log(world: &World<'_>, objects: &MemoryObjects, may_be_ended: bool, what: &str) {
    // Work on copies, because a start changes its files.
    let (dir, objects) = (TempDir::new().unwrap(), objects.copy());
    copy_dir(world.dir, dir.path());
    if world.in_bucket.get() {
        let aside =
            unlocked(|| set_journal_aside(&RealDisk, dir.path(), &objects, &[signer().public().clone()]));
        if !is_served(&objects) {
            // The move must be resumed.
            assert!(matches!(aside, Err(StoreError::Chain(ChainError::RolledBack { .. }))), "{what}");
            return;
        }
        aside.expect(what);
        match open_in_bucket(dir.path(), &objects) {
            Ok(store) => assert_eq!(store.edge().size().get(), ENTRIES as u64, "{what}"),
            Err(StoreError::Chain(ChainError::Sealed { .. })) if may_be_ended => {}
            Err(error) => panic!("{what}: {error}"),
        }
    } else {
        let disk = open_on_disk(dir.path());
        assert_eq!(disk.edge().size().get(), ENTRIES as u64, "{what}");
        assert!(may_be_ended || !is_served(&objects), "{what}");
        if may_be_ended {
            is_moved_away(open_in_bucket(TempDir::new().unwrap().path(), &objects));
        }
    }
}

#[test]
fn after_any_failed_request_or_disk_step_one_log_remains_and_the_same_move_completes() {
    let (whole, moved, bucket) = (on_disk(), on_disk(), MemoryObjects::default());
    unlocked_move(|| World::new(moved.path(), &bucket).to_bucket());
    let mut counts = [0; 4];
    for (at, (by_disk, back)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        for is_done in [false, true] {
            for fails in 1.. {
                let dir = TempDir::new().unwrap();
                let objects = if back { bucket.copy() } else { MemoryObjects::default() };
                copy_dir(if back { moved.path() } else { whole.path() }, dir.path());
                let steps = Arc::new(Steps::default());
                let mut world = World::new(dir.path(), &objects);
                if by_disk {
                    world.io = Arc::new(FaultyDisk(steps.clone()));
                } else {
                    world.objects = Arc::new(faulty(&objects, steps.clone()));
                }
                world.in_bucket.set(back);
                let run = || if back { world.to_directory() } else { world.to_bucket() };
                steps.set(fails, is_done);
                let moved = run();
                let is_over = steps.count.load(Ordering::SeqCst) < fails;
                steps.set(0, false);
                let kind = if by_disk { "disk" } else { "bucket" };
                let what = format!("step {fails} of the {kind}, done: {is_done}, back: {back}");
                if moved.is_err() {
                    check_one_log(&world, &objects, back, &what);
                    if !back && world.in_bucket.get() && !is_served(&objects) {
                        // The last head is only in the directory: a move back must not set it aside.
                        assert!(world.to_directory().is_err(), "{what}");
                        let stays = |name: &str| dir.path().join(name).exists();
                        assert!(stays("checkpoint") && stays("journal"), "{what}");
                    }
                    unlocked_move(run);
                }
                assert_eq!(world.in_bucket.get(), !back, "{what}");
                if fails % 4 == 0 {
                    check_one_log(&world, &objects, back, &what);
                }
                if back {
                    assert!(!dir.path().join("move.id").exists(), "{what}");
                } else {
                    unlocked_move(run);
                    assert!(!dir.path().join("journal").exists(), "{what}");
                }
                if is_over {
                    counts[at] = fails - 1;
                    break;
                }
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}

#[test]
fn a_log_without_entries_moves_there_and_back() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    fs::write(dir.path().join("checkpoint"), signed(&crate::merkle::RightEdge::default())).unwrap();
    let world = World::new(dir.path(), &objects);
    unlocked_move(|| world.to_bucket());
    drop(open_in_bucket(dir.path(), &objects).unwrap());
    unlocked_move(|| world.to_directory());
    let mut disk = open_on_disk(dir.path());
    append(&mut disk, numbered(0, 3));
    is_moved_away(open_in_bucket(TempDir::new().unwrap().path(), &objects));
}

#[test]
fn a_chain_without_a_head_is_not_sealed() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    make::name(&objects, ORIGIN, "opaque").unwrap();
    let world = World::new(dir.path(), &objects);
    world.in_bucket.set(true);
    let error = world.to_directory().unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
    assert_eq!(objects.bytes(&layout::batch(crate::merkle::LeafIndex::new(0).unwrap())), None);
}

#[test]
fn a_log_with_witnesses_keeps_both_heads() {
    let (dir, objects) = (on_disk(), MemoryObjects::default());
    let key = signer().public().clone();
    let text = format!("log {key}\nwitness w {}\nquorum w\n", witness_key());
    let policy = crate::checkpoint::policy::Policy::parse(text.as_bytes()).unwrap();
    let moving = |publish_unwitnessed| MoveToBucket {
        dir: dir.path(),
        keys: std::slice::from_ref(&key),
        witnesses: Some(&policy),
        publish_unwitnessed,
        profile: "opaque",
        objects: Arc::new(objects.clone()),
        threads: 3,
        io: Arc::new(RealDisk),
        progress: &|_, _| (),
    };
    // The log has no head that may be published.
    let error = moving(false).run(&mut || panic!("nothing is switched")).unwrap_err();
    assert!(matches!(error, MoveError::Head(ExportError::NeverWitnessed { .. })), "{error}");
    moving(true).run(&mut || Ok(())).unwrap();
    assert_eq!(objects.bytes("checkpoint"), objects.bytes("checkpoint.signed"));
    assert!(objects.bytes("checkpoint").is_some());
}

fn witness_key() -> String {
    use crate::note::{KeyName, NoteSigner, SignatureType};
    let name = KeyName::new("w.example.com").unwrap();
    NoteSigner::from_seed(name, SignatureType::CosignatureEd25519, &[9; 32]).public().to_string()
}

#[test]
fn fsck_compares_the_index_and_kept_heads() {
    let (dir, objects) = (on_disk(), MemoryObjects::default());
    let world = World::new(dir.path(), &objects);
    unlocked_move(|| world.to_bucket());
    let fsck = |scope: &FsckScope<'_>| {
        let (origin, keys) =
            (Origin::from(signer().public().name().clone()), vec![signer().public().clone()]);
        let objects = Arc::new(objects.clone());
        BucketFsck { objects, origin, keys, repair: false, threads: 3, progress: &|_, _| () }.run_in(scope)
    };
    let scratch = TempDir::new().unwrap();
    let index = Some(IndexScope { describe: describe(), dir: scratch.path() });
    let found = fsck(&FsckScope { index: index.clone(), ..FsckScope::default() }).unwrap();
    assert_eq!((found.index, found.entries.get(), found.damaged), (IndexSeen::None, ENTRIES as u64, 0));
    assert_eq!(found.published.unwrap().size.get(), (ENTRIES - UNSIGNED) as u64);
    // Upload the index like a server.
    let store = open_in_bucket(dir.path(), &objects).unwrap();
    drop(store);
    let mut known = std::collections::BTreeMap::new();
    super::super::index_objects::upload(&objects, &dir.path().join("index"), &mut known).unwrap().unwrap();
    let found = fsck(&FsckScope { index: index.clone(), ..FsckScope::default() }).unwrap();
    assert!(matches!(found.index, IndexSeen::Sound(size) if size.get() > 0), "{:?}", found.index);
    // Facts that differ from those of the entries.
    let describe: crate::store::Describe = Arc::new(|entry| facts_of(&[b"payload:x ", entry].concat()));
    let other = Some(IndexScope { describe, dir: scratch.path() });
    let found = fsck(&FsckScope { index: other, ..FsckScope::default() }).unwrap();
    assert!(matches!(found.index, IndexSeen::Wrong(_)), "{:?}", found.index);
    let run = objects
        .all()
        .into_keys()
        .find(|key| key.starts_with("index/") && key != layout::INDEX_MANIFEST)
        .unwrap();
    objects.set(&run, b"noise");
    let found = fsck(&FsckScope { index, ..FsckScope::default() }).unwrap();
    assert!(matches!(found.index, IndexSeen::Wrong(_)), "{:?}", found.index);
    // Heads.
    let edge = |entries: Vec<Vec<u8>>| batch_of(&crate::merkle::RightEdge::default(), entries).growth.edge;
    let kept = |entries| {
        let note = signed(&edge(entries));
        let head = crate::checkpoint::open(&note, &[signer().public().clone()]).unwrap();
        fsck(&FsckScope { kept: vec![head], ..FsckScope::default() })
    };
    kept(numbered(0, 500)).unwrap();
    assert!(matches!(kept(numbered(1, 500)), Err(StoreError::Chain(ChainError::Forked { .. }))));
    assert!(matches!(kept(numbered(0, ENTRIES + 1)), Err(StoreError::Chain(ChainError::RolledBack { .. }))));
    let tile: Tile = Tile::parse("tile/0/000").unwrap();
    objects.remove(&layout::tile(tile));
    let found = fsck(&FsckScope::default()).unwrap();
    assert_eq!(
        (found.damaged, found.named[0].key.as_str(), found.named[0].seen.as_str()),
        (1, "tile/0/000", "none")
    );
}
