use super::*;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::cosignature::cosign;
use crate::checkpoint::policy::Policy;
use crate::endpoint::VerdictCode;
use crate::merkle::{LeafIndex, RightEdge, TreeSize};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::proof::{ProofBundle, ProofFile};
use crate::release::tests::{publisher_signer, publisher_toml, sample_release};
use crate::release::{PublisherSigner, PurlPattern, Subject, Withdrawal};

pub(in crate::endpoint) const ORIGIN: &str = "example.com/log";
const PACKAGE: &str = "pkg:generic/example/trust";
/// Seeds of keys: each publisher has two, and the last one is nobody's.
const KEYS: [(&str, [u8; 2]); 3] = [("a", [1, 2]), ("b", [3, 4]), ("c", [5, 6])];
const STRANGER: u8 = 9;

pub(in crate::endpoint) fn log(seed: u8, origin: &str) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(origin).unwrap(), SignatureType::Ed25519, &[seed; 32])
}

fn witness() -> NoteSigner {
    let name = KeyName::new("witness.example/1").unwrap();
    NoteSigner::from_seed(name, SignatureType::CosignatureEd25519, &[50; 32])
}

fn policy(logs: &[NoteSigner]) -> Policy {
    let logs: String = logs.iter().map(|log| format!("log {}\n", log.public())).collect();
    Policy::parse(format!("{logs}witness w1 {}\nquorum w1\n", witness().public()).as_bytes()).unwrap()
}

pub(in crate::endpoint) fn publishers() -> Publishers {
    let publisher = |(name, seeds): (&str, [u8; 2])| {
        let keys = seeds.map(publisher_signer);
        publisher_toml(name, &keys.each_ref(), &["pkg:generic/example/*"], &["build", "trust"])
    };
    Publishers::parse(KEYS.map(publisher).concat().as_bytes()).unwrap()
}

pub(in crate::endpoint) fn rule(at_least: u64) -> UpdateRule {
    let from = KEYS.map(|(name, _)| name.to_owned()).to_vec();
    UpdateRule { package: PACKAGE.to_owned(), from, at_least }
}

/// A trust file whose replacement takes two of three publishers.
pub(in crate::endpoint) fn file(number: u64) -> TrustFile {
    file_of(number, &[log(100, ORIGIN)], publishers(), rule(2))
}

pub(in crate::endpoint) fn file_of(
    number: u64,
    logs: &[NoteSigner],
    publishers: Publishers,
    rule: UpdateRule,
) -> TrustFile {
    TrustFile::new(number, &policy(logs), publishers, Vec::new()).unwrap().with_update(rule).unwrap()
}

fn release(file: &TrustFile) -> Release {
    Release {
        subjects: vec![Subject { name: "endpoint.trust".to_owned(), sha256: Hash::digest(&file.to_bytes()) }],
        purl: Purl::parse(&format!("{PACKAGE}@{}", file.number())).unwrap(),
        kind: Kind::Trust,
        channel: TRUST_CHANNEL.to_owned(),
        sequence: file.number(),
        ..sample_release(b"")
    }
}

/// Logs a payload with signatures by the keys of these seeds, as the only entry.
fn proof_by(log: &NoteSigner, payload: Vec<u8>, seeds: &[u8]) -> Vec<u8> {
    let signers: Vec<PublisherSigner> = seeds.iter().map(|seed| publisher_signer(*seed)).collect();
    let entry = Envelope::sign(payload, &signers.iter().collect::<Vec<_>>()).unwrap().to_entry();
    let size = TreeSize::new(1).unwrap();
    let head = Checkpoint::new(log.public().name().clone(), size, Hash::leaf(&entry));
    let mut checkpoint = head.sign(log);
    checkpoint.push(cosign(&head, &witness(), 1_770_000_000));
    let (index, proof) = (LeafIndex::new(0).unwrap(), Vec::new());
    ProofFile { extra: Some(entry), index, proof, checkpoint }.to_string().into_bytes()
}

pub(in crate::endpoint) fn proof(file: &TrustFile, seeds: &[u8]) -> Vec<u8> {
    proof_by(&log(100, ORIGIN), release(file).to_payload().unwrap(), seeds)
}

fn update(current: &TrustFile, new: &TrustFile, seeds: &[u8]) -> Result<Option<TrustFile>, TrustUpdateError> {
    current.succeed(&new.to_bytes(), &[&proof(new, seeds)])
}

fn code(result: Result<Option<TrustFile>, TrustUpdateError>) -> &'static str {
    let error = result.expect_err("an error");
    assert!(!error.advice().is_empty());
    error.code().as_str()
}

#[test]
fn the_next_file_takes_the_place_of_the_present_one() {
    let next = update(&file(1), &file(2), &[1, 3]).unwrap().expect("another file");
    assert_eq!(next.to_bytes(), file(2).to_bytes());
    // A chain of them.
    let mut current = file(1);
    for number in 2..6 {
        current = update(&current, &file(number), &[1, 6]).unwrap().unwrap();
        assert_eq!(current.number(), number);
    }
    // The same file once more is nothing to do, with proof or without.
    assert!(file(2).succeed(&file(2).to_bytes(), &[]).unwrap().is_none());
    assert!(update(&file(2), &file(2), &[1, 3]).unwrap().is_none());
}

#[test]
fn gaps_rollbacks_and_other_files_are_refused() {
    assert_eq!(code(update(&file(1), &file(3), &[1, 3, 5])), "trust-gap");
    assert_eq!(code(update(&file(3), &file(2), &[1, 3, 5])), "trust-rollback");
    assert_eq!(code(update(&file(3), &file(1), &[1, 3, 5])), "trust-rollback");
    let error = update(&file(1), &file(3), &[1, 3]).unwrap_err();
    assert_eq!(error.to_string(), "trust files are missing: expected number 2 first, saw 3");
    assert_eq!(code(file(1).succeed(b"{}", &[])), "trust-malformed");
    let (next, many) = (file(2), vec![&b""[..]; MAX_TRUST_PROOFS + 1]);
    assert_eq!(code(file(1).succeed(&next.to_bytes(), &many)), "trust-malformed");
    // A file that names nobody stays.
    let fixed = TrustFile::new(1, &policy(&[log(100, ORIGIN)]), publishers(), Vec::new()).unwrap();
    assert_eq!(code(update(&fixed, &file(2), &[1, 3, 5])), "trust-not-replaceable");
    // It may be the last word of those who may change trust.
    let last = TrustFile::new(2, &policy(&[log(100, ORIGIN)]), publishers(), Vec::new()).unwrap();
    assert!(update(&file(1), &last, &[1, 3]).unwrap().unwrap().update().is_none());
    // The largest number has no successor.
    let largest = file((1 << 53) - 1);
    assert_eq!(code(update(&largest, &file(1), &[1, 3])), "trust-rollback");
    // Another product's.
    let other = UpdateRule { package: "pkg:generic/example/other".to_owned(), ..rule(2) };
    let other = file_of(2, &[log(100, ORIGIN)], publishers(), other);
    assert_eq!(code(update(&file(1), &other, &[1, 3])), "trust-other-package");
}

#[test]
fn two_files_with_one_number_are_a_fork_and_a_proven_one_says_so() {
    let other = file_of(2, &[log(100, ORIGIN)], publishers(), rule(1));
    for (seeds, proven) in [(&[1, 3][..], true), (&[1], false), (&[STRANGER], false)] {
        let error = update(&file(2), &other, seeds).unwrap_err();
        let TrustUpdateError::Fork { number: 2, is_proven, expected, seen } = &error else {
            panic!("{error}")
        };
        assert_eq!((*is_proven, *seen), (proven, Hash::digest(&other.to_bytes())));
        assert_eq!(*expected, Hash::digest(&file(2).to_bytes()));
        assert_eq!(error.code().as_str(), "trust-fork");
        assert_eq!(error.to_string().ends_with("signed and logged as well"), proven);
    }
}

#[test]
fn a_stolen_key_changes_nothing_alone() {
    for stolen in [1, 2, 3, 4, 5, 6, STRANGER] {
        assert_eq!(code(update(&file(1), &file(2), &[stolen])), "trust-too-few-signers");
    }
    // Both keys of a publisher are one publisher, in one entry and in two.
    let error = update(&file(1), &file(2), &[1, 2]).unwrap_err();
    let says = "too few publishers signed the trust file: expected 2 of (a, b, c), saw a";
    assert_eq!(error.to_string(), says);
    let (first, second) = (proof(&file(2), &[1]), proof(&file(2), &[2]));
    assert_eq!(
        code(file(1).succeed(&file(2).to_bytes(), &[&first, &second, &first])),
        "trust-too-few-signers"
    );
    // Nor can its thief keep others out, by being the first to log the file with a single signature.
    let mut again = release(&file(2));
    again.subjects[0].name = "2.trust".to_owned();
    let rest = proof_by(&log(100, ORIGIN), again.to_payload().unwrap(), &[3]);
    assert!(file(1).succeed(&file(2).to_bytes(), &[&first, &rest]).unwrap().is_some());
    assert_eq!(code(file(1).succeed(&file(2).to_bytes(), &[])), "trust-too-few-signers");
}

/// The rule as it is said, key by key, for every set of signers, every threshold, and one entry or two.
#[test]
fn the_rule_holds_for_every_set_of_signers() {
    let mut list = publishers().list().to_vec();
    list[1].keys[1].revoked = true;
    let list = Publishers::new(list).unwrap();
    let present = |at_least| file_of(1, &[log(100, ORIGIN)], list.clone(), rule(at_least));
    let next = file(2);
    for set in 1_u8..1 << 7 {
        let signers: Vec<u8> = (0_u8..7)
            .filter(|at| set >> at & 1 == 1)
            .map(|at| [1, 2, 3, 4, 5, 6, STRANGER][usize::from(at)])
            .collect();
        let (left, right) = signers.split_at(signers.len() / 2);
        let whole = vec![proof(&next, &signers)];
        let halves = [left, right].into_iter().filter(|half| !half.is_empty());
        let halves: Vec<_> = halves.map(|half| proof(&next, half)).collect();
        for proofs in [whole, halves] {
            let proofs: Vec<&[u8]> = proofs.iter().map(Vec::as_slice).collect();
            for at_least in 1..=3 {
                let mut counted = 0;
                for (name, keys) in KEYS {
                    let mut good = keys.into_iter().filter(|seed| (name, *seed) != ("b", 4));
                    counted += u64::from(good.any(|seed| signers.contains(&seed)));
                }
                let taken = present(at_least).succeed(&next.to_bytes(), &proofs);
                assert_eq!(taken.is_ok(), counted >= at_least, "{at_least} of {signers:?}: {taken:?}");
                if let Err(error) = taken {
                    assert_eq!(error.code().as_str(), "trust-too-few-signers");
                }
            }
        }
    }
}

#[test]
fn the_release_has_to_be_that_of_the_file() {
    type Change = fn(&mut Release);
    let changes: [Change; 9] = [
        |r| r.kind = Kind::Build,
        |r| r.channel = "stable".to_owned(),
        |r| r.sequence = 3,
        |r| r.purl = Purl::parse("pkg:generic/example/trust@3").unwrap(),
        |r| r.purl = Purl::parse("pkg:generic/example/trust@2?arch=amd64").unwrap(),
        |r| r.purl = Purl::parse("pkg:generic/example/other@2").unwrap(),
        |r| r.subjects[0].sha256 = Hash::digest(b"another file"),
        |r| r.subjects.push(Subject { name: "more".to_owned(), sha256: Hash::digest(b"more") }),
        |r| r.audience = Some("somebody".to_owned()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut wrong = release(&file(2));
        change(&mut wrong);
        let wrong = proof_by(&log(100, ORIGIN), wrong.to_payload().unwrap(), &[1, 3]);
        let good = proof(&file(2), &[1, 3]);
        // Nor does a good proof beside it help: what is shown has to be right.
        for proofs in [&[&wrong[..]][..], &[&good, &wrong]] {
            assert_eq!(code(file(1).succeed(&file(2).to_bytes(), proofs)), "trust-other-release", "{at}");
        }
    }
    // What is of no concern: the name of the file, and that it is for this log alone.
    let mut same = release(&file(2));
    same.subjects[0].name = "another name".to_owned();
    same.log = Some(ORIGIN.to_owned());
    let same = proof_by(&log(100, ORIGIN), same.to_payload().unwrap(), &[1, 3]);
    assert!(file(1).succeed(&file(2).to_bytes(), &[&same]).is_ok());
}

#[test]
fn the_proof_has_to_hold_under_the_present_policy() {
    let refusal = |present: &TrustFile, proof: &[u8]| match present.succeed(&file(2).to_bytes(), &[proof]) {
        Err(TrustUpdateError::NotProven { at: 0, refusal }) => refusal.code(),
        other => panic!("{other:?}"),
    };
    let payload = || release(&file(2)).to_payload().unwrap();
    // Another log, another key of the log, no witness.
    assert_eq!(
        refusal(&file(1), &proof_by(&log(100, "example.com/other"), payload(), &[1, 3])),
        VerdictCode::UnknownLog
    );
    assert_eq!(
        refusal(&file(1), &proof_by(&log(101, ORIGIN), payload(), &[1, 3])),
        VerdictCode::CheckpointSignature
    );
    let text = String::from_utf8(proof(&file(2), &[1, 3])).unwrap();
    let unwitnessed = &text[..text.rfind("\u{2014} witness").unwrap()];
    assert_eq!(refusal(&file(1), unwitnessed.as_bytes()), VerdictCode::NoQuorum);
    assert_eq!(refusal(&file(1), b"no proof"), VerdictCode::ProofMalformed);
    // For another log.
    let elsewhere = Release { log: Some("example.com/test".to_owned()), ..release(&file(2)) };
    let elsewhere = proof_by(&log(100, ORIGIN), elsewhere.to_payload().unwrap(), &[1, 3]);
    assert_eq!(refusal(&file(1), &elsewhere), VerdictCode::OtherLog);
    // Of another statement.
    let withdrawal = Withdrawal { reason: "a mistake".to_owned(), ..sample_withdrawal() };
    let withdrawn = proof_by(&log(100, ORIGIN), withdrawal.to_payload().unwrap(), &[1, 3]);
    assert_eq!(refusal(&file(1), &withdrawn), VerdictCode::NotARelease);
    // Every byte of the proof counts, or says the same.
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(taken) = file(1).succeed(&file(2).to_bytes(), &[&bytes]) {
            assert_eq!(taken.unwrap().to_bytes(), file(2).to_bytes());
        }
    }
}

fn sample_withdrawal() -> Withdrawal {
    let release = sample_release(b"x");
    Withdrawal {
        purl: release.purl.clone(),
        leaf: Hash::digest(b"leaf"),
        index: LeafIndex::new(0).unwrap(),
        subjects: release.subjects,
        reason: String::new(),
        log: None,
    }
}

#[test]
fn a_bundle_may_hold_the_releases_among_other_entries() {
    let log = log(100, ORIGIN);
    let entry = |payload, seeds: &[u8]| {
        let signers: Vec<PublisherSigner> = seeds.iter().map(|seed| publisher_signer(*seed)).collect();
        Envelope::sign(payload, &signers.iter().collect::<Vec<_>>()).unwrap().to_entry()
    };
    let mut again = release(&file(2));
    again.subjects[0].name = "2.trust".to_owned();
    let other = sample_release(b"x").to_payload().unwrap();
    let entries = [
        entry(release(&file(2)).to_payload().unwrap(), &[1]),
        entry(again.to_payload().unwrap(), &[3]),
        entry(other, &[5]),
    ];
    let bundle = |kept: &[usize]| {
        let kept: Vec<Vec<u8>> = kept.iter().map(|at| entries[*at].clone()).collect();
        let leaves: Vec<Hash> = kept.iter().map(|entry| Hash::leaf(entry)).collect();
        let edge = RightEdge::default().grow(&leaves).edge;
        let head = Checkpoint::new(log.public().name().clone(), edge.size(), edge.root());
        let mut checkpoint = head.sign(&log);
        checkpoint.push(cosign(&head, &witness(), 1_770_000_000));
        let entries = (0..).zip(kept).map(|(at, entry)| (LeafIndex::new(at).unwrap(), entry)).collect();
        // All leaves of the tree are there, so the joint proof is empty.
        ProofBundle { entries, proof: Vec::new(), checkpoint }.to_string().into_bytes()
    };
    let taken = |proofs: &[&[u8]]| file(1).succeed(&file(2).to_bytes(), proofs);
    assert!(taken(&[&bundle(&[0, 1, 2])]).unwrap().is_some());
    assert!(taken(&[&bundle(&[2, 0]), &bundle(&[1])]).unwrap().is_some());
    assert_eq!(code(taken(&[&bundle(&[0, 2])])), "trust-too-few-signers");
    assert_eq!(code(taken(&[&bundle(&[0, 1]), &bundle(&[2])])), "trust-other-release");
}

/// Both keys of the log sign for a while, the next file names the new one, and old proofs stay good.
#[test]
fn keys_of_the_log_and_of_publishers_rotate_and_a_log_names_its_successor() {
    let (old, new, other) = (log(100, ORIGIN), log(101, ORIGIN), log(102, "example.com/new-log"));
    let first = file_of(1, &[log(100, ORIGIN)], publishers(), rule(2));
    let second = file_of(2, &[log(100, ORIGIN), log(101, ORIGIN)], publishers(), rule(2));
    let third = file_of(3, &[log(101, ORIGIN), log(102, "example.com/new-log")], publishers(), rule(2));
    let payload = |file: &TrustFile| release(file).to_payload().unwrap();
    let steps = |log: &NoteSigner, file: &TrustFile| proof_by(log, payload(file), &[1, 3]);
    // The old key proves the second file to who trusts the first; the new key is not trusted yet.
    assert_eq!(code(first.succeed(&second.to_bytes(), &[&steps(&new, &second)])), "trust-not-proven");
    let now = first.succeed(&second.to_bytes(), &[&steps(&old, &second)]).unwrap().unwrap();
    // Then either key, and at the end another log.
    for log in [&old, &new] {
        assert!(now.succeed(&third.to_bytes(), &[&steps(log, &third)]).unwrap().is_some());
    }
    let fourth = file_of(4, &[log(102, "example.com/new-log")], publishers(), rule(2));
    assert!(third.succeed(&fourth.to_bytes(), &[&steps(&other, &fourth)]).unwrap().is_some());
    assert_eq!(code(third.succeed(&fourth.to_bytes(), &[&steps(&old, &fourth)])), "trust-not-proven");
    // A publisher's key that the present file revoked signs nothing, whatever the next file says of it.
    let mut list = publishers().list().to_vec();
    list[0].keys.iter_mut().for_each(|key| key.revoked = true);
    let revoked = file_of(1, &[log(100, ORIGIN)], Publishers::new(list).unwrap(), rule(2));
    assert_eq!(code(update(&revoked, &file(2), &[1, 3])), "trust-too-few-signers");
    assert!(update(&revoked, &file(2), &[1, 3, 5]).unwrap().is_some(), "it spoils nothing");
}

#[test]
fn rules_have_a_meaning_and_can_be_met() {
    let made = |rule: UpdateRule| {
        TrustFile::new(1, &policy(&[log(100, ORIGIN)]), publishers(), Vec::new()).unwrap().with_update(rule)
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (wrong, says) in [
        (
            UpdateRule { at_least: 0, ..rule(1) },
            "at_least to be 1 to 3, the number of publishers that can sign",
        ),
        (UpdateRule { at_least: 4, ..rule(1) }, "at_least to be 1 to 3"),
        (UpdateRule { from: names(&[]), ..rule(1) }, "at_least to be 1 to 0"),
        (UpdateRule { from: names(&["a", "a"]), ..rule(1) }, "each publisher once, saw \"a\" twice"),
        (
            UpdateRule { from: names(&["a", "d"]), ..rule(1) },
            "with the right to trust of the package, saw \"d\"",
        ),
        (UpdateRule { package: "pkg:deb/debian/trust".to_owned(), ..rule(1) }, "the right to trust"),
        (UpdateRule { package: format!("{PACKAGE}@1"), ..rule(1) }, "a package without version"),
        (UpdateRule { package: format!("{PACKAGE}?arch=x"), ..rule(1) }, "a package without version"),
        (UpdateRule { package: format!("{PACKAGE}#x"), ..rule(1) }, "a package without version"),
        (UpdateRule { package: "trust".to_owned(), ..rule(1) }, "a package without version"),
    ] {
        let error = made(wrong.clone()).expect_err("a wrong rule").to_string();
        assert!(error.contains(says), "{wrong:?}: {error}");
    }
    let mut list = publishers().list().to_vec();
    list[0].keys.iter_mut().for_each(|key| key.revoked = true);
    let file =
        |list| TrustFile::new(1, &policy(&[log(100, ORIGIN)]), Publishers::new(list).unwrap(), Vec::new());
    let error = file(list.clone()).unwrap().with_update(rule(3)).unwrap_err().to_string();
    assert!(error.contains("at_least to be 1 to 2"), "a publisher without a key can't sign: {error}");
    list[1].kinds = vec![StatementKind::Release(Kind::Build)];
    assert!(file(list.clone()).unwrap().with_update(rule(1)).is_err());
    list[1].kinds = vec![StatementKind::Release(Kind::Trust)];
    list[1].purls = vec![PurlPattern::parse("pkg:generic/other/*").unwrap()];
    assert!(file(list).unwrap().with_update(rule(1)).is_err());
}

#[test]
fn the_rule_has_one_spelling() {
    let good = made_text(&file(1));
    let written =
        "\"update\":{\"at_least\":2,\"from\":[\"a\",\"b\",\"c\"],\"package\":\"pkg:generic/example/trust\"}}";
    assert!(good.ends_with(written), "{good}");
    assert_eq!(TrustFile::parse(good.as_bytes()).unwrap().update(), Some(&rule(2)));
    for (from, to) in [
        ("\"at_least\":2", "\"at_least\":9"),
        ("\"at_least\":2", "\"at_least\":2,\"by\":1"),
        ("\"at_least\":2", "\"at_least\":\"2\""),
        ("\"at_least\":2,", ""),
        ("\"from\":[\"a\",", "\"from\":[\"d\","),
        ("\"from\":[\"a\",", "\"from\":[ \"a\","),
        (written, "\"update\":{}}"),
        (written, "\"update\":null}"),
    ] {
        let wrong = good.replace(from, to);
        assert_ne!(wrong, good);
        assert!(TrustFile::parse(wrong.as_bytes()).is_err(), "{to}");
    }
}

fn made_text(file: &TrustFile) -> String {
    String::from_utf8(file.to_bytes()).unwrap()
}
