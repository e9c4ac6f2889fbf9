//! Counts requests per hour, and dollars per month, of the holder and of a standby.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treehead::bucket::{Objects as _, Operation, Requests};
use treehead::release::Facts;
use treehead::sequencer::{Candidate, Role, Sequencer, Wait};

use super::common::entries;
use super::place::{self, LINGER, Place};
use super::wrapped::Wrapped;

/// How long to count requests.
const COUNTED: Duration = Duration::from_secs(60);
/// Names of logs, and their entries per hour, which come one at a time and evenly spaced.
const LOGS: [(&str, u32); 4] = [("idle", 0), ("quiet", 600), ("steady", 3_600), ("busy", 360_000)];
/// Hours in a month.
const MONTH: f64 = 730.0;
/// Dollars per 1,000 writes or lists, and per 1,000 reads (S3 Standard, us-east-1).
const PRICES: [f64; 2] = [0.005, 0.0004];

/// Requests billed as writes, and as reads.
#[derive(Clone, Copy)]
struct Counted([u64; 2]);

impl Counted {
    fn of(requests: &Requests) -> Self {
        let sum = |reads: bool| {
            let is_read = |operation: &Operation| matches!(operation, Operation::Get);
            let all = Operation::ALL.into_iter().filter(|operation| *operation != Operation::Delete);
            all.filter(|operation| is_read(operation) == reads).map(|of| requests.of(of).requests).sum()
        };
        Self([sum(false), sum(true)])
    }

    /// Requests per hour since `earlier`.
    fn hourly(self, earlier: Self, time: Duration) -> [f64; 2] {
        let scaled = |at: usize| (self.0[at] - earlier.0[at]) as f64 * 3_600.0 / time.as_secs_f64();
        [scaled(0), scaled(1)]
    }
}

fn dollars(hourly: [f64; 2]) -> f64 {
    hourly.iter().zip(PRICES).map(|(requests, price)| requests / 1_000.0 * price * MONTH).sum()
}

pub fn run(place: &Place, dir: &Path) {
    println!(
        "\n| log | entries an hour | holder: writes, reads | standby: writes, reads | holder, $ a month | standby, $ |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    std::thread::scope(|scope| {
        let count = |(name, entries)| scope.spawn(move || one(place, dir, name, entries));
        let counted: Vec<_> = LOGS.into_iter().map(count).collect();
        for ((name, entries), counted) in LOGS.iter().zip(counted) {
            let [holder, standby] = counted.join().expect("no panic");
            println!(
                "| {name} | {entries} | {:.0}, {:.0} | {:.0}, {:.0} | {:.2} | {:.2} |",
                holder[0],
                holder[1],
                standby[0],
                standby[1],
                dollars(holder),
                dollars(standby)
            );
        }
    });
    println!(
        "(counted for {COUNTED:?}; $0.005 for 1,000 writes or lists, $0.0004 for 1,000 reads, 730 hours)"
    );
}

/// Requests per hour of the holder and of the standby.
fn one(place: &Place, dir: &Path, log: &str, entries_an_hour: u32) -> [[f64; 2]; 2] {
    let name = format!("requests-{log}");
    let open = |server: &str| {
        let objects = Arc::new(Wrapped::new(place.probed(&name)));
        let sequencer = place::open(&objects, &dir.join(format!("{name}-{server}")), &place::options(LINGER));
        (objects, sequencer)
    };
    let (holder, standby) = (open("a"), open("b"));
    assert_eq!((holder.1.figures().role, standby.1.figures().role), (Role::Holder, Role::Standby));
    // Wait until the first entry is published and both servers have settled.
    add(&holder.1, 0);
    std::thread::sleep(Duration::from_secs(3));
    let (begun, before) = (Instant::now(), [&holder.0, &standby.0].map(|of| Counted::of(of.requests())));
    let mut sent = 0_u64;
    while begun.elapsed() < COUNTED {
        let due = begun.elapsed().as_secs_f64() * f64::from(entries_an_hour) / 3_600.0;
        while (sent as f64) < due {
            sent += 1;
            add(&holder.1, sent);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let time = begun.elapsed();
    let after = [&holder.0, &standby.0].map(|of| Counted::of(of.requests()));
    drop((holder, standby));
    place.clear(&name);
    [0, 1].map(|at| after[at].hourly(before[at], time))
}

/// Submits an entry without waiting for the answer.
fn add(sequencer: &Sequencer, number: u64) {
    let entry = entries(number, 1).remove(0);
    sequencer.submit(vec![Candidate::new(entry, Facts::default())], Wait::Published).expect("there is room");
}
