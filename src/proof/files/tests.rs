use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::merkle::manifest_leaf;

fn manifest(count: usize) -> FileManifest {
    let file = |i: usize| (format!("rules/{i:06}.yar"), Hash::digest(&i.to_be_bytes()));
    FileManifest::new((0..count).map(file).collect()).unwrap()
}

fn path(manifest: &FileManifest, at: usize) -> &str {
    &manifest.files()[at].0
}

/// Whether all parts hold under the manifest's root.
fn holds(proof: &FilesProof, manifest: &FileManifest) -> bool {
    let root = manifest.reference().root;
    proof.total() == manifest.files().len()
        && proof.parts().all(|(files, multi)| {
            let leaves: Vec<Hash> = files.iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
            multi.verify(&leaves, &root).is_ok()
        })
}

#[test]
fn a_proof_is_drawn_as_it_is_written() {
    let manifest = manifest(5);
    let proof =
        FilesProof::new(&manifest, [path(&manifest, 4), path(&manifest, 1), path(&manifest, 4)]).unwrap();
    let bytes = proof.to_bytes();
    let line = |at: usize| format!("{at} {}  rules/00000{at}.yar\n", manifest.files()[at].1.to_hex());
    let text = format!("treehead-files@v1\nfiles 5\n{}{}\n", line(1), line(4));
    assert!(bytes.starts_with(text.as_bytes()));
    assert_eq!(bytes.len(), text.len() + 2 * HASH_BYTES, "leaf 0, and the node over 2 and 3");
    assert_eq!(FilesProof::parse(&bytes), Ok(proof.clone()));
    assert!(holds(&proof, &manifest));
    // A proof of all files needs no hash.
    let all = FilesProof::new(&manifest, manifest.files().iter().map(|(path, _)| path.as_str())).unwrap();
    assert!(holds(&all, &manifest) && all.to_bytes().ends_with(b"000004.yar\n\n"));
}

#[test]
fn every_changed_byte_is_seen() {
    let manifest = manifest(21);
    let proof = FilesProof::new(&manifest, [3, 4, 17].map(|at| path(&manifest, at))).unwrap();
    let bytes = proof.to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(other) = FilesProof::parse(&changed) {
                assert!(!holds(&other, &manifest), "bit {bit} of byte {at}");
                assert_eq!(other.to_bytes(), changed, "one spelling");
            }
        }
        assert!(FilesProof::parse(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(FilesProof::parse(&[&bytes[..], &[0; 32]].concat()).is_err());
}

#[test]
fn a_malformed_proof_is_told_by_line() {
    let hex = Hash::digest(b"x").to_hex();
    let text = |rest: &str| format!("{FILES_HEADER}\n{rest}\n\n");
    for (text, why) in [
        (String::new(), "an empty line before the hashes"),
        ("treehead-files@v2\n\n".to_owned(), "at line 1"),
        (text("files 01"), "at line 2"),
        (text("files 1"), "at least one file"),
        (text(&format!("files 1\n0 {hex}  ../a")), "which could leave"),
        (text(&format!("files 1\n0 {hex}  /a")), "without a slash"),
        (text(&format!("files 1\n1 {hex}  a")), "at line 3: expected an index below"),
        (text(&format!("files 2\n00 {hex}  a")), "at line 3"),
        (text(&format!("files 2\n1 {hex}  a\n0 {hex}  b")), "at line 4: expected each file once"),
        (text(&format!("files 2\n0 {hex}  b\n1 {hex}  a")), "at line 4: expected each file once"),
        (text(&format!("files 2\n0 {hex}  a\n0 {hex}  b")), "at line 4: expected each file once"),
        (text(&format!("files 2\n0 {hex}  B\n1 {hex}  b")), "more than case"),
        (text(&format!("files 2\n0 {hex}  a\n1 {hex}  a/b")), "both a file and a folder"),
        (text(&format!("files 2\n0 {hex}  a")), "expected 32 bytes of hashes"),
        (text(&format!("files 0\n0 {hex}  a")), "at line 3"),
    ] {
        let error = FilesProof::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "expected {why:?} for {text:?}: {error}");
    }
    let many: String = (0..=MAX_PROVEN_FILES).map(|i| format!("\n{i} {hex}  {i:06}")).collect();
    let error = FilesProof::parse(text(&format!("files 20000{many}")).as_bytes()).unwrap_err();
    assert!(matches!(error, FormatError::TooLarge { limit: MAX_PROVEN_FILES, .. }), "{error}");
}

#[test]
fn more_than_a_thousand_files_have_several_proofs() {
    let manifest = manifest(5_000);
    for (count, parts) in [(1_000, 1), (1_001, 2), (2_500, 3)] {
        let proof = FilesProof::new(&manifest, (0..count).map(|at| path(&manifest, 2 * at))).unwrap();
        assert_eq!(proof.parts().count(), parts);
        assert!(holds(&proof, &manifest));
        assert_eq!(FilesProof::parse(&proof.to_bytes()), Ok(proof));
    }
}

#[test]
fn what_can_not_be_proven_is_said() {
    let manifest = manifest(3);
    let message = |paths: &[&str]| FilesProof::new(&manifest, paths.iter().copied()).unwrap_err().to_string();
    assert_eq!(
        message(&["x\u{202e}"]),
        "the manifest has no such file: expected one of its 3 paths, saw \"x\\u{202e}\""
    );
    assert!(message(&[]).contains("1 to 16000 files, saw 0"));
}

proptest! {
    #[test]
    fn any_files_are_proven(total in 1_usize..300, picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        let manifest = manifest(total);
        let chosen: BTreeSet<usize> = picks.iter().map(|pick| pick.index(total)).collect();
        let proof = FilesProof::new(&manifest, picks.iter().map(|pick| path(&manifest, pick.index(total)))).unwrap();
        let expected: Vec<_> = chosen.iter().map(|at| manifest.files()[*at].clone()).collect();
        prop_assert_eq!(proof.files(), &expected[..]);
        prop_assert!(holds(&proof, &manifest));
        prop_assert_eq!(FilesProof::parse(&proof.to_bytes()), Ok(proof));
    }

    #[test]
    fn noise_is_refused_without_panic(text in "(files [0-9]{1,3}\n)?([0-9] [0-9a-f]{64}  [a-c/.]{1,3}\n){0,3}\n?", noise in prop::collection::vec(any::<u8>(), 0..70)) {
        let bytes = [FILES_HEADER.as_bytes(), b"\n", text.as_bytes(), b"\n", &noise].concat();
        if let Ok(proof) = FilesProof::parse(&bytes) {
            prop_assert_eq!(proof.to_bytes(), bytes);
        }
    }
}
