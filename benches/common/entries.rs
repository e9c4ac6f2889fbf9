//! A log to read from end to end, and the bounds on the speed of reading.

#![allow(dead_code, reason = "each bench uses some of it")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use treehead::client::{EntryStream, LogClient, StreamOptions};
use treehead::load::Plan;
use treehead::merkle::{Hash, Tile, TileId, TreeSize};

use super::fetch::{Fetches, fetch};
use super::server::Server;
use super::{ENTRY_BYTES, entries, fill, tree_size};

/// Makes an opaque log of `count` entries of 1 KiB or a few more, and serves it. Their bytes are noise,
/// as signatures and digests mostly are.
pub fn serve(dir: &Path, count: u64) -> (Server, TreeSize) {
    let log = Server::make(dir, "opaque");
    fill(&Plan::new(log.target()), count);
    let size = tree_size(&LogClient::new(&log.url()).expect("an address"));
    (log, TreeSize::new(size).expect("a tree size"))
}

/// Paths of all bundles of a tree.
pub fn bundle_paths(size: TreeSize) -> Vec<String> {
    let bundles = (0..size.get().div_ceil(256)).map(|index| TileId::Entries { index });
    bundles.filter_map(|id| Tile::in_tree(id, size)).map(|tile| format!("/{tile}")).collect()
}

/// Entries a second that the server hands out in full bundles, to somebody who does not look at them.
pub fn served_per_second(log: &Server, size: TreeSize, connections: usize, duration: Duration) -> f64 {
    let mut paths = bundle_paths(size);
    // Each counts as 256.
    if !size.get().is_multiple_of(256) {
        paths.pop();
    }
    let fetches = Fetches { url: log.url(), paths, connections, duration };
    fetch(&fetches).expect("a server that answers").per_second() * 256.0
}

/// Leaf hashes of entries of 1 KiB that one core makes in a second.
pub fn hashed_per_second(duration: Duration) -> f64 {
    // As many as a bundle has: what was fetched lately is in the processor's cache.
    let some = entries(0, 256);
    assert_eq!(some[0].len(), ENTRY_BYTES);
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < duration {
        for entry in &some {
            black_box(Hash::leaf(black_box(entry)));
        }
        count += 256;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Entries a second that a stream over the whole log fetches, splits and hashes.
pub fn streamed_per_second(client: &LogClient, size: TreeSize, options: &StreamOptions) -> f64 {
    let (begin, mut count) = (Instant::now(), 0);
    for bundle in EntryStream::new(client, TreeSize::ZERO..size, options) {
        count += black_box(bundle.expect("a log that answers")).len();
    }
    assert_eq!(count as u64, size.get());
    super::rate(count, begin.elapsed())
}
