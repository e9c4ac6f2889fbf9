//! A log in the store under test, and its servers, which are processes of the real program.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use treehead::bucket::Objects;
use treehead::note::NoteKey;

use crate::store::Store;

/// Time limit of a wait, far longer than a lease.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Time limit of one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A log in the store under test, with a directory for each of its servers.
pub struct World {
    pub store: Store,
    dir: tempfile::TempDir,
    pub url: String,
}

/// A running server.
pub struct Server {
    /// Its directory.
    pub dir: String,
    process: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl World {
    pub fn new(store: Store, name: &str) -> Self {
        let world = Self::init(store, name);
        // Keep the default lease, so that a busy machine does not lose it between two renewals.
        world.set("linger_ms = 1000", "linger_ms = 50");
        world.add("b");
        world
    }

    /// A log with a short lease, so that servers often believe that they hold it when another one does.
    pub fn with_servers(store: Store, name: &str, servers: &[&str]) -> Self {
        let world = Self::init(store, name);
        world.set("linger_ms = 1000", "linger_ms = 20");
        world.set("lease_seconds = 3", "lease_seconds = 1");
        servers[1..].iter().for_each(|server| world.add(server));
        world
    }

    /// A prefix without a log.
    pub fn empty(store: Store, name: &str) -> Self {
        let (dir, time) =
            (tempfile::tempdir().unwrap(), std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap());
        let url = format!("s3://{}/servers/{name}-{}", store.bucket, time.as_nanos());
        Self { store, dir, url }
    }

    fn init(store: Store, name: &str) -> Self {
        let world = Self::empty(store, name);
        let origin = ["--origin", "log.example.com", "--profile", "opaque"];
        let made = world.run(&[&["init", "a", "--store", &world.url], &origin[..]].concat());
        assert!(made.0, "{}", made.1);
        world
    }

    /// Changes the settings of server `a`.
    pub fn set(&self, from: &str, to: &str) {
        let settings = std::fs::read_to_string(self.path("a/treehead.toml")).unwrap();
        let changed = settings.replace(from, to);
        assert_ne!(changed, settings);
        std::fs::write(self.path("a/treehead.toml"), changed).unwrap();
    }

    /// Makes the directory of another server, with the keys and settings of `a`.
    pub fn add(&self, name: &str) {
        std::fs::create_dir(self.path(name)).unwrap();
        for file in std::fs::read_dir(self.path("a")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.path(name).join(file.file_name())).unwrap();
        }
    }

    /// The key that verifies the log's heads.
    pub fn key(&self) -> NoteKey {
        NoteKey::parse(std::fs::read_to_string(self.path("a/log.vkey")).unwrap().trim_end()).unwrap()
    }

    /// A client of the bucket that bypasses the proxies.
    pub fn objects(&self) -> Arc<dyn Objects> {
        let prefix = self.url.strip_prefix(&format!("s3://{}/", self.store.bucket)).unwrap();
        let client = self.store.client(prefix);
        client.use_tag_style(self.store.tag_style());
        Arc::new(client)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
        command.args(arguments).envs(self.store.variables()).current_dir(self.dir.path());
        command
    }

    /// Runs a command to its end. Returns whether it succeeded, and its whole output.
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    pub fn serve(&self, name: &str) -> Server {
        let mut server = self.start(name, free_address(), &self.store.endpoint, &[]);
        server.wait("it serves", |server| server.get("/healthz").is_some());
        server
    }

    /// Starts a server at an address, with the store at this endpoint. `before` is a program that runs it, with its
    /// arguments, such as `ip netns exec`.
    pub fn start(&self, name: &str, address: SocketAddr, endpoint: &str, before: &[&str]) -> Server {
        self.spawn(&[before, &[env!("CARGO_BIN_EXE_treehead"), "serve"]].concat(), name, address, endpoint)
    }

    /// Starts a witness at an address.
    pub fn start_witness(&self, name: &str, address: SocketAddr) -> Server {
        self.spawn(&[env!("CARGO_BIN_EXE_treehead"), "witness"], name, address, &self.store.endpoint)
    }

    fn spawn(&self, program: &[&str], name: &str, address: SocketAddr, endpoint: &str) -> Server {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let log = self.path(&format!("{name}-{}.log", STARTS.fetch_add(1, Ordering::SeqCst)));
        let (file, listen) = (std::fs::File::create(&log).unwrap(), address.to_string());
        let program = [program, &[name, "--listen", &listen]].concat();
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).envs(self.store.variables()).env("AWS_ENDPOINT_URL", endpoint);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Server { dir: name.to_owned(), process: command.spawn().unwrap(), address, log }
    }
}

impl Server {
    /// Sends a request; `None` if there was no answer.
    pub fn request(&self, head: &str, body: &[u8]) -> Option<(u16, String)> {
        request(self.address, head, body)
    }

    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request(&format!("GET {path}"), b"")
    }

    /// Appends an entry and waits until it is published. Returns its index.
    pub fn add(&mut self, entry: &str) -> u64 {
        let mut index = None;
        self.wait("an entry is accepted", |server| {
            let Some((200, body)) = server.request("POST /add?wait=published", entry.as_bytes()) else {
                return false;
            };
            index = body.trim().parse().ok();
            index.is_some()
        });
        index.expect("waited for")
    }

    /// Size of the head that the server shows.
    pub fn size(&self) -> Option<u64> {
        self.get("/checkpoint")?.1.lines().nth(1)?.parse().ok()
    }

    pub fn is(&self, role: &str) -> bool {
        self.get("/healthz").is_some_and(|(_, body)| body.contains(&format!("\"role\":\"{role}\"")))
    }

    pub fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition(self) {
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < until, "waited in vain until {what}:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Returns true unless the process has ended.
    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits until the process has ended.
    pub fn wait_end(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.is_alive() {
            assert!(Instant::now() < until, "it does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The server's output so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn end(mut self, signal: Signal) -> String {
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

/// An address that is free: nobody else takes a port that was just closed.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends a request; `None` if there was no answer in time.
pub fn request(address: SocketAddr, head: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).unwrap();
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

/// Removes a server's cache.
pub fn remove_cache(dir: &Path) {
    for name in ["sled", "sled.open", "index", "bundles"] {
        let path = dir.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        assert!(removed.is_ok() || !path.exists());
    }
}
