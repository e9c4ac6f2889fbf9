//! A store on a small file system that fills up: it keeps its entries, and continues as soon as there is space.

use std::io;
use std::sync::Arc;

use libtest_mimic::Completion;
use tempfile::TempDir;
use treehead::disk::{DiskError, RealDisk, SledIo};
use treehead::merkle::Hash;
use treehead::release::Facts;
use treehead::store::{Batch, DiskStore, Store, StoreError};

use crate::common::driver::open_store;
use crate::common::mounts::Mount;
use crate::common::needs::Outcome;
use crate::common::promises::Promises;
use crate::mounted_or_ignored;

fn batch_of(store: &dyn Store, entries: Vec<Vec<u8>>) -> Batch {
    let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let (edge, facts) = (store.edge(), vec![Facts::default(); entries.len()]);
    let growth = edge.grow(&leaf_hashes);
    Batch { first: edge.size().next_index(), entries, leaf_hashes, facts, growth }
}

/// Checks that the store holds exactly these entries.
fn check(store: &dyn Store, all: &[Vec<u8>]) {
    let promises = Promises {
        entries: (0..).zip(all.iter().cloned()).collect(),
        sent: all.iter().cloned().collect(),
        ..Promises::default()
    };
    assert_eq!(promises.check_store(store).unwrap().get(), all.len() as u64);
}

/// Appends until the disk is full. Adds all that became durable to `all`; returns how many of them can be read before
/// the store reloads, and why no more became durable.
fn append_until_full(store: &mut DiskStore, all: &mut Vec<Vec<u8>>) -> (usize, StoreError) {
    for round in 0..1_000 {
        let entry = |i: u8| [format!("{} {i} ", all.len()).as_bytes(), &vec![i; 7_000 + round]].concat();
        let more: Vec<Vec<u8>> = (0..8).map(entry).collect();
        let batch = batch_of(store, more.clone());
        let readable = all.len();
        match store.stage(&batch) {
            Ok(staged) => {
                all.extend(more);
                // sled may notice first.
                if let Err(e) = store.apply(&batch, staged) {
                    return (readable, e);
                }
            }
            Err(e) => return (readable, e),
        }
    }
    panic!("the disk did not fill up");
}

pub fn on_a_full_disk_reads_go_on_and_appending_does_when_there_is_space_again() -> Outcome {
    let (home, io): (_, Arc<dyn SledIo>) = (TempDir::new().unwrap(), Arc::new(RealDisk));
    // The journal alone, then everything.
    for part in ["journal", ""] {
        let log = home.path().join(format!("log{part}"));
        let disk = mounted_or_ignored!(Mount::tmpfs("4m", &log.join(part)));
        let mut store = open_store(&log, &io, 64 << 20).unwrap();
        let mut all = Vec::new();
        for size in ["8m", "12m"] {
            let (readable, full) = append_until_full(&mut store, &mut all);
            let message = full.to_string();
            assert!(
                matches!(&full, StoreError::Disk(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull),
                "{full}"
            );
            assert!(message.ends_with("(free some space)"), "{message}");
            for _ in 0..3 {
                check(&store, &all[..readable]);
                let again = store.reload().unwrap_err();
                assert!(again.to_string().contains("No space left"), "it is still full: {again}");
                check(&store, &all[..readable]);
            }
            disk.remount(&format!("size={size}")).unwrap();
            store.reload().unwrap();
            check(&store, &all);
            let more: Vec<Vec<u8>> = (0..3).map(|i| format!("room for {size} {i}").into_bytes()).collect();
            let batch = batch_of(&store, more.clone());
            let staged = store.stage(&batch).unwrap();
            all.extend(more);
            // sled may only report now that it could not write. Then it is reopened.
            if store.apply(&batch, staged).is_err() {
                store.reload().unwrap();
            }
            check(&store, &all);
        }
        drop(store);
        check(&open_store(&log, &io, 64 << 20).unwrap(), &all);
    }
    Ok(Completion::Completed)
}
