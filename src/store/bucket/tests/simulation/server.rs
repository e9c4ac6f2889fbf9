//! A minimal server: it takes the lease, follows, plans, appends, answers, writes tiles, signs and publishes, with the
//! real lease and chain. A kill loses its memory; its submissions are then sent again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::invariants::tiles;
use super::log_signer as signer;
use super::requests::{Answer, Op, tag_of};
use super::world::{LEASE_SECONDS, World};
use crate::bucket::{BucketError, Creation, Headers, Listing, Object, Objects, Replacement, Requests, Tag};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, RightEdge, TreeSize, reference};
use crate::store::bucket::layout::{BATCHES, HeadKind};
use crate::store::bucket::{
    Appended, Chain, ChainError, ChainOptions, Decision, HeadReplaced, Lease, WriterId,
};
use crate::store::tests::fixtures::{ORIGIN, batch_of};

/// A fault built into the servers, which the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Writes batches unconditionally.
    UnconditionalBatch,
    /// Assumes that a write with a lost answer succeeded.
    BelievesUnclear,
    /// Writes heads unconditionally.
    UnconditionalHead,
    /// Trusts the lease: its holder replaces another server's batch.
    TrustsTheLease,
    /// Answers before the batch is durable.
    AnswersBeforeAppending,
    /// Appends its old plan after it was overtaken.
    KeepsItsPlan,
    /// Publishes a head before its tiles.
    HeadBeforeTiles,
    /// Signs before the batch is durable.
    SignsBeforeAppending,
}

/// A server's connection to the bucket, in which its thread waits.
struct Port {
    world: Arc<World>,
    server: usize,
    mutant: Option<Mutant>,
    holds_lease: AtomicBool,
    requests: Requests,
}

/// Panic payload that ends a process, like a kill.
struct Killed;
struct Over;

impl Port {
    fn request<T>(&self, op: Op, read: impl FnOnce(Answer) -> Option<T>) -> Result<T, BucketError> {
        match self.world.request(self.server, op) {
            Answer::Failed(error) => Err(error),
            Answer::Killed => resume_unwind(Box::new(Killed)),
            Answer::Over => resume_unwind(Box::new(Over)),
            answer => Ok(read(answer).expect("an answer of the request's kind")),
        }
    }

    fn sleep(&self, until: Duration) {
        let _ = self.request(Op::Sleep { until }, |_| Some(()));
    }
}

impl Objects for Port {
    fn get(&self, key: &str, _: usize) -> Result<Option<Object>, BucketError> {
        self.request(Op::Get { key: key.to_owned() }, |answer| match answer {
            Answer::Object(object) => Some(object),
            _ => None,
        })
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        let object = self.get(key, usize::MAX)?;
        let from = usize::try_from(offset).expect("small");
        Ok(object.map(|Object { bytes, tag }| Object {
            bytes: bytes[from..].iter().take(length).copied().collect(),
            tag,
        }))
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        let is_batch = key.starts_with(BATCHES);
        if is_batch && self.mutant == Some(Mutant::UnconditionalBatch) {
            return self.put(key, bytes, headers).map(Creation::Created);
        }
        let op = Op::Create { key: key.to_owned(), bytes: bytes.to_vec() };
        let created = self.request(op, |answer| match answer {
            Answer::Creation(creation) => Some(creation),
            _ => None,
        });
        let holds = self.holds_lease.load(Ordering::Relaxed);
        match (created, self.mutant) {
            (Err(error), Some(Mutant::BelievesUnclear)) if error.may_be_done() => {
                Ok(Creation::Created(tag_of(bytes)))
            }
            (Ok(Creation::Exists), Some(Mutant::TrustsTheLease)) if is_batch && holds => {
                self.put(key, bytes, headers).map(Creation::Created)
            }
            (created, _) => created,
        }
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        if HeadKind::parse(key).is_some() && self.mutant == Some(Mutant::UnconditionalHead) {
            return self.put(key, bytes, headers).map(Replacement::Replaced);
        }
        let op = Op::Replace { key: key.to_owned(), bytes: bytes.to_vec(), tag: tag.clone() };
        let replaced = self.request(op, |answer| match answer {
            Answer::Replacement(replacement) => Some(replacement),
            _ => None,
        });
        match replaced {
            Err(error) if error.may_be_done() && self.mutant == Some(Mutant::BelievesUnclear) => {
                Ok(Replacement::Replaced(tag_of(bytes)))
            }
            replaced => replaced,
        }
    }

    fn put(&self, key: &str, bytes: &[u8], _: &Headers<'_>) -> Result<Tag, BucketError> {
        self.request(Op::Put { key: key.to_owned(), bytes: bytes.to_vec() }, |answer| match answer {
            Answer::Tag(tag) => Some(tag),
            _ => None,
        })
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        let op = Op::List { prefix: prefix.to_owned(), after: after.to_owned(), limit };
        self.request(op, |answer| match answer {
            Answer::Listing(listing) => Some(listing),
            _ => None,
        })
    }

    fn delete(&self, _: &str) -> Result<(), BucketError> {
        unreachable!("nothing is deleted")
    }

    fn requests(&self) -> &Requests {
        &self.requests
    }

    fn name(&self) -> String {
        "simulated".to_owned()
    }
}

/// A server's task.
#[derive(Clone)]
pub struct Orders {
    pub world: Arc<World>,
    pub server: usize,
    pub entries: Vec<Vec<u8>>,
    pub mutant: Option<Mutant>,
    /// Publishes only heads that were written as signed heads before, like a log with witnesses.
    pub witnessed: bool,
    pub all_tiles: bool,
}

/// Runs a server until its task is done, with a new process after each kill.
pub fn run(orders: &Orders) {
    for process in 0.. {
        let ended = catch_unwind(AssertUnwindSafe(|| Process::start(orders, process).run()));
        match ended {
            Ok(()) => break,
            Err(why) if why.is::<Killed>() => {}
            Err(why) if why.is::<Over>() => return,
            Err(_) => {
                // The panic's message is on standard error. End the run, so that the others do not wait.
                let broken = || format!("server {} panicked", orders.server);
                orders.world.tell(orders.server, broken, |_, _| Err(broken()));
                break;
            }
        }
    }
    orders.world.finish(orders.server);
}

/// One process of a server.
struct Process<'a> {
    orders: &'a Orders,
    port: Arc<Port>,
    lease: Lease,
    chain: Option<Chain>,
    /// The log as this process knows it.
    entries: Vec<Vec<u8>>,
    /// The submissions without an answer.
    waiting: Vec<Vec<u8>>,
    nonces: Arc<AtomicU64>,
    begun: Instant,
    id: WriterId,
    is_stale: Rc<Cell<bool>>,
}

fn root(entries: &[Vec<u8>]) -> Hash {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    reference::root(&leaves)
}

fn edge(entries: &[Vec<u8>]) -> RightEdge {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    RightEdge::default().grow(&leaves).edge
}

impl<'a> Process<'a> {
    fn start(orders: &'a Orders, process: u8) -> Self {
        let number = u8::try_from(orders.server).expect("a few servers");
        let id = WriterId::from_bytes([number * 16 + process; 16]);
        let port = Port {
            world: orders.world.clone(),
            server: orders.server,
            mutant: orders.mutant,
            holds_lease: false.into(),
            requests: Requests::default(),
        };
        Self {
            orders,
            port: Arc::new(port),
            lease: Lease::new(id, None, LEASE_SECONDS),
            chain: None,
            entries: Vec::new(),
            waiting: orders.entries.clone(),
            nonces: Arc::default(),
            begun: Instant::now(),
            id,
            is_stale: Rc::default(),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.orders.mutant == Some(mutant)
    }

    fn now(&self) -> Instant {
        self.begun + self.orders.world.clock(self.orders.server)
    }

    fn run(mut self) {
        let _ = self.port.request(Op::Begin, |_| Some(()));
        loop {
            // LEASE: advice about which server should append.
            let (port, world, server, begun) =
                (self.port.clone(), &self.orders.world, self.orders.server, self.begun);
            let decision = self.lease.step(port.as_ref(), true, || begun + world.clock(server));
            let holds = matches!(decision, Ok(Decision::Hold(_)));
            self.port.holds_lease.store(holds, Ordering::Relaxed);
            match decision {
                Ok(Decision::Hold(_)) => {}
                Ok(Decision::Wait(until)) => {
                    self.port.sleep(until - self.begun);
                    continue;
                }
                Ok(Decision::Take) | Err(_) => continue,
            }
            match self.turn() {
                Ok(true) => break,
                Ok(false) => {}
                // After an error, discard what is in memory.
                Err(_) => self.is_stale.set(true),
            }
        }
        // A clean shutdown: the others need not wait.
        let now = self.now();
        let _ = self.lease.release(self.port.clone().as_ref(), now);
    }

    /// One turn of the sequencer. Returns true if there is nothing more to do.
    fn turn(&mut self) -> Result<bool, ChainError> {
        self.follow()?;
        // PLAN: answer entries that the log has already with their index.
        let (known, fresh): (Vec<_>, Vec<_>) =
            self.waiting.iter().cloned().partition(|entry| self.entries.contains(entry));
        known.iter().for_each(|entry| self.answer(entry));
        let mut planned = fresh;
        while !planned.is_empty() {
            let batch = batch_of(&edge(&self.entries), planned.clone());
            if self.is(Mutant::AnswersBeforeAppending) {
                self.entries.extend(planned.iter().cloned());
                planned.iter().for_each(|entry| self.answer(entry));
            }
            if self.is(Mutant::SignsBeforeAppending) {
                let all = [self.entries.as_slice(), &planned].concat();
                self.sign(&all);
            }
            // APPEND.
            match self.chain_mut().append(&batch)? {
                Appended::Done => {
                    if !self.is(Mutant::AnswersBeforeAppending) {
                        self.entries.extend(planned.iter().cloned());
                    }
                    // ANSWER.
                    planned.iter().for_each(|entry| self.answer(entry));
                    break;
                }
                Appended::Overtaken { .. } if self.is(Mutant::KeepsItsPlan) => self.ingest()?,
                Appended::Overtaken { .. } => {
                    self.ingest()?;
                    // Drop entries that the other server has appended.
                    planned.retain(|entry| !self.entries.contains(entry));
                    let found: Vec<_> =
                        self.waiting.iter().filter(|entry| self.entries.contains(entry)).cloned().collect();
                    found.iter().for_each(|entry| self.answer(entry));
                }
            }
        }
        self.publish()?;
        let published = self.chain_mut().head(HeadKind::Published).map_or(0, |head| head.head.size.get());
        Ok(self.waiting.is_empty() && published >= self.entries.len() as u64)
    }

    fn chain_mut(&mut self) -> &mut Chain {
        self.chain.as_mut().expect("followed before")
    }

    /// Reads the heads, and the batches that others appended.
    fn follow(&mut self) -> Result<(), ChainError> {
        let entries = self.entries.clone();
        let root_at =
            |size: TreeSize| Ok::<_, ChainError>(root(&entries[..usize::try_from(size.get()).expect("few")]));
        match &mut self.chain {
            None => {
                let mut options = ChainOptions::new(
                    self.port.clone(),
                    signer().public().name().into(),
                    vec![signer().public().clone()],
                    self.id,
                );
                // Each attempt of each process gets a distinct nonce, as if it were random.
                let (id, nonces) = (self.id.to_string(), self.nonces.clone());
                options.nonces = Box::new(move || {
                    let count = nonces.fetch_add(1, Ordering::Relaxed);
                    let digest = Hash::digest(format!("{id} {count}").as_bytes());
                    Ok(*digest.as_bytes().first_chunk().expect("longer"))
                });
                self.chain = Some(Chain::open(options, edge(&self.entries), root_at)?);
            }
            Some(chain) if self.is_stale.get() => chain.restart(edge(&entries), root_at)?,
            Some(chain) => {
                chain.read_head(HeadKind::Published, root_at)?;
            }
        }
        self.is_stale.set(false);
        self.ingest()
    }

    fn ingest(&mut self) -> Result<(), ChainError> {
        while let Some(followed) = self.chain_mut().next_batch()? {
            self.entries.extend(followed.object.entries().map(<[u8]>::to_vec));
        }
        Ok(())
    }

    fn answer(&mut self, entry: &[u8]) {
        let Some(index) = self.entries.iter().position(|known| known == entry) else { return };
        self.waiting.retain(|waiting| waiting != entry);
        let what = || format!("answers {} at {index}", String::from_utf8_lossy(entry));
        let check = |invariants: &mut super::invariants::Invariants, objects: &super::world::Objects| {
            invariants.acknowledge(objects, entry, index as u64)
        };
        self.orders.world.tell(self.orders.server, what, check);
    }

    fn sign(&self, entries: &[Vec<u8>]) -> Vec<u8> {
        let size = TreeSize::new(entries.len() as u64).expect("few");
        let head = Checkpoint::new(signer().public().name().clone(), size, root(entries));
        let what = || format!("signs a head of {size}");
        self.orders
            .world
            .tell(self.orders.server, what, |invariants, objects| invariants.sign(objects, &head));
        head.sign(signer()).to_string().into_bytes()
    }

    /// Writes the tiles, then signs and writes a head over all entries.
    fn publish(&mut self) -> Result<(), ChainError> {
        let entries = self.entries.clone();
        let root_at =
            |size: TreeSize| Ok::<_, ChainError>(root(&entries[..usize::try_from(size.get()).expect("few")]));
        let published = self.chain_mut().head(HeadKind::Published).map_or(0, |head| head.head.size.get());
        if published >= entries.len() as u64 {
            return Ok(());
        }
        let put = |port: &Port| {
            let tiles = tiles(&entries, self.orders.all_tiles);
            tiles.iter().try_for_each(|(key, bytes)| port.put(key, bytes, &Headers::default()).map(drop))
        };
        // TILES. They depend only on the chain, so every server writes the same ones.
        if !self.is(Mutant::HeadBeforeTiles) {
            put(&self.port)?;
        }
        // SIGN, and HEAD.
        let note = self.sign(&entries);
        let kinds: &[HeadKind] = if self.orders.witnessed {
            &[HeadKind::Signed, HeadKind::Published]
        } else {
            &[HeadKind::Published]
        };
        for kind in kinds {
            // Replace a smaller head of another server, and leave a larger one.
            while self.chain_mut().replace_head(*kind, &note, root_at)? == HeadReplaced::Overtaken {
                let there = self.chain_mut().head(*kind).map_or(0, |head| head.head.size.get());
                if there >= entries.len() as u64 {
                    break;
                }
            }
        }
        if self.is(Mutant::HeadBeforeTiles) {
            put(&self.port)?;
        }
        Ok(())
    }
}

/// The first head, as `init` writes it.
pub fn first_head() -> Vec<u8> {
    assert_eq!(signer().public().name().as_str(), ORIGIN);
    Checkpoint::new(signer().public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT)
        .sign(signer())
        .to_string()
        .into_bytes()
}
