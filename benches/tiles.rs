//! Tile `GET`: full tiles of 8 KiB, of every part of a tree of 300,000 leaves. Beside it, by turns, an
//! axum handler that answers nothing.
//!
//! Run with `cargo bench --bench tiles`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::time::Duration;

use common::fetch::{Fetched, Fetches, fetch};
use common::server::{Nothing, Server};
use treehead::load::{Plan, Target};

const LEAVES: u64 = 300_000;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);

fn main() {
    let dir = common::dir();
    let (log, nothing) = (Server::make(&dir.path().join("log"), "opaque"), Nothing::serve());
    common::fill(&Plan::new(log.target()), LEAVES);
    let tiles: Vec<String> = (0..LEAVES / 256).map(tile).collect();
    let (mut logs, mut nothings) = (Vec::new(), Vec::new());
    read(&log.target(), &tiles); // Everything is warm from here on.
    for _ in 0..ROUNDS {
        nothings.push(read(&nothing.target(), &["/".to_owned()]));
        logs.push(read(&log.target(), &tiles));
    }
    let latency = logs[0].latency.latencies();
    let (log, nothing) = (median(&logs), median(&nothings));
    println!("empty axum GET, {CONNECTIONS} connections    {nothing:>9.0} requests/s");
    println!("GET of a tile                    {log:>9.0} tiles/s   ratio {:.2}", log / nothing);
    println!("(medians of {ROUNDS} rounds; latency {latency:?})");
}

fn tile(index: u64) -> String {
    let (thousands, rest) = (index / 1_000, index % 1_000);
    if thousands > 0 { format!("/tile/0/x{thousands:03}/{rest:03}") } else { format!("/tile/0/{rest:03}") }
}

fn read(target: &Target, paths: &[String]) -> Fetched {
    let (url, paths) = (target.url().to_owned(), paths.to_vec());
    fetch(&Fetches { url, paths, connections: CONNECTIONS, duration: ROUND }).expect("a server that answers")
}

fn median(runs: &[Fetched]) -> f64 {
    common::median_of(runs.iter().map(Fetched::per_second))
}
