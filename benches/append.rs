//! Core append: entries of 1 KiB in batches of 1,024, durable, no HTTP, no signatures. Beside it, in
//! the same run and directory, the same bytes appended to a plain file with the same fdatasyncs.
//!
//! Run with `cargo bench --bench append`; `TREEHEAD_BENCH_DIR` chooses the disk.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use treehead::merkle::Hash;
use treehead::release::Facts;
use treehead::store::{Batch, DiskStore, OpenOptions, Store as _};

const ENTRY_BYTES: usize = 1_024;
const BATCH: usize = 1_024;
const BATCHES: usize = 200;

fn main() {
    let base = std::env::var_os("TREEHEAD_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let dir = tempfile::tempdir_in(base).expect("a directory to write to");
    // Interleaved, so that a disk that slows down slows both.
    let (mut plain, mut store) = (Duration::ZERO, Duration::ZERO);
    for round in 0..3 {
        let round = dir.path().join(round.to_string());
        std::fs::create_dir(&round).expect("a directory to write to");
        plain += plain_file(&round.join("plain"));
        store += disk_store(&round.join("store"));
    }
    let entries = f64::from(3 * u32::try_from(BATCHES * BATCH).expect("a small number"));
    let rate = |time: Duration| entries / time.as_secs_f64();
    println!("plain file, same bytes, same fdatasyncs  {:>9.0} entries/s", rate(plain));
    println!("store: hash, stage, apply                {:>9.0} entries/s", rate(store));
    println!("ratio                                    {:>9.2}", rate(store) / rate(plain));
}

fn entries(batch: usize) -> Vec<Vec<u8>> {
    let entry = |at: usize| {
        let mut entry = vec![0x5a; ENTRY_BYTES];
        entry[..8].copy_from_slice(&((batch * BATCH + at) as u64).to_be_bytes());
        entry
    };
    (0..BATCH).map(entry).collect()
}

fn plain_file(path: &Path) -> Duration {
    let mut file = File::create(path).expect("a file to write to");
    let mut time = Duration::ZERO;
    for batch in 0..BATCHES {
        let bytes = entries(batch).concat();
        let start = Instant::now();
        file.write_all(&bytes).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        time += start.elapsed();
    }
    time
}

fn disk_store(dir: &Path) -> Duration {
    let mut store = DiskStore::open(dir, OpenOptions::new("bench.example/log")).expect("an empty store");
    let mut time = Duration::ZERO;
    for batch in 0..BATCHES {
        let entries = entries(batch);
        let start = Instant::now();
        let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let edge = store.edge();
        let growth = edge.grow(&leaf_hashes);
        let facts = vec![Facts::default(); entries.len()];
        let batch = Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth };
        let staged = store.stage(&batch).expect("staged");
        store.apply(&batch, staged).expect("applied");
        time += start.elapsed();
    }
    time
}
