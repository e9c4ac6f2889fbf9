//! Entries, batches, heads and stores for tests.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "bucket")]
use crate::bucket::probe::{Extent, check_store};
#[cfg(feature = "bucket")]
use crate::bucket::tests::memory::MemoryObjects;
#[cfg(feature = "bucket")]
use crate::bucket::{Objects, S3, StoreOptions};
use crate::checkpoint::Checkpoint;
use crate::disk::DiskError;
use crate::merkle::{Hash, RightEdge};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::release::{Claim, Edition, Facts, SearchField, Term, Track};
#[cfg(feature = "bucket")]
use crate::store::bucket::{BucketOptions, BucketStore, WriterId};
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
    unlocked(|| DiskStore::open(dir, options()))
}

/// Like [`open_disk`], for a log in a bucket with its cache in `dir`.
#[cfg(feature = "bucket")]
pub fn open_bucket(dir: &Path, objects: &MemoryObjects) -> Result<BucketStore, StoreError> {
    open_bucket_with(dir, objects, |_| ())
}

/// Like [`open_bucket`], with other options.
#[cfg(feature = "bucket")]
pub fn open_bucket_with(
    dir: &Path,
    objects: &MemoryObjects,
    change: impl Fn(&mut BucketOptions),
) -> Result<BucketStore, StoreError> {
    unlocked(|| {
        let mut options = BucketOptions::new(Arc::new(objects.clone()), options()).unwrap();
        options.threads = 3;
        change(&mut options);
        BucketStore::open(dir, options)
    })
}

/// A new prefix in the object store that `TREEHEAD_TEST_S3` names (`http://KEY:SECRET@HOST:PORT/BUCKET`), whose bucket is
/// created if needed. `None` if the variable is unset, unless `TREEHEAD_REQUIRE_S3` makes that a failure.
#[cfg(feature = "bucket")]
pub fn real_objects() -> Option<Arc<dyn Objects>> {
    let Ok(text) = std::env::var("TREEHEAD_TEST_S3") else {
        assert!(std::env::var("TREEHEAD_REQUIRE_S3").is_err(), "TREEHEAD_TEST_S3 names no object store");
        eprintln!("not run: TREEHEAD_TEST_S3 names no object store");
        return None;
    };
    let place = text.split_once("://").and_then(|(scheme, rest)| {
        let (account, place) = rest.split_once('@')?;
        let ((key, secret), (host, bucket)) = (account.split_once(':')?, place.split_once('/')?);
        Some((format!("{scheme}://{host}"), key.to_owned(), secret.to_owned(), bucket.to_owned()))
    });
    let (endpoint, key, secret, bucket) = place.expect("http://KEY:SECRET@HOST:PORT/BUCKET");
    let log = WriterId::random().unwrap();
    let address = format!("s3://{bucket}/store-{log}").parse().unwrap();
    let options = StoreOptions { endpoint: Some(endpoint), ..StoreOptions::default() };
    let variables = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.clone()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.clone()),
        _ => None,
    };
    let objects = S3::open_with(&address, &options, &variables, crate::clock::system()).unwrap();
    // Other test programs may create it at the same time.
    let (made, said) = objects.administer(&[], Vec::new(), b"").unwrap();
    assert!(
        matches!(made, 200 | 409),
        "the bucket was not created: {made} {}",
        String::from_utf8_lossy(&said)
    );
    // This also finds out the form of tags that the store accepts.
    check_store(&objects, Extent { rounds: 1, racers: 2, objects: 1 }).unwrap();
    Some(Arc::new(objects))
}

/// Tries again while the store's lock lingers.
pub fn unlocked<S>(open: impl Fn() -> Result<S, StoreError>) -> Result<S, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match open() {
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
