//! Tree sizes and leaf indices, as two types so that they can't be confused.

use alloc::string::ToString;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::format::{FormatError, decimal};

/// Largest tree size: 2^63 - 1, which Go and SQL integers can hold too.
pub const MAX_TREE_SIZE: u64 = i64::MAX as u64;

/// Number of leaves in a tree, in `0..=MAX_TREE_SIZE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct TreeSize(u64);

impl TreeSize {
    /// The empty tree.
    pub const ZERO: Self = Self(0);

    /// Makes a size; `None` above [`MAX_TREE_SIZE`].
    #[must_use]
    pub const fn new(size: u64) -> Option<Self> {
        if size <= MAX_TREE_SIZE { Some(Self(size)) } else { None }
    }

    /// The number of leaves.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Parses a decimal without leading zeros; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, MAX_TREE_SIZE).map(Self)
    }

    /// Tells whether a tree of this size has leaf `index`.
    #[must_use]
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }

    /// The index of the next leaf to be appended.
    #[must_use]
    pub const fn next_index(self) -> LeafIndex {
        LeafIndex(self.0)
    }

    /// This size after `count` more leaves.
    ///
    /// # Panics
    /// Past [`MAX_TREE_SIZE`]: at a million leaves a second, after 290,000 years.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self::new(self.0 + count as u64).expect("a log never reaches 2^63 leaves")
    }
}

impl TryFrom<u64> for TreeSize {
    type Error = FormatError;

    fn try_from(size: u64) -> Result<Self, FormatError> {
        Self::new(size)
            .ok_or_else(|| FormatError::malformed("a number", "a tree size below 2^63", size.to_string()))
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a leaf, from zero; always below [`MAX_TREE_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct LeafIndex(u64);

impl LeafIndex {
    /// Makes an index; `None` at or above [`MAX_TREE_SIZE`].
    #[must_use]
    pub const fn new(index: u64) -> Option<Self> {
        if index < MAX_TREE_SIZE { Some(Self(index)) } else { None }
    }

    /// The position.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Parses a decimal without leading zeros; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, MAX_TREE_SIZE - 1).map(Self)
    }

    /// The smallest tree that holds this leaf.
    #[must_use]
    pub const fn size_with(self) -> TreeSize {
        TreeSize(self.0 + 1)
    }

    /// The index `count` leaves later.
    ///
    /// # Panics
    /// At or past [`MAX_TREE_SIZE`].
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        Self::new(self.0 + count as u64).expect("a log never reaches 2^63 leaves")
    }
}

impl TryFrom<u64> for LeafIndex {
    type Error = FormatError;

    fn try_from(index: u64) -> Result<Self, FormatError> {
        Self::new(index).ok_or_else(|| {
            FormatError::malformed("a number", "a leaf index below 2^63 - 1", index.to_string())
        })
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
