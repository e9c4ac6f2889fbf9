//! The entries of a log, in order, fetched and hashed by several workers at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::fetched_bundle::Bundle;
use super::flow::Flow;
use super::patience::Tries;
use super::response::cut;
use super::tiles::{full_instead, most_bytes, spans};
use super::{ClientError, LogClient};
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, Tile, TileId, TreeSize};
use crate::threads;

/// Most workers of a stream: the requests that one client may send to a log at once.
pub const MAX_WORKERS: usize = 16;
/// Workers by default.
const WORKERS: usize = 4;
/// Largest buffer that a worker keeps for its next bundle.
const KEPT_BUFFER: usize = 1024 * 1024;

/// Settings of an [`EntryStream`].
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Requests at once, clamped to 1 to [`MAX_WORKERS`].
    pub parallel: usize,
    /// Ends the stream once it is set: the next item is [`ClientError::Stopped`].
    pub stop: Arc<AtomicBool>,
    /// Set if bundles may come as gzip. That saves traffic if the entries are text, but costs the log far more time
    /// than serving them plain.
    pub packed: bool,
    /// Set if the leaf hashes are all that is wanted: the bundles then hold no entries, and each worker reads one
    /// bundle after the other into the same memory, which stays in the processor's cache.
    pub hashes_only: bool,
    /// Size of the tree that the log has signed, if it is larger than the end of the range: bundles that are full in it
    /// are requested as full ones.
    pub tree: TreeSize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            parallel: WORKERS,
            stop: Arc::default(),
            packed: false,
            hashes_only: false,
            tree: TreeSize::ZERO,
        }
    }
}

/// The entries of a log, bundle after bundle, fetched ahead by a few workers. An error ends the stream, also
/// [`ClientError::Threads`] if there is no thread for even one worker. Nothing is
/// verified: the caller proves the leaf hashes against a signed root.
///
/// Holds at most 48 MiB, twice as many bundles as there are workers, and a buffer of up to 1 MiB for each worker. If the
/// log asks for a pause, all workers keep it.
#[derive(Debug)]
pub struct EntryStream {
    flow: Arc<Flow>,
}

impl EntryStream {
    /// Fetches the entries from index `range.start` on, up to the tree of size `range.end`.
    #[must_use]
    pub fn new(client: &LogClient, range: Range<TreeSize>, options: &StreamOptions) -> Self {
        let parallel = options.parallel.clamp(1, MAX_WORKERS);
        let (first, end) = (range.start.get() / TILE_WIDTH, range.end.get().div_ceil(TILE_WIDTH));
        let bundles = if range.is_empty() { first..first } else { first..end };
        let flow = Arc::new(Flow::new(bundles.start, bundles.end, parallel, options.stop.clone()));
        let tree = options.tree.max(range.end);
        let (client, packed, hashes_only) = (client.clone(), options.packed, options.hashes_only);
        let worker = Worker { client, flow: flow.clone(), range, tree, packed, hashes_only };
        let count = usize::try_from(bundles.end - bundles.start).unwrap_or(parallel).min(parallel);
        for at in 0..count {
            let worker = worker.clone();
            match threads::start("entries", move || worker.work()) {
                Ok(_) => {}
                // Fewer workers are slower.
                Err(_) if at > 0 => break,
                Err(error) => flow.put_unasked(bundles.start, error.into()),
            }
        }
        Self { flow }
    }
}

impl Iterator for EntryStream {
    type Item = Result<Bundle, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.flow.next()
    }
}

impl Drop for EntryStream {
    /// Does not wait for the workers: a slow log would hold up the caller.
    fn drop(&mut self) {
        self.flow.close();
    }
}

#[derive(Clone)]
struct Worker {
    client: LogClient,
    flow: Arc<Flow>,
    range: Range<TreeSize>,
    tree: TreeSize,
    packed: bool,
    hashes_only: bool,
}

impl Worker {
    fn work(&self) {
        let _watch = self.flow.watch();
        let mut buffer = Vec::new();
        while let Some(bundle) = self.flow.take() {
            let result = self.fetch(bundle, &mut buffer);
            drop_large(&mut buffer);
            self.flow.put(bundle, result);
        }
    }

    /// Fetches a bundle, with as many tries as the client's patience allows.
    fn fetch(&self, index: u64, buffer: &mut Vec<u8>) -> Result<Bundle, ClientError> {
        let wanted = Tile::in_tree(TileId::Entries { index }, self.tree).expect("a bundle of the tree");
        let (mut asked, mut tries) = (wanted, Tries::of_many(self.client.patience()));
        loop {
            let mut needs = 0;
            let mut admit = |room: usize, promised: Option<usize>| {
                // Without a promised length, the next request waits until there is room for the largest bundle.
                let admitted = self.flow.admit(index, promised.unwrap_or(room));
                needs = promised.unwrap_or(most_bytes(asked));
                admitted
            };
            let (path, most) = (asked.to_string(), most_bytes(asked));
            let (pause, bytes) = match self.client.get_once(&path, self.packed, most, &mut admit, buffer) {
                Ok(Some(length)) => return self.bundle(asked, buffer, length),
                Ok(None) => (Duration::ZERO, Some(needs)),
                Err(error) => {
                    if let Some(full) = full_instead(asked, &error) {
                        asked = full;
                        continue;
                    }
                    let Some(pause) = tries.after(&error) else { return Err(error) };
                    if matches!(error, ClientError::Status { .. }) {
                        self.flow.pause_all(pause);
                    }
                    (pause, None)
                }
            };
            drop_large(buffer);
            if !self.flow.again(index, pause, bytes) {
                return Err(ClientError::Stopped);
            }
        }
    }

    /// Splits the bundle in the buffer's first bytes and hashes its entries, without those outside the range. Takes the
    /// buffer if the entries are wanted.
    fn bundle(&self, asked: Tile, buffer: &mut Vec<u8>, length: usize) -> Result<Bundle, ClientError> {
        let bytes = &buffer[..length];
        let mut spans = spans(&self.client, asked, bytes)?;
        let start = asked.id.index() * TILE_WIDTH;
        let within = |size: TreeSize| {
            usize::try_from(size.get().saturating_sub(start).min(asked.width() as u64)).expect("at most 256")
        };
        let (skipped, end) = (within(self.range.start), within(self.range.end));
        spans.truncate(end);
        spans.drain(..skipped);
        let leaf_hashes = spans.iter().map(|span| Hash::leaf(&bytes[span.clone()])).collect();
        let first = LeafIndex::new(start).expect("below the tree's size").plus(skipped);
        let (bytes, spans) = if self.hashes_only {
            (Vec::new(), Vec::new())
        } else {
            (cut(std::mem::take(buffer), length), spans)
        };
        Ok(Bundle { first, leaf_hashes, fetched: length, bytes, spans })
    }
}

/// Frees a buffer that is larger than a worker may keep: its bytes are about to be no longer counted.
fn drop_large(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BUFFER {
        *buffer = Vec::new();
    }
}
