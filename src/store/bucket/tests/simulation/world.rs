//! The bucket that the servers of a run share, and the scheduler. A server's thread that sends a request waits until
//! the scheduler lets the request succeed or fail. Only one thread runs at a time, so the choices determine the run.
//!
//! The scheduler has no thread: the thread that sends a request chooses the next event, and hands over.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::choices::{Choices, Picked};
use super::invariants::Invariants;
use super::requests::{Answer, Op, failed, tag_of};
use crate::bucket::{BucketError, Creation, Listed, Listing, Object, Replacement, Tag};

/// A possible next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The request succeeds, and the server gets the answer.
    Do(usize),
    /// The request is lost, and its outcome is unclear.
    Lose(usize),
    /// The request succeeds, and the answer is lost.
    DoAndLose(usize),
    /// The store is busy and refuses the request.
    Refuse(usize),
    /// The request is delayed, and the server stops waiting.
    Delay(usize),
    /// The request succeeds, and a copy of it is delayed.
    Double(usize),
    Kill(usize),
    DoAndKill(usize),
    /// The server pauses for longer than a lease, then resumes.
    Pause(usize),
    /// A sleeping server's time has come, and it wakes up.
    Wake(usize),
    /// A delayed request arrives.
    Arrive(usize),
}

/// Limits of one run.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Budget {
    /// Number of switches from a server that could continue to another.
    pub switches: usize,
    /// Number of failing requests and kills.
    pub faults: usize,
    /// Number of pauses for longer than a lease.
    pub pauses: usize,
}

struct Server {
    op: Option<Op>,
    answer: Option<Answer>,
    clock: Duration,
    /// The hash of all answers that the server got. They determine its behaviour.
    heard: u64,
    is_done: bool,
}

pub struct Inner {
    pub objects: BTreeMap<String, (Vec<u8>, Tag)>,
    /// Delayed requests.
    delayed: Vec<Op>,
    servers: Vec<Server>,
    current: usize,
    budget: Budget,
    pub steps: usize,
    pub choices: Choices,
    pub invariants: Invariants,
    /// The trace of events, if requested.
    pub trace: Vec<String>,
    pub is_traced: bool,
    pub outcome: Option<Outcome>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every server completed its task.
    Finished,
    /// The run reached a state that an earlier run has explored.
    SeenBefore,
    /// The run exceeded the maximal number of steps.
    TooLong,
    /// An invariant is broken.
    Broken(String),
}

pub struct World {
    inner: Mutex<Inner>,
    turn: Condvar,
}

/// The length of a lease.
pub const LEASE_SECONDS: u32 = 3;
/// Most steps of a run.
const MAX_STEPS: usize = 400;

impl World {
    pub fn new(servers: usize, budget: Budget, choices: Choices, invariants: Invariants) -> Self {
        let server = || Server { op: None, answer: None, clock: Duration::ZERO, heard: 0, is_done: false };
        let inner = Inner {
            objects: BTreeMap::new(),
            delayed: Vec::new(),
            servers: (0..servers).map(|_| server()).collect(),
            current: 0,
            budget,
            steps: 0,
            choices,
            invariants,
            trace: Vec::new(),
            is_traced: false,
            outcome: None,
        };
        Self { inner: Mutex::new(inner), turn: Condvar::new() }
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }

    pub fn into_inner(self) -> Inner {
        self.inner.into_inner().expect("no panic while it was held")
    }

    /// Runs a request when its turn comes. The first requests wait until every server has sent one.
    pub fn request(&self, server: usize, op: Op) -> Answer {
        let mut inner = self.inner();
        if inner.outcome.is_some() {
            // A server's statement may have ended the run while the others wait for an answer.
            inner.dispatch();
            self.turn.notify_all();
            return Answer::Over;
        }
        inner.servers[server].op = Some(op);
        if inner.servers.iter().all(|server| server.is_done || server.op.is_some()) {
            inner.dispatch();
            self.turn.notify_all();
        }
        loop {
            if let Some(answer) = inner.servers[server].answer.take() {
                return answer;
            }
            inner = self.turn.wait(inner).expect("no panic while it is held");
        }
    }

    /// The server's clock.
    pub fn clock(&self, server: usize) -> Duration {
        self.inner().servers[server].clock
    }

    /// Records that a server has completed its task.
    pub fn finish(&self, server: usize) {
        let mut inner = self.inner();
        inner.servers[server].is_done = true;
        inner.dispatch();
        self.turn.notify_all();
    }

    /// Records and checks a statement that a server makes to the outside.
    pub fn tell(
        &self,
        server: usize,
        what: impl FnOnce() -> String,
        check: impl FnOnce(&mut Invariants, &Objects) -> Result<(), String>,
    ) {
        let mut inner = self.inner();
        if inner.is_traced {
            inner.trace.push(format!("  server {server} {}", what()));
        }
        let Inner { objects, invariants, .. } = &mut *inner;
        if let Err(broken) = check(invariants, objects) {
            inner.end(Outcome::Broken(broken));
        }
    }
}

/// The objects with their tags.
pub type Objects = BTreeMap<String, (Vec<u8>, Tag)>;

impl Inner {
    fn end(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// Lets events happen until a server has an answer.
    fn dispatch(&mut self) {
        loop {
            if self.outcome.is_none() && self.servers.iter().all(|server| server.is_done) {
                self.settle();
            }
            if self.outcome.is_some() {
                for server in &mut self.servers {
                    server.answer = server.op.take().map(|_| Answer::Over).or(server.answer.take());
                }
                return;
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                self.end(Outcome::TooLong);
                continue;
            }
            let events = self.events();
            let state = self.state();
            let picked = match self.choices.pick(events.len(), state) {
                Picked::Choice(picked) => picked,
                Picked::SeenBefore => {
                    self.end(Outcome::SeenBefore);
                    continue;
                }
            };
            if self.happen(events[picked]) {
                return;
            }
        }
    }

    /// Lets the delayed requests arrive, and checks everything once more.
    fn settle(&mut self) {
        while !self.delayed.is_empty() && self.outcome.is_none() {
            self.happen(Event::Arrive(0));
        }
        let end = match self.invariants.at_end(&self.objects) {
            Ok(()) => Outcome::Finished,
            Err(broken) => Outcome::Broken(broken),
        };
        self.end(end);
    }

    /// All possible next events. The first is the normal one: the same server continues.
    fn events(&self) -> Vec<Event> {
        let Budget { switches, faults, pauses } = self.budget;
        let is_ready = |server: &Server| server.op.as_ref().is_some_and(|op| !matches!(op, Op::Sleep { .. }));
        let goes_on = is_ready(&self.servers[self.current]);
        let (mut events, mut wakes) = (Vec::new(), Vec::new());
        let others = (0..self.servers.len()).filter(|at| *at != self.current);
        for at in [self.current].into_iter().chain(others) {
            let Some(op) = &self.servers[at].op else { continue };
            if at != self.current && goes_on && switches == 0 {
                continue;
            }
            if matches!(op, Op::Sleep { .. }) {
                wakes.push(Event::Wake(at));
                continue;
            }
            events.push(Event::Do(at));
            if *op == Op::Begin {
                continue;
            }
            if faults > 0 {
                events.push(Event::Lose(at));
                if op.is_write() {
                    events.extend([Event::DoAndLose(at), Event::Delay(at), Event::Double(at)]);
                    events.extend([Event::Kill(at), Event::DoAndKill(at)]);
                }
                if op.is_conditional() {
                    events.push(Event::Refuse(at));
                }
            }
            if pauses > 0 {
                events.push(Event::Pause(at));
            }
        }
        events.extend(wakes);
        events.extend((0..self.delayed.len()).map(Event::Arrive));
        events
    }

    /// The hash of everything that determines the rest of the run.
    fn state(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, (_, tag)) in &self.objects {
            (key, tag).hash(&mut hasher);
        }
        self.delayed.hash(&mut hasher);
        for server in &self.servers {
            (&server.op, server.clock, server.heard, server.is_done).hash(&mut hasher);
        }
        (self.current, self.budget).hash(&mut hasher);
        hasher.finish()
    }

    /// Lets an event happen. Returns true if a server has an answer.
    fn happen(&mut self, event: Event) -> bool {
        if self.is_traced {
            let shown =
                |inner: &Self, at: usize| inner.servers[at].op.as_ref().map_or(String::new(), Op::shown);
            let line = match event {
                Event::Arrive(at) => format!("arrives: {}", self.delayed[at].shown()),
                Event::Do(at)
                | Event::Lose(at)
                | Event::DoAndLose(at)
                | Event::Refuse(at)
                | Event::Delay(at)
                | Event::Double(at)
                | Event::Kill(at)
                | Event::DoAndKill(at)
                | Event::Pause(at)
                | Event::Wake(at) => format!("{event:?}: {}", shown(self, at)),
            };
            self.trace.push(line);
        }
        let at = match event {
            Event::Arrive(at) => {
                let op = self.delayed.remove(at);
                let _ = self.perform(&op);
                return false;
            }
            Event::Do(at) | Event::Wake(at) => at,
            Event::Pause(at) => {
                self.budget.pauses -= 1;
                at
            }
            Event::Lose(at)
            | Event::DoAndLose(at)
            | Event::Refuse(at)
            | Event::Delay(at)
            | Event::Double(at)
            | Event::Kill(at)
            | Event::DoAndKill(at) => {
                self.budget.faults -= 1;
                at
            }
        };
        let goes_on =
            self.servers[self.current].op.as_ref().is_some_and(|op| !matches!(op, Op::Sleep { .. }));
        if at != self.current && goes_on {
            self.budget.switches -= 1;
        }
        self.current = at;
        let op = self.servers[at].op.take().expect("it waits");
        let answer = match event {
            Event::Do(_) => self.perform(&op),
            Event::Wake(_) => {
                let Op::Sleep { until } = op else { unreachable!("only sleepers wake") };
                let clock = &mut self.servers[at].clock;
                *clock = until.max(*clock);
                Answer::Done
            }
            Event::Pause(_) => {
                // A little more than a lease. Other servers may have done nothing meanwhile.
                self.servers[at].clock += Duration::from_secs(u64::from(LEASE_SECONDS) + 1);
                self.perform(&op)
            }
            Event::Lose(_) => failed(&op),
            Event::DoAndLose(_) => {
                let _ = self.perform(&op);
                failed(&op)
            }
            Event::Refuse(_) => Answer::Failed(BucketError::Busy {
                url: "simulated".to_owned(),
                detail: "refused".to_owned(),
                retry_after: None,
            }),
            Event::Delay(_) => {
                self.delayed.push(op.clone());
                failed(&op)
            }
            Event::Double(_) => {
                self.delayed.push(op.clone());
                self.perform(&op)
            }
            Event::Kill(_) => Answer::Killed,
            Event::DoAndKill(_) => {
                let _ = self.perform(&op);
                Answer::Killed
            }
            Event::Arrive(_) => unreachable!("returned above"),
        };
        let server = &mut self.servers[at];
        let mut hasher = DefaultHasher::new();
        (server.heard, server.clock).hash(&mut hasher);
        answer.hash(&mut hasher);
        server.heard = hasher.finish();
        server.answer = Some(answer);
        true
    }

    /// Carries out a request like a correct store, and checks the effect.
    fn perform(&mut self, op: &Op) -> Answer {
        match op {
            Op::Begin | Op::Sleep { .. } => Answer::Done,
            Op::Get { key } => {
                let object = self.objects.get(key);
                Answer::Object(object.map(|(bytes, tag)| Object { bytes: bytes.clone(), tag: tag.clone() }))
            }
            Op::List { prefix, after, limit } => {
                let keys = self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && *key > after);
                let mut found =
                    keys.map(|(key, (bytes, _))| Listed { key: key.clone(), size: bytes.len() as u64 });
                let objects = found.by_ref().take(*limit).collect();
                Answer::Listing(Listing { objects, more: found.next().is_some() })
            }
            Op::Create { key, .. } if self.objects.contains_key(key) => Answer::Creation(Creation::Exists),
            Op::Create { key, bytes } => Answer::Creation(Creation::Created(self.write(key, bytes))),
            Op::Replace { key, bytes, tag } => Answer::Replacement(match self.objects.get(key) {
                None => Replacement::Missing,
                Some((_, seen)) if seen != tag => Replacement::Stale,
                Some(_) => Replacement::Replaced(self.write(key, bytes)),
            }),
            Op::Put { key, bytes } => Answer::Tag(self.write(key, bytes)),
        }
    }

    fn write(&mut self, key: &str, bytes: &[u8]) -> Tag {
        let tag = tag_of(bytes);
        let before = self.objects.insert(key.to_owned(), (bytes.to_vec(), tag.clone()));
        let before = before.map(|(bytes, _)| bytes);
        if let Err(broken) = self.invariants.after_write(&self.objects, key, before.as_deref()) {
            self.end(Outcome::Broken(broken));
        }
        tag
    }
}
