//! The objects below `batch/`, in order, whether or not they form a chain.

use std::collections::VecDeque;

use super::follow::AHEAD_BYTES;
use super::layout::{self, BATCHES};
use super::{ChainError, HEAD_BYTES, MAX_OBJECT_BYTES, parallel};
use crate::bucket::{BucketError, MAX_LISTED, Object, Objects};
use crate::merkle::LeafIndex;

/// The batches of a bucket, as listed once.
pub struct Walk<'a> {
    objects: &'a dyn Objects,
    /// Concurrent requests.
    threads: usize,
    /// Listed batches and their lengths in bytes.
    ahead: VecDeque<(LeafIndex, u64)>,
    read: VecDeque<(LeafIndex, Option<Object>)>,
}

impl<'a> Walk<'a> {
    /// Lists all batches.
    ///
    /// # Errors
    /// The bucket's.
    pub fn list(objects: &'a dyn Objects, threads: usize) -> Result<Self, ChainError> {
        let (mut ahead, mut after) = (VecDeque::new(), String::new());
        loop {
            let listing = objects.list(BATCHES, &after, MAX_LISTED)?;
            let batches = listing.objects.iter();
            ahead.extend(batches.filter_map(|listed| Some((layout::parse_batch(&listed.key)?, listed.size))));
            match listing.objects.last() {
                Some(last) if listing.more => after.clone_from(&last.key),
                _ => return Ok(Self { objects, threads, ahead, read: VecDeque::new() }),
            }
        }
    }

    /// The first leaf index of the next batch to read.
    #[must_use]
    pub fn peek(&self) -> Option<LeafIndex> {
        let read = self.read.front().map(|(first, _)| *first);
        read.or(self.ahead.front().map(|(first, _)| *first))
    }

    /// Reads the next batch. Its object is `None` if it was deleted since it was listed; of one that is too large, it has the
    /// beginning.
    ///
    /// # Errors
    /// The bucket's.
    pub fn next(&mut self) -> Result<Option<(LeafIndex, Option<Object>)>, ChainError> {
        if self.read.is_empty() {
            let mut bytes = 0;
            let fits = self.ahead.iter().take(self.threads.max(1)).take_while(|(_, length)| {
                bytes += length.min(&(MAX_OBJECT_BYTES as u64));
                bytes <= AHEAD_BYTES
            });
            let count = fits.count().max(self.ahead.len().min(1));
            let firsts: Vec<LeafIndex> = self.ahead.drain(..count).map(|(first, _)| first).collect();
            let read = parallel::map(&firsts, self.threads, |first| {
                let key = layout::batch(*first);
                match self.objects.get(&key, MAX_OBJECT_BYTES) {
                    // Read only its beginning, which is no batch either but gives the tag.
                    Err(BucketError::TooLarge { .. }) => self.objects.get_range(&key, 0, HEAD_BYTES),
                    object => object,
                }
            })?;
            self.read.extend(firsts.into_iter().zip(read));
        }
        Ok(self.read.pop_front())
    }

    /// The first index of the last batch.
    #[must_use]
    pub fn last(&self) -> Option<LeafIndex> {
        self.ahead.back().map(|(first, _)| *first).or(self.read.back().map(|(first, _)| *first))
    }
}
