//! Bringing tree and index up to the entries.

use super::hashing::{BatchReader, Group, StoredBatch as _, hash_ahead};
use super::index::{IndexOptions, IndexRows, IndexWriter, Indexed};
use super::reader::{EntryStorage, split};
use super::rows::RowWriter;
use super::tree::{Place, Tree};
use crate::merkle::{Growth, Hash, LeafIndex, TILE_WIDTH, TreeSize, read_root};
use crate::release::Facts;
use crate::store::{Describe, StoreError};

/// A larger tree takes more than a second or two to index, which the program then tells.
const TELL_LEAVES: u64 = 100_000;

/// A tree, and an index that may have some of its leaves already.
pub struct CatchUp<'a, E> {
    entries: &'a E,
    describe: &'a Describe,
    tree: &'a Tree,
    writer: IndexWriter,
    /// Leaves that the index had when it was opened.
    indexed: Indexed,
    /// True if they are leaves of this tree.
    compared: bool,
}

/// The places of a group of batches: of the bundles that begin in them, and of the last batch.
pub type Places = (Vec<(u64, Place)>, Place);

impl<'a, E: EntryStorage> CatchUp<'a, E> {
    /// Opens the index, and indexes the leaves of the tree that it lacks.
    ///
    /// # Errors
    /// [`StoreError`]; [`tree_fault`] says whether sled may be at fault.
    pub fn open(
        options: IndexOptions,
        tree: &'a Tree,
        entries: &'a E,
        describe: &'a Describe,
    ) -> Result<Self, StoreError> {
        let (writer, indexed) = IndexWriter::open(options)?;
        let mut index = Self { entries, describe, tree, writer, indexed, compared: false };
        index.index_applied()?;
        Ok(index)
    }

    fn index_applied(&mut self) -> Result<(), StoreError> {
        let size = self.tree.peaks().size().get();
        let mut next = self.indexed.size.get();
        if next == 0 && size > TELL_LEAVES {
            tracing::info!(leaves = size, "rebuilding the index from the entries");
        }
        while next < size {
            let (number, skip) = (next / TILE_WIDTH, usize::try_from(next % TILE_WIDTH).expect("below 256"));
            let full = (size / TILE_WIDTH).min(number + self.entries.bundles_at_once());
            let (bundles, width) = if number < full {
                (self.entries.read_bundles(self.tree, number..full)?, TILE_WIDTH)
            } else {
                let width = usize::try_from(size % TILE_WIDTH).expect("below 256");
                (vec![self.entries.read_bundle(self.tree, number, width)?], size % TILE_WIDTH)
            };
            let width = usize::try_from(width).expect("at most 256");
            for (number, bytes) in (number..).zip(&bundles) {
                let entries = split(self.entries, bytes, number, width)?;
                let entries = if number * TILE_WIDTH < next { &entries[skip..] } else { &entries[..] };
                let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
                let facts: Vec<Facts> = entries.iter().map(|entry| (self.describe)(entry)).collect();
                let first = LeafIndex::new(next).expect("below the tree's size");
                next += entries.len() as u64;
                let edge = &read_root(self.tree, TreeSize::new(next).expect("at most the tree's size"))?;
                let bytes = bytes.len();
                self.push(IndexRows { first, leaf_hashes: &leaf_hashes, facts: &facts, edge, bytes })?;
            }
        }
        Ok(())
    }

    /// Applies the batches that are left in a reader, several small ones at once. `check` compares the last of a group with
    /// the growth that they make together, before the tree has it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of the reader and of `check`.
    pub fn apply<R: BatchReader>(
        &mut self,
        rows: &RowWriter,
        reader: &mut R,
        mut check: impl FnMut(&Group<R::Batch>, &Growth) -> Result<Places, StoreError>,
    ) -> Result<(), StoreError> {
        hash_ahead(reader, self.describe, |group| {
            let first = group.batches.first().expect("at least one batch").first();
            let first = LeafIndex::new(first).expect("checked when it was read");
            let growth = self.tree.peaks().grow(&group.leaf_hashes);
            let (bundles, place) = check(&group, &growth)?;
            rows.apply(&growth, &bundles, place)?;
            if growth.edge.size() > self.indexed.size {
                let (edge, leaf_hashes) = (&growth.edge, &group.leaf_hashes);
                self.push(IndexRows { first, leaf_hashes, facts: &group.facts, edge, bytes: group.bytes })?;
            }
            Ok(())
        })
    }

    /// The leaves that the index had when it was opened.
    #[cfg(feature = "bucket")]
    pub const fn indexed(&self) -> Indexed {
        self.indexed
    }

    /// Ends catching up, after everything was applied.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if the index is not this tree's.
    pub fn finish(mut self) -> Result<IndexWriter, StoreError> {
        if self.indexed.size > self.tree.peaks().size() {
            return Err(StoreError::TreeDamaged { detail: "its index is ahead of its tree".to_owned() });
        }
        self.compare()?;
        Ok(self.writer)
    }

    /// Checks that the index is of this tree, which has all of its leaves.
    fn compare(&mut self) -> Result<(), StoreError> {
        let Indexed { size, root } = self.indexed;
        if !self.compared && read_root(self.tree, size)?.root() != root {
            return Err(StoreError::TreeDamaged { detail: "its index is another tree's".to_owned() });
        }
        self.compared = true;
        Ok(())
    }

    /// Pushes the rows that the index lacks. The tree has them already.
    fn push(&mut self, rows: IndexRows<'_>) -> Result<(), StoreError> {
        self.compare()?;
        let known = self.indexed.size.get().saturating_sub(rows.first.get());
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        if known < rows.leaf_hashes.len() { self.writer.push(rows.skip(known)) } else { Ok(()) }
    }
}

/// Why the tree has to be rebuilt before anything else is blamed, without advice to operators; `None` for an error
/// that has another cause. Opening a tree re-hashes only its right edge: if anything else in it does not check, the
/// entries may seem to be at fault.
pub fn tree_fault(error: &StoreError) -> Option<String> {
    match error {
        StoreError::TreeDamaged { detail } => Some(detail.clone()),
        StoreError::JournalForked { size, expected, seen } => {
            Some(format!("expected root {expected} at tree size {size}, computed {seen}"))
        }
        _ => None,
    }
}
