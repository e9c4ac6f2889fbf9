//! A log whose files are older than its published heads, or differ from them.

use std::time::{SystemTime, UNIX_EPOCH};

use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::{Checkpoint, open_note};
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::proof::wire::{AddCheckpoint, SIZE_MEDIA_TYPE};
use treehead::sequencer::{SubmitError, Trouble};

use crate::common::toy_witness::{Answer, Asked, ToyWitness};
use crate::log::{ORIGIN, World, head_of, log_keys, log_signer, numbered, store, three, wait_until};

/// The witnesses of a log that was closed, which have seen all of its four entries.
fn closed() -> Vec<ToyWitness> {
    let world = World::new();
    world.wait_open();
    for index in 0..4 {
        world.append(index);
    }
    wait_until("all have the head", || {
        world.witnesses.iter().all(|w| w.last().is_some_and(|h| h.size.get() == 4))
    });
    world.close().0
}

fn signed(head: &Checkpoint) -> Note {
    log_signer().sign(head, 1_700_000_000)
}

/// A store as it was two entries ago.
fn older() -> tempfile::TempDir {
    let world = World::start(three(), store());
    world.wait_open();
    world.append(0);
    world.append(1);
    world.close().1
}

fn wait_refused(world: &World) -> String {
    let mut why = String::new();
    wait_until("the log refuses", || match world.submit("more") {
        Err(SubmitError::RolledBack(reason)) => {
            why = reason;
            true
        }
        _ => false,
    });
    why
}

#[test]
fn a_log_restored_from_an_older_copy_says_what_was_lost_and_signs_nothing() {
    let witnesses = closed();
    let seen: Vec<_> = witnesses.iter().map(|w| w.released().len()).collect();
    let world = World::start(witnesses, older());
    let why = wait_refused(&world);
    assert!(
        why.contains("has cosigned its tree head at size 4, which this log signed, and this copy ends at 2: 2 entries were lost")
            && why.contains("repair it from a newer backup, an export or a mirror"),
        "{why}"
    );
    assert_eq!(world.sequencer.fault().unwrap(), why);
    // Reads continue: the tree is there, although the copy's last head with a quorum is not trusted blindly.
    assert_eq!(world.sequencer.reader().size().get(), 2);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let now: Vec<_> = world.witnesses.iter().map(|w| w.released().len()).collect();
    assert_eq!(now, seen, "nothing was asked to be cosigned");
}

#[test]
fn a_log_that_went_on_from_an_older_copy_has_forked() {
    // Another operator's hand: entries 2 and 3 are others now, and more than the witnesses have seen.
    let lenient = World::start(three(), older());
    lenient.wait_open();
    for entry in ["other 2", "other 3", "other 4"] {
        lenient.submit(entry).unwrap().blocking_recv().unwrap().head.unwrap();
    }
    let world = World::start(closed(), lenient.close().1);
    let why = wait_refused(&world);
    assert!(why.contains("the log has forked") && why.contains("at size 4"), "{why}");
}

#[test]
fn one_witness_with_a_head_that_the_log_signed_is_enough() {
    let witnesses = three();
    let head = head_of(9, numbered);
    witnesses[2].saw(&head, signed(&head));
    let world = World::start(witnesses, store());
    assert!(wait_refused(&world).contains("9 entries were lost"));
}

#[test]
fn a_claim_without_the_log_s_signature_does_not_stop_the_log() {
    let witnesses = three();
    let head = head_of(9, numbered);
    let stranger = NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[7; 32]);
    witnesses[2].saw(&head, head.sign(&stranger));
    let world = World::start(witnesses, store());
    world.wait_open();
    world.append(0);
    world.wait_fault(2, "it shows a tree head that this log did not sign");
    assert!(world.sequencer.faults().is_empty());
}

#[test]
fn a_later_discovery_stops_the_log_as_well() {
    let world = World::new();
    world.witnesses[2].lie(|_| None);
    world.wait_open();
    world.append(0);
    // The third witness was down at the start, and has seen more than this copy has.
    let head = head_of(9, |i| format!("other {i}"));
    world.witnesses[2].saw(&head, signed(&head));
    world.witnesses[2].be_honest();
    let why = wait_refused(&world);
    assert!(why.contains("has cosigned its tree head at size 9"), "{why}");
}

#[test]
fn the_same_size_with_another_root_is_a_fork() {
    let witnesses = three();
    let store = older();
    let head = head_of(2, |i| format!("other {i}"));
    witnesses[0].saw(&head, signed(&head));
    let world = World::start(witnesses, store);
    assert!(wait_refused(&world).contains("the log has forked"));
}

/// Answers like a witness that can't show its cosigned head: c2sp.org/tlog-witness only says that it SHOULD.
#[expect(clippy::unnecessary_wraps, reason = "what a lie returns")]
fn shows_nothing(asked: Asked) -> Option<Answer> {
    if asked.is_post { Some(asked.honest) } else { Some((404, "text/plain", b"nothing here".to_vec())) }
}

fn suspicion(world: &World) -> Option<String> {
    let suspected = world.sequencer.faults().contains_key(&Trouble::RollbackSuspected);
    suspected
        .then(|| world.sequencer.faults().into_values().find(|why| why.contains("rolled back")))
        .flatten()
}

#[test]
fn unproven_sizes_are_reported_with_their_possible_causes() {
    let witnesses = closed();
    let seen: Vec<_> = witnesses.iter().map(|w| w.released().len()).collect();
    witnesses.iter().for_each(|witness| witness.lie(shows_nothing));
    let world = World::start(witnesses, older());
    wait_until("all have said so", || {
        suspicion(&world)
            .is_some_and(|why| (1..=3).all(|at| why.contains(&format!("w{at}.example.com (tree size 4)"))))
    });
    let why = suspicion(&world).unwrap();
    for part in [
        "may have been rolled back",
        "the 2 entries that this copy has",
        "signs nothing",
        "nothing is proven",
        "repair it from a newer backup, an export or a mirror",
        "tree size 4 or more",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(matches!(world.submit("more"), Err(SubmitError::AskingWitnesses { .. })));
    let now: Vec<_> = world.witnesses.iter().map(|w| w.released().len()).collect();
    assert_eq!(now, seen, "nothing was asked to be cosigned");
}

#[test]
fn a_single_unproven_size_is_a_fault_of_its_witness() {
    let witnesses = three();
    let store = older();
    witnesses[2].lie(|asked| {
        let ahead = Some((409, SIZE_MEDIA_TYPE, b"9\n".to_vec()));
        if asked.is_post { ahead } else { shows_nothing(asked) }
    });
    let world = World::start(witnesses, store);
    world.wait_fault(2, "it claims to have cosigned tree size 9");
    world.wait_open();
    world.append(2);
    assert_eq!(suspicion(&world), None);
    assert!(world.sequencer.faults().is_empty(), "{:?}", world.sequencer.faults());
}

#[test]
fn a_log_that_would_rather_not_wait_waits_for_a_quorum_that_says_it_has_seen_more() {
    let witnesses = closed();
    witnesses.iter().for_each(|witness| witness.lie(shows_nothing));
    let world = World::start_impatient(witnesses, older());
    std::thread::sleep(std::time::Duration::from_secs(14));
    assert!(suspicion(&world).is_some_and(|why| why.contains("signs nothing")));
    assert!(matches!(world.submit("more"), Err(SubmitError::AskingWitnesses { .. })));
}

#[test]
fn if_all_witnesses_agree_on_the_time_this_machine_s_clock_is_wrong() {
    let world = World::new();
    for witness in &world.witnesses {
        let signers = witness.signers.clone();
        witness.lie(move |asked| {
            if !asked.is_post {
                return Some(asked.honest);
            }
            let note = AddCheckpoint::parse(&asked.body).unwrap().checkpoint;
            let head = open_note(note, &log_keys()).unwrap().get().clone();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let lines: String =
                signers.iter().map(|key| cosign(&head, key, now + 86_400).to_string()).collect();
            Some((200, "text/plain", lines.into_bytes()))
        });
    }
    wait_until("it is told", || world.sequencer.faults().contains_key(&Trouble::Clock));
    for at in 0..3 {
        world.wait_fault(
            at,
            "this machine's clock is wrong: all witnesses that answered agree that it is 864",
        );
    }
    let faults = world.sequencer.faults();
    assert!(faults.values().any(|why| why.contains("s behind. Set it")), "{faults:?}");
    world.witnesses.iter().for_each(crate::common::toy_witness::ToyWitness::be_honest);
    wait_until("it is over", || !world.sequencer.faults().contains_key(&Trouble::Clock));
    wait_until("the log is well", || world.sequencer.faults().is_empty());
}
