//! A slow and simple judge of a bucket. It reads all objects and shares no code with the log that writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use treehead::bucket::Objects;
use treehead::checkpoint;
use treehead::merkle::Hash;
use treehead::store::bucket::BucketFsck;

use crate::promises::Promises;

/// Size limit of an object, larger than anything that the tests write.
const LIMIT: usize = 64 * 1024 * 1024;
const WIDTH: usize = 256;
/// Concurrent reads.
const READERS: usize = 8;

/// Counts of the objects in a correct bucket.
#[derive(Debug, Default)]
pub struct Found {
    pub batches: usize,
    pub entries: usize,
    pub writers: usize,
    pub heads: usize,
    pub tiles: usize,
}

/// Checks that a bucket has one chain with all its tiles, and that it keeps all promises.
///
/// # Errors
/// Description of the first fault.
pub fn judge(objects: &Arc<dyn Objects>, promises: &Promises) -> Result<Found, String> {
    let mut found = Found::default();
    let entries = read_chain(objects.as_ref(), &mut found)?;
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let published = object(objects.as_ref(), "checkpoint")?;
    promises.show("the bucket", &published);
    // The promises.
    let mut places = BTreeMap::new();
    for (index, entry) in (0_u64..).zip(&entries) {
        let text = String::from_utf8_lossy(entry);
        ensure(promises.is_sent(entry), || format!("nobody sent {text}"))?;
        let before = places.insert(entry.clone(), index);
        ensure(before.is_none(), || format!("{text} is at {before:?} and at {index}"))?;
    }
    for (entry, index) in promises.indices() {
        let (text, place) = (String::from_utf8_lossy(&entry), places.get(&entry));
        ensure(place == Some(&index), || format!("{text} was acknowledged at {index}, and is at {place:?}"))?;
    }
    let (mut roots, heads) = (Roots::default(), promises.heads());
    for head in &heads {
        let size = usize::try_from(head.size.get()).map_err(|e| e.to_string())?;
        let leaves = leaves.get(..size).ok_or_else(|| format!("a head of {size}, over {}", leaves.len()))?;
        ensure(roots.of(leaves) == head.root, || format!("the head of {size} is off the chain"))?;
    }
    found.heads = heads.len();
    let last = checkpoint::open(&published, std::slice::from_ref(promises.key()));
    let last = last.map_err(|e| e.to_string())?.get().size.get();
    ensure(last == entries.len() as u64, || format!("the last head is of {last} of {}", entries.len()))?;
    // The tiles: each head has all of its tiles, and every tile in the bucket is right.
    let levels = levels(&leaves);
    let mut expected = BTreeSet::new();
    for head in &heads {
        // Later heads share the full tiles of a head.
        let tiles = tiles_of(usize::try_from(head.size.get()).expect("checked"));
        expected.extend(tiles.into_iter().filter(|tile| head.size.get() == last || tile.contains(".p/")));
    }
    let listed = list(objects.as_ref(), "tile/")?;
    if let Some(lacking) = expected.difference(&listed).next() {
        return Err(format!("{lacking} is missing"));
    }
    let keys: Vec<String> = listed.into_iter().collect();
    for (key, bytes) in keys.iter().zip(read_all(objects.as_ref(), &keys)?) {
        ensure(Some(bytes) == tile(key, &levels, &entries), || format!("{key} is wrong"))?;
    }
    found.tiles = keys.len();
    fsck(objects, promises, &found)?;
    Ok(found)
}

/// Checks that the log's own fsck agrees.
fn fsck(objects: &Arc<dyn Objects>, promises: &Promises, found: &Found) -> Result<(), String> {
    let origin = promises.key().name().clone().into();
    let keys = vec![promises.key().clone()];
    let check = BucketFsck {
        objects: objects.clone(),
        origin,
        keys,
        repair: false,
        threads: READERS,
        progress: &|_, _| (),
    };
    let checked = check.run().map_err(|e| format!("fsck: {e}"))?;
    let seen = (checked.entries.get(), checked.batches, checked.damaged);
    let expected = (found.entries as u64, found.batches as u64, 0);
    ensure(seen == expected, || format!("fsck found {checked:?}"))
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Reads an object that must exist.
fn object(objects: &dyn Objects, key: &str) -> Result<Vec<u8>, String> {
    let object = objects.get(key, LIMIT).map_err(|e| e.to_string())?;
    Ok(object.ok_or_else(|| format!("{key} is missing"))?.bytes)
}

/// Reads objects, several at once.
fn read_all(objects: &dyn Objects, keys: &[String]) -> Result<Vec<Vec<u8>>, String> {
    let next = AtomicUsize::new(0);
    let read = || {
        let mut read = Vec::new();
        while let Some((at, key)) =
            Some(next.fetch_add(1, Ordering::SeqCst)).and_then(|at| Some((at, keys.get(at)?)))
        {
            read.push((at, object(objects, key)?));
        }
        Ok::<_, String>(read)
    };
    let mut all = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        let parts: Result<Vec<_>, _> =
            readers.into_iter().map(|reader| reader.join().expect("no panic")).collect();
        Ok::<_, String>(parts?.concat())
    })?;
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, bytes)| bytes).collect())
}

/// All keys below a prefix.
pub fn list(objects: &dyn Objects, prefix: &str) -> Result<BTreeSet<String>, String> {
    let (mut keys, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = objects.list(prefix, &after, 1_000).map_err(|e| e.to_string())?;
        keys.extend(page.objects.into_iter().map(|listed| listed.key));
        match keys.last() {
            Some(last) if page.more => after.clone_from(last),
            _ => return Ok(keys),
        }
    }
}

/// Reads the entries of all batches, which must form one chain from the empty tree on.
fn read_chain(objects: &dyn Objects, found: &mut Found) -> Result<Vec<Vec<u8>>, String> {
    let (mut entries, mut leaves, mut writers) = (Vec::<Vec<u8>>::new(), Vec::new(), BTreeSet::new());
    let mut roots = Roots::default();
    let keys: Vec<String> = list(objects, "batch/")?.into_iter().collect();
    for (key, bytes) in keys.iter().zip(read_all(objects, &keys)?) {
        let first = entries.len();
        ensure(*key == format!("batch/{first:020}"), || format!("expected a batch at {first}, saw {key}"))?;
        let wrong = |what: &str| format!("{key}: its {what} is wrong");
        let (covered, checksum) = bytes.split_at(bytes.len() - 32);
        ensure(Hash::digest(covered).as_bytes() == checksum, || wrong("checksum"))?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        ensure(&covered[..8] == b"THBAT01\n" && number(&covered[40..48]) == first, || wrong("head"))?;
        ensure(&covered[52..84] == roots.of(&leaves).as_bytes(), || wrong("root before"))?;
        writers.insert(covered[116..132].to_vec());
        let mut rest = &covered[148..];
        for _ in 0..number(&covered[48..52]) {
            let (length, after) = rest.split_at(2);
            let (entry, after) = after.split_at(number(length));
            leaves.push(Hash::leaf(entry));
            entries.push(entry.to_vec());
            rest = after;
        }
        ensure(rest.is_empty() && entries.len() > first, || wrong("number of entries"))?;
        ensure(&covered[84..116] == roots.of(&leaves).as_bytes(), || wrong("root after"))?;
    }
    (found.batches, found.entries, found.writers) = (keys.len(), entries.len(), writers.len());
    Ok(entries)
}

/// Computes roots by the definition in RFC 6962. Caches those of full, aligned subtrees.
#[derive(Default)]
struct Roots(BTreeMap<(usize, usize), Hash>);

impl Roots {
    fn of(&mut self, leaves: &[Hash]) -> Hash {
        self.part(leaves, 0)
    }

    fn part(&mut self, leaves: &[Hash], from: usize) -> Hash {
        match leaves {
            [] => return Hash::EMPTY_ROOT,
            [leaf] => return *leaf,
            _ => {}
        }
        if let Some(root) = self.0.get(&(from, leaves.len())) {
            return *root;
        }
        let half = leaves.len().next_power_of_two() / 2;
        let root = Hash::node(&self.part(&leaves[..half], from), &self.part(&leaves[half..], from + half));
        if leaves.len().is_power_of_two() {
            self.0.insert((from, leaves.len()), root);
        }
        root
    }
}

/// The hashes of each level of tiles.
fn levels(leaves: &[Hash]) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves.to_vec()];
    while levels[levels.len() - 1].len() >= WIDTH {
        let roots =
            levels[levels.len() - 1].chunks_exact(WIDTH).map(|full| Roots::default().of(full)).collect();
        levels.push(roots);
    }
    levels
}

/// The keys of all tiles and bundles of a tree, as c2sp.org/tlog-tiles names them.
pub fn tiles_of(size: usize) -> Vec<String> {
    let (mut keys, mut width, mut level) = (Vec::new(), size, 0);
    while width > 0 {
        let names =
            if level == 0 { vec!["entries".to_owned(), "0".to_owned()] } else { vec![level.to_string()] };
        for name in names {
            keys.extend((0..width / WIDTH).map(|index| format!("tile/{name}/{}", path(index))));
            if !width.is_multiple_of(WIDTH) {
                keys.push(format!("tile/{name}/{}.p/{}", path(width / WIDTH), width % WIDTH));
            }
        }
        (width, level) = (width / WIDTH, level + 1);
    }
    keys
}

fn path(index: usize) -> String {
    assert!(index < 1_000_000);
    if index < 1_000 { format!("{index:03}") } else { format!("x{:03}/{:03}", index / 1_000, index % 1_000) }
}

/// The right bytes of a tile or bundle; `None` if the log has no tile with this key.
fn tile(key: &str, levels: &[Vec<Hash>], entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (level, place) = key.strip_prefix("tile/")?.split_once('/')?;
    let (place, width) = match place.split_once(".p/") {
        Some((place, width)) => (place, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
        None => (place, WIDTH),
    };
    let index: usize = place.replace(['x', '/'], "").parse().ok()?;
    let range = index * WIDTH..index * WIDTH + width;
    if path(index) != place {
        return None;
    }
    if level == "entries" {
        let length = |entry: &[u8]| u16::try_from(entry.len()).expect("entries are short").to_be_bytes();
        return Some(
            entries.get(range)?.iter().flat_map(|entry| [&length(entry), &entry[..]].concat()).collect(),
        );
    }
    let hashes = levels.get(level.parse::<usize>().ok()?)?.get(range)?;
    Some(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
}
