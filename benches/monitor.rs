//! A monitor from zero: `treehead monitor --once` over loopback, the log's server beside it. First an opaque
//! log of 1 KiB entries, beside raw `GET`s of all its bundles and SHA-256 on one core; then a log of signed
//! statements, beside the bare verification of as many signatures on all cores; then memory, for logs of more
//! and more entries; then the time until two monitors that are shown two histories have told of it.
//!
//! Run with `cargo bench --bench monitor`; `-- rate`, `-- statements`, `-- memory` and `-- fork` run a part.
//! `TREEHEAD_BENCH_ENTRY_BYTES=1024` has `memory` make larger entries: 11 GB of disk at ten million.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::server::Server;
use common::{entries as logs, monitor};
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use treehead::client::{BatchWriter, LogClient, StreamOptions, Wait};
use treehead::merkle::Hash;
use treehead::release::{Envelope, Kind, PublisherSigner, Purl, Release, Subject};

const SEED: [u8; 32] = [1; 32];
const ENTRIES: u64 = 500_000;
const STATEMENTS: u64 = 60_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// Most memory that a monitor may use, however many entries the log has.
const MEMORY: [u64; 3] = [100_000, 1_000_000, 10_000_000];
const FORKS: usize = 10;
/// Seconds between two polls of a monitor.
const INTERVAL: u64 = 1;

fn main() {
    let dir = common::dir();
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("rate") {
        rate(&dir.path().join("rate"));
    }
    if wanted("statements") {
        statements(&dir.path().join("statements"));
    }
    if wanted("memory") {
        memory(&dir.path().join("memory"));
    }
    if wanted("fork") {
        fork(&dir.path().join("fork"));
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn rate(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    let (log, size) = logs::serve(&dir.join("log"), ENTRIES);
    let client = LogClient::new(&log.url()).expect("an address");
    let (mut served, mut hashed, mut streamed, mut followed) = (vec![], vec![], vec![], vec![]);
    logs::served_per_second(&log, size, 4, ROUND); // Everything is warm from here on.
    for _ in 0..ROUNDS {
        served.push(logs::served_per_second(&log, size, 4, ROUND));
        hashed.push(logs::hashed_per_second(ROUND));
        streamed.push(logs::streamed_per_second(&client, size, &StreamOptions::default()));
        let home = dir.join("monitor");
        monitor::settle(&home, &log.url(), &log.dir, "profile = \"opaque\"\n");
        followed.push(size.get() as f64 / monitor::once(&home).time.as_secs_f64());
    }
    let (served, hashed, streamed, followed) =
        (median(served), median(hashed), median(streamed), median(followed));
    let bound = served.min(hashed);
    println!("raw GETs of full bundles, 4 connections   {served:>9.0} entries/s");
    println!("SHA-256 of leaves, one core                {hashed:>8.0} entries/s");
    println!(
        "fetched in order, split and hashed         {streamed:>8.0} entries/s   ratio {:.2}",
        streamed / bound
    );
    println!(
        "monitor from zero to its exit, {size} {followed:>11.0} entries/s   ratio {:.2}",
        followed / bound
    );
    println!("(medians of {ROUNDS} rounds)");
}

fn statement(n: u64) -> Vec<u8> {
    let release = Release {
        purl: Purl::parse(&format!("pkg:generic/acme/load@1.0.{n}")).expect("a purl"),
        kind: Kind::Build,
        channel: "bench".to_owned(),
        sequence: n,
        subjects: vec![Subject { name: "artifact".to_owned(), sha256: Hash::digest(&n.to_be_bytes()) }],
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    };
    let payload = release.to_payload().expect("a good release");
    Envelope::sign(payload, &[&PublisherSigner::from_seed(&SEED)]).expect("an envelope").to_entry()
}

fn append(client: &LogClient, entries: impl Iterator<Item = Vec<u8>>) {
    let mut batch = BatchWriter::default();
    let send =
        |batch: &BatchWriter| client.add_batch(batch, Wait::Published).map(drop).expect("a log that answers");
    for entry in entries {
        if !batch.push(&entry).expect("a small entry") {
            send(&batch);
            batch = BatchWriter::default();
            assert!(batch.push(&entry).expect("a small entry"));
        }
    }
    send(&batch);
}

fn statements(dir: &Path) {
    let home = dir.join("log");
    fs::create_dir_all(dir).expect("a directory");
    common::server::init(&home, "release");
    common::server::register(&home, dir, &PublisherSigner::from_seed(&SEED));
    let log = Server::serve(&home);
    append(&LogClient::new(&log.url()).expect("an address"), (1..=STATEMENTS).map(statement));
    let publishers = home.join("publishers.toml");
    let more = format!("publishers = {:?}\n", publishers.display().to_string());
    let (mut bare, mut followed) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.push(verified_per_second());
        let home = dir.join("monitor");
        monitor::settle(&home, &log.url(), &log.dir, &more);
        followed.push(STATEMENTS as f64 / monitor::once(&home).time.as_secs_f64());
    }
    let (bare, followed) = (median(bare), median(followed));
    println!("bare Ed25519 verification, all cores       {bare:>8.0} signatures/s");
    println!(
        "monitor from zero, every statement told    {followed:>8.0} statements/s   ratio {:.2}",
        followed / bare
    );
    println!("(medians of {ROUNDS} rounds; {STATEMENTS} statements with one signature each)");
}

fn verified_per_second() -> f64 {
    const SIGNATURES: usize = 20_000;
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [0; 700];
    let (public, signature) = (key.verifying_key(), key.sign(&message));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for _ in 0..SIGNATURES {
                    std::hint::black_box(&public).verify(&message, &signature).expect("it is good");
                }
            });
        }
    });
    common::rate(SIGNATURES * cores, begin.elapsed())
}

fn memory(dir: &Path) {
    // Small ones, unless somebody asks for others: it is their number that a monitor may not remember.
    let bytes =
        std::env::var("TREEHEAD_BENCH_ENTRY_BYTES").map_or(64, |bytes| bytes.parse().expect("a number"));
    let rest = vec![0x5a; bytes - 8];
    fs::create_dir_all(dir).expect("a directory");
    let log = Server::make(&dir.join("log"), "opaque");
    let client = LogClient::new(&log.url()).expect("an address");
    let mut size = 0;
    for wanted in MEMORY {
        append(&client, (size..wanted).map(|n| [n.to_be_bytes().as_slice(), &rest].concat()));
        size = wanted;
        let home = dir.join("monitor");
        monitor::settle(&home, &log.url(), &log.dir, "profile = \"opaque\"\n");
        let run = monitor::once(&home);
        let (megabytes, seconds) = (run.memory as f64 / 1_048_576.0, run.time.as_secs_f64());
        println!(
            "{size:>10} entries of {bytes} bytes           {megabytes:>8.0} MiB at most, {seconds:.1} s"
        );
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// Two servers with one key and one history, of which two monitors follow one each. Then each gets another
/// entry.
fn fork(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    let original = dir.join("original");
    let log = Server::make(&original, "opaque");
    append(
        &LogClient::new(&log.url()).expect("an address"),
        (0..1_000_u64).map(|n| n.to_be_bytes().to_vec()),
    );
    drop(log);
    let mut times = Vec::new();
    for round in 0..FORKS {
        let homes = ["a", "b"].map(|name| dir.join(format!("{name}{round}")));
        homes.iter().for_each(|home| copy(&original, home));
        let logs = homes.each_ref().map(|home| Server::serve(home));
        let ports = [0, 1].map(|_| free_port());
        let monitors = [0, 1].map(|at: usize| {
            let home = dir.join(format!("monitor-{at}"));
            let more = format!(
                "profile = \"opaque\"\n[[peer]]\nname = \"other\"\nurl = \"http://127.0.0.1:{}\"\n",
                ports[1 - at]
            );
            monitor::settle(&home, &logs[at].url(), &logs[at].dir, &more);
            let settings = fs::read_to_string(home.join("monitor.toml")).expect("settings");
            let first = format!("interval = \"{INTERVAL}s\"\nlisten = \"127.0.0.1:{}\"\n", ports[at]);
            fs::write(home.join("monitor.toml"), first + &settings).expect("settings");
            monitor::Running::start(&home)
        });
        for monitor in &monitors {
            monitor.wait_for("head");
        }
        for (at, log) in logs.iter().enumerate() {
            append(
                &LogClient::new(&log.url()).expect("an address"),
                [format!("another {at}").into_bytes()].into_iter(),
            );
        }
        let forked = Instant::now();
        let told = monitors.iter().map(|monitor| monitor.wait_for("fork").saturating_duration_since(forked));
        times.push(told.collect::<Vec<_>>());
    }
    let mut first: Vec<f64> = times.iter().map(|two| two.iter().min().expect("two").as_secs_f64()).collect();
    let mut both: Vec<f64> = times.iter().map(|two| two.iter().max().expect("two").as_secs_f64()).collect();
    first.sort_by(f64::total_cmp);
    both.sort_by(f64::total_cmp);
    println!(
        "a fork, told by the first of two monitors   {:>6.2} s, at most {:.2} s",
        first[FORKS / 2],
        first[FORKS - 1]
    );
    println!(
        "... and by both                             {:>6.2} s, at most {:.2} s",
        both[FORKS / 2],
        both[FORKS - 1]
    );
    println!("(medians of {FORKS} forks; the monitors look every {INTERVAL} s)");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
