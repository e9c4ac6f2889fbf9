//! One process's connection to the bucket, with random faults.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Mutant;
use super::judge::Judge;
use crate::bucket::tests::memory::MemoryObjects;
use crate::bucket::{
    BucketError, Creation, Headers, Listing, Object, Objects, Operation, Replacement, Requests, Tag,
};
use crate::store::bucket::HeadKind;
use crate::store::bucket::layout::{BATCHES, TILES};

/// `SplitMix64`.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A delayed write, or a delayed copy of a write.
enum Late {
    Create(String, Vec<u8>),
    Replace(String, Vec<u8>, Tag),
    Put(String, Vec<u8>),
}

/// The state that all processes share.
pub struct Shared {
    pub judge: Mutex<Judge>,
    late: Mutex<Vec<Late>>,
    /// True once there are no further faults.
    pub is_calm: AtomicBool,
    pub mutant: Option<Mutant>,
}

impl Shared {
    pub fn new(judge: Judge, mutant: Option<Mutant>) -> Self {
        let (judge, late) = (Mutex::new(judge), Mutex::default());
        Self { judge, late, is_calm: AtomicBool::new(false), mutant }
    }

    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().expect("no panic while it is held")
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Delivers a delayed write.
    fn deliver(&self, random: u64) {
        let late = {
            let mut late = self.late.lock().expect("no panic while it is held");
            if late.is_empty() {
                return;
            }
            let at = usize::try_from(random).expect("small") % late.len();
            late.swap_remove(at)
        };
        let headers = Headers::default();
        let key = match &late {
            Late::Create(key, _) | Late::Replace(key, ..) | Late::Put(key, _) => key.clone(),
        };
        self.judge().write(&key, |objects| match &late {
            Late::Create(key, bytes) => drop(objects.create(key, bytes, &headers)),
            Late::Replace(key, bytes, tag) => drop(objects.replace(key, bytes, tag, &headers)),
            Late::Put(key, bytes) => drop(objects.put(key, bytes, &headers)),
        });
    }
}

/// The controls of a process.
#[derive(Default)]
pub struct Process {
    /// Number of requests until the process is killed; negative for never.
    until_kill: AtomicI64,
    pub is_dead: AtomicBool,
    held_until: Mutex<Option<Instant>>,
    /// True if the process believes that it is its turn.
    pub holds: AtomicBool,
}

impl Process {
    pub fn new(holds: bool) -> Self {
        Self { until_kill: AtomicI64::new(-1), holds: AtomicBool::new(holds), ..Self::default() }
    }

    pub fn kill_after(&self, requests: u64) {
        self.until_kill.store(i64::try_from(requests).expect("few"), Ordering::SeqCst);
    }

    /// Delays all requests for a while, like a stopped process.
    pub fn pause(&self, time: Duration) {
        *self.held_until.lock().expect("no panic while it is held") = Some(Instant::now() + time);
    }

    fn wait(&self) {
        let until = *self.held_until.lock().expect("no panic while it is held");
        if let Some(pause) = until.and_then(|until| until.checked_duration_since(Instant::now())) {
            std::thread::sleep(pause);
        }
    }
}

/// The bucket for one process.
pub struct Wild {
    pub shared: Arc<Shared>,
    pub process: Arc<Process>,
    random: Mutex<Random>,
    requests: Requests,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Slow,
    Lost,
    DoneAndLost,
    Busy,
    Twice,
    Later,
}

fn failed(operation: Operation) -> BucketError {
    let (url, detail, retry_after) = ("wild".to_owned(), "lost".to_owned(), None);
    if operation.is_write() {
        BucketError::Unclear { operation, url, detail, retry_after }
    } else {
        BucketError::Unavailable { url, detail, retry_after }
    }
}

impl Wild {
    pub fn new(shared: Arc<Shared>, process: Arc<Process>, seed: u64) -> Self {
        Self { shared, process, random: Mutex::new(Random(seed)), requests: Requests::default() }
    }

    fn draw(&self, limit: u64) -> u64 {
        self.random.lock().expect("no panic while it is held").below(limit)
    }

    /// Sends a request, and retries a repeatable one once. The client of a real store retries for longer.
    fn request<T>(
        &self,
        operation: Operation,
        key: &str,
        late: impl Fn() -> Option<Late>,
        run: impl Fn(&MemoryObjects) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let once = || self.request_once(operation, key, &late, &run);
        let is_repeatable = !matches!(operation, Operation::Create | Operation::Replace);
        once().or_else(|error| if is_repeatable { once() } else { Err(error) })
    }

    fn request_once<T>(
        &self,
        operation: Operation,
        key: &str,
        late: impl Fn() -> Option<Late>,
        run: impl Fn(&MemoryObjects) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        self.process.wait();
        let is_calm = self.shared.is_calm.load(Ordering::SeqCst);
        if !is_calm && self.draw(4) == 0 {
            self.shared.deliver(self.draw(1_000));
        }
        let is_killed = match self.process.until_kill.load(Ordering::SeqCst) {
            -1 => false,
            left => left == 0 || self.process.until_kill.fetch_sub(1, Ordering::SeqCst) <= 1,
        };
        if self.process.is_dead.load(Ordering::SeqCst) {
            return Err(failed(operation));
        }
        let fate = match self.draw(100) {
            _ if is_killed && self.draw(2) == 0 => Fate::Lost,
            _ if is_killed => Fate::DoneAndLost,
            _ if is_calm => Fate::Done,
            0..=1 => Fate::Lost,
            2..=3 => Fate::DoneAndLost,
            4 => Fate::Busy,
            5..=6 => Fate::Twice,
            7 => Fate::Later,
            8..=30 => Fate::Slow,
            _ => Fate::Done,
        };
        self.process.is_dead.fetch_or(is_killed, Ordering::SeqCst);
        if fate == Fate::Slow {
            std::thread::sleep(Duration::from_micros(self.draw(3_000)));
        }
        if matches!(fate, Fate::Twice | Fate::Later) {
            self.shared.late.lock().expect("no panic while it is held").extend(late());
        }
        match fate {
            Fate::Lost | Fate::Later => return Err(failed(operation)),
            Fate::Busy => {
                let (url, detail) = ("wild".to_owned(), "busy".to_owned());
                return Err(BucketError::Busy { url, detail, retry_after: None });
            }
            Fate::Done | Fate::Slow | Fate::DoneAndLost | Fate::Twice => {}
        }
        let answer = self.shared.judge().write(key, run);
        if fate == Fate::DoneAndLost { Err(failed(operation)) } else { answer }
    }
}

impl Objects for Wild {
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError> {
        self.request(Operation::Get, key, || None, |objects| objects.get(key, limit))
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        self.request(Operation::Get, key, || None, |objects| objects.get_range(key, offset, length))
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        let late = || Some(Late::Create(key.to_owned(), bytes.to_vec()));
        let created =
            self.request(Operation::Create, key, late, |objects| objects.create(key, bytes, headers));
        match created {
            Err(error)
                if self.shared.is(Mutant::BelievesUnclear)
                    && key.starts_with(BATCHES)
                    && error.may_be_done() =>
            {
                Ok(Creation::Created(Tag::parse("x").expect("a tag")))
            }
            created => created,
        }
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        if self.shared.is(Mutant::UnconditionalHead) && HeadKind::parse(key).is_some() {
            return self.put(key, bytes, headers).map(Replacement::Replaced);
        }
        let late = || Some(Late::Replace(key.to_owned(), bytes.to_vec(), tag.clone()));
        self.request(Operation::Replace, key, late, |objects| objects.replace(key, bytes, tag, headers))
    }

    fn put(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Tag, BucketError> {
        if self.shared.is(Mutant::HeadBeforeTiles) && key.starts_with(TILES) {
            let late = Late::Put(key.to_owned(), bytes.to_vec());
            self.shared.late.lock().expect("no panic while it is held").push(late);
            return Ok(Tag::parse("x").expect("a tag"));
        }
        let late = || Some(Late::Put(key.to_owned(), bytes.to_vec()));
        self.request(Operation::Put, key, late, |objects| objects.put(key, bytes, headers))
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        self.request(Operation::List, prefix, || None, |objects| objects.list(prefix, after, limit))
    }

    fn delete(&self, key: &str) -> Result<(), BucketError> {
        self.request(Operation::Delete, key, || None, |objects| objects.delete(key))
    }

    fn requests(&self) -> &Requests {
        &self.requests
    }

    fn name(&self) -> String {
        "wild".to_owned()
    }
}
