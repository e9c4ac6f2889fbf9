use super::*;
use crate::checkpoint::policy::Policy;
use crate::endpoint::TrustFile;
use crate::release::tests::{publisher_signer, publisher_toml, sample_release};

const POLICY: &[u8] = include_bytes!("../../../fixtures/verify/witnessed.policy");

fn publishers() -> Publishers {
    let of = |name, seed, kinds: &[&str]| {
        publisher_toml(name, &[&publisher_signer(seed)], &["pkg:generic/example/*"], kinds)
    };
    let toml = of("vendor", 1, &["build"])
        + &of("rebuilder-a", 2, &["verification-summary"])
        + &of("rebuilder-b", 3, &["verification-summary", "provenance"]);
    Publishers::parse(toml.as_bytes()).unwrap()
}

/// One with every member that a verification summary can have.
fn summary() -> Requirement {
    Requirement {
        purls: vec![PurlPattern::parse("pkg:generic/example/*").unwrap()],
        kinds: vec![Kind::Build],
        attestation: StatementKind::VerificationSummary,
        from: vec!["rebuilder-a".to_owned(), "rebuilder-b".to_owned()],
        at_least: 2,
        says: Conditions {
            builder: None,
            policy: Some("https://example.com/policy".to_owned()),
            result: Some("PASSED".to_owned()),
            levels: vec!["SLSA_BUILD_LEVEL_3".to_owned()],
            max_age: Some(7_776_000),
        },
    }
}

fn provenance() -> Requirement {
    Requirement {
        kinds: Vec::new(),
        attestation: StatementKind::Provenance,
        from: vec!["rebuilder-b".to_owned()],
        at_least: 1,
        says: Conditions { builder: Some("https://example.com/b".to_owned()), ..Conditions::default() },
        ..summary()
    }
}

fn file() -> String {
    let gate = vec![summary(), provenance()];
    let file = TrustFile::new(1, &Policy::parse(POLICY).unwrap(), publishers(), gate).unwrap();
    String::from_utf8(file.to_bytes()).unwrap()
}

#[test]
fn a_gate_is_kept_in_a_trust_file() {
    let text = file();
    let gate = "\"gate\":[{\"at_least\":2,\"attestation\":\"verification-summary\",\
         \"from\":[\"rebuilder-a\",\"rebuilder-b\"],\"kinds\":[\"build\"],\"levels\":[\"SLSA_BUILD_LEVEL_3\"],\
         \"max_age\":7776000,\"policy\":\"https://example.com/policy\",\"purls\":[\"pkg:generic/example/*\"],\
         \"result\":\"PASSED\"},\
         {\"at_least\":1,\"attestation\":\"provenance\",\"builder\":\"https://example.com/b\",\
         \"from\":[\"rebuilder-b\"],\"purls\":[\"pkg:generic/example/*\"]}]";
    assert!(text.contains(gate), "{text}");
    let read = TrustFile::parse(text.as_bytes()).unwrap();
    assert_eq!(read.trust().gate, [summary(), provenance()]);
    assert_eq!(read.to_bytes(), text.as_bytes());
    assert_eq!(
        summary().in_words(),
        "verification-summary by 2 of (rebuilder-a, rebuilder-b), result PASSED, levels SLSA_BUILD_LEVEL_3, \
         policy https://example.com/policy, no older than 7776000 s"
    );
}

#[test]
fn a_gate_has_one_spelling_and_can_be_met() {
    for (from, to, says) in [
        ("\"at_least\":2", "\"at_least\":0", "1 to 2, the number of publishers, saw 0"),
        ("\"at_least\":2", "\"at_least\":3", "1 to 2, the number of publishers, saw 3"),
        ("\"at_least\":2,", "", "expected gate 1.at_least to be there"),
        ("verification-summary\",\"from", "build\",\"from", "a kind of attestation"),
        ("verification-summary\",\"from", "withdrawal\",\"from", "gate 1.attestation to be a kind"),
        ("verification-summary\",\"from", "guess\",\"from", "gate 1.attestation to be a kind"),
        ("verification-summary\",\"from", "sbom\",\"from", "the right to sbom"),
        ("\"rebuilder-a\",\"rebuilder-b\"", "", "1 to 256 from, saw 0"),
        ("\"rebuilder-a\",\"rebuilder-b\"", "\"rebuilder-a\",7", "gate 1.from to be a list of strings"),
        ("\"rebuilder-a\",\"rebuilder-b\"", "\"rebuilder-a\",\"rebuilder-a\"", "\"rebuilder-a\" twice"),
        (
            "\"rebuilder-a\",\"rebuilder-b\"",
            "\"rebuilder-a\",\"me\"",
            "names of the file's publishers, saw \"me\"",
        ),
        (
            "\"rebuilder-a\",\"rebuilder-b\"",
            "\"rebuilder-a\",\"vendor\"",
            "the right to verification-summary",
        ),
        ("\"kinds\":[\"build\"],\"levels\"", "\"kinds\":[],\"levels\"", "gate 1.kinds to have an item"),
        (
            "\"kinds\":[\"build\"],\"levels\"",
            "\"kinds\":[\"provenance\"],\"levels\"",
            "gate 1.kinds to be kinds",
        ),
        ("\"kinds\":[\"build\"],\"levels\"", "\"kinds\":[\"build\",\"build\"],\"levels\"", "build twice"),
        ("[\"SLSA_BUILD_LEVEL_3\"]", "[]", "gate 1.levels to have an item"),
        ("\"max_age\":7776000", "\"max_age\":0", "gate 1.max_age to be a number of seconds"),
        ("\"max_age\":7776000", "\"max_age\":\"90d\"", "gate 1.max_age to be a number of seconds"),
        ("https://example.com/policy", "", "a policy"),
        ("\"policy\":\"https", "\"builder\":\"https", "no builder of a verification-summary"),
        ("\"builder\":\"https", "\"policy\":\"https", "no policy of a provenance"),
        (",\"result\":\"PASSED\"", "", "the result PASSED, saw none"),
        ("\"result\":\"PASSED\"", "\"result\":\"FAILED\"", "the result PASSED"),
        ("\"result\":\"PASSED\"", "\"resultat\":\"PASSED\"", "expected no other field in gate 1"),
        (
            "\"purls\":[\"pkg:generic/example/*\"],\"result\"",
            "\"purls\":[],\"result\"",
            "1 to 256 purls, saw 0",
        ),
        (
            "\"purls\":[\"pkg:generic/example/*\"],\"result\"",
            "\"purls\":[\"*\"],\"result\"",
            "a purl pattern",
        ),
        ("\"at_least\":2,\"attestation", "\"at_least\":2, \"attestation", "canonical JSON"),
        ("{\"at_least\":2", "{\"at_leest\":2", "expected gate 1.at_least to be there"),
    ] {
        let wrong = file().replacen(from, to, 1);
        assert_ne!(wrong, file(), "{from}");
        let error = TrustFile::parse(wrong.as_bytes()).expect_err(&wrong).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    // A file that asks for nothing has no gate.
    let (before, rest) = file().split_once("\"gate\":[").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, after) = rest.split_once("],\"number\"").unwrap();
    let error = TrustFile::parse(format!("{before}\"gate\":[],\"number\"{after}").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("expected gate to ask for something"), "{error}");
    let many = vec![provenance(); MAX_REQUIREMENTS + 1];
    let error = TrustFile::new(1, &Policy::parse(POLICY).unwrap(), publishers(), many).unwrap_err();
    assert!(error.to_string().contains("at most 256 requirements"), "{error}");
}

#[test]
fn every_flipped_byte_is_refused_or_another_file() {
    let text = file();
    let from = text.find("\"gate\"").unwrap();
    for at in from..text.find("\"number\"").unwrap() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = TrustFile::parse(&bytes) {
                assert_eq!(read.to_bytes(), bytes, "one spelling");
                assert_ne!(read.trust().gate, [summary(), provenance()], "another meaning");
            }
        }
    }
}

#[test]
fn a_requirement_is_about_packages_and_kinds() {
    let release = sample_release(b"x");
    let rule = |purl: &str, kinds: &[Kind]| Requirement {
        purls: vec![PurlPattern::parse(purl).unwrap()],
        kinds: kinds.to_vec(),
        ..summary()
    };
    assert!(rule("pkg:generic/example/*", &[]).is_about(&release));
    assert!(rule("pkg:generic/example/scanner", &[Kind::Update, Kind::Build]).is_about(&release));
    assert!(!rule("pkg:generic/example/other", &[]).is_about(&release));
    assert!(!rule("pkg:generic/example/*", &[Kind::Update]).is_about(&release));
}

#[test]
fn a_higher_level_of_the_same_track_is_enough() {
    for (level, wanted, is_enough) in [
        ("SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_3", true),
        ("SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_2", true),
        ("SLSA_BUILD_LEVEL_10", "SLSA_BUILD_LEVEL_9", true),
        ("SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_3", false),
        ("SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_3", false),
        ("SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_0", false),
        ("SLSA_BUILD_LEVEL_+3", "SLSA_BUILD_LEVEL_2", false),
        ("SLSA_BUILD_LEVEL_", "SLSA_BUILD_LEVEL_0", false),
        ("OURS_LEVEL_3", "OURS_LEVEL_2", false),
        ("OURS", "OURS", true),
    ] {
        assert_eq!(reaches(level, wanted), is_enough, "{level} for {wanted}");
    }
}
