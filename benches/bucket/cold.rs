//! Measures the start of a server of a large log, without its cache and with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treehead::bucket::{Objects as _, S3};
use treehead::merkle::Hash;
use treehead::sequencer::Wait;
use treehead::store::{MAX_BATCH_ENTRIES, Store as _};

use super::place::{self, Place};
use super::wrapped::Wrapped;

/// Longer than the interval at which a server checks its index.
const SETTLED: Duration = Duration::from_secs(45);
const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
const GOAL: &str = "10 M leaves without a cache in 60 s";

pub fn run(place: &Place, dir: &Path, leaves: usize) {
    let name = "cold";
    let objects = Arc::new(Wrapped::new(place.probed(name)));
    let (full, begun) = (dir.join("full"), Instant::now());
    let sequencer = place::open(&objects, &full, &place::options(place::LINGER));
    let firsts = (0..leaves).step_by(MAX_BATCH_ENTRIES);
    let batches = firsts.map(|first| {
        (first..leaves.min(first + MAX_BATCH_ENTRIES)).map(|at| at.to_be_bytes().to_vec()).collect()
    });
    super::batches::submit(&sequencer, batches, Wait::Published);
    println!("\n| {leaves} leaves of 8 bytes; goal: {GOAL} | time |\n| --- | --- |");
    println!("| written | {:.1?} |", begun.elapsed());
    wait_for_index(&place.client(name));
    drop(sequencer);
    for (what, dir) in [("served without a cache", &dir.join("empty")), ("served with its cache", &full)] {
        let begun = Instant::now();
        let store = place::store(&objects, dir);
        assert_eq!(store.edge().size().get(), leaves as u64);
        let entry = (leaves / 3).to_be_bytes();
        let found = store.reader().find_leaf(&Hash::leaf(&entry)).expect("an index").expect("it is there");
        assert_eq!(store.reader().entry(found).expect("an entry"), entry);
        println!("| {what} | {:.2?} |", begun.elapsed());
    }
    place.clear(name);
}

/// Waits until the server has uploaded its index, which it does periodically.
fn wait_for_index(client: &S3) {
    let (mut last, mut since) = (None, Instant::now());
    while last.is_none() || since.elapsed() < SETTLED {
        let object = client.get("index/manifest", MAX_MANIFEST_BYTES).expect("an answer");
        let tag = object.map(|object| object.tag);
        if tag != last {
            (last, since) = (tag, Instant::now());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
