//! `GET /metrics` of a log without witnesses.

use std::collections::BTreeSet;
use std::fs;

use treehead::sequencer::Options;

use crate::common::http::{exchange, request};
use crate::common::log::{ORIGIN, Served, batch, eventually, never_publishing, numbered, quick};
use crate::common::metrics::{Samples, documented};

const REFUSED: &str = "treehead_log_submissions_refused_total";

pub fn metrics(log: &Served) -> Samples {
    Samples::of(&log.get("/metrics"))
}

#[test]
fn figures_agree_with_health_and_with_what_was_sent() {
    let log = Served::opaque();
    log.add_all(&numbered(3));
    assert_eq!(log.post("/add", b"one more").text(), "3");
    assert_eq!(log.post("/add", b"one more").text(), "3", "a duplicate");
    let (samples, health) = (metrics(&log), log.get("/healthz").json());
    assert_eq!(samples.with("treehead_log_info", &[("origin", ORIGIN), ("profile", "opaque")]), 1);
    for (name, expected) in [
        ("treehead_log_tree_size", health["tree_size"].as_u64().unwrap()),
        ("treehead_log_published_size", health["published_size"].as_u64().unwrap()),
        ("treehead_log_signed_size", 4),
        ("treehead_log_entries_appended_total", 4),
        ("treehead_log_pool_entries", 0),
        ("treehead_log_pool_max_entries", quick().pool_entries as u64),
        ("treehead_log_may_sign", 1),
        ("treehead_log_witnesses", 0),
    ] {
        assert_eq!(samples.one(name), expected, "{name}");
    }
    // The heads of the empty tree, of the batch and of the last entry.
    assert_eq!(samples.one("treehead_log_heads_published_total"), 3);
    assert!(samples.one("treehead_log_published_age_seconds") < 60);
    assert_eq!(samples.not_zero("treehead_log_fault", "kind"), []);
    assert_eq!(samples.not_zero(REFUSED, "code"), []);
    assert!(!samples.families().contains("treehead_log_quorum_reached"), "nobody is to wait for one");
}

#[test]
fn what_is_durable_is_told_from_what_is_signed_and_published() {
    let log = Served::opaque_with(never_publishing());
    assert_eq!(log.post("/add?wait=sequenced", b"an entry").text(), "0");
    let samples = metrics(&log);
    for (name, expected) in [("tree", 1), ("signed", 0), ("published", 0)] {
        assert_eq!(samples.one(&format!("treehead_log_{name}_size")), expected, "{name}");
    }
}

#[test]
fn refused_submissions_are_counted_by_code() {
    let log = Served::opaque();
    assert_eq!(log.post("/add", b"").status, 400);
    assert_eq!(log.post("/add?wait=long", b"an entry").status, 400);
    assert_eq!(log.post("/add", &vec![0; 70_000]).status, 413);
    assert_eq!(log.post("/add-batch", &batch(&[vec![1], Vec::new()])).status, 400, "one of a batch");
    let encoded = request("POST", "/add-batch", &[("Content-Encoding", "gzip")], b"an entry");
    assert_eq!(exchange(log.address, &encoded).status, 415);
    // Requests other than submissions do not count.
    assert_eq!(log.get("/tile/0/999").status, 404);
    assert_eq!(log.get("/add").status, 405);
    let samples = metrics(&log);
    assert_eq!(samples.not_zero(REFUSED, "code"), [("encoded", 1), ("malformed", 3), ("too-large", 1)]);
    for (status, code) in [("429", "full"), ("503", "storage"), ("503", "asking-witnesses")] {
        let zero = samples.with(REFUSED, &[("status", status), ("code", code)]);
        assert_eq!(zero, 0, "present before the first event, or that one would be no increase");
    }
    assert_eq!(samples.one("treehead_log_entries_appended_total"), 0);

    let full = Served::opaque_with(Options { pool_entries: 0, ..quick() });
    assert_eq!(full.post("/add", b"an entry").status, 429);
    assert_eq!(metrics(&full).with(REFUSED, &[("status", "429"), ("code", "full")]), 1);
}

#[test]
fn a_broken_list_of_publishers_is_a_fault() {
    let log = Served::release("");
    assert_eq!(metrics(&log).not_zero("treehead_log_fault", "kind"), []);
    fs::write(log.dir.join("publishers.toml"), "nonsense").unwrap();
    eventually("the fault is told", || {
        metrics(&log).not_zero("treehead_log_fault", "kind") == [("publishers", 1)]
    });
    assert_eq!(log.get("/healthz").status, 503);
}

#[test]
fn each_figure_is_documented() {
    let log = Served::opaque();
    let documented = documented(include_str!("../../docs/http.md"), "treehead_log_");
    let samples = metrics(&log);
    let undocumented: BTreeSet<&str> = samples.families().difference(&documented).copied().collect();
    assert_eq!(undocumented, BTreeSet::new());
}
