//! Tree sizes and leaf indices, as two types so that they can't be confused.

use alloc::string::ToString;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::format::{FormatError, decimal};

/// Largest tree size: 2^63 - 1, which Go and SQL integers can hold too.
pub const MAX_TREE_SIZE: u64 = i64::MAX as u64;

/// Declares a number of leaves, below `$end`; `$expected` describes it in errors.
macro_rules! leaves {
    ($(#[$about:meta])* $type:ident below $end:expr, $expected:literal) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64")]
        pub struct $type(u64);

        impl $type {
            /// Checks a number; `None` if it is too large.
            #[must_use]
            pub const fn new(number: u64) -> Option<Self> {
                if number < $end { Some(Self(number)) } else { None }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Parses a decimal without leading zeros; `None` for anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                decimal(text, $end - 1).map(Self)
            }

            /// The number after `count` more leaves.
            ///
            /// # Panics
            /// Past the largest: at a million leaves a second, after 290,000 years.
            #[must_use]
            pub fn plus(self, count: usize) -> Self {
                Self::new(self.0 + count as u64).expect("a log never reaches 2^63 leaves")
            }
        }

        impl TryFrom<u64> for $type {
            type Error = FormatError;

            fn try_from(number: u64) -> Result<Self, FormatError> {
                Self::new(number)
                    .ok_or_else(|| FormatError::malformed("a number", $expected, number.to_string()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

leaves! {
    /// Number of leaves in a tree, in `0..=MAX_TREE_SIZE`.
    #[derive(Default)]
    TreeSize below MAX_TREE_SIZE + 1, "a tree size below 2^63"
}

leaves! {
    /// Position of a leaf, from zero; always below [`MAX_TREE_SIZE`].
    LeafIndex below MAX_TREE_SIZE, "a leaf index below 2^63 - 1"
}

impl TreeSize {
    /// The empty tree.
    pub const ZERO: Self = Self(0);

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
}

impl LeafIndex {
    /// The smallest tree that holds this leaf.
    #[must_use]
    pub const fn size_with(self) -> TreeSize {
        TreeSize(self.0 + 1)
    }
}
