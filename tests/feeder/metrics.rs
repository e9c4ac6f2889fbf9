//! `GET /metrics` of a log with witnesses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use treehead::feeder::Feeder;
use treehead::sequencer::Options;
use treehead::server::{Log, LogConfig, Profile, Storage};

use crate::common::log::{Served, eventually};
use crate::common::metrics::{Samples, documented};
use crate::common::toy_witness::ToyWitness;
use crate::log::{head_of, log_keys, log_signer, numbered, two_of};

/// The second name has characters that labels must escape. A name has no line feed.
const NAMES: [&str; 3] = ["w1.example.com", r#"w2.example.com/"\n\"#, "w3.example.com/ö"];
const HEALTHY: [(&str, u64); 0] = [];

fn three() -> Vec<ToyWitness> {
    NAMES.iter().zip(1..).map(|(name, seed)| ToyWitness::start(name, seed, log_keys())).collect()
}

fn serve(dir: &Path, witnesses: &[ToyWitness], publish_unwitnessed: bool) -> Served {
    let cosigners = Feeder::prepare(two_of(witnesses), log_keys(), publish_unwitnessed);
    let log = Log::open(LogConfig {
        storage: Storage::Directory,
        dir: dir.to_owned(),
        signer: log_signer(),
        profile: Profile::Opaque,
        publishers: dir.join("publishers.toml"),
        policy: None,
        options: Options { publish_unwitnessed, ..Options::default() },
        cosigners: Some(cosigners.expect("good addresses")),
        index_bytes: treehead::store::INDEX_BYTES,
        progress: Arc::new(|_, _| ()),
    });
    Served::serve(dir, log.expect("the log opens"))
}

fn metrics(log: &Served) -> Samples {
    Samples::of(&log.get("/metrics"))
}

fn faults(samples: &Samples) -> Vec<(&str, u64)> {
    samples.not_zero("treehead_log_fault", "kind")
}

/// A figure of each witness, in order.
fn each(samples: &Samples, witnesses: &[ToyWitness], name: &str) -> [Option<u64>; 3] {
    [0, 1, 2].map(|at| {
        let labels = [("witness", NAMES[at]), ("url", witnesses[at].url.as_str())];
        samples.find(&format!("treehead_log_witness_{name}"), &labels)
    })
}

fn up(log: &Served, witnesses: &[ToyWitness]) -> [Option<u64>; 3] {
    each(&metrics(log), witnesses, "up")
}

/// Compares both routes.
fn agree_with_health(log: &Served, witnesses: &[ToyWitness]) {
    let (samples, health) = (metrics(log), log.get("/healthz"));
    let health: serde_json::Value = serde_json::from_slice(&health.body).expect("JSON");
    for name in ["tree_size", "published_size"] {
        assert_eq!(Some(samples.one(&format!("treehead_log_{name}"))), health[name].as_u64(), "{name}");
    }
    let witnessing = &health["witnessing"];
    assert_eq!(samples.one("treehead_log_published_witnessed") == 1, witnessing["reached"]);
    let shown = witnessing["witnesses"].as_array().expect("a list");
    assert_eq!(samples.one("treehead_log_witnesses"), shown.len() as u64);
    for (at, witness) in shown.iter().enumerate() {
        assert_eq!(
            (&witness["name"], &witness["url"]),
            (&NAMES[at].into(), &witnesses[at].url.clone().into())
        );
        assert_eq!(each(&samples, witnesses, "cosigned_size")[at], witness["cosigned_size"].as_u64());
        assert_eq!(each(&samples, witnesses, "up")[at] == Some(1), witness["fault"].is_null());
        let age = each(&samples, witnesses, "cosigned_age_seconds")[at];
        assert_eq!(age.is_some(), witness["cosigned_seconds_ago"].is_u64());
        assert!(age.is_none_or(|age| age < 600));
    }
}

#[test]
fn dead_witnesses_and_a_lost_quorum_show() {
    let (dir, witnesses) = (tempfile::tempdir().unwrap(), three());
    let log = serve(dir.path(), &witnesses, false);
    eventually("the log publishes", || log.get("/checkpoint").status == 200);
    assert_eq!(log.post("/add?wait=witnessed", b"an entry").status, 200);
    eventually("all have cosigned", || {
        each(&metrics(&log), &witnesses, "cosigned_size") == [Some(1), Some(1), Some(1)]
    });
    agree_with_health(&log, &witnesses);
    let samples = metrics(&log);
    assert_eq!(faults(&samples), HEALTHY);
    for name in ["quorum_reached", "published_witnessed", "may_sign", "published_size", "signed_size"] {
        assert_eq!(samples.one(&format!("treehead_log_{name}")), 1, "{name}");
    }
    assert_eq!(samples.one("treehead_log_heads_published_total"), 2, "of the empty tree, and of the entry");

    for dead in [0, 1] {
        witnesses[dead].lie(|_| None);
    }
    assert_eq!(log.post("/add?wait=sequenced", b"another").status, 200);
    eventually("both are down", || up(&log, &witnesses) == [Some(0), Some(0), Some(1)]);
    eventually("the quorum is lost", || metrics(&log).one("treehead_log_quorum_reached") == 0);
    agree_with_health(&log, &witnesses);
    let samples = metrics(&log);
    assert_eq!(faults(&samples), [("quorum", 1)]);
    for (name, expected) in [
        ("published_size", 1),
        ("signed_size", 2),
        ("tree_size", 2),
        // Every head that is shown had its quorum.
        ("published_witnessed", 1),
        ("heads_published_unwitnessed_total", 0),
        ("may_sign", 1),
    ] {
        assert_eq!(samples.one(&format!("treehead_log_{name}")), expected, "{name}");
    }

    witnesses[0].be_honest();
    eventually("the quorum is back", || {
        metrics(&log).one("treehead_log_quorum_reached") == 1 && log.get("/healthz").status == 200
    });
    assert_eq!(up(&log, &witnesses), [Some(1), Some(0), Some(1)]);
}

#[test]
fn a_log_that_still_asks_its_witnesses_has_no_quorum() {
    let (dir, witnesses) = (tempfile::tempdir().unwrap(), three());
    witnesses.iter().for_each(|witness| witness.lie(|_| None));
    let log = serve(dir.path(), &witnesses, false);
    eventually("all are down", || up(&log, &witnesses) == [Some(0); 3]);
    log.post("/add", b"an entry").problem(503, "asking-witnesses");
    let samples = metrics(&log);
    assert_eq!(each(&samples, &witnesses, "cosigned_size"), [None; 3]);
    for name in ["quorum_reached", "published_witnessed", "may_sign", "heads_published_total"] {
        assert_eq!(samples.one(&format!("treehead_log_{name}")), 0, "{name}");
    }
    let refused = samples.not_zero("treehead_log_submissions_refused_total", "code");
    assert_eq!(refused, [("asking-witnesses", 1)]);
}

#[test]
fn heads_without_a_quorum_are_counted() {
    let (dir, witnesses) = (tempfile::tempdir().unwrap(), three());
    let log = serve(dir.path(), &witnesses, true);
    eventually("the log publishes", || log.get("/checkpoint").status == 200);
    eventually("with a quorum", || metrics(&log).one("treehead_log_published_witnessed") == 1);
    // On a busy machine, the first head may have been shown before, without a quorum.
    let before = metrics(&log).one("treehead_log_heads_published_unwitnessed_total");
    assert_eq!(metrics(&log).one("treehead_log_heads_published_total"), 1, "shown twice, it is one");
    witnesses.iter().for_each(|witness| witness.lie(|_| None));
    for (entry, count) in [("one", 1), ("two", 2)] {
        assert_eq!(log.post("/add", entry.as_bytes()).status, 200, "published all the same");
        let samples = metrics(&log);
        assert_eq!(samples.one("treehead_log_heads_published_unwitnessed_total"), before + count);
        assert_eq!(samples.one("treehead_log_published_witnessed"), 0);
        assert_eq!(samples.one("treehead_log_quorum_reached"), 0);
        assert_eq!(samples.one("treehead_log_published_size"), count);
        assert_eq!(samples.one("treehead_log_heads_published_total"), count + 1);
    }
    agree_with_health(&log, &witnesses);
}

#[test]
fn a_log_that_was_rolled_back_does_not_sign_and_says_so() {
    let (dir, witnesses) = (tempfile::tempdir().unwrap(), three());
    let head = head_of(9, numbered);
    witnesses[2].saw(&head, log_signer().sign(&head, 1_700_000_000));
    let log = serve(dir.path(), &witnesses, false);
    eventually("the fault is told", || faults(&metrics(&log)).contains(&("rollback", 1)));
    log.post("/add", b"an entry").problem(503, "rolled-back");
    let samples = metrics(&log);
    assert_eq!((samples.one("treehead_log_may_sign"), samples.one("treehead_log_quorum_reached")), (0, 0));
    let refused = [("status", "503"), ("code", "rolled-back")];
    assert_eq!(samples.with("treehead_log_submissions_refused_total", &refused), 1);
}

#[test]
fn the_figures_are_those_that_are_documented() {
    let (dir, witnesses) = (tempfile::tempdir().unwrap(), three());
    let log = serve(dir.path(), &witnesses, false);
    let page = include_str!("../../docs/http.md");
    assert_eq!(metrics(&log).families(), documented(page, "treehead_log_"));
    let names: BTreeSet<&str> = include_str!("../../docs/operating.md")
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("treehead_log_"))
        .collect();
    assert!(
        !names.is_empty() && names.is_subset(&metrics(&log).families()),
        "alarms on what is there: {names:?}"
    );
}
