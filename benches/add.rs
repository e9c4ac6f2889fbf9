//! `POST /add`: one entry of 1 KiB each, durable and in a signed checkpoint before the answer, on an
//! opaque log. Beside it, by turns, an axum handler that reads the same requests and does nothing.
//!
//! Run with `cargo bench --bench add`. It needs some 4,000 file descriptors: `ulimit -n 16384`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::future::pending;
use std::time::Duration;

use common::server::{Nothing, Server};
use treehead::load::{self, Answers, Measured, Plan, Target};

/// Number of writers. Each waits a tenth of a second for a head over its entry, so it takes many to keep a log busy.
const WRITERS: usize = 3_500;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(6);

fn main() {
    let dir = common::dir();
    let (log, nothing) = (Server::make(&dir.path().join("log"), "opaque"), Nothing::serve());
    let (mut logs, mut nothings) = (Vec::new(), Vec::new());
    append(log.target(), Answers::Indices); // Everything is warm from here on.
    for _ in 0..ROUNDS {
        nothings.push(append(nothing.target(), Answers::Anything));
        logs.push(append(log.target(), Answers::Indices));
    }
    let busy = logs.iter().map(|measured| measured.generator_busy).fold(0.0, f64::max);
    let latency = logs[0].latency.latencies();
    let (log, nothing) = (common::median_rate(&logs), common::median_rate(&nothings));
    println!("empty axum handler, {WRITERS} connections    {nothing:>9.0} requests/s");
    println!("POST /add, durable and published       {log:>9.0} entries/s   ratio {:.2}", log / nothing);
    println!(
        "(medians of {ROUNDS} rounds; latency {latency:?}; the generator was busy {busy:.2} of the time)"
    );
}

fn append(target: Target, answers: Answers) -> Measured {
    let plan = Plan { writers: WRITERS, duration: ROUND, answers, ..Plan::new(target) };
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a server that answers");
    let errors: Vec<String> =
        appended.measured.errors.kinds().map(|(kind, n)| format!("{n} x {kind}")).collect();
    assert!(errors.is_empty() && appended.malformed.is_none(), "{errors:?}");
    appended.measured
}
