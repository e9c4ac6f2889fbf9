//! The program is killed in the middle of appending, again and again: what it acknowledged stays,
//! and what it signed stays true.

#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::{Hash, RightEdge, Tile, TileId, TreeSize};
use treehead::note::NoteKey;

const ROUNDS: u64 = 50;
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
    fn start(dir: &Path) -> Self {
        let mut serve = program();
        serve.arg("serve").arg(dir).args(["--listen", "127.0.0.1:0"]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, address) = std::sync::mpsc::channel();
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
        let mut serving = Self { child, address: String::new(), stderr: Some(stderr) };
        match address.recv_timeout(PATIENCE) {
            Ok(address) => serving.address = address,
            Err(e) => panic!("it did not start, {e}: {}", serving.end()),
        }
        serving
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
}

impl Promises {
    fn acknowledge(&self, index: u64, entry: &[u8]) {
        let before = self.entries.lock().unwrap().insert(index, entry.to_vec());
        assert!(before.is_none_or(|before| before == entry), "two entries were promised index {index}");
    }

    /// Reads the whole log back and checks it against the signed head and every promise.
    fn check(&self, log: &Log, address: &str) -> TreeSize {
        let head = log.checkpoint(address);
        let mut heads = std::mem::take(&mut *self.heads.lock().unwrap());
        heads.sort_by_key(|head| head.size);
        let mut promised = self.entries.lock().unwrap().clone();
        let mut earlier = heads.iter().peekable();
        let (mut edge, mut index) = (RightEdge::default(), 0);
        for bundle in 0..head.size.get().div_ceil(256) {
            let tile = Tile::in_tree(TileId::Entries { index: bundle }, head.size).unwrap();
            let (status, bytes) = request(address, "GET", &format!("/{tile}"), &[]).unwrap();
            assert_eq!(status, 200, "{tile} at tree size {}", head.size);
            let entries = treehead::bundle::split(&bytes, tile.width()).unwrap();
            assert_eq!(entries.len(), tile.width());
            for entry in entries {
                while let Some(earlier) = earlier.next_if(|earlier| earlier.size.get() == index) {
                    assert_eq!(edge.root(), earlier.root, "the head signed at {index} is of this history");
                }
                if let Some(promised) = promised.remove(&index) {
                    assert_eq!(promised, entry, "acknowledged at {index}");
                }
                edge = edge.grow(&[Hash::leaf(entry)]).edge;
                index += 1;
            }
        }
        assert_eq!((edge.size(), edge.root()), (head.size, head.root), "all entries make the signed root");
        for earlier in earlier {
            assert_eq!((earlier.size, earlier.root), (head.size, head.root), "no signed head is ahead");
        }
        assert!(promised.is_empty(), "acknowledged and lost: {:?}", promised.keys());
        *self.heads.lock().unwrap() = vec![head.clone()];
        head.size
    }
}

/// The same moments in each run: what a kill meets at them is random enough.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Writes entries of its own until the log is gone or `stop` is set.
fn write(address: &str, promises: &Promises, name: &str, stop: &AtomicBool, next: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let mut entry = format!("{name} entry {number} ").into_bytes();
        entry.resize(entry.len() + usize::try_from(number % 7).unwrap() * 200, b'.');
        let wait = if number % 3 == 2 { "published" } else { "sequenced" };
        let batch = number.is_multiple_of(5);
        let (path, body) = if batch {
            let second = [b"second ".as_slice(), &entry].concat();
            let mut body = Vec::new();
            treehead::bundle::push(&mut body, &entry).unwrap();
            treehead::bundle::push(&mut body, &second).unwrap();
            (format!("/add-batch?wait={wait}"), body)
        } else {
            (format!("/add?wait={wait}"), entry.clone())
        };
        let Ok((status, answer)) = request(address, "POST", &path, &body) else { return };
        let answer = String::from_utf8(answer).unwrap();
        if status == 503 {
            return; // It is stopping, and says so.
        }
        assert_eq!(status, 200, "{answer}");
        let indices: Vec<u64> = answer.split_ascii_whitespace().map(|line| line.parse().unwrap()).collect();
        assert_eq!(indices.len(), if batch { 2 } else { 1 });
        promises.acknowledge(indices[0], &entry);
        if let Some(index) = indices.get(1) {
            promises.acknowledge(*index, &[b"second ".as_slice(), &entry].concat());
        }
    }
}

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let log = Log::new();
    let promises = Promises::default();
    let mut seed = 20_251_101;
    let mut grown = 0;
    let mut last = TreeSize::ZERO;
    for round in 0..ROUNDS {
        let mut serving = Serving::start(&log.dir);
        let size = promises.check(&log, &serving.address);
        grown += u64::from(size > last);
        last = size;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (address, stop, promises, log) = (serving.address.clone(), &stop, &promises, &log);
            for writer in 0..WRITERS {
                let address = address.clone();
                scope.spawn(move || {
                    write(&address, promises, &format!("{round}/{writer}"), stop, &AtomicU64::new(0));
                });
            }
            // Somebody follows the heads.
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((200, body)) = request(&address, "GET", "/checkpoint", &[]) else { return };
                    let head = checkpoint::open(&body, std::slice::from_ref(&log.key)).unwrap();
                    promises.heads.lock().unwrap().push(head.get().clone());
                }
            });
            std::thread::sleep(Duration::from_millis(5 + random(&mut seed) % 56));
            serving.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let serving = Serving::start(&log.dir);
    let size = promises.check(&log, &serving.address);
    let acknowledged = promises.entries.lock().unwrap().len();
    assert!(grown > ROUNDS / 2, "most kills met a log that was appending: {grown} of {ROUNDS}");
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
                scope.spawn(move || write(address, promises, &name, stop, &AtomicU64::new(0)));
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
    assert!(promises.check(&log, &serving.address).get() > 20);
}
