//! Statements of other parties: SLSA provenance and verification summaries.

use super::*;

const PURL: &str = "pkg:generic/example/scanner@4.2.0";

fn provenance() -> Vec<u8> {
    let digest = Hash::digest(b"x").to_hex();
    canonical(&format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1",
        "subject":[{{"name":"{PURL}","digest":{{"sha256":"{digest}","sha512":"00"}}}},
                   {{"digest":{{"gitCommit":"abc"}}}}],
        "predicateType":"https://slsa.dev/provenance/v1",
        "predicate":{{
          "buildDefinition":{{"buildType":"https://example.com/make","externalParameters":{{"ref":"main"}},
            "internalParameters":{{"a":[1]}},
            "resolvedDependencies":[{{"uri":"git+https://example.com/scanner","digest":{{"gitCommit":"0123"}}}},
                                    {{"content":"AAAA"}}]}},
          "runDetails":{{"builder":{{"id":"https://example.com/builder","version":{{"a":"1"}}}},
            "metadata":{{"invocationId":"7"}}}}}}}}"#
    ))
}

fn summary() -> Vec<u8> {
    let digest = Hash::digest(b"x").to_hex();
    canonical(&format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1",
        "subject":[{{"name":"scanner.bin","digest":{{"sha256":"{digest}"}}}}],
        "predicateType":"https://slsa.dev/verification_summary/v1",
        "predicate":{{"verifier":{{"id":"https://example.com/auditor"}},"timeVerified":"1985-04-12T23:20:50.52Z",
          "resourceUri":"{PURL}","policy":{{"uri":"https://example.com/policy","digest":{{"sha256":"{digest}"}}}},
          "inputAttestations":[{{"uri":"https://example.com/a","digest":{{"sha256":"{digest}"}}}}],
          "verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3","SLSA_SOURCE_LEVEL_1","OURS"],
          "dependencyLevels":{{"SLSA_BUILD_LEVEL_3":5}},"slsaVersion":"1.0"}}}}"#
    ))
}

#[test]
fn provenance_says_who_built_what_from_what() {
    let Statement::Provenance(provenance) = Statement::parse(&provenance()).unwrap() else { panic!() };
    assert_eq!(provenance.builder, "https://example.com/builder");
    assert_eq!(provenance.build_type, "https://example.com/make");
    let source = Resource {
        name: None,
        uri: Some("git+https://example.com/scanner".to_owned()),
        digests: vec![("gitCommit".to_owned(), "0123".to_owned())],
    };
    let content = Resource { name: None, uri: None, digests: Vec::new() };
    assert_eq!(provenance.dependencies, [source, content]);
    assert_eq!(provenance.purls()[0].as_str(), PURL);
    assert_eq!(provenance.subjects[0].sha256(), Some(Hash::digest(b"x")));
    assert_eq!(provenance.subjects[1].sha256(), None);
    let statement = Statement::Provenance(provenance);
    assert_eq!((statement.kind(), statement.kind().as_str()), (StatementKind::Provenance, "provenance"));
    assert_eq!(
        statement.digests().collect::<Vec<_>>(),
        [Hash::digest(b"x")],
        "sha256 alone is a digest here"
    );
    assert_eq!(Statement::parse(&super::attestations::provenance()), Ok(statement));
}

#[test]
fn a_summary_says_who_checked_what_against_what() {
    let Statement::Summary(summary) = Statement::parse(&summary()).unwrap() else { panic!() };
    assert_eq!(summary.verifier, "https://example.com/auditor");
    assert_eq!(format_time(summary.time_verified), "1985-04-12T23:20:50Z");
    assert_eq!(
        (summary.resource_uri.as_str(), summary.policy.as_str()),
        (PURL, "https://example.com/policy")
    );
    assert_eq!((summary.result, summary.result.as_str()), (VerificationResult::Passed, "PASSED"));
    assert_eq!(summary.levels, ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_1", "OURS"]);
    assert_eq!(summary.purls()[0].as_str(), PURL);
    let statement = Statement::Summary(summary);
    assert_eq!(statement.kind().as_str(), "verification-summary");
    assert_eq!(statement.digests().collect::<Vec<_>>(), [Hash::digest(b"x")]);
    assert_eq!(Statement::parse(&super::attestations::summary()), Ok(statement));
}

fn assert_each_refused(good: &[u8], table: &[(&str, &str, &str)]) {
    assert!(Statement::parse(good).is_ok());
    for (pointer, value, why) in table {
        let payload = changed(good, pointer, value);
        assert_refused(Statement::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
    }
}

#[test]
fn every_field_of_provenance_is_checked() {
    let build = "/predicate/buildDefinition";
    let [build_type, parameters, dependencies, uri, digest] = [
        "/buildType",
        "/externalParameters",
        "/resolvedDependencies",
        "/resolvedDependencies/0/uri",
        "/resolvedDependencies/0/digest",
    ]
    .map(|field| format!("{build}{field}"));
    let long = format!("{:?}", "u".repeat(1_025));
    assert_each_refused(
        &provenance(),
        &[
            ("/predicate", "", "predicate to be there"),
            ("/predicate", "7", "predicate to be an object"),
            (build, "", "predicate.buildDefinition to be there"),
            (build, "null", "predicate.buildDefinition to be there"),
            (build, "{}", "predicate.buildDefinition to be there"),
            (build, "[1]", "predicate.buildDefinition to be an object"),
            (&build_type, "", "buildDefinition.buildType to be there"),
            (&build_type, "\"\"", "buildDefinition.buildType to be there"),
            (&build_type, "1", "buildDefinition.buildType to be a string"),
            (&build_type, "\"a\\nb\"", "a build type is malformed"),
            (&build_type, &long, "a build type is too large"),
            (&parameters, "\"main\"", "externalParameters to be an object"),
            (&dependencies, "{\"a\":1}", "resolvedDependencies to be an array"),
            (&dependencies, "[7]", "resolvedDependencies[] to be an object"),
            (&dependencies, "[{}]", "resolvedDependencies[].uri or a digest or content to be there"),
            (&dependencies, "[{\"name\":\"a\"}]", "or a digest or content to be there"),
            (&uri, "7", "resolvedDependencies[].uri to be a string"),
            (&uri, "\"a\\u0000\"", "the uri of a resource is malformed"),
            (&digest, "\"abc\"", "resolvedDependencies[].digest to be an object"),
            (&digest, "{\"gitCommit\":7}", "digest.\"gitCommit\" to be a string"),
            (&digest, "{\"gitCommit\":\"a\\tb\"}", "a digest is malformed"),
            (&digest, "{\"sha256\":\"00\"}", "64 lower-case hex digits"),
            ("/predicate/runDetails", "", "predicate.runDetails to be there"),
            ("/predicate/runDetails/builder", "", "predicate.runDetails.builder to be there"),
            ("/predicate/runDetails/builder", "{\"id\":null}", "runDetails.builder.id to be there"),
            ("/predicate/runDetails/builder/id", "[]", "runDetails.builder.id to be there"),
            ("/predicate/runDetails/builder/id", "7", "runDetails.builder.id to be a string"),
            ("/subject", "", "subject to be there"),
            ("/subject", "[]", "at least one subject"),
            ("/subject/0/digest", "", "subject[].digest to be there"),
            ("/subject/0/digest", "{}", "subject[].digest to be there"),
            ("/subject/0/digest/sha256", "\"AB\"", "64 lower-case hex digits"),
            ("/subject/0/name", "7", "subject[].name to be a string"),
            ("/subject/0/name", "\"a\\n\"", "the name of a resource is malformed"),
            ("/subject/0/name", "\"pkg:generic/%2Fa@1\"", "a purl is malformed"),
            ("/subject/0/uri", "\"pkg:generic/a@\"", "a purl is malformed"),
            (
                "/_type",
                "\"https://in-toto.io/Statement/v0.2\"",
                "_type to be https://in-toto.io/Statement/v1",
            ),
        ],
    );
    let one = format!("{{\"digest\":{{\"sha256\":\"{}\"}}}}", Hash::digest(b"x").to_hex());
    let list = |count: usize| format!("[{}]", vec![one.as_str(); count].join(","));
    assert!(Statement::parse(&changed(&provenance(), "/subject", &list(256))).is_ok());
    let payload = changed(&provenance(), "/subject", &list(257));
    assert_refused(Statement::parse(&payload), "expected at most 256 subjects, saw 257", b"");
}

#[test]
fn every_field_of_a_summary_is_checked() {
    let mut table: Vec<(String, &str, &str)> = Vec::new();
    for field in ["verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"]
    {
        table.push((format!("/predicate/{field}"), "", "to be there, saw nothing"));
        table.push((format!("/predicate/{field}"), "7", "saw 7"));
        table.push((format!("/predicate/{field}"), "null", "saw null"));
    }
    let table: Vec<(&str, &str, &str)> = table.iter().map(|(a, b, c)| (a.as_str(), *b, *c)).collect();
    assert_each_refused(&summary(), &table);
    assert_each_refused(
        &summary(),
        &[
            ("/predicate/verifier/id", "", "verifier.id to be there"),
            ("/predicate/verifier/id", "\"\"", "the id of a verifier is malformed"),
            ("/predicate/timeVerified", "\"1985-04-12T23:20:50.Z\"", "a time is malformed"),
            ("/predicate/timeVerified", "\"1985-04-12T23:20:50.5xZ\"", "a time is malformed"),
            ("/predicate/timeVerified", "\"1985-04-12T23:20:50.52+00:00\"", "a time is malformed"),
            ("/predicate/timeVerified", "\"1985-04-12\"", "a time is malformed"),
            ("/predicate/resourceUri", "\"\"", "the resourceUri of a verification summary is malformed"),
            ("/predicate/resourceUri", "\"pkg:generic/a b@1\"", "a purl is malformed"),
            ("/predicate/policy", "{}", "or a digest or content to be there"),
            ("/predicate/policy/uri", "", "predicate.policy.uri to be there, saw nothing"),
            ("/predicate/inputAttestations", "{}", "inputAttestations to be an array"),
            ("/predicate/inputAttestations/0/digest", "", "inputAttestations[].digest to be there"),
            ("/predicate/verificationResult", "\"passed\"", "to be PASSED or FAILED, saw \"passed\""),
            ("/predicate/verificationResult", "\"\"", "to be PASSED or FAILED"),
            ("/predicate/verifiedLevels", "[7]", "verifiedLevels[] to be a string"),
            ("/predicate/verifiedLevels", "[\"a\\n\"]", "a verified level is malformed"),
            (
                "/predicate/verifiedLevels",
                "[\"SLSA_BUILD_LEVEL_1\",\"OURS\",\"SLSA_BUILD_LEVEL_3\"]",
                "at most one of verifiedLevels for each track, saw \"SLSA_BUILD_LEVEL_3\" and another",
            ),
            ("/subject", "[]", "at least one subject"),
            ("/subject/0/digest", "", "subject[].digest to be there"),
        ],
    );
}

/// in-toto: consumers MUST ignore unknown fields. SLSA provenance: unset, null and empty are the same.
#[test]
fn what_the_specifications_leave_open_is_allowed() {
    let build = |field: &str| format!("/predicate/buildDefinition/{field}");
    for (pointer, value) in [
        ("/anything".to_owned(), "[1]"),
        ("/predicate/extension".to_owned(), "{\"a\":1}"),
        (build("unknown"), "true"),
        (build("externalParameters"), ""),
        (build("externalParameters"), "null"),
        (build("resolvedDependencies"), ""),
        (build("resolvedDependencies"), "null"),
        (build("resolvedDependencies"), "[]"),
        ("/predicate/runDetails/metadata".to_owned(), "null"),
        ("/subject/0/name".to_owned(), ""),
        ("/subject/0/name".to_owned(), "null"),
        ("/subject/0/annotations".to_owned(), "{\"a\":null}"),
    ] {
        let payload = changed(&provenance(), &pointer, value);
        assert!(Statement::parse(&payload).is_ok(), "{pointer} = {value}: {:?}", Statement::parse(&payload));
    }
    for (pointer, value) in [
        ("/predicate/inputAttestations", ""),
        ("/predicate/dependencyLevels", ""),
        ("/predicate/slsaVersion", ""),
        ("/predicate/verifiedLevels", "[]"),
        ("/predicate/verificationResult", "\"FAILED\""),
        ("/predicate/verifiedLevels", "[\"FAILED\"]"),
        ("/predicate/timeVerified", "\"2026-01-31T12:00:00Z\""),
        ("/predicate/timeVerified", "\"2026-01-31T12:00:00.000000000001Z\""),
        ("/predicate/verifier/version", "{\"a\":\"1\"}"),
    ] {
        let payload = changed(&summary(), pointer, value);
        assert!(Statement::parse(&payload).is_ok(), "{pointer} = {value}: {:?}", Statement::parse(&payload));
    }
}

#[test]
fn every_purl_that_is_named_counts() {
    let purls = |good: Vec<u8>, pointer: &str, value: &str| -> Vec<String> {
        let statement = Statement::parse(&changed(&good, pointer, value)).unwrap();
        assert_eq!(statement.purl(), statement.purls().first());
        statement.purls().iter().map(ToString::to_string).collect()
    };
    let engine = "pkg:generic/example/engine@1";
    let uri = format!("{engine:?}");
    // In their order in the statement: the resource, then uri and name of each subject.
    assert_eq!(purls(provenance(), "/subject/0/uri", &uri), [engine, PURL]);
    assert_eq!(purls(provenance(), "/subject/0/uri", "\"https://example.com/@\""), [PURL]);
    assert_eq!(purls(provenance(), "/subject/1/name", &uri), [PURL, engine]);
    assert_eq!(purls(provenance(), "/subject/1/uri", &uri), [PURL, engine]);
    assert_eq!(purls(provenance(), "/subject/1/uri", &format!("{PURL:?}")), [PURL], "each once");
    assert_eq!(purls(summary(), "/subject/0/uri", &uri), [PURL, engine]);
    assert_eq!(purls(summary(), "/subject/0/name", &uri), [PURL, engine]);
    assert_eq!(purls(summary(), "/predicate/resourceUri", &uri), [engine]);
    assert!(purls(provenance(), "/subject/0/name", "").is_empty());
    for value in ["scanner.bin", "a pkg:generic/example/scanner@1", "pkg", "é", "https://example.com/pkg:a"]
    {
        assert!(purls(provenance(), "/subject/0/name", &format!("{value:?}")).is_empty(), "{value}");
        assert!(purls(summary(), "/predicate/resourceUri", &format!("{value:?}")).is_empty(), "{value}");
    }
    // In any spelling.
    for value in
        ["PKG:generic/example/engine@1", "pkg:Generic/%65xample/engine@1", "Pkg://generic/example/engine@1"]
    {
        assert_eq!(purls(summary(), "/predicate/resourceUri", &format!("{value:?}")), [engine], "{value}");
        assert_eq!(purls(provenance(), "/subject/1/name", &format!("{value:?}")), [PURL, engine], "{value}");
    }
    // A string that a reader would take for a purl is one, or nothing is.
    for value in [
        "pkg:generic/example/scanner",
        "pkg:generic/example/%2E%2E/scanner@1",
        " pkg:generic/example/scanner@1",
        "\u{a0}pkg:generic/example/scanner@1",
        "pkg:generic/example/scanner@1 ",
        "pkg:",
    ] {
        let quoted = serde_json::to_string(value).unwrap();
        for (good, pointer) in [
            (provenance(), "/subject/0/name"),
            (provenance(), "/subject/1/name"),
            (provenance(), "/subject/1/uri"),
            (summary(), "/subject/0/name"),
            (summary(), "/subject/0/uri"),
            (summary(), "/predicate/resourceUri"),
        ] {
            let payload = changed(&good, pointer, &quoted);
            assert_refused(Statement::parse(&payload), "a purl is malformed", value.as_bytes());
        }
    }
}

#[test]
fn every_purl_has_to_be_covered_and_is_found() {
    let signer = publisher_signer(1);
    let toml = |purls: &[&str]| {
        publisher_toml("auditor", &[&signer], purls, &["provenance", "verification-summary"])
    };
    let all = Publishers::parse(toml(&["pkg:generic/example/*", "pkg:deb/debian/bash"]).as_bytes()).unwrap();
    let some = Publishers::parse(toml(&["pkg:generic/example/*"]).as_bytes()).unwrap();
    let bash = "\"pkg:deb/debian/bash@5\"";
    for (good, pointer) in [
        (provenance(), "/subject/1/name"),
        (provenance(), "/subject/0/uri"),
        (summary(), "/subject/0/uri"),
        (summary(), "/subject/0/name"),
    ] {
        let envelope = Envelope::sign(changed(&good, pointer, bash), &[&signer]).unwrap();
        assert!(all.verify(&envelope, LOG).is_ok(), "{pointer}");
        let error = some.verify(&envelope, LOG).unwrap_err();
        assert!(error.to_string().contains(" about pkg:deb/debian/bash: "), "{pointer}: {error}");
        let facts = Facts::of_entry(&envelope.to_entry(), &all).unwrap();
        let values = Facts::values(&envelope.to_entry(), &all).unwrap();
        for (field, value) in [
            (SearchField::Package, "pkg:generic/example/scanner"),
            (SearchField::Version, "4.2.0"),
            (SearchField::Package, "pkg:deb/debian/bash"),
            (SearchField::Version, "5"),
        ] {
            assert!(
                facts.terms.contains(&Term::new(field, value)) && values.matches(field, value),
                "{value}"
            );
        }
    }
    // Two signers with a right to one purl each do not make one with a right to both.
    let other = publisher_signer(2);
    let two = toml(&["pkg:generic/example/*"])
        + &publisher_toml("other", &[&other], &["pkg:deb/*"], &["provenance"]);
    let payload = changed(&provenance(), "/subject/1/name", bash);
    let envelope = Envelope::sign(payload, &[&signer, &other]).unwrap();
    let refused = Publishers::parse(two.as_bytes()).unwrap().verify(&envelope, LOG);
    assert!(matches!(refused, Err(StatementError::NotPermitted { .. })), "{refused:?}");
}

/// Statements as other pipelines sign them: any spelling of JSON, any numbers, either version of the statement type,
/// subjects without a name, any digest.
#[test]
fn attestations_of_others_are_read_as_they_were_signed() {
    let pretty = |payload: &[u8]| {
        let json: serde_json::Value = serde_json::from_slice(payload).unwrap();
        format!("\n{}\r\n", serde_json::to_string_pretty(&json).unwrap()).into_bytes()
    };
    let sha512 = "[{\"digest\":{\"sha512\":\"ab\"},\"annotations\":{\"size\":1.5e3}},{\"digest\":{\"sha1\":\"cd\"},\"name\":\"_\"}]";
    for payload in [provenance(), summary()] {
        let read = Statement::parse(&payload).unwrap();
        assert_eq!(Statement::parse(&pretty(&payload)), Ok(read.clone()));
        for (pointer, value) in [
            ("/_type", "\"https://in-toto.io/Statement/v0.1\""),
            ("/predicate/extra", "{\"float\":0.1,\"large\":18446744073709551616,\"exponent\":-2E+9}"),
            ("/predicate/metadata", "null"),
        ] {
            assert_eq!(Statement::parse(&changed(&payload, pointer, value)), Ok(read.clone()), "{pointer}");
        }
        // Artifacts are matched by SHA-256 alone: these subjects name none.
        let unnamed = Statement::parse(&changed(&payload, "/subject", sha512)).unwrap();
        assert_eq!(unnamed.digests().count(), 0);
        let without = changed(&payload, "/subject/0/digest", "{}");
        assert_refused(Statement::parse(&without), "digest to be there", &without);
    }
}

#[test]
fn attestations_need_a_right_of_their_own() {
    let signer = publisher_signer(1);
    let publishers = |kinds: &[&str], purls: &[&str]| {
        Publishers::parse(publisher_toml("auditor", &[&signer], purls, kinds).as_bytes()).unwrap()
    };
    let verify = |kinds: &[&str], purls: &[&str], payload: &[u8]| {
        let envelope = Envelope::sign(payload.to_vec(), &[&signer]).unwrap();
        publishers(kinds, purls).verify(&envelope, LOG)
    };
    let bare = changed(&summary(), "/predicate/resourceUri", "\"https://example.com/x\"");
    let all = ["pkg:generic/*"];
    for (kind, payload) in [("provenance", provenance()), ("verification-summary", summary())] {
        assert!(verify(&[kind], &all, &payload).is_ok());
        assert!(verify(&["build", "update", "detection-rules"], &all, &payload).is_err());
        assert!(matches!(
            verify(&[kind], &["pkg:deb/*"], &payload),
            Err(StatementError::NotPermitted { .. })
        ));
        assert_eq!(verify(&[kind], &[], &bare).is_ok(), kind == "verification-summary");
        let release = sample_release(b"x").to_payload().unwrap();
        assert!(verify(&[kind], &all, &release).is_err(), "no right to release");
        let withdrawal = Withdrawal::of(
            crate::merkle::LeafIndex::new(0).unwrap(),
            &signed_entry(&sample_release(b"x"), &[&signer]),
            "r",
        );
        let withdrawal = withdrawal.unwrap().to_payload().unwrap();
        assert!(verify(&[kind], &all, &withdrawal).is_err(), "nor to withdraw");
        assert!(verify(&["update"], &all, &withdrawal).is_ok());
    }
    let told = verify(&["provenance"], &all, &bare).unwrap_err().to_string();
    assert_eq!(
        told,
        "auditor may not make statements of kind verification-summary: expected one of their kinds in publishers.toml to cover it"
    );
    let verified = verify(&["provenance"], &all, &provenance()).unwrap();
    assert_eq!((verified.release(), verified.publisher()), (None, "auditor"));
    assert!(matches!(verified.into_statement(), Statement::Provenance(_)));
}

proptest! {
    #[test]
    fn noise_in_attestations_never_panics(
        patch in "[a-zA-Z0-9+/=\"{}\\[\\]:,\\\\ .-]{0,8}",
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
    ) {
        for mut payload in [provenance(), summary()] {
            let at = at.index(payload.len());
            let end = (at + cut).min(payload.len());
            payload.splice(at..end, patch.bytes());
            if let Ok(statement) = Statement::parse(&payload) {
                let releases = matches!(statement.kind(), StatementKind::Release(_) | StatementKind::Withdrawal);
                prop_assert!(!releases && statement.digests().count() <= 2);
            }
        }
    }
}
