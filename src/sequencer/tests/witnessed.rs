//! A log with witnesses that the test controls.

use super::*;
use crate::checkpoint::LogSigned;
use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::policy::Policy;
use crate::note::Note;
use crate::sequencer::{CosignerEvent, CosignerEvents, CosignerStatus, Cosigners, OpenedLog, Trouble};
use crate::store::SignedHead;

/// One witness, whose cosignature is the quorum.
pub struct Fake {
    policy: Policy,
    asked: Mutex<Vec<SignedHead>>,
    troubles: Mutex<Vec<(Trouble, String)>>,
    events: CosignerEvents,
}

pub fn witness() -> NoteSigner {
    NoteSigner::from_seed(KeyName::new("w.example").unwrap(), SignatureType::CosignatureEd25519, &[1; 32])
}

pub fn policy() -> Policy {
    let policy = format!("witness w {}\nquorum w\n", witness().public());
    Policy::parse(policy.as_bytes()).unwrap()
}

impl Cosigners for Fake {
    fn ask(&self, head: &SignedHead) {
        self.asked.lock().unwrap().push(head.clone());
    }

    fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool {
        self.policy.check(head).is_ok()
    }

    fn quorum(&self) -> String {
        self.policy.quorum_in_words()
    }

    fn troubles(&self) -> Vec<(Trouble, String)> {
        self.troubles.lock().unwrap().clone()
    }

    fn status(&self) -> Vec<CosignerStatus> {
        Vec::new()
    }
}

impl Fake {
    pub fn new(events: CosignerEvents) -> Self {
        Self { policy: policy(), asked: Mutex::default(), troubles: Mutex::default(), events }
    }

    fn asked(&self) -> Vec<SignedHead> {
        self.asked.lock().unwrap().clone()
    }

    pub fn say(&self, word: CosignerEvent) {
        self.events.report(word);
    }

    /// Waits until the log asks for cosignatures of a head of this size, and returns it.
    pub fn wait_for(&self, size: u64) -> SignedHead {
        wait_until("a head is asked for", || self.asked().iter().any(|ask| ask.head.size.get() == size));
        self.asked().into_iter().find(|ask| ask.head.size.get() == size).unwrap()
    }

    pub fn cosign(&self, head: &SignedHead) {
        let mut note = Note::parse(&head.note).unwrap();
        note.push(cosign(&head.head, &witness(), 1_700_000_000));
        self.say(CosignerEvent::Cosigned(SignedHead {
            head: head.head.clone(),
            note: note.to_string().into_bytes(),
        }));
    }
}

struct World {
    store: Watched,
    sequencer: Arc<Sequencer>,
    fake: Arc<Fake>,
}

fn start(store: &Watched, unwitnessed: bool) -> World {
    let given: Arc<Mutex<Option<Arc<Fake>>>> = Arc::default();
    let give = given.clone();
    let is_quorum = |head: &LogSigned<Checkpoint>| policy().check(head).is_ok();
    let start = CosignersFactory::new(is_quorum, move |opened: OpenedLog| {
        let fake = Arc::new(Fake::new(opened.events));
        *give.lock().unwrap() = Some(fake.clone());
        Ok(fake)
    });
    let options = Options { publish_unwitnessed: unwitnessed, ..quick() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, Some(start)).unwrap();
    let fake = given.lock().unwrap().take().unwrap();
    World { store: store.clone(), sequencer: sequencer.into(), fake }
}

impl World {
    /// A log whose witness has seen nothing beyond it, and has cosigned the empty tree.
    fn open() -> Self {
        let world = start(&Watched::new(), false);
        world.fake.say(CosignerEvent::MaySign);
        world.fake.cosign(&world.fake.wait_for(0));
        world.wait_published(0);
        world
    }

    fn published(&self) -> Published {
        self.sequencer.published().borrow().clone()
    }

    fn wait_published(&self, size: u64) {
        wait_until("a head is published", || {
            let published = self.published();
            published.checkpoint.size.get() == size && !published.note.is_empty()
        });
    }

    fn signed_sizes(&self) -> Vec<u64> {
        self.store.signed.lock().unwrap().iter().map(|head| head.size.get()).collect()
    }
}

fn waits_for<T>(receiver: &mut oneshot::Receiver<T>) -> bool {
    matches!(receiver.try_recv(), Err(TryRecvError::Empty))
}

#[test]
fn nothing_is_signed_or_taken_before_the_witnesses_were_heard() {
    let mut store = Watched::new();
    append(&mut store, numbered(0, 3));
    let world = start(&store, false);
    let refused = world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap_err();
    assert!(matches!(refused, SubmitError::AskingWitnesses { .. }), "{refused}");
    assert!(world.fake.asked().is_empty() && world.signed_sizes().is_empty());
    assert!(world.published().note.is_empty(), "nothing was ever witnessed, so nothing is shown");

    world.fake.say(CosignerEvent::MaySign);
    let head = world.fake.wait_for(3);
    assert_eq!(world.signed_sizes(), [3]);
    // Durable before anybody gets it.
    assert_eq!(world.store.checkpoint().unwrap(), head.note);
    assert!(world.published().note.is_empty());
    world.fake.cosign(&head);
    world.wait_published(3);
    assert!(world.published().witnessed);
    assert_eq!(results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap()), [fresh(3)]);
}

#[test]
fn whoever_submits_while_a_rollback_is_suspected_is_told() {
    let world = start(&Watched::new(), false);
    let refused = || {
        let refused = [
            world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).err(),
            world.sequencer.submit(candidates(&["a"]), Wait::Published).err(),
            world.sequencer.has_room(1).err(),
        ];
        assert!(refused.iter().all(|each| *each == refused[0]), "{refused:?}");
        refused[0].clone().unwrap()
    };
    let of = |refused: &SubmitError| match refused {
        SubmitError::AskingWitnesses { retry_after, .. } => retry_after.as_secs(),
        other => panic!("{other}"),
    };
    *world.fake.troubles.lock().unwrap() = vec![(Trouble::Clock, "a wrong clock".to_owned())];
    let starting = refused();
    assert!(starting.to_string().contains("has just started") && of(&starting) == 1, "{starting}");
    let suspicion = (Trouble::RollbackSuspected, "w claims to have cosigned 9".to_owned());
    world.fake.troubles.lock().unwrap().push(suspicion);
    let suspected = refused();
    assert_eq!(suspected.to_string(), "w claims to have cosigned 9; try again in 60 s");
    assert_eq!(of(&suspected), 60);
}

#[test]
fn a_head_is_shown_with_its_quorum_and_who_waits_is_answered_with_it() {
    let world = World::open();
    let mut published = world.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap();
    let mut witnessed = world.sequencer.submit(candidates(&["a"]), Wait::Witnessed).unwrap();
    let head = world.fake.wait_for(1);
    assert!(waits_for(&mut published) && waits_for(&mut witnessed));
    assert_eq!(world.published().checkpoint.size.get(), 0);
    world.fake.cosign(&head);
    for receiver in [published, witnessed] {
        let outcome = outcome_of(receiver);
        let shown = outcome.head.unwrap();
        assert!(shown.witnessed && shown.checkpoint.size.get() == 1);
        let signed = checkpoint::open(&shown.note, &[signer().public().clone()]).unwrap();
        assert_eq!(world.fake.policy.check(&signed).unwrap().cosignatures().len(), 1);
        assert_eq!(world.store.witnessed().unwrap(), &*shown.note, "durable before it is shown");
    }
}

#[test]
fn heads_that_reach_their_quorum_late_are_shown_in_order() {
    let world = World::open();
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    let first = world.fake.wait_for(1);
    let mut waiting = world.sequencer.submit(candidates(&["b"]), Wait::Witnessed).unwrap();
    // For one round, the first head keeps the second from being signed; then it is overdue, and reported.
    let second = world.fake.wait_for(2);
    assert!(world.sequencer.fault().unwrap().contains("too few witnesses cosign: expected w;"));
    assert!(waits_for(&mut waiting));
    world.fake.cosign(&first);
    world.wait_published(1);
    assert!(waits_for(&mut waiting), "the head that came late has only the first");
    world.fake.cosign(&second);
    assert_eq!(outcome_of(waiting).head.unwrap().checkpoint.size.get(), 2);
    wait_until("the fault is gone", || world.sequencer.fault().is_none());
    // Later still, the first head again: nobody is shown a smaller tree.
    let before = world.published().at;
    world.fake.cosign(&first);
    results(world.sequencer.submit(candidates(&["c"]), Wait::Sequenced).unwrap());
    let third = world.fake.wait_for(3);
    assert_eq!((world.published().checkpoint.size.get(), world.published().at), (2, before));
    world.fake.cosign(&third);
    world.wait_published(3);
    assert_eq!(world.signed_sizes(), [0, 1, 2, 3]);
}

#[test]
fn a_quorum_that_comes_late_for_an_older_head_does_not_end_the_fault() {
    let world = World::open();
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    let first = world.fake.wait_for(1);
    results(world.sequencer.submit(candidates(&["b"]), Wait::Sequenced).unwrap());
    let second = world.fake.wait_for(2);
    wait_until("the second one is overdue, too", || {
        world.sequencer.fault().is_some_and(|fault| fault.contains("no tree head above size 0"))
    });
    world.fake.cosign(&first);
    world.wait_published(1);
    assert!(world.sequencer.fault().is_some(), "the newest one still lacks its quorum");
    world.fake.cosign(&second);
    wait_until("the fault is gone", || world.sequencer.fault().is_none());
}

#[test]
fn a_start_that_waits_for_its_witnesses_is_told() {
    let world = start(&Watched::new(), false);
    assert!(world.sequencer.fault().is_none());
    wait_until("it is told", || world.sequencer.fault().is_some());
    let fault = world.sequencer.fault().unwrap();
    assert!(
        fault.contains("asks its witnesses what they saw last, and too few have answered: expected w"),
        "{fault}"
    );
    world.fake.say(CosignerEvent::MaySign);
    wait_until("the fault is gone", || world.sequencer.fault().is_none());
}

#[test]
fn more_cosignatures_on_the_head_that_is_shown_are_shown_too() {
    let world = World::open();
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    let head = world.fake.wait_for(1);
    world.fake.cosign(&head);
    world.wait_published(1);
    let mut note = Note::parse(&world.published().note).unwrap();
    note.push(cosign(&head.head, &witness(), 1_700_000_600));
    let more = SignedHead { head: head.head, note: note.to_string().into_bytes() };
    world.fake.say(CosignerEvent::Cosigned(more.clone()));
    wait_until("it is shown", || *world.published().note == *more.note);
}

#[test]
fn every_fault_on_the_way_to_a_witnessed_head_passes() {
    for point in FaultPoint::ALL {
        for fault in [StoreFault::Failed, StoreFault::FailedButPersisted] {
            let world = World::open();
            if point == FaultPoint::Reload {
                // A reload comes only after another failure.
                world.store.store.inject(FaultPoint::Witnessed, StoreFault::Failed);
            }
            world.store.store.inject(point, fault);
            let mut took =
                results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap()).remove(0);
            while took.is_err() {
                took =
                    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap()).remove(0);
            }
            world.fake.cosign(&world.fake.wait_for(1));
            world.wait_published(1);
            wait_until("the fault is gone", || world.sequencer.fault().is_none());
            assert!(!world.store.store.has_pending_fault(), "{point:?}, {fault:?}");
            let published = world.published();
            assert!(published.witnessed && world.store.witnessed().unwrap() == *published.note);
            assert_eq!(world.store.durable(), [b"a"], "{point:?}, {fault:?}");
        }
    }
}

#[test]
fn what_had_its_quorum_is_shown_after_a_restart_before_anybody_is_asked() {
    let world = World::open();
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    world.fake.cosign(&world.fake.wait_for(1));
    world.wait_published(1);
    let (note, store) = (world.published().note, world.store.clone());
    world.sequencer.shut_down().unwrap();

    let again = start(&store, false);
    assert_eq!((again.published().note, again.published().witnessed), (note.clone(), true));
    drop(again);

    // Damaged, without cosignatures, or of a tree that the log does not have: it counts as lost.
    let bare = store.checkpoint().unwrap();
    let foreign = Checkpoint::new(KeyName::new(ORIGIN).unwrap(), TreeSize::new(1).unwrap(), Hash::EMPTY_ROOT);
    let mut forked = foreign.sign(&signer());
    forked.push(cosign(&foreign, &witness(), 7));
    let larger = Checkpoint::new(KeyName::new(ORIGIN).unwrap(), TreeSize::new(9).unwrap(), Hash::EMPTY_ROOT);
    let mut too_large = larger.sign(&signer());
    too_large.push(cosign(&larger, &witness(), 7));
    for bad in [&note[1..], b"", &bare, forked.to_string().as_bytes(), too_large.to_string().as_bytes()] {
        let mut other = store.clone();
        other.replace_witnessed(bad).unwrap();
        let again = start(&store, false);
        assert!(again.published().note.is_empty() && !again.published().witnessed);
        // When asked again, the witness cosigns the head that was signed before the restart; no new head is signed.
        again.fake.say(CosignerEvent::MaySign);
        let head = again.fake.wait_for(1);
        assert_eq!(head.note, bare);
        again.fake.cosign(&head);
        again.wait_published(1);
    }
}

#[test]
fn a_log_that_was_rolled_back_signs_and_takes_nothing_and_goes_on_to_be_read() {
    let world = World::open();
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    world.fake.cosign(&world.fake.wait_for(1));
    world.wait_published(1);
    let waiting = world.sequencer.submit(candidates(&["b"]), Wait::Published).unwrap();
    world.fake.wait_for(2);
    world.fake.say(CosignerEvent::MustNotSign("a witness has seen more".to_owned()));
    assert!(outcome_of(waiting).head.is_none());
    wait_until("it refuses", || {
        matches!(world.sequencer.submit(candidates(&["c"]), Wait::Sequenced), Err(SubmitError::RolledBack(_)))
    });
    let signed = world.signed_sizes();
    assert_eq!(world.sequencer.fault().unwrap(), "a witness has seen more", "the worst comes first");
    // It stays so, whatever the log hears later: a signed but unpublished head may belong to the second history.
    world.fake.say(CosignerEvent::MaySign);
    world.fake.cosign(&world.fake.wait_for(2));
    std::thread::sleep(Duration::from_millis(50));
    assert!(world.sequencer.submit(candidates(&["c"]), Wait::Sequenced).is_err());
    assert_eq!((world.signed_sizes(), world.published().checkpoint.size.get()), (signed, 1));
    assert_eq!(world.sequencer.reader().size().get(), 2);
}

#[test]
fn without_a_quorum_heads_are_shown_only_where_the_settings_say_so_and_it_is_told() {
    let world = start(&Watched::new(), true);
    world.fake.say(CosignerEvent::MaySign);
    world.fake.cosign(&world.fake.wait_for(0));
    let published = world.sequencer.submit(candidates(&["a"]), Wait::Published).unwrap();
    let mut witnessed = world.sequencer.submit(candidates(&["a"]), Wait::Witnessed).unwrap();
    let shown = outcome_of(published).head.unwrap();
    assert!(!shown.witnessed && shown.checkpoint.size.get() == 1);
    let head = world.fake.wait_for(1);
    assert_eq!(*shown.note, *head.note, "as it was signed");
    assert!(world.sequencer.fault().unwrap().contains("a split view would go unnoticed"));
    assert!(waits_for(&mut witnessed), "who asked for a quorum waits for one");
    world.fake.cosign(&head);
    assert!(outcome_of(witnessed).head.unwrap().witnessed);
    wait_until("the fault is gone", || world.sequencer.fault().is_none());
}

#[test]
fn where_heads_are_shown_without_a_quorum_none_is_smaller_than_one_before() {
    let world = start(&Watched::new(), true);
    world.fake.say(CosignerEvent::MaySign);
    world.fake.wait_for(0);
    let mut seen = world.sequencer.published();
    let watching = std::thread::spawn(move || {
        let mut sizes = vec![seen.borrow_and_update().checkpoint.size.get()];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while runtime.block_on(seen.changed()).is_ok() {
            sizes.push(seen.borrow_and_update().checkpoint.size.get());
        }
        sizes
    });
    results(world.sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap());
    let first = world.fake.wait_for(1);
    let mut witnessed = world.sequencer.submit(candidates(&["a"]), Wait::Witnessed).unwrap();
    results(world.sequencer.submit(candidates(&["b"]), Wait::Sequenced).unwrap());
    world.wait_published(2);
    assert!(!world.published().witnessed && waits_for(&mut witnessed));
    // The first head gets its quorum late, and the disk fails meanwhile.
    world.store.store.inject(FaultPoint::Witnessed, StoreFault::Failed);
    world.fake.cosign(&first);
    let answered = outcome_of(witnessed).head.unwrap();
    assert_eq!((answered.checkpoint.size.get(), answered.witnessed), (1, true), "with the head that has one");
    assert_eq!(world.published().checkpoint.size.get(), 2);
    let kept = world.store.witnessed().unwrap();
    assert_eq!(kept, *answered.note);

    // A restart shows the head that was shown, not the one with a quorum.
    let store = world.store.clone();
    world.sequencer.shut_down().unwrap();
    drop(world);
    let sizes = watching.join().unwrap();
    assert!(sizes.is_sorted(), "{sizes:?}");
    let again = start(&store, true);
    assert_eq!((again.published().checkpoint.size.get(), again.published().witnessed), (2, false));
    drop(again);
    // A log that shows nothing without a quorum shows the older one.
    let strict = start(&store, false);
    assert_eq!((strict.published().checkpoint.size.get(), strict.published().witnessed), (1, true));
}

#[test]
fn a_log_that_stops_waits_for_its_last_head() {
    let world = World::open();
    let waiting = world.sequencer.submit(candidates(&["a"]), Wait::Witnessed).unwrap();
    let (sequencer, fake) = (world.sequencer.clone(), world.fake.clone());
    let stopping = std::thread::spawn(move || sequencer.shut_down());
    fake.cosign(&fake.wait_for(1));
    stopping.join().unwrap().unwrap();
    assert_eq!(outcome_of(waiting).head.unwrap().checkpoint.size.get(), 1);
    assert_eq!(world.published().checkpoint.size.get(), 1);
}
