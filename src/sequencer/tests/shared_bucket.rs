//! Servers of one witnessed log, each over its own store on one bucket.

use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::witnessed::{Fake, policy, witness};
use super::*;
use crate::bucket::tests::memory::MemoryObjects;
use crate::checkpoint::LogSigned;
use crate::checkpoint::cosignature::cosign;
use crate::note::Note;
use crate::sequencer::{CosignerEvent, Role, Trouble};
use crate::store::SignedHead;
use crate::store::bucket::{BucketStore, HeadKind};
use crate::store::tests::fixtures::{numbered, open_bucket_with};
use crate::threads;

struct World {
    objects: MemoryObjects,
    dirs: Vec<TempDir>,
    /// True while no server can ask its witnesses.
    no_threads: Arc<AtomicBool>,
}

/// A server, and what its terms asked.
struct Server {
    sequencer: Arc<Sequencer>,
    terms: Arc<Mutex<Vec<Arc<Fake>>>>,
}

/// A head with the witness's signature of this time.
fn cosigned(head: &SignedHead, time: u64) -> SignedHead {
    let mut note = Note::parse(&head.note).unwrap();
    note.push(cosign(&head.head, &witness(), time));
    SignedHead { head: head.head.clone(), note: note.to_string().into_bytes() }
}

fn signed_head(store: &BucketStore) -> SignedHead {
    let note = signed(&store.edge());
    let head = checkpoint::open(&note, &[signer().public().clone()]).unwrap().get().clone();
    SignedHead { head, note }
}

impl World {
    /// A log as `init` leaves it.
    fn new() -> Self {
        let objects = MemoryObjects::default();
        objects.set(HeadKind::Signed.as_str(), &signed(&RightEdge::default()));
        Self { objects, dirs: Vec::new(), no_threads: Arc::default() }
    }

    /// A store that believes to be the only one, or knows whose turn it is.
    fn store(&mut self, lease_seconds: Option<u32>) -> BucketStore {
        let dir = TempDir::new().unwrap();
        let store = open_bucket_with(dir.path(), &self.objects, |options| {
            (options.has_witnesses, options.lease_seconds) = (true, lease_seconds);
            options.open.log_key = Some(signer().public().clone());
        });
        self.dirs.push(dir);
        store.unwrap()
    }

    fn server(&mut self, lease_seconds: Option<u32>) -> Server {
        let store = self.store(lease_seconds);
        let terms: Arc<Mutex<Vec<Arc<Fake>>>> = Arc::default();
        let (given, no_threads) = (terms.clone(), self.no_threads.clone());
        let is_quorum = |head: &LogSigned<Checkpoint>| policy().check(head).is_ok();
        let factory = CosignersFactory::new(is_quorum, move |opened| {
            if no_threads.load(Ordering::Relaxed) {
                threads::limit::with(0, || threads::start("feeder", || ()))?;
            }
            let fake = Arc::new(Fake::new(opened.events));
            given.lock().unwrap().push(fake.clone());
            Ok(fake)
        });
        let sequencer = Sequencer::start(Box::new(store), signer(), &quick(), Some(factory)).unwrap();
        Server { sequencer: sequencer.into(), terms }
    }
}

/// What another server does that appends: a batch, and its head with the quorum.
fn append_and_publish(store: &mut BucketStore, entries: Vec<Vec<u8>>) {
    store.follow().unwrap();
    append(store, entries);
    let (old, head) = (store.checkpoint(), signed_head(store));
    store.replace_checkpoint(old.as_deref(), &head.note).unwrap();
    store.replace_witnessed(&cosigned(&head, 1_700_000_000).note).unwrap();
}

impl Server {
    fn term(&self, number: usize) -> Arc<Fake> {
        wait_until("a term begins", || self.terms.lock().unwrap().len() >= number);
        self.terms.lock().unwrap()[number - 1].clone()
    }

    /// The witnesses let it sign, and cosign its head of this size.
    fn open(&self, term: usize, size: u64) {
        let fake = self.term(term);
        fake.say(CosignerEvent::MaySign);
        fake.cosign(&fake.wait_for(size));
        self.wait_published(size);
    }

    fn wait_published(&self, size: u64) {
        wait_until("a head is published", || {
            let published = self.sequencer.published().borrow().clone();
            published.checkpoint.size.get() == size && published.witnessed
        });
    }

    fn add(&self, entry: &str) -> Result<Sequenced, SubmitError> {
        let sent = self.sequencer.submit(candidates(&[entry]), Wait::Sequenced)?;
        results(sent).remove(0)
    }
}

#[test]
fn a_standby_shows_no_head_without_its_quorum_and_those_that_are_renewed() {
    let mut world = World::new();
    let mut holder = world.store(Some(60));
    append(&mut holder, numbered(0, 3));
    let (old, head) = (holder.checkpoint(), signed_head(&holder));
    holder.replace_checkpoint(old.as_deref(), &head.note).unwrap();
    // As a log without witnesses left it.
    holder.replace_witnessed(&head.note).unwrap();
    let standby = world.server(Some(60));
    wait_until("it follows", || standby.sequencer.reader().size().get() == 3);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(standby.sequencer.figures().role, Role::Standby);
    assert!(standby.sequencer.published().borrow().note.is_empty(), "nobody cosigned it");
    for time in [1_700_000_000, 1_700_000_600] {
        let head = cosigned(&head, time);
        holder.replace_witnessed(&head.note).unwrap();
        wait_until("it is shown", || *standby.sequencer.published().borrow().note == *head.note);
    }
    assert!(standby.sequencer.published().borrow().witnessed);
}

#[test]
fn whoever_is_overtaken_asks_the_witnesses_again() {
    let mut world = World::new();
    let mut other = world.store(None);
    let server = world.server(None);
    server.open(1, 0);
    assert_eq!(server.add("one").unwrap().index.get(), 0);
    // A head waits for its quorum. Another server appends, publishes a larger one, and is gone.
    let waiting = server.term(1).wait_for(1);
    append_and_publish(&mut other, numbered(0, 4));
    server.term(1).cosign(&waiting);
    server.open(2, 5);
    append_and_publish(&mut other, numbered(4, 1));
    let refused = server.add("two");
    assert!(matches!(refused, Err(SubmitError::AskingWitnesses { .. })), "{refused:?}");
    assert!(
        matches!(server.add("three"), Err(SubmitError::AskingWitnesses { .. })),
        "before they were heard"
    );
    server.open(3, 6);
    assert_eq!(server.add("two").unwrap().index.get(), 6);
    server.term(3).cosign(&server.term(3).wait_for(7));
    server.wait_published(7);
    assert_eq!(server.sequencer.faults().into_keys().collect::<Vec<_>>(), []);
}

#[test]
fn a_witness_that_saw_another_servers_head_proves_no_rollback() {
    let mut world = World::new();
    let mut other = world.store(None);
    let server = world.server(None);
    // The server took over; the other one finished what it had begun, and the witnesses saw it.
    append_and_publish(&mut other, numbered(0, 4));
    server.term(1).say(CosignerEvent::MustNotSign("they saw size 4".to_owned()));
    server.open(2, 4);
    assert_eq!(server.add("one").unwrap().index.get(), 4);
    server.term(2).cosign(&server.term(2).wait_for(5));
    server.wait_published(5);
    // What nobody has in the bucket was lost, also if this server appended meanwhile.
    server.term(2).say(CosignerEvent::MustNotSign("they saw size 9".to_owned()));
    server.term(3).say(CosignerEvent::MustNotSign("they saw size 9".to_owned()));
    wait_until("it stops", || server.sequencer.faults().contains_key(&Trouble::Rollback));
    assert!(matches!(server.add("two"), Err(SubmitError::RolledBack(_))));
    assert_eq!(server.terms.lock().unwrap().len(), 3);
}

#[test]
fn a_server_finds_what_another_one_appended_late_though_nothing_comes() {
    let mut world = World::new();
    let mut other = world.store(None);
    let server = world.server(None);
    // While the server asks the witnesses: a witness that shows no head reports only a larger size.
    let asked = server.term(1);
    append_and_publish(&mut other, numbered(0, 4));
    wait_until("it follows", || server.sequencer.reader().size().get() == 4);
    asked.say(CosignerEvent::MaySign);
    asked.cosign(&asked.wait_for(4));
    server.wait_published(4);
    // While the server appends: the other server's entries are durable, but it ends before it signs them.
    other.follow().unwrap();
    append(&mut other, numbered(4, 1));
    server.open(2, 5);
    assert_eq!(server.sequencer.faults().into_keys().collect::<Vec<_>>(), []);
}

#[test]
fn a_standby_without_a_thread_for_its_witnesses_takes_over_once_it_has_one() {
    let mut world = World::new();
    let holder = world.store(Some(3));
    let standby = world.server(Some(3));
    assert_eq!(standby.sequencer.figures().role, Role::Standby);
    world.no_threads.store(true, Ordering::Relaxed);
    // It gives the lease up.
    drop(holder);
    wait_until("it says why", || {
        let faults = standby.sequencer.faults();
        faults.get(&Trouble::Storage).is_some_and(|why| why.contains("could not start the thread feeder"))
    });
    assert_eq!(standby.sequencer.figures().role, Role::Standby);
    assert!(standby.add("one").is_err(), "its witnesses were not asked");
    world.no_threads.store(false, Ordering::Relaxed);
    standby.open(1, 0);
    assert_eq!(standby.add("one").unwrap().index.get(), 0);
    assert_eq!(standby.sequencer.figures().role, Role::Holder);
}

#[test]
fn a_log_that_can_not_start_its_threads_does_not_start() {
    let mut world = World::new();
    world.no_threads.store(true, Ordering::Relaxed);
    let store = world.store(None);
    let fails = |_: OpenedLog| Err(threads::limit::with(0, || threads::start("feeder", || ())).unwrap_err());
    let factory = CosignersFactory::new(|_: &LogSigned<Checkpoint>| true, fails);
    let started = Sequencer::start(Box::new(store), signer(), &quick(), Some(factory)).map(drop);
    assert!(matches!(started, Err(StartError::Store(StoreError::Threads(_)))), "{started:?}");
    let store = world.store(None);
    let started =
        threads::limit::with(0, || Sequencer::start(Box::new(store), signer(), &quick(), None).map(drop));
    assert!(matches!(started, Err(StartError::Threads(_))), "{started:?}");
}
