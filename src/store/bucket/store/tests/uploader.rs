//! Tiles that are written in the background: a head is never there before them, whatever fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread::sleep;

use super::*;
use crate::bucket::{BucketError, Creation, Headers, Listing, Object, Objects, Replacement, Requests, Tag};

/// A bucket in which tiles arrive late and fail at random, and which checks each head that is written.
struct Watched {
    memory: MemoryObjects,
    random: Mutex<u64>,
    /// One write of a tile fails among so many; none if zero.
    failing: u64,
    written: Mutex<BTreeMap<String, Vec<u8>>>,
    heads: Mutex<Vec<u64>>,
}

impl Watched {
    fn new(seed: u64, failing: u64) -> Arc<Self> {
        let (memory, written, heads) = (MemoryObjects::default(), Mutex::default(), Mutex::default());
        let random = Mutex::new((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Arc::new(Self { memory, random, failing, written, heads })
    }

    /// A number below `most`.
    fn random(&self, most: u64) -> u64 {
        let mut state = self.random.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) % most
    }

    fn open(self: &Arc<Self>, dir: &Path) -> BucketStore {
        unlocked(|| {
            let options = BucketOptions::new(self.clone(), options()).unwrap();
            BucketStore::open(dir, BucketOptions { threads: 3, ..options })
        })
        .unwrap()
    }

    /// All tiles of a head are there when it arrives.
    fn check_head(&self, key: &str, bytes: &[u8]) {
        if key.starts_with("checkpoint") {
            let (head, _) = checkpoint::read_unverified(bytes).unwrap();
            let all = self.memory.all();
            let missing: Vec<String> =
                tiles_of(head.size).map(layout::tile).filter(|key| !all.contains_key(key)).collect();
            assert!(missing.is_empty(), "a head of {} leaves, and no {missing:?}", head.size);
            self.heads.lock().unwrap().push(head.size.get());
        }
    }
}

impl Objects for Watched {
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError> {
        self.memory.get(key, limit)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        self.memory.get_range(key, offset, length)
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        self.check_head(key, bytes);
        self.memory.create(key, bytes, headers)
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        self.check_head(key, bytes);
        self.memory.replace(key, bytes, tag, headers)
    }

    fn put(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Tag, BucketError> {
        sleep(Duration::from_micros(self.random(3_000)));
        let before = self.written.lock().unwrap().insert(key.to_owned(), bytes.to_vec());
        assert!(before.is_none_or(|before| before == bytes), "{key} was other bytes before");
        let fails = self.failing > 0 && self.random(self.failing) == 0;
        if fails && self.random(2) == 0 {
            self.memory.inject(Operation::Put, key, Fault::Failed);
        } else if fails {
            self.memory.inject(Operation::Put, key, Fault::FailedButPersisted);
        }
        self.memory.put(key, bytes, headers)
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        self.memory.list(prefix, after, limit)
    }

    fn delete(&self, key: &str) -> Result<(), BucketError> {
        self.memory.delete(key)
    }

    fn requests(&self) -> &Requests {
        self.memory.requests()
    }

    fn name(&self) -> String {
        self.memory.name()
    }
}

/// Tries to sign the tree, and reloads the store as the sequencer does when that fails.
fn try_head(store: &mut BucketStore) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    if old.as_deref() == Some(&new) {
        return;
    }
    match store.replace_checkpoint(old.as_deref(), &new) {
        Ok(()) => {}
        Err(StoreError::Overtaken { .. }) => store.follow().unwrap(),
        Err(_) => store.reload().unwrap(),
    }
}

#[test]
fn no_head_is_written_before_its_tiles() {
    for seed in 0..20 {
        let objects = Watched::new(seed, [0, 3, 6, 20][usize::try_from(seed).unwrap() % 4]);
        let mut dirs = vec![TempDir::new().unwrap(), TempDir::new().unwrap()];
        let mut stores = [0, 1].map(|at: usize| objects.open(dirs[at].path()));
        let (mut size, mut turn) = (0, 0);
        for _ in 0..12 {
            let store = &mut stores[turn];
            for _ in 0..objects.random(3) {
                let count =
                    usize::try_from([1, 30, 256, 700][usize::try_from(objects.random(4)).unwrap()]).unwrap();
                append(store, numbered(size, count));
                size += count;
            }
            match objects.random(5) {
                // Another server goes on, while the first one's tiles are under way.
                0 => {
                    turn = 1 - turn;
                    stores[turn].follow().unwrap();
                }
                1 => store.reload().unwrap(),
                // A server that ends, or that lost its cache.
                2 => {
                    stores = stores.map(|store| {
                        drop(store);
                        dirs.push(TempDir::new().unwrap());
                        objects.open(dirs[dirs.len() - 1].path())
                    });
                }
                _ => try_head(store),
            }
        }
        let store = &mut stores[turn];
        let signed = |store: &BucketStore| {
            store.checkpoint().map(|note| checkpoint::read_unverified(&note).unwrap().0.size)
        };
        for _ in 0..100 {
            try_head(store);
            if signed(store) == Some(store.edge().size()) {
                break;
            }
        }
        assert_eq!((store.edge().size().get(), signed(store)), (size as u64, Some(store.edge().size())));
        check_tiles(&objects.memory, store);
        let heads = objects.heads.lock().unwrap();
        assert!(!heads.is_empty() && heads.is_sorted(), "{heads:?}");
    }
}

/// Waits until the bucket has this object.
fn wait_for(objects: &MemoryObjects, key: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while objects.bytes(key).is_none() {
        assert!(Instant::now() < until, "{key} is not written");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn full_tiles_are_written_before_a_head_needs_them_and_once() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    head(&mut store);
    append(&mut store, numbered(0, 1_000));
    for key in ["tile/0/002", "tile/entries/002"] {
        wait_for(&objects, key);
    }
    assert_eq!(objects.all().keys().filter(|key| key.contains(".p/")).count(), 0, "a head makes them");
    append(&mut store, numbered(1_000, 24));
    head(&mut store);
    check_tiles(&objects, &store);
    // Four tiles, four bundles, and the tile above them.
    assert_eq!(objects.requests().of(Operation::Put).requests, 9);
    drop(store);
    // One request at a time is one at a time.
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket_with(dir.path(), &objects, |o| o.threads = 1).unwrap();
    append(&mut store, numbered(0, 1_000));
    sleep(Duration::from_millis(20));
    assert_eq!(objects.requests().of(Operation::Put).requests, 0);
}

#[test]
fn a_tile_that_fails_in_the_background_is_written_by_the_head_or_fails_it() {
    let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
    let mut store = open_bucket(dir.path(), &objects).unwrap();
    head(&mut store);
    objects.inject(Operation::Put, "tile/0/001", Fault::Failed);
    append(&mut store, numbered(0, 700));
    head(&mut store);
    check_tiles(&objects, &store);
    // It keeps failing.
    (0..3).for_each(|_| objects.inject(Operation::Put, "tile/entries/003", Fault::Failed));
    append(&mut store, numbered(700, 400));
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    for _ in 0..2 {
        let failed = store.replace_checkpoint(old.as_deref(), &new);
        assert!(matches!(failed, Err(StoreError::Chain(ChainError::Bucket(_)))), "{failed:?}");
        assert_eq!(store.checkpoint(), old);
        store.reload().unwrap();
    }
    head(&mut store);
    check_tiles(&objects, &store);
}
