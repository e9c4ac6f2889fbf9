//! Tile `GET`: full tiles of 8 KiB, of every part of a tree of 300,000 leaves. Beside it, by turns, an
//! axum handler that answers nothing.
//!
//! Run with `cargo bench --bench tiles`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod common;

use std::future::pending;
use std::time::Duration;

use common::server::{Nothing, Server};
use treehead::load::{self, Fetches, Measured, Plan, Target};

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
    fetch(log.target(), &tiles); // Everything is warm from here on.
    for _ in 0..ROUNDS {
        nothings.push(fetch(nothing.target(), &["/".to_owned()]));
        logs.push(fetch(log.target(), &tiles));
    }
    let latency = logs[0].latency.latencies();
    let (log, nothing) = (common::median_rate(&logs), common::median_rate(&nothings));
    println!("empty axum GET, {CONNECTIONS} connections    {nothing:>9.0} requests/s");
    println!("GET of a tile                    {log:>9.0} tiles/s   ratio {:.2}", log / nothing);
    println!("(medians of {ROUNDS} rounds; latency {latency:?})");
}

fn tile(index: u64) -> String {
    let (thousands, rest) = (index / 1_000, index % 1_000);
    if thousands > 0 { format!("/tile/0/x{thousands:03}/{rest:03}") } else { format!("/tile/0/{rest:03}") }
}

fn fetch(target: Target, paths: &[String]) -> Measured {
    let fetches = Fetches { target, paths: paths.to_vec(), connections: CONNECTIONS, duration: ROUND };
    let measured = load::fetch(&fetches, pending(), &mut |_| ()).expect("a server that answers");
    assert_eq!(measured.errors.total(), 0);
    measured
}
