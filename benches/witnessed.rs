//! Time from `POST /add?wait=witnessed` to the proof file, cosigned by two of three witnesses: log and
//! witnesses are processes of their own on loopback, on the same processors and disk as the generator, and
//! sign with both algorithms. One writer, twenty entries a second.
//!
//! Beside it, in the same run: a log of the same keys without witnesses (`?wait=published`), and the bare
//! costs of what a witnessed proof waits for, one after the other on one thread:
//!
//! - the entry's fdatasync
//! - both signatures by the log, its checkpoint fsynced, with its directory
//! - at a witness both of them checked, both cosignatures made, one fdatasync. Once: the quorum's two work
//!   at the same time
//! - four cosignatures checked, the witnessed checkpoint fsynced, with its directory
//!
//! Then the same two logs with as many writers as they get: entries a second.
//!
//! Run with `cargo bench --bench witnessed`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fs::{self, File};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::bare::{Secret, Signed};
use common::bound::append;
use common::server::{Server, card, init_with, introduce, witness};
use treehead::checkpoint;
use treehead::checkpoint::policy::Policy;
use treehead::client::LogClient;
use treehead::load::{self, Answers, Histogram, Latencies, Measured, Plan};
use treehead::proof::ProofFile;

const RATE: u32 = 20;
const LENGTH: Duration = Duration::from_secs(30);
const BARE: usize = 300;
const WRITERS: usize = 256;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(6);
/// The target: p99 from the request to the proof.
const GOAL: Duration = Duration::from_millis(100);

fn main() {
    let dir = common::dir();
    let witnesses: Vec<Server> = (1..=3)
        .map(|at| witness(&dir.path().join(format!("w{at}")), &format!("w{at}.example.com")))
        .collect();
    let cards: Vec<PathBuf> = witnesses.iter().map(|witness| card(&witness.dir)).collect();
    let (witnessed, alone) = (dir.path().join("witnessed"), dir.path().join("alone"));
    init_with(&witnessed, "opaque", &cards);
    init_with(&alone, "opaque", &[]);
    witnesses.iter().for_each(|witness| introduce(&witness.dir, &witnessed));
    // They look at their file once a second.
    std::thread::sleep(Duration::from_millis(1_200));
    let (witnessed, alone) = (Server::serve(&witnessed), Server::serve(&alone));
    let proof = first(&witnessed);

    let bare = bare(dir.path());
    let alone_light = light(&alone, "published");
    let witnessed_light = light(&witnessed, "witnessed");
    tell("bare signatures and fsyncs", &bare);
    tell("?wait=published, no witnesses", &alone_light);
    tell("?wait=witnessed, 2 of 3", &witnessed_light);
    println!(
        "ratio to the bare costs: median {:.1}, p99 {:.1}; to the log alone: median {:.1}, p99 {:.1}",
        ratio(witnessed_light.p50, bare.p50),
        ratio(witnessed_light.p99, bare.p99),
        ratio(witnessed_light.p50, alone_light.p50),
        ratio(witnessed_light.p99, alone_light.p99),
    );
    println!("p99 is to be at most {} ms: {}", GOAL.as_millis(), met(witnessed_light.p99 <= GOAL));
    println!("({RATE} entries a second for {} s; proof files of {proof} bytes)", LENGTH.as_secs());

    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(full(&alone, "published"));
        with.push(full(&witnessed, "witnessed"));
    }
    let busy = with.iter().chain(&without).map(|measured| measured.generator_busy).fold(0.0, f64::max);
    let latency = |runs: &[Measured]| runs[ROUNDS / 2].latency.latencies();
    let (latencies, rates) =
        ([latency(&without), latency(&with)], [&without, &with].map(|runs| common::median_rate(runs)));
    for ((what, rate), latency) in
        ["published, no witnesses", "witnessed, 2 of 3"].iter().zip(rates).zip(latencies)
    {
        println!(
            "{WRITERS} writers, {what:24} {rate:>8.0} entries/s   p50 {:?}, p99 {:?}",
            latency.p50, latency.p99
        );
    }
    println!(
        "ratio {:.2}   (medians of {ROUNDS} rounds of {} s; the generator was busy {busy:.2} of the time)",
        rates[1] / rates[0],
        ROUND.as_secs()
    );
}

fn met(goal: bool) -> &'static str {
    if goal { "met" } else { "MISSED" }
}

/// The bytes of a proof file that has what the log's policy demands.
fn first(log: &Server) -> usize {
    let client = LogClient::new(&log.url()).expect("an address");
    let answer = client.post("add?wait=witnessed", "text/x-tlog-proof", b"the first", 1024 * 1024);
    let bytes = answer.expect("a witnessed proof");
    let proof = ProofFile::parse(&bytes).expect("a proof file");
    let policy = fs::read(log.dir.join("endpoint.policy")).expect("a policy");
    let policy = Policy::parse(&policy).expect("a policy");
    let head = checkpoint::open_note(proof.checkpoint, &policy.log_keys()).expect("signed by the log");
    let cosigned = policy.check(&head).expect("a quorum");
    assert!(cosigned.cosignatures().len() >= 4, "two witnesses, two algorithms");
    bytes.len()
}

/// Light load: the latencies of proofs.
fn light(log: &Server, wait: &str) -> Latencies {
    let path = format!("/add?wait={wait}");
    let plan = Plan {
        path,
        rate: Some(RATE),
        writers: 1,
        duration: LENGTH,
        answers: Answers::Proofs,
        ..Plan::new(log.target())
    };
    append_all(&plan).latency.latencies()
}

/// As many entries as so many writers get through.
fn full(log: &Server, wait: &str) -> Measured {
    let path = format!("/add?wait={wait}");
    append_all(&Plan { path, writers: WRITERS, duration: ROUND, ..Plan::new(log.target()) })
}

fn append_all(plan: &Plan) -> Measured {
    let appended = load::append(plan, pending(), &mut |_| ()).expect("a log that answers");
    assert_eq!(appended.measured.errors.total(), 0, "{:?}", appended.measured.errors);
    assert!(appended.malformed.is_none(), "{:?}", appended.malformed);
    appended.measured
}

fn tell(what: &str, latencies: &Latencies) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{what:32} p50 {:>6.2} ms   p99 {:>6.2} ms   max {:>6.2} ms   of {}",
        ms(latencies.p50),
        ms(latencies.p99),
        ms(latencies.max),
        latencies.count
    );
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn bare(dir: &Path) -> Latencies {
    let mut journals = ["entries", "heads"].map(|name| File::create(dir.join(name)).expect("a file"));
    let log = [Secret::ed25519(1), Secret::ml_dsa_44(1)];
    let cosigner = [Secret::ed25519(2), Secret::ml_dsa_44(2)];
    // About as long as what is signed in a checkpoint; different ones, as in a log.
    let checked: Vec<Signed> =
        (0..64).flat_map(|filler| log.iter().map(move |key| key.signed(filler, 107))).collect();
    let mut next = checked.iter().cycle();
    let mut times = Histogram::default();
    for number in 0..BARE {
        let message = [&(number as u64).to_be_bytes()[..], &[7; 99]].concat();
        let sign = |keys: &[Secret]| {
            keys.iter().for_each(|key| drop(std::hint::black_box(key.sign(&message))));
        };
        let mut check = |count| next.by_ref().take(count).for_each(Signed::check);
        let start = Instant::now();
        append(&mut journals[0], common::ENTRY_BYTES);
        sign(&log);
        checkpoint_file(dir);
        check(2);
        sign(&cosigner);
        append(&mut journals[1], RECORD_BYTES);
        check(4);
        checkpoint_file(dir);
        times.record(start.elapsed());
    }
    times.latencies()
}

/// About what a witness keeps of a head with two signatures and two cosignatures.
const RECORD_BYTES: usize = 7_200;

/// A checkpoint written in place of another: two fsyncs.
fn checkpoint_file(dir: &Path) {
    let (new, path) = (dir.join("checkpoint.new"), dir.join("checkpoint"));
    let mut file = File::create(&new).expect("a file to write to");
    append(&mut file, RECORD_BYTES);
    fs::rename(&new, &path).expect("a directory to write to");
    File::open(dir).expect("a directory").sync_all().expect("a disk that syncs");
}
