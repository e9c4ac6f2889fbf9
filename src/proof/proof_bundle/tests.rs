use proptest::prelude::*;

use super::*;
use crate::merkle::reference;
use crate::note::{KeyName, NoteSigner, SignatureType};

/// The head of the tree with these entries.
fn head(entries: &[Vec<u8>]) -> Note {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let name = KeyName::new("example.com/log").unwrap();
    let text = format!("example.com/log\n{}\n{}\n", entries.len(), reference::root(&leaves).to_base64());
    Note::sign(text, &[&NoteSigner::from_seed(name, SignatureType::Ed25519, &[1; 32])])
}

/// Proof files of some entries of a log.
fn files(entries: &[Vec<u8>], of: &[u64]) -> Vec<ProofFile> {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
    let file = |index: &u64| ProofFile {
        extra: Some(entries[usize::try_from(*index).unwrap()].clone()),
        index: LeafIndex::new(*index).unwrap(),
        proof: reference::path(usize::try_from(*index).unwrap(), &leaves),
        checkpoint: head(entries),
    };
    of.iter().map(file).collect()
}

fn log(size: u8) -> Vec<Vec<u8>> {
    (0..size).map(|i| vec![b'e', i]).collect()
}

fn sample() -> ProofBundle {
    ProofBundle::join(&files(&log(11), &[3, 4, 9])).unwrap()
}

fn verify(bundle: &ProofBundle) -> Result<(), ProofError> {
    let head = Checkpoint::parse(bundle.checkpoint.text()).unwrap();
    bundle.verify(head.size, &head.root)
}

#[test]
fn the_layout_of_the_documentation() {
    let bundle = sample();
    let entries = log(11);
    let leaf = |i: usize| Hash::leaf(&entries[i]);
    let pair = |i: usize| Hash::node(&leaf(i), &leaf(i + 1));
    // Leaves 0 and 1, leaf 2, leaf 5, leaves 6 and 7, leaf 8, leaf 10.
    let hashes = [pair(0), leaf(2), leaf(5), pair(6), leaf(8), leaf(10)];
    let hashes: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
    let expected =
        format!("treehead-bundle@v1\nentry 3 ZQM=\nentry 4 ZQQ=\nentry 9 ZQk=\n{hashes}\n{}", head(&entries));
    assert_eq!(bundle.to_string(), expected);
    assert_eq!(ProofBundle::parse(expected.as_bytes()).unwrap(), bundle);
    assert_eq!(verify(&bundle), Ok(()));
    assert!(ProofBundle::is_one(expected.as_bytes()));
    assert!(!ProofBundle::is_one(files(&entries, &[3])[0].to_string().as_bytes()));
    // The only entry of a log needs no hash.
    let one = ProofBundle::join(&files(&log(1), &[0])).unwrap();
    assert_eq!(one.to_string(), format!("treehead-bundle@v1\nentry 0 ZQA=\n\n{}", head(&log(1))));
    assert_eq!(
        (ProofBundle::parse(one.to_string().as_bytes()).unwrap(), verify(&one)),
        (one.clone(), Ok(()))
    );
}

#[test]
fn malformed_bundles_are_refused() {
    let good = sample().to_string();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?}");
        good.replacen(from, to, 1)
    };
    let entry = |to: &str| with("entry 4 ZQQ=", to);
    let bad_header = "at line 1: expected treehead-bundle@v1, saw";
    let bad_entry = "at line 3: expected entry, a decimal without leading zeros, and padded base64, saw";
    let bad_hash = "a hash is malformed at line";
    let hash = sample().proof[2].to_base64();
    let signature = good.lines().last().unwrap().to_owned();
    for (bad, why) in [
        (String::new(), "expected an empty line before the checkpoint, saw none"),
        ("treehead-bundle@v1\nentry 0 ZQA=\n".to_owned(), "expected an empty line before the checkpoint"),
        (with("treehead-bundle@v1\n", ""), bad_header),
        (with("@v1", "@v2"), bad_header),
        (with("@v1", "@v1 "), bad_header),
        (with("@v1\n", "@v1\r\n"), bad_header),
        (format!("\u{feff}{good}"), bad_header),
        (format!("\n\n{good}"), bad_header),
        (
            with("entry 3 ZQM=\nentry 4 ZQQ=\nentry 9 ZQk=\n", ""),
            "expected an entry, a decimal and padded base64",
        ),
        (entry("entry 04 ZQQ="), bad_entry),
        (entry("entry +4 ZQQ="), bad_entry),
        (entry("entry 4  ZQQ="), bad_entry),
        (entry("entry  4 ZQQ="), bad_entry),
        (entry("entry 4 ZQQ= "), bad_entry),
        (entry("entry 4 ZQQ"), bad_entry),
        (entry("entry 4 ZQR="), bad_entry),
        (entry("entry 4 ZQQ=="), bad_entry),
        (entry("entry 4 "), bad_entry),
        (entry("entry 4"), bad_entry),
        (entry("entry ZQQ="), bad_entry),
        (entry("entry 18446744073709551616 ZQQ="), bad_entry),
        (entry("entry\t4 ZQQ="), bad_hash),
        (entry("Entry 4 ZQQ="), bad_hash),
        (entry("4 ZQQ="), bad_hash),
        (entry("entry 3 ZQQ="), "at line 3: expected leaf indices that increase"),
        (entry("entry 2 ZQQ="), "at line 3: expected leaf indices that increase"),
        (entry("entry 3 ZQM="), "at line 3: expected leaf indices that increase"),
        (with(&hash, &hash[..43]), bad_hash),
        (with(&hash, &format!("{hash} ")), bad_hash),
        (with(&hash, "entry 10 ZQo="), bad_hash),
        (with(&signature, ""), "malformed"),
        (format!("{good}\n"), "malformed"),
        (format!("{good} "), "malformed"),
        (good.trim_end().to_owned(), "malformed"),
        (good.replace('\n', "\r\n"), "expected an empty line before the checkpoint"),
    ] {
        let error = ProofBundle::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    assert!(ProofBundle::parse(b"treehead-bundle@v1\xff\n\n").is_err());
    // Hashes after the empty line are the note's text, which is no checkpoint then.
    let late = ProofBundle::parse(with(&format!("{hash}\n"), &format!("{hash}\n\n")).as_bytes()).unwrap();
    assert!(Checkpoint::parse(late.checkpoint.text()).is_err());
}

#[test]
fn sizes_are_bounded_before_anything_is_parsed() {
    let large = vec![b'x'; MAX_BUNDLE_BYTES + 1];
    let error = ProofBundle::parse(&large).unwrap_err().to_string();
    assert!(error.contains("expected at most 8388608 bytes"), "{error}");
    let lines: String = (0..=MAX_BUNDLE_ENTRIES).map(|i| format!("entry {i} ZQM=\n")).collect();
    let many = format!("treehead-bundle@v1\n{lines}\n{}", head(&log(1)));
    let error = ProofBundle::parse(many.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("expected at most 4096 entries"), "{error}");
    let hashes = format!("{}\n", Hash::EMPTY_ROOT).repeat(MAX_BUNDLE_HASHES + 1);
    let many = format!("treehead-bundle@v1\nentry 0 ZQM=\n{hashes}\n{}", head(&log(1)));
    let error = ProofBundle::parse(many.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("expected at most 65536 hashes"), "{error}");
    let long = base64_encode(&vec![0; MAX_ENTRY_BYTES + 1]);
    let long = format!("treehead-bundle@v1\nentry 0 {long}\n\n{}", head(&log(1)));
    let error = ProofBundle::parse(long.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("an entry of a bundle is too large"), "{error}");
    // Lines without end cost no more than the file.
    let short = format!("treehead-bundle@v1\n{}\n\n", "x\n".repeat(MAX_BUNDLE_BYTES / 4));
    assert!(ProofBundle::parse(short.as_bytes()).is_err());
}

#[test]
fn every_entry_is_proven_and_no_hash_is_left_over() {
    let good = sample();
    for change in [
        (|bundle: &mut ProofBundle| bundle.entries[1].1 = b"another".to_vec()) as fn(&mut ProofBundle),
        |bundle| bundle.entries[1].0 = LeafIndex::new(5).unwrap(),
        |bundle| bundle.entries[2].0 = LeafIndex::new(11).unwrap(),
        |bundle| drop(bundle.entries.remove(1)),
        |bundle| bundle.entries.push((LeafIndex::new(10).unwrap(), b"e".to_vec())),
        |bundle| bundle.proof.truncate(bundle.proof.len() - 1),
        |bundle| bundle.proof.push(Hash::EMPTY_ROOT),
        |bundle| bundle.proof.swap(0, 1),
        |bundle| bundle.checkpoint = head(&log(12)),
    ] {
        let mut bundle = good.clone();
        change(&mut bundle);
        // It is a bundle all the same.
        assert_eq!(ProofBundle::parse(bundle.to_string().as_bytes()).unwrap(), bundle);
        assert!(verify(&bundle).is_err(), "{bundle}");
    }
}

#[test]
fn proof_files_are_joined_under_one_head_only() {
    let entries = log(11);
    let twice = ProofBundle::join(&files(&entries, &[9, 3, 4, 3])).unwrap();
    assert_eq!(twice, sample(), "in any order, each once");
    let mut other = files(&entries, &[3]);
    other.extend(files(&log(12), &[4]));
    assert_eq!(ProofBundle::join(&other), Err(JoinError::OtherHead));
    assert_eq!(ProofBundle::join(&[]), Err(JoinError::OtherHead));
    let mut bare = files(&entries, &[3]);
    bare[0].extra = None;
    assert_eq!(ProofBundle::join(&bare), Err(JoinError::NoEntry(LeafIndex::new(3).unwrap())));
    let mut short = files(&entries, &[3, 4]);
    short[1].proof.pop();
    assert!(matches!(ProofBundle::join(&short), Err(JoinError::Proof(_))));
    let mut two = files(&entries, &[3, 3]);
    two[1].extra = Some(b"another".to_vec());
    assert!(matches!(
        ProofBundle::join(&two),
        Err(JoinError::Proof(ProofError::IndicesNotIncreasing { .. }))
    ));
}

#[test]
fn every_flipped_bit_is_refused_or_prints_as_it_is() {
    let good = sample().to_string().into_bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = ProofBundle::parse(&bytes) {
                assert_eq!(read.to_string().into_bytes(), bytes, "one spelling");
                // Endpoints check the signatures of the head.
                let head = Checkpoint::parse(read.checkpoint.text());
                if head.is_ok_and(|head| read.verify(head.size, &head.root).is_ok()) {
                    assert_eq!(read.entries, sample().entries, "another meaning: byte {at}, bit {bit}");
                }
            }
        }
        assert!(at == 0 || ProofBundle::parse(&good[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    #[test]
    fn bundles_read_back_as_they_were_written(size in 1_u8..60, picks in prop::collection::vec(0_u64..60, 1..10)) {
        let of: Vec<u64> = picks.into_iter().filter(|at| *at < u64::from(size)).collect();
        prop_assume!(!of.is_empty());
        let bundle = ProofBundle::join(&files(&log(size), &of)).unwrap();
        prop_assert_eq!(verify(&bundle), Ok(()));
        prop_assert_eq!(ProofBundle::parse(bundle.to_string().as_bytes()).unwrap(), bundle);
    }

    #[test]
    fn noise_never_panics_and_has_one_spelling(from in 0_usize..700, to in 0_usize..700, noise in "[a-zA-Z0-9+/= \n—]{0,40}") {
        let good = sample().to_string();
        let (from, to) = (from.min(good.len()), to.min(good.len()));
        prop_assume!(from <= to && good.is_char_boundary(from) && good.is_char_boundary(to));
        let spliced = format!("{}{noise}{}", &good[..from], &good[to..]);
        if let Ok(read) = ProofBundle::parse(spliced.as_bytes()) {
            prop_assert_eq!(read.to_string(), spliced);
            let _ = read.verify(TreeSize::new(11).unwrap(), &Hash::EMPTY_ROOT);
        }
        let _ = ProofBundle::parse(noise.as_bytes());
    }
}
