//! Measures a log in the object store that `TREEHEAD_TEST_S3` names (`http://KEY:SECRET@HOST:PORT/BUCKET`). Without
//! that variable, it measures nothing and says so. `tests/bucket/ceph/start` starts a store on loopback.
//!
//! - `batches`: batches of 1,024 entries of 1 KiB, with tiles and heads and without, each beside the bare PUT of
//!   objects of the same lengths by the same client, by turns;
//! - `singles`: single appends by 256 writers, also with 30 ms added to each request;
//! - `requests`: requests per hour and dollars per month;
//! - `take-over`: the time from killing or stopping the holder to the next published entry;
//! - `cold N`, only on request: starts of a server of a log with N leaves.
//!
//! Run it with `cargo bench --bench bucket`, or select parts with `cargo bench --bench bucket -- batches singles`. It
//! writes only below a prefix of its own, and deletes everything.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/common/object_store.rs"]
mod object_store;

mod batches;
mod cold;
mod place;
mod requests;
mod singles;
mod take_over;
mod wrapped;

use place::Place;

fn main() {
    let Some(place) = Place::find() else {
        println!("not run: TREEHEAD_TEST_S3 names no object store (http://KEY:SECRET@HOST:PORT/BUCKET)");
        return;
    };
    let dir = common::dir();
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |what: &str| asked.is_empty() || asked.iter().any(|asked| asked == what);
    println!("store at {}", place.store.endpoint);
    if let Some(at) = asked.iter().position(|asked| asked == "cold") {
        let leaves = asked.get(at + 1).map_or(300_000, |leaves| leaves.parse().expect("a number of leaves"));
        cold::run(&place, dir.path(), leaves);
    }
    if chosen("batches") {
        batches::run(&place, dir.path());
    }
    if chosen("singles") {
        singles::run(&place, dir.path());
    }
    if chosen("requests") {
        requests::run(&place, dir.path());
    }
    if chosen("take-over") {
        take_over::run(&place, dir.path());
    }
}
