//! Compares an artifact with one that was rebuilt from source, bit by bit, but for differences that a list allows.
//!
//! [`compare()`] takes two files or two folders, and reads each file once, in pieces. An [`AllowList`] says which byte ranges
//! of a file, and which files of a folder, may differ, each with a reason. Nothing here understands a file format: a rule
//! names bytes or a file. [`Comparison::predicate`] makes the predicate of a SLSA verification summary of the result.

mod allow;
mod compare;
mod content;
mod place;
mod summary;

pub use allow::{AllowList, Allowed, MAX_ALLOW_BYTES, MAX_REASON_BYTES, MAX_RULES, Range, Rule, Start};
pub use compare::{
    AllowedDifference, Around, Comparison, Difference, MAX_AROUND, RebuildError, Seen, Tally, compare,
};
pub use place::{Place, Side};
pub use summary::{About, LEVEL_ALLOWED, LEVEL_IDENTICAL, POLICY_IDENTICAL, REBUILD_FIELD, rebuilt_artifact};

#[cfg(test)]
mod tests;
