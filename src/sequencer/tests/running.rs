//! A running sequencer: every fault, waits for a head, and the end.

use super::*;

#[test]
fn every_fault_loses_nothing_that_was_acknowledged_and_passes() {
    for point in UNWITNESSED {
        for fault in [StoreFault::Failed, StoreFault::FailedButPersisted] {
            one_fault(point, fault);
        }
    }
}

fn one_fault(point: FaultPoint, fault: StoreFault) {
    let what = format!("{fault:?} at {point:?}");
    let mut bench = Bench::new();
    assert_eq!(bench.submit(&["before 0", "before 1"]), [fresh(0), fresh(1)]);
    bench.settle();
    assert_eq!(bench.sequencer.fault(), None);

    bench.store.no_reload.store(true, Ordering::SeqCst);
    bench.store.store.inject(point, fault);
    if point == FaultPoint::Reload {
        // No reload without need.
        bench.store.store.inject(FaultPoint::Stage, StoreFault::Failed);
    }
    let with = bench.submit(&["with 0", "with 1"]);
    if point == FaultPoint::Checkpoint {
        assert_eq!(with, [fresh(2), fresh(3)], "durable is all that an index promises");
    } else {
        assert!(with.iter().all(|r| matches!(r, Err(SubmitError::Storage(_)))), "{what}: {with:?}");
    }
    let sequencer = bench.sequencer.clone();
    wait_until("the fault is reported", || sequencer.fault().is_some());
    let while_broken = bench.submit(&["while 0"]);
    let Err(SubmitError::Storage(said)) = &while_broken[0] else { panic!("{what}: {while_broken:?}") };
    assert!(said.contains("injected fault at reload"), "{what}: {said}");
    assert!(bench.sequencer.fault().unwrap().contains("injected fault at"), "{what}");
    assert_eq!(bench.sequencer.published().borrow().checkpoint.size.get(), 2, "{what}");

    bench.store.no_reload.store(false, Ordering::SeqCst);
    bench.settle();
    assert!(!bench.store.store.has_pending_fault(), "{what} was met");
    // Applied and staged look the same to a client that was refused: only asking again shows whether the entry is
    // durable.
    let persisted = match point {
        FaultPoint::Stage => fault == StoreFault::FailedButPersisted,
        FaultPoint::Apply | FaultPoint::Checkpoint => true,
        FaultPoint::Reload => false,
        FaultPoint::Witnessed => unreachable!("this log has no witnesses"),
    };
    assert_eq!(bench.store.durable().len(), if persisted { 4 } else { 2 }, "{what}");
    let expected = if persisted { [duplicate(2), duplicate(3)] } else { [fresh(2), fresh(3)] };
    assert_eq!(bench.submit(&["with 0", "with 1"]), expected, "{what}");
    assert_eq!(bench.submit(&["while 0", "after 0"]), [fresh(4), fresh(5)], "{what}");
    assert_eq!(bench.submit(&["before 1", "with 1", "after 0"]), [duplicate(1), duplicate(3), duplicate(5)]);
    bench.settle();
    bench.restart();
    assert_eq!(bench.sequencer.published().borrow().checkpoint.size.get(), 6, "{what}");
}

#[test]
fn published_heads_are_proven_consistent_with_all_earlier_ones() {
    let mut bench = Bench::new();
    for round in 0..40 {
        if round % 7 == 3 {
            let point = UNWITNESSED[round % 4];
            bench.store.store.inject(point, StoreFault::FailedButPersisted);
        }
        bench.submit(&[&format!("{round} a"), &format!("{round} b")]);
        if round % 3 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    let reader = bench.sequencer.reader().clone();
    let heads = bench.store.signed.lock().unwrap().clone();
    let last = heads.last().unwrap();
    assert!(heads.len() > 10 && last.size.get() >= 70, "{}", heads.len());
    for head in &heads {
        let (old, new) = ((head.size, &head.root), (last.size, &last.root));
        prove_consistency(reader.as_ref(), old, new).unwrap().unwrap();
    }
}

#[test]
fn a_head_that_became_durable_in_a_failed_write_is_published_without_another_entry() {
    // The reload may come with a submission that appends nothing, and find every durable entry signed already. A
    // client that waits for the head waits for this one.
    let options = Options { publish_interval: Duration::from_millis(100), ..Options::default() };
    let mut bench = Bench::with(&options);
    bench.store.store.inject(FaultPoint::Checkpoint, StoreFault::FailedButPersisted);
    assert_eq!(bench.submit(&["a"]), [fresh(0)]);
    let sequencer = bench.sequencer.clone();
    wait_until("the write has failed", || sequencer.fault().is_some());
    assert_eq!(bench.submit(&["a"]), [duplicate(0)]);
    assert_eq!(bench.sequencer.fault(), None, "it was reloaded for this submission");
    bench.settle();
    assert_eq!(bench.store.signed.lock().unwrap().len(), 2, "the empty tree's and this one, signed once");
}

fn outcome(receiver: oneshot::Receiver<Outcome>) -> (Results, Option<u64>) {
    let outcome = receiver.blocking_recv().unwrap();
    (outcome.results, outcome.head.map(|head| head.checkpoint.size.get()))
}

#[test]
fn who_waits_for_a_head_is_answered_once_it_is_shown() {
    let store = Watched::new();
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &quick(), None).unwrap();
    let first = sequencer.submit(candidates(&["a", "b claim:k:x"]), Wait::Published).unwrap();
    let (results, head) = outcome(first);
    assert_eq!(results, [fresh(0), fresh(1)]);
    assert!(head >= Some(2));
    assert!(sequencer.published().borrow().checkpoint.size.get() >= 2, "shown before it was answered");
    // Nothing new to wait for: the current head has it.
    assert_eq!(
        outcome(sequencer.submit(candidates(&["a"]), Wait::Published).unwrap()),
        (vec![duplicate(0)], Some(2))
    );
    // Nothing accepted, nothing to wait for.
    let refused = (vec![Err(SubmitError::SequenceTaken)], None);
    assert_eq!(outcome(sequencer.submit(candidates(&["c claim:k:y"]), Wait::Published).unwrap()), refused);
    assert_eq!(outcome(sequencer.submit(Vec::new(), Wait::Published).unwrap()), (vec![], None));
}

#[test]
fn who_waits_for_a_head_that_can_t_be_published_learns_it_with_the_index() {
    for fault in [StoreFault::Failed, StoreFault::FailedButPersisted] {
        let bench = Bench::new();
        bench.store.store.inject(FaultPoint::Checkpoint, fault);
        assert_eq!(
            outcome(bench.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap()),
            (vec![fresh(0)], None)
        );
        let (results, head) = outcome(bench.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap());
        assert_eq!((results, head), (vec![duplicate(0)], Some(1)), "the next head has it");
        bench.store.store.inject(FaultPoint::Stage, fault);
        let (results, head) = outcome(bench.sequencer.submit(candidates(&["b"]), Wait::Published).unwrap());
        assert!(matches!(results[..], [Err(SubmitError::Storage(_))]) && head.is_none());
    }
}

#[test]
fn a_shutdown_answers_who_waits_for_a_head() {
    let options = Options { least_interval: Duration::from_secs(3_600), ..Options::default() };
    let store = Watched::new();
    let sequencer = Sequencer::start(Box::new(store), signer(), &options, None).unwrap();
    let waiting: Vec<_> =
        (0..50).map(|i| sequencer.submit(candidates(&[&i.to_string()]), Wait::Published).unwrap()).collect();
    sequencer.shut_down().unwrap();
    for (i, receiver) in waiting.into_iter().enumerate() {
        assert_eq!(outcome(receiver), (vec![fresh(i as u64)], Some(50)));
    }
}

#[test]
fn nothing_is_half_accepted() {
    let store = Watched::new();
    let options = Options { pool_entries: 10, pool_bytes: 1_000, ..quick() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, None).unwrap();
    let eleven: Vec<String> = (0..11).map(|i| i.to_string()).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    assert!(matches!(sequencer.submit(candidates(&eleven), Wait::Sequenced), Err(SubmitError::Full { .. })));
    assert!(matches!(
        sequencer.submit(vec![candidate(&[0; 1_001])], Wait::Sequenced),
        Err(SubmitError::Full { .. })
    ));
    assert_eq!(results(sequencer.submit(candidates(&eleven[..1]), Wait::Sequenced).unwrap()), [fresh(0)]);
    assert_eq!(results(sequencer.submit(Vec::new(), Wait::Sequenced).unwrap()), []);
    sequencer.shut_down().unwrap();
    assert_eq!(store.durable(), [b"0"]);
}

#[test]
fn shutting_down_publishes_all_that_was_accepted() {
    let store = Watched::new();
    // So rarely that only the shutdown can have published the last entries.
    let options = Options { least_interval: Duration::from_secs(3_600), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, None).unwrap();
    let waiting: Vec<_> = (0..200)
        .map(|i| {
            sequencer.submit(candidates(&[&format!("{i} a"), &format!("{i} b")]), Wait::Sequenced).unwrap()
        })
        .collect();
    sequencer.shut_down().unwrap();
    let published = sequencer.published().borrow().clone();
    assert_eq!(published.checkpoint.size.get(), 400);
    for (i, receiver) in waiting.into_iter().enumerate() {
        assert_eq!(results(receiver), [fresh(2 * i as u64), fresh(2 * i as u64 + 1)]);
    }
    assert_eq!(store.store.checkpoint().unwrap(), *published.note, "durable, too");
    assert!(matches!(
        sequencer.submit(candidates(&["late"]), Wait::Sequenced),
        Err(SubmitError::ShuttingDown)
    ));
    sequencer.shut_down().unwrap();
    assert_eq!(store.durable().len(), 400);
}

#[test]
fn a_busy_log_signs_no_more_often_than_it_was_told() {
    let store = Watched::new();
    let options = Options { least_interval: Duration::from_millis(50), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, None).unwrap();
    let begin = Instant::now();
    for i in 0..10_u64 {
        // More than a thousand at once are refused as busy.
        let many: Vec<String> = (0..1_000).map(|n| format!("{i} {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            results(sequencer.submit(candidates(&many), Wait::Sequenced).unwrap())[0],
            fresh(i * 1_000)
        );
    }
    let most = begin.elapsed().as_millis() / 50 + 2;
    sequencer.shut_down().unwrap();
    let signed = store.signed.lock().unwrap().len();
    assert!((signed as u128) <= most + 1, "{signed} heads, expected at most {most} and the last");
}

#[test]
fn few_entries_are_published_long_before_the_interval_is_over() {
    let store = Watched::new();
    let options = Options { publish_interval: Duration::from_secs(3_600), ..Options::default() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, None).unwrap();
    let begin = Instant::now();
    results(sequencer.submit(candidates(&["one"]), Wait::Sequenced).unwrap());
    while sequencer.published().borrow().checkpoint.size.get() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing waits for the interval");
        std::thread::sleep(Duration::from_millis(5));
    }
}
