//! A history of a log, in memory: entries, tiles, heads. Slow and simple.

use std::time::{SystemTime, UNIX_EPOCH};

use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::{Checkpoint, LogSigner};
use treehead::merkle::{Hash, Tile, TileId, TreeSize, hashes_to_bytes};
use treehead::note::NoteSigner;
use treehead::proof::bundle;

use super::super::log::{leaf_hashes, root_of};

/// A history as a log tells it.
#[derive(Clone)]
pub struct Branch {
    pub entries: Vec<Vec<u8>>,
    /// The hashes of full tiles' roots by tile level; the leaves at level 0.
    levels: Vec<Vec<Hash>>,
    /// The number of entries under the head, if not all.
    pub published: usize,
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Branch {
    pub fn new(entries: Vec<Vec<u8>>) -> Self {
        let mut levels = vec![leaf_hashes(&entries)];
        while let Some(level) = levels.last().filter(|level| level.len() >= 256) {
            let roots = level.chunks_exact(256).map(root_of).collect();
            levels.push(roots);
        }
        Self { published: entries.len(), entries, levels }
    }

    /// This history up to `size`, and then other entries.
    pub fn forked(&self, size: usize, others: &[Vec<u8>]) -> Self {
        Self::new([&self.entries[..size], others].concat())
    }

    pub fn size(&self) -> TreeSize {
        TreeSize::new(self.published as u64).expect("a small tree")
    }

    pub fn head_at(&self, size: usize, origin: &LogSigner) -> Checkpoint {
        let root = root_of(&self.levels[0][..size]);
        Checkpoint::new(origin.origin().clone(), TreeSize::new(size as u64).expect("a small tree"), root)
    }

    /// The head over the first `size` entries, cosigned at `time`.
    pub fn note(&self, size: usize, log: &LogSigner, witnesses: &[NoteSigner], time: u64) -> String {
        let head = self.head_at(size, log);
        let mut note = log.sign(&head, time);
        witnesses.iter().for_each(|witness| note.push(cosign(&head, witness, time)));
        note.to_string()
    }

    /// A tile or bundle, if the head's tree has it in this width.
    pub fn tile(&self, tile: Tile) -> Option<Vec<u8>> {
        if tile.width() as u64 > tile.id.width_in(self.size()) {
            return None;
        }
        let first = usize::try_from(tile.id.index() * 256).expect("a small tree");
        let run = first..first + tile.width();
        Some(match tile.id {
            TileId::Hashes { level, .. } => hashes_to_bytes(&self.levels[usize::from(level)][run]),
            TileId::Entries { .. } => bundle_of(&self.entries[run]),
        })
    }
}

pub fn bundle_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| bundle::push(&mut bytes, entry).expect("an entry that fits"));
    bytes
}
