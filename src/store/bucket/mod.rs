//! A log in a bucket: an object store with conditional writes holds the [chain](Chain) of batches, the tiles and the
//! heads; what is on the disk is a cache. Several servers may share a log: a [lease](Lease) decides which one tries to
//! append, and the condition on each batch's key decides which one did.

mod backup;
mod batch_object;
mod cache;
mod chain;
mod chain_error;
mod cold;
mod export;
mod follow;
mod fsck;
mod index_objects;
pub mod layout;
mod lease;
mod lease_keeper;
mod local;
mod make;
mod moving;
mod options;
mod parallel;
mod reader;
mod repair;
mod seal;
mod store;
mod tail;
mod tiles;
mod uploader;

pub use backup::{BucketToCopy, heads_in};
pub use batch_object::{BatchHead, BatchObject, HEAD_BYTES, ID_BYTES, MAX_OBJECT_BYTES, WriterId};
pub use chain::{Appended, Chain, ChainOptions, Followed, HeadReplaced, Nonces, Sealed};
pub use chain_error::ChainError;
pub use export::ExportBucket;
pub use fsck::{BucketChecked, BucketFsck, FsckScope, IndexScope, IndexSeen, WrongObject};
pub use layout::HeadKind;
pub use lease::{Decision, Lease, LeaseRecord, MAX_SECONDS, Observed, decide};
pub use lease_keeper::{LeaseKeeper, LeaseState};
pub use make::{MakeError, make, recognise};
pub use moving::{
    BucketSource, MoveError, MoveToBucket, MoveToDirectory, MovedToBucket, MovedToDirectory, discard_cache,
    finish_move, is_moving, set_journal_aside,
};
pub use options::BucketOptions;
pub use repair::{BucketRepair, BundleSource, Mended, Mending, NamedSource, SourceHeads};
pub use seal::{SEAL_BYTES, Seal};
pub use store::BucketStore;

#[cfg(test)]
mod tests;
