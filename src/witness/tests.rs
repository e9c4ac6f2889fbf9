//! Requests that wait for their turn, and a clock that goes back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::checkpoint::{Checkpoint, cosignature};
use crate::merkle::{Hash, TreeSize};
use crate::note::NoteSignature;
use crate::proof::wire::AddCheckpoint;

fn opened(dir: &Path, log: &NoteSigner, clock: Clock) -> Witness {
    let kind = SignatureType::CosignatureEd25519;
    let key = NoteSigner::from_seed(KeyName::new("witness.example/w").unwrap(), kind, &[2; 32]);
    let name = key.public().name().clone();
    std::fs::write(dir.join(JOURNAL), Ledger::empty_journal(&name)).unwrap();
    std::fs::write(dir.join(LOGS_FILE), format!("log {}\nquorum none\n", log.public())).unwrap();
    let ledger = Ledger::open(dir, &name).unwrap();
    Witness::open_at(dir, vec![key], ledger, clock).unwrap()
}

#[tokio::test]
async fn what_waits_for_its_turn_has_one_verified_line_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = NoteSigner::from_seed(KeyName::new("log.example/a").unwrap(), SignatureType::Ed25519, &[1; 32]);
    let witness = opened(dir.path(), &log, crate::clock::system());
    let head = Checkpoint::new(log.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    let mut checkpoint = head.sign(&log);
    let line = checkpoint.signatures()[0].clone();
    for at in 0..20 {
        checkpoint.push(line.clone());
        checkpoint.push(NoteSignature::new(
            line.name().clone(),
            crate::note::KeyId([at; 4]),
            vec![at; 2_428],
        ));
    }
    let add = AddCheckpoint { old: TreeSize::ZERO, proof: vec![], checkpoint };
    let request = witness.read_request(add.to_string().as_bytes()).await.unwrap();
    assert_eq!(request.signed.signatures(), [line]);
    assert_eq!(request.signed.text(), head.to_string());
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_a_fault_until_it_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let log = NoteSigner::from_seed(KeyName::new("log.example/a").unwrap(), SignatureType::Ed25519, &[1; 32]);
    let time = Arc::new(AtomicU64::new(10_000));
    let read = time.clone();
    let clock = Arc::new(move || read.load(Ordering::SeqCst));
    let witness = opened(dir.path(), &log, clock);
    let public = witness.keys().next().unwrap().clone();
    let head = Checkpoint::new(log.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    let add = AddCheckpoint { old: TreeSize::ZERO, proof: vec![], checkpoint: head.sign(&log) };
    let add = add.to_string();
    let at = async |now| {
        time.store(now, Ordering::SeqCst);
        let lines = witness.add_checkpoint(add.as_bytes()).await?;
        Ok::<_, WitnessError>(cosignature::verify(&public, &head.to_string(), lines[0].bytes()).unwrap())
    };
    assert_eq!(at(10_000).await.unwrap(), 10_000);
    assert_eq!(at(9_700).await.unwrap(), 10_000, "the time of the one before");
    assert!(witness.faults().is_empty());
    let refused = at(9_699).await.unwrap_err();
    assert_eq!(refused.code(), "clock");
    let faults = witness.faults();
    assert!(
        faults.len() == 1 && faults[0].contains("log.example/a") && faults[0].contains("set it"),
        "{faults:?}"
    );
    assert_eq!(at(10_001).await.unwrap(), 10_001);
    assert!(witness.faults().is_empty());
}

#[test]
fn times_never_go_back_and_a_clock_that_does_by_far_stops_cosigning() {
    let head = |time| Head { size: TreeSize::ZERO, root: Hash::EMPTY_ROOT, time };
    let after = |latest, now| decide::next_time(Some(&head(latest)), now).ok();
    assert_eq!(decide::next_time(None, 5).ok(), Some(5));
    assert_eq!(
        (after(1_000, 1_000), after(1_000, 1_001), after(1_000, 9_000)),
        (Some(1_000), Some(1_001), Some(9_000))
    );
    assert_eq!((after(1_000, 999), after(1_000, 700)), (Some(1_000), Some(1_000)));
    assert!(matches!(decide::next_time(Some(&head(1_000)), 699), Err(ClockError::Behind { seconds: 301 })));
    assert!(matches!(decide::next_time(Some(&head(1)), 0), Err(ClockError::Before1970)));
    assert!(matches!(decide::next_time(None, 0), Err(ClockError::Before1970)));
}
