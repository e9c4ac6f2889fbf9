//! The program is killed in the middle of appending, again and again: acknowledged entries stay, and signed heads stay
//! true.

#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::{Hash, TILE_WIDTH, Tile, TileId, TreeSize};
use treehead::note::NoteKey;

use common::http::{get, request, try_exchange};
use common::kill::{Running, program, rounds, succeeds};
use common::promises::SlowTree;
use common::random::Random;

/// The number of rounds, unless `TREEHEAD_KILL_ROUNDS` is set.
const ROUNDS: u64 = 60;
/// One round in this many is killed before it has started.
const EARLY: u64 = 4;
const WRITERS: u64 = 4;

/// A log's directory, made by the program itself.
struct Log {
    _home: TempDir,
    dir: PathBuf,
    key: NoteKey,
}

impl Log {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("log");
        let origin = ["--origin", "example.com/kill", "--profile", "opaque"];
        succeeds(program().arg("init").arg(&dir).args(origin));
        // Publish so often that kills meet each step on the way to a head.
        let config = std::fs::read_to_string(dir.join("treehead.toml")).unwrap();
        let quick = config.replace("publish_interval_ms = 100", "publish_interval_ms = 5");
        assert_ne!(quick, config);
        std::fs::write(dir.join("treehead.toml"), quick).unwrap();
        let key = NoteKey::parse(std::fs::read_to_string(dir.join("log.vkey")).unwrap().trim_end()).unwrap();
        Self { _home: home, dir, key }
    }

    fn serve(&self) -> Command {
        let mut serve = program();
        serve.arg("serve").arg(&self.dir).args(["--listen", "127.0.0.1:0"]);
        serve
    }

    /// Starts the log, and waits until it listens.
    fn start(&self) -> (Running, SocketAddr) {
        let (running, url) = Running::serve(&mut self.serve());
        (running, url.strip_prefix("http://").unwrap().parse().unwrap())
    }

    fn open(&self, note: &[u8]) -> Checkpoint {
        checkpoint::open(note, std::slice::from_ref(&self.key)).unwrap().get().clone()
    }

    fn checkpoint(&self, address: SocketAddr) -> Checkpoint {
        let reply = get(address, "/checkpoint");
        assert_eq!(reply.status, 200);
        self.open(&reply.body)
    }
}

/// All promises so far.
#[derive(Default)]
struct Promises {
    entries: Mutex<BTreeMap<u64, Vec<u8>>>,
    heads: Mutex<Vec<Checkpoint>>,
    /// The most entries that were acknowledged together.
    largest: AtomicUsize,
    /// The tree of the full bundles that were checked before, and its size.
    verified: Mutex<(SlowTree, u64)>,
}

impl Promises {
    fn acknowledge(&self, index: u64, entry: &[u8]) {
        let before = self.entries.lock().unwrap().insert(index, entry.to_vec());
        assert!(before.is_none_or(|before| before == entry), "two entries were promised index {index}");
    }

    /// Reads the entries since the last check, and checks them against the signed head and each promise.
    fn check(&self, log: &Log, address: SocketAddr) -> TreeSize {
        let (tree, index) = self.verified.lock().unwrap().clone();
        let (head, verified) = self.check_from(log, address, tree, index);
        *self.verified.lock().unwrap() = verified;
        head.size
    }

    /// Reads the whole log back and checks it against every promise.
    fn check_all(&self, log: &Log, address: SocketAddr) -> TreeSize {
        self.check_from(log, address, SlowTree::default(), 0).0.size
    }

    fn check_from(
        &self,
        log: &Log,
        address: SocketAddr,
        mut tree: SlowTree,
        mut index: u64,
    ) -> (Checkpoint, (SlowTree, u64)) {
        let head = log.checkpoint(address);
        let mut heads = self.heads.lock().unwrap();
        heads.push(head.clone());
        heads.sort_by_key(|head| head.size);
        heads.dedup();
        let first = index;
        let mut earlier = heads.iter().filter(|head| head.size.get() >= first).peekable();
        let mut promised = self.entries.lock().unwrap().split_off(&index);
        self.entries.lock().unwrap().extend(promised.clone());
        let mut verified = (tree.clone(), index);
        for bundle in index / TILE_WIDTH..head.size.get().div_ceil(TILE_WIDTH) {
            verified = (tree.clone(), index);
            let tile = Tile::in_tree(TileId::Entries { index: bundle }, head.size).unwrap();
            let reply = get(address, &format!("/{tile}"));
            assert_eq!(reply.status, 200, "{tile} at tree size {}", head.size);
            let entries = treehead::proof::bundle::split(&reply.body, tile.width()).unwrap();
            assert_eq!(entries.len(), tile.width());
            for entry in entries {
                while let Some(earlier) = earlier.next_if(|earlier| earlier.size.get() == index) {
                    assert_eq!(tree.root(), earlier.root, "the head signed at {index} is of this history");
                }
                if let Some(promised) = promised.remove(&index) {
                    assert_eq!(promised, entry, "acknowledged at {index}");
                }
                tree.push(Hash::leaf(entry));
                index += 1;
            }
        }
        assert_eq!((index, tree.root()), (head.size.get(), head.root), "all entries make the signed root");
        for earlier in earlier {
            assert_eq!((earlier.size, earlier.root), (head.size, head.root), "no signed head is ahead");
        }
        assert!(promised.is_empty(), "acknowledged and lost: {:?}", promised.keys());
        (head, verified)
    }
}

/// The number of entries to send together: mostly few, at times as many as a batch holds.
fn batch_size(random: u64) -> usize {
    let most = [1, 1, 1, 2, 8, 64, 256, 4_096][usize::try_from(random % 8).unwrap()];
    if random.is_multiple_of(3) { most } else { 1 + usize::try_from(random / 8).unwrap() % most }
}

/// Writes entries of its own until the log is gone or `stop` is set.
fn write(address: SocketAddr, promises: &Promises, name: &str, stop: &AtomicBool, seed: u64) {
    let mut random = Random(seed);
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let count = batch_size(random.next());
        let padding = ".".repeat(if count < 9 { usize::try_from(number % 7).unwrap() * 200 } else { 3 });
        let entries: Vec<Vec<u8>> =
            (0..count).map(|at| format!("{name} entry {number}, {at} {padding}").into_bytes()).collect();
        let wait = if number % 3 == 2 { "published" } else { "sequenced" };
        let (path, body) = if count == 1 {
            (format!("/add?wait={wait}"), entries[0].clone())
        } else {
            (format!("/add-batch?wait={wait}"), common::log::batch(&entries))
        };
        let Ok(reply) = try_exchange(address, &request("POST", &path, &[], &body)) else { return };
        if reply.status == 503 {
            return; // The log is stopping.
        }
        assert_eq!(reply.status, 200, "{reply}");
        let indices: Vec<u64> =
            reply.text().split_ascii_whitespace().map(|line| line.parse().unwrap()).collect();
        assert_eq!(indices.len(), count);
        indices.iter().zip(&entries).for_each(|(index, entry)| promises.acknowledge(*index, entry));
        promises.largest.fetch_max(count, Ordering::Relaxed);
    }
}

/// Starts the log, checks it, and kills it under load.
fn live_and_be_killed(log: &Log, promises: &Promises, name: &str, random: &mut Random) -> TreeSize {
    let (mut running, address) = log.start();
    let size = promises.check(log, address);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        for writer in 0..WRITERS {
            let seed = random.next();
            scope.spawn(move || write(address, promises, &format!("{name}/{writer}"), stop, seed));
        }
        // A reader follows the heads.
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let reply = try_exchange(address, &request("GET", "/checkpoint", &[], &[]));
                let Some(reply) = reply.ok().filter(|reply| reply.status == 200) else { return };
                promises.heads.lock().unwrap().push(log.open(&reply.body));
            }
        });
        std::thread::sleep(Duration::from_micros(5_000 + random.below(95_000)));
        running.kill();
        stop.store(true, Ordering::Relaxed);
    });
    size
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_acknowledged() {
    let rounds = rounds(ROUNDS);
    let (log, promises) = (Log::new(), Promises::default());
    let mut random = Random(20_251_101);
    let (mut lives, mut grown, mut last) = (0, 0, TreeSize::ZERO);
    for round in 0..rounds {
        // A start recovers from the last kill. This kill comes in the middle of it.
        if round % EARLY == EARLY - 1 {
            let mut starting = Running::spawn(&mut log.serve());
            std::thread::sleep(Duration::from_micros(random.below(40_000)));
            starting.kill();
            continue;
        }
        let size = live_and_be_killed(&log, &promises, &round.to_string(), &mut random);
        lives += 1;
        grown += u64::from(size > last);
        last = size;
    }
    let (running, address) = log.start();
    let size = promises.check_all(&log, address);
    let (acknowledged, heads) =
        (promises.entries.lock().unwrap().len(), promises.heads.lock().unwrap().len());
    let largest = promises.largest.load(Ordering::Relaxed);
    println!(
        "{rounds} kills, {acknowledged} of {size} acknowledged, at most {largest} at once, {heads} heads"
    );
    assert!(grown > lives / 2, "most kills met a log that was appending: {grown} of {lives}");
    assert!(size.get() >= acknowledged as u64 && acknowledged > 100, "{acknowledged} of {size}");
    running.stop();
}

#[test]
fn a_stop_in_the_middle_of_appending_loses_nothing_that_was_accepted() {
    let log = Log::new();
    let promises = Promises::default();
    for round in 0..4 {
        let (running, address) = log.start();
        let stop = AtomicBool::new(false);
        let wrote = std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (promises, stop) = (&promises, &stop);
                let name = format!("{round}/{writer}");
                scope.spawn(move || write(address, promises, &name, stop, round * WRITERS + writer));
            }
            std::thread::sleep(Duration::from_millis(150));
            let wrote = running.stop();
            stop.store(true, Ordering::Relaxed);
            wrote
        });
        assert!(wrote.contains("stopped; everything accepted is durable and published"), "{wrote}");
        // The log published its entries before it ended, not only at its next start.
        let head = log.open(&treehead::disk::read_note(&log.dir.join("checkpoint")).unwrap().unwrap());
        let highest = *promises.entries.lock().unwrap().keys().next_back().unwrap();
        assert!(head.size.get() > highest, "{} and {highest}", head.size);
        promises.heads.lock().unwrap().push(head);
    }
    let (_running, address) = log.start();
    assert!(promises.check_all(&log, address).get() > 20);
}
