//! The gate against a slow and obvious oracle, over many random gates and sets of attestations.

use proptest::prelude::*;

use super::*;
use crate::endpoint::Conditions;
use crate::release::tests::{publisher_signer, publisher_toml, sample_release};
use crate::release::{Envelope, Kind, Publishers, PurlPattern};

const NOW: u64 = 1_770_000_000;
const NAMES: [&str; 4] = ["a", "b", "c", "elsewhere"];

/// `a` has two keys. `elsewhere` has rights to other packages only.
fn publishers() -> Publishers {
    let kinds = ["verification-summary", "provenance"];
    let of = |name, seeds: &[u8], purl| {
        let signers: Vec<_> = seeds.iter().map(|seed| publisher_signer(*seed)).collect();
        publisher_toml(name, &signers.iter().collect::<Vec<_>>(), &[purl], &kinds)
    };
    let (ours, other) = ("pkg:generic/example/*", "pkg:generic/other/*");
    let toml =
        of("a", &[1, 5], ours) + &of("b", &[2], ours) + &of("c", &[3], ours) + &of("elsewhere", &[4], other);
    Publishers::parse(toml.as_bytes()).unwrap()
}

/// What an attestation of the pool says, in plain values.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of a truth table")]
struct Said {
    by: Vec<&'static str>,
    is_summary: bool,
    is_ours: bool,
    names_ours: bool,
    text: &'static str,
    passed: bool,
    level: u32,
    time: u64,
}

/// Attestations of each publisher, with each condition met and not met, signed and verified once.
fn pool() -> Vec<(Said, VerifiedStatement)> {
    let publishers = publishers();
    let mut pool = Vec::new();
    let signers: [(&[u8], &[&'static str]); 6] = [
        (&[1], &["a"]),
        (&[5], &["a"]),
        (&[2], &["b"]),
        (&[3], &["c"]),
        (&[1, 3], &["a", "c"]),
        (&[4], &["elsewhere"]),
    ];
    for (seeds, by) in signers {
        for variant in 0..9 {
            let said = Said {
                by: by.to_vec(),
                is_summary: variant != 8,
                is_ours: variant != 1,
                names_ours: variant != 2,
                text: if variant == 3 { "https://two" } else { "https://one" },
                passed: variant != 4,
                level: if variant == 5 { 1 } else { 3 },
                time: [NOW - 100, NOW - 1_001, NOW + 10_000][match variant {
                    6 => 1,
                    7 => 2,
                    _ => 0,
                }],
            };
            let digest = Hash::digest(if said.is_ours { b"x" } else { b"y" }).to_hex();
            let subject = format!(
                r#""_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{digest}"}}}}]"#
            );
            let payload = if said.is_summary {
                // `elsewhere` may not name ours, but may say no package at all.
                let uri = match (by, said.names_ours) {
                    (["elsewhere"], _) => "https://example.com",
                    (_, true) => "pkg:generic/example/scanner@4.2.0?arch=all",
                    (_, false) => "pkg:generic/example/scanner@4.2.1",
                };
                format!(
                    r#"{{{subject},"predicateType":"https://slsa.dev/verification_summary/v1","predicate":{{"verifier":{{"id":"https://v"}},"timeVerified":"{}","resourceUri":"{uri}","policy":{{"uri":"{}"}},"verificationResult":"{}","verifiedLevels":["SLSA_BUILD_LEVEL_{}"]}}}}"#,
                    crate::release::format_time(said.time),
                    said.text,
                    if said.passed { "PASSED" } else { "FAILED" },
                    said.level,
                )
            } else {
                format!(
                    r#"{{{subject},"predicateType":"https://slsa.dev/provenance/v1","predicate":{{"buildDefinition":{{"buildType":"https://t"}},"runDetails":{{"builder":{{"id":"{}"}}}}}}}}"#,
                    said.text
                )
            };
            let signers: Vec<_> = seeds.iter().map(|seed| publisher_signer(*seed)).collect();
            let envelope = Envelope::sign(payload.into_bytes(), &signers.iter().collect::<Vec<_>>()).unwrap();
            pool.push((said, publishers.verify(&envelope, "example.com/log").unwrap()));
        }
    }
    pool
}

fn check(
    gate: &[Requirement],
    publishers: &Publishers,
    digest: Option<Hash>,
    beside: &[(LeafIndex, VerifiedStatement)],
) -> Result<(), Refusal> {
    let release = sample_release(b"x");
    let gate: Vec<&Requirement> = gate.iter().filter(|rule| rule.is_about(&release)).collect();
    let beside: Vec<_> = beside.iter().map(|(index, verified)| (*index, verified)).collect();
    check_all(&gate, publishers, &release, digest, &beside, NOW)
}

/// Counts, for each name, by going over everything that was said in the order of the log.
fn oracle(rule: &Requirement, beside: &[(u64, Said)]) -> usize {
    let is_summary = rule.attestation == StatementKind::VerificationSummary;
    let mut counted = 0;
    for name in &rule.from {
        let mut stands = false;
        let mut in_order = beside.to_vec();
        in_order.sort_by_key(|(index, _)| *index);
        for (_, said) in &in_order {
            let text = if is_summary { &rule.says.policy } else { &rule.says.builder };
            if !said.by.contains(&name.as_str()) || said.is_summary != is_summary || !said.is_ours {
                continue;
            }
            if text.is_some() && text.as_deref() != Some(said.text) {
                continue;
            }
            if is_summary && !said.names_ours && name != "elsewhere" {
                continue;
            }
            stands = true;
            if is_summary && !said.passed {
                stands = false;
            }
            if is_summary && !rule.says.levels.is_empty() && said.level < 2 {
                stands = false;
            }
            if is_summary && said.time > NOW + 300 {
                stands = false;
            }
            if is_summary && rule.says.max_age.is_some() && said.time < NOW - 1_000 {
                stands = false;
            }
        }
        if name == "elsewhere" {
            stands = false;
        }
        counted += usize::from(stands);
    }
    counted
}

fn any_rule() -> impl Strategy<Value = Requirement> {
    let parts = (any::<bool>(), 1_usize..16, 0_u64..4, any::<[bool; 4]>(), any::<bool>());
    parts.prop_map(|(is_summary, subset, least, [text, levels, age, ours], reversed)| {
        let mut from: Vec<String> =
            (0..4).filter(|bit| subset >> bit & 1 == 1).map(|bit| NAMES[bit].to_owned()).collect();
        if reversed {
            from.reverse();
        }
        let text = text.then(|| "https://one".to_owned());
        let (policy, builder) = if is_summary { (text, None) } else { (None, text) };
        let pattern = if ours { "pkg:generic/example/*" } else { "pkg:generic/other/*" };
        Requirement {
            purls: vec![PurlPattern::parse(pattern).unwrap()],
            kinds: vec![Kind::Build],
            attestation: if is_summary {
                StatementKind::VerificationSummary
            } else {
                StatementKind::Provenance
            },
            at_least: 1 + least % from.len() as u64,
            from,
            says: Conditions {
                policy,
                builder,
                result: is_summary.then(|| "PASSED".to_owned()),
                levels: if levels && is_summary { vec!["SLSA_BUILD_LEVEL_2".to_owned()] } else { Vec::new() },
                max_age: (age && is_summary).then_some(1_000),
            },
        }
    })
}

#[test]
fn the_gate_is_what_the_truth_table_says() {
    let (pool, publishers) = (pool(), publishers());
    let picked = prop::collection::vec((0..pool.len(), 0_u64..40), 0..7);
    let (mut met, mut refused) = (0_u32, 0_u32);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(20_000));
    let result = runner.run(&(prop::collection::vec(any_rule(), 0..3), picked), |(gate, picked)| {
        let mut picked: Vec<(usize, u64)> = picked;
        picked.sort_by_key(|(_, index)| *index);
        picked.dedup_by_key(|(_, index)| *index);
        let said: Vec<(u64, Said)> = picked.iter().map(|(at, index)| (*index, pool[*at].0.clone())).collect();
        // In any order: only the index counts.
        let beside: Vec<(LeafIndex, VerifiedStatement)> = picked
            .iter()
            .rev()
            .map(|(at, index)| (LeafIndex::new(*index).unwrap(), pool[*at].1.clone()))
            .collect();
        let verdict = check(&gate, &publishers, Some(Hash::digest(b"x")), &beside);
        let ours = |rule: &&Requirement| rule.purls[0].as_str().contains("example");
        let lacking: Vec<&Requirement> =
            gate.iter().filter(ours).filter(|rule| (oracle(rule, &said) as u64) < rule.at_least).collect();
        match verdict {
            Ok(()) => prop_assert!(lacking.is_empty(), "{gate:?} {said:?}"),
            Err(Refusal::Attestations { missing }) => {
                prop_assert_eq!(missing.len(), lacking.len());
                for (missing, rule) in missing.iter().zip(lacking) {
                    prop_assert_eq!(&missing.from, &rule.from);
                    prop_assert_eq!(missing.seen.len(), oracle(rule, &said));
                    prop_assert_eq!(missing.seen.len() + missing.missing.len(), rule.from.len());
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
        Ok(())
    });
    result.unwrap();
    // The same cases once more, to see that the table has both answers.
    for (said, verified) in &pool {
        let rule = Requirement { from: vec!["a".to_owned()], at_least: 1, ..a_rule() };
        let beside = [(LeafIndex::new(3).unwrap(), verified.clone())];
        let gate = std::slice::from_ref(&rule);
        let is_met = check(gate, &publishers, Some(Hash::digest(b"x")), &beside).is_ok();
        assert_eq!(is_met, oracle(&rule, &[(3, said.clone())]) == 1, "{said:?}");
        if is_met { met += 1 } else { refused += 1 }
    }
    assert!(met > 3 && refused > 3, "{met} met, {refused} refused");
}

/// Asks `a`, `b` and `c` for a summary that passed.
fn a_rule() -> Requirement {
    Requirement {
        purls: vec![PurlPattern::parse("pkg:generic/example/*").unwrap()],
        kinds: Vec::new(),
        attestation: StatementKind::VerificationSummary,
        from: ["a", "b", "c"].map(ToString::to_string).to_vec(),
        at_least: 2,
        says: Conditions { result: Some("PASSED".to_owned()), ..Conditions::default() },
    }
}

#[test]
fn a_refusal_names_who_is_missing_and_why() {
    let (pool, publishers) = (pool(), publishers());
    let gate = [a_rule(), Requirement { from: vec!["c".to_owned()], at_least: 1, ..a_rule() }];
    let of = |by: &[&str], passed: bool, at: u64| {
        let found = pool.iter().find(|(said, _)| {
            said.by == by && said.passed == passed && said.is_ours && said.is_summary && said.names_ours
        });
        (LeafIndex::new(at).unwrap(), found.unwrap().1.clone())
    };
    let check = |beside: &[(LeafIndex, VerifiedStatement)], digest| {
        check(&gate, &publishers, digest, beside).map_err(|e| e.to_string())
    };
    let x = Some(Hash::digest(b"x"));
    assert_eq!(
        check(&[of(&["a"], true, 3), of(&["b"], true, 4), of(&["b"], false, 7)], x).unwrap_err(),
        "verification-summary by 2 of (a, b, c): saw a; missing b (another result, at leaf 7), c; \
         verification-summary by 1 of (c): saw none; missing c"
    );
    // One statement with two signatures is one of each; two keys of one publisher are one publisher.
    assert_eq!(check(&[of(&["a", "c"], true, 3)], x), Ok(()));
    let (first, second) = (pool.iter().find(|(said, _)| said.by == ["a"]).unwrap(), &pool[9]);
    assert_eq!((first.0.by.as_slice(), second.0.by.as_slice()), (&["a"][..], &["a"][..]));
    let twice = [3, 4].map(|at| LeafIndex::new(at).unwrap()).into_iter().zip([&first.1, &second.1]);
    let twice: Vec<_> = twice.map(|(at, verified)| (at, verified.clone())).collect();
    assert!(
        check(&twice, x)
            .unwrap_err()
            .starts_with("verification-summary by 2 of (a, b, c): saw a; missing b, c")
    );
    // What was said last counts, also if it is good again.
    let again = [of(&["c"], true, 9), of(&["c"], false, 5), of(&["a"], true, 1)];
    assert_eq!(check(&again, x), Ok(()));
    assert!(check(&again, Some(Hash::digest(b"z"))).is_err(), "about another artifact");
    assert!(check(&again, None).is_err());
}

/// A review of a rule stream is of its manifest file. It counts for any files of it.
#[test]
fn what_is_said_of_a_manifest_file_is_said_of_its_files() {
    let files = [("a".to_owned(), Hash::digest(b"a"))];
    let manifest = crate::release::FileManifest::new(files.to_vec()).unwrap();
    let (reference, digest, part) = (manifest.reference(), manifest.digest(), manifest.prove(&[0]).unwrap());
    let mut release = sample_release(manifest.to_string().as_bytes());
    release.manifest = Some(reference);
    for artifact in [Artifact::Files(&files, &part), Artifact::Manifest(&reference, &digest)] {
        assert_eq!(digest_of(artifact, &release), Some(digest));
    }
    // Of several artifacts, nothing says which one is the manifest.
    release.subjects.push(release.subjects[0].clone());
    assert_eq!(digest_of(Artifact::Files(&files, &part), &release), Some(reference.root));
}
