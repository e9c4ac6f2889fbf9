//! Entries, batches, heads and stores for tests.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::disk::DiskError;
use crate::merkle::{Hash, RightEdge};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::release::{Claim, Edition, Facts, SearchField, Term, Track};
use crate::store::{Batch, Describe, DiskStore, OpenOptions, Store, StoreError};

pub const ORIGIN: &str = "example.com/log";

/// Entries name their own index rows: `payload:NAME`, `claim:KEY:CONTENT`, `term:VALUE`, `name:PATH`, `number:TRACK:NUMBER`,
/// `edition:THING:BYTES` and `withdraws:ARTIFACTS`, separated by spaces.
pub fn facts_of(entry: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for word in entry.split(|byte| *byte == b' ') {
        let word = String::from_utf8_lossy(word);
        if let Some(value) = word.strip_prefix("term:") {
            facts.terms.push(term(value));
        } else if let Some(path) = word.strip_prefix("name:") {
            facts.terms.push(Term::new(SearchField::Name, path));
        } else if let Some(value) = word.strip_prefix("payload:") {
            facts.payload = Some(named(value));
        } else if let Some((key, content)) = word.strip_prefix("claim:").and_then(|w| w.split_once(':')) {
            facts.claims.push(Claim { key: named(key), content: named(content) });
        } else if let Some((track, number)) = word.strip_prefix("number:").and_then(|w| w.split_once(':')) {
            facts.numbers.push((Track(named(track)), number.parse().unwrap()));
        } else if let Some((thing, bytes)) = word.strip_prefix("edition:").and_then(|w| w.split_once(':')) {
            let (thing, bytes) = (Some(named(thing)), named(bytes));
            facts.editions.push(Edition { thing, bytes, withdrawal: bytes });
        } else if let Some(artifacts) = word.strip_prefix("withdraws:") {
            facts.withdrawals.push(named(artifacts));
        }
    }
    facts
}

pub fn describe() -> Describe {
    Arc::new(facts_of)
}

pub fn term(value: &str) -> Term {
    Term::new(SearchField::Package, value)
}

/// The hash for the name of a payload, or of a claim's key or content.
pub fn named(name: &str) -> Hash {
    Hash::digest(name.as_bytes())
}

/// A batch on top of `edge`.
pub fn batch_of(edge: &RightEdge, entries: Vec<Vec<u8>>) -> Batch {
    let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let facts = entries.iter().map(|entry| facts_of(entry)).collect();
    let growth = edge.grow(&leaf_hashes);
    Batch { first: edge.size().next_index(), entries, leaf_hashes, facts, growth }
}

/// `count` distinct entries, numbered from `first`.
pub fn numbered(first: usize, count: usize) -> Vec<Vec<u8>> {
    (first..first + count).map(|i| format!("entry {i}").into_bytes()).collect()
}

pub fn append(store: &mut dyn Store, entries: Vec<Vec<u8>>) {
    let batch = batch_of(&store.edge(), entries);
    let staged = store.stage(&batch).unwrap();
    store.apply(&batch, staged).unwrap();
}

pub fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[7; 32])
}

/// The signed checkpoint of a tree.
pub fn signed(edge: &RightEdge) -> Vec<u8> {
    let signer = signer();
    let head = Checkpoint::new(signer.public().name().clone(), edge.size(), edge.root());
    head.sign(&signer).to_string().into_bytes()
}

/// Opens a store that nothing in this process uses any more. Its lock may linger: a child process that another test
/// is just starting holds copies of all open files until it executes its program.
pub fn open_disk(dir: &Path, options: impl Fn() -> OpenOptions) -> Result<DiskStore, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match DiskStore::open(dir, options()) {
            Err(StoreError::Disk(DiskError::Locked { .. })) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

pub fn options() -> OpenOptions {
    // A small log has many files of the index.
    OpenOptions { describe: describe(), seal_pointers: 100, ..OpenOptions::new(ORIGIN) }
}

/// Copies a directory. An open sled may remove files meanwhile.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy_dir(&item.path(), &target);
        } else if let Err(e) = fs::copy(item.path(), target) {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
        }
    }
}
