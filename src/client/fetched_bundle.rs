//! A bundle of entries as it was fetched.

use std::ops::Range;

use crate::merkle::{Hash, LeafIndex, TreeSize};

/// Consecutive entries, and their leaf hashes; or only those, if the stream was asked for no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Index of the first entry.
    pub first: LeafIndex,
    /// One for each entry.
    pub leaf_hashes: Vec<Hash>,
    /// Bytes that the log sent.
    pub(super) fetched: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Range<usize>>,
}

impl Bundle {
    /// The entries, as they are in the bundle's bytes; none if the stream was asked for
    /// [hashes only](super::StreamOptions::hashes_only).
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.spans.iter().map(|span| &self.bytes[span.clone()])
    }

    /// Number of entries, 1 to 256.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.leaf_hashes.len()
    }

    /// Always false: a bundle has an entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.leaf_hashes.is_empty()
    }

    /// The tree's size after its last entry.
    #[must_use]
    pub fn end(&self) -> TreeSize {
        self.first.size_with().plus(self.len() - 1)
    }

    /// Bytes of memory that it holds.
    pub(super) const fn held_bytes(&self) -> usize {
        let (hashes, spans) = (self.leaf_hashes.len(), self.spans.len());
        self.bytes.capacity() + hashes * size_of::<Hash>() + spans * size_of::<Range<usize>>()
    }
}
