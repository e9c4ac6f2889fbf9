//! A log of the program's own, served by a process of its own; and a server that does nothing.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use treehead::load::Target;
use treehead::release::PublisherSigner;

/// `treehead serve` on loopback. Killed when it is dropped.
pub struct Server {
    child: Child,
    pub dir: PathBuf,
    address: String,
}

impl Server {
    /// Makes a log in `dir` and serves it.
    pub fn make(dir: &Path, profile: &str) -> Self {
        init(dir, profile);
        Self::serve(dir)
    }

    /// Serves a log that is there, on any port.
    pub fn serve(dir: &Path) -> Self {
        let mut serve = program();
        serve.arg("serve").arg(dir);
        Self::spawn(serve, dir)
    }

    /// Starts a command that serves `dir`, on any port.
    fn spawn(mut serve: Command, dir: &Path) -> Self {
        serve.args(["--listen", "127.0.0.1:0"]);
        let mut child = serve.stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: String = without_colours(&line);
            // Others may name a witness's address.
            let url = line.split_once(" serving ")?.1.split("http://").nth(1)?;
            Some(url.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?.to_owned())
        });
        // Read to the end: a full pipe would hold up the log.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, dir: dir.to_owned(), address: address.expect("an address to talk to") }
    }

    pub fn target(&self) -> Target {
        Target::parse(&format!("http://{}", self.address)).expect("an address")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Memory that it has of its own, in bytes: `VmRSS`.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("procfs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("kilobytes") * 1_024
    }

    /// Processor time that it has used, the system's on its behalf included.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("procfs");
        // Behind the name, which is in parentheses: user and system time are fields 14 and 15, in
        // hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// `kill -9`, start, and how long until it is ready: until it listens with everything recovered.
    pub fn kill_and_restart(&mut self) -> Duration {
        self.restart(false)
    }

    /// The same with a log that believes that the machine went down: the mark beside sled names another boot.
    pub fn cut_power_and_restart(&mut self) -> Duration {
        self.restart(true)
    }

    fn restart(&mut self, power_cut: bool) -> Duration {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        if power_cut {
            std::fs::write(self.dir.join("sled.open"), "another boot").expect("room on the disk");
        }
        let start = Instant::now();
        let again = Self::serve(&self.dir);
        let ready = start.elapsed();
        *self = again;
        ready
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; it must not outlive the bench.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_treehead"));
    program.stdin(Stdio::null()).stdout(Stdio::null());
    program
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// An axum server that reads what it is sent and answers `0`, on threads of its own.
pub struct Nothing {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Nothing {
    pub fn serve() -> Self {
        use axum::body::Bytes;
        use axum::routing::{get, post};
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new()
            .route("/", get(|| async {}))
            .route("/add", post(|_: Bytes| async { "0" }))
            .route("/add-batch", post(|_: Bytes| async { "0" }))
            .route("/add-checkpoint", post(|_: Bytes| async { "0" }));
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, _runtime: runtime }
    }

    pub fn target(&self) -> Target {
        Target::parse(&format!("http://{}", self.address)).expect("an address")
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Makes a log.
pub fn init(dir: &Path, profile: &str) {
    init_with(dir, profile, &[]);
}

/// Makes a log that asks the witnesses of these cards, two of which have to agree; none where there are
/// no cards.
pub fn init_with(dir: &Path, profile: &str, cards: &[PathBuf]) {
    let mut init = program();
    init.arg("init").arg(dir).args(["--origin", "bench.example/log", "--profile", profile]);
    if !cards.is_empty() {
        init.args(["--quorum", "2"]);
    }
    for card in cards {
        init.arg("--witness").arg(card);
    }
    run(init);
}

/// Makes a witness of this name in `dir` and serves it. Its card has the address that it listens on.
pub fn witness(dir: &Path, name: &str) -> Server {
    let mut init = program();
    init.args(["witness", "init"]).arg(dir).args(["--name", name]);
    run(init);
    let mut serve = program();
    serve.arg("witness").arg(dir);
    let served = Server::spawn(serve, dir);
    // The port was not known when the card was written.
    let card = std::fs::read_to_string(card(dir)).expect("a card");
    let line = |line: &str| match line.strip_prefix("url = ") {
        Some(_) => format!("url = \"{}\"\n", served.url()),
        None => format!("{line}\n"),
    };
    std::fs::write(self::card(dir), card.lines().map(line).collect::<String>()).expect("room on the disk");
    served
}

/// The path of a witness's card.
pub fn card(dir: &Path) -> PathBuf {
    dir.join("card.toml")
}

/// Lets a witness cosign for a log. A running one takes it up within a second.
pub fn introduce(witness: &Path, log: &Path) {
    let mut add = program();
    add.args(["witness", "add-log"]).arg(witness).args([log.join("log.vkey"), log.join("log.mldsa.vkey")]);
    run(add);
}

fn run(mut command: Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Registers a publisher who may publish `pkg:generic/acme/*`.
pub fn register(log: &Path, scratch: &Path, key: &PublisherSigner) {
    let pem = scratch.join("publisher.pem");
    std::fs::write(&pem, key.public_pem()).expect("room on the disk");
    let mut add = program();
    add.args(["publisher", "add"]).arg(log).args(["--name", "acme", "--key"]).arg(&pem);
    add.args(["--purl", "pkg:generic/acme/*", "--kind", "build"]);
    assert!(add.output().expect("the program runs").status.success(), "a publisher is registered");
}
