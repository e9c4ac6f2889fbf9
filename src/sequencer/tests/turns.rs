//! Two processes that serve one log.

use super::*;
use crate::sequencer::Role;
use crate::store::Turn;

/// What both processes share: batches, heads, and whose turn it is.
#[derive(Default)]
struct Shared {
    batches: Vec<Vec<Vec<u8>>>,
    checkpoint: Option<Vec<u8>>,
    /// Every checkpoint that was ever there.
    heads: Vec<Vec<u8>>,
    holder: Option<&'static str>,
    /// Entries that another process appends right before the next batch of this one.
    intruders: Vec<Vec<u8>>,
    /// Whether the checkpoint is replaced by another process right before the next replacement.
    intrude_head: bool,
}

impl Shared {
    fn entries(&self) -> Vec<Vec<u8>> {
        self.batches.concat()
    }

    fn sign(&mut self) {
        let leaves: Vec<Hash> = self.entries().iter().map(|entry| Hash::leaf(entry)).collect();
        let note = signed(&RightEdge::default().grow(&leaves).edge);
        self.heads.push(note.clone());
        self.checkpoint = Some(note);
    }
}

/// One process's view.
#[derive(Clone)]
struct Server {
    name: &'static str,
    shared: Arc<Mutex<Shared>>,
    cache: MemoryStore,
}

impl Server {
    fn new(name: &'static str, shared: &Arc<Mutex<Shared>>) -> Self {
        Self { name, shared: shared.clone(), cache: MemoryStore::new(describe()) }
    }

    fn start(&self) -> Arc<Sequencer> {
        Sequencer::start(Box::new(self.clone()), signer(), &quick(), None).unwrap().into()
    }
}

fn overtaken() -> StoreError {
    StoreError::Overtaken { detail: "a test's other server".to_owned() }
}

impl Store for Server {
    fn reader(&self) -> Arc<dyn StoreReader> {
        self.cache.reader()
    }

    fn edge(&self) -> RightEdge {
        self.cache.edge()
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.cache.checkpoint()
    }

    fn stage(&mut self, batch: &Batch) -> Result<Staged, StoreError> {
        let mut shared = self.shared.lock().unwrap();
        let intruders = std::mem::take(&mut shared.intruders);
        if !intruders.is_empty() {
            shared.batches.push(intruders);
        }
        if batch.first.get() != shared.entries().len() as u64 {
            return Err(overtaken());
        }
        shared.batches.push(batch.entries.clone());
        self.cache.stage(batch)
    }

    fn apply(&mut self, batch: &Batch, staged: Staged) -> Result<(), StoreError> {
        self.cache.apply(batch, staged)
    }

    fn replace_checkpoint(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        let mut shared = self.shared.lock().unwrap();
        if std::mem::take(&mut shared.intrude_head) {
            shared.batches.push(vec![b"by another one".to_vec()]);
            shared.sign();
        }
        if shared.checkpoint.as_deref() != old {
            return Err(overtaken());
        }
        shared.checkpoint = Some(new.to_vec());
        shared.heads.push(new.to_vec());
        self.cache.replace_checkpoint(old, new)
    }

    fn witnessed(&self) -> Option<Vec<u8>> {
        None
    }

    fn replace_witnessed(&mut self, _: &[u8]) -> Result<(), StoreError> {
        unreachable!("this log has no witnesses")
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        self.cache.reload()?;
        self.follow()
    }

    fn may_be_overtaken(&self) -> bool {
        true
    }

    fn follow(&mut self) -> Result<(), StoreError> {
        let (checkpoint, entries) = {
            let shared = self.shared.lock().unwrap();
            (shared.checkpoint.clone(), shared.entries())
        };
        let have = usize::try_from(self.cache.edge().size().get()).unwrap();
        if entries.len() > have {
            append(&mut self.cache, entries[have..].to_vec());
        }
        if let Some(new) = checkpoint.filter(|new| self.cache.checkpoint().as_ref() != Some(new)) {
            self.cache.replace_checkpoint(self.cache.checkpoint().as_deref(), &new)?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<Turn, StoreError> {
        let mut shared = self.shared.lock().unwrap();
        let holder = *shared.holder.get_or_insert(self.name);
        if holder == self.name {
            return Ok(Turn::Hold);
        }
        let again = Instant::now() + Duration::from_millis(1);
        Ok(Turn::Stand { holder: Some(format!("https://{holder}.example")), again })
    }
}

fn add(sequencer: &Sequencer, entries: &[&str]) -> Results {
    results(sequencer.submit(candidates(entries), Wait::Published).unwrap())
}

fn role(sequencer: &Sequencer) -> Role {
    sequencer.figures().role
}

/// Checks that both servers' heads were all on the one chain, and never went back.
fn check(shared: &Mutex<Shared>) {
    let shared = shared.lock().unwrap();
    let entries = shared.entries();
    assert_eq!(entries.iter().collect::<HashSet<_>>().len(), entries.len(), "no entry is there twice");
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let mut last = 0;
    for note in &shared.heads {
        let head = checkpoint::open(note, &[signer().public().clone()]).unwrap().get().clone();
        let size = usize::try_from(head.size.get()).unwrap();
        assert!(size >= last, "from {last} to {size}");
        assert_eq!(head.root, reference::root(&leaves[..size]));
        last = size;
    }
}

#[test]
fn one_appends_while_the_other_follows_and_takes_over_with_everything() {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let [a, b] = ["a", "b"].map(|name| Server::new(name, &shared).start());
    assert_eq!((role(&a), role(&b)), (Role::Holder, Role::Standby));
    assert_eq!(add(&a, &["one claim:k:x", "two"]), [fresh(0), fresh(1)]);
    wait_until("the other one shows it", || b.published_size().get() == 2);
    assert_eq!(b.published().borrow().note, a.published().borrow().note, "the same head, not one of its own");
    let Err(refused) = b.submit(candidates(&["three"]), Wait::Sequenced) else { panic!("taken") };
    assert!(
        refused.to_string().contains("another one appends to the log, at https://a.example"),
        "{refused}"
    );
    assert!(!b.figures().may_sign);
    // The first one loses its turn, and notices by itself.
    shared.lock().unwrap().holder = Some("b");
    wait_until("they have changed places", || (role(&a), role(&b)) == (Role::Standby, Role::Holder));
    assert!(matches!(a.submit(candidates(&["three"]), Wait::Sequenced), Err(SubmitError::Standby { .. })));
    // What the first one took counts, claims included.
    assert_eq!(
        add(&b, &["two", "three", "four claim:k:y"]),
        [duplicate(1), fresh(2), Err(SubmitError::SequenceTaken)]
    );
    wait_until("the first one follows", || a.published_size().get() == 3);
    assert_eq!((a.faults().len(), b.faults().len()), (0, 0));
    check(&shared);
    [a, b].iter().for_each(|server| server.shut_down().unwrap());
    check(&shared);
}

#[test]
fn an_overtaken_batch_is_planned_anew_against_what_the_other_one_appended() {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let server = Server::new("a", &shared).start();
    assert_eq!(add(&server, &["one"]), [fresh(0)]);
    let intruders = ["two", "other claim:k:x", "three"].map(|entry| entry.as_bytes().to_vec());
    shared.lock().unwrap().intruders = intruders.to_vec();
    assert_eq!(
        add(&server, &["two", "mine", "mine too claim:k:y", "mine as well claim:k:x"]),
        [duplicate(1), fresh(4), Err(SubmitError::SequenceTaken), same_as(2, "other claim:k:x")]
    );
    assert_eq!(server.fault(), None, "that is no fault");
    check(&shared);
}

#[test]
fn an_overtaken_head_is_followed_by_one_over_everything() {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let server = Server::new("a", &shared).start();
    assert_eq!(add(&server, &["one"]), [fresh(0)]);
    shared.lock().unwrap().intrude_head = true;
    assert_eq!(add(&server, &["two"]), [fresh(1)]);
    wait_until("all is published", || server.published_size().get() == 3);
    assert_eq!(server.fault(), None);
    check(&shared);
}

#[test]
fn a_server_that_lost_its_turn_refuses_what_it_has_not_appended() {
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let server = Server::new("a", &shared).start();
    assert_eq!(add(&server, &["one"]), [fresh(0)]);
    // As after a pause: nothing was noticed before the entry came.
    {
        let mut shared = shared.lock().unwrap();
        shared.batches.push(vec![b"two".to_vec()]);
        shared.holder = Some("b");
    }
    let answer = server.submit(candidates(&["three"]), Wait::Sequenced).map(results);
    let refused = answer.map_or_else(Err, |results| results[0].clone().map(drop));
    assert!(matches!(refused, Err(SubmitError::Standby { .. })), "{refused:?}");
    wait_until("it follows", || server.reader().size().get() == 2);
    assert_eq!(shared.lock().unwrap().entries(), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_log_without_company_waits_with_small_batches_as_long_as_it_was_told() {
    let store = Watched::new();
    let options = Options { linger: Duration::from_millis(300), ..quick() };
    let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &options, None).unwrap();
    let begin = Instant::now();
    assert_eq!(results(sequencer.submit(candidates(&["first"]), Wait::Sequenced).unwrap()), [fresh(0)]);
    let many: Vec<_> =
        (0..20).map(|i| sequencer.submit(candidates(&[&format!("{i}")]), Wait::Sequenced).unwrap()).collect();
    let answers: Vec<Results> = many.into_iter().map(results).collect();
    assert!(begin.elapsed() >= Duration::from_millis(300), "they waited for company");
    assert_eq!(answers.concat().len(), 20);
    // A large batch does not wait.
    let full: Vec<Candidate> =
        (0..MAX_BATCH_ENTRIES).map(|i| candidate(format!("full {i}").as_bytes())).collect();
    let options = Options { linger: Duration::from_secs(3_600), ..quick() };
    drop(sequencer);
    let sequencer = Sequencer::start(Box::new(store), signer(), &options, None).unwrap();
    assert_eq!(results(sequencer.submit(candidates(&["x"]), Wait::Sequenced).unwrap()).len(), 1);
    assert_eq!(results(sequencer.submit(full, Wait::Sequenced).unwrap()).len(), MAX_BATCH_ENTRIES);
    // Nor does a log that stops.
    let last = sequencer.submit(candidates(&["last"]), Wait::Sequenced).unwrap();
    sequencer.shut_down().unwrap();
    assert_eq!(results(last).len(), 1);
}

#[test]
fn a_head_lingers_unless_many_wait_for_it() {
    let options = Options { linger: Duration::from_secs(3_600), ..quick() };
    let sequencer = Sequencer::start(Box::new(Watched::new()), signer(), &options, None).unwrap();
    let mut first = sequencer.submit(candidates(&["first"]), Wait::Published).unwrap();
    wait_until("it is durable", || sequencer.figures().appended == 1);
    std::thread::sleep(Duration::from_millis(20));
    assert!(first.try_recv().is_err() && sequencer.published_size() == TreeSize::ZERO);
    let many = (0..NO_LINGER_ENTRIES).map(|at| candidate(at.to_string().as_bytes())).collect();
    let many = sequencer.submit(many, Wait::Published).unwrap();
    assert_eq!((results(many).len(), results(first)), (NO_LINGER_ENTRIES, vec![fresh(0)]));
    // Nobody waits for one over these.
    let size = sequencer.published_size();
    let more = (0..NO_LINGER_ENTRIES).map(|at| candidate(format!("more {at}").as_bytes())).collect();
    assert_eq!(results(sequencer.submit(more, Wait::Sequenced).unwrap()).len(), NO_LINGER_ENTRIES);
    assert_eq!(sequencer.published_size(), size);
    sequencer.shut_down().unwrap();
    assert_eq!(sequencer.published_size().get(), 1 + 2 * NO_LINGER_ENTRIES as u64);
}
