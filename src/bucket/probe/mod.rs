//! Finds out whether a store keeps the promises that a log in a bucket depends on: only the first creation of a key
//! succeeds, only the current tag replaces an object, and reads and lists show every write at once.
//!
//! Some stores accept the conditions and ignore them, so the probe trusts no store because of its name or version. It
//! works below a random prefix, `probe/<16 hex digits>/`, and deletes what it wrote.

mod checks;
mod findings;
mod race;

use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use findings::{Check, Conditions, Finding, Findings, Verdict};

use super::{
    Backoff, BucketError, Creation, Headers, MAX_LISTED, Object, Objects, Refusal, Replacement, Tag,
};

/// Most attempts at a request that a busy or silent store does not carry out.
const MAX_ATTEMPTS: u32 = 6;
/// Pauses between those attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Size limit of the probe's objects.
const MAX_BYTES: usize = 64 * 1024;

/// The extent of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Rounds of each race.
    pub rounds: usize,
    /// Threads that race for one object.
    pub racers: usize,
    /// Objects to write, read and list.
    pub objects: usize,
}

impl Extent {
    /// The full probe.
    pub const FULL: Self = Self { rounds: 5, racers: 64, objects: 20 };
    /// The probe at each start of a server: every check and the same races, on fewer objects.
    pub const START: Self = Self { objects: 5, ..Self::FULL };
}

/// Probes a store, and sets the form of tags that it accepts ([`Objects::use_tag_style`]).
///
/// # Errors
/// [`BucketError`] if the store can't be used at all: it is unreachable, has no such bucket, or gives no permission.
pub fn check_store(objects: &dyn Objects, extent: Extent) -> Result<Findings, BucketError> {
    let begun = Instant::now();
    let mut name = [0; 8];
    getrandom::fill(&mut name).expect("the system has random numbers");
    let probe =
        Probe { objects, prefix: format!("probe/{}", hex::encode(name)), keys: Mutex::default(), extent };
    // This write fails if the store can't be used at all.
    let first = probe.key("first");
    let result = probe.get(&first).and_then(|_| {
        probe.put(&first, b"the first object of a probe")?;
        Ok(probe.run())
    });
    let is_clean = probe.clean();
    let (style, all) = result?;
    Ok(Findings { store: objects.name(), style, all, is_clean, time: begun.elapsed() })
}

/// A running probe. It retries requests if the store is busy, and reads the object after an unclear answer.
struct Probe<'a> {
    objects: &'a dyn Objects,
    prefix: String,
    /// The keys that the probe may have written.
    keys: Mutex<Vec<String>>,
    extent: Extent,
}

impl Probe<'_> {
    /// A key of the probe. [`clean`](Self::clean) deletes it.
    fn key(&self, name: &str) -> String {
        let key = format!("{}/{name}", self.prefix);
        self.keys.lock().expect("no panic while it is held").push(key.clone());
        key
    }

    /// Deletes the probe's objects. Returns false if some remain.
    fn clean(&self) -> bool {
        let keys = std::mem::take(&mut *self.keys.lock().expect("no panic while it is held"));
        let is_deleted = keys.iter().filter(|key| self.objects.delete(key).is_err()).count() == 0;
        let left = self.objects.list(&format!("{}/", self.prefix), "", MAX_LISTED);
        is_deleted && left.is_ok_and(|left| left.objects.is_empty())
    }

    fn get(&self, key: &str) -> Result<Option<Object>, BucketError> {
        patiently(|| self.objects.get(key, MAX_BYTES))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<Tag, BucketError> {
        patiently(|| self.objects.put(key, bytes, &Headers::default()))
    }

    /// Writes a new object by conditional creation, because a store or a network may carry out a request twice: a late
    /// copy then changes nothing.
    fn first(&self, key: &str, bytes: &[u8]) -> Result<Tag, BucketError> {
        match self.create(key, bytes)? {
            Creation::Created(tag) => Ok(tag),
            Creation::Exists => Err(BucketError::Unavailable {
                url: self.objects.name(),
                detail: format!("expected the new key {key} to be free, saw an object"),
                retry_after: None,
            }),
        }
    }

    /// Creates an object. If the answer does not confirm it, a read decides.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Creation, BucketError> {
        patiently(|| match self.objects.create(key, bytes, &Headers::default()) {
            Err(error) if error.may_be_done() => match self.get(key)? {
                Some(object) if object.bytes == bytes => Ok(Creation::Created(object.tag)),
                Some(_) => Ok(Creation::Exists),
                None => Err(not_done(self.objects, &error)),
            },
            Ok(Creation::Exists) => Ok(match self.get(key)? {
                Some(object) if object.bytes == bytes => Creation::Created(object.tag),
                _ => Creation::Exists,
            }),
            other => other,
        })
    }

    /// Replaces an object. If the answer does not confirm it, a read decides.
    fn replace(&self, key: &str, bytes: &[u8], tag: &Tag) -> Result<Replacement, BucketError> {
        patiently(|| match self.objects.replace(key, bytes, tag, &Headers::default()) {
            Err(error) if error.may_be_done() => match self.get(key)? {
                Some(object) if object.bytes == bytes => Ok(Replacement::Replaced(object.tag)),
                Some(object) if object.tag == *tag => Err(not_done(self.objects, &error)),
                Some(_) => Ok(Replacement::Stale),
                None => Ok(Replacement::Missing),
            },
            Ok(Replacement::Stale) => Ok(match self.get(key)? {
                Some(object) if object.bytes == bytes => Replacement::Replaced(object.tag),
                _ => Replacement::Stale,
            }),
            other => other,
        })
    }
}

/// Retries a request while the store is busy or silent and does not carry it out.
fn patiently<T>(mut send: impl FnMut() -> Result<T, BucketError>) -> Result<T, BucketError> {
    let mut backoff = BACKOFF;
    for _ in 1..MAX_ATTEMPTS {
        match send() {
            Err(error) if error.is_temporary() && !error.may_be_done() => {
                let pause = backoff.pause().max(error.retry_after().unwrap_or_default());
                std::thread::sleep(pause.min(Duration::from_secs(5)));
            }
            other => return other,
        }
    }
    send()
}

/// The error of a write that had no effect, as a read has shown.
fn not_done(objects: &dyn Objects, error: &BucketError) -> BucketError {
    let (url, detail) = (objects.name(), error.to_string());
    BucketError::Unavailable { url, detail, retry_after: error.retry_after() }
}

/// Returns true if the store says that it does not support the condition.
const fn knows_no_condition(error: &BucketError) -> bool {
    matches!(error, BucketError::Refused { refusal: Refusal::NotImplemented, .. })
}
