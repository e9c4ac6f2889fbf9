//! `POST /add-batch` of signed statements: parsed, verified, durable and in a signed checkpoint before
//! the answer. Beside it, by turns, the bare Ed25519 verification of as many signatures on both cores.
//!
//! Run with `cargo bench --bench add_batch`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::server::Server;
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use treehead::load::{self, Entries, Measured, Plan, Statement};
use treehead::release::{Envelope, Kind, PublisherSigner, Purl, Release, Subject};

const SEED: [u8; 32] = [1; 32];
const BATCH: usize = 256;
/// Number of writers. Each waits for a head over its batch, so it takes many to keep a log busy.
const WRITERS: usize = 48;
const ROUNDS: usize = 5;
/// As long as the statements last that were signed before the clock started: nobody signs while it runs.
const ROUND: Duration = Duration::from_secs(1);
const SIGNATURES: usize = 20_000;

fn main() {
    let dir = common::dir();
    let home = dir.path().join("log");
    common::server::init(&home, "release");
    common::server::register(&home, dir.path(), &PublisherSigner::from_seed(&SEED));
    let log = Server::serve(&home);
    let (mut logs, mut bare, mut waits) = (Vec::new(), Vec::new(), 0);
    append(&log); // Everything is warm from here on.
    for _ in 0..ROUNDS {
        bare.push(verify());
        let (measured, waited) = append(&log);
        logs.push(measured);
        waits += waited;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let bare = common::rate(SIGNATURES * cores, common::median(bare));
    let log = common::median_rate(&logs);
    println!("bare Ed25519 verification, {cores} threads     {bare:>9.0} signatures/s");
    println!("POST /add-batch of {BATCH} statements        {log:>9.0} entries/s   ratio {:.2}", log / bare);
    println!("(medians of {ROUNDS} rounds; {waits} entries had to be signed while the clock ran)");
}

fn append(log: &Server) -> (Measured, u64) {
    let release = Release {
        purl: Purl::parse("pkg:generic/acme/load@1.0.0").expect("a purl"),
        kind: Kind::Build,
        channel: "bench".to_owned(),
        sequence: 1,
        subjects: vec![Subject { name: "artifact".to_owned(), sha256: treehead::merkle::Hash::digest(b"") }],
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    };
    let signer = PublisherSigner::from_seed(&SEED);
    let sign = Box::new(move |payload| Envelope::sign(payload, &[&signer]));
    let entries = Entries::Signed(Arc::new(Statement { sign, release }));
    let path = "/add-batch?wait=published".to_owned();
    let plan =
        Plan { entries, batch: BATCH, writers: WRITERS, duration: ROUND, path, ..Plan::new(log.target()) };
    let measured = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers").measured;
    assert_eq!(measured.errors.total(), 0, "{:?}", measured.errors);
    let waits = measured.signing_waits;
    (measured, waits)
}

/// The time in which all cores together verify so many signatures. Not the same one again and again, which the processor
/// would know.
fn verify() -> Duration {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key();
    let sign = |first: u8| {
        let message = [first; 700];
        (message, key.sign(&message))
    };
    let signed: Vec<_> = (0..=u8::MAX).map(sign).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for (message, signature) in signed.iter().cycle().take(SIGNATURES) {
                    std::hint::black_box(&public).verify(message, signature).expect("it is good");
                }
            });
        }
    });
    start.elapsed()
}
