//! The program is killed in the middle of appending, again and again: what it acknowledged stays,
//! and what it signed stays true.

#![cfg(feature = "cli")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::{Hash, TILE_WIDTH, Tile, TileId, TreeSize};
use treehead::note::NoteKey;

use common::promises::SlowTree;

/// Rounds where `TREEHEAD_KILL_ROUNDS` says nothing.
const ROUNDS: u64 = 60;
/// One round in so many is killed before it has started.
const EARLY: u64 = 4;
const WRITERS: u64 = 4;
/// How long a start may take before it counts as hanging, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let mut init = program();
        init.arg("init").arg(&dir).args(["--origin", "example.com/kill", "--profile", "opaque"]);
        let made = init.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Heads often enough that kills meet each step on the way to one.
        let config = std::fs::read_to_string(dir.join("treehead.toml")).unwrap();
        let quick = config.replace("publish_interval_ms = 100", "publish_interval_ms = 5");
        assert_ne!(quick, config);
        std::fs::write(dir.join("treehead.toml"), quick).unwrap();
        let key = NoteKey::parse(std::fs::read_to_string(dir.join("log.vkey")).unwrap().trim_end()).unwrap();
        Self { _home: home, dir, key }
    }

    fn checkpoint(&self, address: &str) -> Checkpoint {
        let (status, body) = request(address, "GET", "/checkpoint", &[]).unwrap();
        assert_eq!(status, 200);
        checkpoint::open(&body, std::slice::from_ref(&self.key)).unwrap().get().clone()
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_treehead"));
    program.stdin(Stdio::null());
    program
}

/// A running log. Killed when it is dropped, by its own id, however the test ends.
struct Serving {
    child: Child,
    address: String,
    stderr: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    /// Starts a log and waits until it listens.
    fn start(dir: &Path) -> Self {
        let (mut serving, address) = Self::spawn(dir);
        match address.recv_timeout(PATIENCE) {
            Ok(address) => serving.address = address,
            Err(e) => panic!("it did not start, {e}: {}", serving.end()),
        }
        serving
    }

    /// Starts a log; its address comes when it listens.
    fn spawn(dir: &Path) -> (Self, Receiver<String>) {
        let mut serve = program();
        serve.arg("serve").arg(dir).args(["--listen", "127.0.0.1:0"]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, address) = channel();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        // Read to the end: a full pipe would block the log.
        let stderr = std::thread::spawn(move || {
            let mut all = String::new();
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                let plain = without_colours(&line);
                if let Some((_, rest)) = plain.split_once("http://") {
                    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                    let _ = found.send(rest[..end.unwrap_or(rest.len())].to_owned());
                }
                all.push_str(&plain);
                line.clear();
            }
            all
        });
        (Self { child, address: String::new(), stderr: Some(stderr) }, address)
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, and returns what it wrote when it has ended in peace.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it did not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        let wrote = self.end();
        assert!(status.success(), "{status}: {wrote}");
        wrote
    }

    /// Makes sure that it has ended, and returns what it wrote.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr.take().map(|stderr| stderr.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn without_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// One request on one connection. An error where no whole answer came: then nothing was promised.
fn request(address: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let address = address.to_socket_addrs()?.next().ok_or_else(cut)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let mut message = format!(
        "{method} {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let body = answer.split_off(end + 4);
    let declared = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let declared: usize = declared.and_then(|length| length.trim().parse().ok()).ok_or_else(cut)?;
    if body.len() == declared { Ok((status, body)) } else { Err(cut()) }
}

/// All that was ever promised.
#[derive(Default)]
struct Promises {
    entries: Mutex<BTreeMap<u64, Vec<u8>>>,
    heads: Mutex<Vec<Checkpoint>>,
    /// Most entries that were acknowledged together.
    largest: AtomicUsize,
    /// Full bundles that were read and compared before.
    verified: Mutex<(SlowTree, u64)>,
}

impl Promises {
    fn acknowledge(&self, index: u64, entry: &[u8]) {
        let before = self.entries.lock().unwrap().insert(index, entry.to_vec());
        assert!(before.is_none_or(|before| before == entry), "two entries were promised index {index}");
    }

    /// Reads what came since the last time, and checks it against the signed head and each promise.
    fn check(&self, log: &Log, address: &str) -> TreeSize {
        let (tree, index) = self.verified.lock().unwrap().clone();
        let (head, verified) = self.check_from(log, address, tree, index);
        *self.verified.lock().unwrap() = verified;
        head.size
    }

    /// Reads the whole log back and checks it against every promise.
    fn check_all(&self, log: &Log, address: &str) -> TreeSize {
        self.check_from(log, address, SlowTree::default(), 0).0.size
    }

    fn check_from(
        &self,
        log: &Log,
        address: &str,
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
            let (status, bytes) = request(address, "GET", &format!("/{tile}"), &[]).unwrap();
            assert_eq!(status, 200, "{tile} at tree size {}", head.size);
            let entries = treehead::proof::bundle::split(&bytes, tile.width()).unwrap();
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

/// The same moments in each run: what a kill meets at them is random enough.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// How many entries are sent together: mostly few, at times as many as a batch holds.
fn batch_size(random: u64) -> usize {
    let most = [1, 1, 1, 2, 8, 64, 256, 4_096][usize::try_from(random % 8).unwrap()];
    if random.is_multiple_of(3) { most } else { 1 + usize::try_from(random / 8).unwrap() % most }
}

/// Writes entries of its own until the log is gone or `stop` is set.
fn write(address: &str, promises: &Promises, name: &str, stop: &AtomicBool, mut seed: u64) {
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let count = batch_size(random(&mut seed));
        let padding = ".".repeat(if count < 9 { usize::try_from(number % 7).unwrap() * 200 } else { 3 });
        let entries: Vec<Vec<u8>> =
            (0..count).map(|at| format!("{name} entry {number}, {at} {padding}").into_bytes()).collect();
        let wait = if number % 3 == 2 { "published" } else { "sequenced" };
        let (path, body) = if count == 1 {
            (format!("/add?wait={wait}"), entries[0].clone())
        } else {
            (format!("/add-batch?wait={wait}"), common::log::batch(&entries))
        };
        let Ok((status, answer)) = request(address, "POST", &path, &body) else { return };
        let answer = String::from_utf8(answer).unwrap();
        if status == 503 {
            return; // It is stopping, and says so.
        }
        assert_eq!(status, 200, "{answer}");
        let indices: Vec<u64> = answer.split_ascii_whitespace().map(|line| line.parse().unwrap()).collect();
        assert_eq!(indices.len(), count);
        indices.iter().zip(&entries).for_each(|(index, entry)| promises.acknowledge(*index, entry));
        promises.largest.fetch_max(count, Ordering::Relaxed);
    }
}

/// One life that ends under load.
fn live_and_be_killed(log: &Log, promises: &Promises, name: &str, seed: &mut u64) -> TreeSize {
    let mut serving = Serving::start(&log.dir);
    let size = promises.check(log, &serving.address);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (address, stop) = (serving.address.clone(), &stop);
        for writer in 0..WRITERS {
            let (address, seed) = (address.clone(), random(seed));
            scope.spawn(move || write(&address, promises, &format!("{name}/{writer}"), stop, seed));
        }
        // Somebody follows the heads.
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((200, body)) = request(&address, "GET", "/checkpoint", &[]) else { return };
                let head = checkpoint::open(&body, std::slice::from_ref(&log.key)).unwrap();
                promises.heads.lock().unwrap().push(head.get().clone());
            }
        });
        std::thread::sleep(Duration::from_micros(5_000 + random(seed) % 95_000));
        serving.kill();
        stop.store(true, Ordering::Relaxed);
    });
    size
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_acknowledged() {
    let rounds = std::env::var("TREEHEAD_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let (log, promises) = (Log::new(), Promises::default());
    let mut seed = 20_251_101;
    let (mut lives, mut grown, mut last) = (0, 0, TreeSize::ZERO);
    for round in 0..rounds {
        // Starting is recovering from the last kill: this one comes in the middle of it.
        if round % EARLY == EARLY - 1 {
            let (mut starting, _address) = Serving::spawn(&log.dir);
            std::thread::sleep(Duration::from_micros(random(&mut seed) % 40_000));
            starting.kill();
            continue;
        }
        let size = live_and_be_killed(&log, &promises, &round.to_string(), &mut seed);
        lives += 1;
        grown += u64::from(size > last);
        last = size;
    }
    let serving = Serving::start(&log.dir);
    let size = promises.check_all(&log, &serving.address);
    let (acknowledged, heads) =
        (promises.entries.lock().unwrap().len(), promises.heads.lock().unwrap().len());
    let largest = promises.largest.load(Ordering::Relaxed);
    println!(
        "{rounds} kills, {acknowledged} of {size} acknowledged, at most {largest} at once, {heads} heads"
    );
    assert!(grown > lives / 2, "most kills met a log that was appending: {grown} of {lives}");
    assert!(size.get() >= acknowledged as u64 && acknowledged > 100, "{acknowledged} of {size}");
    serving.stop();
}

#[test]
fn a_stop_in_the_middle_of_appending_loses_nothing_that_was_accepted() {
    let log = Log::new();
    let promises = Promises::default();
    for round in 0..4 {
        let serving = Serving::start(&log.dir);
        let (address, stop) = (serving.address.clone(), AtomicBool::new(false));
        let wrote = std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (address, promises, stop) = (&address, &promises, &stop);
                let name = format!("{round}/{writer}");
                scope.spawn(move || write(address, promises, &name, stop, round * WRITERS + writer));
            }
            std::thread::sleep(Duration::from_millis(150));
            let wrote = serving.stop();
            stop.store(true, Ordering::Relaxed);
            wrote
        });
        assert!(wrote.contains("stopped; everything accepted is durable and published"), "{wrote}");
        // Published before it ended, not only by the next start: the checkpoint file says so.
        let note = std::fs::read(log.dir.join("checkpoint")).unwrap();
        let head = checkpoint::open(&note, std::slice::from_ref(&log.key)).unwrap();
        let highest = *promises.entries.lock().unwrap().keys().next_back().unwrap();
        assert!(head.get().size.get() > highest, "{} and {highest}", head.get().size);
        promises.heads.lock().unwrap().push(head.get().clone());
    }
    let serving = Serving::start(&log.dir);
    assert!(promises.check_all(&log, &serving.address).get() > 20);
}
