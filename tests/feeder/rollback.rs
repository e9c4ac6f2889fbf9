//! A log whose files are older than what the world has seen, or other.

use treehead::checkpoint::Checkpoint;
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};
use treehead::sequencer::SubmitError;

use crate::log::{ORIGIN, World, head_of, log_signer, numbered, store, three, wait_until};

/// A log of four entries, closed, whose witnesses have seen them all.
fn closed() -> World {
    let world = World::new();
    world.wait_open();
    for index in 0..4 {
        world.append(index);
    }
    wait_until("all have the head", || {
        world.witnesses.iter().all(|w| w.last().is_some_and(|h| h.size.get() == 4))
    });
    world.sequencer.shut_down().unwrap();
    world
}

fn signed(head: &Checkpoint) -> Note {
    log_signer().sign(head, 1_700_000_000)
}

/// A store as it was two entries ago.
fn older() -> treehead::store::MemoryStore {
    let (witnesses, store) = (three(), store());
    let world = World::start(witnesses, store.clone());
    world.wait_open();
    world.append(0);
    world.append(1);
    world.sequencer.shut_down().unwrap();
    store
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
    let witnesses = closed().witnesses;
    let seen: Vec<_> = witnesses.iter().map(|w| w.released().len()).collect();
    let world = World::start(witnesses, older());
    let why = wait_refused(&world);
    assert!(
        why.contains("has cosigned its tree head at size 4, which this log signed, and this copy ends at 2: 2 entries were lost")
            && why.contains("treehead repair DIR --from SOURCE"),
        "{why}"
    );
    assert_eq!(world.sequencer.fault().unwrap(), why);
    // Reads go on: the last head that had its quorum when the copy was made is not believed blindly, but
    // the tree is there.
    assert_eq!(world.sequencer.reader().size().get(), 2);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let now: Vec<_> = world.witnesses.iter().map(|w| w.released().len()).collect();
    assert_eq!(now, seen, "nothing was asked to be cosigned");
}

#[test]
fn a_log_that_went_on_from_an_older_copy_has_forked() {
    // Another operator's hand: entries 2 and 3 are others now, and more than the witnesses have seen.
    let forked = older();
    {
        let lenient = three();
        let world = World::start(lenient, forked.clone());
        world.wait_open();
        for entry in ["other 2", "other 3", "other 4"] {
            world.submit(entry).unwrap().blocking_recv().unwrap().head.unwrap();
        }
        world.sequencer.shut_down().unwrap();
    }
    let world = World::start(closed().witnesses, forked);
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
fn a_claim_without_the_log_s_signature_stops_nobody() {
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
fn what_comes_to_light_later_stops_the_log_as_well() {
    let world = World::new();
    world.witnesses[2].lie(|_| None);
    world.wait_open();
    world.append(0);
    // The third was not there at the start, and has seen more than this copy has.
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
