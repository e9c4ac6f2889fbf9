use super::*;

#[test]
fn statements_are_written_as_they_are_drawn() {
    let payload = sample_release(b"x").to_payload().unwrap();
    let digest = Hash::digest(b"x").to_hex();
    let expected = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\
         \"predicate\":{{\"purl\":\"pkg:generic/example/scanner@4.2.0\",\
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
        ("/_type", "\"https://in-toto.io/Statement/v0.2\"", "_type to be https://in-toto.io/Statement/v1 or"),
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
        (
            "/predicate/treehead/kind",
            "\"Build\"",
            "to be build, update, detection-rules or trust, saw \"Build\"",
        ),
        ("/predicate/treehead/kind", "\"\"", "to be build, update, detection-rules or trust"),
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
        ("/predicate/treehead/sequence", "7.0", "to be an integer from 0 to 2^53 - 1, saw 7.0"),
        ("/predicate/treehead/sequence", "7e0", "to be an integer from 0 to 2^53 - 1, saw 7e0"),
        ("/predicate/treehead/sequence", "9007199254740992", "2^53 - 1, saw 9007199254740992"),
        (
            "/predicate/treehead/sequence",
            "18446744073709551616",
            "to be an integer from 0 to 2^53 - 1, saw 18446744073709551616",
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
        ("/predicate/treehead/log", "7", "predicate.treehead.log to be a string, saw 7"),
        ("/predicate/treehead/log", "null", "predicate.treehead.log to be a string, saw null"),
        ("/predicate/treehead/log", "\"\"", "the log of a statement is malformed"),
        ("/predicate/treehead/log", "\"a\\nb\"", "the log of a statement is malformed"),
        ("/predicate/treehead/log", &long, "the log of a statement is too large"),
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

/// DSSE signs bytes, and signers spell JSON as they like. Anything that parsers disagree about stays refused.
#[test]
fn payloads_are_read_in_any_spelling_that_all_readers_understand_alike() {
    let release = full_release();
    let good = String::from_utf8(release.to_payload().unwrap()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let kind = "\"kind\":\"build\"";
    let reordered =
        with("\"channel\":\"stable\",", "").replace(kind, "\"kind\":\"build\",\"channel\":\"stable\"");
    for spelled in [
        format!(" {good}"),
        format!("{good}\n"),
        with(":", ": "),
        with("stable", "st\\u0061ble"),
        with("https://in-toto.io/S", "https:\\/\\/in-toto.io/S"),
        with("ü", "\\u00fc"),
        with("Statement/v1", "Statement/v0.1"),
        with("\"predicate\":{", "\"predicate\":{\"score\":[0.1,1e300,99999999999999999999],"),
        reordered,
    ] {
        assert_eq!(Release::parse(spelled.as_bytes()), Ok(release.clone()), "{spelled}");
    }
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for (bad, why) in [
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
        (with("\"name\":\"scanner.bin\"", "\"name\":\"\\ud800\""), "strict JSON"),
        (with("\"predicate\":{", "\"predicate\":{\"score\":1e400,"), "strict JSON, saw number out of range"),
        (format!("\u{feff}{good}"), "strict JSON"),
        (format!("{good}{good}"), "strict JSON, saw trailing characters"),
        (with("\"sequence\":7", "\"sequence\":07"), "strict JSON"),
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
        // Inside the ü, the prefix is not UTF-8.
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

/// A signer who reuses a sequence number has to state the same, in every field that a reader relies on.
#[test]
fn the_content_of_a_release_is_all_that_it_claims() {
    let release = full_release();
    let with = |change: fn(&mut Release)| {
        let mut other = release.clone();
        change(&mut other);
        other.content()
    };
    assert_eq!(with(|r| r.subjects.reverse()), release.content());
    let changes: [fn(&mut Release); 15] = [
        |r| r.subjects[0].name.push('x'),
        |r| r.subjects[0].sha256 = Hash::EMPTY_ROOT,
        |r| r.subjects.truncate(1),
        |r| r.purl = Purl::parse("pkg:generic/example/scanner@4.2.1").unwrap(),
        |r| r.purl = Purl::parse("pkg:generic/example/scanner@4.2.0?arch=arm64").unwrap(),
        |r| r.kind = Kind::Update,
        |r| r.channel = "beta".to_owned(),
        |r| r.sequence = 8,
        |r| r.source = None,
        |r| r.source.as_mut().unwrap().uri.push('x'),
        |r| r.source.as_mut().unwrap().digest.1.replace_range(..1, "f"),
        |r| r.manifest = None,
        |r| r.manifest.as_mut().unwrap().root = Hash::EMPTY_ROOT,
        |r| r.audience = None,
        |r| r.audience = Some("customer 18".to_owned()),
    ];
    // A log accepts statements for itself and statements for any log, as equal.
    assert_eq!(with(|r| r.log = None), release.content());
    let mut seen = std::collections::HashSet::from([release.content()]);
    for (at, change) in changes.into_iter().enumerate() {
        assert!(seen.insert(with(change)), "change {at} is another content than all others");
    }
}

#[test]
fn the_location_of_an_artifact_is_a_hint() {
    let plain = sample_release(b"x");
    let located = Release { location: Some("https://example.com/x".to_owned()), ..plain.clone() };
    let payload = located.to_payload().unwrap();
    assert_eq!(Release::parse(&payload).unwrap(), located);
    assert_eq!(
        (located.content(), located.bytes()),
        (plain.content(), plain.bytes()),
        "no part of the claim"
    );
    // What is no text is ignored, as other annotations are.
    let text = String::from_utf8(payload).unwrap();
    for other in ["null", "7", "\"\"", "\"a\\nb\"", "{}"] {
        let changed = text.replace("\"https://example.com/x\"", other);
        assert_ne!(changed, text);
        assert_eq!(Release::parse(changed.as_bytes()).unwrap(), plain, "{other}");
    }
    // One address is for one artifact.
    let mut two = located;
    two.subjects.push(Subject { name: "more".to_owned(), sha256: Hash::digest(b"more") });
    assert_refused(two.to_payload(), "one artifact, if it has a location", b"");
}
