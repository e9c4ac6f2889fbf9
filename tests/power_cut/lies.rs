//! A disk that lies about its fsyncs loses what was promised, and the checks see it: a check that
//! can't fail proves nothing.

use super::recorder::Lie;
use super::replay::{Case, broken, record_a_life};

/// Runs the cuts of a life on a lying disk; the checks have to find what they are for.
fn caught(lie: Lie, expected: &[&str]) {
    let cases = record_a_life(Some(lie)).cuts(1);
    let found = broken(&cases, 9, Case::check);
    assert!(!found.is_empty(), "{lie:?} was not noticed in {} cuts", cases.len());
    for broken in found {
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
fn a_checkpoint_that_was_renamed_before_it_was_synced_is_noticed() {
    caught(Lie::CheckpointFsync, &["checkpoint is damaged", "the durable checkpoint"]);
}

#[test]
fn a_batch_that_a_restart_believed_without_a_sync_is_missed() {
    caught(Lie::OldSegmentFsync, &LOST);
}

#[test]
fn a_batch_that_only_memory_had_after_a_failed_sync_is_missed() {
    caught(Lie::WriteAgain, &LOST);
}
