//! Shared by the benches: entries, a disk, medians.

#![allow(dead_code, reason = "each bench uses some of it")]

pub mod bare;
pub mod bound;
pub mod entries;
pub mod fetch;
pub mod monitor;
pub mod plot;
pub mod server;
pub mod tree;

use std::future::pending;
use std::time::Duration;

use tempfile::TempDir;
use treehead::client::LogClient;
use treehead::load::{self, Measured, Plan};

/// As in the program: what is measured is the log under its allocator, and a generator as cheap as
/// `treehead load`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub const ENTRY_BYTES: usize = 1_024;

/// Bytes of an entry where a bench lets `TREEHEAD_BENCH_ENTRY_BYTES` choose: 1 KiB if it is not set.
pub fn entry_bytes() -> usize {
    std::env::var("TREEHEAD_BENCH_ENTRY_BYTES").map_or(ENTRY_BYTES, |bytes| bytes.parse().expect("a number"))
}

/// A directory on the disk that is measured: `TREEHEAD_BENCH_DIR`, or the system's for temporary files.
pub fn dir() -> TempDir {
    let base = std::env::var_os("TREEHEAD_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    tempfile::tempdir_in(base).expect("a directory to write to")
}

/// `count` different entries, numbered from `first`.
pub fn entries(first: u64, count: usize) -> Vec<Vec<u8>> {
    entries_of(ENTRY_BYTES, first, count)
}

/// As many entries of another length, at least 8 bytes.
pub fn entries_of(bytes: usize, first: u64, count: usize) -> Vec<Vec<u8>> {
    let entry = |number: u64| {
        let mut entry = vec![0x5a; bytes];
        entry[..8].copy_from_slice(&number.to_be_bytes());
        entry
    };
    (first..).take(count).map(entry).collect()
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Number a second.
pub fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("a small number")) / time.as_secs_f64()
}

/// The middle one of some runs.
pub fn median_rate(runs: &[Measured]) -> f64 {
    median_of(runs.iter().map(Measured::per_second))
}

/// The middle one of some rates.
pub fn median_of(rates: impl Iterator<Item = f64>) -> f64 {
    let mut rates: Vec<f64> = rates.collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Appends until the log has `size` entries or more, in large batches. Returns the size and the time of
/// each step.
pub fn fill(plan: &Plan, size: u64) -> Vec<(u64, Duration)> {
    let (mut steps, client) = (Vec::new(), LogClient::new(plan.target.url()).expect("an address"));
    loop {
        let before = tree_size(&client);
        if before >= size {
            return steps;
        }
        let left = size - before;
        // A second of work each, and towards the end no more than is needed.
        let batch = usize::try_from(left.min(1_024)).expect("at most 1,024");
        let rounds = left / 1_024;
        let (writers, milliseconds) = match rounds {
            513.. => (8, 2_000),
            65.. => (8, 20),
            _ => (1, 1),
        };
        let duration = Duration::from_millis(milliseconds);
        let path = "/add-batch?wait=sequenced".to_owned();
        let plan = Plan { batch, writers, duration, path, ..plan.clone() };
        let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
        assert_eq!(appended.measured.errors.total(), 0, "{:?}", appended.measured.errors);
        steps.push((before + appended.measured.entries, appended.measured.elapsed));
    }
}

/// Entries in the published tree.
pub fn tree_size(client: &LogClient) -> u64 {
    let note = client.get("checkpoint", 64 * 1_024).expect("a checkpoint");
    let size = String::from_utf8(note).expect("text").lines().nth(1).expect("a second line").to_owned();
    size.parse().expect("a tree size")
}
