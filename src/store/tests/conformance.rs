//! The conformance suite: every store has to pass it.

use tempfile::TempDir;

use super::MemoryStore;
#[cfg(feature = "bucket")]
use super::fixtures::open_bucket;
use super::fixtures::{
    append, batch_of, copy_dir, describe, named, numbered, open_disk, options, signed, term,
};
#[cfg(feature = "bucket")]
use crate::bucket::tests::memory::MemoryObjects;
use crate::merkle::{Hash, LeafIndex, RightEdge, Tile, TileId, read_root, reference, tiles_of};
use crate::proof::bundle;
use crate::release::{Term, Track};
use crate::store::{MAX_BATCH_ENTRIES, SearchPage, Store, StoreError, StoreReader, Stored};

fn leaf_index(index: u64) -> LeafIndex {
    LeafIndex::new(index).unwrap()
}

/// Checks everything that a store says about its tree against the definition.
pub fn check(store: &dyn Store, entries: &[Vec<u8>]) {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let edge = store.edge();
    assert_eq!(edge, RightEdge::default().grow(&leaves).edge);
    assert_eq!(edge.root(), reference::root(&leaves));
    assert_eq!(store.reader().size(), edge.size());
    check_reader(store.reader().as_ref(), entries, &leaves);
}

fn check_reader(reader: &dyn StoreReader, entries: &[Vec<u8>], leaves: &[Hash]) {
    let size = reader.size();
    assert_eq!(read_root(reader, size).unwrap().root(), reference::root(leaves));
    for tile in tiles_of(size) {
        let widths: Vec<usize> = [1, tile.width() / 2, tile.width() - 1, tile.width()]
            .into_iter()
            .filter(|width| (1..=tile.width()).contains(width))
            .collect();
        check_tile(reader, tile.id, &widths, entries, leaves);
    }
}

fn check_tile(reader: &dyn StoreReader, id: TileId, widths: &[usize], entries: &[Vec<u8>], leaves: &[Hash]) {
    let first = usize::try_from(id.index()).unwrap() * 256;
    match id {
        TileId::Hashes { level, .. } => {
            let span = 256_usize.pow(level.into());
            let node = |i: usize| reference::root(&leaves[i * span..(i + 1) * span]);
            let widest = widths.iter().max().unwrap();
            let all: Vec<Hash> = (first..first + widest).map(node).collect();
            let tiles: Vec<Tile> = widths.iter().map(|w| Tile::new(id, *w as u64).unwrap()).collect();
            let read = reader.tiles(&tiles).unwrap();
            assert_eq!(read.len(), tiles.len(), "one answer each, in order");
            for (width, hashes) in widths.iter().zip(read) {
                assert_eq!(hashes, all[..*width], "{id:?} of width {width}");
            }
        }
        TileId::Entries { index } => {
            for width in widths {
                let bytes = reader.bundle(index, *width).unwrap();
                assert_eq!(bundle::split(&bytes, *width).unwrap(), entries[first..first + width], "{index}");
            }
        }
    }
}

/// Checks that nothing beyond `size` leaves can be read.
fn check_absent(reader: &dyn StoreReader, size: usize) {
    let (index, width) = (size as u64 / 256, size % 256);
    for level in 0..=3_u8 {
        let at_level = size as u64 / 256_u64.pow(level.into());
        let beyond = Tile::new(TileId::Hashes { level, index: at_level / 256 }, at_level % 256 + 1).unwrap();
        // One entry more than the tile has, and the narrowest tiles that don't exist.
        let further = [1, 2, 7].map(|more| TileId::Hashes { level, index: at_level / 256 + more });
        for tile in further.map(|id| Tile::new(id, 1).unwrap()).into_iter().chain([beyond]) {
            assert!(reader.tiles(&[tile]).is_err(), "{tile} at tree size {size}");
        }
    }
    assert!(reader.tiles(&[Tile::new(TileId::Entries { index: 0 }, 1).unwrap()]).is_err(), "has no hashes");
    assert!(reader.bundle(index, width + 1).is_err(), "bundle {index} at tree size {size}");
    assert!(reader.bundle(index + 1, 1).is_err());
    assert!(reader.entry(LeafIndex::new(size as u64).unwrap()).is_err());
}

/// A place for one store, empty at first.
trait Place: Default {
    /// Opens the store.
    fn open(&self) -> Box<dyn Store>;

    /// Ends a store like a crash, and reopens it.
    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store>;
}

struct Memory(MemoryStore);

impl Default for Memory {
    fn default() -> Self {
        Self(MemoryStore::new(describe()))
    }
}

impl Place for Memory {
    fn open(&self) -> Box<dyn Store> {
        let mut store = self.0.clone();
        store.reload().unwrap();
        Box::new(store)
    }

    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.open()
    }
}

struct Disk(TempDir);

impl Default for Disk {
    fn default() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Place for Disk {
    fn open(&self) -> Box<dyn Store> {
        Box::new(open_disk(self.0.path(), options).unwrap())
    }

    /// Copies the files while the store is open: nothing is flushed or closed in an orderly way.
    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        let after = TempDir::new().unwrap();
        copy_dir(self.0.path(), after.path());
        drop(store);
        self.0 = after;
        self.open()
    }
}

/// A log in a bucket in memory, with its cache on the disk.
#[cfg(feature = "bucket")]
struct Bucket {
    objects: MemoryObjects,
    cache: TempDir,
}

#[cfg(feature = "bucket")]
impl Default for Bucket {
    fn default() -> Self {
        Self { objects: MemoryObjects::default(), cache: TempDir::new().unwrap() }
    }
}

#[cfg(feature = "bucket")]
impl Place for Bucket {
    fn open(&self) -> Box<dyn Store> {
        Box::new(open_bucket(self.cache.path(), &self.objects).unwrap())
    }

    /// Copies the cache while the store is open.
    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        let after = TempDir::new().unwrap();
        copy_dir(self.cache.path(), after.path());
        drop(store);
        self.cache = after;
        self.open()
    }
}

/// The same, which loses its cache in each crash.
#[cfg(feature = "bucket")]
#[derive(Default)]
struct BucketAlone(Bucket);

#[cfg(feature = "bucket")]
impl Place for BucketAlone {
    fn open(&self) -> Box<dyn Store> {
        self.0.open()
    }

    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.0.cache = TempDir::new().unwrap();
        self.open()
    }
}

/// Runs each test against each store.
macro_rules! every_store {
    ($($test:ident)*) => {
        #[cfg(feature = "bucket")]
        mod bucket {
            $(#[test] fn $test() { super::$test(super::Bucket::default()); })*
        }
        #[cfg(feature = "bucket")]
        mod bucket_alone {
            $(#[test] fn $test() { super::$test(super::BucketAlone::default()); })*
        }
        mod memory {
            $(#[test] fn $test() { super::$test(super::Memory::default()); })*
        }
        mod disk {
            $(#[test] fn $test() { super::$test(super::Disk::default()); })*
        }
    };
}

/// The names of all tests, for a macro that runs them.
macro_rules! all_tests {
    ($run:ident) => {
        $run! {
            a_new_store_is_empty
            growing_agrees_with_the_definition_across_tile_borders
            every_width_of_every_tile_and_bundle_is_read
            a_second_tile_level_grows_at_65536_leaves
            empty_and_largest_entries_are_kept
            the_first_of_two_equal_leaves_is_found
            the_first_claim_stands
            what_publishers_are_warned_of_is_found
            search_pages_from_the_newest_to_the_oldest
            names_are_found_by_their_beginning
            staged_and_not_applied_is_not_readable_until_a_reload
            staged_and_not_applied_survives_a_crash
            the_checkpoint_is_only_replaced_by_whoever_knows_it
            the_checkpoint_survives_a_reload_a_reopening_and_a_crash
            reloading_changes_nothing
            a_reader_follows_the_store_through_reloads
        }
    };
}

all_tests! { every_store }

fn a_new_store_is_empty(place: impl Place) {
    let mut store = place.open();
    for _ in 0..2 {
        check(store.as_ref(), &[]);
        check_absent(store.reader().as_ref(), 0);
        assert_eq!(store.edge().root(), Hash::EMPTY_ROOT);
        assert_eq!(store.checkpoint(), None);
        let reader = store.reader();
        assert_eq!(reader.find_leaf(&Hash::leaf(b"")).unwrap(), None);
        assert_eq!(reader.find_claim(&named("key")).unwrap(), None);
        let page = SearchPage { leaves: Vec::new(), more: false };
        assert_eq!(reader.search(&term("x"), None, 10).unwrap(), page);
        store.reload().unwrap();
    }
}

fn growing_agrees_with_the_definition_across_tile_borders(mut place: impl Place) {
    let mut store = place.open();
    let mut entries = Vec::new();
    // To 1, 2, 3, 255, 256, 257, 511, 512, 513, and then over several boundaries at once.
    for (step, count) in [1, 1, 1, 252, 1, 1, 254, 1, 1, 700, 300, 3].into_iter().enumerate() {
        let batch = numbered(entries.len(), count);
        append(store.as_mut(), batch.clone());
        entries.extend(batch);
        check(store.as_ref(), &entries);
        check_absent(store.reader().as_ref(), entries.len());
        // A cache must not change results. (The suite is faster with some.)
        if step % 3 == 2 {
            drop(store);
            store = place.open();
            check(store.as_ref(), &entries);
        }
        if step % 4 == 3 {
            store = place.crash(store);
            check(store.as_ref(), &entries);
            check_absent(store.reader().as_ref(), entries.len());
        }
    }
}

fn every_width_of_every_tile_and_bundle_is_read(place: impl Place) {
    let mut store = place.open();
    let entries = numbered(0, 256 + 256 + 44);
    // Batches that end inside bundles, so that bundles span batches.
    for batch in entries.chunks(100) {
        append(store.as_mut(), batch.to_vec());
    }
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    for _ in 0..2 {
        for tile in tiles_of(store.reader().size()) {
            let widths: Vec<usize> = (1..=tile.width()).collect();
            check_tile(store.reader().as_ref(), tile.id, &widths, &entries, &leaves);
        }
        for (at, entry) in entries.iter().enumerate().step_by(37) {
            let index = LeafIndex::new(at as u64).unwrap();
            assert_eq!(store.reader().entry(index).unwrap(), *entry);
        }
        store.reload().unwrap();
    }
}

fn a_second_tile_level_grows_at_65536_leaves(mut place: impl Place) {
    let mut store = place.open();
    let entries: Vec<Vec<u8>> = (0..65_536_u32 + 300).map(|i| i.to_be_bytes().to_vec()).collect();
    for batch in entries.chunks(MAX_BATCH_ENTRIES) {
        append(store.as_mut(), batch.to_vec());
    }
    check(store.as_ref(), &entries);
    let tile = Tile::new(TileId::Hashes { level: 2, index: 0 }, 1).unwrap();
    let leaves: Vec<Hash> = entries[..65_536].iter().map(|entry| Hash::leaf(entry)).collect();
    assert_eq!(store.reader().tiles(&[tile]).unwrap(), [[reference::root(&leaves)]]);
    store = place.crash(store);
    check(store.as_ref(), &entries);
    check_absent(store.reader().as_ref(), entries.len());
    append(store.as_mut(), vec![b"one more".to_vec()]);
    let last = LeafIndex::new(entries.len() as u64).unwrap();
    assert_eq!(store.reader().find_leaf(&Hash::leaf(b"one more")).unwrap(), Some(last));
    for at in [0, 255, 256, 65_535, 65_536] {
        let found = store.reader().find_leaf(&Hash::leaf(&entries[at])).unwrap();
        assert_eq!(found, LeafIndex::new(at as u64), "{at}");
    }
}

fn empty_and_largest_entries_are_kept(mut place: impl Place) {
    let mut store = place.open();
    let entries: Vec<Vec<u8>> = (0..40_u8)
        .map(|i| if i % 3 == 0 { Vec::new() } else { vec![i; if i % 3 == 1 { 65_535 } else { 1 }] })
        .collect();
    for batch in entries.chunks(7) {
        append(store.as_mut(), batch.to_vec());
    }
    check(store.as_ref(), &entries);
    store = place.crash(store);
    check(store.as_ref(), &entries);
    assert_eq!(store.reader().find_leaf(&Hash::leaf(b"")).unwrap(), LeafIndex::new(0));
}

fn the_first_of_two_equal_leaves_is_found(mut place: impl Place) {
    let mut store = place.open();
    let found = |store: &dyn Store, entry: &[u8]| {
        store.reader().find_leaf(&Hash::leaf(entry)).unwrap().map(LeafIndex::get)
    };
    append(store.as_mut(), [b"a", b"b", b"a"].map(|e| e.to_vec()).to_vec());
    // In many batches, so that an index on disk has written some and still holds others in memory.
    for batch in 0..100 {
        append(store.as_mut(), vec![format!("only {batch}").into(), b"b".to_vec(), b"a".to_vec()]);
        assert_eq!((found(store.as_ref(), b"a"), found(store.as_ref(), b"b")), (Some(0), Some(1)), "{batch}");
        assert_eq!(found(store.as_ref(), format!("only {batch}").as_bytes()), Some(3 + 3 * batch));
    }
    assert_eq!(found(store.as_ref(), b"c"), None);
    store.reload().unwrap();
    assert_eq!((found(store.as_ref(), b"a"), found(store.as_ref(), b"b")), (Some(0), Some(1)));
    store = place.crash(store);
    assert_eq!((found(store.as_ref(), b"a"), found(store.as_ref(), b"b")), (Some(0), Some(1)));
    assert_eq!(found(store.as_ref(), b"only 99"), Some(300));
}

/// Numbers, editions and withdrawals are found at once, after a reload and after a crash, also if leaves share them.
fn what_publishers_are_warned_of_is_found(mut place: impl Place) {
    let mut store = place.open();
    let at =
        |index: u64, entry: &str| Stored { index: leaf_index(index), leaf: Hash::leaf(entry.as_bytes()) };
    let check = |store: &dyn Store, count: u64, last: &str| {
        let reader = store.reader();
        let highest = |track: &str, below| reader.highest(&Track(named(track)), below).unwrap();
        let top = 20_261_128_103_001;
        assert_eq!(highest("t", u64::MAX), Some(top));
        assert_eq!(highest("t", top), Some(count + 1), "however late it came");
        assert_eq!(highest("t", 1), None);
        assert_eq!((highest("shared", u64::MAX), highest("shared", 7)), (Some(7), None));
        assert_eq!(highest("none", u64::MAX), None);
        // The last edition, and the first withdrawal.
        let bytes = named(&format!("bytes{count}"));
        assert_eq!(reader.find_edition(&named("x")).unwrap(), Some((at(count, last), bytes)));
        assert_eq!(reader.find_edition(&named("y")).unwrap(), None);
        assert_eq!(reader.find_withdrawal(&named("y")).unwrap(), Some(at(0, FIRST)));
        assert_eq!(reader.find_withdrawal(&named("x")).unwrap(), None);
    };
    const FIRST: &str = "number:t:20261128103001 number:t:1 edition:x:bytes0 withdraws:y";
    append(store.as_mut(), vec![FIRST.as_bytes().to_vec()]);
    let mut last = FIRST.to_owned();
    for count in 1..300_u64 {
        last = format!("{count} number:t:{} number:shared:7 edition:x:bytes{count} withdraws:y", count + 1);
        append(store.as_mut(), vec![last.clone().into_bytes()]);
        if count % 37 == 0 {
            check(store.as_ref(), count, &last);
        }
    }
    store.reload().unwrap();
    check(store.as_ref(), 299, &last);
    store = place.crash(store);
    check(store.as_ref(), 299, &last);
}

/// The first claim of each key counts, and so does the first leaf of a payload.
fn the_first_claim_stands(mut place: impl Place) {
    let mut store = place.open();
    let first: [&[u8]; 3] = [
        b"payload:p claim:k:first claim:other:x",
        b"payload:q claim:k:second",
        b"payload:p claim:twice:same claim:k:third",
    ];
    append(store.as_mut(), first.map(<[u8]>::to_vec).to_vec());
    let at = |index: u64, entry: &[u8]| Stored { index: leaf_index(index), leaf: Hash::leaf(entry) };
    let claims = [("k", 0, "first"), ("other", 0, "x"), ("twice", 2, "same")];
    let stands = |store: &dyn Store| {
        let reader = store.reader();
        for (key, index, content) in claims {
            let stored = at(index as u64, first[index]);
            assert_eq!(reader.find_claim(&named(key)).unwrap(), Some((stored, named(content))), "{key}");
        }
        for (payload, index) in [("p", 0), ("q", 1)] {
            let stored = at(index as u64, first[index]);
            assert_eq!(reader.find_payload(&named(payload)).unwrap(), Some(stored), "{payload}");
        }
        assert_eq!(reader.find_claim(&named("none")).unwrap(), None);
        // A payload is not found as a claim, and a claim not as a payload.
        assert_eq!(reader.find_claim(&named("p")).unwrap(), None);
        assert_eq!(reader.find_payload(&named("k")).unwrap(), None);
    };
    stands(store.as_ref());
    for batch in 0..100 {
        let entry =
            format!("payload:q{batch} payload:p claim:k:later{batch} claim:new{batch}:y").into_bytes();
        append(store.as_mut(), vec![entry.clone()]);
        stands(store.as_ref());
        let found = store.reader().find_claim(&named(&format!("new{batch}"))).unwrap();
        assert_eq!(found, Some((at(3 + batch, &entry), named("y"))));
    }
    store.reload().unwrap();
    stands(store.as_ref());
    store = place.crash(store);
    stands(store.as_ref());
}

/// All pages of a search, with `limit` results each.
fn pages(reader: &dyn StoreReader, term: &Term, limit: usize) -> Vec<u64> {
    let mut found: Vec<LeafIndex> = Vec::new();
    loop {
        let page = reader.search(term, found.last().copied(), limit).unwrap();
        assert!(page.leaves.len() == limit || !page.more, "only the last page is short");
        found.extend(&page.leaves);
        if !page.more {
            return found.into_iter().map(LeafIndex::get).collect();
        }
        assert!(!page.leaves.is_empty(), "a page before the last one brings something");
    }
}

fn search_pages_from_the_newest_to_the_oldest(mut place: impl Place) {
    let mut store = place.open();
    let mut expected: Vec<u64> = Vec::new();
    let entry = |i: u64| match i % 3 {
        0 => format!("{i} term:rare term:{i}"),
        1 => format!("{i} term:other"),
        _ => format!("{i}"),
    };
    for batch in 0..30_u64 {
        let indices = batch * 4..batch * 4 + 4;
        append(store.as_mut(), indices.clone().map(|i| entry(i).into_bytes()).collect());
        expected.splice(0..0, indices.rev().filter(|i| i % 3 == 0));
        assert_eq!(pages(store.reader().as_ref(), &term("rare"), 4), expected);
    }
    for reopened in 0..3 {
        let reader = store.reader();
        for limit in [1, 2, 7, 39, 40, 41, 1_000] {
            assert_eq!(pages(reader.as_ref(), &term("rare"), limit), expected, "{limit} a page");
        }
        let before = |index| reader.search(&term("rare"), LeafIndex::new(index), 2).unwrap();
        let leaves = |all: &[u64]| all.iter().map(|i| LeafIndex::new(*i).unwrap()).collect::<Vec<_>>();
        assert_eq!(before(7), SearchPage { leaves: leaves(&[6, 3]), more: true });
        assert_eq!(before(6), SearchPage { leaves: leaves(&[3, 0]), more: false });
        assert_eq!(before(0), SearchPage { leaves: Vec::new(), more: false });
        assert_eq!(before(1_000_000), SearchPage { leaves: leaves(&[117, 114]), more: true });
        assert_eq!(pages(reader.as_ref(), &term("48"), 3), [48]);
        assert_eq!(pages(reader.as_ref(), &term("49"), 3), [0_u64; 0]);
        store = if reopened == 0 {
            place.crash(store)
        } else {
            drop((reader, store));
            place.open()
        };
    }
}

fn names_are_found_by_their_beginning(mut place: impl Place) {
    let mut store = place.open();
    let found = |reader: &dyn StoreReader, prefix: &str, limit: usize| {
        let terms = reader.names(prefix, limit).unwrap()?;
        let name = |term: &Term| String::from_utf8_lossy(&term.0[1..]).trim_end_matches('\0').to_owned();
        Some(terms.iter().map(name).collect::<Vec<String>>())
    };
    let check = |reader: &dyn StoreReader, count: usize| {
        let mut expected: Vec<String> = (0..count).map(|at| format!("n{:03}", at % 200)).collect();
        expected.sort();
        expected.dedup();
        let with = |prefix: &str| {
            let all = expected.iter().filter(|name| name.starts_with(prefix)).cloned();
            all.collect::<Vec<String>>()
        };
        for prefix in ["n", "N", "n0", "n01", "n015", "n0150", "x/n19"] {
            let expected = with(&prefix.rsplit('/').next().unwrap().to_lowercase());
            assert_eq!(found(reader, prefix, 200), Some(expected.clone()), "{prefix} of {count}");
            let fewer = expected.len().checked_sub(1);
            assert!(fewer.is_none_or(|fewer| found(reader, prefix, fewer).is_none()), "{prefix} of {count}");
        }
        assert_eq!(found(reader, "m", 9), Some(vec![]));
        assert_eq!(found(reader, "o", 0), Some(vec![]));
    };
    let entry = |at: usize| format!("{at} name:pkg/N{:03} term:rare", at % 200).into_bytes();
    for batch in 0..30 {
        append(store.as_mut(), (batch * 20..batch * 20 + 20).map(entry).collect());
        check(store.reader().as_ref(), batch * 20 + 20);
    }
    let long = [b"name:a/Same-letters-1".to_vec(), b"name:same-letters-2".to_vec()];
    append(store.as_mut(), long.to_vec());
    store = place.crash(store);
    check(store.reader().as_ref(), 600);
    let terms = store.reader().names("same-letters", 1).unwrap().expect("one term for both");
    assert_eq!(pages(store.reader().as_ref(), &terms[0], 1), [601, 600]);
}

/// A store of 300 leaves with 100 more staged, and all its entries.
fn with_a_staged_batch(place: &impl Place) -> (Box<dyn Store>, Vec<Vec<u8>>) {
    let mut store = place.open();
    let entries: Vec<Vec<u8>> =
        (0..400).map(|i| format!("{i} term:{} claim:{i}:a", i / 300).into_bytes()).collect();
    append(store.as_mut(), entries[..300].to_vec());
    let batch = batch_of(&store.edge(), entries[300..].to_vec());
    let _staged = store.stage(&batch).unwrap();
    (store, entries)
}

fn staged_and_not_applied_is_not_readable_until_a_reload(place: impl Place) {
    let (mut store, entries) = with_a_staged_batch(&place);
    check(store.as_ref(), &entries[..300]);
    let reader = store.reader();
    check_absent(reader.as_ref(), 300);
    assert_eq!(reader.find_leaf(&Hash::leaf(&entries[300])).unwrap(), None);
    assert_eq!(reader.find_claim(&named("300")).unwrap(), None);
    assert!(reader.search(&term("1"), None, 9).unwrap().leaves.is_empty());
    store.reload().unwrap();
    check(store.as_ref(), &entries);
    assert_eq!(reader.size().get(), 400, "a reader that was there before sees it too");
    assert_eq!(reader.find_leaf(&Hash::leaf(&entries[300])).unwrap(), LeafIndex::new(300));
    let stored = Stored { index: leaf_index(300), leaf: Hash::leaf(&entries[300]) };
    assert_eq!(reader.find_claim(&named("300")).unwrap(), Some((stored, named("a"))));
    assert_eq!(reader.search(&term("1"), None, 1).unwrap().leaves, [LeafIndex::new(399).unwrap()]);
    append(store.as_mut(), numbered(400, 3));
    check(store.as_ref(), &[entries, numbered(400, 3)].concat());
}

fn staged_and_not_applied_survives_a_crash(mut place: impl Place) {
    let (store, entries) = with_a_staged_batch(&place);
    let mut store = place.crash(store);
    check(store.as_ref(), &entries);
    assert_eq!(store.reader().find_leaf(&Hash::leaf(&entries[399])).unwrap(), LeafIndex::new(399));
    append(store.as_mut(), numbered(400, 3));
    check(store.as_ref(), &[entries, numbered(400, 3)].concat());
}

fn the_checkpoint_is_only_replaced_by_whoever_knows_it(place: impl Place) {
    let mut store = place.open();
    let (none, empty) = (None, signed(&store.edge()));
    append(store.as_mut(), numbered(0, 3));
    let three = signed(&store.edge());
    let moved = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::CheckpointMoved { .. })), "{result:?}");
    };
    moved(store.replace_checkpoint(Some(&empty), &three));
    assert_eq!(store.checkpoint(), None);
    store.replace_checkpoint(none, &empty).unwrap();
    assert_eq!(store.checkpoint(), Some(empty.clone()));
    for wrong in [None, Some(three.as_slice()), Some(&empty[1..]), Some(b"")] {
        moved(store.replace_checkpoint(wrong, &three));
        assert_eq!(store.checkpoint(), Some(empty.clone()));
        store.reload().unwrap();
        assert_eq!(store.checkpoint(), Some(empty.clone()), "nothing of it became durable");
    }
    store.replace_checkpoint(Some(&empty), &three).unwrap();
    moved(store.replace_checkpoint(Some(&empty), &three));
    assert_eq!(store.checkpoint(), Some(three.clone()));
    // Replacing it by itself changes nothing.
    store.replace_checkpoint(Some(&three), &three).unwrap();
    check(store.as_ref(), &numbered(0, 3));
}

fn the_checkpoint_survives_a_reload_a_reopening_and_a_crash(mut place: impl Place) {
    let mut store = place.open();
    let mut last: Option<Vec<u8>> = None;
    for round in 0..6 {
        append(store.as_mut(), numbered(round * 3, 3));
        let next = signed(&store.edge());
        store.replace_checkpoint(last.as_deref(), &next).unwrap();
        store = match round % 3 {
            0 => {
                store.reload().unwrap();
                store
            }
            1 => {
                drop(store);
                place.open()
            }
            _ => place.crash(store),
        };
        assert_eq!(store.checkpoint(), Some(next.clone()));
        last = Some(next);
    }
    check(store.as_ref(), &numbered(0, 18));
}

fn reloading_changes_nothing(place: impl Place) {
    let mut store = place.open();
    let entries: Vec<Vec<u8>> =
        (0..600).map(|i| format!("{i} term:t claim:{}:{i}", i % 7).into_bytes()).collect();
    append(store.as_mut(), entries[..500].to_vec());
    append(store.as_mut(), entries[500..].to_vec());
    let head = signed(&store.edge());
    store.replace_checkpoint(None, &head).unwrap();
    for _ in 0..4 {
        store.reload().unwrap();
        check(store.as_ref(), &entries);
        assert_eq!(store.checkpoint(), Some(head.clone()));
        let reader = store.reader();
        assert_eq!(pages(reader.as_ref(), &term("t"), 100), (0..600).rev().collect::<Vec<u64>>());
        (0..7_u64).for_each(|i| {
            let (stored, content) = reader.find_claim(&named(&i.to_string())).unwrap().unwrap();
            assert_eq!((stored.index.get(), content), (i, named(&i.to_string())));
        });
    }
}

fn a_reader_follows_the_store_through_reloads(place: impl Place) {
    let mut store = place.open();
    let reader = store.reader();
    let mut entries = Vec::new();
    for round in 0..5 {
        append(store.as_mut(), numbered(round * 100, 100));
        entries.extend(numbered(round * 100, 100));
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        check_reader(reader.as_ref(), &entries, &leaves);
        store.reload().unwrap();
        check_reader(reader.as_ref(), &entries, &leaves);
    }
}

/// A log in a real object store, `TREEHEAD_TEST_S3`, below a prefix of its own.
#[cfg(feature = "bucket")]
mod real_bucket {
    use std::sync::Arc;

    use super::*;
    use crate::bucket::Objects;
    use crate::store::bucket::{BucketOptions, BucketStore};
    use crate::store::tests::fixtures::{real_objects, unlocked};

    struct Real {
        objects: Arc<dyn Objects>,
        cache: TempDir,
    }

    impl Default for Real {
        fn default() -> Self {
            Self { objects: real_objects().expect("asked before"), cache: TempDir::new().unwrap() }
        }
    }

    impl Place for Real {
        fn open(&self) -> Box<dyn Store> {
            let open = || {
                let options = BucketOptions::new(self.objects.clone(), options()).unwrap();
                BucketStore::open(self.cache.path(), options)
            };
            Box::new(unlocked(open).unwrap())
        }

        fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
            drop(store);
            self.cache = TempDir::new().unwrap();
            self.open()
        }
    }

    /// Runs each test, if there is a store.
    macro_rules! real_store {
        ($($test:ident)*) => {
            $(#[test] fn $test() {
                if real_objects().is_some() {
                    super::$test(Real::default());
                }
            })*
        };
    }

    all_tests! { real_store }
}
