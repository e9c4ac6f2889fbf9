//! Runs the program, and serves logs with it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::kill::{Running, program};

pub const ORIGIN: &str = "log.example.com/releases";

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.exit, 0, "{self:?}");
        self
    }

    /// Checks that it was a refusal: exit code 1, with this reason code.
    #[track_caller]
    pub fn refused(self, code: &str) -> Self {
        assert_eq!(self.exit, 1, "{self:?}");
        assert!(self.stderr.contains(&format!("refused ({code}): ")), "{self:?}");
        self
    }

    /// Checks the exit code, and that stderr contains these words.
    #[track_caller]
    pub fn failed(self, exit: i32, says: &str) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        assert!(self.stderr.contains(says), "{says}: {self:?}");
        self
    }

    /// The object on each line of stdout.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        self.stdout.lines().map(parse).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A directory with a log in `log`, and a publisher whose key is in `publisher.pem`.
pub struct World {
    temp: TempDir,
}

impl World {
    /// A log of releases with a registered publisher.
    pub fn new() -> Self {
        let world = Self { temp: tempfile::tempdir().expect("a directory") };
        world.run("init log --origin log.example.com/releases").done();
        world.run("keygen publisher --name vendor --out publisher.pem").done();
        world
            .run("publisher add log --name vendor --key publisher.pub --purl pkg:generic/example/* --kind build")
            .done();
        world
    }

    /// Three witnesses in `w1` to `w3` that know the log, and a log with a quorum of two.
    pub fn witnessed() -> Self {
        let world = Self { temp: tempfile::tempdir().expect("a directory") };
        for number in 1..=3 {
            // The witness's card has to name its address.
            let (name, address) = (format!("w{number}.example.com"), Self::free_address());
            world.run(&format!("witness init w{number} --name {name} --listen {address}")).done();
        }
        let cards = "--witness w1/card.toml --witness w2/card.toml --witness w3/card.toml";
        world.run(&format!("init log --origin {ORIGIN} --quorum 2 {cards}")).done();
        for number in 1..=3 {
            world.run(&format!("witness add-log w{number} log/log.vkey log/log.mldsa.vkey")).done();
        }
        world.run("keygen publisher --name vendor --out publisher.pem").done();
        world
            .run("publisher add log --name vendor --key publisher.pub --purl pkg:generic/example/* --kind build")
            .done();
        world
    }

    /// An opaque log.
    pub fn opaque() -> Self {
        let world = Self { temp: tempfile::tempdir().expect("a directory") };
        world.run("init log --origin log.example.com/anything --profile opaque").done();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The memory in `state`, without its checksum line.
    pub fn memory(&self) -> String {
        let text = String::from_utf8(self.read("state/state.json")).expect("text");
        text.split_once('\n').expect("a checksum").1.to_owned()
    }

    /// The memory, parsed.
    pub fn remembered(&self) -> Value {
        serde_json::from_str(&self.memory()).expect("JSON")
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    /// A command of the program in this directory. Spaces separate its arguments.
    pub fn command(&self, line: &str) -> Command {
        let mut command = program();
        command.args(line.split(' ')).current_dir(self.temp.path());
        command
    }

    /// Runs a command. Its output goes to no terminal, so it has no colours.
    #[track_caller]
    pub fn run(&self, line: &str) -> Ran {
        let output = self.command(line).output().expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "{line}: {stdout}{stderr}");
        Ran { exit: output.status.code().expect("no signal"), stdout, stderr }
    }

    /// Like `run`, with this on standard input.
    #[track_caller]
    pub fn run_with(&self, line: &str, input: &str) -> Ran {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        // A program that answers while it reads must not wait for a reader.
        let output = std::thread::scope(|scope| {
            scope.spawn(move || pipe.write_all(input.as_bytes()).expect("it reads everything"));
            child.wait_with_output().expect("it ends")
        });
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Ran { exit: output.status.code().expect("no signal"), stdout, stderr }
    }

    /// Serves the log in `log`.
    pub fn serve(&self) -> Server {
        self.start("serve log --listen 127.0.0.1:0")
    }

    /// An address that was free a moment ago, for a server that needs one before it starts.
    pub fn free_address() -> String {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        free.expect("a port").to_string()
    }

    /// Serves a witness at the address on its card.
    pub fn serve_witness(&self, number: u32) -> Server {
        self.start(&format!("witness w{number}"))
    }

    /// Starts a command that serves something.
    pub fn start(&self, line: &str) -> Server {
        self.start_with(line, " serving ", Stdio::null())
    }

    /// Like `start`, for a command that reports its URL after the word `says`. Its results go to `stdout`.
    pub fn start_with(&self, line: &str, says: &str, stdout: Stdio) -> Server {
        Self::start_command(self.command(line).stdout(stdout), says)
    }

    /// A command run by a shell with a limit, such as `ulimit -n 64`.
    pub fn limited(&self, limit: &str, line: &str) -> Command {
        let mut command = Command::new("sh");
        let line = format!("{limit}; exec {} {line}", env!("CARGO_BIN_EXE_treehead"));
        command.args(["-c", &line]).current_dir(self.temp.path()).stdin(Stdio::null());
        command
    }

    /// Like `start`, with a limit.
    pub fn start_limited(&self, limit: &str, line: &str) -> Server {
        Self::start_command(self.limited(limit, line).stdout(Stdio::null()), " serving ")
    }

    /// Like `start_with`, for a prepared command.
    pub fn start_command(command: &mut Command, says: &str) -> Server {
        let (running, url) = Running::spawn(command).listening(says);
        Server { running, url }
    }

    /// Writes an artifact, and publishes it as this version and sequence of the scanner.
    pub fn publish(&self, server: &Server, file: &str, content: &str, sequence: u64) -> Ran {
        self.write(file, content);
        self.run(&self.publish_line(server, file, sequence))
    }

    #[allow(clippy::unused_self, reason = "reads as its neighbours do")]
    pub fn publish_line(&self, server: &Server, file: &str, sequence: u64) -> String {
        format!(
            "publish {file} --log {} --key publisher.pem --kind build --purl pkg:generic/example/scanner@{sequence}.0 --channel stable --sequence {sequence}",
            server.url
        )
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    running: Running,
    pub url: String,
}

impl Server {
    /// `kill -9`, as if the power failed.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Stops the server, and returns what it wrote to stderr.
    pub fn terminate(self) -> String {
        self.running.stop()
    }

    /// Sends SIGHUP, and waits until the server has read its files again.
    pub fn hang_up(&mut self) {
        self.running.signal("HUP");
        self.running.wait_until(|running| running.stderr().contains("was read again"));
    }

    /// Everything that the server wrote to stderr so far.
    pub fn talk(&self) -> String {
        self.running.stderr()
    }

    /// The status and body of the answer.
    pub fn get(&self, path: &str) -> (u16, Vec<u8>) {
        get(&self.url, path)
    }

    pub fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let head = format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        let (status, answer) = exchange(&self.url, &[head.as_bytes(), body].concat());
        (status, String::from_utf8(answer).expect("text"))
    }

    pub fn tree_size(&self) -> u64 {
        let (_, health) = self.get("/healthz");
        let health: Value = serde_json::from_slice(&health).expect("JSON");
        health["tree_size"].as_u64().expect("a number")
    }
}

/// Requests a path of a server. Returns status and body.
pub fn get(url: &str, path: &str) -> (u16, Vec<u8>) {
    exchange(url, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
}

fn exchange(url: &str, request: &[u8]) -> (u16, Vec<u8>) {
    let address = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let status = std::str::from_utf8(&answer[9..12]).expect("ASCII").parse().expect("a status");
    (status, answer.split_off(head + 4))
}
