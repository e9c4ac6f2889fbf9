//! Three times as much as an opaque log can bear, for a minute: batches of 512 entries of 1 KiB, at
//! three times the best rate that was just measured with the same writers. What is told: the rate as a part of
//! the best, how soon the excess was refused, memory, whether everything accepted is in the log, and
//! how long until latency is what it was.
//!
//! Run with `cargo bench --bench back_pressure`.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod common;

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::server::Server;
use treehead::client::LogClient;
use treehead::load::{self, Appended, Checks, Plan, Trust};

const BATCH: usize = 512;
/// For the best rate: as many as keep the log busy, and no more than are answered in time.
const CALM: usize = 8;
/// For the excess: each has one request under way.
const STORM: usize = 64;
const BEST: Duration = Duration::from_secs(10);
const LENGTH: Duration = Duration::from_secs(60);
/// Light load before and after.
const PROBE: u32 = 100;

fn main() {
    let dir = common::dir();
    let log = Server::make(&dir.path().join("log"), "opaque");
    let batches = |writers, rate, duration| {
        let plan = Plan {
            batch: BATCH,
            writers,
            rate,
            duration,
            path: "/add-batch?wait=sequenced".to_owned(),
            ..Plan::new(log.target())
        };
        load::append(&plan, pending(), &mut |_| ()).expect("a log that answers")
    };
    let before = probe(&log, Duration::from_secs(3));
    let best = batches(CALM, None, BEST);
    std::thread::sleep(Duration::from_secs(2));
    let offered = best.measured.per_second() * 3.0;
    let (most, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (start, storm) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(log.rss(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let storm = batches(STORM, Some(u32::try_from(offered as u64).expect("a rate")), LENGTH);
        let end = Instant::now();
        stop.store(true, Ordering::Relaxed);
        (end, storm)
    });
    let recovered = recovery(&log, start, before);
    tell(&best, &storm, offered, most.into_inner(), before, recovered);
    let mut acks = storm.acks;
    let client = LogClient::new(&log.url()).expect("an address");
    let checks = Checks { trust: Trust::Unverified, leaves: Some(20_000) };
    let head = checks.trust.head(&client).expect("a head");
    load::check(&client, &checks, &head, &mut acks).map_or_else(
        |error| panic!("something accepted is not in the log: {error}"),
        |(_, checked)| println!("every accepted index is in the log, {} leaves compared", checked.leaves),
    );
}

fn tell(
    best: &Appended,
    storm: &Appended,
    offered: f64,
    rss: u64,
    before: Duration,
    recovered: Option<Duration>,
) {
    let (measured, best) = (&storm.measured, best.measured.per_second());
    let (accepted, refused) = (measured.latency.latencies(), measured.busy.latencies());
    println!("best rate, {CALM} writers                 {best:>9.0} entries/s");
    println!(
        "offered for {} s, {STORM} connections     {offered:>9.0} entries/s ({} requests not sent for want of a free one)",
        LENGTH.as_secs(),
        measured.unsent
    );
    println!(
        "accepted                               {:>9.0} entries/s   ratio {:.2}",
        measured.per_second(),
        measured.per_second() / best
    );
    println!("  answered in                          p50 {:?}, p99 {:?}", accepted.p50, accepted.p99);
    println!(
        "refused with 429                       {:>9} requests: p50 {:?}, p99 {:?}, max {:?}",
        refused.count, refused.p50, refused.p99, refused.max
    );
    println!("other errors                           {:>9} {:?}", measured.errors.total(), measured.errors);
    println!("most RSS                               {:>9.0} MB", rss as f64 / 1e6);
    println!("p99 of POST /add before                {before:?}, the same again after {recovered:?}");
}

/// p99 of `POST /add` under light load.
fn probe(log: &Server, duration: Duration) -> Duration {
    let plan = Plan { rate: Some(PROBE), writers: 16, duration, ..Plan::new(log.target()) };
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
    appended.measured.latency.latencies().p99
}

/// Time from the end of the storm until half a second has a p99 of at most twice the one before.
fn recovery(log: &Server, start: Instant, before: Duration) -> Option<Duration> {
    (0..20).find_map(|_| {
        let begun = start.elapsed();
        (probe(log, Duration::from_millis(500)) <= before * 2).then_some(begun)
    })
}
