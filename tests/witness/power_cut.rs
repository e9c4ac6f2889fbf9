//! Recorded lives of a witness, cut off at each step.

use std::fs;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use treehead::disk::SledIo;
use treehead::store::Layout;
use treehead::witness::Witness;

use super::faults::{JOURNAL_BYTES, LIVES, Pair, ask, keeps, pairs};
use super::world::{open_on, witness_dir};
use crate::common::power_cut::recorder::{Accident, Lie, Recorder, read_files};
use crate::common::power_cut::{
    Cut, Promised, Recording, UnsyncedDisk, assert_cuts_are_harmless, assert_lie_is_noticed,
};

/// The tree size that was cosigned last, for each of the two logs.
type Cosigned = [Option<usize>; 2];

impl Promised for Cosigned {
    /// A log, and the tree size that was cosigned.
    type Promise = (usize, usize);
    const SLED_PROVES_ROLLBACK: bool = true;

    fn add(&mut self, (log, size): &(usize, usize)) {
        self[*log] = self[*log].max(Some(*size));
    }

    fn digest(&self) -> impl Hash {
        *self
    }
}

/// Grows one of the logs by `by`, and records a cosignature.
fn grow(
    witness: &Witness,
    recorder: &Recorder<(usize, usize)>,
    pairs: &[Pair; 2],
    log: usize,
    by: usize,
) -> bool {
    let pair = &pairs[log];
    let head = witness.ledger().head(&pair.log.origin());
    let old = head.map_or(0, |head| usize::try_from(head.size.get()).unwrap());
    let cosigned = ask(witness, &pair.log.request(old, old + by).to_string()).is_ok();
    if cosigned {
        recorder.promise((log, old + by));
    }
    cosigned
}

/// Records the life of a witness: its first requests, a restart, each accident, kills, and a sled that was deleted.
fn record_a_life(lie: Option<Lie>) -> Recording<Cosigned> {
    let pairs = pairs();
    let dir = witness_dir(&[&pairs[0].log, &pairs[1].log]);
    let before = read_files(dir.path());
    let recorder = Arc::new(Recorder::new(dir.path(), lie));
    let io: Arc<dyn SledIo> = recorder.clone();
    let open = || open_on(dir.path(), &io, JOURNAL_BYTES).unwrap();
    for steps in LIVES {
        let witness = open();
        for (log, _) in steps {
            assert!(grow(&witness, &recorder, &pairs, *log, 1));
        }
    }
    let witness = open();
    for accident in [Accident::Fdatasync, Accident::HalfWrite, Accident::Rename, Accident::Rows] {
        recorder.next_meets(accident);
        // A request is refused if the accident hits the journal, and accepted soon after.
        let cosigned = (0..6).filter(|turn| grow(&witness, &recorder, &pairs, turn % 2, 1)).count();
        assert!(cosigned >= 5, "{accident:?}: {cosigned}");
        assert!(grow(&witness, &recorder, &pairs, 0, 1), "{accident:?}");
    }
    drop(witness);
    for accident in [Accident::Kill, Accident::FdatasyncThenKill] {
        let witness = open();
        recorder.next_meets(accident);
        assert!(!grow(&witness, &recorder, &pairs, 1, 1));
        drop(witness);
        recorder.restarted();
    }
    let witness = open();
    assert!(grow(&witness, &recorder, &pairs, 1, 2));
    drop(witness);
    fs::remove_dir_all(Layout::new(dir.path()).sled()).unwrap();
    let witness = open();
    assert!(grow(&witness, &recorder, &pairs, 0, 2) && grow(&witness, &recorder, &pairs, 1, 0));
    drop(witness);
    Recording { before, sled_before: None, promised: [None; 2], steps: recorder.take() }
}

/// Checks what a power cut left.
///
/// # Errors
/// A log of which the witness forgot a cosigned head.
fn check(cut: &Cut<Cosigned>) -> Result<(), String> {
    let (dir, pairs) = (cut.dir(), pairs());
    let io: Arc<dyn SledIo> = Arc::new(UnsyncedDisk);
    let witness = open_on(dir.path(), &io, JOURNAL_BYTES)?;
    for (pair, known) in pairs.iter().zip(*cut.promised) {
        keeps(&witness, pair, known)?;
    }
    let recorder = Recorder::new(Path::new("/"), None);
    let goes_on = (0..2).all(|log| grow(&witness, &recorder, &pairs, log, 1));
    if goes_on { Ok(()) } else { Err("it does not go on".to_owned()) }
}

#[test]
fn a_cut_at_any_step_leaves_everything_known_that_was_cosigned() {
    assert_cuts_are_harmless(&record_a_life(None), 200, check);
}

#[test]
fn a_disk_that_lies_is_noticed() {
    for lie in [Lie::Fdatasync, Lie::LogDir] {
        assert_lie_is_noticed(lie, &record_a_life(Some(lie)), check);
    }
}
