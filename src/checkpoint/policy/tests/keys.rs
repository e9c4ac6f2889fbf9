//! Cosigners and logs with keys of two algorithms.

use super::*;
use crate::checkpoint::LogSigner;

/// Cosigners A, B and C have two keys, D an ML-DSA-44 key, E an Ed25519 key.
const NAMES: [&str; 8] = ["A/e", "A/m", "B/e", "B/m", "C/e", "C/m", "D", "E"];
const EACH: &str = "group A any A/e A/m\ngroup B any B/e B/m\ngroup C any C/m C/e\n";

fn cosigners() -> Vec<NoteSigner> {
    let key = |(at, name): (usize, &&str)| {
        let kind = if name.ends_with('m') || *name == "D" {
            SignatureType::CosignatureMlDsa44
        } else {
            SignatureType::CosignatureEd25519
        };
        signer(&format!("{}.example", &name[..1]), kind, 50 + at)
    };
    NAMES.iter().enumerate().map(key).collect()
}

fn policy_of(rules: &str) -> Policy {
    let keys = cosigners();
    let define = NAMES.iter().zip(&keys).map(|(name, key)| format!("witness {name} {}\n", key.public()));
    parse(&format!("log $L0\n{}{rules}", define.collect::<String>())).unwrap()
}

/// The names of a list, each once.
fn told<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut told: Vec<&str> = Vec::new();
    for name in names {
        if !told.contains(&name) {
            told.push(name);
        }
    }
    told.join(", ")
}

#[test]
fn a_cosigner_with_several_keys_counts_once_and_has_one_name() {
    let count = |of: &[bool]| of.iter().filter(|seen| **seen).count();
    let each = |s: &[bool]| [s[0] || s[1], s[2] || s[3], s[4] || s[5]];
    type Oracle<'a> = &'a dyn Fn(&[bool]) -> bool;
    let both = "group A all A/e A/m\ngroup B any B/e B/m\ngroup C any C/m C/e\n";
    let strangers = "group A any A/e B/e\ngroup B any B/m A/m\ngroup C any C/m C/e\n";
    let one_name = ["A", "A", "B", "B", "C", "C", "D", "E"];
    let tables: [(&str, &str, [&str; 8], &str, Oracle); 9] = [
        (EACH, "group Q 2 A B C\nquorum Q\n", one_name, "2 of (A, B, C)", &|s| count(&each(s)) >= 2),
        (EACH, "group Q all A B C\nquorum Q\n", one_name, "3 of (A, B, C)", &|s| count(&each(s)) == 3),
        (EACH, "quorum B\n", one_name, "B", &|s| s[2] || s[3]),
        (EACH, "group Q any D\nquorum Q\n", one_name, "1 of (D)", &|s| s[6]),
        (
            EACH,
            "group X 2 A B C\ngroup Y any D E\ngroup Q all X Y\nquorum Q\n",
            one_name,
            "2 of (2 of (A, B, C), 1 of (D, E))",
            &|s| count(&each(s)) >= 2 && (s[6] || s[7]),
        ),
        (EACH, "group X any A B\ngroup Q 2 X E C\nquorum Q\n", one_name, "2 of (1 of (A, B), E, C)", &|s| {
            count(&[s[0] || s[1] || s[2] || s[3], s[7], s[4] || s[5]]) >= 2
        }),
        // If the quorum requires one of its keys, the other is no substitute.
        (EACH, "quorum A/m\n", ["A", "A/m", "B", "B", "C", "C", "D", "E"], "A/m", &|s| s[1]),
        // All keys of a cosigner are more than any one of them.
        (
            both,
            "group Q 2 A B C\nquorum Q\n",
            ["A/e", "A/m", "B", "B", "C", "C", "D", "E"],
            "2 of (2 of (A/e, A/m), B, C)",
            &|s| count(&[s[0] && s[1], s[2] || s[3], s[4] || s[5]]) >= 2,
        ),
        // "Any key of two cosigners" names no single cosigner.
        (
            strangers,
            "group Q 2 A B C\nquorum Q\n",
            ["A/e", "A/m", "B/e", "B/m", "C", "C", "D", "E"],
            "2 of (1 of (A/e, B/e), 1 of (B/m, A/m), C)",
            &|s| count(&[s[0] || s[2], s[3] || s[1], s[4] || s[5]]) >= 2,
        ),
    ];
    let head = Checkpoint::parse(head().0.text()).unwrap();
    let note = head.sign(&log(0));
    let lines: Vec<NoteSignature> =
        cosigners().iter().map(|key| cosignature::cosign(&head, key, 100)).collect();
    for (groups, rules, shown, words, oracle) in tables {
        let rules = format!("{groups}{rules}");
        let policy = policy_of(&rules);
        assert_eq!(policy.quorum_in_words(), words, "{rules}");
        for subset in 0..256_u32 {
            let seen: Vec<bool> = (0..8).map(|at| subset >> at & 1 == 1).collect();
            assert_eq!(policy.quorum_reached(&seen), oracle(&seen), "{rules}: {seen:?}");
            let chosen: Vec<&NoteSignature> = (0..8).filter(|at| seen[*at]).map(|at| &lines[at]).collect();
            match policy.check(&with(&note, &chosen)) {
                Ok(cosigned) => {
                    assert!(oracle(&seen), "{rules}: {seen:?} must not be enough");
                    assert_eq!(cosigned.cosignatures().len(), chosen.len());
                }
                Err(QuorumError::NotReached { expected, seen: by, missing }) => {
                    assert!(!oracle(&seen), "{rules}: {seen:?} must be enough");
                    assert_eq!(expected, words);
                    let here = told((0..8).filter(|at| seen[*at]).map(|at| shown[at]));
                    let absent = (0..8).filter(|at| !seen[*at] && rules_count(&rules, NAMES[*at]));
                    let absent = absent.map(|at| shown[at]);
                    let absent = told(absent.filter(|name| !here.split(", ").any(|here| here == *name)));
                    assert_eq!(missing, absent, "{rules}: {seen:?}");
                    assert_eq!(by, if here.is_empty() { "nobody".to_owned() } else { here }, "{rules}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn an_ml_dsa_cosignature_is_of_this_head_by_this_key_or_refused() {
    let policy = policy_of("quorum D\n");
    let (note, _) = head();
    let head = Checkpoint::parse(note.text()).unwrap();
    let key = &cosigners()[6];
    let good = cosignature::cosign(&head, key, 5);
    assert_eq!(policy.check(&with(&note, &[&good])).unwrap().cosignatures()[0].time, 5);
    let other = Checkpoint::new(head.origin.clone(), TreeSize::new(8).unwrap(), head.root);
    let named = |bytes: Vec<u8>| NoteSignature::new(key.public().name().clone(), key.public().id(), bytes);
    let mut flipped = good.bytes().to_vec();
    flipped[2_000] ^= 1;
    for bad in [
        cosignature::cosign(&other, key, 5),
        named(flipped),
        named(good.bytes()[8..].to_vec()),
        named(cosignature::cosign(&head, &cosigners()[1], 5).bytes().to_vec()),
    ] {
        assert!(matches!(
            policy.check(&with(&note, &[&bad])).unwrap_err(),
            QuorumError::BadCosignature { .. }
        ));
    }
}

#[test]
fn any_listed_key_of_the_log_is_enough_and_one_that_is_not_listed_is_none() {
    let post_quantum = || signer("example.com/log", SignatureType::CosignatureMlDsa44, 77);
    let head = Checkpoint::parse(head().0.text()).unwrap();
    let ed25519_only = LogSigner::from(log(0)).sign(&head, 9);
    let both = LogSigner::new(log(0), Some(post_quantum())).sign(&head, 9);
    let ml_dsa_only = both.signed_only_by(&[post_quantum().public().clone()]);
    let neither = LogSigner::from(log(1)).sign(&head, 9);
    let (first, second) = (log(0).public().to_string(), post_quantum().public().to_string());
    for (logs, expected) in [
        (vec![&first, &second], [true, true, true, false]),
        (vec![&first], [true, true, false, false]),
        // Without the Ed25519 line, the post-quantum signature is required.
        (vec![&second], [false, true, true, false]),
    ] {
        let lines: String = logs.iter().map(|vkey| format!("log {vkey}\n")).collect();
        let policy = Policy::parse(format!("{lines}quorum none\n").as_bytes()).unwrap();
        let opened = [&ed25519_only, &both, &ml_dsa_only, &neither].map(|note| {
            let opened = checkpoint::open(note.to_string().as_bytes(), &policy.log_keys());
            opened.is_ok_and(|signed| policy.check(&signed).is_ok())
        });
        assert_eq!(opened, expected, "{lines}");
    }
    let twice = format!("log {second}\nlog {second}\nquorum none\n");
    let error = Policy::parse(twice.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("at line 2: expected each log key once"), "{error}");
}

#[test]
fn the_lines_of_a_policy_say_what_it_says() {
    for rules in [
        format!("{EACH}group X 2 A B C\ngroup Q all X D E\nquorum Q\n"),
        format!("{EACH}quorum E\n"),
        "quorum none\n".to_owned(),
    ] {
        let policy = policy_of(&rules);
        let again = Policy::parse(&policy.rule_lines(true)).unwrap();
        assert_eq!(again, Policy { logs: Vec::new(), ..policy.clone() }, "{rules}");
        assert_eq!(again.rule_lines(false), policy.rule_lines(false));
    }
    let line = |name: &[u8], at: usize, url: &str| {
        let key = witness(at).public().to_string();
        [b"witness ", name, b" ", key.as_bytes(), url.as_bytes(), b"\n"].concat()
    };
    let file = [
        line(b"\xff\x80", 0, " http://w.example/"),
        b"group \xfe any \xff\x80\n".to_vec(),
        line(b"later", 1, ""),
        b"quorum \xfe\n".to_vec(),
    ]
    .concat();
    let policy = Policy::parse(&file).unwrap();
    assert!(policy.can_be_asked());
    let sorted = [
        line(b"\xff\x80", 0, " http://w.example/"),
        line(b"later", 1, ""),
        b"group \xfe any \xff\x80\nquorum \xfe\n".to_vec(),
    ];
    assert_eq!(policy.rule_lines(true), sorted.concat(), "octets stay what they are");
    let bare = Policy::parse(&policy.rule_lines(false)).unwrap();
    assert!(bare.witnesses().iter().all(|witness| witness.url.is_none()));
    assert!(!bare.can_be_asked());
}

/// Go's reader reserves `quorum` and other words: it could not read a policy of ours with a group of that name.
#[test]
fn words_that_other_readers_reserve_are_read_as_names_and_never_written() {
    let text = "witness all $W0\nwitness any $W1\nwitness all_ $W2\ngroup quorum 2 all any all_\n\
         group witness all quorum\nquorum witness\n";
    let policy = parse(&format!("log $L0\n{text}")).unwrap();
    let written = String::from_utf8(policy.rule_lines(false)).unwrap();
    let names = |text: &str| -> Vec<Vec<String>> {
        let line =
            |line: &str| line.split(' ').filter(|word| word.len() < 20).map(ToOwned::to_owned).collect();
        text.lines().map(line).collect()
    };
    let expected = "witness all__\nwitness any_\nwitness all_\ngroup quorum_ 2 all__ any_ all_\n\
         group witness_ any quorum_\nquorum witness_";
    assert_eq!(names(&written), names(expected));
    let again = Policy::parse(written.as_bytes()).unwrap();
    for seen in [[true, true, false], [true, false, false], [false, true, true], [false; 3]] {
        assert_eq!(again.quorum_reached(&seen), policy.quorum_reached(&seen), "the rule is the same");
    }
}
