//! One spelling for each body, and an error for all others.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, LeafIndex, Subtree};
use crate::note::{KeyId, KeyName, MAX_NOTE_SIGNATURES, Note, NoteSigner, SignatureType};

fn note() -> Note {
    let origin = KeyName::new("log.example/wire").unwrap();
    let signer = NoteSigner::from_seed(origin.clone(), SignatureType::Ed25519, &[7; 32]);
    Checkpoint::new(origin, TreeSize::new(14).unwrap(), Hash::leaf(b"root")).sign(&signer)
}

fn hashes(count: usize) -> Vec<Hash> {
    (0..count).map(|at| Hash::leaf(&[u8::try_from(at).unwrap()])).collect()
}

fn add(old: u64, proof: usize) -> AddCheckpoint {
    AddCheckpoint { old: TreeSize::new(old).unwrap(), proof: hashes(proof), checkpoint: note() }
}

fn sign(start: u64, end: u64, proof: usize) -> SignSubtree {
    SignSubtree {
        subtree: Subtree::new(LeafIndex::new(start).unwrap(), TreeSize::new(end).unwrap()).unwrap(),
        hash: Hash::leaf(b"subtree"),
        proof: hashes(proof),
        checkpoint: note(),
    }
}

#[test]
fn the_example_of_the_specification_is_read() {
    // c2sp.org/tlog-witness, "add-checkpoint"; this test ignores its signatures.
    let body = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let request = AddCheckpoint::parse(body.as_bytes()).unwrap();
    assert_eq!((request.old.get(), request.proof.len()), (20_852_014, 4));
    assert_eq!(request.checkpoint.signatures().len(), 2);
    assert_eq!(request.to_string(), body);
}

#[test]
fn what_is_printed_reads_back() {
    for request in [add(0, 0), add(1, 1), add(13, 63), add(i64::MAX as u64, 0)] {
        assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request));
    }
    for request in [sign(0, 1, 0), sign(8, 13, 4), sign(1 << 62, (1 << 62) + 3, 63)] {
        assert_eq!(SignSubtree::parse(request.to_string().as_bytes()), Ok(request));
    }
}

#[test]
fn the_largest_bodies_fit_their_limits() {
    let mut request = add(i64::MAX as u64, 63);
    let rest = MAX_NOTE_BYTES - request.checkpoint.to_string().len();
    // A note of exactly the maximum length.
    let line = |bytes: Vec<u8>| NoteSignature::new(KeyName::new("x").unwrap(), KeyId([0; 4]), bytes);
    let frame = line(vec![0; 2]).to_string().len() - 8;
    let bytes = (rest - frame) / 4 * 3 - 4;
    request.checkpoint.push(line(vec![0; bytes]));
    let printed = request.to_string();
    let slack = MAX_NOTE_BYTES - request.checkpoint.to_string().len();
    assert!(slack < 4 && printed.len() + slack + 1 == MAX_ADD_CHECKPOINT_BYTES + 1, "{slack}");
    assert_eq!(AddCheckpoint::parse(printed.as_bytes()), Ok(request));
    let long = [printed.as_bytes(), &[b'x'; 8]].concat();
    assert!(matches!(AddCheckpoint::parse(&long), Err(FormatError::TooLarge { unit: "bytes", .. })));
}

#[test]
fn a_proof_of_64_hashes_is_one_too_many() {
    let too_many = |e| matches!(e, FormatError::TooLarge { limit: 63, unit: "hashes", seen: 64, .. });
    assert!(too_many(AddCheckpoint::parse(add(1, 64).to_string().as_bytes()).unwrap_err()));
    assert!(too_many(SignSubtree::parse(sign(8, 13, 64).to_string().as_bytes()).unwrap_err()));
}

#[test]
fn another_spelling_of_a_request_is_refused() {
    let good = add(7, 2).to_string();
    let (first, rest) = good.split_once('\n').unwrap();
    for old in
        ["old 07", "old +7", "old -7", "old 7 ", "old  7", "Old 7", "old\t7", "old 7\r", "7", "", "old "]
    {
        assert_ne!(old, first);
        let error = AddCheckpoint::parse(format!("{old}\n{rest}").as_bytes()).unwrap_err().to_string();
        assert!(error.contains("malformed"), "{old:?}: {error}");
    }
    for old in ["9223372036854775808", "18446744073709551616", "99999999999999999999"] {
        assert!(AddCheckpoint::parse(format!("old {old}\n{rest}").as_bytes()).is_err(), "{old}");
    }
    let bad = [
        good.replace('\n', "\r\n"),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("\n{good}"),
        good.replacen("=\n", "\n", 1),
        good.replacen("\n\n", "\n", 1),
        good.replacen("\n\n", "\n \n", 1),
        good.replacen("old 7\n", "old 7\nold 7\n", 1),
        String::new(),
        "old 0\n\n".to_owned(),
    ];
    for body in bad {
        assert!(AddCheckpoint::parse(body.as_bytes()).is_err(), "{body}");
    }
    assert!(AddCheckpoint::parse(b"old 0\n\n\xff\n").is_err(), "not UTF-8");
}

#[test]
fn a_range_that_is_no_subtree_is_refused() {
    let good = sign(8, 13, 2).to_string();
    for range in ["0 1", "0 13", "8 16", "12 13", "12 16", "4611686018427387904 9223372036854775807"] {
        let body = good.replace("subtree 8 13", &format!("subtree {range}"));
        assert!(SignSubtree::parse(body.as_bytes()).is_ok(), "{range}");
    }
    for range in [
        "8 8",
        "13 8",
        "0 0",
        "4 13",
        "8 17",
        "1 3",
        "2 5",
        "08 13",
        "8 013",
        "8  13",
        "8",
        "8 13 ",
        "+8 13",
        "8\t13",
        "0 9223372036854775808",
        "1 9223372036854775807",
    ] {
        let body = good.replace("subtree 8 13", &format!("subtree {range}"));
        assert!(SignSubtree::parse(body.as_bytes()).is_err(), "{range}");
    }
    let without_hash = format!("subtree 8 13\n\n{}", note());
    assert!(SignSubtree::parse(without_hash.as_bytes()).unwrap_err().to_string().contains("line 2"));
}

#[test]
fn answers_read_back() {
    let name = KeyName::new("witness.example/w1").unwrap();
    let line = |length: usize| NoteSignature::new(name.clone(), KeyId([1, 2, 3, 4]), vec![9; length]);
    for lines in [vec![line(72)], vec![line(72), line(2_428)], vec![line(1); MAX_NOTE_SIGNATURES]] {
        assert_eq!(parse_signatures(print_signatures(&lines).as_bytes()), Ok(lines));
    }
    let good = line(72).to_string();
    for bad in [
        String::new(),
        "\n".to_owned(),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("\n{good}"),
        good.replace('\n', "\r\n"),
        good.replacen('—', "-", 1),
        print_signatures(&vec![line(1); MAX_NOTE_SIGNATURES + 1]),
    ] {
        assert!(parse_signatures(bad.as_bytes()).is_err(), "{bad}");
    }
    let long = vec![b'x'; MAX_SIGNATURES_BYTES + 1];
    assert!(matches!(parse_signatures(&long), Err(FormatError::TooLarge { .. })));
}

#[test]
fn sizes_read_back() {
    for size in [0, 1, 20_852_163, i64::MAX as u64] {
        let size = TreeSize::new(size).unwrap();
        assert_eq!(parse_size(print_size(size).as_bytes()), Ok(size));
    }
    assert_eq!(print_size(TreeSize::ZERO), "0\n");
    for bad in ["", "\n", "7", "07\n", "+7\n", "7\r\n", "7\n\n", " 7\n", "9223372036854775808\n", "7\n8\n"] {
        assert!(parse_size(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(parse_size(&[b'1'; 1_000]).is_err());
}

proptest! {
    #[test]
    fn noise_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = (AddCheckpoint::parse(&bytes), SignSubtree::parse(&bytes));
        let _ = (parse_signatures(&bytes), parse_size(&bytes));
    }

    #[test]
    fn a_changed_byte_is_another_request_or_an_error(at in 0_usize..1_000, byte in any::<u8>()) {
        for (good, other) in [(add(7, 3).to_string(), false), (sign(8, 13, 3).to_string(), true)] {
            let mut bytes = good.clone().into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let read = if other {
                SignSubtree::parse(&bytes).map(|request| request.to_string())
            } else {
                AddCheckpoint::parse(&bytes).map(|request| request.to_string())
            };
            if let Ok(printed) = read {
                prop_assert_eq!(printed.as_bytes(), bytes.as_slice(), "one spelling");
            }
        }
    }
}
