//! Compares the index in the bucket with the entries while they are read.

use super::{BucketFsck, IndexScope, IndexSeen};
use crate::merkle::{LeafIndex, TreeSize};
use crate::store::StoreError;
use crate::store::bucket::{Followed, index_objects};
use crate::store::derived::index::{self, PointerSum};

/// Attempts to fetch an index that no server replaces meanwhile.
const INDEX_FETCHES: usize = 3;

/// The check of the index, which runs while the entries are read.
pub(super) enum IndexCheck<'a> {
    Done(IndexSeen),
    Sum { scope: &'a IndexScope<'a>, covered: TreeSize, pointers: PointerSum },
}

impl<'a> IndexCheck<'a> {
    /// Fetches the index. The appending server may replace it meanwhile, so a failed check is repeated with a new copy.
    pub fn begin(fsck: &BucketFsck<'_>, scope: Option<&'a IndexScope<'a>>) -> Result<Self, StoreError> {
        let Some(scope) = scope else { return Ok(Self::Done(IndexSeen::NotChecked)) };
        for _ in 0..INDEX_FETCHES {
            if !index_objects::is_there(fsck.objects.as_ref())? {
                return Ok(Self::Done(IndexSeen::None));
            }
            if let Some(covered) = index_objects::download(fsck.objects.as_ref(), scope.dir, fsck.threads)? {
                return Ok(Self::Sum { scope, covered, pointers: PointerSum::default() });
            }
        }
        let seen = "expected index/manifest and runs that match their names, saw wrong or missing ones";
        Ok(Self::Done(IndexSeen::Wrong(seen.to_owned())))
    }

    /// Some entries are not read.
    pub fn give_up(&mut self) {
        if matches!(self, Self::Sum { .. }) {
            *self = Self::Done(IndexSeen::Incomplete);
        }
    }

    pub fn add(&mut self, batch: &Followed) {
        let Self::Sum { scope, covered, pointers } = self else { return };
        let first = batch.object.head().first.get();
        let leaves = (first..).filter_map(LeafIndex::new).zip(batch.object.entries()).zip(&batch.leaf_hashes);
        for ((index, entry), leaf) in leaves.take_while(|((index, _), _)| covered.contains(*index)) {
            pointers.add_leaf(index, leaf, &(scope.describe)(entry));
        }
    }

    pub fn end(self, size: TreeSize) -> IndexSeen {
        let (scope, covered, expected) = match self {
            Self::Done(seen) => return seen,
            Self::Sum { scope, covered, pointers } => (scope, covered, pointers),
        };
        if covered > size {
            let detail = format!("expected an index of at most {size} entries, saw one of {covered}");
            return IndexSeen::Wrong(detail);
        }
        match index::sum_up(scope.dir) {
            Ok(seen) if seen == expected => IndexSeen::Sound(covered),
            Ok(seen) => {
                let (expected, seen) = (expected.count(), seen.count());
                let detail =
                    format!("expected {expected} pointers in the index, saw {seen}, some of them different");
                IndexSeen::Wrong(detail)
            }
            Err(error) => IndexSeen::Wrong(error.to_string()),
        }
    }
}
