use proptest::prelude::*;

use super::json::Json;
use super::*;
use crate::format::{FormatError, base64_decode, base64_encode};
use crate::merkle::Hash;

/// A TEST KEY, made with `openssl genpkey -algorithm ed25519`: published here, so worth nothing.
pub(crate) const TEST_KEY_PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIpovwuY9DoQ9lwiO02smTrj1qK4+3/Km3S/2UooeQZl
-----END PRIVATE KEY-----
";
/// Its public half: `openssl pkey -pubout`.
pub(crate) const TEST_PUBLIC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAOXCMSWVfL8DSzt9sX0+U/VepjJijRBqAOcrP3QeEwgc=
-----END PUBLIC KEY-----
";
/// `openssl pkey -pubout -outform DER | sha256sum`.
const TEST_KEYID: &str = "c6a5820e95fb7b5c03ba19188ef6dba5cae8f63d59f9e236fa5921790a6d6d52";
/// `printf payload | openssl pkeyutl -sign -rawin`, with the test key.
const TEST_SIGNATURE: &str =
    "WXafBrDFLO5Gz7S1YMpyWnsh4JPpO/pkgwRFt3qew2mBsKzWRxX6mQzl7gHt2kBvIQ84HC5nnvE57fn/eIdeCQ==";

const RSA_PUBLIC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvl1hOJvdGttbELoHnaj+
U7LtEra88fOx0TjdckKOmoOxvI2G5BKXVBbzCsKYj9H0WNOv9p08aXmVyCsuiUzC
2oNxrGa2tV6sfsGyLGnim66tzTFI8XQS2l45rWNfkKc6djBiRZFbQWgzgIL3BKpK
ie82rmmm/QXNHDp49iB+g1K/vZjD3saC1XAr4lrIq2yiFILsEt+e5XtauR/A8o64
X0IE56G0hWTxvG00/5EmgZ6NadE0sT95dPwUyxk+5r82qP+KEJfKXchTjbz2iIn2
PYRmPSNAZw0qgIZHpmeyVUb6fuRJhvRq/mjLQCFRMCkyoF2ooYisaLQzwOuarCWq
qwIDAQAB
-----END PUBLIC KEY-----
";
const EC_PUBLIC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWB3P7wrRlewZ73jSY0awwRHCe5dM
eJgz2Xnt+C0r0vIkc6CrmsNVtzLEJt/DT8iPgWTngfpM60sm0/Czv3qTjQ==
-----END PUBLIC KEY-----
";

/// A publisher's key that is the same in every run.
pub(crate) fn publisher_signer(seed: u8) -> PublisherSigner {
    PublisherSigner::from_seed(&[seed; 32])
}

/// A release of one artifact with everything optional left out.
pub(crate) fn sample_release(artifact: &[u8]) -> Release {
    Release {
        subjects: vec![Subject { name: "scanner.bin".to_owned(), sha256: Hash::digest(artifact) }],
        purl: Purl::parse("pkg:generic/example/scanner@4.2.0").unwrap(),
        kind: Kind::Build,
        channel: "stable".to_owned(),
        sequence: 7,
        source: None,
        manifest: None,
        audience: None,
    }
}

/// The entry in which `signers` state `release`.
pub(crate) fn signed_entry(release: &Release, signers: &[&PublisherSigner]) -> Vec<u8> {
    Envelope::sign(release.to_payload().unwrap(), signers).unwrap().to_entry()
}

/// One `[[publisher]]` of a publishers file, without time limits on its keys.
pub(crate) fn publisher_toml(
    name: &str,
    signers: &[&PublisherSigner],
    purls: &[&str],
    kinds: &[&str],
) -> String {
    let keys = signers.iter().map(|s| format!("[[publisher.key]]\npem = '''\n{}'''\n", s.public_pem()));
    let head = format!("[[publisher]]\nname = {name:?}\npurls = {purls:?}\nkinds = {kinds:?}\n");
    head + &keys.collect::<String>()
}

/// A release with everything optional in it.
fn full_release() -> Release {
    Release {
        subjects: vec![
            Subject { name: "scanner.bin".to_owned(), sha256: Hash::digest(b"a") },
            Subject { name: "überwachung.deb".to_owned(), sha256: Hash::digest(b"b") },
        ],
        source: Some(Source {
            uri: "git+https://example.com/scanner".to_owned(),
            digest: ("gitCommit".to_owned(), "0123456789abcdef0123456789abcdef01234567".to_owned()),
        }),
        manifest: Some(ManifestRef { root: Hash::digest(b"c"), files: 3 }),
        audience: Some("customer 17".to_owned()),
        ..sample_release(b"a")
    }
}

fn canonical(json: &str) -> Vec<u8> {
    Json::parse("a test", json.as_bytes()).map_or_else(|_| json.into(), |json| json.to_canonical().into())
}

/// The full statement with the value at a JSON pointer replaced, added or (`""`) removed.
fn statement_with(pointer: &str, value: &str) -> Vec<u8> {
    changed(&full_release().to_payload().unwrap(), pointer, value)
}

fn changed(json: &[u8], pointer: &str, value: &str) -> Vec<u8> {
    const MARK: &str = "\u{2603} replace me";
    let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = json.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        serde_json::Value::Object(fields) if value.is_empty() => {
            fields.remove(key).unwrap_or_else(|| panic!("{pointer}"));
        }
        serde_json::Value::Object(fields) => {
            fields.insert(key.to_owned(), MARK.into());
        }
        serde_json::Value::Array(items) => items[key.parse::<usize>().unwrap()] = MARK.into(),
        _ => panic!("{pointer}"),
    }
    canonical(&json.to_string().replace(&format!("\"{MARK}\""), value))
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, FormatError>, why: &str, input: &[u8]) {
    let input = String::from_utf8_lossy(&input[..input.len().min(2_000)]).into_owned();
    let error = result.expect_err(&input).to_string();
    assert!(error.contains(why), "{input}: expected {why:?} in {error:?}");
}

// ---- statements ---------------------------------------------------------------------------------

#[test]
fn statements_are_written_as_they_are_drawn() {
    let payload = sample_release(b"x").to_payload().unwrap();
    let digest = Hash::digest(b"x").to_hex();
    let expected = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"predicate\":{{\"purl\":\"pkg:generic/example/scanner@4.2.0\",\
         \"treehead\":{{\"channel\":\"stable\",\"kind\":\"build\",\"sequence\":7}}}},\
         \"predicateType\":\"https://in-toto.io/attestation/release/v0.2\",\
         \"subject\":[{{\"digest\":{{\"sha256\":\"{digest}\"}},\"name\":\"scanner.bin\"}}]}}"
    );
    assert_eq!(String::from_utf8(payload).unwrap(), expected);
    for release in [sample_release(b"x"), full_release()] {
        assert_eq!(Release::parse(&release.to_payload().unwrap()), Ok(release));
    }
}

#[test]
fn every_field_of_a_statement_is_checked() {
    let digest = |value: &str| format!("{{\"sha256\":{value}}}");
    let ours = |field: &str| format!("/predicate/treehead/{field}");
    let long = format!("\"{}\"", "x".repeat(1_025));
    let string_like = ["1", "null", "true", "[]", "{}"];
    let mut table: Vec<(String, String, &str)> = Vec::new();
    let mut add = |pointer: &str, value: &str, why| table.push((pointer.to_owned(), value.to_owned(), why));
    for field in ["/_type", "/predicateType", "/predicate/purl", "/subject/0/name"] {
        string_like.iter().for_each(|value| add(field, value, "to be a string, saw"));
        add(field, "", "to be there, saw nothing");
    }
    for field in ["kind", "channel"] {
        string_like.iter().for_each(|value| add(&ours(field), value, "to be a string, saw"));
        add(&ours(field), "", "to be there, saw nothing");
    }
    for (pointer, value, why) in [
        ("/_type", "\"https://in-toto.io/Statement/v0.1\"", "_type to be https://in-toto.io/Statement/v1"),
        (
            "/predicateType",
            "\"https://slsa.dev/provenance/v1\"",
            "predicateType to be https://in-toto.io/attestation/release/v0.2",
        ),
        ("/subject", "", "subject to be there"),
        ("/subject", "{}", "subject to be an array, saw an object"),
        ("/subject", "null", "subject to be an array, saw null"),
        ("/subject", "[]", "at least one subject, saw none"),
        ("/subject/0", "\"x\"", "subject[] to be an object, saw \"x\""),
        ("/subject/0/name", "\"\"", "the name of a subject is malformed"),
        ("/subject/0/name", "\"a\\u0000\"", "the name of a subject is malformed"),
        ("/subject/0/name", "\"a\\nb\"", "the name of a subject is malformed"),
        ("/subject/0/name", "\"\u{85}\"", "the name of a subject is malformed"),
        (
            "/subject/0/name",
            &long,
            "the name of a subject is too large: expected at most 1024 bytes, saw 1025",
        ),
        ("/subject/0/name", "\"überwachung.deb\"", "each subject name once, saw \"überwachung.deb\" twice"),
        ("/subject/0/digest", "", "subject[].digest to be there"),
        ("/subject/0/digest", "[]", "subject[].digest to be an object"),
        ("/subject/0/digest", "{}", "subject[].digest.sha256 to be there"),
        ("/subject/0/digest", "{\"sha512\":\"00\"}", "subject[].digest.sha256 to be there"),
        ("/subject/0/digest", &digest("7"), "subject[].digest.sha256 to be a string"),
        ("/subject/0/digest", &digest("\"\""), "64 lower-case hex digits"),
        ("/subject/0/digest", &digest(&format!("{:?}", "ab".repeat(31))), "64 lower-case hex digits"),
        ("/subject/0/digest", &digest(&format!("{:?}", "ab".repeat(33))), "64 lower-case hex digits"),
        ("/subject/0/digest", &digest(&format!("{:?}", "AB".repeat(32))), "64 lower-case hex digits"),
        ("/subject/0/digest", &digest(&format!("{:?}", "zz".repeat(32))), "64 lower-case hex digits"),
        ("/predicate", "", "predicate to be there"),
        ("/predicate", "[]", "predicate to be an object"),
        ("/predicate/purl", "\"pkg:generic/example/scanner\"", "a purl is malformed: expected a version"),
        ("/predicate/purl", "\"pkg:generic/example/scanner@\"", "a version that is not empty"),
        ("/predicate/purl", "\"https://example.com\"", "a purl is malformed"),
        ("/predicate/treehead", "", "predicate.treehead to be there"),
        ("/predicate/treehead", "7", "predicate.treehead to be an object, saw 7"),
        ("/predicate/treehead/extra", "1", "no other field in predicate.treehead, saw \"extra\""),
        ("/predicate/treehead/Channel", "\"beta\"", "no other field in predicate.treehead, saw \"Channel\""),
        ("/predicate/treehead/kind", "\"Build\"", "to be build, update or detection-rules, saw \"Build\""),
        ("/predicate/treehead/kind", "\"\"", "to be build, update or detection-rules"),
        ("/predicate/treehead/channel", "\"\"", "a channel of 1 to 64 characters"),
        ("/predicate/treehead/channel", "\"Stable\"", "a channel of 1 to 64 characters"),
        ("/predicate/treehead/channel", "\"a b\"", "a channel of 1 to 64 characters"),
        ("/predicate/treehead/channel", "\"a/b\"", "a channel of 1 to 64 characters"),
        ("/predicate/treehead/channel", "\"é\"", "a channel of 1 to 64 characters"),
        ("/predicate/treehead/channel", &format!("{:?}", "c".repeat(65)), "a channel of 1 to 64 characters"),
        ("/predicate/treehead/sequence", "", "predicate.treehead.sequence to be there"),
        ("/predicate/treehead/sequence", "\"7\"", "to be an integer from 0 to 2^53 - 1, saw \"7\""),
        ("/predicate/treehead/sequence", "null", "to be an integer"),
        ("/predicate/treehead/sequence", "-1", "to be an integer from 0 to 2^53 - 1, saw -1"),
        ("/predicate/treehead/sequence", "7.0", "strict JSON, saw invalid type: floating point"),
        ("/predicate/treehead/sequence", "7e0", "strict JSON, saw invalid type: floating point"),
        ("/predicate/treehead/sequence", "9007199254740992", "strict JSON, saw invalid value: integer"),
        (
            "/predicate/treehead/sequence",
            "18446744073709551616",
            "strict JSON, saw invalid type: floating point",
        ),
        ("/predicate/treehead/source", "\"git\"", "predicate.treehead.source to be an object"),
        ("/predicate/treehead/source", "null", "predicate.treehead.source to be an object, saw null"),
        ("/predicate/treehead/source/uri", "", "source.uri to be there"),
        ("/predicate/treehead/source/uri", "1", "source.uri to be a string"),
        ("/predicate/treehead/source/uri", "\"\"", "the uri of a source is malformed"),
        ("/predicate/treehead/source/uri", "\"a\\tb\"", "the uri of a source is malformed"),
        ("/predicate/treehead/source/uri", &long, "the uri of a source is too large"),
        ("/predicate/treehead/source/rev", "1", "no other field in predicate.treehead.source, saw \"rev\""),
        ("/predicate/treehead/source/digest", "", "source.digest to be there"),
        ("/predicate/treehead/source/digest", "{}", "one digest in treehead.source.digest"),
        ("/predicate/treehead/source/digest", "{\"a\":1}", "one digest in treehead.source.digest"),
        ("/predicate/treehead/source/digest/sha1", "\"ab\"", "one digest in treehead.source.digest"),
        ("/predicate/treehead/source/digest/gitCommit", "\"abc\"", "a source digest such as gitCommit:"),
        (
            "/predicate/treehead/source/digest/gitCommit",
            &format!("{:?}", "A".repeat(40)),
            "a source digest such as",
        ),
        (
            "/predicate/treehead/source/digest/gitCommit",
            &format!("{:?}", "a".repeat(39)),
            "a source digest such as",
        ),
        (
            "/predicate/treehead/source/digest/gitCommit",
            &format!("{:?}", "a".repeat(129)),
            "a source digest such as",
        ),
        (
            "/predicate/treehead/source/digest",
            &format!("{{\"\":{:?}}}", "a".repeat(40)),
            "a source digest such as",
        ),
        (
            "/predicate/treehead/source/digest",
            &format!("{{\"git commit\":{:?}}}", "a".repeat(40)),
            "a source digest such as",
        ),
        ("/predicate/treehead/manifest", "[]", "predicate.treehead.manifest to be an object"),
        ("/predicate/treehead/manifest/root", "", "manifest.root to be there"),
        ("/predicate/treehead/manifest/root", "\"00\"", "64 lower-case hex digits"),
        ("/predicate/treehead/manifest/files", "", "manifest.files to be there"),
        ("/predicate/treehead/manifest/files", "0", "a manifest of 1 to 2^20 files"),
        ("/predicate/treehead/manifest/files", "1048577", "a manifest of 1 to 2^20 files"),
        ("/predicate/treehead/manifest/files", "-1", "manifest.files to be an integer"),
        ("/predicate/treehead/manifest/depth", "1", "no other field in predicate.treehead.manifest"),
        (
            "/predicate/treehead/audience",
            "[\"a\"]",
            "predicate.treehead.audience to be a string, saw an array",
        ),
        ("/predicate/treehead/audience", "null", "predicate.treehead.audience to be a string, saw null"),
        ("/predicate/treehead/audience", "\"\"", "an audience is malformed"),
        ("/predicate/treehead/audience", &long, "an audience is too large"),
    ] {
        add(pointer, value, why);
    }
    for (pointer, value, why) in table {
        let payload = statement_with(&pointer, &value);
        let result = Release::parse(&payload);
        let error = result.expect_err(&format!("{pointer} = {value}")).to_string();
        assert!(error.contains(why), "{pointer} = {value}: expected {why:?} in {error:?}");
    }
}

#[test]
fn what_in_toto_leaves_open_is_allowed() {
    for (pointer, value) in [
        ("/anything", "{\"a\":[1,null]}"),
        ("/predicate/releaseId", "\"123\""),
        ("/subject/0/annotations", "{\"a\":1}"),
        ("/subject/0/digest/sha512", "\"whatever\""),
        ("/predicate/treehead/source", ""),
        ("/predicate/treehead/manifest", ""),
        ("/predicate/treehead/audience", ""),
        ("/predicate/treehead/sequence", "0"),
        ("/predicate/treehead/sequence", "9007199254740991"),
        ("/predicate/treehead/channel", "\"a-z_0.9\""),
        ("/predicate/treehead/channel", &format!("{:?}", "c".repeat(64))),
        ("/predicate/treehead/manifest/files", "1"),
        ("/predicate/treehead/manifest/files", "1048576"),
        ("/predicate/treehead/source/digest/gitCommit", &format!("{:?}", "a".repeat(128))),
        ("/subject/0/name", &format!("{:?}", "n".repeat(1_024))),
    ] {
        let payload = statement_with(pointer, value);
        assert!(Release::parse(&payload).is_ok(), "{pointer} = {value}: {:?}", Release::parse(&payload));
    }
}

#[test]
fn what_may_not_be_read_is_not_written_either() {
    let with = |change: fn(&mut Release)| {
        let mut release = full_release();
        change(&mut release);
        release.to_payload()
    };
    let refused = |change, why| assert_refused(with(change), why, b"");
    refused(|r| r.subjects.clear(), "at least one subject");
    refused(|r| r.subjects[1].name = r.subjects[0].name.clone(), "each subject name once");
    refused(|r| r.subjects[0].name.clear(), "the name of a subject");
    refused(|r| r.channel = "A".to_owned(), "a channel of 1 to 64 characters");
    refused(|r| r.sequence = 1 << 53, "a sequence of at most 2^53 - 1, saw 9007199254740992");
    refused(|r| r.sequence = u64::MAX, "a sequence of at most 2^53 - 1");
    refused(|r| r.source.as_mut().unwrap().uri.clear(), "the uri of a source");
    refused(|r| r.source.as_mut().unwrap().digest.1.push('G'), "a source digest such as");
    refused(|r| r.manifest.as_mut().unwrap().files = 0, "a manifest of 1 to 2^20 files");
    refused(|r| r.audience = Some("\n".to_owned()), "an audience");
}

#[test]
fn the_number_of_subjects_is_limited() {
    let subjects = |n: usize| -> Vec<Subject> {
        let subject = |i: usize| Subject { name: format!("f{i}"), sha256: Hash::digest(&i.to_be_bytes()) };
        (0..n).map(subject).collect()
    };
    let release = |n| Release { subjects: subjects(n), ..sample_release(b"x") };
    let payload = release(MAX_SUBJECTS).to_payload().unwrap();
    assert_eq!(Release::parse(&payload).unwrap().subjects.len(), 256);
    assert!(Envelope::sign(payload, &[&publisher_signer(1)]).is_ok(), "they fit an entry");
    let expected = "a release statement is too large: expected at most 256 subjects, saw ";
    assert_refused(release(257).to_payload(), &format!("{expected}257"), b"");

    let one = |i: usize| {
        format!("{{\"digest\":{{\"sha256\":\"{}\"}},\"name\":\"f{i}\"}}", Hash::digest(&[]).to_hex())
    };
    let list = format!("[{}]", (0..10_000).map(one).collect::<Vec<_>>().join(","));
    let payload = statement_with("/subject", &list);
    assert!(payload.len() > 900_000);
    assert_refused(Release::parse(&payload), &format!("{expected}10000"), &payload);
}

#[test]
fn payloads_have_one_spelling() {
    let good = String::from_utf8(full_release().to_payload().unwrap()).unwrap();
    let not_canonical = "expected canonical JSON (RFC 8785), saw the same JSON in another order";
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let kind = "\"kind\":\"build\"";
    let reordered =
        with("\"channel\":\"stable\",", "").replace(kind, "\"kind\":\"build\",\"channel\":\"stable\"");
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for (bad, why) in [
        (format!(" {good}"), not_canonical),
        (format!("{good}\n"), not_canonical),
        (with(":", ": "), not_canonical),
        (with("stable", "st\\u0061ble"), not_canonical),
        (with("https://in-toto.io/S", "https:\\/\\/in-toto.io/S"), not_canonical),
        (with("ü", "\\u00fc"), not_canonical),
        (reordered, not_canonical),
        (
            with(kind, "\"kind\":\"build\",\"kind\":\"build\""),
            "strict JSON, saw the key \"kind\" twice in one object",
        ),
        (with(kind, "\"kind\":\"build\",\"kin\\u0064\":\"update\""), "the key \"kind\" twice in one object"),
        (
            with("\"name\":\"scanner.bin\"", "\"name\":\"a\",\"name\":\"b\""),
            "the key \"name\" twice in one object",
        ),
        (
            with(",\"predicateType\"", ",\"p\":1,\"p\":1,\"predicateType\""),
            "the key \"p\" twice in one object",
        ),
        (format!("{good}{good}"), "strict JSON, saw trailing characters"),
        (with("7", "07"), "strict JSON"),
        (with("\"sequence\":7", "\"sequence\":7,"), "strict JSON"),
        (String::new(), "strict JSON, saw EOF"),
        ("[]".to_owned(), "to be an object, saw an array"),
        ("null".to_owned(), "to be an object, saw null"),
        (nested(31), "_type to be there"),
        (nested(32), "nesting deeper than 32 levels"),
        (nested(20_000), "nesting deeper than 32 levels"),
        ("{\"a\":".repeat(20_000), "nesting deeper than 32 levels"),
    ] {
        assert_refused(Release::parse(bad.as_bytes()), why, bad.as_bytes());
    }
    let mut bytes = good.clone().into_bytes();
    bytes[1] = 0xff;
    assert_refused(Release::parse(&bytes), "expected UTF-8, saw an invalid byte at offset 1", &bytes);
    for end in 0..good.len() {
        // Within the ü the prefix is no UTF-8 either.
        assert!(Release::parse(&good.as_bytes()[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn artifacts_are_a_set() {
    let release = full_release();
    let with = |change: fn(&mut Release)| {
        let mut other = release.clone();
        change(&mut other);
        other.artifacts()
    };
    assert_eq!(with(|r| r.subjects.reverse()), release.artifacts());
    assert_eq!(with(|r| r.channel = "beta".to_owned()), release.artifacts());
    assert_ne!(with(|r| r.subjects[0].name.push('x')), release.artifacts());
    assert_ne!(with(|r| r.subjects[0].sha256 = Hash::EMPTY_ROOT), release.artifacts());
    assert_ne!(with(|r| r.subjects.truncate(1)), release.artifacts());
    assert_ne!(with(|r| r.manifest = None), release.artifacts());
    assert_ne!(with(|r| r.manifest.as_mut().unwrap().files = 4), release.artifacts());
}

// ---- envelopes ----------------------------------------------------------------------------------

#[test]
fn the_signed_message_is_dsse_s() {
    let envelope = Envelope::sign(b"payload".to_vec(), &[&publisher_signer(1)]).unwrap();
    assert_eq!(envelope.signed_message(), b"DSSEv1 28 application/vnd.in-toto+json 7 payload");
    let signer = publisher_signer(1);
    let text = String::from_utf8(envelope.to_entry()).unwrap();
    let expected = format!(
        "{{\"payload\":\"cGF5bG9hZA==\",\"payloadType\":\"application/vnd.in-toto+json\",\
         \"signatures\":[{{\"keyid\":\"{}\",\"sig\":\"{}\"}}]}}",
        signer.keyid().to_hex(),
        base64_encode(&envelope.signatures()[0].1)
    );
    assert_eq!(text, expected);
}

#[test]
fn however_it_was_sent_a_statement_has_one_entry() {
    let signers = [1, 2, 3].map(publisher_signer);
    let payload = sample_release(b"x").to_payload().unwrap();
    let entry = Envelope::sign(payload.clone(), &[&signers[0], &signers[1], &signers[2]]).unwrap().to_entry();
    let other = Envelope::sign(payload, &[&signers[2], &signers[0], &signers[1]]).unwrap();
    assert_eq!(other.to_entry(), entry, "signatures are sorted by keyid");
    let keyids: Vec<&Hash> = other.signatures().iter().map(|(keyid, _)| keyid).collect();
    assert!(keyids.is_sorted() && keyids.len() == 3);

    let json: serde_json::Value = serde_json::from_slice(&entry).unwrap();
    let field = |name: &str| json[name].to_string();
    let mut reversed: Vec<serde_json::Value> = json["signatures"].as_array().unwrap().clone();
    reversed.reverse();
    let flip = |s: &serde_json::Value| format!("{{ \"sig\" : {} ,\t\"keyid\" : {} }}", s["sig"], s["keyid"]);
    let signatures = reversed.iter().map(flip).collect::<Vec<_>>().join(" ,\r\n");
    let sent = format!(
        " {{\n\"signatures\" : [ {signatures} ],\n \"payloadType\": \"application\\/vnd.in-toto+jso\\u006e\", \"payload\" :{}}}\n",
        field("payload")
    );
    assert_eq!(Envelope::parse(sent.as_bytes()).unwrap().to_entry(), entry);
    assert_eq!(Envelope::parse_entry(&entry).unwrap().to_entry(), entry);
    // As an entry there is one form only, or one statement would have many leaf hashes.
    let unsorted = serde_json::json!({ "payload": json["payload"], "payloadType": json["payloadType"], "signatures": reversed });
    for form in [sent, format!("{} ", String::from_utf8_lossy(&entry)), unsorted.to_string()] {
        let why = "expected canonical JSON (RFC 8785), saw the same envelope in another order";
        assert_refused(Envelope::parse_entry(form.as_bytes()), why, form.as_bytes());
    }
}

#[test]
fn malformed_envelopes_are_refused() {
    let signers = [1, 2].map(publisher_signer);
    let entry = signed_entry(&sample_release(b"x"), &[&signers[0], &signers[1]]);
    let text = String::from_utf8(entry.clone()).unwrap();
    let keyid = format!("\"{}\"", signers[0].keyid().to_hex());
    let signature =
        |seed: u8, keyid: &str| format!("{{\"keyid\":{keyid},\"sig\":\"{}\"}}", base64_encode(&[seed; 64]));
    let many = |n: u8| {
        let list: Vec<String> =
            (0..n).map(|i| signature(i, &format!("{:?}", Hash::digest(&[i]).to_hex()))).collect();
        format!("[{}]", list.join(","))
    };
    assert!(Envelope::parse(&changed(&entry, "/signatures", &many(8))).is_ok(), "eight are allowed");
    let twice = format!("[{},{}]", signature(1, &keyid), signature(2, &keyid));
    for (pointer, value, why) in [
        ("/payloadType", "", "payloadType to be there"),
        (
            "/payloadType",
            "\"application/json\"",
            "payloadType to be application/vnd.in-toto+json, saw \"application/json\"",
        ),
        ("/payloadType", "\"application/vnd.in-toto+json \"", "payloadType to be"),
        ("/payloadType", "7", "payloadType to be a string"),
        ("/payload", "", "payload to be there"),
        ("/payload", "7", "payload to be a string"),
        ("/payload", "\"e30\"", "payload to be padded standard base64, saw \"e30\""),
        ("/payload", "\"e31=\"", "payload to be padded standard base64"),
        ("/payload", "\"e30= \"", "payload to be padded standard base64"),
        ("/payload", "\"_-8=\"", "payload to be padded standard base64"),
        ("/signatures", "", "signatures to be there"),
        ("/signatures", "{}", "signatures to be an array"),
        ("/signatures", "[]", "at least one signature, saw none"),
        ("/signatures", &many(9), "a DSSE envelope is too large: expected at most 8 signatures, saw 9"),
        ("/signatures", &twice, "one signature for each key, saw keyid "),
        ("/signatures/0", "\"x\"", "signatures[] to be an object"),
        ("/signatures/0/keyid", "", "signatures[].keyid to be there"),
        ("/signatures/0/keyid", "\"\"", "64 lower-case hex digits"),
        ("/signatures/0/keyid", &keyid.to_uppercase(), "64 lower-case hex digits"),
        ("/signatures/0/sig", "", "signatures[].sig to be there"),
        ("/signatures/0/sig", "\"AAA\"", "signatures[].sig to be padded standard base64"),
        ("/signatures/0/sig", "\"AAB=\"", "signatures[].sig to be padded standard base64"),
        ("/signatures/0/cert", "\"x\"", "no other field in signatures[], saw \"cert\""),
        ("/extra", "1", "no other field in the object, saw \"extra\""),
        ("/PayloadType", "1", "no other field in the object, saw \"PayloadType\""),
    ] {
        let bad = changed(&entry, pointer, value);
        for result in [Envelope::parse(&bad), Envelope::parse_entry(&bad)] {
            assert_refused(result, why, &bad);
        }
    }
    let double = text.replacen("{\"payload\"", "{\"payload\":\"e30=\",\"payload\"", 1);
    assert_refused(
        Envelope::parse(double.as_bytes()),
        "the key \"payload\" twice in one object",
        double.as_bytes(),
    );
    assert_refused(Envelope::sign(b"{}".to_vec(), &[]), "at least one signature", b"");
    assert_refused(
        Envelope::sign(b"{}".to_vec(), &[&signers[0], &signers[0]]),
        "one signature for each key",
        b"",
    );
    for end in 0..entry.len() {
        assert!(Envelope::parse(&entry[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn entries_are_at_most_65535_bytes() {
    let signer = publisher_signer(1);
    let sized = |payload: usize| Envelope::sign(vec![b'x'; payload], &[&signer]);
    let overhead = sized(0).unwrap().to_entry().len();
    let most = (MAX_ENTRY_BYTES - overhead) / 4 * 3;
    let largest = sized(most).unwrap();
    assert!(largest.to_entry().len() > MAX_ENTRY_BYTES - 4);
    assert_eq!(Envelope::parse_entry(&largest.to_entry()), Ok(largest.clone()));
    assert_refused(sized(most + 1), "an entry is too large: expected at most 65535 bytes, saw 6553", b"");
    // White space may double a submission, but not hide an entry that would be too large.
    let entry = String::from_utf8(largest.to_entry()).unwrap();
    let spaced = |total: usize| format!("{entry}{}", " ".repeat(total - entry.len()));
    assert_eq!(Envelope::parse(spaced(MAX_SUBMISSION_BYTES).as_bytes()), Ok(largest));
    let why = "a DSSE envelope is too large: expected at most 131070 bytes, saw 131071";
    assert_refused(Envelope::parse(spaced(MAX_SUBMISSION_BYTES + 1).as_bytes()), why, b"");
    let payload = base64_encode(&vec![b'x'; most + 1]);
    let too_large = changed(entry.as_bytes(), "/payload", &format!("{payload:?}"));
    assert_refused(Envelope::parse(&too_large), "an entry is too large", b"");
    assert_refused(Envelope::parse_entry(&too_large), "an entry is too large", b"");
}

// ---- keys and publishers ------------------------------------------------------------------------

#[test]
fn openssl_s_keys_are_read_and_written() {
    let signer = PublisherSigner::from_pem(TEST_KEY_PEM).unwrap();
    assert_eq!(signer.keyid().to_hex(), TEST_KEYID);
    assert_eq!((signer.public_pem().as_str(), signer.to_pem().as_str()), (TEST_PUBLIC_PEM, TEST_KEY_PEM));
    let toml = publisher_toml("openssl", &[&signer], &["pkg:generic/*"], &["build"]);
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let (publisher, key) = publishers.find(&Hash::from_hex(TEST_KEYID).unwrap()).unwrap();
    assert_eq!((publisher.name.as_str(), key.keyid), ("openssl", signer.keyid()));
    let bare = crate::note::ed25519_verify(
        &ed25519_dalek::VerifyingKey::try_from(
            &base64_decode(TEST_PUBLIC_PEM.lines().nth(1).unwrap()).unwrap()[12..],
        )
        .unwrap(),
        b"payload",
        &base64_decode(TEST_SIGNATURE).unwrap(),
    );
    assert!(bare, "a signature that openssl made");
    for seed in 0..20 {
        let signer = publisher_signer(seed);
        let again = PublisherSigner::from_pem(&signer.to_pem()).unwrap();
        assert_eq!((again.keyid(), again.to_pem()), (signer.keyid(), signer.to_pem()));
        let shown = format!("{signer:?}");
        let pem = signer.to_pem();
        let body = pem.lines().nth(1).unwrap();
        assert!(!shown.contains(&body[24..]) && !shown.contains(&hex::encode([seed; 4])), "{shown}");
    }
}

#[test]
fn other_private_keys_are_refused_without_showing_them() {
    let body = TEST_KEY_PEM.lines().nth(1).unwrap();
    let expected = "expected an Ed25519 PRIVATE KEY in PKCS#8 PEM";
    for bad in [
        String::new(),
        TEST_PUBLIC_PEM.to_owned(),
        TEST_KEY_PEM.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        TEST_KEY_PEM.replace("MC4C", "MC4D"),
        TEST_KEY_PEM.replace("K2Vw", "K2Vx"),
        TEST_KEY_PEM.replace("QZl\n", "QZ\n"),
        TEST_KEY_PEM.replace("-----END", "----END"),
        TEST_KEY_PEM[..80].to_owned(),
        body.to_owned(),
    ] {
        let error = PublisherSigner::from_pem(&bad).expect_err(&bad).to_string();
        assert!(error.contains(expected), "{bad}: {error}");
        assert!((0..body.len() - 8).all(|at| !error.contains(&body[at..at + 8])), "{error}");
    }
    let error = PublisherSigner::from_pem(&" ".repeat(16 * 1024 + 1)).unwrap_err().to_string();
    assert!(error.contains("expected at most 16384 bytes"), "{error}");
}

fn vendor_toml() -> String {
    publisher_toml("vendor", &[&publisher_signer(1)], &["pkg:generic/example/*"], &["build", "update"])
}

#[test]
fn malformed_publishers_files_are_refused() {
    let good = vendor_toml();
    assert_eq!(Publishers::parse(good.as_bytes()).unwrap().list().len(), 1);
    assert!(Publishers::parse(b"").unwrap().list().is_empty());
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let pem = publisher_signer(1).public_pem();
    let key = |pem: &str| good.replace(&publisher_signer(1).public_pem(), pem);
    let weak = |point: &[u8; 32]| {
        let der = [hex::decode("302a300506032b6570032100").unwrap().as_slice(), point].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64_encode(&der))
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let not_ed25519 =
        "a publisher key is malformed: expected an Ed25519 PUBLIC KEY in PEM (openssl pkey -in KEY -pubout)";
    for (bad, why) in [
        ("[[publisher]\n".to_owned(), "a publishers file is malformed at line 1: expected TOML"),
        (with("name = ", "name : "), "at line 2: expected TOML as in docs/publishers.md"),
        (with("kinds = [", "kinds = "), "at line 4: expected TOML"),
        (with("name = \"vendor\"", "name = \"vendor\"\nname = \"vendor\""), "at line 3: expected TOML"),
        (with("name = \"vendor\"", "name = 7"), "at line 2: expected TOML"),
        (with("name = \"vendor\"\n", ""), "missing field `name`"),
        (with("name", "nom"), "at line 2: expected TOML as in docs/publishers.md, saw unknown field `nom`"),
        (
            with("kinds = ", "admin = true\nkinds = "),
            "at line 4: expected TOML as in docs/publishers.md, saw unknown field `admin`",
        ),
        (with("pem = ", "not_befor = \"x\"\npem = "), "saw unknown field `not_befor`"),
        (format!("{good}[log]\n"), "saw unknown field `log`"),
        (with("\"build\"", "\"built\""), "kinds out of build, update and detection-rules, saw \"built\""),
        (with("pkg:generic/example/*", "*"), "a purl pattern is malformed"),
        (with("pkg:generic/example/*", "pkg:generic/a@1"), "a purl pattern is malformed"),
        (with("\"vendor\"", "\"\""), "a publisher name of 1 to 100 bytes without spaces, saw \"\""),
        (with("\"vendor\"", "\"a vendor\""), "a publisher name of 1 to 100 bytes without spaces"),
        (with("\"vendor\"", "\"a\\u0000\""), "a publisher name of 1 to 100 bytes without spaces"),
        (with("\"vendor\"", &format!("{:?}", "v".repeat(101))), "a publisher name of 1 to 100 bytes"),
        (
            format!("{good}{}", publisher_toml("vendor", &[&publisher_signer(2)], &[], &[])),
            "each publisher name once, saw \"vendor\" twice",
        ),
        (
            format!("{good}{}", publisher_toml("other", &[&publisher_signer(1)], &[], &[])),
            "each key once, saw key ",
        ),
        (
            publisher_toml("twins", &[&publisher_signer(1), &publisher_signer(1)], &[], &[]),
            "each key once, saw key ",
        ),
        (format!("{good}not_before = \"2026-01-01\"\n"), "a time is malformed: expected UTC as in"),
        (format!("{good}not_after = \"2026-02-30T00:00:00Z\"\n"), "a time is malformed"),
        (format!("{good}not_after = 2026-01-01T00:00:00Z\n"), "expected TOML as in docs/publishers.md"),
        (key(""), not_ed25519),
        (key("MCowBQYDK2VwAyEA"), not_ed25519),
        (key(RSA_PUBLIC_PEM), not_ed25519),
        (key(EC_PUBLIC_PEM), not_ed25519),
        (key(&pem.replace("PUBLIC KEY", "CERTIFICATE")), not_ed25519),
        (key(&format!("{pem}{pem}")), not_ed25519),
        (key(TEST_KEY_PEM), "saw a private key, which belongs to its publisher alone"),
        (
            key(&weak(&identity)),
            "a publisher key is malformed: expected a strong key, saw a weak one, of small order",
        ),
        (key(&weak(&[0; 32])), "expected a strong key, saw a weak one"),
    ] {
        let error = Publishers::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad}: expected {why:?} in {error:?}");
        let secret = TEST_KEY_PEM.lines().nth(1).unwrap();
        assert!(!error.contains(&secret[24..40]), "{error}");
    }
    assert!(Publishers::parse(b"\xff").unwrap_err().to_string().contains("expected UTF-8"));
    let error = Publishers::parse(&vec![b'\n'; MAX_PUBLISHERS_BYTES + 1]).unwrap_err().to_string();
    assert!(error.contains("expected at most 4194304 bytes"), "{error}");
}

fn verify(toml: &str, entry: &[u8], now: Option<Timestamp>) -> Result<SpokenRelease, SpeakError> {
    let envelope = Envelope::parse_entry(entry).unwrap();
    Publishers::parse(toml.as_bytes()).unwrap().verify(&envelope, now)
}

#[test]
fn only_registered_publishers_are_believed() {
    let (vendor, other) = (publisher_signer(1), publisher_signer(2));
    let release = sample_release(b"x");
    let entry = signed_entry(&release, &[&vendor]);
    let spoken = verify(&vendor_toml(), &entry, None).unwrap();
    assert_eq!((spoken.release(), spoken.publisher()), (&release, "vendor"));

    let unknown = Err(SpeakError::UnknownKey { keyid: other.keyid().to_hex() });
    assert_eq!(verify(&vendor_toml(), &signed_entry(&release, &[&other]), None), unknown);
    // A second signature by a stranger would mint a new leaf hash for an old statement.
    assert_eq!(verify(&vendor_toml(), &signed_entry(&release, &[&vendor, &other]), None), unknown);
    assert!(matches!(verify("", &entry, None), Err(SpeakError::UnknownKey { .. })));

    let bad_signature =
        Err(SpeakError::BadSignature { publisher: "vendor".to_owned(), keyid: vendor.keyid().to_hex() });
    let payload = |bytes: &[u8]| format!("{:?}", base64_encode(bytes));
    let moved = changed(&entry, "/payload", &payload(&full_release().to_payload().unwrap()));
    assert_eq!(verify(&vendor_toml(), &moved, None), bad_signature, "another statement");
    // Signature before meaning: what the payload says is not looked at.
    let junk = changed(&entry, "/payload", &payload(b"junk"));
    assert_eq!(verify(&vendor_toml(), &junk, None), bad_signature);
    for length in [0, 63, 64, 65] {
        let zeros = changed(&entry, "/signatures/0/sig", &payload(&vec![0; length]));
        assert_eq!(verify(&vendor_toml(), &zeros, None), bad_signature, "{length} bytes");
    }
    let signed_junk = Envelope::sign(b"junk".to_vec(), &[&vendor]).unwrap().to_entry();
    assert!(matches!(verify(&vendor_toml(), &signed_junk, None), Err(SpeakError::Statement(_))));
}

#[test]
fn every_flipped_bit_of_an_entry_is_refused() {
    let publishers = Publishers::parse(vendor_toml().as_bytes()).unwrap();
    let entry = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    let believed =
        |entry: &[u8]| Envelope::parse_entry(entry).is_ok_and(|e| publishers.verify(&e, None).is_ok());
    assert!(believed(&entry));
    for at in 0..entry.len() {
        for bit in 0..8 {
            let mut flipped = entry.clone();
            flipped[at] ^= 1 << bit;
            assert!(!believed(&flipped), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn keys_are_valid_from_their_first_to_their_last_second() {
    let vendor = publisher_signer(1);
    let entry = signed_entry(&sample_release(b"x"), &[&vendor]);
    let (from, to) = ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let (first, last) = (parse_time(from).unwrap(), parse_time(to).unwrap());
    let limits = [
        (
            format!("not_before = {from:?}\nnot_after = {to:?}\n"),
            from,
            to,
            vec![first - 1, last + 1],
            vec![first, last],
        ),
        (format!("not_before = {from:?}\n"), from, "always", vec![0, first - 1], vec![first, last + 1]),
        (format!("not_after = {to:?}\n"), "always", to, vec![last + 1, u64::MAX], vec![0, last]),
    ];
    for (limit, from, to, outside, inside) in limits {
        let toml = format!("{}{limit}", vendor_toml());
        for now in outside {
            let expected = SpeakError::KeyNotValid {
                publisher: "vendor".to_owned(),
                keyid: vendor.keyid().to_hex(),
                from: from.to_owned(),
                to: to.to_owned(),
                seen: format_time(now),
            };
            assert_eq!(verify(&toml, &entry, Some(now)), Err(expected));
        }
        assert!(inside.iter().all(|now| verify(&toml, &entry, Some(*now)).is_ok()), "{limit}");
        assert!(verify(&toml, &entry, None).is_ok(), "an endpoint believes what was logged in time");
    }
}

#[test]
fn publishers_speak_only_for_what_they_may() {
    let vendor = publisher_signer(1);
    let (build, mut rules) = (sample_release(b"x"), sample_release(b"x"));
    rules.kind = Kind::DetectionRules;
    let mut foreign = sample_release(b"x");
    foreign.purl = Purl::parse("pkg:generic/examples/scanner@1").unwrap();
    for (release, kind, package) in [
        (&rules, Kind::DetectionRules, "pkg:generic/example/scanner"),
        (&foreign, Kind::Build, "pkg:generic/examples/scanner"),
    ] {
        let refused =
            SpeakError::NotPermitted { publishers: "vendor".to_owned(), kind, package: package.to_owned() };
        assert_eq!(verify(&vendor_toml(), &signed_entry(release, &[&vendor]), None), Err(refused));
    }
    // Rights of two publishers do not add up: one has the package, the other the kind.
    let reviewer = publisher_signer(2);
    let halves = |kinds: &[&str], purls: &[&str]| {
        publisher_toml("vendor", &[&vendor], &["pkg:generic/example/*"], &["build"])
            + &publisher_toml("reviewer", &[&reviewer], purls, kinds)
    };
    let both = |release| signed_entry(release, &[&vendor, &reviewer]);
    let split = halves(&["detection-rules"], &["pkg:deb/*"]);
    let Err(SpeakError::NotPermitted { publishers, .. }) = verify(&split, &both(&rules), None) else {
        panic!("neither may")
    };
    let mut in_order = [(vendor.keyid(), "vendor"), (reviewer.keyid(), "reviewer")];
    in_order.sort_unstable();
    assert_eq!(publishers, format!("{} and {}", in_order[0].1, in_order[1].1));
    // With two signers that are registered, the one that may speak is the publisher; where both
    // may, the first in order of keyid.
    assert_eq!(verify(&split, &both(&build), None).unwrap().publisher(), "vendor");
    let second = halves(&["detection-rules"], &["pkg:generic/*"]);
    assert_eq!(verify(&second, &both(&rules), None).unwrap().publisher(), "reviewer");
    let each = halves(&["build"], &["pkg:generic/*"]);
    assert_eq!(verify(&each, &both(&build), None).unwrap().publisher(), in_order[0].1);

    let publishers = Publishers::parse(vendor_toml().as_bytes()).unwrap();
    assert!(publishers.cover(&build.purl) && !publishers.cover(&foreign.purl));
}

#[test]
fn a_new_publisher_is_appended_and_a_taken_name_is_not() {
    let (pem, taken) = (publisher_signer(2).public_pem(), publisher_signer(1).public_pem());
    let purls = ["pkg:deb/debian/*", "pkg:generic/a%2Bb"].map(|p| PurlPattern::parse(p).unwrap());
    let new =
        |name, pem| NewPublisher { name, pem, purls: &purls, kinds: &[Kind::Build, Kind::DetectionRules] };
    let comment = format!("# our publishers\n\n{}# no newline at the end", vendor_toml());
    for file in [
        String::new(),
        vendor_toml(),
        format!("{}\n\n", vendor_toml()),
        vendor_toml().trim_end().to_owned(),
        comment,
    ] {
        let text = new("debian", &pem).append_to(&file).unwrap();
        assert!(text.starts_with(&file), "what stands there stays");
        let before = Publishers::parse(file.as_bytes()).unwrap().list().len();
        let publishers = Publishers::parse(text.as_bytes()).unwrap();
        assert_eq!(publishers.list().len(), before + 1);
        let added = publishers.list().last().unwrap();
        assert_eq!((added.name.as_str(), added.purls.as_slice()), ("debian", purls.as_slice()));
        assert_eq!(added.kinds, [Kind::Build, Kind::DetectionRules]);
        assert_eq!(added.keys.iter().map(|k| k.keyid).collect::<Vec<_>>(), [publisher_signer(2).keyid()]);
        assert!(new("third", &publisher_signer(3).public_pem()).append_to(&text).is_ok());
    }
    for (name, pem, why) in [
        ("vendor", pem.as_str(), "each publisher name once, saw \"vendor\" twice"),
        ("debian", &taken, "each key once"),
        ("two words", &pem, "a publisher name of 1 to 100 bytes without spaces"),
        ("a\"\npurls = []\n#", &pem, "a publisher name of 1 to 100 bytes without spaces"),
        ("debian", TEST_KEY_PEM, "saw a private key, which belongs to its publisher alone"),
        ("debian", EC_PUBLIC_PEM, "expected an Ed25519 PUBLIC KEY in PEM"),
    ] {
        assert_refused(new(name, pem).append_to(&vendor_toml()), why, name.as_bytes());
    }
    assert_refused(new("debian", &pem).append_to("[[publisher"), "at line 1: expected TOML", b"");
}

/// A key file comes from a stranger, and PEM readers skip text before the key: none of it may
/// reach the file, or it could give its sender rights that the operator did not.
#[test]
fn text_around_a_new_publisher_s_key_is_not_written() {
    let pem = publisher_signer(2).public_pem();
    let purls = [PurlPattern::parse("pkg:deb/debian/*").unwrap()];
    let smuggled = "Subject: my key\n\"\"\"\nnot_after = \"2030-01-01T00:00:00Z\"\n[[publisher]]\nname = \"evil\"\n\
                    purls = [\"pkg:generic/*\"]\nkinds = [\"build\"]\n[[publisher.key]]\npem = \"\"\"\n";
    let new = NewPublisher {
        name: "debian",
        pem: &format!("{smuggled}{pem}"),
        purls: &purls,
        kinds: &[Kind::Build],
    };
    match new.append_to(&vendor_toml()) {
        Ok(text) => {
            let publishers = Publishers::parse(text.as_bytes()).unwrap();
            let names: Vec<&str> = publishers.list().iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names, ["vendor", "debian"]);
            assert!(!text.contains("Subject") && text.contains(pem.trim_end()), "{text}");
        }
        Err(error) => assert!(error.to_string().contains("a publisher key"), "{error}"),
    }
}

// ---- facts --------------------------------------------------------------------------------------

#[test]
fn facts_follow_from_the_entry_alone() {
    let (vendor, reviewer) = (publisher_signer(1), publisher_signer(2));
    let toml = vendor_toml() + &publisher_toml("reviewer", &[&reviewer], &[], &[]);
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let release = full_release();
    let entry = signed_entry(&release, &[&vendor, &reviewer]);
    let envelope = Envelope::parse_entry(&entry).unwrap();
    let facts = Facts::of(&envelope, &release, &publishers);
    assert_eq!(Facts::of_entry(&entry, &publishers), Ok(facts.clone()));
    assert_eq!(facts.claims.len(), 2, "one for each signer");
    assert!(facts.claims.iter().all(|claim| claim.artifacts == release.artifacts()));
    assert_ne!(facts.claims[0].key, facts.claims[1].key);
    // package, version, kind, two publishers, two subjects and the manifest's root
    assert_eq!(facts.terms.len(), 8);

    let values = Facts::values(&entry, &publishers).unwrap();
    let digest = Hash::digest(b"b").to_hex();
    let root = Hash::digest(b"c").to_hex();
    for (field, value) in [
        (SearchField::Package, "pkg:generic/example/scanner"),
        (SearchField::Version, "4.2.0"),
        (SearchField::Kind, "build"),
        (SearchField::Publisher, "vendor"),
        (SearchField::Publisher, "reviewer"),
        (SearchField::Digest, digest.as_str()),
        (SearchField::Digest, root.as_str()),
    ] {
        assert!(facts.terms.contains(&Term::new(field, value)) && values.matches(field, value), "{value}");
        assert!(!values.matches(field, "other") && !facts.terms.contains(&Term::new(field, "other")));
    }
    // A key that is no longer registered is named by its keyid.
    let later = Facts::values(&entry, &Publishers::parse(vendor_toml().as_bytes()).unwrap()).unwrap();
    assert!(later.matches(SearchField::Publisher, &reviewer.keyid().to_hex()));

    let claim = |change: fn(&mut Release)| {
        let mut other = release.clone();
        change(&mut other);
        Facts::of_entry(&signed_entry(&other, &[&vendor]), &publishers).unwrap().claims[0]
    };
    let original = claim(|_| ());
    assert_eq!(claim(|r| r.purl = Purl::parse("pkg:generic/example/scanner@5").unwrap()).key, original.key);
    assert_ne!(claim(|r| r.sequence = 8).key, original.key);
    assert_ne!(claim(|r| r.channel = "beta".to_owned()).key, original.key);
    assert_ne!(
        claim(|r| r.subjects.truncate(1)).artifacts,
        original.artifacts,
        "the same number, other artifacts"
    );
    assert!(
        Facts::of_entry(b"opaque", &publishers).is_err() && Facts::values(b"opaque", &publishers).is_none()
    );
}

proptest! {
    #[test]
    fn releases_read_back_as_they_were_written(
        names in prop::collection::btree_set("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}", 1..6),
        digest in any::<[u8; 32]>(),
        version in "[a-zA-Z0-9.~_:-]{1,12}",
        kind in prop::sample::select(Kind::ALL.to_vec()),
        channel in "[a-z0-9._-]{1,64}",
        sequence in 0..1_u64 << 53,
        commit in prop::option::of("[0-9a-f]{40}"),
        files in prop::option::of(1..=1_u64 << 20),
        audience in prop::option::of("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}"),
    ) {
        let sha256 = Hash::from_bytes(digest);
        let release = Release {
            subjects: names.into_iter().map(|name| Subject { name, sha256 }).collect(),
            purl: Purl::parse(&format!("pkg:generic/a/b@{version}")).unwrap(),
            kind, channel, sequence, audience,
            source: commit.map(|c| Source { uri: "git+https://x".to_owned(), digest: ("gitCommit".to_owned(), c) }),
            manifest: files.map(|files| ManifestRef { root: sha256, files }),
        };
        let payload = release.to_payload().unwrap();
        prop_assert_eq!(Release::parse(&payload).as_ref(), Ok(&release));
        let envelope = Envelope::sign(payload, &[&publisher_signer(1)]).unwrap();
        prop_assert_eq!(Envelope::parse_entry(&envelope.to_entry()), Ok(envelope));
    }

    /// What is still a statement or an entry after a change is written back byte for byte.
    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        patch in "[a-zA-Z0-9+/=\"{}\\[\\]:,\\\\ .-]{0,8}",
        at in any::<prop::sample::Index>(),
        cut in 0..8_usize,
    ) {
        let publishers = Publishers::default();
        let _ = (Release::parse(&bytes), Envelope::parse(&bytes), Publishers::parse(&bytes));
        let _ = (PublisherSigner::from_pem(&patch), Purl::parse(&patch), PurlPattern::parse(&patch), parse_time(&patch));
        let spliced = |mut text: Vec<u8>| {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, patch.bytes());
            text
        };
        let payload = spliced(sample_release(b"x").to_payload().unwrap());
        if let Ok(release) = Release::parse(&payload) {
            let again = Release::parse(&release.to_payload().unwrap());
            prop_assert_eq!(again, Ok(release));
        }
        let entry = spliced(signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]));
        if let Ok(envelope) = Envelope::parse_entry(&entry) {
            prop_assert_eq!(envelope.to_entry(), entry);
            let _ = publishers.verify(&envelope, Some(0));
        }
        let _ = Publishers::parse(&spliced(vendor_toml().into_bytes()));
    }
}
