//! Backups of a log, and its tree made anew after a power cut: 1 KiB entries, opaque. The baseline, in the
//! same run: one thread that reads the journal's files and hashes them with SHA-256.
//!
//! Run with `cargo bench --bench backup`; `TREEHEAD_BACKUP_LEAVES` chooses the size, ten million if it is not
//! set, which takes 30 GB and some minutes; `TREEHEAD_BENCH_ENTRY_BYTES` makes its entries smaller. What the page cache holds is not dropped: give it less memory than
//! the log to measure the disk.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treehead::checkpoint::Checkpoint;
use treehead::clock;
use treehead::disk::RealDisk;
use treehead::merkle::{Hash, RightEdge};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::release::Facts;
use treehead::store::{
    BackedUp, Backup, Batch, DiskStore, JournalToCopy, Layout, MAX_BATCH_ENTRIES, OpenOptions, Store as _,
    discard_tree,
};

const ORIGIN: &str = "bench.example/log";

fn main() {
    let dir = common::dir();
    let leaves = std::env::var("TREEHEAD_BACKUP_LEAVES").map_or(10_000_000, |n| n.parse().expect("a number"));
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    let start = Instant::now();
    fill(&log, leaves);
    println!(
        "a log of {leaves} entries of {} bytes, made in {:.0} s",
        common::entry_bytes(),
        start.elapsed().as_secs_f64()
    );
    let baseline = timed(|| hash_files(&log)).1;
    let line = |what: &str, time: Duration, read: u64| {
        let million = time.as_secs_f64() * 1e6 / leaves as f64;
        println!(
            "{what:<44} {:>8.2} s   {million:.2} s a million   ratio {:.2}   read back {} MB",
            time.as_secs_f64(),
            baseline.as_secs_f64() / time.as_secs_f64(),
            read / 1_000_000
        );
    };
    line("one thread reads and hashes the journal", baseline, 0);
    let now = clock::now();
    let runs = [
        ("first backup", now, false),
        ("backup with nothing new, at once", now, false),
        ("backup with nothing new, a day later", now + 24 * 60 * 60, false),
        ("backup that reads everything", now + 24 * 60 * 60, true),
    ];
    for (what, now, all) in runs {
        let (done, time) = timed(|| back_up(&log, &out, now, all));
        line(what, time, done.read_bytes);
    }
    std::fs::write(Layout::new(&log).sled_mark(), "another boot").expect("room on the disk");
    let (store, time) = timed(|| open(&log));
    assert_eq!(store.edge().size().get(), leaves);
    line("opened after a power cut", time, 0);
    drop(store);
    discard_tree(&log).expect("a log that is not served");
    let (store, time) = timed(|| open(&log));
    line("everything derived made anew, as by --rebuild", time, 0);
    drop(store);
    let (_store, time) = timed(|| open(&log));
    line("opened again", time, 0);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(ORIGIN).expect("a name"), SignatureType::Ed25519, &[7; 32])
}

fn open(dir: &Path) -> DiskStore {
    DiskStore::open(dir, OpenOptions::new(ORIGIN)).expect("a store")
}

fn head(edge: &RightEdge) -> Vec<u8> {
    let head = Checkpoint::new(signer().public().name().clone(), edge.size(), edge.root());
    head.sign(&signer()).to_string().into_bytes()
}

/// Makes a log with one head over all of its entries.
fn fill(dir: &Path, leaves: u64) {
    let mut store = open(dir);
    while store.edge().size().get() < leaves {
        let edge = store.edge();
        let left = usize::try_from(leaves - edge.size().get()).expect("64-bit sizes");
        let count = left.min(MAX_BATCH_ENTRIES);
        let entries = common::entries_of(common::entry_bytes(), edge.size().get(), count);
        let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let (growth, facts) = (edge.grow(&leaf_hashes), vec![Facts::default(); entries.len()]);
        let batch = Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth };
        let staged = store.stage(&batch).expect("staged");
        store.apply(&batch, staged).expect("applied");
    }
    let head = head(&store.edge());
    store.replace_checkpoint(None, &head).expect("a checkpoint");
}

fn back_up(log: &Path, out: &Path, now: u64, all: bool) -> BackedUp {
    let (key, io) = (signer().public().clone(), Arc::new(RealDisk));
    let from = &JournalToCopy::new(log, &key, io.clone());
    let backup = Backup { log, from, out, key: &key, files: &[], io, all, now, progress: &|_, _| () };
    backup.run().expect("a backup")
}

fn hash_files(log: &Path) {
    use std::io::Read as _;
    for file in std::fs::read_dir(Layout::new(log).journal()).expect("a journal") {
        let mut file = std::fs::File::open(file.expect("a segment").path()).expect("a segment");
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            std::hint::black_box(Hash::digest(&buffer[..count]));
        }
    }
}
