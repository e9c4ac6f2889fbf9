//! Tests of the channel of commands and its bounds.

use super::*;

fn push(commands: &CommandSender, candidates: Vec<Candidate>) -> Result<(), SubmitError> {
    let (sender, _) = Sender::new(Wait::Sequenced);
    commands.add(Submission { candidates, sender })
}

/// The entry numbers in the next submissions.
fn take(commands: &mut CommandReceiver) -> Option<Vec<usize>> {
    match commands.next(Some(Instant::now())) {
        Work::Commit(taken) => Some(taken.iter().map(|submission| submission.candidates.len()).collect()),
        Work::Event(..) | Work::Deadline | Work::Stop => None,
    }
}

#[test]
fn a_full_pool_takes_a_submission_whole_or_not_at_all() {
    let (pool, mut taken) = channel(5, 100, Duration::ZERO);
    push(&pool, candidates(&["a", "b", "c"])).unwrap();
    let full = push(&pool, candidates(&["d", "e", "f"])).unwrap_err();
    assert_eq!(full, SubmitError::Full { waiting: 3, retry_after: Duration::from_secs(1) });
    assert_eq!(full.to_string(), "the log is busy: 3 entries wait already; try again in 1 s");
    push(&pool, candidates(&["d", "e"])).unwrap();
    assert!(matches!(push(&pool, candidates(&["f"])), Err(SubmitError::Full { waiting: 5, .. })));
    assert_eq!(take(&mut taken), Some(vec![3, 2]), "nothing of what was refused is in it");
    assert_eq!(take(&mut taken), None);
    // Bytes count too, and are released.
    for _ in 0..3 {
        push(&pool, vec![candidate(&[0; 60])]).unwrap();
        assert!(matches!(push(&pool, vec![candidate(&[0; 41])]), Err(SubmitError::Full { waiting: 1, .. })));
        push(&pool, vec![candidate(&[0; 40])]).unwrap();
        assert_eq!(take(&mut taken), Some(vec![1, 1]));
    }
}

#[test]
fn a_small_batch_lingers_and_a_larger_one_waits_for_those_who_came_together_before() {
    let (pool, mut taken) = channel(1_000, 1_000, Duration::from_secs(3_600));
    let push = |count| push(&pool, vec![candidate(b""); count]).unwrap();
    push(1);
    assert_eq!(take(&mut taken), Some(vec![1]), "nothing came before");
    push(NO_LINGER_ENTRIES - 1);
    assert_eq!(take(&mut taken), None);
    push(1);
    assert_eq!(take(&mut taken), Some(vec![NO_LINGER_ENTRIES - 1, 1]));
    push(NO_LINGER_ENTRIES);
    assert_eq!(take(&mut taken), Some(vec![NO_LINGER_ENTRIES]), "as many as last time");
    push(2 * NO_LINGER_ENTRIES);
    assert_eq!(take(&mut taken), Some(vec![2 * NO_LINGER_ENTRIES]));
    // That took a while.
    std::thread::sleep(Duration::from_millis(80));
    let done = Instant::now();
    assert_eq!(take(&mut taken), None);
    push(NO_LINGER_ENTRIES);
    let work = taken.next(Some(done + Duration::from_secs(3_600)));
    assert!(matches!(work, Work::Commit(submissions) if submissions.len() == 1));
    assert!(done.elapsed() >= Duration::from_millis(10), "the others may still come");
}

#[test]
fn what_is_reserved_counts_until_it_is_sent_or_given_up() {
    let (pool, mut taken) = channel(5, 100, Duration::ZERO);
    let send = |place, texts: &[&str]| {
        let (sender, _) = Sender::new(Wait::Sequenced);
        pool.add_reserved(place, Submission { candidates: candidates(texts), sender })
    };
    let place = pool.reserve(4, 40).unwrap();
    assert!(matches!(pool.reserve(2, 2), Err(SubmitError::Full { waiting: 4, .. })));
    assert!(matches!(pool.reserve(1, 61), Err(SubmitError::Full { waiting: 4, .. })));
    assert!(matches!(push(&pool, candidates(&["a", "b"])), Err(SubmitError::Full { waiting: 4, .. })));
    push(&pool, candidates(&["a"])).unwrap();
    send(place, &["b", "c", "d", "e"]).unwrap();
    assert_eq!(pool.load(), (5, true), "once, and not twice");
    assert_eq!(take(&mut taken), Some(vec![1, 4]));
    assert_eq!(pool.load(), (0, true));
    drop(pool.reserve(5, 100).unwrap());
    assert_eq!(pool.load(), (0, true));
    // An entry may get longer when it is printed, and what was reserved is no right to more.
    let place = pool.reserve(1, 1).unwrap();
    let (sender, _) = Sender::new(Wait::Sequenced);
    let long = Submission { candidates: vec![candidate(&[0; 101])], sender };
    assert!(matches!(pool.add_reserved(place, long), Err(SubmitError::Full { waiting: 0, .. })));
    assert_eq!(pool.load(), (0, true));
    let (sent, kept) = (pool.reserve(1, 1).unwrap(), pool.reserve(1, 1).unwrap());
    pool.stop();
    assert_eq!(send(sent, &["a"]), Err(SubmitError::ShuttingDown));
    drop(taken);
    drop(kept);
    assert_eq!(pool.load(), (0, false), "the commit thread was gone before");
}

#[test]
fn a_closed_pool_hands_out_what_waits_and_takes_no_more() {
    let (pool, mut taken) = channel(10, 100, Duration::ZERO);
    push(&pool, candidates(&["a"])).unwrap();
    pool.stop();
    assert_eq!(push(&pool, candidates(&["b"])), Err(SubmitError::ShuttingDown));
    assert_eq!(take(&mut taken), Some(vec![1]));
    assert!(matches!(taken.next(None), Work::Stop));
    assert_eq!(push(&pool, candidates(&["b"])), Err(SubmitError::ShuttingDown));
    assert!(matches!(taken.next(None), Work::Stop));
}

#[test]
fn a_batch_holds_no_more_than_a_batch_may() {
    let (pool, mut taken) = channel(usize::MAX, usize::MAX, Duration::ZERO);
    let many = |count: usize| (0..count).map(|i| candidate(&i.to_be_bytes())).collect::<Vec<_>>();
    for count in [MAX_BATCH_ENTRIES - 1, 1, 1, MAX_BATCH_ENTRIES, 2] {
        push(&pool, many(count)).unwrap();
    }
    assert_eq!(take(&mut taken), Some(vec![MAX_BATCH_ENTRIES - 1, 1]));
    assert_eq!(take(&mut taken), Some(vec![1]), "the next one does not fit, and order is kept");
    assert_eq!(take(&mut taken), Some(vec![MAX_BATCH_ENTRIES]));
    assert_eq!(take(&mut taken), Some(vec![2]));
    let large = vec![candidate(&[0; 65_535]); MAX_BATCH_BYTES / 65_535];
    push(&pool, large.clone()).unwrap();
    push(&pool, large).unwrap();
    assert_eq!(take(&mut taken), Some(vec![512]));
    assert_eq!(take(&mut taken), Some(vec![512]));
}

#[test]
fn waiting_ends_with_a_submission_a_deadline_or_the_end() {
    let (pool, mut taken) = channel(10, 100, Duration::ZERO);
    let before = Instant::now();
    assert!(matches!(taken.next(Some(before + Duration::from_millis(20))), Work::Deadline));
    assert!(before.elapsed() >= Duration::from_millis(20));
    let mut wait_while = |then: &dyn Fn()| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| taken.next(None));
            then();
            waiting.join().unwrap()
        })
    };
    let work = wait_while(&|| push(&pool, candidates(&["a"])).unwrap());
    assert!(matches!(work, Work::Commit(taken) if taken.len() == 1));
    assert!(matches!(wait_while(&|| pool.stop()), Work::Stop));
}

#[test]
fn what_the_cosigners_report_comes_before_what_was_sent_earlier() {
    let (commands, mut taken) = channel(10, 100, Duration::ZERO);
    push(&commands, candidates(&["a"])).unwrap();
    commands.report(Term(1), CosignerEvent::MaySign);
    push(&commands, candidates(&["b", "c"])).unwrap();
    assert!(matches!(taken.next(None), Work::Event(Term(1), CosignerEvent::MaySign)));
    assert_eq!(take(&mut taken), Some(vec![1, 2]));
    // Also after the last submission: the last head may still get cosignatures.
    commands.stop();
    commands.report(Term(1), CosignerEvent::MaySign);
    assert!(matches!(taken.next(None), Work::Event(Term(1), CosignerEvent::MaySign)));
    assert!(matches!(taken.next(None), Work::Stop));
    assert!(taken.next_event(Instant::now()).is_none());
}

#[test]
fn senders_learn_that_the_commit_thread_is_gone() {
    let (commands, taken) = channel(10, 100, Duration::ZERO);
    let (sender, mut outcome) = Sender::new(Wait::Published);
    commands.add(Submission { candidates: candidates(&["a"]), sender }).unwrap();
    assert_eq!((commands.load(), outcome.try_recv().unwrap_err()), ((1, true), TryRecvError::Empty));
    drop(taken);
    assert_eq!((commands.load(), outcome.try_recv().unwrap_err()), ((0, false), TryRecvError::Closed));
    assert_eq!(push(&commands, candidates(&["b"])), Err(SubmitError::ShuttingDown));
    commands.report(Term(1), CosignerEvent::MaySign);
}
