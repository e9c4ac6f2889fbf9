//! Statements that people make beside releases: reviews, disclosures, lists of components, tests, and what was signed for
//! other systems.

use super::*;
use crate::merkle::LeafIndex;
use crate::release::{
    CarriedEnvelope, Commitment, Disclosure, Imported, Opening, Reference, Review, ReviewScope, Shown, Signer,
};

const PURL: &str = "pkg:generic/example/scanner@4.2.0";

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A statement of any type about an artifact.
fn attested(predicate_type: &str, predicate: &str) -> Vec<u8> {
    let digest = Hash::digest(b"x").to_hex();
    canonical(&format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1",
        "subject":[{{"name":"{PURL}","digest":{{"sha256":"{digest}"}}}}],
        "predicateType":"{predicate_type}","predicate":{predicate}}}"#
    ))
}

fn opening(n: u8) -> Opening {
    Opening::new(format!("finding {n}:\n\tthe updater follows links"), [n; 32]).unwrap()
}

fn resource(name: Option<&str>, uri: Option<&str>, (algorithm, value): (&str, &str)) -> Resource {
    let digests = vec![(algorithm.to_owned(), value.to_owned())];
    Resource { name: name.map(ToOwned::to_owned), uri: uri.map(ToOwned::to_owned), digests }
}

fn review() -> Vec<u8> {
    let artifact = Hash::digest(b"x").to_hex();
    let subjects = [
        resource(None, Some("git+https://example.com/scanner"), ("gitCommit", "0123")),
        resource(Some("scanner.bin"), None, ("sha256", &artifact)),
    ];
    let predicate = format!(
        r#"{{"reviewer":{{"id":"https://centre.example.com"}},"finishedOn":"2026-01-31T12:00:00Z",
        "scope":["source","build"],"result":"PASSED_WITH_FINDINGS","purl":"{PURL}","log":"{LOG}",
        "report":{{"digest":{{"sha256":"{}"}},"uri":"https://centre.example.com/r"}},
        "commitments":["{}","{}"]}}"#,
        Hash::digest(b"report").to_hex(),
        opening(1).commitment().to_hex(),
        opening(2).commitment().to_hex(),
    );
    Statement::attestation("urn:treehead:review:v1", predicate.as_bytes(), &subjects).unwrap()
}

fn review_entry() -> Vec<u8> {
    Envelope::sign(review(), &[&publisher_signer(1)]).unwrap().to_entry()
}

fn disclosure(to: Option<&str>) -> Vec<u8> {
    let at = LeafIndex::new(17).unwrap();
    Disclosure::of(at, &review_entry(), &opening(2), to).unwrap().to_payload().unwrap()
}

const SLSA: &str = r#"{"buildDefinition":{"buildType":"https://example.com/make"},
    "runDetails":{"builder":{"id":"https://example.com/builder"}}}"#;

fn imported() -> Vec<u8> {
    let payload = attested("https://slsa.dev/provenance/v1", SLSA);
    let envelope = CarriedEnvelope { payload, signatures: vec![(String::new(), vec![1, 2, 3])] };
    let signer = Signer::Certificate {
        identity: "https://example.com/.github/workflows/release.yml@refs/tags/v4.2.0".to_owned(),
        issuer: Some("https://token.actions.example.com".to_owned()),
    };
    let bundle = (Hash::digest(b"bundle"), "application/vnd.dev.sigstore.bundle.v0.3+json".to_owned());
    Imported::new(envelope, Some(vec![0x30, 0]), signer, bundle).unwrap().to_payload().unwrap()
}

const TEST: &str = r#"{"result":"PASSED","configuration":[{"name":"ci.yml","digest":{"gitBlob":"ab"}}],
    "url":"https://example.com/7","passedTests":["a"],"warnedTests":[],"failedTests":[]}"#;
const VEX: &str = r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex","author":"Example",
    "timestamp":"2026-01-31T12:00:00.5Z","version":1,
    "statements":[{"vulnerability":{"name":"CVE-2026-1"},"status":"not_affected"}]}"#;

fn reference(media_types: &[&str]) -> Vec<u8> {
    let document = |of: &&str| {
        format!(
            r#"{{"downloadLocation":"https://example.com/d","mediaType":"{of}","digest":{{"sha256":"{}"}}}}"#,
            hex(7)
        )
    };
    let documents: Vec<String> = media_types.iter().map(document).collect();
    attested(
        "https://in-toto.io/attestation/reference/v0.1",
        &format!(r#"{{"attester":{{"id":"https://example.com/a"}},"references":[{}]}}"#, documents.join(",")),
    )
}

/// One of each type, with the kind that it has.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let old_summary = r#"{"verifier":{"id":"https://example.com/auditor"},"time_verified":"2026-01-31T12:00:00.1Z",
        "resource_uri":"https://example.com/image","policy":{"uri":"https://example.com/p"},
        "input_attestations":[{"digest":{"sha256":"00ff"},"uri":"https://example.com/a"}],
        "verification_result":"PASSED","policy_level":"SLSA_LEVEL_3"}"#;
    let old_summary = old_summary.replace("00ff", &hex(1));
    let old_provenance = r#"{"builder":{"id":"https://example.com/builder"},"buildType":"https://example.com/make",
        "invocation":{"configSource":{"uri":"git+https://example.com/scanner","digest":{"sha1":"ab"}}},
        "metadata":{"completeness":{"materials":false},"reproducible":false},
        "materials":[{"uri":"git+https://example.com/scanner","digest":{"sha1":"ab"}}]}"#;
    vec![
        ("provenance", attested("https://slsa.dev/provenance/v0.2", old_provenance)),
        ("verification-summary", attested("https://slsa.dev/verification_summary/v0.2", &old_summary)),
        ("review", review()),
        ("disclosure", disclosure(None)),
        ("disclosure", disclosure(Some("the Ministry of Examples"))),
        ("imported", imported()),
        ("sbom", attested("https://spdx.dev/Document", r#"{"spdxVersion":"SPDX-2.3","name":"scanner"}"#)),
        ("sbom", attested("https://spdx.dev/Document/v2.3", r#"{"spdxVersion":"SPDX-2.3"}"#)),
        ("sbom", attested("https://spdx.dev/Document", "\"SPDXVersion: SPDX-2.2\\n\"")),
        ("sbom", attested("https://cyclonedx.org/bom", r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#)),
        ("sbom", attested("https://cyclonedx.org/bom/v1.4", r#"{"bomFormat":"CycloneDX"}"#)),
        ("sbom", reference(&["application/spdx+json"])),
        ("sbom", reference(&["application/vnd.cyclonedx+json; version=1.6", "text/spdx"])),
        ("vex", attested("https://openvex.dev/ns", VEX)),
        ("vex", attested("https://openvex.dev/ns/v0.2.0", VEX)),
        ("vex", reference(&["application/vnd.openvex+json"])),
        ("test-result", attested("https://in-toto.io/attestation/test-result/v0.1", TEST)),
        ("https://in-toto.io/attestation/reference/v0.1", reference(&["application/spdx+json", "text/html"])),
        ("https://in-toto.io/attestation/reference/v0.1", reference(&["application/octet-stream"])),
        (
            "https://cosign.sigstore.dev/attestation/vuln/v1",
            attested("https://cosign.sigstore.dev/attestation/vuln/v1", "{}"),
        ),
        ("cosign.sigstore.dev/attestation/v1", attested("cosign.sigstore.dev/attestation/v1", "[1.5]")),
        ("https://slsa.dev/provenance/v1/", attested("https://slsa.dev/provenance/v1/", "{}")),
    ]
}

fn auditor(kinds: &[&str]) -> Publishers {
    let toml = publisher_toml("auditor", &[&publisher_signer(1)], &["pkg:generic/example/*"], kinds);
    Publishers::parse(toml.as_bytes()).unwrap()
}

#[test]
fn each_type_is_read_and_needs_its_right() {
    let all: Vec<&str> = StatementKind::listable().iter().map(StatementKind::as_str).collect();
    for (kind, payload) in samples() {
        let text = String::from_utf8_lossy(&payload).into_owned();
        let statement = Statement::parse(&payload).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(statement.kind().as_str(), kind, "{text}");
        assert_eq!(statement.purls()[0].as_str(), PURL, "{text}");
        assert_eq!(statement.digests().collect::<Vec<_>>(), [Hash::digest(b"x")], "{text}");
        let predicate_type = statement.predicate_type().unwrap().to_owned();
        let envelope = Envelope::sign(payload.clone(), &[&publisher_signer(1)]).unwrap();
        let verified = |kinds: &[&str]| auditor(kinds).verify(&envelope, LOG);
        assert!(verified(&[kind]).is_ok(), "{kind}");
        assert!(verified(&[&predicate_type]).is_ok(), "{predicate_type}");
        let others: Vec<&str> = all.iter().copied().filter(|other| *other != kind).collect();
        let refused = verified(&others).unwrap_err();
        assert!(matches!(refused, StatementError::NotPermitted { .. }), "{refused}");
        // Nor does the right to something with a similar name.
        assert!(verified(&[&format!("https://example.com/{predicate_type}")]).is_err(), "{kind}");
        // The purl counts, wherever it stands.
        let other = publisher_toml("auditor", &[&publisher_signer(1)], &["pkg:deb/*"], &[kind]);
        let refused = Publishers::parse(other.as_bytes()).unwrap().verify(&envelope, LOG).unwrap_err();
        assert!(refused.to_string().contains(" about pkg:generic/example/scanner: "), "{refused}");
        // It is found by its kind and by its type.
        let facts = Facts::of_entry(&envelope.to_entry(), &auditor(&[kind])).unwrap();
        let values = Facts::values(&envelope.to_entry(), &auditor(&[kind])).unwrap();
        for value in [kind, &predicate_type] {
            assert!(facts.terms.contains(&Term::new(SearchField::Kind, value)), "{value}");
            assert!(values.matches(SearchField::Kind, value), "{value}");
        }
        assert!(facts.claims.is_empty() && facts.numbers.is_empty());
        // Words never fail, and name every subject.
        let told = statement.describe();
        assert!(told.lines.iter().any(|(_, text)| text.contains(&Hash::digest(b"x").to_hex())), "{told:?}");
        assert!(!serde_json::Value::from(told.object.clone())["what"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_first_types_are_found_by_their_uri_too_in_any_index() {
    let terms = |value| Term::new(SearchField::Kind, value);
    assert_eq!(terms("https://slsa.dev/provenance/v1"), terms("provenance"));
    assert_eq!(terms("https://slsa.dev/verification_summary/v1"), terms("verification-summary"));
    assert_ne!(terms("https://slsa.dev/provenance/v0.2"), terms("provenance"));
    let payload = attested("https://slsa.dev/provenance/v1", SLSA);
    let entry = Envelope::sign(payload, &[&publisher_signer(1)]).unwrap().to_entry();
    let values = Facts::values(&entry, &Publishers::default()).unwrap();
    assert!(values.matches(SearchField::Kind, "provenance"));
    assert!(values.matches(SearchField::Kind, "https://slsa.dev/provenance/v1"));
    assert!(!values.matches(SearchField::Kind, "https://slsa.dev/provenance/v0.2"));
}

#[test]
fn rights_have_one_spelling() {
    for kind in StatementKind::listable() {
        assert_eq!(StatementKind::parse_right(kind.as_str()).as_ref(), Some(kind));
        assert!(StatementKind::rights().contains(kind.as_str()));
    }
    for uri in
        ["https://slsa.dev/provenance/v1", "urn:example:a", "urn:treehead:review:v1", "cosign.sigstore.dev/a"]
    {
        assert_eq!(StatementKind::parse_right(uri), Some(StatementKind::Other(uri.into())), "{uri}");
    }
    for none in [
        "",
        "virus",
        "Build",
        "withdrawal",
        "a b:c",
        "a:\"b",
        "a:b\n",
        "a:\u{202e}b",
        "é:a",
        // Releases and withdrawals are rights of their own.
        "https://in-toto.io/attestation/release/v0.2",
        "urn:treehead:withdrawal:v1",
        // Nobody can misspell one of ours.
        "urn:treehead:withdrawl:v1",
        "URN:treehead:review:v1",
        "urn:Treehead:x",
    ] {
        assert_eq!(StatementKind::parse_right(none), None, "{none}");
    }
}

#[test]
fn a_predicate_type_is_a_uri_and_no_unknown_one_of_ours() {
    for bad in [
        "",
        "provenance",
        "urn:treehead:withdrawal:v2",
        "URN:treehead:withdrawal:v1",
        "urn:treehead:",
        "https://example.com/a b",
        "https://example.com/\u{202e}",
        "https://example.com/<",
    ] {
        let payload = attested(bad, "{}");
        assert_refused(
            Statement::parse(&payload),
            "predicateType to be the URI of a predicate type",
            &payload,
        );
    }
    let long = format!("https://example.com/{}", "a".repeat(1_024));
    assert!(Statement::parse(&attested(&long, "{}")).is_err());
    // Any predicate, or none: in-toto lets it be missing.
    let payload = attested("https://example.com/a", "{}");
    assert!(Statement::parse(&changed(&payload, "/predicate", "")).is_ok());
    assert_refused(Statement::parse(&changed(&payload, "/subject", "[]")), "at least one subject", &payload);
    assert_refused(
        Statement::parse(&changed(&payload, "/subject/0/digest", "{}")),
        "digest to be there",
        &payload,
    );
}

#[test]
fn a_review_says_who_looked_at_what() {
    let read = Review::parse(&review()).unwrap();
    assert_eq!(read.reviewer, "https://centre.example.com");
    assert_eq!(read.scope, [ReviewScope::Source, ReviewScope::Build]);
    assert_eq!(read.commitments, [opening(1).commitment(), opening(2).commitment()]);
    assert_eq!((read.purl.as_ref().unwrap().as_str(), read.log.as_deref()), (PURL, Some(LOG)));
    let statement = Statement::Review(read);
    assert_eq!(statement.result(), Some("PASSED_WITH_FINDINGS"));
    assert_eq!(statement.stated_time().map(format_time).as_deref(), Some("2026-01-31T12:00:00Z"));
    assert_eq!(statement.log(), Some(LOG));
    let words = statement.describe();
    assert!(words.lines.contains(&("looked at", "source, build".to_owned())), "{words:?}");
}

#[test]
fn every_field_of_a_review_is_checked() {
    let many: Vec<String> = (0..=256).map(|n: u32| format!("\"{n:064x}\"")).collect();
    let (many, fits) = (format!("[{}]", many.join(",")), format!("[{}]", many[1..].join(",")));
    assert!(Review::parse(&changed(&review(), "/predicate/commitments", &fits)).is_ok());
    let twice = format!("[\"{0}\",\"{0}\"]", hex(1));
    for (pointer, value, why) in [
        ("/predicate", "", "predicate to be there"),
        ("/predicate/extra", "1", "no other field in predicate"),
        ("/predicate/reviewer", "", "predicate.reviewer to be there"),
        ("/predicate/reviewer", "\"x\"", "predicate.reviewer to be an object"),
        ("/predicate/reviewer/id", "\"\"", "the id of a reviewer is malformed"),
        ("/predicate/reviewer/id", "\"a\\u0007\"", "the id of a reviewer is malformed"),
        ("/predicate/reviewer/name", "\"a\"", "no other field in predicate.reviewer"),
        ("/predicate/finishedOn", "", "predicate.finishedOn to be there"),
        ("/predicate/finishedOn", "\"2026-01-31\"", "a time is malformed"),
        ("/predicate/result", "", "predicate.result to be there"),
        ("/predicate/result", "\"passed\"", "to be PASSED, PASSED_WITH_FINDINGS or FAILED"),
        ("/predicate/scope", "", "predicate.scope to be there"),
        ("/predicate/scope", "[]", "predicate.scope to have source, update, rules or build"),
        ("/predicate/scope", "[\"source\",\"source\"]", "each once, saw \"source\""),
        ("/predicate/scope", "[\"all\"]", "each once, saw \"all\""),
        ("/predicate/scope", "[7]", "each once, saw 7"),
        ("/predicate/report", "", "predicate.report to be there"),
        ("/predicate/report/digest", "{}", "predicate.report.digest.sha256 to be there"),
        ("/predicate/report/digest/sha256", "\"AB\"", "64 lower-case hex digits"),
        ("/predicate/report/digest/md5", "\"ab\"", "no other field in predicate.report.digest"),
        ("/predicate/report/name", "\"a\"", "no other field in predicate.report"),
        ("/predicate/report/uri", "\"\"", "the uri of a report is malformed"),
        ("/predicate/commitments", "[7]", "predicate.commitments[] to be a string"),
        ("/predicate/commitments", "[\"00\"]", "64 lower-case hex digits"),
        ("/predicate/commitments", &twice, "each commitment once"),
        ("/predicate/commitments", &many, "at most 256 commitments"),
        ("/predicate/purl", "\"pkg:generic/a\"", "a purl is malformed"),
        ("/predicate/log", "\"\"", "the log of a statement is malformed"),
        ("/subject", "[]", "at least one subject"),
        ("/subject/0/digest", "{}", "digest to be there"),
    ] {
        let payload = changed(&review(), pointer, value);
        assert_refused(Statement::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
    }
    for optional in ["/predicate/commitments", "/predicate/purl", "/predicate/log", "/predicate/report/uri"] {
        assert!(Statement::parse(&changed(&review(), optional, "")).is_ok(), "{optional}");
    }
}

/// The definition, spelt out once more, with a value that was computed by another program:
/// `{ printf 'treehead finding v1\n'; head -c 32 /dev/zero; printf '\0\0\0\0\0\0\0\003abc'; } | sha256sum`.
#[test]
fn a_commitment_is_what_the_definition_says() {
    let opening = Opening::new("abc".to_owned(), [0; 32]).unwrap();
    let input = [b"treehead finding v1\n".as_slice(), &[0; 32], &3_u64.to_be_bytes(), b"abc"].concat();
    assert_eq!(opening.commitment().to_hex(), Hash::digest(&input).to_hex());
    assert_eq!(
        opening.commitment().to_hex(),
        "940757e84fa0bc0312c3a760954f949a486b1f163554a6566ab9d89bb17d88b7"
    );
    let others = [
        Opening::new("abd".to_owned(), [0; 32]).unwrap(),
        Opening::new("abc ".to_owned(), [0; 32]).unwrap(),
        Opening::new("abc".to_owned(), [1; 32]).unwrap(),
    ];
    assert!(others.iter().all(|other| other.commitment() != opening.commitment()));
    assert_eq!(Commitment::from_hex(&opening.commitment().to_hex()), Ok(opening.commitment()));
    for bad in ["", " \n", "a\u{7}", "a\r\n"] {
        assert!(Opening::new(bad.to_owned(), [0; 32]).is_err(), "{bad:?}");
    }
    assert!(Opening::new("a".repeat(8_192), [0; 32]).is_ok());
    assert!(Opening::new("a".repeat(8_193), [0; 32]).is_err());
    // Neither is shown by accident.
    assert!(!format!("{:?}", Opening::new("secret".to_owned(), [7; 32])).contains("secret"));
}

#[test]
fn a_disclosure_opens_a_commitment_of_its_review() {
    let entry = review_entry();
    let read = Disclosure::parse(&disclosure(None)).unwrap();
    assert_eq!(read.shown, Shown::ToAll(opening(2)));
    assert_eq!((read.index.get(), read.leaf, read.log.as_deref()), (17, Hash::leaf(&entry), Some(LOG)));
    assert_eq!(read.check_review(&entry), Ok(()));
    let private = Disclosure::parse(&disclosure(Some("the Ministry of Examples"))).unwrap();
    assert_eq!(private.shown, Shown::To("the Ministry of Examples".to_owned()));
    assert_eq!(private.check_review(&entry), Ok(()));
    let text = String::from_utf8(disclosure(Some("x"))).unwrap();
    assert!(!text.contains("finding\"") && !text.contains("salt"), "{text}");
    // Another finding is none of the review's.
    let at = LeafIndex::new(17).unwrap();
    let refused = Disclosure::of(at, &entry, &opening(3), None).unwrap_err().to_string();
    assert!(refused.contains("one of the review's commitments"), "{refused}");
    let release = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    assert!(Disclosure::of(at, &release, &opening(2), None).is_err());
    // Neither the review nor what is said of it can be exchanged.
    let resigned = Envelope::sign(review(), &[&publisher_signer(2)]).unwrap().to_entry();
    assert!(read.check_review(&resigned).unwrap_err().to_string().contains("leaf hash"));
    for (pointer, value, why) in [
        ("/predicate/commitment", format!("{:?}", opening(1).commitment().to_hex()), ""),
        ("/subject/1/name", "\"other.bin\"".to_owned(), "the subjects and the package of the review"),
        ("/predicate/purl", "\"pkg:generic/example/other@1\"".to_owned(), "the subjects and the package"),
    ] {
        let changed = Disclosure::parse(&changed(&disclosure(Some("x")), pointer, &value)).unwrap();
        let checked = changed.check_review(&entry);
        match why {
            "" => assert_eq!(checked, Ok(()), "another finding of the same review"),
            why => assert!(checked.unwrap_err().to_string().contains(why), "{pointer}"),
        }
    }
    let foreign = format!("{:?}", opening(9).commitment().to_hex());
    let foreign =
        Disclosure::parse(&changed(&disclosure(Some("x")), "/predicate/commitment", &foreign)).unwrap();
    assert!(foreign.check_review(&entry).unwrap_err().to_string().contains("a commitment of the review"));
}

#[test]
fn every_field_of_a_disclosure_is_checked() {
    let other = format!("{:?}", hex(1));
    for (pointer, value, why) in [
        ("/predicate/extra", "1", "no other field in predicate"),
        ("/predicate/commitment", "", "predicate.commitment to be there"),
        ("/predicate/commitment", &other, "finding and salt that open the commitment"),
        ("/predicate/finding", "\"another\"", "finding and salt that open the commitment"),
        ("/predicate/finding", "", "predicate.finding to be there"),
        ("/predicate/finding", "\"a\\u0007\"", "a finding is malformed"),
        ("/predicate/salt", "", "predicate.salt to be there"),
        ("/predicate/salt", &other, "finding and salt that open the commitment"),
        ("/predicate/salt", "\"0\"", "64 lower-case hex digits"),
        ("/predicate/to", "\"\"", "the party of a disclosure is malformed"),
        ("/predicate/to", "\"x\"", "no other field in predicate, saw "),
        ("/predicate/review", "", "predicate.review to be there"),
        ("/predicate/review/index", "-1", "predicate.review.index to be an integer"),
        ("/predicate/review/leaf", "\"00\"", "64 lower-case hex digits"),
        ("/predicate/review/name", "1", "no other field in predicate.review"),
        ("/predicate/purl", "\"pkg:generic/a\"", "a purl is malformed"),
        ("/predicate/log", "7", "predicate.log to be a string"),
        ("/subject", "[]", "at least one subject"),
    ] {
        let payload = changed(&disclosure(None), pointer, value);
        assert_refused(Statement::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
    }
}

#[test]
fn an_imported_statement_says_what_it_carries_and_that_nobody_checked_it() {
    let Statement::Imported(read) = Statement::parse(&imported()).unwrap() else { panic!() };
    assert_eq!(read.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(read.to_payload().unwrap(), imported());
    let words = Statement::Imported(read.clone()).describe();
    let text = format!("{:?}", words.lines);
    assert!(text.contains("neither the log nor this program checked that signature"), "{text}");
    assert!(text.contains("release.yml@refs/tags/v4.2.0, vouched for by https://token.actions"), "{text}");
    assert!(text.contains("https://example.com/builder"), "what is inside: {text}");
    assert_eq!(serde_json::Value::from(words.object.clone())["signature"], "not checked");
    // The envelope may be left out.
    let mut bare = read;
    (bare.envelope, bare.certificate) = (None, None);
    bare.signer = Signer::Key("SHA256:abc".to_owned());
    let bare = bare.to_payload().unwrap();
    let Statement::Imported(bare) = Statement::parse(&bare).unwrap() else { panic!() };
    assert_eq!((&bare.envelope, &bare.signer), (&None, &Signer::Key("SHA256:abc".to_owned())));
    let other_type = "\"https://slsa.dev/provenance/v0.2\"";
    let (other, nested) = (format!("{:?}", hex(1)), "\"urn:treehead:imported:v1\"");
    for (pointer, value, why) in [
        ("/predicate/extra", "1", "no other field in predicate"),
        ("/predicate/predicateType", "", "predicate.predicateType to be there"),
        (
            "/predicate/predicateType",
            other_type,
            "the digest, predicate type and subjects of the carried payload",
        ),
        ("/predicate/predicateType", nested, "a predicate type that is not this program's"),
        ("/predicate/payload/digest/sha256", &other, "the digest, predicate type and subjects"),
        ("/subject/0/name", "\"pkg:generic/example/other@1\"", "the digest, predicate type and subjects"),
        ("/subject/0/digest/sha256", &other, "the digest, predicate type and subjects"),
        ("/predicate/envelope/payload", "\"e30=\"", "the digest, predicate type and subjects"),
        ("/predicate/envelope/payload", "\"*\"", "predicate.envelope.payload to be padded base64"),
        (
            "/predicate/envelope/payloadType",
            "\"text/plain\"",
            "payloadType to be application/vnd.in-toto+json",
        ),
        ("/predicate/envelope/signatures", "[]", "at least one signature"),
        ("/predicate/envelope/signatures/0/sig", "7", "sig to be a string"),
        ("/predicate/envelope/signatures/0/cert", "\"a\"", "no other field"),
        ("/predicate/envelope/extra", "1", "no other field in predicate.envelope"),
        ("/predicate/certificate", "\"*\"", "predicate.certificate to be padded base64"),
        ("/predicate/bundle", "", "predicate.bundle to be there"),
        ("/predicate/bundle/mediaType", "", "predicate.bundle.mediaType to be there"),
        ("/predicate/bundle/digest/sha256", "\"00\"", "64 lower-case hex digits"),
        ("/predicate/signer", "{}", "predicate.signer.identity to be there"),
        ("/predicate/signer/key", "\"a\"", "no other field in predicate.signer"),
        ("/predicate/signer/identity", "\"a\\u0000\"", "the signer of an imported statement is malformed"),
        ("/predicate/log", "\"\"", "the log of a statement is malformed"),
    ] {
        let payload = changed(&imported(), pointer, value);
        assert_refused(Statement::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
    }
    // Our own types can't hide inside: a release would look as if somebody had made it here.
    for inside in [review(), disclosure(None), imported()] {
        let envelope = CarriedEnvelope { payload: inside, signatures: vec![(String::new(), vec![1])] };
        let signer = Signer::Key("a".to_owned());
        assert!(Imported::new(envelope, None, signer, (Hash::digest(b"b"), "a/b".to_owned())).is_err());
    }
}

#[test]
fn every_field_of_tests_vex_references_and_old_versions_is_checked() {
    let of = |kind: &str| samples().into_iter().find(|(of, _)| *of == kind).unwrap().1;
    let test = of("test-result");
    let vex = of("vex");
    let document = reference(&["text/spdx"]);
    let item = "/predicate/references/0";
    let (location, media) = (format!("{item}/downloadLocation"), format!("{item}/mediaType"));
    let digest = format!("{item}/digest");
    let many = format!("[{}]", vec!["{}"; 65].join(","));
    for (good, pointer, value, why) in [
        (&test, "/predicate/result", "", "predicate.result to be there"),
        (&test, "/predicate/result", "\"OK\"", "to be PASSED, WARNED or FAILED"),
        (&test, "/predicate/configuration", "", "predicate.configuration to be there"),
        (&test, "/predicate/configuration", "[7]", "predicate.configuration[0] to be an object"),
        (&vex, "/predicate/statements", "", "predicate.statements to be there"),
        (&vex, "/predicate/author", "\"a\\u0000\"", "the author of a statement is malformed"),
        (&document, "/predicate/attester", "", "predicate.attester to be there"),
        (&document, "/predicate/attester/id", "", "predicate.attester.id to be there"),
        (&document, "/predicate/references", "[]", "at least one reference"),
        (&document, "/predicate/references", &many, "at most 64 references"),
        (&document, &location, "", "downloadLocation to be there"),
        (&document, &media, "", "mediaType to be there"),
        (&document, &media, "\"a\\n\"", "the mediaType of a document is malformed"),
        (&document, &digest, "", "digest to be there"),
        (&of("provenance"), "/predicate/builder", "", "predicate.builder to be there"),
        (&of("provenance"), "/predicate/builder/id", "\"\"", "predicate.builder.id to be there"),
        (&of("provenance"), "/predicate/buildType", "", "predicate.buildType to be there"),
        (&of("provenance"), "/predicate/materials", "[{}]", "predicate.materials[].uri or a digest"),
        (&of("verification-summary"), "/predicate/verification_result", "", "verificationResult to be there"),
        (&of("verification-summary"), "/predicate/time_verified", "\"x\"", "a time is malformed"),
        (&of("verification-summary"), "/predicate/policy_level", "7", "verifiedLevels[] to be a string"),
        (&of("verification-summary"), "/predicate/verificationResult", "\"FAIL\"", "to be PASSED or FAILED"),
    ] {
        let payload = changed(good, pointer, value);
        assert_refused(Statement::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
    }
    let Statement::Provenance(old) = Statement::parse(&of("provenance")).unwrap() else { panic!() };
    assert_eq!((old.builder.as_str(), old.dependencies.len()), ("https://example.com/builder", 1));
    let Statement::Summary(old) = Statement::parse(&of("verification-summary")).unwrap() else { panic!() };
    assert_eq!(
        (old.levels.as_slice(), old.policy.as_str()),
        (["SLSA_LEVEL_3".to_owned()].as_slice(), "https://example.com/p")
    );
    assert_eq!(Statement::parse(&test).unwrap().result(), Some("PASSED"));
}

#[test]
fn a_reference_is_made_as_it_is_read() {
    let digest = Hash::digest(b"x").to_hex();
    let subject = resource(Some("scanner.bin"), Some(PURL), ("sha256", &digest));
    let made = |media_type, location| {
        let sha256 = Hash::digest(b"body");
        let subjects = core::slice::from_ref(&subject);
        Reference { subjects, attester: "https://example.com/a", sha256, location, media_type }.to_payload()
    };
    let statement =
        Statement::parse(&made("application/spdx+json", "https://example.com/d").unwrap()).unwrap();
    let Statement::Attestation(attestation) = &statement else { panic!() };
    assert_eq!(attestation.documents[0].resource.sha256(), Some(Hash::digest(b"body")));
    assert_eq!(statement.kind(), StatementKind::Sbom);
    assert!(made("", "https://example.com/d").is_err() && made("text/spdx", "a\n").is_err());
}

#[test]
fn an_attestation_is_made_of_a_predicate_and_subjects() {
    let digest = Hash::digest(b"x").to_hex();
    let subject = [resource(Some("scanner.bin"), Some(PURL), ("sha256", &digest))];
    let make = |of: &str, predicate: &str| Statement::attestation(of, predicate.as_bytes(), &subject);
    let made = make("https://slsa.dev/provenance/v1", SLSA).unwrap();
    let statement = Statement::parse(&made).unwrap();
    assert_eq!((statement.kind(), statement.purl().unwrap().as_str()), (StatementKind::Provenance, PURL));
    assert_refused(make("https://example.com/a", "{\"a\":1,\"a\":2}"), "twice", b"");
    assert_refused(make("https://slsa.dev/provenance/v1", "{}"), "buildDefinition to be there", b"");
    let release = full_release().to_payload().unwrap();
    let release: serde_json::Value = serde_json::from_slice(&release).unwrap();
    let predicate = release["predicate"].to_string();
    assert_refused(make("https://in-toto.io/attestation/release/v0.2", &predicate), "an attestation", b"");
}

#[test]
fn a_file_of_findings_is_read_as_it_was_written() {
    let openings = [opening(1), opening(2)];
    let file = Opening::to_file(&openings);
    assert_eq!(Opening::parse_file(&file).unwrap(), openings);
    for (pointer, value, why) in [
        ("/findings/0/finding", "\"another\"", "commitment to be that of the finding"),
        ("/findings/0/salt", "\"00\"", "64 lower-case hex digits"),
        ("/findings/0/commitment", "", "commitment to be there"),
        ("/findings/0/x", "1", "no other field"),
        ("/x", "1", "no other field"),
    ] {
        assert_refused(Opening::parse_file(&changed(&file, pointer, value)), why, pointer.as_bytes());
    }
}

proptest! {
    #[test]
    fn noise_in_statements_of_people_never_panics(
        patch in "[a-zA-Z0-9+/=\"{}\\[\\]:,\\\\ .-]{0,8}",
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
    ) {
        for (_, mut payload) in samples() {
            let at = at.index(payload.len());
            let end = (at + cut).min(payload.len());
            payload.splice(at..end, patch.bytes());
            if let Ok(statement) = Statement::parse(&payload) {
                let _ = statement.describe();
                prop_assert!(statement.as_release().is_none() && statement.as_withdrawal().is_none());
                match statement {
                    Statement::Imported(read) => prop_assert_eq!(Imported::parse(&read.to_payload().unwrap()), Ok(read)),
                    Statement::Disclosure(read) => prop_assert_eq!(Disclosure::parse(&read.to_payload().unwrap()), Ok(read)),
                    _ => {}
                }
            }
        }
    }
}
