//! `GET /metrics` of the witness.

use std::fs;

use treehead::witness::LOGS_FILE;

use super::world::{Served, TestLog, WITNESS};
use crate::common::log::eventually;
use crate::common::metrics::{Samples, documented};

const REQUESTS: &str = "treehead_witness_requests_total";

fn metrics(witness: &Served) -> Samples {
    Samples::of(&witness.get("/metrics"))
}

/// The figures of a log: whether it is listed, its size, and whether it has an age.
fn of_log(samples: &Samples, log: &TestLog) -> (u64, Option<u64>, bool) {
    let origin = log.origin().to_string();
    let labels = [("origin", origin.as_str())];
    let age = samples.find("treehead_witness_log_cosigned_age_seconds", &labels);
    assert!(age.is_none_or(|age| age < 60));
    let size = samples.find("treehead_witness_log_size", &labels);
    (samples.with("treehead_witness_log_listed", &labels), size, age.is_some())
}

#[test]
fn logs_and_answers_are_counted() {
    // An origin may contain quotes and backslashes, which labels must escape.
    let logs = [TestLog::new(r#"log.example/"a\n"#, 40), TestLog::new("log.example/b", 40)];
    let witness = Served::new(&[&logs[0], &logs[1]]);
    let before = metrics(&witness);
    assert_eq!(before.with("treehead_witness_info", &[("name", WITNESS)]), 1);
    assert_eq!(before.not_zero(REQUESTS, "code"), []);
    assert_eq!(before.with(REQUESTS, &[("status", "422"), ("code", "forked")]), 0, "there from the start");
    witness.cosigns(&logs[0], 0, 9);
    witness.cosigns(&logs[0], 9, 20);
    assert_eq!(witness.add(&logs[0].request(9, 20)).status, 409);
    witness.add(&"nonsense").problem(400, "malformed");
    witness.add(&TestLog::new("log.example/c", 9).request(0, 9)).problem(404, "unknown-origin");
    let fork = logs[0].forked(5, 40, "other ");
    for _ in 0..2 {
        witness.add(&fork.request(20, 20)).problem(422, "forked");
    }
    assert_eq!(witness.get("/healthz").status, 200, "only requests for cosignatures are counted");
    let samples = metrics(&witness);
    assert_eq!(
        samples.not_zero(REQUESTS, "code"),
        [("conflict", 1), ("cosigned", 2), ("forked", 2), ("malformed", 1), ("unknown-origin", 1)]
    );
    assert_eq!(samples.one("treehead_witness_forks_seen_total"), 2);
    assert_eq!(samples.not_zero("treehead_witness_fault", "kind"), []);
    assert_eq!(samples.one("treehead_witness_logs"), 2);
    assert_eq!(samples.one("treehead_witness_logs_shown"), 2);
    assert_eq!(of_log(&samples, &logs[0]), (1, Some(20), true));
    assert_eq!(of_log(&samples, &logs[1]), (1, None, false), "never cosigned");
    let health = witness.get("/healthz").json();
    assert_eq!(health["logs"][0]["origin"], logs[0].origin().as_str());
    assert_eq!(health["logs"][0]["tree_size"], 20);
}

#[test]
fn a_broken_list_is_a_fault_and_a_log_taken_off_it_still_has_its_head() {
    let logs = [TestLog::new("log.example/a", 40), TestLog::new("log.example/b", 40)];
    let witness = Served::new(&[&logs[0], &logs[1]]);
    logs.iter().for_each(|log| drop(witness.cosigns(log, 0, 9)));
    let path = witness.dir.join(LOGS_FILE);
    fs::write(&path, "log nonsense\nquorum none\n").unwrap();
    eventually("the fault is told", || {
        metrics(&witness).not_zero("treehead_witness_fault", "kind") == [("logs-policy", 1)]
    });
    assert_eq!(witness.get("/healthz").status, 503);
    fs::write(&path, format!("log {}\nquorum none\n", logs[0].vkey())).unwrap();
    eventually("the other is off the list", || of_log(&metrics(&witness), &logs[1]) == (0, Some(9), true));
    let samples = metrics(&witness);
    assert_eq!(of_log(&samples, &logs[0]), (1, Some(9), true));
    assert_eq!(samples.one("treehead_witness_logs"), 2);
    assert_eq!(samples.not_zero("treehead_witness_fault", "kind"), []);
}

#[test]
fn the_figures_are_those_that_are_documented() {
    let witness = Served::new(&[&TestLog::new("log.example/a", 9)]);
    let page = include_str!("../../docs/witness.md");
    assert_eq!(metrics(&witness).families(), documented(page, "treehead_witness_"));
}
