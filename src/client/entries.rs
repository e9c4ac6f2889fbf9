//! The entries of a log, in order, fetched and hashed by several workers at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::fetched_bundle::Bundle;
use super::flow::Flow;
use super::patience::Tries;
use super::tiles::{full_instead, most_bytes, spans};
use super::{ClientError, LogClient};
use crate::merkle::{Hash, LeafIndex, TILE_WIDTH, Tile, TileId, TreeSize};

/// Most workers of a stream: what a log may be asked at once by one client.
pub const MAX_WORKERS: usize = 16;
/// Workers where nothing else is asked for.
const WORKERS: usize = 4;

/// Settings of an [`EntryStream`].
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Requests at once, 1 to [`MAX_WORKERS`]; what is outside counts as the nearest.
    pub parallel: usize,
    /// Ends everything once it is set: the stream's next item is [`ClientError::Stopped`].
    pub stop: Arc<AtomicBool>,
    /// Set if bundles may come as gzip. It saves traffic where entries are text, and costs the log far
    /// more time than it takes to serve them plain.
    pub packed: bool,
    /// Size of the tree that the log has signed, where it is larger than the end of the range: bundles
    /// that are full in it are asked for as such.
    pub tree: TreeSize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { parallel: WORKERS, stop: Arc::default(), packed: false, tree: TreeSize::ZERO }
    }
}

/// The entries of a log, bundle after bundle, fetched ahead by a few workers. After an error there are no
/// more. Nothing is believed: whoever reads proves the leaf hashes against a signed root.
///
/// At most 48 MiB are held, and twice as many bundles as there are workers. Where the log asks for a pause
/// all workers keep it.
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
        let worker =
            Worker { client: client.clone(), flow: flow.clone(), range, tree, packed: options.packed };
        let count = usize::try_from(bundles.end - bundles.start).unwrap_or(parallel).min(parallel);
        for _ in 0..count {
            let worker = worker.clone();
            std::thread::spawn(move || worker.work());
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
    /// Does not wait for the workers: a log that drips would hold up whoever has heard enough.
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
}

impl Worker {
    fn work(&self) {
        let _watch = self.flow.watch();
        while let Some(bundle) = self.flow.take() {
            let result = self.fetch(bundle);
            self.flow.put(bundle, result);
        }
    }

    /// A bundle, with as many tries as the client's patience allows.
    fn fetch(&self, index: u64) -> Result<Bundle, ClientError> {
        let wanted = Tile::in_tree(TileId::Entries { index }, self.tree).expect("a bundle of the tree");
        let (mut asked, mut tries) = (wanted, Tries::of_many(self.client.patience()));
        loop {
            let mut needs = 0;
            let mut admit = |room: usize, promised: Option<usize>| {
                // Without a promise it may be any: it is asked for again when there is room for that.
                let admitted = self.flow.admit(index, promised.unwrap_or(room));
                needs = promised.unwrap_or(most_bytes(asked));
                admitted
            };
            let path = asked.to_string();
            let (pause, bytes) = match self.client.get_once(&path, self.packed, most_bytes(asked), &mut admit)
            {
                Ok(Some(bytes)) => return self.bundle(asked, bytes),
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
            if !self.flow.again(index, pause, bytes) {
                return Err(ClientError::Stopped);
            }
        }
    }

    /// Splits and hashes, without the entries that nobody asked for.
    fn bundle(&self, asked: Tile, bytes: Vec<u8>) -> Result<Bundle, ClientError> {
        let mut spans = spans(&self.client, asked, &bytes)?;
        let start = asked.id.index() * TILE_WIDTH;
        let within = |size: TreeSize| {
            usize::try_from(size.get().saturating_sub(start).min(asked.width() as u64)).expect("at most 256")
        };
        let (skipped, end) = (within(self.range.start), within(self.range.end));
        spans.truncate(end);
        spans.drain(..skipped);
        let leaf_hashes = spans.iter().map(|span| Hash::leaf(&bytes[span.clone()])).collect();
        let first = LeafIndex::new(start).expect("below the tree's size").plus(skipped);
        Ok(Bundle { first, leaf_hashes, bytes, spans })
    }
}
