use std::sync::Arc;

use crate::bucket::Operation;
use crate::bucket::tests::memory::{Fault, Lie, MemoryObjects};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize, reference};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::store::bucket::batch_object::{HEAD_BYTES, encode};
use crate::store::bucket::layout::{self, BATCHES};
use crate::store::bucket::{Appended, Chain, ChainError, ChainOptions, HeadKind, HeadReplaced, WriterId};
use crate::store::tests::fixtures::{ORIGIN, batch_of, describe, numbered, signed, signer};

const PUBLISHED: HeadKind = HeadKind::Published;

fn edge(leaves: usize) -> RightEdge {
    let hashes: Vec<Hash> = numbered(0, leaves).iter().map(|entry| Hash::leaf(entry)).collect();
    RightEdge::default().grow(&hashes).edge
}

/// The root of the log of numbered entries at a size.
fn root_at(size: TreeSize) -> Result<Hash, ChainError> {
    let entries = numbered(0, usize::try_from(size.get()).unwrap());
    Ok(reference::root(&entries.iter().map(|entry| Hash::leaf(entry)).collect::<Vec<_>>()))
}

fn no_root(size: TreeSize) -> Result<Hash, ChainError> {
    panic!("no root should be needed, but one was at {size}")
}

fn options(objects: &MemoryObjects, writer: u8) -> ChainOptions {
    let key = signer().public().clone();
    let origin = key.name().into();
    ChainOptions::new(Arc::new(objects.clone()), origin, vec![key], WriterId::from_bytes([writer; 16]))
}

fn open(objects: &MemoryObjects, writer: u8) -> Chain {
    Chain::open(options(objects, writer), RightEdge::default(), no_root).unwrap()
}

fn append(chain: &mut Chain, count: usize) -> Result<Appended, ChainError> {
    let first = usize::try_from(chain.edge().size().get()).unwrap();
    let batch = batch_of(chain.edge(), numbered(first, count));
    chain.append(&batch)
}

fn follow(chain: &mut Chain) -> usize {
    std::iter::from_fn(|| chain.next_batch().unwrap()).count()
}

/// A bucket after `init`.
fn bucket() -> MemoryObjects {
    let objects = MemoryObjects::default();
    let mut chain = open(&objects, 0);
    assert_eq!(chain.replace_head(PUBLISHED, &signed(&edge(0)), root_at).unwrap(), HeadReplaced::Done);
    objects
}

/// A bucket with batches of these numbers of entries, and a head over all of them.
fn filled(counts: &[usize]) -> MemoryObjects {
    let objects = bucket();
    let mut chain = open(&objects, 0);
    for count in counts {
        assert_eq!(append(&mut chain, *count).unwrap(), Appended::Done);
    }
    let note = signed(chain.edge());
    chain.replace_head(PUBLISHED, &note, root_at).unwrap();
    objects
}

fn key(first: u64) -> String {
    layout::batch(LeafIndex::new(first).unwrap())
}

#[test]
fn a_chain_grows_and_others_follow_it() {
    let objects = bucket();
    let (mut first, mut second) = (open(&objects, 1), open(&objects, 2));
    for count in [3, 7, 1] {
        assert_eq!(append(&mut first, count).unwrap(), Appended::Done);
    }
    let keys: Vec<String> = objects.all().into_keys().filter(|key| key.starts_with(BATCHES)).collect();
    assert_eq!(keys, [key(0), key(3), key(10)]);
    let followed = second.next_batch().unwrap().unwrap();
    assert_eq!(followed.object.head().writer, first.writer());
    let batch = followed.into_batch(&describe());
    assert_eq!((batch.entries, batch.first.get()), (numbered(0, 3), 0));
    // List the remaining batches together.
    assert_eq!(second.ahead(9).unwrap().iter().map(|(first, _)| first.get()).collect::<Vec<_>>(), [3, 10]);
    for first in [3, 10] {
        second.accept(objects.bytes(&key(first)).unwrap()).unwrap();
    }
    assert!(second.next_batch().unwrap().is_none());
    assert_eq!(second.edge(), first.edge());
    assert_eq!(*second.edge(), edge(11));
    // Write a head over them.
    assert_eq!(second.replace_head(PUBLISHED, &signed(&edge(10)), root_at).unwrap(), HeadReplaced::Done);
    assert!(first.read_head(PUBLISHED, root_at).unwrap());
    assert!(!first.read_head(PUBLISHED, root_at).unwrap());
    assert_eq!(first.head(PUBLISHED).unwrap().note, signed(&edge(10)));
}

#[test]
fn of_two_that_append_one_is_overtaken_and_follows() {
    let objects = bucket();
    let (mut first, mut second) = (open(&objects, 1), open(&objects, 2));
    assert!(second.next_batch().unwrap().is_none());
    assert_eq!(append(&mut first, 2).unwrap(), Appended::Done);
    let overtaken = Appended::Overtaken { by: first.writer() };
    // With and without a read of the key first.
    assert_eq!(append(&mut second, 5).unwrap(), overtaken);
    assert_eq!(append(&mut second, 5).unwrap(), overtaken);
    assert_eq!(follow(&mut second), 1);
    assert_eq!(append(&mut second, 5).unwrap(), Appended::Done);
    assert_eq!(append(&mut first, 5).unwrap(), Appended::Overtaken { by: second.writer() });
    assert_eq!(follow(&mut first), 1);
    assert_eq!(first.edge(), second.edge());
}

/// Each write succeeds or fails, and its answer is lost. Then reading it back fails, too.
#[test]
fn an_unclear_append_is_read_back_and_is_done_once() {
    for fault in [Fault::Failed, Fault::FailedButPersisted] {
        for read_fails in [false, true] {
            let objects = bucket();
            let mut chain = open(&objects, 1);
            assert!(chain.next_batch().unwrap().is_none());
            objects.inject(Operation::Create, BATCHES, fault);
            if read_fails {
                objects.inject(Operation::Get, BATCHES, Fault::Failed);
            }
            let appended = append(&mut chain, 3);
            assert_eq!(objects.pending_faults(), 0);
            if read_fails {
                assert!(matches!(appended, Err(ChainError::Unclear { .. })), "{appended:?}");
                assert_eq!(chain.edge().size(), TreeSize::ZERO);
                // The next append reads before it writes.
                let gets = objects_gets(&objects);
                let again = append(&mut chain, 3).unwrap();
                assert!(objects_gets(&objects) > gets);
                if fault == Fault::FailedButPersisted {
                    assert_eq!(again, Appended::Overtaken { by: chain.writer() });
                    assert_eq!(follow(&mut chain), 1);
                }
            } else {
                assert_eq!(appended.unwrap(), Appended::Done);
            }
            assert_eq!(*chain.edge(), edge(3));
            assert_eq!(append(&mut chain, 1).unwrap(), Appended::Done);
            assert_eq!(follow(&mut open(&objects, 2)), 2);
        }
    }
}

fn objects_gets(objects: &MemoryObjects) -> u64 {
    use crate::bucket::Objects as _;
    objects.requests().of(Operation::Get).requests
}

#[test]
fn a_clear_refusal_writes_nothing_and_is_returned() {
    let objects = bucket();
    let mut chain = open(&objects, 1);
    objects.inject(Operation::Create, BATCHES, Fault::Busy);
    assert!(matches!(append(&mut chain, 3), Err(ChainError::Bucket(_))));
    assert_eq!(append(&mut chain, 3).unwrap(), Appended::Done);
    objects.inject(Operation::Replace, "checkpoint", Fault::Busy);
    let replaced = chain.replace_head(PUBLISHED, &signed(&edge(3)), root_at);
    assert!(matches!(replaced, Err(ChainError::Bucket(_))));
    assert_eq!(chain.replace_head(PUBLISHED, &signed(&edge(3)), root_at).unwrap(), HeadReplaced::Done);
}

#[test]
fn an_unclear_head_is_read_back() {
    for fault in [Fault::Failed, Fault::FailedButPersisted] {
        for read_fails in [false, true] {
            let objects = bucket();
            let mut chain = open(&objects, 1);
            append(&mut chain, 3).unwrap();
            objects.inject(Operation::Replace, "checkpoint", fault);
            if read_fails {
                objects.inject(Operation::Get, "checkpoint", Fault::Failed);
            }
            let note = signed(&edge(3));
            let replaced = chain.replace_head(PUBLISHED, &note, root_at);
            if read_fails {
                assert!(matches!(replaced, Err(ChainError::Unclear { .. })), "{replaced:?}");
            }
            assert_eq!(chain.replace_head(PUBLISHED, &note, root_at).unwrap(), HeadReplaced::Done);
            assert_eq!(objects.bytes("checkpoint").unwrap(), note);
            append(&mut chain, 1).unwrap();
            assert_eq!(
                chain.replace_head(PUBLISHED, &signed(&edge(4)), root_at).unwrap(),
                HeadReplaced::Done
            );
        }
    }
}

#[test]
fn a_head_is_never_replaced_by_a_smaller_one() {
    let objects = filled(&[3, 4]);
    let (mut first, mut second) = (open(&objects, 1), open(&objects, 2));
    follow(&mut first);
    follow(&mut second);
    assert_eq!(second.replace_head(PUBLISHED, &signed(&edge(3)), root_at).unwrap(), HeadReplaced::Overtaken);
    assert_eq!(objects.bytes("checkpoint").unwrap(), signed(&edge(7)));
    append(&mut first, 2).unwrap();
    append(&mut first, 2).unwrap();
    follow(&mut second);
    // Another server was faster, with a smaller head: the call reports it, and the next attempt replaces it.
    assert_eq!(first.replace_head(PUBLISHED, &signed(&edge(9)), root_at).unwrap(), HeadReplaced::Done);
    assert_eq!(second.replace_head(PUBLISHED, &signed(&edge(11)), root_at).unwrap(), HeadReplaced::Overtaken);
    assert_eq!(second.head(PUBLISHED).unwrap().head.size.get(), 9);
    assert_eq!(second.replace_head(PUBLISHED, &signed(&edge(11)), root_at).unwrap(), HeadReplaced::Done);
    // A larger head stays.
    assert_eq!(first.replace_head(PUBLISHED, &signed(&edge(9)), root_at).unwrap(), HeadReplaced::Overtaken);
    assert_eq!(first.head(PUBLISHED).unwrap().head.size.get(), 11);
}

/// A head of this size with the wrong root, signed by the log.
fn forked(size: u64) -> Vec<u8> {
    let head =
        Checkpoint::new(signer().public().name().clone(), TreeSize::new(size).unwrap(), Hash::leaf(b"x"));
    head.sign(&signer()).to_string().into_bytes()
}

#[test]
fn a_head_that_is_not_on_the_chain_is_neither_written_nor_accepted() {
    let objects = filled(&[3, 4]);
    let mut chain = open(&objects, 1);
    follow(&mut chain);
    let is_fork = |result: Result<HeadReplaced, ChainError>| {
        assert!(matches!(result, Err(ChainError::Forked { .. })), "{result:?}");
    };
    is_fork(chain.replace_head(PUBLISHED, &forked(7), root_at));
    is_fork(chain.replace_head(PUBLISHED, &forked(5), root_at));
    let beyond = chain.replace_head(PUBLISHED, &signed(&edge(8)), root_at);
    assert!(matches!(beyond, Err(ChainError::HeadDamaged { .. })), "{beyond:?}");
    assert_eq!(objects.bytes("checkpoint").unwrap(), signed(&edge(7)));
    // A forked head in the bucket, of the chain's size, a smaller one, or a larger one that the chain reaches later.
    objects.set("checkpoint", &forked(7));
    assert!(matches!(chain.read_head(PUBLISHED, root_at), Err(ChainError::Forked { .. })));
    for (size, batches) in [(3, 0), (5, 1), (7, 1)] {
        objects.set("checkpoint", &forked(size));
        let mut chain = open(&objects, 1);
        for _ in 0..batches {
            chain.next_batch().unwrap();
        }
        assert!(matches!(chain.next_batch(), Err(ChainError::Forked { .. })), "{size}");
    }
    let forked_open = Chain::open(options(&objects, 1), edge(7), root_at);
    assert!(matches!(forked_open.map(drop), Err(ChainError::Forked { .. })));
}

#[test]
fn a_head_that_the_log_did_not_sign_is_damage() {
    let objects = filled(&[3]);
    let other = NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[8; 32]);
    let head = Checkpoint::new(signer().public().name().clone(), edge(3).size(), edge(3).root());
    let by_another = head.sign(&other).to_string().into_bytes();
    for bytes in [by_another, b"".to_vec(), b"<html>".to_vec(), vec![b'x'; 300_000]] {
        objects.set("checkpoint", &bytes);
        let opened = Chain::open(options(&objects, 1), RightEdge::default(), root_at).map(drop);
        assert!(matches!(opened, Err(ChainError::HeadDamaged { .. })), "{opened:?}");
    }
    objects.remove("checkpoint");
    let mut chain = open(&objects, 1);
    assert!(matches!(chain.next_batch(), Err(ChainError::HeadMissing { .. })));
    // A chain without keys is not a log and needs no head.
    let keyless = ChainOptions { keys: Vec::new(), ..options(&objects, 1) };
    assert_eq!(follow(&mut Chain::open(keyless, RightEdge::default(), no_root).unwrap()), 1);
}

#[test]
fn a_batch_that_does_not_continue_the_chain_is_rejected() {
    let good = filled(&[3]);
    let batch = batch_of(&edge(3), numbered(3, 2));
    let writer = WriterId::from_bytes([9; 16]);
    let origin = Hash::digest(ORIGIN.as_bytes());
    let right = encode(origin, &batch, edge(3).root(), writer, [0; 16]).0;
    let mut other_entries = batch.clone();
    other_entries.entries[1] = b"another".to_vec();
    let later = batch_of(&edge(4), numbered(4, 2));
    let cases = [
        (encode(Hash::digest(b"other"), &batch, edge(3).root(), writer, [0; 16]).0, "with origin hash"),
        (encode(origin, &batch, edge(2).root(), writer, [0; 16]).0, "expected a batch on top of root"),
        (
            encode(origin, &other_entries, edge(3).root(), writer, [0; 16]).0,
            "that the batch states, computed",
        ),
        (
            encode(origin, &later, edge(3).root(), writer, [0; 16]).0,
            "its first index to be that of its key, saw 4",
        ),
        (right[..right.len() - 1].to_vec(), "SHA-256"),
        (b"<html>".to_vec(), "expected at least 180 bytes"),
        (vec![0; crate::store::bucket::MAX_OBJECT_BYTES + 1], "too large"),
    ];
    for (bytes, expected) in cases {
        let objects = good.copy();
        objects.set(&key(3), &bytes);
        let mut chain = open(&objects, 1);
        follow_one(&mut chain);
        for result in [chain.next_batch().map(drop), append(&mut chain, 2).map(drop)] {
            // An append finds a well-formed object and reports it; the next read rejects it.
            let error = result.and_then(|()| chain.next_batch().map(drop)).unwrap_err();
            assert!(matches!(error, ChainError::BatchDamaged { .. }), "{error}");
            assert!(error.is_damage() && error.to_string().contains(expected), "{error}\n{expected}");
        }
        assert_eq!(*chain.edge(), edge(3));
    }
    good.set(&key(3), &right);
    assert_eq!(follow(&mut open(&good, 1)), 2);
}

fn follow_one(chain: &mut Chain) {
    chain.next_batch().unwrap().unwrap();
}

#[test]
fn a_bucket_with_less_than_was_seen_was_rolled_back() {
    let is_back = |result: Result<(), ChainError>, what: &str| {
        assert!(matches!(result, Err(ChainError::RolledBack { .. })), "{what}: {result:?}");
    };
    let older = filled(&[3]);
    let objects = filled(&[3, 4]);
    // The caller's cache is ahead, ends within a batch, or belongs to another chain.
    let open_at = |objects: &MemoryObjects, edge| Chain::open(options(objects, 1), edge, root_at).map(drop);
    for (leaves, is_there) in [(0, true), (3, true), (7, true), (2, false), (5, false)] {
        let opened = open_at(&objects, edge(leaves));
        assert_eq!(opened.is_ok(), is_there, "{leaves}: {opened:?}");
    }
    is_back(open_at(&older, edge(7)), "the cache is ahead");
    is_back(open_at(&bucket(), edge(7)), "the bucket is empty");
    let other = RightEdge::default().grow(&[Hash::leaf(b"x"); 7]).edge;
    let unsigned = objects.copy();
    unsigned.set("checkpoint", &signed(&edge(0)));
    assert!(matches!(open_at(&unsigned, other), Err(ChainError::BatchDamaged { .. })));
    // The head covers more than the batches.
    objects.remove(&key(3));
    let mut chain = open(&objects, 1);
    follow_one(&mut chain);
    is_back(chain.next_batch().map(drop), "a signed batch is missing");
    // Only the process's memory reveals the loss.
    let objects = filled(&[3]);
    let mut chain = open(&objects, 1);
    follow_one(&mut chain);
    append(&mut chain, 4).unwrap();
    objects.remove(&key(3));
    chain.restart(edge(3), root_at).unwrap();
    is_back(chain.next_batch().map(drop), "it was longer before");
    // The head is replaced with a smaller one, or deleted.
    let objects = filled(&[3, 4]);
    let mut chain = open(&objects, 1);
    assert_eq!(follow(&mut chain), 2);
    objects.set("checkpoint", &signed(&edge(3)));
    is_back(chain.read_head(PUBLISHED, root_at).map(drop), "a smaller head");
    append(&mut chain, 1).unwrap();
    is_back(chain.replace_head(PUBLISHED, &signed(&edge(8)), root_at).map(drop), "a smaller head");
    objects.remove("checkpoint");
    assert!(matches!(chain.read_head(PUBLISHED, root_at), Err(ChainError::HeadMissing { .. })));
}

/// A missing batch with later ones after it is not replaced by an append.
#[test]
fn a_gap_is_not_filled() {
    let objects = bucket();
    let mut chain = open(&objects, 1);
    for count in [3, 4, 2] {
        append(&mut chain, count).unwrap();
    }
    objects.remove(&key(3));
    let mut chain = open(&objects, 2);
    follow_one(&mut chain);
    let error = chain.next_batch().unwrap_err();
    assert!(matches!(&error, ChainError::RolledBack { .. }), "{error}");
    assert!(error.to_string().contains(&key(7)), "{error}");
}

#[test]
fn a_chain_opens_at_the_end_of_many_small_batches() {
    let objects = bucket();
    let mut chain = open(&objects, 1);
    for _ in 0..1_203 {
        append(&mut chain, 1).unwrap();
    }
    // More batches than one page of a list holds.
    let mut opened = Chain::open(options(&objects, 2), edge(1_100), root_at).unwrap();
    assert_eq!(opened.ahead(50).unwrap().len(), 50);
    assert_eq!(follow(&mut opened), 103);
}

#[test]
fn a_store_that_answers_exists_but_has_no_object_is_not_trusted() {
    let objects = bucket();
    let mut chain = open(&objects, 1);
    assert!(chain.next_batch().unwrap().is_none());
    append(&mut open(&objects, 2), 1).unwrap();
    objects.lie(Lie::OldReads);
    let appended = append(&mut chain, 3);
    assert!(matches!(appended, Err(ChainError::Unclear { .. })), "{appended:?}");
}

#[test]
fn a_range_of_a_batch_is_a_bundle() {
    let objects = filled(&[3]);
    let bytes = objects.bytes(&key(0)).unwrap();
    let bundle = crate::proof::bundle::split(&bytes[HEAD_BYTES..bytes.len() - 32], 3).unwrap();
    assert_eq!(bundle, numbered(0, 3));
}
