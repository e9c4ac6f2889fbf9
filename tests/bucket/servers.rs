//! `treehead serve` on a bucket: two servers of one log, and readers without any.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use rustix::process::{Pid, Signal, kill_process};

use crate::REQUIRED;
use crate::needs::{Outcome, ignored};
use crate::store::{Store, store};

/// Far longer than a lease.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log in the store under test, with a directory for each of its servers.
struct World {
    store: Store,
    dir: tempfile::TempDir,
    url: String,
}

/// A running server.
struct Server {
    /// Its directory.
    dir: String,
    process: Child,
    port: u16,
    log: PathBuf,
}

impl World {
    fn new(store: Store, name: &str) -> Self {
        let (dir, time) =
            (tempfile::tempdir().unwrap(), std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap());
        let url = format!("s3://{}/servers/{name}-{}", store.bucket, time.as_nanos());
        let world = Self { store, dir, url };
        let made = world.run(&[
            "init",
            "a",
            "--origin",
            "log.example.com",
            "--profile",
            "opaque",
            "--store",
            &world.url,
        ]);
        assert!(made.0, "{}", made.1);
        let settings = std::fs::read_to_string(world.path("a/treehead.toml")).unwrap();
        // The lease stays as long as it is: a busy machine must not lose it between two renewals.
        let settings = settings.replace("linger_ms = 1000", "linger_ms = 50");
        std::fs::write(world.path("a/treehead.toml"), settings).unwrap();
        // A second server has the same keys and settings.
        std::fs::create_dir(world.path("b")).unwrap();
        for file in std::fs::read_dir(world.path("a")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), world.path("b").join(file.file_name())).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
        command.args(arguments).envs(self.store.variables()).current_dir(self.dir.path());
        command
    }

    /// Runs a command to its end, and returns whether it succeeded, and all that it printed.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn serve(&self, name: &str) -> Server {
        // Nobody else takes a port that was just free.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = self.path(&format!("{name}-{port}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let mut command = self.command(&["serve", name, "--listen", &listen]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let mut server = Server { dir: name.to_owned(), process, port, log };
        server.wait("it serves", |server| server.get("/healthz").is_some());
        server
    }
}

impl Server {
    /// Sends a request; `None` if there was no answer.
    fn request(&self, head: &str, body: &[u8]) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        let head =
            format!("{head} HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request(&format!("GET {path}"), b"")
    }

    /// Appends an entry and waits until it is published. Returns its index.
    fn add(&mut self, entry: &str) -> u64 {
        let mut index = None;
        self.wait("an entry is taken", |server| {
            let Some((200, body)) = server.request("POST /add?wait=published", entry.as_bytes()) else {
                return false;
            };
            index = body.trim().parse().ok();
            index.is_some()
        });
        index.expect("waited for")
    }

    /// Size of the tree that it shows.
    fn size(&self) -> Option<u64> {
        self.get("/checkpoint")?.1.lines().nth(1)?.parse().ok()
    }

    fn is(&self, role: &str) -> bool {
        self.get("/healthz").is_some_and(|(_, body)| body.contains(&format!("\"role\":\"{role}\"")))
    }

    fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition(self) {
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < until, "waited in vain until {what}:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> String {
        self.signal(signal);
        self.process.wait().unwrap();
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server that appends, and the one that stands by.
fn by_role(mut a: Server, mut b: Server) -> (Server, Server) {
    a.wait("it has a role", |a| a.is("holder") || a.is("standby"));
    if a.is("standby") {
        std::mem::swap(&mut a, &mut b);
    }
    a.wait("it appends", |a| a.is("holder"));
    b.wait("it stands by", |b| b.is("standby"));
    (a, b)
}

/// A log of its own, or the end of the test where there is no store.
macro_rules! world {
    ($name:literal) => {
        match store() {
            Ok(store) => World::new(store, $name),
            Err(why) => return ignored(&why, REQUIRED),
        }
    };
}

pub fn a_standby_takes_over_from_a_server_that_is_killed_or_stopped() -> Outcome {
    let world = world!("take-over");
    let (mut a, mut b) = by_role(world.serve("a"), world.serve("b"));
    assert_eq!((a.add("one"), a.add("two"), a.add("one")), (0, 1, 0));
    b.wait("the standby shows them", |b| b.size() == Some(2));
    let (status, body) = b.request("POST /add", b"three").unwrap();
    assert!(status == 503 && body.contains("\"code\":\"standby\""), "{status} {body}");
    // Killed: nothing is given up, the lease runs out.
    let dir = a.dir.clone();
    drop(a);
    assert_eq!((b.add("two"), b.add("three")), (1, 2));
    // Back again, it stands by, with the cache that it left.
    let mut a = world.serve(&dir);
    a.wait("it follows", |a| a.is("standby") && a.size() == Some(3));
    // Stopped properly, a server gives the lease up.
    let said = b.end(Signal::TERM);
    assert!(said.contains("stopped; everything accepted is durable and published"), "{said}");
    assert_eq!(a.add("four"), 3);
    Ok(Completion::Completed)
}

pub fn a_server_that_slept_while_another_one_took_over_stands_by() -> Outcome {
    let world = world!("sleep");
    let (mut a, mut b) = (world.serve("a"), world.serve("b"));
    for round in 0..4 {
        (a, b) = by_role(a, b);
        assert_eq!(a.add(&format!("{round} before")), 2 * round);
        a.signal(Signal::STOP);
        assert_eq!(b.add(&format!("{round} after")), 2 * round + 1);
        a.signal(Signal::CONT);
        a.wait("it stands by", |a| a.is("standby") && a.size() == Some(2 * round + 2));
        assert_eq!(a.get("/checkpoint"), b.get("/checkpoint"), "one head");
    }
    Ok(Completion::Completed)
}

pub fn readers_need_no_server() -> Outcome {
    let world = world!("readers");
    let mut server = world.serve("a");
    for at in 0..300_u64 {
        // Some in one batch, some alone.
        if at % 50 == 0 {
            assert_eq!(server.add(&format!("entry {at}")), at);
        } else {
            server.request("POST /add?wait=sequenced", format!("entry {at}").as_bytes());
        }
    }
    let last = server.add("the last one");
    server.end(Signal::TERM);
    world.store.allow_reading();
    // As any tool that reads tlog-tiles over HTTP would.
    let path = world.url.strip_prefix("s3:/").unwrap();
    let url = format!("{}{path}", world.store.endpoint);
    let (ok, text) = world.run(&["fsck", &url, "--policy", "a/endpoint.policy"]);
    assert!(ok && text.contains(&(last + 1).to_string()), "{text}");
    Ok(Completion::Completed)
}

pub fn a_lost_cache_costs_nothing_but_time() -> Outcome {
    let world = world!("cache");
    let mut server = world.serve("a");
    (0..5).for_each(|at| assert_eq!(server.add(&format!("entry {at}")), at));
    server.end(Signal::KILL);
    for cache in ["sled", "sled.open", "index", "bundles"] {
        remove(&world.path("a").join(cache));
    }
    let mut server = world.serve("a");
    assert_eq!(server.size(), Some(5));
    assert_eq!((server.add("entry 3"), server.add("entry 5")), (3, 5));
    Ok(Completion::Completed)
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    assert!(removed.is_ok() || !path.exists());
}

pub fn a_bucket_has_one_log_below_a_prefix() -> Outcome {
    let world = world!("taken");
    let again = world.run(&[
        "init",
        "c",
        "--origin",
        "log.example.com",
        "--profile",
        "opaque",
        "--store",
        &world.url,
    ]);
    assert!(!again.0 && again.1.contains("there is a log in"), "{}", again.1);
    let other = world.run(&[
        "init",
        "d",
        "--origin",
        "other.example.com",
        "--profile",
        "opaque",
        "--store",
        &world.url,
    ]);
    assert!(!other.0 && other.1.contains("is this another log's bucket?"), "{}", other.1);
    Ok(Completion::Completed)
}
