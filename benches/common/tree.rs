//! A growing tree, its heads, and proofs between them.

use std::convert::Infallible;

use treehead::merkle::{Hash, Tile, TileReader, TreeSize, prove_consistency, read_root};

/// As a log of a million leaves: proofs have twenty hashes, and some.
const FIRST: u64 = 1_000_000;
/// Leaves between two heads.
const GROWTH: u64 = 7;

/// A head, and the proof that it continues the one before.
pub struct Step {
    pub old: TreeSize,
    pub size: TreeSize,
    pub root: Hash,
    pub proof: Vec<Hash>,
}

/// Hashes of the complete subtrees, by height.
#[derive(Default)]
struct Layers(Vec<Vec<Hash>>);

impl Layers {
    fn push(&mut self, leaf: Hash) {
        let (mut hash, mut level) = (leaf, 0);
        loop {
            if self.0.len() == level {
                self.0.push(Vec::new());
            }
            let layer = &mut self.0[level];
            layer.push(hash);
            if layer.len() % 2 == 1 {
                return;
            }
            hash = Hash::node(&layer[layer.len() - 2], &hash);
            level += 1;
        }
    }
}

impl TileReader for Layers {
    type Error = Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Infallible> {
        let read = |tile: &Tile| {
            let first = usize::try_from(tile.id.index() * 256).expect("a small tree");
            self.0[usize::from(tile.id.level()) * 8][first..first + tile.width()].to_vec()
        };
        Ok(tiles.iter().map(read).collect())
    }
}

/// So many heads, the first from nothing.
pub fn steps(count: usize) -> Vec<Step> {
    let (mut layers, mut steps) = (Layers::default(), Vec::with_capacity(count));
    let (mut old, mut old_root, mut leaves) = (TreeSize::ZERO, Hash::EMPTY_ROOT, 0);
    for at in 0..count as u64 {
        let size = TreeSize::new(FIRST + at * GROWTH).expect("a size");
        while leaves < size.get() {
            layers.push(Hash::leaf(&leaves.to_be_bytes()));
            leaves += 1;
        }
        let Ok(edge) = read_root(&layers, size);
        let root = edge.root();
        let Ok(proof) = prove_consistency(&layers, (old, &old_root), (size, &root));
        steps.push(Step { old, size, root, proof: proof.expect("the tree grows") });
        (old, old_root) = (size, root);
    }
    steps
}
