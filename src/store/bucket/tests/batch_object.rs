use proptest::prelude::*;

use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex, MAX_TREE_SIZE, RightEdge, TreeSize};
use crate::store::bucket::batch_object::{BatchObject, HEAD_BYTES, MAX_OBJECT_BYTES, WriterId, encode};
use crate::store::tests::fixtures::{batch_of, numbered};
use crate::store::{Batch, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};

const WRITER: WriterId = WriterId::from_bytes([0xab; 16]);
const NONCE: [u8; 16] = [0xcd; 16];

fn edge(leaves: usize) -> RightEdge {
    let hashes: Vec<Hash> = numbered(0, leaves).iter().map(|entry| Hash::leaf(entry)).collect();
    RightEdge::default().grow(&hashes).edge
}

fn object(before: &RightEdge, entries: Vec<Vec<u8>>) -> (Batch, Vec<u8>) {
    let batch = batch_of(before, entries);
    let (bytes, sha256) = encode(Hash::digest(b"example.com/log"), &batch, before.root(), WRITER, NONCE);
    assert_eq!(sha256, Hash::digest(&bytes));
    (batch, bytes)
}

/// Corrects the checksum, so that other rules must reject the object.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let checksum = Hash::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(checksum.as_bytes());
    bytes
}

fn refused(bytes: Vec<u8>) -> String {
    BatchObject::parse(bytes).unwrap_err().to_string()
}

/// The fields by their documented offsets, and the entries.
#[derive(Debug, PartialEq)]
struct Plain {
    first: u64,
    roots: [Vec<u8>; 2],
    ids: [Vec<u8>; 2],
    entries: Vec<Vec<u8>>,
}

/// An independent parser of the format, without error messages.
fn oracle(bytes: &[u8]) -> Option<Plain> {
    let number = |from: usize, to: usize| {
        bytes.get(from..to).map(|b| b.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte)))
    };
    if bytes.len() > 148 + 32 * 1024 * 1024 + 2 * 4096 + 32 || bytes.get(..8)? != b"THBAT01\n" {
        return None;
    }
    let (first, count) = (number(40, 48)?, number(48, 52)?);
    if count == 0 || count > 4096 || first + count >= 1 << 63 {
        return None;
    }
    let (mut at, mut entries) = (148, Vec::new());
    for _ in 0..count {
        let length = usize::try_from(number(at, at + 2)?).ok()?;
        entries.push(bytes.get(at + 2..at + 2 + length)?.to_vec());
        at += 2 + length;
    }
    let is_whole = bytes.len() == at + 32 && Hash::digest(&bytes[..at]).as_bytes()[..] == bytes[at..];
    let total: usize = entries.iter().map(Vec::len).sum();
    (is_whole && total <= 32 * 1024 * 1024).then(|| Plain {
        first: u64::try_from(first).unwrap(),
        roots: [bytes[52..84].to_vec(), bytes[84..116].to_vec()],
        ids: [bytes[116..132].to_vec(), bytes[132..148].to_vec()],
        entries,
    })
}

fn plain(object: &BatchObject) -> Plain {
    let head = object.head();
    Plain {
        first: head.first.get(),
        roots: [head.before, head.after].map(|root| root.as_bytes().to_vec()),
        ids: [hex::decode(head.writer.to_string()).unwrap(), head.nonce.to_vec()],
        entries: object.entries().map(<[u8]>::to_vec).collect(),
    }
}

#[test]
fn the_object_has_the_documented_format() {
    let before = edge(3);
    let (batch, bytes) = object(&before, vec![b"one".to_vec(), Vec::new()]);
    let mut drawn = b"THBAT01\n".to_vec();
    drawn.extend_from_slice(Hash::digest(b"example.com/log").as_bytes());
    drawn.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2]);
    drawn.extend_from_slice(before.root().as_bytes());
    drawn.extend_from_slice(batch.growth.edge.root().as_bytes());
    drawn.extend_from_slice(&[[0xab; 16], [0xcd; 16]].concat());
    drawn.extend_from_slice(b"\0\x03one\0\0");
    drawn.extend_from_slice(Hash::digest(&drawn.clone()).as_bytes());
    assert_eq!(bytes, drawn);
    assert_eq!(HEAD_BYTES, 148);
    let parsed = BatchObject::parse(bytes.clone()).unwrap();
    assert_eq!(parsed.head().end(), TreeSize::new(5).unwrap());
    assert_eq!(parsed.as_bytes(), bytes);
    assert_eq!(parsed.bundle(0, 2), Some(b"\0\x03one\0\0".as_slice()));
    assert_eq!(parsed.bundle(1, 1), Some(b"\0\0".as_slice()));
    assert_eq!((parsed.bundle(1, 0), parsed.bundle(1, 2)), (Some([].as_slice()), None));
    assert_eq!(parsed.bundle(usize::MAX, 2), None);
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let (_, bytes) = object(&edge(5), vec![b"first".to_vec(), b"second entry".to_vec(), Vec::new()]);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            assert!(BatchObject::parse(changed).is_err(), "byte {at} ^ {flip}");
        }
        assert!(BatchObject::parse(bytes[..at].to_vec()).is_err(), "cut at {at}");
        assert!(BatchObject::parse(bytes[at + 1..].to_vec()).is_err(), "begun at {}", at + 1);
    }
    assert!(BatchObject::parse([bytes.as_slice(), b"\0"].concat()).is_err());
}

/// Breaks each rule of the format, with a correct checksum.
#[test]
fn the_error_names_each_broken_rule() {
    let (_, bytes) = object(&edge(5), vec![b"first".to_vec(), b"second".to_vec()]);
    let with = |at: usize, new: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + new.len()].copy_from_slice(new);
        seal(changed)
    };
    assert_eq!(with(0, b""), bytes);
    let lengthened = |extra: &[u8]| {
        let (content, sum) = bytes.split_at(bytes.len() - 32);
        seal([content, extra, sum].concat())
    };
    let last = (MAX_TREE_SIZE - 1).to_be_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "expected at least 180 bytes, saw 0 bytes"),
        (bytes[..179].to_vec(), "expected at least 180 bytes, saw 179 bytes"),
        (with(6, b"2"), r#"expected the magic "THBAT01\n", saw "THBAT02\n""#),
        (b"<html>".repeat(40), r#"expected the magic "THBAT01\n", saw "<html><h""#),
        (with(48, &[0; 4]), "expected 1 to 4096 entries, saw 0"),
        (with(48, &4_097_u32.to_be_bytes()), "expected 1 to 4096 entries, saw 4097"),
        (with(48, &[0xff; 4]), "expected 1 to 4096 entries, saw 4294967295"),
        (with(48, &[0, 0, 0, 1]), "expected 1 entries, as its header states, saw 2"),
        (with(48, &[0, 0, 0, 3]), "expected 3 entries, as its header states, saw 2"),
        (with(40, &last), "expected a tree size below 2^63, saw 2 entries from 9223372036854775806 on"),
        (with(40, &[0xff; 8]), "expected a tree size below 2^63, saw 2 entries from 18446744073709551615 on"),
        (with(148, &[0, 200]), "expected entry 0 to have 200 bytes, saw 13 bytes"),
        (lengthened(b"\0"), "expected entry 2 to have a two-byte length, saw 1 bytes"),
        (lengthened(b"\0\x01"), "expected entry 2 to have 1 bytes, saw 0 bytes"),
        (lengthened(b"\0\0"), "expected 2 entries, as its header states, saw 3"),
    ];
    for (bytes, expected) in cases {
        let error = refused(bytes);
        assert!(error.ends_with(expected), "{error}\n{expected}");
    }
    let mut unsealed = bytes.clone();
    unsealed[150] ^= 1;
    assert!(
        refused(unsealed)
            .ends_with("expected the SHA-256 of all preceding bytes as its last 32 bytes, saw another")
    );
}

#[test]
fn the_caps_come_before_the_parsing_and_the_largest_batch_fits() {
    let error = BatchObject::parse(vec![0; MAX_OBJECT_BYTES + 1]).unwrap_err();
    assert!(matches!(error, FormatError::TooLarge { unit: "bytes", limit: MAX_OBJECT_BYTES, .. }), "{error}");
    // The maximal number of entries, with the maximal number of bytes.
    let each = MAX_BATCH_BYTES / MAX_BATCH_ENTRIES;
    let before = RightEdge::default();
    let (_, largest) = object(&before, vec![vec![7; each]; MAX_BATCH_ENTRIES]);
    assert_eq!(largest.len(), MAX_OBJECT_BYTES);
    assert_eq!(BatchObject::parse(largest).unwrap().entries().len(), MAX_BATCH_ENTRIES);
    // With fewer entries, the length fields leave room that the entries must not use.
    let mut entries = vec![vec![7; 65_535]; 512];
    entries.push(vec![7; 512]);
    let (_, mut full) = object(&before, entries);
    assert!(BatchObject::parse(full.clone()).is_ok());
    full.truncate(full.len() - 32);
    full.extend_from_slice(&[0, 1, b'x']);
    full[48..52].copy_from_slice(&514_u32.to_be_bytes());
    full.extend_from_slice(&[0; 32]);
    let error = refused(seal(full));
    let expected =
        format!("expected at most {MAX_BATCH_BYTES} bytes of entries, saw {}", MAX_BATCH_BYTES + 1);
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn an_id_has_one_spelling() {
    assert_eq!(WRITER.to_string(), "ab".repeat(16));
    assert_eq!(WriterId::parse(&"ab".repeat(16)), Some(WRITER));
    for other in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"zz".repeat(16)] {
        assert_eq!(WriterId::parse(other), None, "{other}");
    }
    assert_ne!(WriterId::random().unwrap(), WriterId::random().unwrap());
}

proptest! {
    #[test]
    fn an_encoded_batch_is_parsed(
        first in 0_usize..600,
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..40),
        writer: [u8; 16],
        nonce: [u8; 16],
    ) {
        let before = edge(first);
        let batch = batch_of(&before, entries.clone());
        let origin = Hash::digest(&nonce);
        let bytes = encode(origin, &batch, before.root(), WriterId::from_bytes(writer), nonce).0;
        let parsed = BatchObject::parse(bytes.clone()).unwrap();
        let head = parsed.head();
        prop_assert_eq!((head.origin, head.first.get(), head.count), (origin, first as u64, entries.len()));
        prop_assert_eq!((head.before, head.after), (before.root(), batch.growth.edge.root()));
        prop_assert_eq!((head.writer, head.nonce), (WriterId::from_bytes(writer), nonce));
        prop_assert!(parsed.entries().eq(entries.iter().map(Vec::as_slice)));
        prop_assert_eq!(oracle(&bytes), Some(plain(&parsed)));
    }

    /// Both parsers accept the same bytes and read the same content, even if header fields or lengths are changed and
    /// the checksum is corrected.
    #[test]
    fn the_oracle_agrees(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..6),
        changes in prop::collection::vec((40_usize..200, any::<u8>()), 0..4),
        cut in prop::option::of(0_usize..230),
    ) {
        let (_, mut bytes) = object(&edge(2), entries);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX).max(40));
        let bytes = seal(bytes);
        prop_assert_eq!(BatchObject::parse(bytes.clone()).ok().map(|object| plain(&object)), oracle(&bytes));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let magic = [b"THBAT01\n".as_slice(), &bytes].concat();
        for bytes in [bytes, magic] {
            let sealed = if bytes.len() >= 32 { seal(bytes.clone()) } else { bytes.clone() };
            for bytes in [bytes, sealed] {
                prop_assert_eq!(BatchObject::parse(bytes.clone()).ok().map(|object| plain(&object)), oracle(&bytes));
            }
        }
    }
}

#[test]
fn the_last_index_of_all_can_be_in_a_batch() {
    let (_, mut bytes) = object(&edge(2), vec![b"last".to_vec()]);
    bytes[40..48].copy_from_slice(&(MAX_TREE_SIZE - 1).to_be_bytes());
    let parsed = BatchObject::parse(seal(bytes)).unwrap();
    assert_eq!(parsed.head().first, LeafIndex::new(MAX_TREE_SIZE - 1).unwrap());
    assert_eq!(parsed.head().end().get(), MAX_TREE_SIZE);
}
