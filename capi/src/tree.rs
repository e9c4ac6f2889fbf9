//! Trees, tiles and proofs.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use treehead::merkle::{
    Hash, LeafIndex, ProofError, RightEdge, TILE_WIDTH, Tile, TileId, TileReader, TreeSize,
    hashes_from_bytes, prove_inclusion, prove_prefix, verify_consistency, verify_inclusion,
};
use treehead::proof::bundle;

use crate::args;
use crate::fail::{Done, Fail, th_status};
use crate::object::{Handle as _, Object, handle};
use crate::out::{Out, put_hashes};
use crate::text::{put_text, status, th_text};

/// Entries in a bundle, hashes in a tile.
#[expect(clippy::cast_possible_truncation, reason = "256")]
const FULL: usize = TILE_WIDTH as usize;
/// Bytes of a hash.
const HASH: usize = 32;

pub(crate) unsafe fn hash(data: *const u8) -> Done<Hash> {
    args::hash(data).copied().map(Hash::from_bytes)
}

unsafe fn hashes(data: *const u8, count: usize) -> Done<Vec<Hash>> {
    let length = count.checked_mul(HASH).ok_or_else(|| Fail::argument("a count of hashes is too large"))?;
    let bytes = args::bytes(data, length)?;
    hashes_from_bytes(bytes, count).ok_or_else(|| Fail::argument("hashes are not 32 bytes each"))
}

fn size(number: u64) -> Done<TreeSize> {
    TreeSize::new(number).ok_or_else(|| Fail::argument("a tree size is 2^63 or larger"))
}

fn index(number: u64) -> Done<LeafIndex> {
    LeafIndex::new(number).ok_or_else(|| Fail::argument("a leaf index is too large"))
}

/// A proof that does not hold.
fn refused(error: &ProofError) -> Fail {
    Fail::new(th_status::TH_REFUSED, error.to_string())
}

/// The leaf hash of an entry: 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_leaf_hash(entry: *const u8, length: usize, hash: *mut u8) -> th_status {
    status((|| {
        let out = Out::new(hash.cast::<[u8; HASH]>())?;
        out.set(*Hash::leaf(args::bytes(entry, length)?).as_bytes());
        Ok(())
    })())
}

/// The leaf hashes of all entries of a bundle (/tile/entries/...), 32 bytes each, and their number, at most 256.
/// TH_TOO_SMALL if there is not room for all of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_bundle_hashes(
    bundle: *const u8,
    length: usize,
    hashes: *mut u8,
    capacity: usize,
    count: *mut usize,
) -> th_status {
    status((|| {
        let count = Out::new(count)?;
        let entries = bundle::split(args::bytes(bundle, length)?, FULL)?;
        put(entries.iter().map(|entry| *Hash::leaf(entry).as_bytes()), (hashes, capacity), Some(&count))
    })())
}

/// The root of a whole tree, a subtree or a tile over these hashes, 32 bytes each, as RFC 6962 section 2.1 has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_tree_root(hashes: *const u8, count: usize, root: *mut u8) -> th_status {
    status((|| {
        let out = Out::new(root.cast::<[u8; HASH]>())?;
        let mut edge = RightEdge::default();
        edge.extend(&self::hashes(hashes, count)?);
        out.set(*edge.root().as_bytes());
        Ok(())
    })())
}

/// The root of the two subtrees with these roots: SHA-256 of a 1 and both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_node_hash(left: *const u8, right: *const u8, node: *mut u8) -> th_status {
    status((|| {
        let out = Out::new(node.cast::<[u8; HASH]>())?;
        out.set(*Hash::node(&self::hash(left)?, &self::hash(right)?).as_bytes());
        Ok(())
    })())
}

/// Checks the inclusion of a leaf hash in a tree, by a proof of `count` hashes. TH_REFUSED if it does not hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_inclusion_check(
    index: u64,
    size: u64,
    leaf: *const u8,
    proof: *const u8,
    count: usize,
    root: *const u8,
) -> th_status {
    status((|| {
        let (index, size) = (self::index(index)?, self::size(size)?);
        let proof = hashes(proof, count)?;
        verify_inclusion(index, size, &hash(leaf)?, &proof, &hash(root)?).map_err(|e| refused(&e))
    })())
}

/// Checks that the tree of `size` continues that of `old_size`, by a proof of `count` hashes. TH_REFUSED if it does not
/// hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_consistency_check(
    old_size: u64,
    old_root: *const u8,
    size: u64,
    root: *const u8,
    proof: *const u8,
    count: usize,
) -> th_status {
    status((|| {
        let (old, new) = (self::size(old_size)?, self::size(size)?);
        let (old_root, root) = (hash(old_root)?, hash(root)?);
        verify_consistency((old, &old_root), (new, &root), &hashes(proof, count)?).map_err(|e| refused(&e))
    })())
}

/// The path of a tile below a log's address, as wide as a tree of `size` has it: "tile/0/x001/234.p/5". Level -1 is that
/// of the entry bundles. Writes the number of hashes or entries to `width`, which may be NULL. TH_REFUSED if the tree has
/// no such tile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_tile_path(
    level: i32,
    index: u64,
    size: u64,
    path: *mut th_text,
    width: *mut usize,
) -> th_status {
    status((|| {
        let width = Out::optional(width)?;
        let id = match u8::try_from(level) {
            Ok(level @ 0..=63) => TileId::Hashes { level, index },
            _ if level == -1 => TileId::Entries { index },
            _ => return Err(Fail::argument("a tile's level is neither -1 nor 0 to 63")),
        };
        let none = || Fail::new(th_status::TH_REFUSED, "the tree has no such tile");
        let tile = Tile::in_tree(id, self::size(size)?).ok_or_else(none)?;
        width.into_iter().for_each(|out| out.set(tile.width()));
        put_text(path, &tile.to_string())
    })())
}

/// A plan of the tiles that a proof is made of. Fetch each, put it in, and ask for what it proves. One thread at a time.
pub struct th_plan(Object<Planned>);

handle!(th_plan of Planned, b"plan");

/// The tiles of a proof, as far as they are there.
pub(crate) struct Planned {
    what: What,
    tiles: Vec<Tile>,
    hashes: Vec<Option<Vec<Hash>>>,
}

/// The statement to prove.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A leaf of a tree.
    Inclusion(LeafIndex, TreeSize),
    /// The first leaves of a tree, and the whole tree.
    Prefix(TreeSize, TreeSize),
}

/// Reads nothing, and tells what would have been read.
struct Asked;

impl TileReader for Asked {
    type Error = Vec<Tile>;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Vec<Tile>> {
        Err(tiles.to_vec())
    }
}

impl TileReader for Planned {
    type Error = Fail;

    fn read_tiles(&self, tiles: &[Tile]) -> Done<Vec<Vec<Hash>>> {
        let read = |tile: &Tile| {
            let at = self.tiles.iter().position(|planned| planned == tile);
            at.and_then(|at| self.hashes[at].clone())
                .ok_or_else(|| Fail::new(th_status::TH_COULD_NOT_TELL, alloc::format!("{tile} is missing")))
        };
        tiles.iter().map(read).collect()
    }
}

impl Planned {
    fn new(what: What) -> Done<Self> {
        // The proof functions read all tiles at once, and nothing without them.
        let nothing = Hash::EMPTY_ROOT;
        let asked = match what {
            What::Inclusion(index, size) => {
                prove_inclusion(&Asked, index, &nothing, size, &nothing).map(|proof| proof.map(drop))
            }
            What::Prefix(small, large) => {
                prove_prefix(&Asked, small, (large, &nothing)).map(|prefix| prefix.map(drop))
            }
        };
        let tiles = match asked {
            Err(tiles) => tiles,
            Ok(Err(e)) => return Err(Fail::argument(&e.to_string())),
            Ok(Ok(())) => Vec::new(),
        };
        Ok(Self { what, hashes: alloc::vec![None; tiles.len()], tiles })
    }

    fn tile(&self, at: usize) -> Done<Tile> {
        self.tiles.get(at).copied().ok_or_else(|| Fail::argument("the plan has no such tile"))
    }

    /// Whether it is about the first `small` leaves of a tree of `large`.
    pub fn is_prefix(&self, small: TreeSize, large: TreeSize) -> bool {
        self.what == What::Prefix(small, large)
    }
}

unsafe fn new_plan(what: impl FnOnce() -> Done<What>, plan: *mut *mut th_plan) -> th_status {
    status((|| {
        let out = Out::new(plan)?;
        out.set(th_plan::boxed(Planned::new(what()?)?));
        Ok(())
    })())
}

/// Plans the inclusion of a leaf in a tree.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_inclusion(index: u64, size: u64, plan: *mut *mut th_plan) -> th_status {
    new_plan(|| Ok(What::Inclusion(self::index(index)?, self::size(size)?)), plan)
}

/// Plans the root of a smaller tree and its consistency with a larger one, from tiles of the larger one alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_prefix(old_size: u64, size: u64, plan: *mut *mut th_plan) -> th_status {
    new_plan(|| Ok(What::Prefix(self::size(old_size)?, self::size(size)?)), plan)
}

/// The number of tiles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_tiles(plan: *const th_plan) -> usize {
    th_plan::lock(plan).map_or(0, |planned| planned.tiles.len())
}

/// The path of a tile, "tile/0/x001/234.p/5", and the number of its hashes. A log that has dropped a partial tile has the
/// full one: the same path without ".p/5"; th_plan_put takes either.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_tile(
    plan: *const th_plan,
    at: usize,
    path: *mut th_text,
    hashes: *mut usize,
) -> th_status {
    status((|| {
        let hashes = Out::optional(hashes)?;
        let tile = th_plan::lock(plan)?.tile(at)?;
        hashes.into_iter().for_each(|out| out.set(tile.width()));
        put_text(path, &tile.to_string())
    })())
}

/// Puts a tile in: its hashes, 32 bytes each. TH_MALFORMED for another number of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_put(
    plan: *mut th_plan,
    at: usize,
    tile: *const u8,
    length: usize,
) -> th_status {
    status((|| {
        let bytes = args::bytes(tile, length)?;
        let mut planned = th_plan::lock(plan)?;
        let width = planned.tile(at)?.width();
        let given = if length == FULL * HASH { &bytes[..width * HASH] } else { bytes };
        let wrong = || {
            let message =
                alloc::format!("{} has {width} hashes of 32 bytes, saw {length} bytes", planned.tiles[at]);
            Fail::new(th_status::TH_MALFORMED, message)
        };
        let hashes = hashes_from_bytes(given, width).ok_or_else(wrong)?;
        planned.hashes[at] = Some(hashes);
        Ok(())
    })())
}

/// Whether the tiles prove that the leaf is in the tree with this root. The proof's hashes (32 bytes each, at most 64) and
/// their number are written to `proof` and `count`, which may be NULL. TH_REFUSED if they do not; TH_COULD_NOT_TELL if
/// tiles are missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_prove_inclusion(
    plan: *const th_plan,
    leaf: *const u8,
    root: *const u8,
    proof: *mut u8,
    capacity: usize,
    count: *mut usize,
) -> th_status {
    status((|| {
        let count = Out::optional(count)?;
        let planned = th_plan::lock(plan)?;
        let What::Inclusion(index, size) = planned.what else {
            return Err(Fail::argument("the plan is not of th_plan_inclusion"));
        };
        let proven = prove_inclusion(&*planned, index, &hash(leaf)?, size, &hash(root)?)?;
        put_proof(&proven.map_err(|e| refused(&e))?, (proof, capacity), count.as_ref())
    })())
}

/// Writes the root that the tree with this root had at the smaller size, and the proof, as th_plan_prove_inclusion does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_prove_prefix(
    plan: *const th_plan,
    root: *const u8,
    old_root: *mut u8,
    proof: *mut u8,
    capacity: usize,
    count: *mut usize,
) -> th_status {
    status((|| {
        let (old_root, count) = (Out::new(old_root.cast::<[u8; HASH]>())?, Out::optional(count)?);
        let planned = th_plan::lock(plan)?;
        let What::Prefix(small, large) = planned.what else {
            return Err(Fail::argument("the plan is not of th_plan_prefix"));
        };
        let prefix = prove_prefix(&*planned, small, (large, &hash(root)?))?.map_err(|e| refused(&e))?;
        put_proof(&prefix.proof, (proof, capacity), count.as_ref())?;
        old_root.set(*prefix.root.as_bytes());
        Ok(())
    })())
}

/// Frees a plan.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_plan_free(plan: *mut th_plan) {
    th_plan::free(plan);
}

/// Writes a proof, if anybody wants it.
unsafe fn put_proof(proof: &[Hash], room: (*mut u8, usize), count: Option<&Out<usize>>) -> Done {
    if room.0.is_null() && room.1 == 0 {
        count.into_iter().for_each(|count| count.set(proof.len()));
        return Ok(());
    }
    put(proof.iter().map(|hash| *hash.as_bytes()), room, count)
}

unsafe fn put(
    hashes: impl ExactSizeIterator<Item = [u8; HASH]>,
    room: (*mut u8, usize),
    count: Option<&Out<usize>>,
) -> Done {
    if put_hashes(hashes, room, count)? {
        return Ok(());
    }
    Err(Fail::new(th_status::TH_TOO_SMALL, "there is not room for all hashes"))
}
