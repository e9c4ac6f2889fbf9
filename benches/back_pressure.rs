//! Three times the load that an opaque log can bear, for a minute: batches of 512 small entries from writers
//! that hardly pause when they are refused. The entries are small because the machine also has to make and
//! carry those that are refused. Prints the rate as a share of the best one, measured just before; how soon
//! the excess was refused; memory; whether the log has everything it accepted; and how long latency took to
//! return to normal.
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
use treehead::load::{self, Appended, Checks, Entries, Plan, Trust};

const BATCH: usize = 512;
/// Writers for the best rate: as many as keep the log busy, and no more than are answered in time.
const CALM: usize = 8;
/// Pause of a refused writer before it sends again.
const STORM: usize = 64;
const IMPATIENCE: Duration = Duration::from_millis(25);
const ENTRY_BYTES: usize = 128;
const BEST: Duration = Duration::from_secs(10);
const LENGTH: Duration = Duration::from_secs(60);
/// Light load before and after.
const PROBE: u32 = 100;

fn main() {
    let dir = common::dir();
    let log = Server::make(&dir.path().join("log"), "opaque");
    let batches = |writers, duration| {
        let path = "/add-batch?wait=sequenced".to_owned();
        let (batch, entries, patience) = (BATCH, Entries::Random(ENTRY_BYTES), IMPATIENCE);
        let plan = Plan { batch, writers, entries, duration, path, patience, ..Plan::new(log.target()) };
        load::append(&plan, pending(), &mut |_| ()).expect("a log that answers")
    };
    let client = LogClient::new(&log.url()).expect("an address");
    let checks = Checks { trust: Trust::Unverified, leaves: Some(20_000) };
    let before = probe(&log, Duration::from_secs(3));
    let best = batches(CALM, BEST);
    let head = checks.trust.head(&client).expect("a head");
    let (most, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (start, storm) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(log.rss(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let storm = batches(STORM, LENGTH);
        let end = Instant::now();
        stop.store(true, Ordering::Relaxed);
        (end, storm)
    });
    let recovered = recovery(&log, start, before);
    tell(&best, &storm, most.into_inner(), before, recovered);
    let mut acks = storm.acks;
    load::check(&client, &checks, &head, &mut acks).map_or_else(
        |error| panic!("something accepted is not in the log: {error}"),
        |(_, checked)| println!("every accepted index is in the log, {} leaves compared", checked.leaves),
    );
}

fn tell(best: &Appended, storm: &Appended, rss: u64, before: Duration, recovered: Option<Duration>) {
    let (measured, best) = (&storm.measured, best.measured.per_second());
    let (accepted, refused) = (measured.latency.latencies(), measured.busy.latencies());
    let requests = (accepted.count + refused.count) as f64;
    let offered = requests * BATCH as f64 / measured.elapsed.as_secs_f64();
    let rate = measured.per_second();
    println!("best rate, {CALM} writers          {best:>9.0} entries/s");
    println!(
        "offered for {} s, {STORM} writers  {offered:>9.0} entries/s   {:.2} x the best",
        LENGTH.as_secs(),
        offered / best
    );
    println!("accepted                      {rate:>9.0} entries/s   {:.2} x the best", rate / best);
    println!(
        "  answered in                 p50 {:?}, p99 {:?}, max {:?}",
        accepted.p50, accepted.p99, accepted.max
    );
    println!("refused with 429              {:>9} requests", refused.count);
    println!(
        "  answered in                 p50 {:?}, p99 {:?}, max {:?}",
        refused.p50, refused.p99, refused.max
    );
    println!("other errors                  {:>9} {:?}", measured.errors.total(), measured.errors);
    println!("most RSS                      {:>9.0} MB", rss as f64 / 1e6);
    println!("p99 of POST /add before       {before:?}, the same again after {recovered:?}");
}

/// p99 of `POST /add` under light load.
fn probe(log: &Server, duration: Duration) -> Duration {
    let plan = Plan { rate: Some(PROBE), writers: 16, duration, ..Plan::new(log.target()) };
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
    appended.measured.latency.latencies().p99
}

/// Time from the end of the excess until half a second has a p99 of at most twice the one before.
fn recovery(log: &Server, start: Instant, before: Duration) -> Option<Duration> {
    (0..20).find_map(|_| {
        let begun = start.elapsed();
        (probe(log, Duration::from_millis(500)) <= before * 2).then_some(begun)
    })
}
