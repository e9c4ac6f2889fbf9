//! Latency from `POST /add` to a proof file under a published checkpoint, light load: 50 entries a
//! second. Beside it, in the same directory, the least that it takes: one fdatasync and one signature.
//!
//! Run with `cargo bench --bench latency`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::fs::File;
use std::future::pending;
use std::io::Write as _;
use std::time::{Duration, Instant};

use common::server::Server;
use ed25519_dalek::{Signer as _, SigningKey};
use treehead::load::{self, Answers, Histogram, Latencies, Plan};

const RATE: u32 = 50;
const LENGTH: Duration = Duration::from_secs(20);
const SYNCS: usize = 500;

fn main() {
    let dir = common::dir();
    let log = Server::make(&dir.path().join("log"), "opaque");
    let bare = bare(&dir.path().join("plain"));
    let plan = Plan {
        rate: Some(RATE),
        writers: 16,
        duration: LENGTH,
        answers: Answers::Proofs,
        ..Plan::new(log.target())
    };
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
    assert_eq!(appended.measured.errors.total(), 0, "{:?}", appended.measured.errors);
    let log = appended.measured.latency.latencies();
    tell("one fdatasync of 1 KiB and one signature", &bare);
    tell("POST /add to a proof, published", &log);
    println!(
        "ratio of the medians {:.1}, of the p99 {:.1}",
        ratio(log.p50, bare.p50),
        ratio(log.p99, bare.p99)
    );
    println!("({RATE} entries a second for {} s; {} answers)", LENGTH.as_secs(), log.count);
}

fn tell(what: &str, latencies: &Latencies) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:42} p50 {:>6.2} ms   p99 {:>6.2} ms", ms(latencies.p50), ms(latencies.p99));
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn bare(path: &std::path::Path) -> Latencies {
    let mut file = File::create(path).expect("a file to write to");
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut times = Histogram::default();
    for entry in common::entries(0, SYNCS) {
        let start = Instant::now();
        file.write_all(&entry).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        std::hint::black_box(key.sign(&entry[..100]));
        times.record(start.elapsed());
    }
    times.latencies()
}
