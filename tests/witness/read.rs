//! Public reads, and the work that runs beside them.

use std::fs;

use treehead::checkpoint::origin_hash;
use treehead::note::Note;
use treehead::witness::LOGS_FILE;

use super::world::{Served, TestLog, WITNESS, name, public, witness_keys};
use crate::common::http::{exchange, request};
use crate::common::log::eventually;

#[test]
fn the_latest_checkpoint_is_shown_with_what_was_returned() {
    let logs = [TestLog::new("log.example/a", 40), TestLog::new("log.example/b", 40)];
    let witness = Served::new(&[&logs[0], &logs[1]]);
    for (log, sizes) in [(&logs[0], [3, 9, 20]), (&logs[1], [1, 2, 40])] {
        let mut last = 0;
        for size in sizes {
            let returned = witness.cosigns(log, last, size);
            let reply = witness.get(&log.path());
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
            let note = Note::parse(&reply.body).unwrap();
            for line in &returned {
                assert!(note.signatures().contains(line), "the cosignatures that were returned");
            }
            let mut keys = public(&witness_keys());
            keys.push(log.vkey());
            assert_eq!(note.verify(&keys).unwrap().signers().len(), 3);
            last = size;
        }
    }
    let mut witness = witness;
    let (dir, before) = (witness.dir.clone(), witness.get(&logs[0].path()).body);
    witness.stop();
    let again = Served::start(&dir, witness_keys());
    assert_eq!(again.get(&logs[0].path()).body, before, "also after a restart");
}

#[test]
fn what_was_never_cosigned_is_not_found() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.get(&log.path()).problem(404, "never-cosigned");
    witness.cosigns(&log, 0, 9);
    let hash = origin_hash(&log.origin()).to_hex();
    let other = origin_hash(&name("log.example/b")).to_hex();
    witness.get(&format!("/{other}/checkpoint")).problem(404, "never-cosigned");
    for path in [
        format!("/{}/checkpoint", hash.to_uppercase()),
        format!("/{}/checkpoint", &hash[1..]),
        format!("/{hash}0/checkpoint"),
        "/log.example%2Fa/checkpoint".to_owned(),
        "/%ff/checkpoint".to_owned(),
        format!("/{hash}"),
        format!("/{hash}/checkpoint/"),
        "/".to_owned(),
        "/checkpoint".to_owned(),
    ] {
        witness.get(&path).problem(404, "no-route");
    }
}

#[test]
fn other_methods_are_not_allowed() {
    let log = TestLog::new("log.example/a", 9);
    let witness = Served::new(&[&log]);
    for (method, path) in [
        ("GET", "/add-checkpoint"),
        ("PUT", "/add-checkpoint"),
        ("GET", "/sign-subtree"),
        ("POST", &log.path()),
        ("DELETE", &log.path()),
        ("POST", "/healthz"),
        ("POST", "/metrics"),
    ] {
        let reply = exchange(witness.address, &request(method, path, &[], b""));
        reply.problem(405, "wrong-method");
        assert!(reply.header("allow").is_some(), "{reply}");
    }
}

#[test]
fn its_health_names_keys_logs_and_faults() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let health = witness.get("/healthz");
    assert_eq!(health.header("cache-control"), Some("no-store"), "health is not for caches");
    let health = health.json();
    assert_eq!((&health["status"], &health["name"]), (&"ok".into(), &WITNESS.into()));
    let vkeys: Vec<String> = public(&witness_keys()).iter().map(ToString::to_string).collect();
    assert_eq!(health["vkeys"], serde_json::json!(vkeys));
    let shown = &health["logs"][0];
    assert_eq!((&shown["origin"], &shown["tree_size"]), (&"log.example/a".into(), &9.into()));
    assert_eq!(shown["origin_hash"], origin_hash(&log.origin()).to_hex());
    assert!(shown["cosigned_seconds_ago"].as_u64().unwrap() < 60 && shown["listed"] == true);
    assert!(health.get("faults").is_none());
}

#[test]
fn a_log_that_is_added_counts_soon_and_a_broken_list_changes_nothing() {
    let (log, new) = (TestLog::new("log.example/a", 40), TestLog::new("log.example/b", 40));
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    witness.add(&new.request(0, 9)).problem(404, "unknown-origin");
    let path = witness.dir.join(LOGS_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}log {}\n", new.vkey())).unwrap();
    eventually("the new log is known", || witness.add(&new.request(0, 9)).status == 200);
    fs::write(&path, "log nonsense\nquorum none\n").unwrap();
    eventually("the broken list is told", || witness.get("/healthz").status == 503);
    let health = witness.get("/healthz");
    assert!(health.text().contains("logs.policy"), "{health}");
    witness.cosigns(&log, 9, 20);
    witness.cosigns(&new, 9, 20);
    // The witness stops cosigning a log that is removed from its list, but still shows what it cosigned.
    fs::write(&path, text).unwrap();
    eventually("the log is gone", || witness.add(&new.request(20, 20)).status == 404);
    assert_eq!(witness.size_of(&new), 20);
    let health = witness.get("/healthz").json();
    assert_eq!(health["logs"][1]["listed"], false);
    witness.is_unmoved(&log, 20);
}
