//! Checks a log from outside: every bundle and every tile that it serves, against the head that it signed.

use super::{ClientError, EntryStream, LogClient, StreamOptions};
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::merkle::{Hash, PartialTiles, RightEdge, Tile, TileReader as _, TreeSize};
use crate::proof::fork::{ForkEvidence, compare_heads};
use crate::threads;

/// Tiles compared in one batch.
const TOGETHER: usize = 64;
/// Tiles requested at once: as many as bundles.
const AT_ONCE: usize = 4;

/// The first fault of a served log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The log did not answer, or its answers do not hash to the signed root.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A tile does not match its entries.
    #[error("{tile}, hash {at}: expected {expected} from its entries, saw {seen}")]
    Tile {
        /// The tile.
        tile: Tile,
        /// Position of the hash in the tile.
        at: usize,
        /// The hash of its entries.
        expected: Hash,
        /// The hash in the tile that the log serves.
        seen: Hash,
    },
    /// The kept head is of another log.
    #[error("a head of another log: expected origin {expected}, saw {seen}")]
    OtherLog {
        /// The served log's origin.
        expected: String,
        /// The kept head's.
        seen: String,
    },
    /// The log serves an older head than the kept one.
    #[error("the log serves an older head than one it signed: expected at least size {kept}, saw {served}")]
    RolledBack {
        /// Size of the kept head.
        kept: TreeSize,
        /// Size of the served head.
        served: TreeSize,
    },
    /// The served head contradicts the kept one.
    #[error("the log signed two histories")]
    Fork(Box<ForkEvidence>),
}

/// Checks that the head that a log serves continues a head kept from before.
///
/// # Errors
/// [`AuditError`].
pub fn check_continues(
    client: &LogClient,
    kept: &LogSigned<Checkpoint>,
    served: &LogSigned<Checkpoint>,
) -> Result<(), AuditError> {
    let (old, new) = (kept.get(), served.get());
    if old.origin != new.origin {
        let (expected, seen) = (new.origin.to_string(), old.origin.to_string());
        return Err(AuditError::OtherLog { expected, seen });
    }
    if new.size < old.size {
        return Err(AuditError::RolledBack { kept: old.size, served: new.size });
    }
    match compare_heads(client, kept, served)?.map_err(ClientError::from)? {
        None => Ok(()),
        Some(fork) => Err(AuditError::Fork(Box::new(fork))),
    }
}

/// Fetches and re-hashes everything up to `head`, compares each tile with those that the log serves, and returns their
/// number. Calls `progress` with the number of entries done.
///
/// # Errors
/// [`AuditError`] for the first fault.
pub fn audit(client: &LogClient, head: &Checkpoint, progress: &dyn Fn(u64)) -> Result<u64, AuditError> {
    let mut tiles = Comparison { remote: client, waiting: Vec::new(), count: 0 };
    let (mut edge, mut partial) = (RightEdge::default(), PartialTiles::default());
    let options = StreamOptions { hashes_only: true, ..StreamOptions::default() };
    for bundle in EntryStream::new(client, TreeSize::ZERO..head.size, &options) {
        let bundle = bundle.map_err(|error| tiles.first_wrong_or(error))?;
        let growth = edge.grow(&bundle.leaf_hashes);
        partial.grow(&growth, |id, hashes| tiles.add(Tile::new(id, 256).expect("256 is a width"), hashes))?;
        edge = growth.edge;
        progress(edge.size().get());
    }
    for (tile, hashes) in partial.tiles(head.size) {
        tiles.add(tile, hashes)?;
    }
    tiles.compare()?;
    if edge.root() != head.root {
        let (size, expected, seen) = (head.size, head.root, edge.root());
        return Err(ClientError::Entries { size, expected, seen }.into());
    }
    Ok(tiles.count)
}

/// Compares the tiles computed from entries with those that the log serves.
struct Comparison<'a> {
    remote: &'a LogClient,
    /// Tiles to compare, in the order in which the entries completed them.
    waiting: Vec<(Tile, Vec<Hash>)>,
    count: u64,
}

impl Comparison<'_> {
    fn add(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), AuditError> {
        self.count += 1;
        self.waiting.push((tile, hashes.to_vec()));
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.compare() }
    }

    /// Compares the waiting tiles, several at once. If several are wrong, reports the first.
    fn compare(&mut self) -> Result<(), AuditError> {
        let waiting = std::mem::take(&mut self.waiting);
        let remote = &self.remote;
        let parts: Vec<&[(Tile, Vec<Hash>)]> =
            waiting.chunks(waiting.len().div_ceil(AT_ONCE).max(1)).collect();
        let compare_part = |tiles: &&[(Tile, Vec<Hash>)]| {
            tiles.iter().try_for_each(|(tile, hashes)| compare(remote, *tile, hashes))
        };
        threads::map(&parts, AT_ONCE, compare_part).into_iter().collect()
    }

    /// Reports a wrong tile before a bundle that failed.
    fn first_wrong_or(&mut self, error: ClientError) -> AuditError {
        self.compare().err().unwrap_or_else(|| error.into())
    }
}

fn compare(remote: &LogClient, tile: Tile, expected: &[Hash]) -> Result<(), AuditError> {
    let seen = remote.read_tiles(&[tile])?.remove(0);
    match seen.iter().zip(expected).position(|(seen, expected)| seen != expected) {
        None => Ok(()),
        Some(at) => Err(AuditError::Tile { tile, at, expected: expected[at], seen: seen[at] }),
    }
}
