//! Reads entries of a log from any index: a single bundle at first, a stream once the caller reads on.

use super::{Bundle, ClientError, EntryStream, LogClient, StreamOptions};
use crate::merkle::{LeafIndex, TILE_WIDTH, TreeSize};

/// Reads entries of a log's tree, unverified: the caller checks them against a signed root.
pub struct EntryReader {
    size: TreeSize,
    client: LogClient,
    /// The entries fetched ahead, once the caller reads on from one bundle into the next: until then, a few entries
    /// cost the log one request.
    ahead: Option<EntryStream>,
    last: Option<Bundle>,
}

impl EntryReader {
    /// Reads entries of the tree of this size.
    #[must_use]
    pub const fn new(client: LogClient, size: TreeSize) -> Self {
        Self { size, client, ahead: None, last: None }
    }

    /// Returns consecutive entries from `first` on: at least one, at most `most`.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Panics
    /// If the tree has no entry `first`.
    pub fn entries(&mut self, first: LeafIndex, most: usize) -> Result<Vec<Vec<u8>>, ClientError> {
        assert!(self.size.contains(first), "the tree of {} has an entry {first}", self.size);
        let has = |last: &Bundle| last.first <= first && last.end().contains(first);
        let bundle = match self.last.take_if(|last| has(last)) {
            Some(bundle) => bundle,
            None => self.bundle_from(first).inspect_err(|_| self.ahead = None)?,
        };
        let skip = usize::try_from(first.get() - bundle.first.get()).expect("at most 256");
        let entries = bundle.entries().skip(skip).take(most).map(<[u8]>::to_vec).collect();
        self.last = Some(bundle);
        Ok(entries)
    }

    /// Fetches the bundle that begins with an entry.
    fn bundle_from(&mut self, first: LeafIndex) -> Result<Bundle, ClientError> {
        let follows = self.last.as_ref().is_some_and(|last| last.end().next_index() == first);
        let from = TreeSize::new(first.get()).expect("an index is a size");
        if !follows {
            self.ahead = None;
            let full = TreeSize::new((first.get() / TILE_WIDTH + 1) * TILE_WIDTH).unwrap_or(self.size);
            let options = StreamOptions { tree: self.size, ..StreamOptions::default() };
            let one = EntryStream::new(&self.client, from..full.min(self.size), &options).next();
            return one.expect("a range with an entry");
        }
        let stream = self.ahead.get_or_insert_with(|| {
            EntryStream::new(&self.client, from..self.size, &StreamOptions::default())
        });
        stream.next().expect("the tree has the entry")
    }
}
