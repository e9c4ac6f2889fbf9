//! Checks a log in a bucket. Re-hashes all batches and compares them with their roots and the signed heads, compares
//! the tiles of the heads with the batches, and the index with the entries.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::cache::BundleCache;
use super::chain::ChainOptions;
use super::follow::ChainReader;
use super::layout::{self, IMMUTABLE};
use super::reader::{BucketEntries, MAX_BUNDLE_BYTES};
use super::tail::Tail;
use super::tiles::PARTIAL;
use super::{Chain, ChainError, Followed, HeadKind, ID_BYTES, WriterId, index_objects, parallel};
use crate::bucket::{BucketError, Objects};
use crate::checkpoint::{Checkpoint, Origin, origin_hash};
use crate::merkle::{
    Hash, LeafIndex, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes,
};
use crate::note::NoteKey;
use crate::proof::bundle;
use crate::store::derived::BatchReader as _;
use crate::store::derived::index::{self, PointerSum};
use crate::store::{Describe, StoreError};

/// Most damaged tiles that a report names.
const MOST_NAMED: usize = 100;
/// Attempts to fetch an index that no server replaces meanwhile.
const INDEX_FETCHES: usize = 3;

/// A check of a log in a bucket. Servers may append meanwhile.
pub struct BucketFsck<'a> {
    /// The bucket, below the log's prefix.
    pub objects: Arc<dyn Objects>,
    /// The log.
    pub origin: Origin,
    /// The keys that sign its heads.
    pub keys: Vec<NoteKey>,
    /// True to rewrite missing and wrong tiles from the batches.
    pub repair: bool,
    /// Concurrent requests.
    pub threads: usize,
    /// Called with the number of entries read and their total.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The scope of a check, in addition to the log in the bucket.
#[derive(Clone, Default)]
pub struct FsckScope<'a> {
    /// Heads that the log signed and that are not in the bucket yet. If there are any, the bucket needs no head, but it
    /// needs the tiles of every size near the end that may have had one.
    pub coming: Vec<Checkpoint>,
    /// Older heads that the caller kept. The log must continue them.
    pub kept: Vec<Checkpoint>,
    /// How to check the index; `None` to skip it.
    pub index: Option<IndexScope<'a>>,
}

/// How to check the index.
#[derive(Clone)]
pub struct IndexScope<'a> {
    /// Computes the index rows of an entry.
    pub describe: Describe,
    /// A directory for its runs.
    pub dir: &'a Path,
}

/// The findings about a log whose batches and heads are correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketChecked {
    /// Number of entries re-hashed.
    pub entries: TreeSize,
    /// Their root.
    pub root: Hash,
    /// Number of batches that hold them.
    pub batches: u64,
    /// Number of tiles and bundles of the heads.
    pub tiles: u64,
    /// Number of these that are missing or wrong, counted before any repair.
    pub damaged: u64,
    /// The first damaged tiles.
    pub named: Vec<WrongObject>,
    /// The published head.
    pub published: Option<Checkpoint>,
    /// The last head that the log signed.
    pub signed: Option<Checkpoint>,
    /// The move that ended the log in this bucket.
    pub sealed: Option<WriterId>,
    /// The state of the index.
    pub index: IndexSeen,
}

/// A tile or bundle that differs from what the batches determine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongObject {
    /// The tile.
    pub tile: Tile,
    /// Its key.
    pub key: String,
    /// Description of the object that the batches determine.
    pub expected: String,
    /// Description of the object that is there.
    pub seen: String,
}

/// The state of the index in a bucket. The index is derived data: a server that starts without a cache rebuilds it from
/// the batches if it is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IndexSeen {
    /// The index was not checked.
    #[default]
    NotChecked,
    /// The bucket has no index.
    None,
    /// The index has the right pointers for this many entries.
    Sound(TreeSize),
    /// The index is wrong: what was expected and seen.
    Wrong(String),
}

impl BucketFsck<'_> {
    /// Re-hashes everything but the index.
    ///
    /// # Errors
    /// [`StoreError::Chain`] if a batch or a head is wrong, or the bucket fails.
    pub fn run(&self) -> Result<BucketChecked, StoreError> {
        self.run_in(&FsckScope::default())
    }

    /// Checks everything in this scope.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`ChainError::Forked`] and [`ChainError::RolledBack`] also if the batches contradict or
    /// do not reach one of the scope's heads.
    pub fn run_in(&self, scope: &FsckScope<'_>) -> Result<BucketChecked, StoreError> {
        let mut index = IndexCheck::begin(self, scope.index.as_ref())?;
        // The check writes no batch, so any id will do.
        let writer = WriterId::from_bytes([0; ID_BYTES]);
        let keys = if scope.coming.is_empty() { self.keys.clone() } else { Vec::new() };
        let options = ChainOptions::new(self.objects.clone(), self.origin.clone(), keys, writer);
        let mut chain =
            Chain::open(options, RightEdge::default(), |_| Ok::<_, StoreError>(Hash::EMPTY_ROOT))?;
        let [published, signed] = HeadKind::ALL.map(|kind| Some(chain.head(kind)?.head.clone()));
        let there = [&published, &signed].into_iter().flatten().chain(&scope.coming);
        let heads: BTreeSet<TreeSize> = there.map(|head| head.size).collect();
        let covered = heads.last().copied().unwrap_or_default();
        let entries = BucketEntries {
            objects: self.objects.clone(),
            origin: origin_hash(self.origin.as_str()),
            tail: Tail::default(),
            cache: BundleCache::new(PathBuf::new(), 0),
            threads: self.threads,
            tree_damaged: AtomicBool::new(false),
        };
        let mut batches = ChainReader::new(&mut chain, &entries, covered);
        let (mut tiles, mut edge) = (Tiles::default(), RightEdge::default());
        let mut checked = BucketChecked {
            entries: edge.size(),
            root: edge.root(),
            batches: 0,
            tiles: 0,
            damaged: 0,
            named: Vec::new(),
            published,
            signed,
            sealed: None,
            index: IndexSeen::NotChecked,
        };
        loop {
            let followed = match batches.next_batch() {
                Err(StoreError::Chain(ChainError::Sealed { mover, .. })) => {
                    checked.sealed = Some(mover);
                    break;
                }
                followed => followed?,
            };
            let Some(followed) = followed else { break };
            let mut own = scope.coming.iter().chain(&scope.kept);
            own.try_for_each(|head| check_passed(&edge, &followed.leaf_hashes, head))?;
            edge = followed.growth.edge.clone();
            checked.batches += 1;
            index.add(&followed);
            // Sizes near the end that heads may have had.
            let is_near =
                !scope.coming.is_empty() && edge.size().get() > covered.get() / TILE_WIDTH * TILE_WIDTH;
            let mut expected = tiles.grow(&followed, heads.contains(&edge.size()) || is_near);
            // A server writes the tiles of the next head shortly before that head.
            expected.retain(|(tile, _)| tile.id.width_in(covered) >= tile.width() as u64);
            self.check(&expected, covered, &mut checked)?;
            let (done, total) = batches.progress();
            (self.progress)(done, total);
        }
        (checked.entries, checked.root) = (edge.size(), edge.root());
        let own = scope.coming.iter().chain(&scope.kept).map(|head| head.size).max();
        if let Some(size) = own.filter(|size| *size > edge.size()) {
            let expected = format!("batches up to tree size {size}, which the log signed");
            return Err(
                ChainError::RolledBack { expected, seen: format!("an end at {}", edge.size()) }.into()
            );
        }
        checked.index = index.end(edge.size());
        Ok(checked)
    }

    /// Compares tiles with the bucket's. If `repair` is set, rewrites those that are missing or wrong.
    pub(super) fn check(
        &self,
        expected: &[(Tile, Vec<u8>)],
        covered: TreeSize,
        checked: &mut BucketChecked,
    ) -> Result<(), StoreError> {
        let (objects, repair) = (self.objects.as_ref(), self.repair);
        let wrong = parallel::map(expected, self.threads, |(tile, bytes)| {
            let key = layout::tile(*tile);
            let seen = match look(objects, &key, bytes)? {
                // A partial tile may be deleted once the full one exists.
                Seen::Missing if !tile.is_full() && tile.id.width_in(covered) == TILE_WIDTH => {
                    return Ok(None);
                }
                Seen::Right => return Ok(None),
                seen => seen.in_words(),
            };
            if repair {
                let headers = if tile.is_full() { IMMUTABLE } else { PARTIAL };
                objects.put(&key, bytes, &headers).map_err(ChainError::from)?;
                let after = look(objects, &key, bytes)?;
                if after != Seen::Right {
                    let detail = format!("expected the bytes just written, saw {}", after.in_words());
                    return Err(StoreError::Damaged { what: key, detail });
                }
            }
            let expected = format!("{} bytes of SHA-256 {}", bytes.len(), Hash::digest(bytes));
            Ok::<_, StoreError>(Some(WrongObject { tile: *tile, key, expected, seen }))
        })?;
        checked.tiles += expected.len() as u64;
        for wrong in wrong.into_iter().flatten() {
            checked.damaged += 1;
            if checked.named.len() < MOST_NAMED {
                checked.named.push(wrong);
            }
        }
        Ok(())
    }
}

/// Reads an object and compares it with the expected bytes.
fn look(objects: &dyn Objects, key: &str, expected: &[u8]) -> Result<Seen, ChainError> {
    Ok(match objects.get(key, MAX_BUNDLE_BYTES) {
        Err(BucketError::TooLarge { limit, .. }) => Seen::TooLarge(limit),
        object => match object?.map(|object| object.bytes) {
            None => Seen::Missing,
            Some(seen) if seen == expected => Seen::Right,
            Some(seen) => Seen::Other(seen.len(), Hash::digest(&seen)),
        },
    })
}

/// Compares the roots when the tree passes the size of a head that is not in the bucket.
fn check_passed(edge: &RightEdge, leaf_hashes: &[Hash], head: &Checkpoint) -> Result<(), ChainError> {
    let passed = head.size.get().checked_sub(edge.size().get()).and_then(|count| usize::try_from(count).ok());
    let Some(leaves) = passed.and_then(|count| leaf_hashes.get(..count)) else { return Ok(()) };
    let root = edge.grow(leaves).edge.root();
    if root == head.root {
        return Ok(());
    }
    let (expected, seen) = (head.root.to_base64(), root.to_base64());
    Err(ChainError::Forked { key: "another head of this log".to_owned(), size: head.size, expected, seen })
}

/// The result of comparing an object with the expected bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Right,
    Missing,
    Other(usize, Hash),
    TooLarge(usize),
}

impl Seen {
    fn in_words(&self) -> String {
        match self {
            Self::Right => "the right one".to_owned(),
            Self::Missing => "none".to_owned(),
            Self::Other(length, digest) => format!("{length} bytes of SHA-256 {digest}"),
            Self::TooLarge(limit) => format!("more than {limit} bytes"),
        }
    }
}

/// The check of the index, which runs while the entries are read.
enum IndexCheck<'a> {
    Done(IndexSeen),
    Sum { scope: &'a IndexScope<'a>, covered: TreeSize, pointers: PointerSum },
}

impl<'a> IndexCheck<'a> {
    /// Fetches the index. The appending server may replace it meanwhile, so a failed check is repeated with a new copy.
    fn begin(fsck: &BucketFsck<'_>, scope: Option<&'a IndexScope<'a>>) -> Result<Self, StoreError> {
        let Some(scope) = scope else { return Ok(Self::Done(IndexSeen::NotChecked)) };
        for _ in 0..INDEX_FETCHES {
            if !index_objects::is_there(fsck.objects.as_ref())? {
                return Ok(Self::Done(IndexSeen::None));
            }
            if let Some(covered) = index_objects::download(fsck.objects.as_ref(), scope.dir, fsck.threads)? {
                return Ok(Self::Sum { scope, covered, pointers: PointerSum::default() });
            }
        }
        let seen = "expected index/manifest and runs that match their names, saw wrong or missing ones";
        Ok(Self::Done(IndexSeen::Wrong(seen.to_owned())))
    }

    fn add(&mut self, batch: &Followed) {
        let Self::Sum { scope, covered, pointers } = self else { return };
        let first = batch.object.head().first.get();
        let leaves = (first..).filter_map(LeafIndex::new).zip(batch.object.entries()).zip(&batch.leaf_hashes);
        for ((index, entry), leaf) in leaves.take_while(|((index, _), _)| covered.contains(*index)) {
            pointers.add_leaf(index, leaf, &(scope.describe)(entry));
        }
    }

    fn end(self, size: TreeSize) -> IndexSeen {
        let (scope, covered, expected) = match self {
            Self::Done(seen) => return seen,
            Self::Sum { scope, covered, pointers } => (scope, covered, pointers),
        };
        if covered > size {
            let detail = format!("expected an index of at most {size} entries, saw one of {covered}");
            return IndexSeen::Wrong(detail);
        }
        match index::sum_up(scope.dir) {
            Ok(seen) if seen == expected => IndexSeen::Sound(covered),
            Ok(seen) => {
                let (expected, seen) = (expected.count(), seen.count());
                let detail =
                    format!("expected {expected} pointers in the index, saw {seen}, some of them different");
                IndexSeen::Wrong(detail)
            }
            Err(error) => IndexSeen::Wrong(error.to_string()),
        }
    }
}

/// Computes the tiles that the batches determine.
#[derive(Default)]
pub(super) struct Tiles {
    partial: PartialTiles,
    /// The last, incomplete bundle.
    bundle: Vec<u8>,
}

impl Tiles {
    /// The tiles that become full with a batch, and the partial tiles if a head ends there.
    pub fn grow(&mut self, batch: &Followed, ends_head: bool) -> Vec<(Tile, Vec<u8>)> {
        let (mut tiles, size) = (Vec::new(), batch.growth.edge.size());
        let full = |id| Tile::new(id, TILE_WIDTH).expect("256 is a width");
        let Ok(()) = self.partial.grow(&batch.growth, |id, hashes| {
            tiles.push((full(id), hashes_to_bytes(hashes)));
            Ok::<(), Infallible>(())
        });
        for (index, entry) in (batch.object.head().first.get()..).zip(batch.object.entries()) {
            bundle::push(&mut self.bundle, entry).expect("read from a batch");
            if (index + 1).is_multiple_of(TILE_WIDTH) {
                let id = TileId::Entries { index: index / TILE_WIDTH };
                tiles.push((full(id), std::mem::take(&mut self.bundle)));
            }
        }
        if ends_head {
            tiles.extend(self.partial.tiles(size).map(|(tile, hashes)| (tile, hashes_to_bytes(hashes))));
            let last = TileId::Entries { index: size.get() / TILE_WIDTH };
            tiles.extend(Tile::in_tree(last, size).map(|tile| (tile, self.bundle.clone())));
        }
        tiles
    }
}
