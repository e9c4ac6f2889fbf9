//! A cache whose tree is damaged below its right edge, which opening does not check. The store rebuilds it, and never
//! blames the bucket.

use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::bucket::tests::memory::MemoryObjects;
use crate::checkpoint;
use crate::merkle::{
    Hash, LeafIndex, RightEdge, Tile, TileId, hashes_to_bytes, prove_inclusion, read_root, tiles_of,
};
use crate::store::Store;
use crate::store::bucket::{BucketStore, layout};
use crate::store::tests::fixtures::{append, copy_dir, numbered, open_bucket, signed};

/// Enough leaves for one full tile at level 1, and some more.
const LEAVES: usize = 65_536 + 300;

/// A cache of all leaves, and a bucket whose head covers only 70 of them.
fn world() -> &'static (TempDir, MemoryObjects) {
    static WORLD: OnceLock<(TempDir, MemoryObjects)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (dir, objects) = (TempDir::new().unwrap(), MemoryObjects::default());
        let mut store = open_bucket(dir.path(), &objects).unwrap();
        append(&mut store, numbered(0, 70));
        head(&mut store);
        let mut next = 70;
        while next < LEAVES {
            let count = (LEAVES - next).min(4_000);
            append(&mut store, numbered(next, count));
            next += count;
        }
        (dir, objects)
    })
}

fn head(store: &mut BucketStore) {
    let (old, new) = (store.checkpoint(), signed(&store.edge()));
    store.replace_checkpoint(old.as_deref(), &new).unwrap();
}

/// Flips a byte in a row of the tree.
fn flip(dir: &Path, key: &[u8], at: usize) {
    let open = || (0..1_000).find_map(|_| sled::open(dir.join("sled")).ok());
    let db = open().expect("nobody has it open");
    let rows = db.open_tree("tree").unwrap();
    let mut row = rows.get(key).unwrap().expect("a row").to_vec();
    row[at] ^= 1;
    rows.insert(key, row).unwrap();
    db.flush().unwrap();
}

fn key(level: u8, index: u64) -> Vec<u8> {
    [&[b't', level], index.to_be_bytes().as_slice()].concat()
}

/// The rows to damage: tiles at each level, inside the tree and at its edge, the cursor, and the last leaves.
fn rows() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("the first leaves", key(0, 0)),
        ("leaves deep down", key(0, 100)),
        ("leaves at the edge", key(0, 256)),
        ("the tile above them", key(1, 0)),
        ("the cursor", b"c".to_vec()),
        ("the last leaves", b"p".to_vec()),
    ]
}

/// Checks that everything that the log shows is right.
fn check_sound(store: &BucketStore, objects: &MemoryObjects, size: usize) {
    let edge = store.edge();
    assert_eq!(edge.size().get(), size as u64);
    let reader = store.reader();
    for at in [0, 5, 255, 256, 25_700, 65_535, 65_536, size as u64 - 1] {
        let (leaf, index) = (LeafIndex::new(at).unwrap(), usize::try_from(at).unwrap());
        let entry = &numbered(index, 1)[0];
        assert_eq!(reader.entry(leaf).unwrap(), *entry);
        assert_eq!(reader.find_leaf(&Hash::leaf(entry)).unwrap(), Some(leaf));
        let proof = prove_inclusion(reader.as_ref(), leaf, &Hash::leaf(entry), edge.size(), &edge.root());
        proof.unwrap().unwrap();
    }
    assert_eq!(reader.damage(), None);
    // What static readers get from the bucket.
    let all = objects.all();
    for tile in tiles_of(edge.size()).filter(|tile| !tile.is_bundle()) {
        assert!(all[&layout::tile(tile)] == hashes_to_bytes(&reader.tiles(&[tile]).unwrap()[0]), "{tile}");
        if tile.is_full() {
            let id = TileId::Hashes { level: tile.id.level() + 1, index: tile.id.index() / 256 };
            let above = Tile::new(id, tile.id.index() % 256 + 1).unwrap();
            let hash = *reader.tiles(&[above]).unwrap()[0].last().unwrap();
            assert_eq!(
                RightEdge::default().grow(&reader.tiles(&[tile]).unwrap()[0]).edge.root(),
                hash,
                "{tile}"
            );
        }
    }
}

/// Runs a step like the sequencer: after an error, it reloads and retries.
fn in_spite<T>(
    store: &mut BucketStore,
    step: impl Fn(&mut BucketStore) -> Result<T, crate::store::StoreError>,
) {
    for _ in 0..5 {
        match step(store) {
            Ok(_) => return,
            Err(error) => {
                assert!(!error.is_damage(), "it blames the bucket: {error}");
                let _ = store.reload().inspect_err(|error| assert!(!error.is_damage(), "{error}"));
            }
        }
    }
    panic!("it does not recover");
}

#[test]
fn damage_in_the_cache_is_never_blamed_on_the_bucket() {
    let (dir, objects) = world();
    for (what, row) in rows() {
        let (copy, objects) = (TempDir::new().unwrap(), objects.copy());
        copy_dir(dir.path(), copy.path());
        flip(copy.path(), &row, 1);
        let mut store = open_bucket(copy.path(), &objects).unwrap_or_else(|e| panic!("{what}: {e}"));
        // A start compares this head with the tree before it signs anything.
        let head = checkpoint::read_unverified(&store.checkpoint().unwrap()).unwrap().0;
        assert_eq!(head.size.get(), 70);
        assert_eq!(read_root(store.reader().as_ref(), head.size).unwrap().root(), head.root, "{what}");
        // Take over: write the missing tiles and a head.
        in_spite(&mut store, Store::follow);
        in_spite(&mut store, |store| {
            let old = store.checkpoint();
            store.replace_checkpoint(old.as_deref(), &signed(&store.edge()))
        });
        check_sound(&store, &objects, LEAVES);
    }
}

#[test]
fn damage_in_the_cache_of_a_running_server_ends_with_the_next_step() {
    let (dir, objects) = world();
    let (copy, objects) = (TempDir::new().unwrap(), objects.copy());
    copy_dir(dir.path(), copy.path());
    let mut writer = open_bucket(copy.path(), &objects).unwrap();
    head(&mut writer);
    // A standby with a damaged cache, whose head gives no reason to check the damaged part.
    let standby = TempDir::new().unwrap();
    drop(open_bucket(standby.path(), &objects).unwrap());
    flip(standby.path(), &key(0, 0), 40);
    let mut store = open_bucket(standby.path(), &objects).unwrap();
    for width in [7, 256] {
        let read = store.reader().bundle(0, width);
        assert!(read.is_err_and(|error| !error.is_damage()), "no fault of the bucket");
    }
    append(&mut writer, numbered(LEAVES, 5));
    head(&mut writer);
    in_spite(&mut store, Store::follow);
    check_sound(&store, &objects, LEAVES + 5);
}
