//! What the benches share: entries, a disk, medians.

#![allow(dead_code, reason = "each bench uses some of it")]

use std::time::Duration;

use tempfile::TempDir;

pub const ENTRY_BYTES: usize = 1_024;

/// A directory on the disk that is measured: `TREEHEAD_BENCH_DIR`, or the system's for temporary files.
pub fn dir() -> TempDir {
    let base = std::env::var_os("TREEHEAD_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    tempfile::tempdir_in(base).expect("a directory to write to")
}

/// `count` different entries, numbered from `first`.
pub fn entries(first: u64, count: usize) -> Vec<Vec<u8>> {
    let entry = |number: u64| {
        let mut entry = vec![0x5a; ENTRY_BYTES];
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

/// How many a second.
pub fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("a small number")) / time.as_secs_f64()
}
