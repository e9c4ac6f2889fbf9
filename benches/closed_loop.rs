//! Closed loops of publishers: each connection sends its next entry when the last one is answered. At each number
//! of connections, by turns: entries that are answered once they are durable (`?wait=sequenced`), under a published
//! head (`?wait=published`), and in a log with witnesses under a head that two of three have cosigned
//! (`?wait=witnessed`). A head that is waited for costs a closed loop what it takes, so the ratio to `sequenced` is
//! the price of waiting for heads.
//!
//! Then eight writers of batches of 1,024, published.
//!
//! Run with `cargo bench --bench closed_loop`; with `-- 256 1024` for some numbers of connections, and with
//! `-- batches` for the batches alone. It needs some 4,500 file descriptors: `ulimit -n 16384`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use common::server::{Server, card, init_with, introduce, witness};
use treehead::load::{self, Measured, Plan};

const CONNECTIONS: [usize; 3] = [256, 1_024, 4_000];
/// Batches of 1,024 entries, by eight writers.
const BATCH: (usize, usize) = (1_024, 8);
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);
/// The least rates of the published ones, of `sequenced`, and of the batches, a second.
const GOALS: [f64; 3] = [0.7, 0.9, 0.9];
const BATCHES_GOAL: f64 = 200_000.0;
const BATCHES_P50: Duration = Duration::from_millis(40);

fn main() {
    let dir = common::dir();
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |what: &str| asked.is_empty() || asked.iter().any(|asked| asked == what);
    let log = Server::make(&dir.path().join("alone"), "opaque");
    let witnesses: Vec<Server> = (1..=3)
        .map(|at| witness(&dir.path().join(format!("w{at}")), &format!("w{at}.example.com")))
        .collect();
    let cards: Vec<PathBuf> = witnesses.iter().map(|witness| card(&witness.dir)).collect();
    let witnessed = dir.path().join("witnessed");
    init_with(&witnessed, "opaque", &cards);
    witnesses.iter().for_each(|witness| introduce(&witness.dir, &witnessed));
    // They look at their file once a second.
    std::thread::sleep(Duration::from_millis(1_200));
    let witnessed = Server::serve(&witnessed);

    for (connections, goal) in CONNECTIONS.into_iter().zip(GOALS) {
        if !chosen(&connections.to_string()) {
            continue;
        }
        let ways = [(&log, "sequenced"), (&log, "published"), (&witnessed, "witnessed")];
        let mut runs: [Vec<Measured>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for ((server, wait), runs) in ways.iter().zip(&mut runs) {
                runs.push(append(server, &format!("/add?wait={wait}"), 1, connections));
            }
        }
        let sequenced = common::median_rate(&runs[0]);
        for ((_, wait), runs) in ways.iter().zip(&runs) {
            let rate = common::median_rate(runs);
            let goal = if *wait == "published" { format!("   goal {goal}") } else { String::new() };
            tell(&format!("{connections:>5} connections, {wait}"), runs);
            println!("        ratio {:.2}{goal}", rate / sequenced);
        }
    }
    if chosen("batches") {
        let (batch, writers) = BATCH;
        let mut runs: [Vec<Measured>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (wait, runs) in ["sequenced", "published"].iter().zip(&mut runs) {
                runs.push(append(&log, &format!("/add-batch?wait={wait}"), batch, writers));
            }
        }
        for (wait, runs) in ["sequenced", "published"].iter().zip(&runs) {
            tell(&format!("{writers} writers of {batch}, {wait}"), runs);
        }
        println!("        goal {BATCHES_GOAL:.0} entries/s published, p50 {BATCHES_P50:?}");
    }
}

fn append(server: &Server, path: &str, batch: usize, writers: usize) -> Measured {
    let path = path.to_owned();
    let plan = Plan { path, batch, writers, duration: ROUND, ..Plan::new(server.target()) };
    let before = server.cpu();
    let appended = load::append(&plan, pending(), &mut |_| ()).expect("a log that answers");
    let errors: Vec<String> =
        appended.measured.errors.kinds().map(|(kind, n)| format!("{n} x {kind}")).collect();
    assert!(errors.is_empty() && appended.malformed.is_none(), "{errors:?}");
    let cpu = server.cpu().saturating_sub(before);
    if std::env::var_os("TREEHEAD_BENCH_RUNS").is_some() {
        let entries = appended.measured.entries as f64;
        println!(
            "    {} {writers:>5}: {:>7.0}/s, {:.1} us of processor time an entry",
            plan.path,
            appended.measured.per_second(),
            cpu.as_secs_f64() * 1e6 / entries
        );
    }
    appended.measured
}

fn tell(what: &str, runs: &[Measured]) {
    let mut rates: Vec<f64> = runs.iter().map(Measured::per_second).collect();
    rates.sort_by(f64::total_cmp);
    let latency = runs[runs.len() / 2].latency.latencies();
    let busy = runs.iter().map(|run| run.generator_busy).fold(0.0, f64::max);
    println!(
        "{what:32} {:>8.0} entries/s ({:.0} to {:.0})   p50 {:.1?}, p99 {:.1?}   generator busy {busy:.2}",
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        latency.p50,
        latency.p99
    );
}
