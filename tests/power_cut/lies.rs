//! A disk that lies about its fsyncs loses promised entries, and the checks detect it.

use super::replay::{check, record_a_life};
use crate::common::power_cut::assert_lie_is_noticed;
use crate::common::power_cut::recorder::Lie;

/// Runs the cuts of a life on a lying disk. The checks have to find one of the expected faults.
fn caught(lie: Lie, expected: &[&str]) {
    for broken in assert_lie_is_noticed(lie, &record_a_life(Some(lie)), check) {
        assert!(expected.iter().any(|part| broken.contains(part)), "{lie:?} was seen as: {broken}");
    }
}

const LOST: [&str; 4] =
    ["the journal lost entries", "lost: what was acknowledged", "does not check", "file ends within"];

#[test]
fn a_batch_that_was_never_synced_is_missed() {
    caught(Lie::Fdatasync, &LOST);
}

#[test]
fn a_segment_whose_head_was_never_synced_is_missed() {
    caught(Lie::SegmentFsync, &LOST);
}

#[test]
fn a_segment_whose_name_was_never_synced_is_missed() {
    caught(Lie::JournalDir, &[&LOST[..], &["expected it to begin with", "No such file"]].concat());
}

#[test]
fn a_directory_whose_names_were_never_synced_is_missed() {
    caught(Lie::LogDir, &[&LOST[..], &["the durable head is behind", "No such file"]].concat());
}

#[test]
fn a_checkpoint_that_was_never_synced_is_noticed() {
    caught(Lie::CheckpointFsync, &["checkpoint is damaged", "the durable checkpoint"]);
}

#[test]
fn a_batch_that_a_restart_believed_without_a_sync_is_missed() {
    caught(Lie::OldSegmentFsync, &LOST);
}

#[test]
fn what_only_memory_had_after_a_failed_sync_is_missed() {
    // A batch, or a slot of the checkpoint.
    caught(Lie::WriteAgain, &[&LOST[..], &["the durable head is behind"]].concat());
}
