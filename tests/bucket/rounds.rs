//! Rounds of faults. One to three servers in this process append to one log, each behind a proxy that loses, delays,
//! repeats and refuses its requests. Then, without faults, the oracle judges the bucket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use tempfile::TempDir;
use treehead::bucket::{Address, Headers, Objects, S3, StoreOptions, TagStyle};
use treehead::checkpoint::{Checkpoint, LogSigner, Origin};
use treehead::merkle::{Hash, TreeSize};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Options, Sequencer, StartError, SubmitError, Trouble, Wait};
use treehead::store::bucket::{BucketFsck, BucketOptions, BucketStore, make};
use treehead::store::{OpenOptions, StoreError};

use crate::REQUIRED;
use crate::faults::{Fault, Plan};
use crate::fleet::remove_cache;
use crate::needs::{Outcome, ignored};
use crate::oracle::{self, Found, judge};
use crate::promises::Promises;
use crate::proxy::{Link, Proxy};
use crate::random::Random;
use crate::settings;
use crate::store::{Store, store};

const ORIGIN: &str = "log.example.com/rounds";
/// Number of rounds in `cargo test`. By hand, use `TREEHEAD_TEST_ROUNDS=300`.
const ROUNDS: u64 = 12;
/// Length of a round's part with faults.
const TIME: Duration = Duration::from_millis(1_500);
/// Time limits of the servers' clients: for one answer, and for all retries.
const TIMEOUT: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_millis(800);
/// Number of senders for each server.
const SENDERS: u64 = 3;
/// Number of concurrent rounds, which mostly wait.
const AT_ONCE: u64 = 4;

fn signer() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(ORIGIN).expect("a name"), SignatureType::Ed25519, &[7; 32])
}

/// One round, determined by its seed.
struct Round<'a> {
    store: &'a Store,
    tags: TagStyle,
    seed: u64,
    prefix: String,
    servers: u64,
    percent: u64,
    /// Length of the lease. If `None`, all servers always try to append.
    lease_seconds: Option<u32>,
    linger: Duration,
    /// True if the store sometimes fails to find an existing object, so that servers may report damage.
    may_miss: bool,
    direct: Arc<dyn Objects>,
    promises: Promises,
}

/// Counts over rounds.
#[derive(Debug, Default)]
struct Totals {
    rounds: u64,
    batches: usize,
    entries: usize,
    heads: usize,
    tiles: usize,
    acknowledged: u64,
    faults: u64,
    lives: u64,
}

pub fn a_log_survives_rounds_of_faults() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let seed = settings::seed();
    let rounds = settings::number("TREEHEAD_TEST_ROUNDS", if seed.is_some() { 1 } else { ROUNDS });
    let first = seed.unwrap_or_else(settings::fresh_seed);
    let tags = store.tag_style();
    let (next, totals, failed) = (AtomicU64::new(first), Mutex::<Totals>::default(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(rounds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + rounds || !failed.lock().expect("no panic").is_empty() {
                        break;
                    }
                    let round = || Round::new(&store, tags, seed).run(&totals);
                    if catch_unwind(AssertUnwindSafe(round)).is_err() {
                        failed.lock().expect("no panic").push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner()?;
    if let Some(seed) = failed.first() {
        return Err(format!("rounds {failed:?} failed; TREEHEAD_TEST_SEED={seed} repeats one").into());
    }
    let totals = totals.into_inner()?;
    println!("{totals:?}");
    Ok(Completion::Completed)
}

pub fn the_judge_finds_what_is_wrong() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let round = Round { servers: 1, percent: 0, may_miss: false, ..Round::new(&store, store.tag_style(), 1) };
    round.play();
    let (objects, promises) = (&round.direct, &round.promises);
    let found = judge(objects, promises)?;
    let batches = oracle::list(objects.as_ref(), "batch/")?;
    let wrong = |expected: &str| {
        let error = judge(objects, promises).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    let tile = oracle::tiles_of(found.entries).pop().expect("there are entries");
    for (key, changed, missing) in [
        (&tile, "is wrong", "is missing"),
        (batches.first().expect("there are batches"), "checksum", "expected a batch"),
        (batches.last().expect("there are batches"), "checksum", "was acknowledged at"),
    ] {
        let whole = objects.get(key, 10_000_000)?.expect("it is there").bytes;
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        objects.put(key, &bytes, &Headers::default())?;
        wrong(changed);
        objects.delete(key)?;
        wrong(missing);
        objects.put(key, &whole, &Headers::default())?;
    }
    judge(objects, promises)?;
    // A head that does not match the chain.
    let log = LogSigner::from(signer());
    let size = TreeSize::new(found.entries as u64 + 1).expect("small");
    let fork = log.sign(&Checkpoint::new(log.origin().clone(), size, Hash::digest(b"fork")), 1).to_string();
    promises.show("a split view", fork.as_bytes());
    wrong("a head of");
    // An entry that the log lost.
    promises.send(b"lost");
    promises.acknowledge(b"lost", 0);
    wrong("lost was acknowledged at 0");
    Ok(Completion::Completed)
}

impl<'a> Round<'a> {
    fn new(store: &'a Store, tags: TagStyle, seed: u64) -> Self {
        let mut random = Random(seed);
        let prefix = format!("rounds/{}-{seed}", settings::fresh_seed());
        let direct = store.client(&prefix);
        direct.use_tag_style(tags);
        Self {
            store,
            tags,
            seed,
            prefix,
            servers: 1 + random.below(3),
            percent: [4, 12, 30][usize::try_from(random.below(3)).expect("small")],
            lease_seconds: random.one_in(3).then_some(1),
            linger: Duration::from_millis(random.below(2) * 20),
            may_miss: random.one_in(4),
            direct: Arc::new(direct),
            promises: Promises::new(signer().public().clone()),
        }
    }

    fn run(&self, totals: &Mutex<Totals>) {
        let (proxies, lives) = self.play();
        let found = judge(&self.direct, &self.promises).unwrap_or_else(|wrong| panic!("{wrong}"));
        self.remove_something(&found);
        let mut totals = totals.lock().expect("no panic while it is held");
        totals.rounds += 1;
        totals.batches += found.batches;
        totals.entries += found.entries;
        totals.heads += found.heads;
        totals.tiles += found.tiles;
        totals.acknowledged += self.promises.acknowledged();
        let faults = proxies.iter().flat_map(Proxy::counts).filter(|(fault, _)| *fault != Fault::None);
        totals.faults += faults.map(|(_, count)| count).sum::<u64>();
        totals.lives += lives;
    }

    /// Makes a log and runs its servers. Returns their proxies, and the number of starts.
    fn play(&self) -> (Vec<Proxy>, u64) {
        let log = LogSigner::from(signer());
        let empty = Checkpoint::new(log.origin().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
        let empty = log.sign(&empty, treehead::clock::now()).to_string();
        make(self.direct.as_ref(), ORIGIN, "opaque", empty.as_bytes(), false).expect("a log");
        let proxies: Vec<Proxy> = (0..self.servers).map(|number| self.proxy(number)).collect();
        let dirs: Vec<TempDir> = proxies.iter().map(|_| tempfile::tempdir().expect("a directory")).collect();
        let (until, done, lives) = (Instant::now() + TIME, AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| self.watch(&done));
            let servers = (0..).zip(&proxies).zip(&dirs);
            let servers: Vec<_> = servers
                .map(|((number, proxy), dir)| {
                    let lives = &lives;
                    scope.spawn(move || self.serve(number, proxy, dir, until, lives))
                })
                .collect();
            let ended: Vec<bool> = servers.into_iter().map(|server| server.join().is_ok()).collect();
            // Let late requests arrive while the last server starts.
            if ended.iter().all(|ok| *ok) {
                self.finish(&dirs[0]);
                proxies.iter().for_each(Proxy::drain);
            }
            done.store(true, Ordering::SeqCst);
            assert!(ended.iter().all(|ok| *ok), "a server failed");
        });
        (proxies, lives.into_inner())
    }

    fn proxy(&self, number: u64) -> Proxy {
        let mut faults = Fault::HONEST.to_vec();
        faults.extend(self.may_miss.then_some(Fault::Missing));
        let random = Random(self.seed.wrapping_mul(1_000_003) + number);
        let latest = Duration::from_millis(700);
        let plan = Plan { random, percent: self.percent, lost_percent: 1, faults, timeout: TIMEOUT, latest };
        Proxy::before(&self.store.endpoint, plan)
    }

    /// The options of a server with this client.
    fn options(&self, objects: Arc<dyn Objects>) -> BucketOptions {
        let mut open = OpenOptions::new(ORIGIN);
        open.log_key = Some(signer().public().clone());
        let options = BucketOptions::new(objects, open).expect("randomness");
        BucketOptions { lease_seconds: self.lease_seconds, ..options }
    }

    fn start(&self, dir: &TempDir, objects: Arc<dyn Objects>) -> Result<Sequencer, StoreError> {
        let store = BucketStore::open(dir.path(), self.options(objects))?;
        let interval = Duration::from_millis(20);
        let options = Options { publish_interval: interval, linger: self.linger, ..Options::default() };
        Sequencer::start(Box::new(store), signer(), &options, None).map_err(|error| match error {
            StartError::Store(error) => error,
            error => panic!("{error}"),
        })
    }

    /// Runs a server until the time is up, and restarts it at random.
    fn serve(&self, number: u64, proxy: &Proxy, dir: &TempDir, until: Instant, lives: &AtomicU64) {
        let mut random = Random(self.seed.wrapping_mul(97) + number);
        let late = Arc::new(AtomicU64::new(0));
        let objects = self.client(&proxy.url, late.clone());
        while Instant::now() < until {
            if random.one_in(3) {
                remove_cache(dir.path());
            }
            lives.fetch_add(1, Ordering::SeqCst);
            match self.start(dir, objects.clone()) {
                Ok(sequencer) => self.live(number, &sequencer, proxy, &late, &mut random),
                Err(error) => self.check(&error),
            }
            proxy.set_link(Link::Up);
        }
    }

    fn client(&self, endpoint: &str, late: Arc<AtomicU64>) -> Arc<dyn Objects> {
        let mut options = StoreOptions::default();
        options.endpoint = Some(endpoint.to_owned());
        (options.timeout, options.patience, options.connect_timeout) = (TIMEOUT, PATIENCE, TIMEOUT);
        let address: Address = format!("s3://{}/{}", self.store.bucket, self.prefix).parse().expect("one");
        let variables = |name: &str| self.store.variable(name);
        let clock = Arc::new(move || treehead::clock::now() - late.load(Ordering::SeqCst));
        let client = S3::open_with(&address, &options, &variables, clock).expect("its settings are right");
        client.use_tag_style(self.tags);
        Arc::new(client)
    }

    /// Fails the test unless the bucket or its network can cause this error.
    fn check(&self, error: &StoreError) {
        let is_honest = match error {
            StoreError::Chain(error) => !error.is_damage() || self.may_miss,
            StoreError::Damaged { .. } => self.may_miss,
            StoreError::Overtaken { .. } => true,
            _ => false,
        };
        assert!(is_honest, "{error}");
    }

    /// Runs a server once, with senders that append until it ends.
    fn live(&self, number: u64, sequencer: &Sequencer, proxy: &Proxy, late: &AtomicU64, random: &mut Random) {
        let (ends, again) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let random = Random(random.next());
                let name = format!("{}/{number}/{sender}/{}", self.seed, random.0);
                let (ends, again) = (&ends, &again);
                scope.spawn(move || self.append(sequencer, &name, random, ends, again));
            }
            scope.spawn(|| {
                while !ends.load(Ordering::SeqCst) {
                    let published = sequencer.published().borrow().clone();
                    if !published.note.is_empty() {
                        self.promises.show(&format!("server {number}"), &published.note);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let pause = |random: &mut Random| std::thread::sleep(Duration::from_millis(random.below(350)));
            pause(random);
            if random.one_in(4) {
                // The machine's clock jumps, so the store refuses its signatures.
                late.store(3 * 3_600, Ordering::SeqCst);
                pause(random);
                late.store(0, Ordering::SeqCst);
            }
            if random.one_in(2) {
                // To the bucket, this looks like a crash.
                proxy.set_link(Link::Refused);
            }
            // The shutdown may publish the last entries or fail to; both are clean ends.
            let _ = sequencer.shut_down();
            ends.store(true, Ordering::SeqCst);
        });
        for (trouble, why) in sequencer.faults() {
            let is_honest = match trouble {
                Trouble::Storage => true,
                Trouble::Damage | Trouble::Rollback => self.may_miss,
                _ => false,
            };
            assert!(is_honest, "{trouble:?}: {why}");
        }
    }

    /// Appends entries until the server ends, and repeats some of them.
    fn append(
        &self,
        sequencer: &Sequencer,
        name: &str,
        mut random: Random,
        ends: &AtomicBool,
        again: &Mutex<Vec<Vec<u8>>>,
    ) {
        let mut count = 0;
        while !ends.load(Ordering::SeqCst) {
            let new = |at: u64| format!("{name}/{at}").into_bytes();
            let entries: Vec<Vec<u8>> = (0..=random.below(4))
                .map(|_| {
                    count += 1;
                    let left = again.lock().expect("no panic").pop();
                    let old = || self.promises.any_acknowledged(random.next()).filter(|_| count % 6 == 0);
                    left.or_else(old).unwrap_or_else(|| new(count))
                })
                .collect();
            let wait = if random.one_in(3) { Wait::Published } else { Wait::Sequenced };
            if !self.submit(sequencer, &entries, wait) {
                again.lock().expect("no panic").extend(entries);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Returns true if all entries are acknowledged.
    fn submit(&self, sequencer: &Sequencer, entries: &[Vec<u8>], wait: Wait) -> bool {
        entries.iter().for_each(|entry| self.promises.send(entry));
        let candidates =
            entries.iter().map(|entry| Candidate::new(entry.clone(), Facts::default())).collect();
        let Ok(outcome) = sequencer.submit(candidates, wait) else { return false };
        // Without an answer, the server has ended.
        let Ok(outcome) = outcome.blocking_recv() else { return false };
        for (entry, result) in entries.iter().zip(&outcome.results) {
            match result {
                Ok(sequenced) => {
                    let index = sequenced.index.get();
                    self.promises.acknowledge(entry, index);
                    let head = outcome.head.as_ref().map(|head| head.checkpoint.size.get());
                    assert!(sequenced.duplicate || head.is_none_or(|size| size > index), "{head:?} {index}");
                }
                Err(SubmitError::Damaged(why) | SubmitError::RolledBack(why)) => {
                    assert!(self.may_miss, "{why}");
                }
                Err(_) => {}
            }
        }
        outcome.results.iter().all(Result::is_ok)
    }

    /// Watches the head in the bucket, like a reader without a server.
    fn watch(&self, done: &AtomicBool) {
        while !done.load(Ordering::SeqCst) {
            let head = self.direct.get("checkpoint", 10_000).expect("the store works").expect("it is there");
            let (size, is_new) = self.promises.show("the bucket", &head.bytes);
            let tiles = oracle::tiles_of(usize::try_from(size).expect("small"));
            for tile in tiles.iter().filter(|tile| is_new && tile.contains(".p/")) {
                let object = self.direct.get(tile, 1_000_000).expect("the store works");
                assert!(object.is_some(), "the head of {size} was there before {tile}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Without faults, a server appends the remaining entries and signs.
    fn finish(&self, dir: &TempDir) {
        let until = Instant::now() + Duration::from_secs(20);
        let sequencer = self.start(dir, self.direct.clone()).unwrap_or_else(|error| panic!("{error}"));
        let mut left = self.promises.open();
        // Also repeat some acknowledged entries.
        left.extend((0..20).filter_map(|at| self.promises.any_acknowledged(at)));
        left.push(b"the last one".to_vec());
        for entries in left.chunks(100) {
            while !self.submit(&sequencer, entries, Wait::Published) {
                assert!(Instant::now() < until, "{:?}", sequencer.faults());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        sequencer.shut_down().expect("it ends in good order");
    }

    /// Deletes an object, and checks that the log notices it and that fsck can rewrite tiles.
    fn remove_something(&self, found: &Found) {
        let objects = &self.direct;
        let fsck = |repair| {
            let origin = Origin::from(signer().public().clone().name().clone());
            let keys = vec![signer().public().clone()];
            BucketFsck { objects: objects.clone(), origin, keys, repair, threads: 8, progress: &|_, _| () }
                .run()
        };
        let mut random = Random(self.seed ^ 5);
        let batches = oracle::list(objects.as_ref(), "batch/").expect("the store works");
        let key = match random.below(3) {
            0 => oracle::tiles_of(found.entries).pop().expect("there are entries"),
            1 => batches.into_iter().next_back().expect("there are batches"),
            _ => "checkpoint".to_owned(),
        };
        let object = objects.get(&key, 10_000_000).expect("the store works").expect("it is there");
        objects.delete(&key).expect("the store works");
        let dir = tempfile::tempdir().expect("a directory");
        if key.starts_with("tile/") {
            assert_eq!(fsck(true).expect("batches are whole").damaged, 1, "{key}");
            let again = objects.get(&key, 10_000_000).expect("the store works").expect("it was made again");
            assert_eq!(again.bytes, object.bytes);
        } else {
            let seen =
                [fsck(false).is_err(), BucketStore::open(dir.path(), self.options(objects.clone())).is_err()];
            assert_eq!(seen, [true, true], "{key} is missing");
            objects.put(&key, &object.bytes, &Headers::default()).expect("the store works");
        }
        assert_eq!(fsck(false).expect("it is whole again").damaged, 0);
    }
}
