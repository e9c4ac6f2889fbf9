//! The program is killed under load, again and again: one history, and it never goes back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::merkle::TreeSize;
use treehead::proof::wire::{parse_signatures, parse_size};

use super::history::{Released, check, roots_of};
use super::world::{TestLog, time_of};
use crate::common::http::{Reply, read_reply, request};
use crate::common::random::Random;

/// Rounds where `TREEHEAD_KILL_ROUNDS` says nothing.
const ROUNDS: u64 = 10;
const WRITERS: u64 = 4;
const LEAVES: usize = 2_000;
/// How long a start may take before it counts as hanging, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_treehead"));
    program.stdin(Stdio::null());
    program
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running witness. Killed when it is dropped, by its own id, however the test ends.
struct Serving {
    child: Child,
    address: SocketAddr,
    stderr: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    fn start(dir: &Path) -> Self {
        let mut serve = program();
        serve.arg("witness").arg(dir).args(["--listen", "127.0.0.1:0"]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (found, address) = channel();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        // Read to the end: a full pipe would block the witness.
        let stderr = std::thread::spawn(move || {
            let (mut all, mut line) = (String::new(), String::new());
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some((_, rest)) = line.split_once("http://") {
                    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                    let _ = found.send(rest[..end.unwrap_or(rest.len())].to_owned());
                }
                all.push_str(&line);
                line.clear();
            }
            all
        });
        let mut serving = Self { child, address: ([127, 0, 0, 1], 0).into(), stderr: Some(stderr) };
        match address.recv_timeout(PATIENCE) {
            Ok(address) => serving.address = address.parse().unwrap(),
            Err(e) => panic!("it did not start, {e}: {}", serving.end()),
        }
        serving
    }

    /// `kill -9`, and what it wrote before.
    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr.take().map(|stderr| stderr.join().unwrap()).unwrap_or_default()
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
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// One request on one connection. An error where no whole answer came.
fn ask(address: SocketAddr, body: &str) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&request("POST", "/add-checkpoint", &[], body.as_bytes()))?;
    read_reply(&mut stream, false)
}

fn size_in(reply: &Reply) -> usize {
    usize::try_from(parse_size(&reply.body).map(TreeSize::get).unwrap()).unwrap()
}

/// Asks for growth of one of two histories until the witness is gone.
fn drive(address: SocketAddr, forks: &[TestLog; 2], released: &Mutex<Vec<Released>>, seed: u64) {
    let mut random = Random(seed);
    let mut latest = 0;
    loop {
        let fork = usize::try_from(random.below(2)).unwrap();
        let new = (latest + usize::try_from(random.below(3)).unwrap()).min(LEAVES);
        let asked = Instant::now();
        let Ok(reply) = ask(address, &forks[fork].request(latest, new).to_string()) else { return };
        match reply.status {
            200 => {
                let lines = parse_signatures(&reply.body).unwrap();
                assert_eq!(lines.len(), 2);
                let (time, answered) = (time_of(&lines[0]), Instant::now());
                released.lock().unwrap().push(Released { fork, size: new, time, asked, answered });
                latest = new;
            }
            409 => latest = size_in(&reply),
            422 | 503 => {}
            _ => panic!("{reply}"),
        }
    }
}

#[test]
fn kills_at_any_moment_leave_one_history_that_never_goes_back() {
    let rounds = std::env::var("TREEHEAD_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let home = TempDir::new().unwrap();
    let dir = home.path().join("witness");
    let trunk = TestLog::new("log.example/kill", LEAVES);
    let forks = [trunk.clone(), trunk.forked(3, LEAVES, "other ")];
    let roots = roots_of(&forks);
    succeeds(program().args(["witness", "init"]).arg(&dir).args(["--name", "witness.example/kill"]));
    succeeds(program().args(["witness", "add-log"]).arg(&dir).arg(trunk.vkey().to_string()));
    let (released, mut random) = (Mutex::new(Vec::new()), Random(20_261_101));
    let mut grown = 0;
    for round in 0..rounds {
        let mut serving = Serving::start(&dir);
        // Whatever was let out before is known now: nobody is answered with less.
        let known = released.lock().unwrap().iter().map(|released: &Released| released.size).max();
        if let Some(known) = known {
            let reply = ask(serving.address, &trunk.request(LEAVES, LEAVES).to_string()).unwrap();
            // 422: it has every leaf of the other history.
            assert!(
                matches!(reply.status, 200 | 422) || size_in(&reply) >= known,
                "round {round}: {reply}, and not {known}"
            );
        }
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                let (address, forks, released, seed) = (serving.address, &forks, &released, random.next());
                scope.spawn(move || drive(address, forks, released, seed));
            }
            std::thread::sleep(Duration::from_micros(20_000 + random.below(150_000)));
            serving.end();
        });
        let now = released.lock().unwrap().iter().map(|released| released.size).max();
        grown += u64::from(now > known);
    }
    let released = released.into_inner().unwrap();
    let largest = released.iter().map(|released| released.size).max();
    println!("{rounds} kills, {} cosigned, to tree size {largest:?}, {grown} rounds grew", released.len());
    assert!(grown * 2 > rounds || largest == Some(LEAVES), "most kills met a witness at work: {grown}");
    check(&roots, &released).unwrap();
    let wrote = Serving::start(&dir).stop();
    assert!(wrote.contains("stopped; every head that was cosigned is durable"), "{wrote}");
}

#[test]
fn a_directory_that_is_no_witness_is_not_served() {
    let home = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let output = program().arg("witness").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let dir = home.path().join("w").display().to_string();
    let (code, said) = run(&[&dir]);
    assert!(code == Some(3) && said.contains("treehead witness init"), "{code:?} {said}");
    assert_eq!(run(&[]).0, Some(2), "usage");
    assert_eq!(run(&["init", &dir, "--name", "witness.example/w", "--no-pq"]).0, Some(0));
    // One that lost its journal never starts from nothing.
    std::fs::remove_file(home.path().join("w/heads.journal")).unwrap();
    let (code, said) = run(&[&dir, "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && said.contains("heads-missing"), "{code:?} {said}");
}
