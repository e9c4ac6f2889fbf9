use proptest::prelude::*;

use super::*;
use crate::format::base64_encode;
use crate::note::{KeyId, KeyName, NoteSignature, NoteSigner, SignatureType};

fn note(text: &str) -> Note {
    let name = KeyName::new("example.com/log").unwrap();
    Note::sign(text.to_owned(), &[&NoteSigner::from_seed(name, SignatureType::Ed25519, &[1; 32])])
}

const CHECKPOINT_TEXT: &str = "example.com/log\n5\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
/// The entry's base64, which has padding.
const EXTRA: &str = "ZW50cnk=";

fn sample() -> ProofFile {
    let proof = [1, 2, 3].map(|i| Hash::leaf(&[i])).to_vec();
    let index = LeafIndex::new(3).unwrap();
    ProofFile { extra: Some(b"entry".to_vec()), index, proof, checkpoint: note(CHECKPOINT_TEXT) }
}

#[test]
fn the_layout_of_the_specification() {
    let file = sample();
    let hashes: String = file.proof.iter().map(|hash| format!("{}\n", hash.to_base64())).collect();
    let expected =
        format!("c2sp.org/tlog-proof@v1\nextra {EXTRA}\nindex 3\n{hashes}\n{}", note(CHECKPOINT_TEXT));
    assert_eq!(file.to_string(), expected);
    assert_eq!(ProofFile::parse(expected.as_bytes()).unwrap(), file);
    // Leaf 0 of a tree of one leaf: an empty proof, and extra data is optional.
    let bare = format!("c2sp.org/tlog-proof@v1\nindex 0\n\n{}", note("example.com/log\n1\n"));
    let read = ProofFile::parse(bare.as_bytes()).unwrap();
    assert_eq!((read.extra.as_deref(), read.index.get(), read.proof.len()), (None, 0, 0));
    assert_eq!(read.to_string(), bare);
}

#[test]
fn malformed_files_are_refused() {
    let good = sample().to_string();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?}");
        good.replacen(from, to, 1)
    };
    let index = |to: &str| with("index 3", to);
    let bad_index = "at line 3: expected index and a decimal without leading zeros, saw";
    let bad_extra = "at line 2: expected extra and padded base64";
    let bad_header = "at line 1: expected c2sp.org/tlog-proof@v1, saw";
    let bad_hash = "a hash is malformed at line 5: expected 44 characters of padded base64 for 32 bytes";
    let hash = Hash::leaf(&[2]).to_base64();
    let hash_line = |to: &str| with(&hash, to);
    let signature_line = good.lines().last().unwrap();
    for (bad, why) in [
        (String::new(), "expected an empty line before the checkpoint, saw none"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n".to_owned(), "expected an empty line before the checkpoint"),
        (with("c2sp.org/tlog-proof@v1\n", ""), bad_header),
        (with("@v1", "@v2"), bad_header),
        (with("@v1", "@v1 "), bad_header),
        (with("c2sp", "C2SP"), bad_header),
        (with("c2sp", " c2sp"), bad_header),
        (with("c2sp", "\u{feff}c2sp"), bad_header),
        (with("c2sp", "\nc2sp"), bad_header),
        (format!("\n\n{good}"), bad_header),
        (with(EXTRA, "ZW50cnk"), bad_extra),
        (with(EXTRA, "ZW50cnl="), bad_extra),
        (with(EXTRA, "ZW50cnk=="), bad_extra),
        (with(EXTRA, "ZW50 cnk="), bad_extra),
        (with(EXTRA, " ZW50cnk="), bad_extra),
        (with(EXTRA, "ZW50cnk= "), bad_extra),
        (with(EXTRA, "ZW50-nk="), bad_extra),
        (with("extra ", "extra\t"), "at line 2: expected index"),
        (with("extra ", "Extra "), "at line 2: expected index"),
        (with("extra ZW50cnk=", "extra"), "at line 2: expected index"),
        (with("index 3", "extra ZW50cnk="), bad_index),
        (with("extra ZW50cnk=\nindex 3", "index 3\nextra ZW50cnk="), "a hash is malformed at line 3"),
        (with("index 3\n", ""), bad_index),
        (index("index"), bad_index),
        (index("index "), bad_index),
        (index("index  3"), bad_index),
        (index("index 3 "), bad_index),
        (index("index\t3"), bad_index),
        (index("Index 3"), bad_index),
        (index("index 03"), bad_index),
        (index("index 00"), bad_index),
        (index("index +3"), bad_index),
        (index("index -3"), bad_index),
        (index("index 0x3"), bad_index),
        (index("index ٣"), bad_index),
        (index("index 9223372036854775807"), bad_index),
        (index("index 9223372036854775808"), bad_index),
        (index("index 18446744073709551616"), bad_index),
        (index("index 3\nindex 3"), "a hash is malformed at line 4"),
        (hash_line(&hash[..43]), bad_hash),
        (hash_line(&format!("{hash} ")), bad_hash),
        (hash_line(&format!(" {hash}")), bad_hash),
        (hash_line(&base64_encode(&[0; 31])), bad_hash),
        (hash_line(&base64_encode(&[0; 33])), bad_hash),
        (hash_line(&hex::encode(Hash::leaf(&[2]).as_bytes())), bad_hash),
        (with("\n\nexample.com/log\n", "\nexample.com/log\n"), "a hash is malformed at line 7"),
        (good.replace('\n', "\r\n"), "expected an empty line before the checkpoint"),
        (with("index 3\n", "index 3\r\n"), bad_index),
        (with("@v1\n", "@v1\r\n"), bad_header),
        (with(&hash, &format!("{hash}\r")), bad_hash),
        (with("example.com/log\n", "example.com/log\r\n"), "no control character but the newline"),
        (good.trim_end().to_owned(), "a signature line that ends in a newline"),
        (format!("{good}\n"), "a signature line that ends in a newline"),
        (with(signature_line, ""), "expected a signature line"),
        (
            good.split_inclusive("\n\n").next().unwrap().to_owned(),
            "an empty line between text and signatures",
        ),
    ] {
        let error = ProofFile::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad:?}: expected {why:?} in {error:?}");
    }
    // One more empty line belongs to the note after it, whose signature is then invalid.
    let read = ProofFile::parse(with("\n\nexample", "\n\n\nexample").as_bytes()).unwrap();
    assert_eq!(read.checkpoint.text(), format!("\n{CHECKPOINT_TEXT}"));
    let mut bytes = good.clone().into_bytes();
    bytes[30] = 0xff;
    assert!(ProofFile::parse(&bytes).unwrap_err().to_string().contains("an invalid byte at offset 30"));
    for end in 0..good.len() {
        assert!(ProofFile::parse(&good.as_bytes()[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn limits_are_where_they_say() {
    let with_hashes = |n: usize| ProofFile { proof: vec![Hash::EMPTY_ROOT; n], ..sample() };
    assert_eq!(ProofFile::parse(with_hashes(64).to_string().as_bytes()), Ok(with_hashes(64)));
    let error = ProofFile::parse(with_hashes(65).to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a proof file is too large: expected at most 64 hashes, saw 65");

    // The largest entry, the longest proof and the largest note together still make a proof file.
    let mut largest = with_hashes(64);
    largest.extra = Some(vec![7; MAX_ENTRY_BYTES]);
    let text = "x".repeat(MAX_NOTE_BYTES - note("\n").to_string().len());
    largest.checkpoint = note(&format!("{text}\n"));
    assert_eq!(largest.checkpoint.to_string().len(), MAX_NOTE_BYTES);
    largest.index = LeafIndex::new(crate::merkle::MAX_TREE_SIZE - 1).unwrap();
    assert_eq!(ProofFile::parse(largest.to_string().as_bytes()), Ok(largest));

    let oversized = vec![b'\n'; MAX_PROOF_FILE_BYTES + 1];
    let error = ProofFile::parse(&oversized).unwrap_err().to_string();
    assert!(error.starts_with("a proof file is too large: expected at most "), "{error}");
    let error = ProofFile::parse(&oversized[1..]).unwrap_err().to_string();
    assert!(error.contains("at line 1"), "one byte fewer is looked at: {error}");
}

proptest! {
    #[test]
    fn files_read_back_as_they_were_written(
        extra in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        index in 0..crate::merkle::MAX_TREE_SIZE,
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..=64),
        text in "[^\\x00-\\x1f]{1,40}",
        signatures in prop::collection::vec(any::<[u8; 72]>(), 0..4),
    ) {
        let mut checkpoint = note(&format!("{text}\n"));
        for bytes in signatures {
            checkpoint.push(NoteSignature::new(KeyName::new("w").unwrap(), KeyId([0; 4]), bytes.to_vec()));
        }
        let index = LeafIndex::new(index).unwrap();
        let proof = hashes.into_iter().map(Hash::from_bytes).collect();
        let file = ProofFile { extra, index, proof, checkpoint };
        let text = file.to_string();
        prop_assert_eq!(ProofFile::parse(text.as_bytes()), Ok(file));
    }

    /// Every proof file that parses prints as it was read: it has one spelling.
    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        patch in "[a-zA-Z0-9+/= \\n]{0,12}",
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
    ) {
        let _ = ProofFile::parse(&bytes);
        let mut text = sample().to_string().into_bytes();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, patch.into_bytes());
        if let Ok(file) = ProofFile::parse(&text) {
            prop_assert_eq!(file.to_string().into_bytes(), text);
        }
    }
}
