//! Tests of background uploads: the bucket never has a head before its tiles, whatever fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread::sleep;

use super::*;
use crate::bucket::Objects as _;

/// Delays tiles and makes them fail at random, and checks each head that is written.
struct Watched {
    memory: MemoryObjects,
    random: Mutex<u64>,
    /// One in this many writes of tiles fails; none if zero.
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
            let watched = self.clone();
            let objects =
                self.memory.hooked(move |operation, key, bytes| watched.request(operation, key, bytes));
            let options = BucketOptions::new(Arc::new(objects), options()).unwrap();
            BucketStore::open(dir, BucketOptions { threads: 3, ..options })
        })
        .unwrap()
    }

    fn request(&self, operation: Operation, key: &str, bytes: &[u8]) -> Option<Fault> {
        if operation != Operation::Put {
            self.check_head(key, bytes);
            return None;
        }
        sleep(Duration::from_micros(self.random(3_000)));
        let before = self.written.lock().unwrap().insert(key.to_owned(), bytes.to_vec());
        assert!(before.is_none_or(|before| before == bytes), "{key} was written with other bytes before");
        let fails = self.failing > 0 && self.random(self.failing) == 0;
        fails.then(|| if self.random(2) == 0 { Fault::Failed } else { Fault::FailedButPersisted })
    }

    /// Checks that the bucket has all tiles of a head that is about to be written.
    fn check_head(&self, key: &str, bytes: &[u8]) {
        if key.starts_with("checkpoint") && !bytes.is_empty() {
            let (head, _) = checkpoint::read_unverified(bytes).unwrap();
            let all = self.memory.all();
            let missing: Vec<String> =
                tiles_of(head.size).map(layout::tile).filter(|key| !all.contains_key(key)).collect();
            assert!(missing.is_empty(), "a head of {} leaves, and no {missing:?}", head.size);
            self.heads.lock().unwrap().push(head.size.get());
        }
    }
}

/// Tries to sign the tree. If that fails, reloads the store like the sequencer.
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
                // Another server takes over while the first one's tiles are in flight.
                0 => {
                    turn = 1 - turn;
                    stores[turn].follow().unwrap();
                }
                1 => store.reload().unwrap(),
                // Both servers restart without their caches.
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
    assert_eq!(objects.all().keys().filter(|key| key.contains(".p/")).count(), 0, "only a head needs them");
    append(&mut store, numbered(1_000, 24));
    head(&mut store);
    check_tiles(&objects, &store);
    // Four tiles, four bundles, and the tile above them.
    assert_eq!(objects.requests().of(Operation::Put).requests, 9);
    drop(store);
    // With one request at a time, there are no background uploads.
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
    // The tile keeps failing.
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
