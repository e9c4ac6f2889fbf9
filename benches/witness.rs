//! `add-checkpoint` of a witness: a million-leaf tree that grows by seven leaves for each head, all heads
//! signed beforehand. Once with Ed25519 alone (log and witness), once with ML-DSA-44 alone.
//!
//! Beside it, in the same run and directory, the bound: what no witness can leave out for a head, done with
//! nothing around it. As many threads as there are processors check the log's signature and make the
//! cosignature; one thread appends records as long as the witness's to a plain file, as many as have
//! arrived and at least as many as the witness had in a batch, with one fdatasync; a log's next head comes
//! when its last one is durable. No parsing, no proof, no compare-and-swap, no row for readers.
//!
//! 1. `Witness::add_checkpoint`, called by a task for each log, on a runtime as `treehead witness` has it.
//! 2. The same over HTTP: a keep-alive connection for each log, driven by one thread on the same
//!    processors, which sends bytes made beforehand. Beside it, too, a server that answers nothing.
//! 3. A single log, one head after the other.
//!
//! Run with `cargo bench --bench witness`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::bare::Secret;
use common::bound::{Bound, Run, append};
use common::server::Nothing;
use common::tree::{Step, steps};
use common::{dir, median};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::merkle::Hash;
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::wire::AddCheckpoint;
use treehead::witness::{JOURNAL, LOGS_FILE, Ledger, Witness, run};

const WITNESS: &str = "witness.example/w1";
const MANY: [usize; 2] = [64, 256];
const ROUNDS: usize = 3;
/// As in the journal: what begins a batch.
const BATCH_MAGIC: &[u8] = b"THHEADS\n";

fn main() {
    // Heads in a round of many logs, and of one: a few seconds of work.
    for (scheme, requests, single) in [(Scheme::Ed25519, 25_600, 1_000), (Scheme::MlDsa44, 5_120, 500)] {
        println!("{}, log and witness", scheme.name());
        tell_signatures(scheme);
        for logs in MANY {
            many(scheme, logs, requests / logs);
        }
        one(scheme, single);
        println!();
    }
    println!("(medians of {ROUNDS} rounds of each, by turns; {} processors)", processors());
}

#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    Ed25519,
    MlDsa44,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
        }
    }

    /// A log's key and a witness's.
    const fn kinds(self) -> (SignatureType, SignatureType) {
        match self {
            Self::Ed25519 => (SignatureType::Ed25519, SignatureType::CosignatureEd25519),
            Self::MlDsa44 => (SignatureType::CosignatureMlDsa44, SignatureType::CosignatureMlDsa44),
        }
    }

    fn secret(self, seed: u8) -> Secret {
        match self {
            Self::Ed25519 => Secret::ed25519(seed),
            Self::MlDsa44 => Secret::ml_dsa_44(seed),
        }
    }

    fn witness_key(self) -> NoteSigner {
        NoteSigner::from_seed(name(WITNESS), self.kinds().1, &[200; 32])
    }

    /// Bytes that a log signs, and a witness: about what they are in a checkpoint.
    const fn message_bytes(self) -> (usize, usize) {
        match self {
            Self::Ed25519 => (75, 107),
            Self::MlDsa44 => (107, 107),
        }
    }
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).expect("a name")
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// A log, and the requests that it is going to send, with their HTTP heads.
struct Log {
    signer: NoteSigner,
    requests: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    bytes: Vec<u8>,
    head: usize,
}

impl Request {
    fn body(&self) -> &[u8] {
        &self.bytes[self.head..]
    }
}

/// Logs of one tree, each with keys and an origin of its own, signed on all processors.
fn logs(scheme: Scheme, count: usize, steps: &[Step]) -> Vec<Arc<Log>> {
    let made = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for part in 0..processors() {
            let made = &made;
            scope.spawn(move || {
                for at in (part..count).step_by(processors()) {
                    made.lock().expect("no panic").push(Arc::new(log(scheme, at, steps)));
                }
            });
        }
    });
    made.into_inner().expect("no panic")
}

fn log(scheme: Scheme, at: usize, steps: &[Step]) -> Log {
    let origin = format!("log{at}.example.com");
    let seed = *Hash::digest(origin.as_bytes()).as_bytes();
    let signer = NoteSigner::from_seed(name(&origin), scheme.kinds().0, &seed);
    let request = |step: &Step| {
        let head = Checkpoint::new(name(&origin), step.size, step.root);
        let note = match scheme {
            Scheme::Ed25519 => head.sign(&signer),
            Scheme::MlDsa44 => {
                let text = format!("{head}\n{}", cosign(&head, &signer, 1_770_000_000));
                Note::parse(text.as_bytes()).expect("a note")
            }
        };
        let body = AddCheckpoint { old: step.old, proof: step.proof.clone(), checkpoint: note }.to_string();
        let length = body.len();
        let head = format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n");
        Request { bytes: [head.as_bytes(), body.as_bytes()].concat(), head: head.len() }
    };
    let requests = steps.iter().map(request).collect();
    Log { signer, requests }
}

/// A new witness that knows these logs.
fn witness(scheme: Scheme, dir: &Path, logs: &[Arc<Log>]) -> Witness {
    fs::write(dir.join(JOURNAL), Ledger::empty_journal(&name(WITNESS))).expect("room on the disk");
    let lines: String = logs.iter().map(|log| format!("log {}\n", log.signer.public())).collect();
    fs::write(dir.join(LOGS_FILE), lines + "quorum none\n").expect("room on the disk");
    Witness::open(dir, vec![scheme.witness_key()]).expect("a new witness")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads")
}

/// Each log's requests, one after the other, by a task for each log.
fn library(scheme: Scheme, logs: &[Arc<Log>]) -> Run {
    let dir = dir();
    let witness = witness(scheme, dir.path(), logs);
    let run = runtime().block_on(async {
        let start = Instant::now();
        let drive = |log: &Arc<Log>| {
            let (witness, log) = (witness.clone(), log.clone());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(log.requests.len());
                for request in &log.requests {
                    let start = Instant::now();
                    let lines = witness.add_checkpoint(request.body()).await.expect("cosigned");
                    assert_eq!(lines.len(), 1);
                    times.push(start.elapsed());
                }
                times
            })
        };
        let tasks: Vec<_> = logs.iter().map(drive).collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("no panic"));
        }
        Run { times, elapsed: start.elapsed(), batches: 0 }
    });
    witness.ledger().shut_down();
    Run { batches: batches(dir.path()), ..run }
}

/// Batches in a journal: the notes in it have no line like their head.
fn batches(dir: &Path) -> usize {
    let journal = fs::read(dir.join(JOURNAL)).expect("a journal");
    journal.windows(BATCH_MAGIC.len()).filter(|window| *window == BATCH_MAGIC).count()
}

/// The same over HTTP, served on threads of its own.
fn over_http(scheme: Scheme, logs: &[Arc<Log>]) -> Run {
    let dir = dir();
    let witness = witness(scheme, dir.path(), logs);
    let server = runtime();
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = server.spawn(run(listener, witness, async {
        let _ = stopped.await;
    }));
    let run = drive(address, logs);
    drop(stop);
    server.block_on(served).expect("no panic").expect("the listener works");
    Run { batches: batches(dir.path()), ..run }
}

/// A connection for each log, all on this thread.
fn drive(address: SocketAddr, logs: &[Arc<Log>]) -> Run {
    let generator = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a timer");
    let local = tokio::task::LocalSet::new();
    local.block_on(&generator, async {
        let mut streams = Vec::new();
        for _ in logs {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            streams.push(stream);
        }
        let start = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .zip(logs)
            .map(|(stream, log)| tokio::task::spawn_local(send(stream, log.clone())))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("no panic"));
        }
        Run { times, elapsed: start.elapsed(), batches: 0 }
    })
}

async fn send(stream: TcpStream, log: Arc<Log>) -> Vec<Duration> {
    let mut times = Vec::with_capacity(log.requests.len());
    let mut answer = vec![0; 16 * 1024];
    for request in &log.requests {
        let start = Instant::now();
        let mut rest = request.bytes.as_slice();
        while !rest.is_empty() {
            stream.writable().await.expect("an open connection");
            let sent = ready(stream.try_write(rest));
            rest = &rest[sent.unwrap_or(0)..];
        }
        let mut length = 0;
        while !is_whole(&answer[..length]) {
            stream.readable().await.expect("an open connection");
            let read = ready(stream.try_read(&mut answer[length..]));
            assert_ne!(read, Some(0), "{}", String::from_utf8_lossy(&answer[..length]));
            length += read.unwrap_or(0);
        }
        times.push(start.elapsed());
        let answer = &answer[..length];
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
    }
    times
}

/// Bytes that went through; none where the socket was not ready after all.
fn ready(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        result => Some(result.expect("an open connection")),
    }
}

/// Returns true if an answer with a `content-length` is complete.
fn is_whole(answer: &[u8]) -> bool {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let at = answer[..end].windows(LENGTH.len()).position(|window| window.eq_ignore_ascii_case(LENGTH));
    let digits = &answer[at.expect("a length") + LENGTH.len()..end];
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit());
    answer.len() >= end + 4 + length.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

/// The least that these logs' heads cost.
fn bound(scheme: Scheme, logs: &[Arc<Log>]) -> Bound {
    let (by_log, message) = scheme.message_bytes();
    // A single log's signatures are several, too.
    let signed = |at: usize| {
        let seed = u8::try_from(at % 251).expect("below 251");
        scheme.secret(seed).signed(seed, by_log)
    };
    let first = AddCheckpoint::parse(logs[0].requests[0].body()).expect("a request").checkpoint;
    let head = Checkpoint::parse(first.text()).expect("a checkpoint");
    let line = cosign(&head, &scheme.witness_key(), 1_770_000_000).to_string();
    // size, root, time, and two lengths
    let record = 8 + 32 + 8 + 2 + 4 + head.origin.as_str().len() + first.to_string().len() + line.len();
    Bound {
        logs: (0..if logs.len() == 1 { 16 } else { logs.len() }).map(signed).collect(),
        witness: scheme.secret(200),
        message,
        record,
    }
}

/// The parts of the bound, each alone on one thread.
fn tell_signatures(scheme: Scheme) {
    let steps = steps(1);
    let bound = bound(scheme, &[Arc::new(log(scheme, 0, &steps))]);
    let timed = |work: &mut dyn FnMut(usize)| {
        let time = |number| {
            let start = Instant::now();
            work(number);
            start.elapsed()
        };
        median((0..300).map(time).collect()).as_secs_f64() * 1e6
    };
    let check = timed(&mut |number| bound.logs[number % bound.logs.len()].check());
    let sign = timed(&mut |number| drop(std::hint::black_box(bound.witness.sign(&bound.message(number)))));
    let dir = dir();
    let mut file = fs::File::create(dir.path().join("plain")).expect("a file to write to");
    let sync = timed(&mut |_| append(&mut file, bound.record));
    println!(
        "  bare: check {check:.0} µs, sign {sign:.0} µs, {} bytes appended and fdatasynced {sync:.0} µs",
        bound.record
    );
}

/// Many logs at once.
fn many(scheme: Scheme, count: usize, heads: usize) {
    let logs = logs(scheme, count, &steps(heads));
    let bound = bound(scheme, &logs);
    let (dir, nothing) = (dir(), Nothing::serve());
    let mut runs: [Vec<Run>; 5] = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        let library = library(scheme, &logs);
        // Batches no smaller than the witness's: more fdatasyncs would be a bound that it could beat.
        let least = (count * heads).div_ceil(library.batches);
        runs[0].push(bound.signatures(heads, processors()));
        runs[1].push(bound.together(&dir.path().join("plain"), heads, processors(), least));
        runs[2].push(library);
        runs[3].push(drive(nothing.address(), &logs));
        runs[4].push(over_http(scheme, &logs));
    }
    let [signatures, bound, library, nothing, http] = runs.map(Figures::new);
    println!("  {count} logs, {heads} heads each");
    signatures.tell("signatures alone, no disk", "");
    bound.tell("the bound", "");
    library.tell("Witness::add_checkpoint", &format!("   ratio {:.2}", library.rate / bound.rate));
    nothing.tell("a server that answers nothing", "");
    // As if each head took the bound's time of the processors and then the empty server's.
    let both = 1.0 / (1.0 / bound.rate + 1.0 / nothing.rate);
    let ratios = format!("   ratio {:.2}; of both {:.2}", http.rate / bound.rate, http.rate / both);
    http.tell("POST /add-checkpoint", &ratios);
}

/// One log alone.
fn one(scheme: Scheme, heads: usize) {
    let logs = logs(scheme, 1, &steps(heads));
    let bound = bound(scheme, &logs);
    let dir = dir();
    let mut runs: [Vec<Run>; 3] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        runs[0].push(bound.serial(&dir.path().join("plain"), heads));
        runs[1].push(library(scheme, &logs));
        runs[2].push(over_http(scheme, &logs));
    }
    let [bound, library, http] = runs.map(Figures::new);
    println!("  one log, {heads} heads, one after the other");
    bound.tell("the bound, on one thread", "");
    library.tell("Witness::add_checkpoint", &format!("   ratio {:.2}", library.rate / bound.rate));
    http.tell("POST /add-checkpoint", &format!("   ratio {:.2}", http.rate / bound.rate));
}

/// Medians of the rounds' rates and batches; quantiles of all heads.
struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
    /// Heads to a batch; none where nothing was written.
    batch: Option<f64>,
}

impl Figures {
    fn new(runs: Vec<Run>) -> Self {
        let count = runs[0].times.len();
        let batches = runs.iter().map(|run| run.batches).max().unwrap_or_default();
        let elapsed = median(runs.iter().map(|run| run.elapsed).collect());
        let mut times: Vec<Duration> = runs.into_iter().flat_map(|run| run.times).collect();
        times.sort();
        let ms = |at: usize| times[at].as_secs_f64() * 1e3;
        Self {
            rate: common::rate(count, elapsed),
            p50: ms(times.len() / 2),
            p99: ms(times.len() * 99 / 100),
            batch: (batches > 0).then(|| count as f64 / batches as f64),
        }
    }

    fn tell(&self, what: &str, ratios: &str) {
        let Self { rate, p50, p99, batch } = self;
        let batch = batch.map_or_else(String::new, |batch| format!("   {batch:.0} to a batch"));
        println!("    {what:30} {rate:>8.0} heads/s   p50 {p50:>6.2} ms   p99 {p99:>6.2} ms{batch}{ratios}");
    }
}
