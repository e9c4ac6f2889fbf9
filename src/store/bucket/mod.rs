//! A log in a bucket. An object store with conditional writes holds the [chain](Chain) of batches, the tiles and the
//! heads; the local disk holds only a cache. Several servers can share a log. A [lease](Lease) decides which server
//! tries to append. The conditional creation of each batch decides which server succeeds.

mod backup;
mod batch_object;
mod cache;
mod chain;
mod chain_error;
mod cold;
mod export;
mod fitness;
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
mod walk;

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
pub use repair::{BucketRepair, BundleSource, NamedSource, RepairMode, RepairOutcome, SourceHeads};
pub use seal::{SEAL_BYTES, Seal};
pub use store::BucketStore;

#[cfg(test)]
mod tests;
