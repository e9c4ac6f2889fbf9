//! The evidence that a witness keeps of a fork.

use std::fs;

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::policy::Policy;
use treehead::merkle::Hash;
use treehead::proof::fork::{ForkEvidence, ProvenFork};
use treehead::proof::wire::AddCheckpoint;
use treehead::witness::EVIDENCE_DIR;

use crate::common::metrics::Samples;
use crate::world::{Served, TestLog, ed25519_key, size, witness_keys};

/// The evidence files, each judged only by the log's key.
fn kept(witness: &Served, log: &TestLog) -> Vec<ProvenFork> {
    let Ok(folder) = fs::read_dir(witness.dir.join(EVIDENCE_DIR)) else { return Vec::new() };
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let judge = |path: &std::path::PathBuf| {
        let evidence = ForkEvidence::parse(&fs::read(path).unwrap()).expect("a whole file");
        let fork = evidence.judge(&[log.vkey()]).expect("it proves a fork");
        assert_eq!(path.file_name().unwrap().to_str(), Some(fork.file_name().as_str()));
        fork
    };
    files.iter().map(judge).collect()
}

fn sizes(forks: &[ProvenFork]) -> Vec<(u64, u64)> {
    forks.iter().map(|fork| (fork.smaller().size.get(), fork.larger().size.get())).collect()
}

#[test]
fn a_fork_is_kept_before_the_log_is_answered() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let fork = log.forked(5, 40, "other ");
    assert_eq!(kept(&witness, &log), []);
    // Of the same size, and sent again.
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    assert_eq!(sizes(&kept(&witness, &log)), [(9, 9)]);
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    assert_eq!(sizes(&kept(&witness, &log)), [(9, 9)]);
    // Larger, with a proof from the other tree of size 9.
    witness.add(&fork.request(9, 33)).problem(422, "unproven");
    let forks = kept(&witness, &log);
    assert_eq!(sizes(&forks), [(9, 33), (9, 9)]);
    assert_eq!((forks[0].smaller().root, forks[0].other_root()), (log.root(9), fork.root(9)));
    // The evidence says who vouched for the first head, and when: this witness.
    let policy = format!("log {}\nwitness w {}\nquorum none\n", log.vkey(), ed25519_key().public());
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let cosigned = forks[0].heads().map(|head| policy.witnesses_of(head).len());
    assert_eq!(cosigned, [1, 0]);
    witness.is_unmoved(&log, 9);
}

#[test]
fn a_fork_that_could_not_be_kept_is_kept_the_next_time() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let fork = log.forked(5, 40, "other ");
    // A file is in the way, which has the effect of a full disk.
    fs::write(witness.dir.join(EVIDENCE_DIR), "no folder").unwrap();
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    fs::remove_file(witness.dir.join(EVIDENCE_DIR)).unwrap();
    assert_eq!(kept(&witness, &log), []);
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    assert_eq!(sizes(&kept(&witness, &log)), [(9, 9)]);
}

#[test]
fn two_signed_heads_of_a_size_are_a_fork_whatever_is_asked_with_them() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let fork = log.forked(5, 40, "other ");
    assert_eq!(witness.add(&fork.request(3, 9)).status, 409);
    assert_eq!(sizes(&kept(&witness, &log)), [(9, 9)]);
    // Another root of the empty tree contradicts every head.
    let empty = Checkpoint::new(log.origin(), size(0), Hash::leaf(b"not empty"));
    let checkpoint = log.sign_text(&empty.to_string());
    let request = AddCheckpoint { old: size(0), proof: vec![], checkpoint };
    assert_eq!(witness.add(&request).status, 409);
    assert_eq!(sizes(&kept(&witness, &log)), [(0, 9), (9, 9)]);
    // Not kept, because they prove nothing: a smaller head, a bad proof, one without a hash of the other tree.
    assert_eq!(witness.add(&fork.request(8, 20)).status, 409);
    assert_eq!(witness.add(&log.request(0, 4)).status, 409);
    witness.add(&AddCheckpoint { proof: vec![], ..fork.request(9, 30) }).problem(422, "unproven");
    witness.cosigns(&log, 9, 16);
    witness.add(&fork.request(16, 30)).problem(422, "unproven");
    assert_eq!(kept(&witness, &log).len(), 2);
}

#[test]
fn evidence_outlives_the_process_and_is_shown() {
    let logs = [TestLog::new("log.example/a", 40), TestLog::new("log.example/b", 40)];
    let mut witness = Served::new(&[&logs[0], &logs[1]]);
    witness.cosigns(&logs[0], 0, 9);
    witness.cosigns(&logs[1], 0, 9);
    let count =
        |witness: &Served| Samples::of(&witness.get("/metrics")).one("treehead_witness_evidence_files");
    assert_eq!(count(&witness), 0);
    assert!(witness.get("/healthz").json()["logs"][0]["evidence"].is_null());
    let fork = logs[0].forked(5, 40, "other ");
    witness.add(&fork.request(9, 9)).problem(422, "forked");
    let name = kept(&witness, &logs[0])[0].file_name();
    let shown = |witness: &Served| {
        let reply = witness.get("/healthz");
        assert_eq!(reply.status, 200, "a log's fault is none of the witness's");
        let health = reply.json();
        assert_eq!(health["logs"][0]["evidence"], serde_json::json!([name]));
        assert!(health["logs"][1]["evidence"].is_null());
        assert_eq!(count(witness), 1);
    };
    shown(&witness);
    witness.stop();
    let again = Served::start(&witness.dir, witness_keys());
    shown(&again);
    again.add(&fork.request(9, 9)).problem(422, "forked");
    shown(&again);
}

#[test]
fn a_folder_that_can_not_be_written_changes_no_answer() {
    let log = TestLog::new("log.example/a", 40);
    let mut witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    witness.stop();
    fs::write(witness.dir.join(EVIDENCE_DIR), "a file").unwrap();
    let again = Served::start(&witness.dir, witness_keys());
    again.add(&log.forked(5, 40, "other ").request(9, 9)).problem(422, "forked");
    again.is_unmoved(&log, 9);
}
