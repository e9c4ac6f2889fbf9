//! Honest witnesses, which may be slow or down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::log::{World, head_of, log_keys, numbered, open, three, two_of, wait_until};
use treehead::checkpoint::policy::Policy;
use treehead::feeder::Feeder;
use treehead::note::Note;

#[test]
fn all_witnesses_cosign_with_all_their_keys() {
    let world = World::new();
    world.wait_open();
    for index in 0..5 {
        world.append(index);
    }
    wait_until("the third one's cosignatures are shown, too", || {
        world.published().is_some_and(|note| world.check(&note).cosignatures().len() == 6)
    });
    let note = world.published().unwrap();
    let keys = open(&note).note().signatures().iter().map(|s| format!("{}", s.name())).collect::<Vec<_>>();
    let w = |n: usize| [format!("w{n}.example.com"), format!("w{n}.example.com")];
    let log = || [crate::log::ORIGIN.to_owned(), crate::log::ORIGIN.to_owned()];
    assert_eq!(keys, [log(), w(1), w(2), w(3)].concat(), "the log first, then in the order of the policy");
    for status in world.status() {
        assert_eq!((status.cosigned_size, status.fault), (Some(5), None));
    }
    assert!(world.sequencer.faults().is_empty());
}

#[test]
fn a_dead_witness_costs_only_its_cosignature() {
    let world = World::new();
    world.witnesses[1].lie(|_| None);
    world.wait_open();
    for index in 0..5 {
        let head = world.append(index);
        assert!(head.cosignatures().iter().all(|c| !c.witness.starts_with("w2")), "{head:?}");
    }
    world.wait_fault(1, "no answer from http://127.0.0.1:");
    assert!(world.sequencer.faults().is_empty(), "a quorum cosigns");
    // Back again, it catches up by itself: the log continues from the size that it names.
    world.witnesses[1].be_honest();
    world.append(5);
    wait_until("it has caught up", || {
        world.status()[1].cosigned_size == Some(6) && world.status()[1].fault.is_none()
    });
}

#[test]
fn a_slow_witness_has_one_request_in_progress_and_delays_nothing() {
    let world = World::new();
    world.witnesses[0].lie(|asked| {
        std::thread::sleep(Duration::from_millis(300));
        Some(asked.honest)
    });
    world.wait_open();
    for index in 0..40 {
        world.append(index);
    }
    assert_eq!(world.witnesses[0].most_at_once(), 1);
    let quick = world.witnesses[1].released().len();
    assert!(quick >= 20, "the others have cosigned nearly every head: {quick}");
}

#[test]
fn two_dead_witnesses_keep_heads_from_being_published_until_one_is_back() {
    let world = World::new();
    world.wait_open();
    world.append(0);
    let before = world.published().unwrap();
    for dead in [0, 1] {
        world.witnesses[dead].lie(|_| None);
    }
    let mut waiting = world.submit(&numbered(1)).unwrap();
    wait_until("it is told", || world.sequencer.fault().is_some());
    assert_eq!(
        world.sequencer.fault().unwrap(),
        "too few witnesses cosign: expected 2 of (w1, w2, w3); no tree head above size 1 is published before they do"
    );
    assert!(waiting.try_recv().is_err());
    assert_eq!(open(&world.published().unwrap()).get(), open(&before).get());
    world.witnesses[1].be_honest();
    let head = waiting.blocking_recv().unwrap().head.unwrap();
    assert_eq!(world.check(&head.note).get(), &head_of(2, numbered));
    wait_until("the fault is gone", || world.sequencer.faults().is_empty());
}

#[test]
fn a_log_starts_when_those_who_are_silent_could_not_have_agreed_on_more() {
    let witnesses = three();
    for silent in [0, 1] {
        witnesses[silent].lie(|_| None);
    }
    let world = World::start(witnesses, crate::log::store());
    world.wait_fault(0, "no answer");
    world.wait_fault(1, "no answer");
    std::thread::sleep(Duration::from_millis(300));
    assert!(world.sequencer.has_room(1).is_err(), "two silent witnesses may have cosigned a newer head");
    assert!(world.published().is_none());
    world.witnesses[0].be_honest();
    world.wait_open();
    world.append(0);
}

#[test]
fn a_witness_that_shows_no_heads_is_asked_for_its_size() {
    let world = World::new();
    world.wait_open();
    for index in 0..3 {
        world.append(index);
    }
    wait_until("all have the head", || {
        world.witnesses.iter().all(|w| w.last().is_some_and(|h| h.size.get() == 3))
    });
    let (witnesses, store) = world.close();
    // Its monitoring prefix is elsewhere: the submission address has nothing to read.
    for witness in &witnesses[..2] {
        witness.lie(
            |asked| if asked.is_post { Some(asked.honest) } else { Some((404, "text/plain", Vec::new())) },
        );
    }
    let world = World::start(witnesses, store);
    world.wait_open();
    world.append(3);
}

#[test]
fn somebody_else_may_have_fed_a_witness_with_a_head_of_this_log() {
    let world = World::new();
    world.wait_open();
    world.append(0);
    // Not by the log but by a monitor, say: it has the note, and the witness has not.
    let note = Note::parse(&world.published().unwrap()).unwrap();
    let head = open(&world.published().unwrap()).get().clone();
    for index in 1..4 {
        world.append(index);
    }
    wait_until("all have the head", || {
        world.witnesses.iter().all(|w| w.last().is_some_and(|h| h.size.get() == 4))
    });
    for witness in &world.witnesses {
        // As if the log's own requests were lost: the witness continues from another size than the log remembers.
        witness.saw(&head, note.clone());
    }
    world.append(4);
    wait_until("all have caught up", || world.status().iter().all(|s| s.cosigned_size == Some(5)));
}

#[test]
fn when_the_log_is_closed_nobody_holds_its_store() {
    let world = World::new();
    world.wait_open();
    // A slow request must not keep the files of a closed log open.
    let (under_way, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (told, ended) = (under_way.clone(), end.clone());
    world.witnesses[0].lie(move |_| {
        told.store(true, Ordering::SeqCst);
        while !ended.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    });
    world.append(0);
    wait_until("a request is under way", || under_way.load(Ordering::SeqCst));
    let reader = Arc::downgrade(world.sequencer.reader());
    world.sequencer.shut_down().unwrap();
    let World { sequencer, store, .. } = world;
    drop((sequencer, store));
    // The request is still open: the witness answers when it is told to.
    wait_until("the reader is gone", || reader.upgrade().is_none());
    end.store(true, Ordering::SeqCst);
}

#[test]
fn a_policy_that_asks_for_nobody_publishes_whoever_is_there() {
    let witnesses = three();
    witnesses.iter().for_each(|witness| witness.lie(|_| None));
    let lines: String =
        witnesses.iter().enumerate().map(|(at, w)| w.policy_lines(&format!("w{at}"))).collect();
    let policy = Policy::parse(format!("{lines}quorum none\n").as_bytes()).unwrap();
    let world = World::start_with(witnesses, crate::log::store(), policy);
    // A silent witness may have seen more, so the log waits for it, but not for ever.
    world.wait_open();
    let head = world.append(0);
    assert!(head.cosignatures().is_empty());
    world.witnesses[1].be_honest();
    wait_until("who cosigns is shown", || {
        world.published().is_some_and(|note| !world.check(&note).cosignatures().is_empty())
    });
}

#[test]
fn witnesses_that_are_slower_than_heads_come_to_agree() {
    let world = World::new();
    world.wait_open();
    world.append(0);
    world.witnesses[0].lie(|_| None);
    // Each takes longer than a head waits at first, and they are out of step.
    for (at, milliseconds) in [(1, 1_400), (2, 1_900)] {
        let real = world.witnesses[at].pass();
        world.witnesses[at].lie(move |asked| {
            std::thread::sleep(Duration::from_millis(milliseconds));
            Some(real(&asked))
        });
    }
    // Entries keep coming, so there is always a newer head to sign.
    let before = open(&world.published().unwrap()).get().size;
    let mut index = 1;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while open(&world.published().unwrap()).get().size <= before {
        assert!(std::time::Instant::now() < deadline, "no head got its quorum");
        drop(world.submit(&numbered(index)));
        index += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn more_keys_than_a_tree_head_has_room_for_are_refused_before_the_log_opens() {
    let policy = |keys: usize| {
        let line = |at: usize| {
            let key =
                crate::common::toy_witness::signers(&format!("w{at}"), u8::try_from(at).unwrap()).remove(0);
            format!("witness w{at} {} http://127.0.0.1:{}\n", key.public(), 1_000 + at)
        };
        let lines: String = (0..keys).map(line).collect();
        Policy::parse(format!("{lines}quorum w0\n").as_bytes()).unwrap()
    };
    assert!(Feeder::prepare(policy(62), log_keys(), false).is_ok());
    let Err(e) = Feeder::prepare(policy(63), log_keys(), false) else {
        panic!("64 lines, two of them the log's")
    };
    assert!(e.to_string().contains("expected at most 62 keys of witnesses with a URL, saw 63"), "{e}");
}

#[test]
fn an_address_that_is_none_is_refused_before_the_log_opens() {
    let policy = two_of(&three());
    assert!(Feeder::prepare(policy, log_keys(), false).is_ok());
    let bad = format!(
        "witness w {} ftp://example.com\nquorum w\n",
        crate::common::toy_witness::signers("w", 1)[0].public()
    );
    let bad = treehead::checkpoint::policy::Policy::parse(bad.as_bytes()).unwrap();
    let Err(e) = Feeder::prepare(bad, log_keys(), false) else { panic!("no URL") };
    assert!(e.to_string().contains("saw \"ftp://example.com\""), "{e}");
}
