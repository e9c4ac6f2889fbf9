//! A store in memory for tests, with the conditions of S3 and injected faults. A fault can come before or after the
//! effect.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::bucket::{
    BucketError, Creation, Ended, Headers, Listed, Listing, Object, Objects, Operation, Refusal, Replacement,
    Requests, Tag, check_key,
};

/// Sees each request before the store, with the key and the bytes to write, and may make it fail.
pub(crate) type Hook = dyn Fn(Operation, &str, &[u8]) -> Option<Fault> + Send + Sync;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails without effect. The outcome of a write is unclear ([`BucketError::Unclear`]).
    Failed,
    /// It fails after it took effect. The outcome of a write is unclear ([`BucketError::Unclear`]).
    FailedButPersisted,
    /// The store is busy and does nothing ([`BucketError::Busy`]).
    Busy,
    /// The store denies it ([`BucketError::Refused`]).
    Denied,
    /// It takes effect, but the store says that it was denied.
    DeniedButPersisted,
    /// The network sends it twice and returns the second answer.
    Twice,
}

/// A promise that the store breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lie {
    /// A creation replaces an existing object.
    CreateOverwrites,
    /// More than one of many concurrent creations succeeds.
    CreateRaces,
    /// A stale tag replaces an object.
    IgnoresTags,
    /// A replacement creates a missing object.
    ReplaceCreates,
    /// No tag ever matches.
    NoTagFits,
    /// Reads lag one write behind.
    OldReads,
    /// Lists lag one write behind.
    OldLists,
    /// A deleted object stays readable.
    KeepsDeleted,
}

/// [`Objects`] in memory. Clones are handles on the same store.
#[derive(Clone, Default)]
pub(crate) struct MemoryObjects {
    inner: Arc<Inner>,
    hook: Option<Arc<Hook>>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    requests: Requests,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    /// The objects before the last write.
    before: BTreeMap<String, Stored>,
    faults: VecDeque<(Operation, String, Fault)>,
    lies: Vec<Lie>,
    delay: Duration,
    limit: Option<Duration>,
    writes: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Vec<u8>,
    tag: Tag,
    tagging: Option<String>,
    content_type: String,
    cache_control: Option<String>,
}

impl MemoryObjects {
    /// Another handle on the same store, whose requests `hook` sees first.
    pub fn hooked(
        &self,
        hook: impl Fn(Operation, &str, &[u8]) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: self.inner.clone(), hook: Some(Arc::new(hook)) }
    }

    /// Makes the next request of this kind for a key that contains `key` fail. Faults queue up.
    pub fn inject(&self, operation: Operation, key: &str, fault: Fault) {
        self.state().faults.push_back((operation, key.to_owned(), fault));
    }

    /// The number of faults that no request has met yet.
    pub fn pending_faults(&self) -> usize {
        self.state().faults.len()
    }

    /// Makes the store break a promise from now on.
    pub fn lie(&self, lie: Lie) {
        self.state().lies.push(lie);
    }

    /// Delays every request.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// The time limit that a caller of [`within`](Objects::within) last set.
    pub fn limit(&self) -> Option<Duration> {
        self.state().limit
    }

    /// All keys with their bytes. Bypasses faults and counters.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.objects.iter().map(|(key, stored)| (key.clone(), stored.bytes.clone())).collect()
    }

    /// An object's bytes. Bypasses faults and counters.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.state().objects.get(key).map(|stored| stored.bytes.clone())
    }

    /// The S3 tags of an object. Bypasses faults and counters.
    pub fn tagging(&self, key: &str) -> Option<String> {
        self.state().objects.get(key).and_then(|stored| stored.tagging.clone())
    }

    /// `Content-Type` and `Cache-Control` of an object. Bypasses faults and counters.
    pub fn headers(&self, key: &str) -> Option<(String, Option<String>)> {
        let state = self.state();
        state.objects.get(key).map(|stored| (stored.content_type.clone(), stored.cache_control.clone()))
    }

    /// Sets an object, like somebody else. Bypasses faults and counters.
    pub fn set(&self, key: &str, bytes: &[u8]) {
        self.state().write(key, bytes, &Headers::default());
    }

    /// Removes an object, like somebody else. Bypasses faults and counters.
    pub fn remove(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// A separate store with the same objects, like a restored backup.
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        copy.state().objects.clone_from(&self.state().objects);
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while it is held")
    }

    /// Runs a request with the fault that is due, and counts it.
    fn request<T>(
        &self,
        operation: Operation,
        key: &str,
        sent: &[u8],
        run: impl Fn(&mut State) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let (begun, delay) = (Instant::now(), self.state().delay);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let hooked = self.hook.as_ref().and_then(|hook| hook(operation, key, sent));
        let mut state = self.state();
        let waiting = state.faults.iter().position(|(of, part, _)| *of == operation && key.contains(&**part));
        let injected = waiting.and_then(|at| state.faults.remove(at)).map(|(_, _, fault)| fault);
        let fault = hooked.or(injected);
        if let Some(Fault::FailedButPersisted | Fault::DeniedButPersisted | Fault::Twice) = fault {
            let _ = run(&mut state);
        }
        let (url, detail) = (format!("memory:{key}"), "an injected fault".to_owned());
        let result = match fault {
            None | Some(Fault::Twice) => run(&mut state),
            Some(Fault::Busy) => Err(BucketError::Busy { url, detail, retry_after: None }),
            Some(Fault::Denied | Fault::DeniedButPersisted) => {
                let (code, refusal) = ("AccessDenied".to_owned(), Refusal::Denied);
                Err(BucketError::Refused { url, status: 403, code, refusal, detail })
            }
            Some(Fault::Failed | Fault::FailedButPersisted) => Err(if operation.is_write() {
                BucketError::Unclear { operation, url, detail, retry_after: None }
            } else {
                BucketError::Unavailable { url, detail, retry_after: None }
            }),
        };
        drop(state);
        let ended = match &result {
            Ok(_) => Ended::Answered,
            Err(error) if error.may_be_done() => Ended::Unclear,
            Err(_) => Ended::Failed,
        };
        self.inner.requests.count(operation, ended, sent.len(), 0, begun.elapsed());
        result
    }
}

impl State {
    fn tells(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    fn write(&mut self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Tag {
        self.before.clone_from(&self.objects);
        self.writes += 1;
        // As in S3, the tag depends only on the bytes, so equal bytes have equal tags.
        let tag =
            Tag::parse(&hex::encode(&crate::merkle::Hash::digest(bytes).as_bytes()[..16])).expect("hex");
        let tagging = headers.tagging.map(str::to_owned);
        let (content_type, cache_control) =
            (headers.content_type.to_owned(), headers.cache_control.map(str::to_owned));
        let stored = Stored { bytes: bytes.to_vec(), tag: tag.clone(), tagging, content_type, cache_control };
        self.objects.insert(key.to_owned(), stored);
        tag
    }

    fn read(&self, key: &str) -> Option<&Stored> {
        let objects = if self.tells(Lie::OldReads) { &self.before } else { &self.objects };
        let deleted = || self.before.get(key).filter(|_| self.tells(Lie::KeepsDeleted));
        objects.get(key).or_else(deleted)
    }
}

impl Objects for MemoryObjects {
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError> {
        check_key(key)?;
        self.request(Operation::Get, key, b"", |state| {
            let Some(stored) = state.read(key) else { return Ok(None) };
            let seen = stored.bytes.len() as u64;
            if seen > limit as u64 {
                return Err(BucketError::TooLarge { url: format!("memory:{key}"), limit, seen });
            }
            Ok(Some(Object { bytes: stored.bytes.clone(), tag: stored.tag.clone() }))
        })
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        check_key(key)?;
        self.request(Operation::Get, key, b"", |state| {
            let Some(stored) = state.read(key) else { return Ok(None) };
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(stored.bytes.len());
            let to = from.saturating_add(length).min(stored.bytes.len());
            Ok(Some(Object { bytes: stored.bytes[from..to].to_vec(), tag: stored.tag.clone() }))
        })
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        check_key(key)?;
        self.request(Operation::Create, key, bytes, |state| {
            let overwrites = state.tells(Lie::CreateOverwrites)
                || state.tells(Lie::CreateRaces) && state.writes.is_multiple_of(7);
            if state.objects.contains_key(key) && !overwrites {
                state.writes += 1;
                return Ok(Creation::Exists);
            }
            Ok(Creation::Created(state.write(key, bytes, headers)))
        })
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        check_key(key)?;
        self.request(Operation::Replace, key, bytes, |state| {
            match state.objects.get(key) {
                None if !state.tells(Lie::ReplaceCreates) => return Ok(Replacement::Missing),
                Some(stored) if stored.tag != *tag && !state.tells(Lie::IgnoresTags) => {
                    return Ok(Replacement::Stale);
                }
                Some(_) if state.tells(Lie::NoTagFits) => return Ok(Replacement::Stale),
                _ => {}
            }
            Ok(Replacement::Replaced(state.write(key, bytes, headers)))
        })
    }

    fn put(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Tag, BucketError> {
        check_key(key)?;
        self.request(Operation::Put, key, bytes, |state| Ok(state.write(key, bytes, headers)))
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        self.request(Operation::List, prefix, b"", |state| {
            let objects = if state.tells(Lie::OldLists) { &state.before } else { &state.objects };
            let from = prefix.max(after);
            let bound = if from == after { Bound::Excluded(from) } else { Bound::Included(from) };
            let mut found = objects
                .range::<str, _>((bound, Bound::Unbounded))
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(key, stored)| Listed { key: key.clone(), size: stored.bytes.len() as u64 });
            let objects = found.by_ref().take(limit).collect();
            Ok(Listing { objects, more: found.next().is_some() })
        })
    }

    fn delete(&self, key: &str) -> Result<(), BucketError> {
        check_key(key)?;
        self.request(Operation::Delete, key, b"", |state| {
            if state.tells(Lie::KeepsDeleted) {
                state.before.clone_from(&state.objects);
            }
            state.objects.remove(key);
            Ok(())
        })
    }

    fn requests(&self) -> &Requests {
        &self.inner.requests
    }

    fn within(&self, limit: Duration) -> Option<Arc<dyn Objects>> {
        self.state().limit = Some(limit);
        None
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}
