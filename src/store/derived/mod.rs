//! Everything that a store derives from its log's entries and keeps in a local directory: the tree and the index, and the reader
//! that checks entries against them.
//!
//! A store says where its entries lie: [`EntryStorage`].

mod catch_up;
mod checked_bundles;
mod hashing;
pub mod index;
mod reader;
mod rows;
mod tree;

pub use catch_up::{CatchUp, tree_fault};
pub use hashing::{BatchReader, StoredBatch};
#[cfg(feature = "bucket")]
pub use reader::leaf_hashes;
pub use reader::{EntryStorage, Reader, Views, partial_leaves};
pub use rows::{OnRows, RowWriter};
pub use tree::{Cursor, Opened, PLACE_BYTES, Place, Tree, TreeRows};
