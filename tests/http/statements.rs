//! Provenance and verification summaries over HTTP: who may state them, and how they are found.

use serde_json::{Value, json};
use treehead::merkle::Hash;

use crate::common::log::Served;
use crate::common::releases::{publisher_toml, scanner, signed, signed_statement, subject, vendor_toml};

const SCANNER: &str = "pkg:generic/example/scanner@1.0";

fn log() -> Served {
    let builder = publisher_toml("builder", 2, &["pkg:generic/example/*"], &["provenance"]);
    let auditor = publisher_toml("auditor", 3, &["pkg:generic/example/*"], &["verification-summary"]);
    Served::release(&(vendor_toml() + &builder + &auditor))
}

fn provenance(name: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "buildDefinition": { "buildType": "https://example.com/make", "externalParameters": {} },
            "runDetails": { "builder": { "id": "https://example.com/builder" } },
        },
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [subject(name)],
    })
}

fn summary(resource: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "policy": { "uri": "https://example.com/policy" },
            "resourceUri": resource,
            "timeVerified": "2026-01-31T12:00:00Z",
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
            "verifier": { "id": "https://example.com/auditor" },
        },
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "subject": [subject("scanner.bin")],
    })
}

#[test]
fn attestations_are_found_beside_the_release() {
    let log = log();
    assert_eq!(log.post("/add", &signed(&scanner(1), 1)).text(), "0");
    assert_eq!(log.post("/add", &signed_statement(&provenance(SCANNER), 2)).text(), "1");
    assert_eq!(log.post("/add", &signed_statement(&provenance("scanner.bin"), 2)).text(), "2");
    assert_eq!(log.post("/add", &signed_statement(&summary(SCANNER), 3)).text(), "3");
    let found = |query: &str| -> Vec<u64> {
        let page = log.get(&format!("/releases?{query}")).json();
        page["releases"].as_array().unwrap().iter().map(|row| row["index"].as_u64().unwrap()).collect()
    };
    let digest = Hash::digest(b"scanner.bin").to_hex();
    for (query, indices) in [
        ("", &[3, 2, 1, 0][..]),
        ("package=pkg:generic/example/scanner", &[3, 1, 0]),
        ("version=1.0", &[3, 1, 0]),
        ("kind=build", &[0]),
        ("kind=provenance", &[2, 1]),
        ("kind=verification-summary", &[3]),
        ("publisher=builder", &[2, 1]),
        ("publisher=auditor", &[3]),
        (&format!("digest={digest}"), &[3, 2]),
    ] {
        assert_eq!(found(query), indices, "{query}");
    }
    let rows = log.get("/releases").json()["releases"].clone();
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["purl"], &rows[0]["verifier"], &rows[0]["result"]),
        (
            &json!("verification-summary"),
            &json!(SCANNER),
            &json!("https://example.com/auditor"),
            &json!("PASSED")
        )
    );
    assert_eq!((&rows[1]["builder"], rows[1].get("purl")), (&json!("https://example.com/builder"), None));
    assert_eq!(rows[1]["artifacts"], json!([{ "name": "scanner.bin", "sha256": digest }]));
    assert!(rows[2].get("channel").is_none() && rows[2].get("sequence").is_none(), "{rows}");
}

#[test]
fn attestations_need_their_own_right_and_the_package_where_one_is_named() {
    let log = log();
    let refused = |statement: &Value, seed| {
        log.post("/add", &signed_statement(statement, seed)).problem(403, "publisher-not-permitted")
    };
    let elsewhere = "pkg:generic/other/scanner@1.0";
    for (statement, seed) in [(provenance(elsewhere), 2), (summary(elsewhere), 3)] {
        assert!(refused(&statement, seed).contains("pkg:generic/other/scanner"));
    }
    for (statement, seed) in [(provenance("scanner.bin"), 1), (summary("https://example.com/x"), 1)] {
        let detail = refused(&statement, seed);
        assert!(detail.contains("expected one of their kinds in publishers.toml"), "{detail}");
    }
    refused(&provenance(SCANNER), 3);
    refused(&summary(SCANNER), 2);
    log.post("/add", &signed(&scanner(1), 2)).problem(403, "publisher-not-permitted");
    // Another spelling of a purl does not bypass the patterns.
    refused(&summary("pkg:generic/%6Fther/scanner@1.0"), 3);
    // Without a purl, only the kind must match.
    assert_eq!(log.post("/add", &signed_statement(&summary("https://example.com/x"), 3)).text(), "0");
}

#[test]
fn another_predicate_type_needs_a_right_of_its_own_and_ours_can_t_be_misspelt() {
    let log = log();
    let mut statement = provenance("scanner.bin");
    statement["predicateType"] = json!("https://example.com/fuzzed/v1");
    let detail = log.post("/add", &signed_statement(&statement, 2)).problem(403, "publisher-not-permitted");
    assert!(detail.contains("statements of kind https://example.com/fuzzed/v1"), "{detail}");
    statement["predicateType"] = json!("urn:treehead:withdrawl:v1");
    let detail = log.post("/add", &signed_statement(&statement, 2)).problem(422, "statement");
    assert!(detail.contains("predicateType to be the URI of a predicate type"), "{detail}");
}
