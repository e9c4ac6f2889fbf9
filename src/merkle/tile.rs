//! Tiles and their paths: c2sp.org/tlog-tiles, "Merkle Tree" and "Log entries".

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use super::{Hash, TreeSize};
use crate::format::{FormatError, decimal, quote};

/// Hashes in a full tile, entries in a full bundle; a tile is a subtree of height 8.
pub const TILE_WIDTH: u64 = 256;
/// log2 of [`TILE_WIDTH`].
pub(super) const TILE_HEIGHT: u32 = 8;
/// Largest `<L>` of the grammar. A tree below 2^63 leaves only has levels 0 to 7.
const MAX_LEVEL: u8 = 63;
/// Longest path that is parsed, in bytes: level, seven index elements, suffix.
const MAX_PATH_BYTES: usize = 64;

/// Names a tile of hashes at a level, or a bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileId {
    /// Hashes. Level 0 holds leaf hashes, level n + 1 the roots of full tiles of level n.
    Hashes {
        /// `<L>`, in 0..=63.
        level: u8,
        /// `<N>`: the tile's index within its level.
        index: u64,
    },
    /// Entries `index * 256 ..`.
    Entries {
        /// `<N>`: the bundle's index.
        index: u64,
    },
}

impl TileId {
    /// `<N>`.
    #[must_use]
    pub const fn index(self) -> u64 {
        match self {
            Self::Hashes { index, .. } | Self::Entries { index } => index,
        }
    }

    /// `<L>`; 0 for bundles, which are as wide as level 0.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Hashes { level, .. } => level,
            Self::Entries { .. } => 0,
        }
    }

    /// The number of hashes or entries it has in a tree of `size`: 0 (absent) to 256 (full).
    #[must_use]
    pub fn width_in(self, size: TreeSize) -> u64 {
        let shift = u32::from(self.level()) * TILE_HEIGHT;
        let at_level = size.get().checked_shr(shift).unwrap_or(0);
        self.index().checked_mul(TILE_WIDTH).map_or(0, |first| at_level.saturating_sub(first).min(TILE_WIDTH))
    }
}

/// A tile with its width.
///
/// ```text
/// tile/<L>/<N>[.p/<W>]          <L>  0 to 63, no leading zero
/// tile/entries/<N>[.p/<W>]      <N>  three-digit elements, all but the last begin with x:
///                                    5 -> 005, 1234067 -> x001/x234/067
///                               <W>  1 to 255, only if the tile is partial
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Which tile.
    pub id: TileId,
    /// Hashes or entries in it, 1 to 256.
    width: u16,
}

impl Tile {
    /// `None` unless `width` is in 1..=256.
    #[must_use]
    pub fn new(id: TileId, width: u64) -> Option<Self> {
        let width = u16::try_from(width).ok().filter(|w| (1..=TILE_WIDTH).contains(&u64::from(*w)))?;
        Some(Self { id, width })
    }

    /// The widest form of `id` in a tree of `size`; `None` if the tree has no such tile.
    #[must_use]
    pub fn in_tree(id: TileId, size: TreeSize) -> Option<Self> {
        Self::new(id, id.width_in(size))
    }

    /// Hashes or entries in it, 1 to 256.
    #[must_use]
    pub const fn width(self) -> usize {
        self.width as usize
    }

    /// Tells whether it is full, and so never changes again.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.width as u64 == TILE_WIDTH
    }

    /// Tells whether it holds entries, not hashes.
    #[must_use]
    pub const fn is_bundle(self) -> bool {
        matches!(self.id, TileId::Entries { .. })
    }

    /// Parses the path below the log's prefix, without a leading slash.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for anything but the one spelling that [`fmt::Display`] writes.
    pub fn parse(path: &str) -> Result<Self, FormatError> {
        let wrong = || {
            FormatError::malformed(
                "a tile path",
                "tile/<0-63>/<N>[.p/<1-255>] or tile/entries/<N>[.p/<1-255>] with N as in x001/x234/067",
                quote(path),
            )
        };
        if path.len() > MAX_PATH_BYTES {
            return Err(wrong());
        }
        let rest = path.strip_prefix("tile/").ok_or_else(wrong)?;
        let (kind, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, decimal(width, TILE_WIDTH - 1).ok_or_else(wrong)?),
            None => (rest, TILE_WIDTH),
        };
        let index = parse_index(number).ok_or_else(wrong)?;
        let id = if kind == "entries" {
            TileId::Entries { index }
        } else {
            let level =
                decimal(kind, MAX_LEVEL.into()).and_then(|l| u8::try_from(l).ok()).ok_or_else(wrong)?;
            TileId::Hashes { level, index }
        };
        Self::new(id, width).ok_or_else(wrong)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            TileId::Hashes { level, .. } => write!(f, "tile/{level}/")?,
            TileId::Entries { .. } => f.write_str("tile/entries/")?,
        }
        let digits = self.id.index().to_string();
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        for (at, element) in padded.as_bytes().chunks(3).enumerate() {
            let last = (at + 1) * 3 == padded.len();
            let text = core::str::from_utf8(element).expect("ASCII digits");
            write!(f, "{}{text}{}", if last { "" } else { "x" }, if last { "" } else { "/" })?;
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

fn parse_index(path: &str) -> Option<u64> {
    let elements: Vec<&str> = path.split('/').collect();
    let (last, leading) = elements.split_last()?;
    let mut index: u64 = 0;
    let marked = leading.iter().map(|e| e.strip_prefix('x'));
    for digits in marked.chain([Some(*last)]) {
        let digits = digits.filter(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()))?;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    // `x000/001` is a second spelling of `001`.
    let canonical = leading.is_empty() || leading[0] != "x000";
    // Tile indices count leaves divided by 256 or more; anything larger is not in any tree.
    (canonical && index <= super::MAX_TREE_SIZE / TILE_WIDTH).then_some(index)
}

/// Every tile of a tree of `size`, lowest level first, partial ones included, then every bundle.
pub fn tiles_of(size: TreeSize) -> impl Iterator<Item = Tile> {
    let levels = (0..=7_u8).flat_map(move |level| {
        let at_level = size.get() >> (u32::from(level) * TILE_HEIGHT);
        (0..at_level.div_ceil(TILE_WIDTH)).map(move |index| TileId::Hashes { level, index })
    });
    let bundles = (0..size.get().div_ceil(TILE_WIDTH)).map(|index| TileId::Entries { index });
    levels.chain(bundles).filter_map(move |id| Tile::in_tree(id, size))
}

/// Decodes a tile's bytes; `None` unless they are exactly `width` hashes.
#[must_use]
pub fn hashes_from_bytes(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (chunks, rest) = bytes.as_chunks::<{ super::HASH_BYTES }>();
    (rest.is_empty() && chunks.len() == width).then(|| chunks.iter().map(|c| Hash::from_bytes(*c)).collect())
}

/// Encodes hashes as a tile's bytes.
#[must_use]
pub fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hashes.len() * super::HASH_BYTES);
    hashes.iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
    bytes
}
