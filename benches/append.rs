//! Core append: entries of 1 KiB in batches of 1,024, hashed on another thread, looked up, durable and in
//! the tree; no HTTP, no signatures. Beside it, in the same run and directory, the same bytes appended to a plain
//! file with the same fdatasyncs; and the sequencer over it all, with two threads that submit.
//!
//! Run with `cargo bench --bench append`; `TREEHEAD_BENCH_DIR` chooses the disk.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use common::{entries, median, rate};
use tokio::sync::oneshot;
use treehead::merkle::Hash;
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Options, Outcome, Sequencer, SubmitError, Wait};
use treehead::store::{Batch, DiskStore, OpenOptions, Store as _};

const BATCH: usize = 1_024;
/// Batches in a round, which takes a second or so.
const BATCHES: usize = 300;
const ROUNDS: usize = 7;
/// Threads that hash and submit to the sequencer.
const WRITERS: usize = 2;
/// Most batches that each thread has under way, and that wait for the store.
const UNDER_WAY: usize = 4;
const ORIGIN: &str = "bench.example/log";

fn main() {
    let dir = common::dir();
    let (mut plain, mut store, mut log) = (Vec::new(), Vec::new(), Vec::new());
    // By turns, so that a disk that slows down slows all of them.
    for round in 0..ROUNDS {
        let round = dir.path().join(round.to_string());
        std::fs::create_dir(&round).expect("a directory to write to");
        plain.push(plain_file(&round.join("plain")));
        store.push(disk_store(&round.join("store")));
        log.push(sequencer(&round.join("log")));
        std::fs::remove_dir_all(&round).expect("what was written can be removed");
    }
    let rate = |times| rate(BATCHES * BATCH, median(times));
    let (plain, store, log) = (rate(plain), rate(store), rate(log));
    println!("plain file: the same bytes and fdatasyncs    {plain:>9.0} entries/s");
    println!(
        "store: look up, stage, apply                 {store:>9.0} entries/s   ratio {:.2}",
        store / plain
    );
    println!("sequencer over it, every entry published     {log:>9.0} entries/s   ratio {:.2}", log / plain);
    println!("(medians of {ROUNDS} rounds of {} entries)", BATCHES * BATCH);
}

fn batch(number: usize) -> Vec<Vec<u8>> {
    entries((number * BATCH) as u64, BATCH)
}

fn plain_file(path: &Path) -> Duration {
    let mut file = File::create(path).expect("a file to write to");
    let mut time = Duration::ZERO;
    for number in 0..BATCHES {
        let bytes = batch(number).concat();
        let start = Instant::now();
        file.write_all(&bytes).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        time += start.elapsed();
    }
    time
}

/// Entries are hashed on a thread of their own, as those of a server are on the threads of its connections.
fn disk_store(dir: &Path) -> Duration {
    let mut store = DiskStore::open(dir, OpenOptions::new(ORIGIN)).expect("an empty store");
    let (sender, hashed) = sync_channel(UNDER_WAY);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..BATCHES {
                let entries = batch(number);
                let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
                sender.send((entries, leaf_hashes)).expect("the store takes all of them");
            }
        });
        let start = Instant::now();
        for (entries, leaf_hashes) in hashed {
            append(&mut store, entries, leaf_hashes);
        }
        start.elapsed()
    })
}

fn append(store: &mut DiskStore, entries: Vec<Vec<u8>>, leaf_hashes: Vec<Hash>) {
    let found = store.reader().find_leaves(&leaf_hashes).expect("an index");
    assert!(found.iter().all(Option::is_none), "the entries are new");
    let edge = store.edge();
    let growth = edge.grow(&leaf_hashes);
    let facts = vec![Facts::default(); entries.len()];
    let batch = Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth };
    let staged = store.stage(&batch).expect("staged");
    store.apply(&batch, staged).expect("applied");
}

fn sequencer(dir: &Path) -> Duration {
    let store = DiskStore::open(dir, OpenOptions::new(ORIGIN)).expect("an empty store");
    let name = KeyName::new(ORIGIN).expect("a name");
    let signer = NoteSigner::from_seed(name, SignatureType::Ed25519, &[7; 32]);
    let sequencer =
        Sequencer::start(Box::new(store), signer, &Options::default(), None).expect("an empty log");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let sequencer = &sequencer;
            scope.spawn(move || submit(sequencer, (writer..BATCHES).step_by(WRITERS)));
        }
    });
    // Until everything is in a signed checkpoint.
    let mut heads = sequencer.published();
    while heads.borrow_and_update().checkpoint.size.get() < (BATCHES * BATCH) as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

fn submit(sequencer: &Sequencer, batches: impl Iterator<Item = usize>) {
    let mut under_way = VecDeque::new();
    for number in batches {
        let candidate = |entry| Candidate::new(entry, Facts::default());
        let candidates: Vec<Candidate> = batch(number).into_iter().map(candidate).collect();
        if under_way.len() == UNDER_WAY {
            finish(under_way.pop_front());
        }
        let outcome = sequencer.submit(candidates, Wait::Sequenced);
        under_way.push_back(outcome.unwrap_or_else(|e: SubmitError| panic!("{e}")));
    }
    under_way.into_iter().for_each(|outcome| finish(Some(outcome)));
}

fn finish(outcome: Option<oneshot::Receiver<Outcome>>) {
    let outcome = outcome.expect("something is under way").blocking_recv().expect("an answer");
    assert!(outcome.results.iter().all(|result| result.as_ref().is_ok_and(|entry| !entry.duplicate)));
}
