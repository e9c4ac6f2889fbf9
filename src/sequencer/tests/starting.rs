//! Starting on the state that an earlier process left.

use super::*;

fn start(store: MemoryStore) -> Result<Sequencer, StartError> {
    Sequencer::start(Box::new(store), signer(), &quick(), None)
}

fn stored(entries: Vec<Vec<u8>>) -> MemoryStore {
    let mut store = MemoryStore::new(describe());
    append(&mut store, entries);
    store
}

#[test]
fn a_start_publishes_what_is_durable_and_signs_nothing_twice() {
    let mut store = Watched { store: stored(numbered(0, 5)), ..Watched::new() };
    for (appended, signatures) in [(0, 1), (0, 1), (2, 2), (0, 2)] {
        // As if a process ended before it could sign.
        if appended > 0 {
            append(&mut store, numbered(5, appended));
        }
        let sequencer = Sequencer::start(Box::new(store.clone()), signer(), &quick(), None).unwrap();
        let published = sequencer.published().borrow().clone();
        assert_eq!(published.checkpoint.size, store.edge().size());
        assert_eq!(published.checkpoint.root, store.edge().root());
        assert_eq!(store.checkpoint().unwrap(), *published.note);
        sequencer.shut_down().unwrap();
        assert_eq!(store.signed.lock().unwrap().len(), signatures);
    }
}

#[test]
fn an_empty_log_publishes_the_empty_tree() {
    let sequencer = start(MemoryStore::new(describe())).unwrap();
    let published = sequencer.published().borrow().clone();
    assert_eq!((published.checkpoint.size, published.checkpoint.root), (TreeSize::ZERO, Hash::EMPTY_ROOT));
    assert!(checkpoint::open(&published.note, &[signer().public().clone()]).is_ok());
    sequencer.shut_down().unwrap();
}

#[test]
fn a_checkpoint_of_another_key_or_origin_is_refused() {
    let other_key = NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[8; 32]);
    let other_origin =
        NoteSigner::from_seed(KeyName::new("example.com/other").unwrap(), SignatureType::Ed25519, &[7; 32]);
    for stranger in [other_key, other_origin] {
        let mut store = stored(numbered(0, 5));
        let edge = store.edge();
        let head = Checkpoint::new(stranger.public().name().clone(), edge.size(), edge.root());
        let note = head.sign(&stranger).to_string().into_bytes();
        store.replace_checkpoint(None, &note).unwrap();
        let refused = start(store.clone()).err().unwrap();
        assert!(matches!(refused, StartError::Checkpoint(_)), "{refused}");
        assert!(refused.to_string().ends_with("is log.key the key of this directory?"), "{refused}");
        assert_eq!(store.checkpoint(), Some(note), "and is still there");
    }
}

#[test]
fn a_store_that_lost_or_changed_what_was_signed_is_refused() {
    let of = |entries: Vec<Vec<u8>>| signed(&batch_of(&RightEdge::default(), entries).growth.edge);
    let mut short = stored(numbered(0, 5));
    short.replace_checkpoint(None, &of(numbered(0, 6))).unwrap();
    let refused = start(short).err().unwrap();
    let StartError::Store(StoreError::JournalShort { signed, seen }) = refused else { panic!("{refused}") };
    assert_eq!((signed.get(), seen.get()), (6, 5));
    for size in [1, 4, 5] {
        let mut forked = stored(numbered(0, 5));
        forked.replace_checkpoint(None, &of(numbered(1, size))).unwrap();
        let refused = start(forked).err().unwrap();
        assert!(matches!(refused, StartError::Store(StoreError::JournalForked { .. })), "{refused}");
    }
    let mut sound = stored(numbered(0, 5));
    sound.replace_checkpoint(None, &of(numbered(0, 4))).unwrap();
    start(sound).unwrap().shut_down().unwrap();
}

#[test]
fn a_log_whose_checkpoint_was_replaced_signs_nothing_until_it_is_its_own_again() {
    let dir = TempDir::new().unwrap();
    let store = DiskStore::open(dir.path(), disk_options()).unwrap();
    let sequencer = Sequencer::start(Box::new(store), signer(), &quick(), None).unwrap();
    assert_eq!(results(sequencer.submit(candidates(&["a"]), Wait::Sequenced).unwrap()), [fresh(0)]);
    wait_until("a is published", || sequencer.published().borrow().checkpoint.size.get() == 1);
    let path = Layout::new(dir.path()).checkpoint();
    let own = std::fs::read(&path).unwrap();
    // Signed by this log's key, of another history: as after a partial restore of a backup.
    let forked = signed(&batch_of(&RightEdge::default(), numbered(0, 1)).growth.edge);
    std::fs::write(&path, &forked).unwrap();
    assert_eq!(results(sequencer.submit(candidates(&["b"]), Wait::Sequenced).unwrap()), [fresh(1)]);
    let fault = || sequencer.fault().unwrap_or_default();
    wait_until("it is noticed", || fault().contains("the journal is not what was signed"));
    let refused = results(sequencer.submit(candidates(&["c"]), Wait::Sequenced).unwrap());
    assert!(matches!(&refused[0], Err(SubmitError::Storage(_))), "{refused:?}");
    assert_eq!(sequencer.published().borrow().checkpoint.size.get(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), forked, "it is not overwritten either");
    std::fs::write(&path, own).unwrap();
    wait_until("it goes on by itself", || sequencer.published().borrow().checkpoint.size.get() == 2);
    wait_until("the fault is over", || sequencer.fault().is_none());
    assert_eq!(
        results(sequencer.submit(candidates(&["c", "b", "a"]), Wait::Sequenced).unwrap()),
        [fresh(2), duplicate(1), duplicate(0)]
    );
    sequencer.shut_down().unwrap();
}
