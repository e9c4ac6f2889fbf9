use std::sync::Arc;

use crate::bucket::tests::memory::{Fault, MemoryObjects};
use crate::bucket::{Objects as _, Operation};
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize};
use crate::store::bucket::layout;
use crate::store::bucket::{
    Appended, Chain, ChainError, ChainOptions, HeadKind, SEAL_BYTES, Seal, Sealed, WriterId,
};
use crate::store::tests::fixtures::{batch_of, numbered, signed, signer};

const ME: WriterId = WriterId::from_bytes([0xee; 16]);
const OTHER: WriterId = WriterId::from_bytes([0x11; 16]);

fn example() -> Seal {
    let (origin, root) = (Hash::digest(b"example.com/log"), Hash::digest(b"root"));
    Seal { origin, size: TreeSize::new(0x0102_0304_0506_0708).unwrap(), root, mover: ME }
}

/// Corrects the checksum.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let checksum = Hash::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(checksum.as_bytes());
    bytes
}

#[test]
fn the_seal_has_the_documented_format() {
    let seal = example();
    let mut drawn = b"THSEAL1\n".to_vec();
    drawn.extend_from_slice(Hash::digest(b"example.com/log").as_bytes());
    drawn.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    drawn.extend_from_slice(Hash::digest(b"root").as_bytes());
    drawn.extend_from_slice(&[0xee; 16]);
    drawn.extend_from_slice(Hash::digest(&drawn.clone()).as_bytes());
    assert_eq!((seal.to_bytes(), SEAL_BYTES), (drawn.clone(), 128));
    assert_eq!(Seal::parse(&drawn).unwrap(), seal);
}

#[test]
fn every_changed_byte_every_cut_and_every_broken_rule_is_refused() {
    let bytes = example().to_bytes();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            assert!(Seal::parse(&changed).is_err(), "byte {at} ^ {flip}");
        }
        assert!(Seal::parse(&bytes[..at]).is_err() && Seal::parse(&bytes[at + 1..]).is_err(), "cut at {at}");
    }
    assert!(Seal::parse(&[bytes.as_slice(), b"\0"].concat()).is_err());
    let with = |at: usize, new: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + new.len()].copy_from_slice(new);
        Seal::parse(&checked(changed)).unwrap_err().to_string()
    };
    assert!(with(6, b"2").ends_with(r#"expected the magic "THSEAL1\n", saw "THSEAL2\n""#));
    assert!(with(40, &[0xff; 8]).ends_with("expected a tree size below 2^63, saw 18446744073709551615"));
    // The parser of batches rejects a seal, and the parser of seals a batch.
    assert!(crate::store::bucket::BatchObject::parse(bytes).is_err());
}

fn root_at(size: TreeSize) -> Result<Hash, ChainError> {
    Ok(edge(usize::try_from(size.get()).unwrap()).root())
}

fn edge(leaves: usize) -> RightEdge {
    let hashes: Vec<Hash> = numbered(0, leaves).iter().map(|entry| Hash::leaf(entry)).collect();
    RightEdge::default().grow(&hashes).edge
}

fn open(objects: &MemoryObjects) -> Chain {
    let key = signer().public().clone();
    let options = ChainOptions::new(
        Arc::new(objects.clone()),
        key.name().into(),
        vec![key],
        WriterId::random().unwrap(),
    );
    Chain::open(options, RightEdge::default(), root_at).unwrap()
}

fn append(chain: &mut Chain, count: usize) -> Result<Appended, ChainError> {
    let first = usize::try_from(chain.edge().size().get()).unwrap();
    chain.append(&batch_of(chain.edge(), numbered(first, count)))
}

/// A chain of 7 entries with its head, and a server at its end.
fn filled() -> (MemoryObjects, Chain) {
    let objects = MemoryObjects::default();
    let mut chain = open(&objects);
    chain.replace_head(HeadKind::Published, &signed(&edge(0)), root_at).unwrap();
    for count in [3, 4] {
        assert_eq!(append(&mut chain, count).unwrap(), Appended::Done);
    }
    chain.replace_head(HeadKind::Published, &signed(&edge(7)), root_at).unwrap();
    (objects, chain)
}

fn is_sealed<T: std::fmt::Debug>(result: Result<T, ChainError>, by: WriterId) {
    match result {
        Err(error @ ChainError::Sealed { size, mover }) => {
            assert_eq!((size.get(), mover), (7, by));
            assert!(!error.is_damage() && error.to_string().contains("moved away from this bucket"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_seal_no_server_appends_and_every_follower_is_told() {
    let (objects, mut old) = filled();
    let mut mover = open(&objects);
    while mover.next_batch().unwrap().is_some() {}
    assert_eq!(mover.seal(ME).unwrap(), Sealed::Done);
    let key = layout::batch(LeafIndex::new(7).unwrap());
    assert_eq!(Seal::parse(&objects.bytes(&key).unwrap()).unwrap().size.get(), 7);
    // The old server believes that the chain ends where it does.
    for _ in 0..2 {
        is_sealed(append(&mut old, 2), ME);
        is_sealed(old.next_batch(), ME);
    }
    // A server that starts later, and one with all entries in its cache.
    let mut late = open(&objects);
    assert_eq!((late.ahead(9).unwrap().len(), late.next_batch().unwrap().is_some()), (3, true));
    assert!(late.next_batch().unwrap().is_some());
    is_sealed(late.accept(objects.bytes(&key).unwrap()), ME);
    late.restart(edge(7), root_at).unwrap();
    is_sealed(late.next_batch(), ME);
    // Seal again, with the same mover and with another one.
    assert_eq!(late.seal(ME).unwrap(), Sealed::Done);
    is_sealed(late.seal(OTHER), ME);
    // A slow server may still write a head over the existing batches.
    old.replace_head(HeadKind::Signed, &signed(&edge(7)), root_at).unwrap();
    assert_eq!(objects.all().keys().filter(|key| key.starts_with("batch/")).count(), 3);
}

#[test]
fn a_batch_that_precedes_the_seal_is_followed() {
    let (objects, mut server) = filled();
    let mut mover = open(&objects);
    while mover.next_batch().unwrap().is_some() {}
    assert_eq!(append(&mut server, 5).unwrap(), Appended::Done);
    assert_eq!(mover.seal(ME).unwrap(), Sealed::Overtaken);
    assert_eq!(mover.next_batch().unwrap().unwrap().growth.edge.size().get(), 12);
    assert_eq!(mover.next_batch().unwrap().map(|_| ()), None);
    assert_eq!(mover.seal(ME).unwrap(), Sealed::Done);
}

#[test]
fn a_seal_that_does_not_fit_is_damage() {
    let (objects, mut chain) = filled();
    let key = layout::batch(LeafIndex::new(7).unwrap());
    let right = Seal {
        origin: crate::checkpoint::origin_hash(signer().public().name().as_str()),
        size: chain.edge().size(),
        root: chain.edge().root(),
        mover: ME,
    };
    let others = [
        Seal { origin: Hash::digest(b"other"), ..right },
        Seal { size: TreeSize::new(8).unwrap(), ..right },
        Seal { root: Hash::digest(b"other"), ..right },
    ];
    let garbled = right.to_bytes()[..127].to_vec();
    for bytes in others.iter().map(Seal::to_bytes).chain([garbled]) {
        objects.set(&key, &bytes);
        let error = chain.next_batch().unwrap_err();
        assert!(matches!(error, ChainError::BatchDamaged { .. }), "{error}");
    }
    objects.set(&key, &right.to_bytes());
    is_sealed(chain.next_batch(), ME);
    // A seal where a head covers further batches.
    let mut behind = open(&objects);
    behind.next_batch().unwrap();
    let early = Seal { size: behind.edge().size(), root: behind.edge().root(), ..right };
    objects.set(&layout::batch(LeafIndex::new(3).unwrap()), &early.to_bytes());
    let error = behind.next_batch().unwrap_err();
    assert!(matches!(error, ChainError::RolledBack { .. }), "{error}");
}

#[test]
fn after_any_failure_the_same_seal_can_be_repeated() {
    for fault in [Fault::Failed, Fault::FailedButPersisted, Fault::Busy] {
        for operation in [Operation::Create, Operation::Get] {
            for times in 1..4 {
                let (objects, mut chain) = filled();
                (0..times).for_each(|_| objects.inject(operation, "batch/", fault));
                let sealed = (0..6).find_map(|_| chain.seal(ME).ok());
                assert_eq!(sealed, Some(Sealed::Done), "{operation} {fault:?}");
                // Use up injected faults that no request met.
                while operation == Operation::Get && objects.pending_faults() > 0 {
                    assert!(objects.get("batch/x", 9).is_err());
                }
                is_sealed(chain.next_batch(), ME);
            }
        }
    }
}
