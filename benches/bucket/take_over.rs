//! Measures how long a log accepts nothing after its holder was killed or stopped.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::place::Place;

/// Number of runs of each kind.
const RUNS: usize = 20;
/// Number of concurrent logs, each with two servers that mostly wait.
const LOGS: usize = 4;
/// Two leases and a second.
const GOAL: Duration = Duration::from_secs(7);
/// Time limit, far longer than a takeover.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(place: &Place, dir: &Path) {
    println!("\n| until the next published entry, lease 3 s | least | median | most | goal |");
    println!("| --- | --- | --- | --- | --- |");
    for (name, signal) in [("SIGKILL", Signal::KILL), ("SIGSTOP", Signal::STOP)] {
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let runs = |at| scope.spawn(move || several(place, dir, &format!("{name}-{at}"), signal));
            let logs: Vec<_> = (0..LOGS).map(runs).collect();
            logs.into_iter().flat_map(|log| log.join().expect("no panic")).collect()
        });
        times.sort();
        println!(
            "| after {name}, {} runs | {:.2?} | {:.2?} | {:.2?} | {GOAL:?} |",
            times.len(),
            times[0],
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
}

/// The runs of one log, whose servers take turns.
fn several(place: &Place, dir: &Path, name: &str, signal: Signal) -> Vec<Duration> {
    let mut times = Vec::new();
    let world = World { place, dir: dir.join(name) };
    world.make(name);
    let (mut holder, mut next) = (world.serve("a"), 0);
    let mut standby = world.serve("b");
    for _ in 0..RUNS / LOGS {
        holder.wait_until(|server| server.has_role("holder"));
        standby.wait_until(|server| server.has_role("standby"));
        let mut add = |server: &Server| {
            next += 1;
            server.wait_until(|server| server.add(next));
        };
        add(&holder);
        // Vary the moment between two renewals.
        std::thread::sleep(Duration::from_millis(137 * (times.len() as u64 % 8)));
        let begun = Instant::now();
        holder.signal(signal);
        add(&standby);
        times.push(begun.elapsed());
        if signal == Signal::STOP {
            holder.signal(Signal::CONT);
        } else {
            let server = holder.name;
            drop(holder);
            holder = world.serve(server);
        }
        std::mem::swap(&mut holder, &mut standby);
    }
    drop((holder, standby));
    place.clear(name);
    times
}

/// A log with directories for two servers.
struct World<'a> {
    place: &'a Place,
    dir: std::path::PathBuf,
}

impl World<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
        command.envs(self.place.store.variables()).current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    fn make(&self, name: &str) {
        std::fs::create_dir_all(self.dir.join("b")).expect("a directory");
        let store = self.place.url(name);
        let init = ["init", "a", "--origin", "bench.example/log", "--profile", "opaque", "--store", &store];
        let made = self.command().args(init).output().expect("the program runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for file in std::fs::read_dir(self.dir.join("a")).expect("a directory") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), self.dir.join("b").join(file.file_name())).expect("a copy");
        }
    }

    fn serve(&self, name: &'static str) -> Server {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let listen = format!("127.0.0.1:{port}");
        let mut serve = self.command();
        serve.args(["serve", name, "--listen", &listen]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { name, port, process: serve.spawn().expect("the program runs") };
        server.wait_until(|server| server.has_role("holder") || server.has_role("standby"));
        server
    }
}

/// A running server.
struct Server {
    name: &'static str,
    process: Child,
    port: u16,
}

impl Server {
    /// Sends a request and returns status and body.
    fn request(&self, head: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        let text = format!(
            "{head} HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn has_role(&self, role: &str) -> bool {
        let role = format!("\"role\":\"{role}\"");
        self.request("GET /healthz", "").is_some_and(|(_, body)| body.contains(&role))
    }

    /// Adds an entry. Returns true once it is published.
    fn add(&self, number: u64) -> bool {
        self.request("POST /add?wait=published", &format!("entry {number}"))
            .is_some_and(|(status, _)| status == 200)
    }

    fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < until, "waited in vain for {}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
