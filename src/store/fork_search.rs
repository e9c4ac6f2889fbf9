//! Finds two signed heads that contradict each other, in one pass over the leaves of a tree.

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, LogSigned, SignsFor};
use crate::merkle::{Hash, Plan, RightEdge, TreeSize};
use crate::proof::fork::{ForkEvidence, ProvenFork};

/// Signed heads, and the parts of the tree that prove whether one of them contradicts another.
///
/// The hashes of a consistency proof stand for runs of leaves, so one walk over the leaves makes the proofs of all pairs.
#[derive(Clone)]
pub struct ForkSearch {
    pairs: Arc<[Pair]>,
    /// For each pair, the edges over the smaller tree's leaves and over the runs of the proof.
    edges: Vec<Vec<RightEdge>>,
    size: TreeSize,
}

/// Two heads of different sizes, or of the same.
struct Pair {
    smaller: LogSigned<Checkpoint>,
    larger: LogSigned<Checkpoint>,
    plan: Plan,
    runs: Vec<Range<u64>>,
}

impl Pair {
    fn new(one: &LogSigned<Checkpoint>, other: &LogSigned<Checkpoint>) -> Self {
        let (smaller, larger) = if one.get().size <= other.get().size { (one, other) } else { (other, one) };
        let small = smaller.get().size;
        let plan = Plan::consistency(small, larger.get().size).expect("the smaller one first");
        let runs = plan.nodes().map(|node| node.index << node.level..(node.index + 1) << node.level);
        let runs = std::iter::once(0..small.get()).chain(runs).collect();
        Self { smaller: smaller.clone(), larger: larger.clone(), plan, runs }
    }

    /// Evidence, if the heads contradict each other.
    fn evidence(&self, edges: &[RightEdge], size: TreeSize) -> Option<ForkEvidence> {
        let (a, b) = (self.smaller.get(), self.larger.get());
        let (a_note, b_note) = (self.smaller.note().clone(), self.larger.note().clone());
        if a.size == b.size {
            return (a.root != b.root).then(|| ForkEvidence::same_size(a_note, b_note));
        }
        if size < b.size {
            return None;
        }
        let roots: Vec<Hash> = edges.iter().map(RightEdge::root).collect();
        let (prefix, nodes) = roots.split_first().expect("the first run is the smaller tree");
        (*prefix != a.root).then(|| ForkEvidence::unequal(a_note, b_note, *prefix, self.plan.fold(nodes)))
    }
}

impl ForkSearch {
    /// Begins before the first leaf. The heads are of one log.
    #[must_use]
    pub fn new(heads: &[LogSigned<Checkpoint>]) -> Self {
        let others = |at: usize| heads[at + 1..].iter();
        let pairs: Arc<[Pair]> = heads
            .iter()
            .enumerate()
            .flat_map(|(at, one)| others(at).map(move |other| Pair::new(one, other)))
            .collect();
        let edges = pairs.iter().map(|pair| vec![RightEdge::default(); pair.runs.len()]).collect();
        Self { pairs, edges, size: TreeSize::ZERO }
    }

    /// Takes the next leaves, the first of which has the index `first`. Leaves behind a gap are left out.
    pub fn add(&mut self, first: u64, leaf_hashes: &[Hash]) {
        if first != self.size.get() {
            return;
        }
        let end = first + leaf_hashes.len() as u64;
        let within = |at: u64| usize::try_from(at.clamp(first, end) - first).expect("at most the leaves");
        for (pair, edges) in self.pairs.iter().zip(&mut self.edges) {
            for (run, edge) in pair.runs.iter().zip(edges) {
                edge.extend(&leaf_hashes[within(run.start)..within(run.end)]);
            }
        }
        self.size = self.size.plus(leaf_hashes.len());
    }

    /// The first pair that the leaves so far prove to contradict each other.
    #[must_use]
    pub fn find(&self, keys: &[impl SignsFor]) -> Option<ProvenFork> {
        let pairs = self.pairs.iter().zip(&self.edges);
        let mut proven = pairs.filter_map(|(pair, edges)| pair.evidence(edges, self.size)?.judge(keys).ok());
        proven.next()
    }
}
