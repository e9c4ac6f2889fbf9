//! What people state about releases: a list of components, a review with secret findings and their disclosure, and what was
//! signed for another system.

use serde_json::{Value, json};
use treehead::merkle::Hash;

use crate::program::{Ran, Server, World};

const TRUST: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";
const REVIEW: &str = r#"{"reviewer":{"id":"https://centre.example.com"},"finishedOn":"2026-01-31T12:00:00Z",
    "scope":["source","update"],"result":"PASSED_WITH_FINDINGS"}"#;
const FINDINGS: &str = "The updater follows symbolic links.\n\nA debug port is open\nin the beta.\n";

/// A log with a vendor and a transparency centre, and a release in it.
fn scene() -> (World, Server) {
    let world = World::new();
    world.run("keygen publisher --name centre --out centre.pem").done();
    let kinds = ["review", "disclosure", "sbom", "imported", "https://example.com/fuzzed/v1", "test-result"];
    let kinds: String = kinds.map(|kind| format!(" --kind {kind}")).concat();
    world
        .run(&format!("publisher add log --name centre --key centre.pub --purl pkg:generic/example/*{kinds}"))
        .done();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    (world, server)
}

fn state(world: &World, server: &Server, command: &str) -> Ran {
    world.run(&format!("{command} --log {} --key centre.pem", server.url))
}

fn rows(server: &Server, query: &str) -> Vec<Value> {
    let (status, page) = server.get(&format!("/releases?{query}"));
    assert_eq!(status, 200);
    let page: Value = serde_json::from_slice(&page).unwrap();
    page["releases"].as_array().unwrap().clone()
}

#[test]
fn a_document_is_stated_by_its_digest_and_checked_when_at_hand() {
    let (world, server) = scene();
    world.write("one.spdx.json", r#"{"spdxVersion":"SPDX-2.3","name":"one"}"#);
    let attest =
        "attest one.bin --type sbom --predicate one.spdx.json --purl pkg:generic/example/scanner@1.0";
    let ran = state(&world, &server, &format!("{attest} --dry-run")).done();
    assert!(ran.stdout.starts_with("a list of components (SBOM)\n"), "{ran:?}");
    assert!(ran.stdout.ends_with("nothing was sent\n") && server.tree_size() == 1, "{ran:?}");
    let ran = state(&world, &server, attest).done();
    let expected = "a list of components (SBOM) is leaf 1 of the log\nproof  one.bin.sbom.tlog-proof\n";
    assert_eq!(ran.stdout, expected);
    let again = state(&world, &server, attest).done();
    assert!(again.stdout.contains("the log already had it; nothing was added\n"), "{again:?}");
    let verify = format!("verify-statement one.bin.sbom.tlog-proof {TRUST}");
    let ran = world.run(&format!("{verify} --file one.bin --body one.spdx.json")).done();
    assert!(ran.stdout.contains("document  application/spdx+json, at ni:///sha-256;"), "{ran:?}");
    assert!(
        ran.stdout.contains("\nby        centre\nat        leaf 1 of log.example.com/releases"),
        "{ran:?}"
    );
    world.write("other.json", "{}");
    let inspect = "inspect one.bin.sbom.tlog-proof --body";
    let ran = world.run(&format!("{inspect} one.spdx.json")).done();
    let told = "\nbody      one.spdx.json has the digest that a list of components (SBOM) gives\n";
    assert!(ran.stdout.contains(told), "{ran:?}");
    assert_eq!(
        world.run(&format!("{inspect} one.spdx.json --json")).done().json()["bodies"][0]["of"],
        "sbom"
    );
    world.run(&format!("{inspect} one.spdx.json --body other.json")).refused("other-document");
    world.run("inspect one.bin.tlog-proof --body one.spdx.json").refused("other-document");
    world.run(&format!("{inspect} missing.json")).failed(3, "missing.json");
    world.run(&format!("{verify} --body other.json")).refused("other-document");
    world.run(&format!("{verify} --file other.json")).refused("other-artifact");
    // It is no release.
    world.run(&format!("verify one.bin --proof one.bin.sbom.tlog-proof {TRUST}")).refused("not-a-release");
    world.run("inspect one.bin.sbom.tlog-proof").done();
    let row = &rows(&server, "kind=sbom")[0];
    assert_eq!(row["predicate_type"], "https://in-toto.io/attestation/reference/v0.1");
    assert_eq!(rows(&server, &format!("digest={}", Hash::digest(b"one").to_hex())).len(), 2);
    // What is no such document, or no such kind, is said before anything is sent.
    let size = server.tree_size();
    state(&world, &server, "attest one.bin --type sbom --predicate other.json")
        .failed(2, "expected SPDX, CycloneDX or OpenVEX");
    state(&world, &server, "attest one.bin --type review --predicate other.json")
        .failed(2, "predicate.reviewer to be there");
    state(&world, &server, "attest one.bin --type virus --predicate other.json")
        .failed(2, "expected provenance, verification-summary, review");
    state(&world, &server, "attest one.bin --type build --predicate other.json")
        .failed(2, "`treehead publish`");
    state(
        &world,
        &server,
        "attest one.bin --type review --predicate other.json --location https://example.com/x",
    )
    .failed(2, "--location: expected --type sbom or vex, saw review");
    assert_eq!(server.tree_size(), size);
    // A type without a name, and one that the centre has no right to.
    state(&world, &server, "attest one.bin --type https://example.com/fuzzed/v1 --predicate other.json")
        .done();
    assert_eq!(rows(&server, "kind=https://example.com/fuzzed/v1").len(), 1);
    world.write(
        "slsa.json",
        r#"{"builder":{"id":"https://example.com/b"},"buildType":"https://example.com/m"}"#,
    );
    state(&world, &server, "attest one.bin --type provenance --predicate slsa.json")
        .refused("publisher-not-permitted");
}

#[test]
fn a_finding_stays_secret_until_it_is_shown_and_the_log_has_to_whom() {
    let (world, server) = scene();
    world.write("review.json", REVIEW);
    world.write("findings.txt", FINDINGS);
    world.write("report.pdf", "the report");
    let review = "attest one.bin --type review --predicate review.json --report report.pdf \
                  --findings findings.txt --purl pkg:generic/example/scanner@1.0 \
                  --source git+https://example.com/scanner@gitCommit:0123456789012345678901234567890123456789";
    let ran = state(&world, &server, review).done();
    assert!(
        ran.stdout.contains("a review is leaf 1 of the log\nproof  one.bin.review.tlog-proof\n"),
        "{ran:?}"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&world.path("findings.txt.openings").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    // A second run uses the same salts, and adds nothing.
    let again = state(&world, &server, review).done();
    assert!(again.stdout.contains("nothing was added"), "{again:?}");
    let ran = world.run("inspect one.bin.review.tlog-proof").done();
    assert!(ran.stdout.contains("looked at source, update\n"), "{ran:?}");
    world.run("inspect one.bin.review.tlog-proof --body report.pdf").done();
    assert!(ran.stdout.contains("findings  2, not shown: there is a commitment to each\n"), "{ran:?}");
    let proof = String::from_utf8(world.read("one.bin.review.tlog-proof")).unwrap();
    let entry = server.get("/releases?kind=review&entries=true").1;
    let openings = String::from_utf8(world.read("findings.txt.openings")).unwrap();
    let openings: Value = serde_json::from_str(&openings).unwrap();
    for opening in openings["findings"].as_array().unwrap() {
        let salt = opening["salt"].as_str().unwrap();
        assert!(!proof.contains(salt) && !String::from_utf8_lossy(&entry).contains(salt));
    }
    world
        .run(&format!("verify-statement one.bin.review.tlog-proof {TRUST} --body report.pdf --file one.bin"))
        .done();

    // To one party.
    let open = "open one.bin.review.tlog-proof --findings findings.txt.openings";
    let ran = state(&world, &server, &format!("{open} --finding 2 --to Ministry --give two.openings")).done();
    assert!(ran.stdout.contains("a disclosure of a finding is leaf 2 of the log\n"), "{ran:?}");
    assert!(ran.stdout.ends_with("for the party  two.openings\n"), "{ran:?}");
    let disclosed = "one.bin.review.finding-2.disclosure.tlog-proof";
    let ran = world.run(&format!("inspect {disclosed}")).done();
    assert!(ran.stdout.contains("shown to  Ministry, and not here\n"), "{ran:?}");
    assert!(!ran.stdout.contains("debug"), "{ran:?}");
    let check = format!(
        "verify-statement {disclosed} {TRUST} --review one.bin.review.tlog-proof --opening two.openings"
    );
    let ran = world.run(&check).done();
    let expected = "the commitment is one of the review at leaf 1, by centre\nthe finding opens the commitment:\n          A debug port is open\n          in the beta.\n";
    assert!(ran.stdout.ends_with(expected), "{ran:?}");

    // To everybody.
    state(&world, &server, &format!("{open} --finding 1")).done();
    let first = "one.bin.review.finding-1.disclosure.tlog-proof";
    let ran =
        world.run(&format!("verify-statement {first} {TRUST} --review one.bin.review.tlog-proof")).done();
    assert!(ran.stdout.contains("finding   The updater follows symbolic links.\n"), "{ran:?}");
    world.run(&format!("verify-statement {first} {TRUST} --opening two.openings")).refused("other-finding");
    let told: Vec<Value> = rows(&server, "kind=disclosure").iter().map(|row| row["to"].clone()).collect();
    assert_eq!(told, [Value::Null, json!("Ministry")]);

    // Other findings don't overwrite what opens these; a number that there is none of is refused.
    world.write("findings.txt", "Another finding.\n");
    state(&world, &server, review).failed(2, "findings.txt.openings opens other findings");
    state(&world, &server, &format!("{open} --finding 3")).failed(2, "expected a number from 1 to 2");
    state(&world, &server, "open one.bin.tlog-proof --findings findings.txt.openings --finding 1")
        .failed(2, "predicateType to be urn:treehead:review:v1");
    // Another review of the same artifact has other commitments.
    world.write("findings2.txt", FINDINGS);
    let other = review.replace("findings.txt", "findings2.txt") + " --out other.tlog-proof";
    state(&world, &server, &other).done();
    world.run(&format!("verify-statement {first} {TRUST} --review other.tlog-proof")).refused("other-review");
}

#[test]
fn a_bundle_from_elsewhere_is_carried_and_nobody_vouches_for_it() {
    let (world, mut server) = scene();
    world.run("keygen publisher --name npm --out npm.pem").done();
    let digest = Hash::digest(b"one").to_hex();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{ "name": "pkg:generic/example/scanner@1.0", "digest": { "sha256": digest } }],
        "predicate": { "buildDefinition": { "buildType": "https://example.com/make" },
            "runDetails": { "builder": { "id": "https://example.com/\u{202e}builder" } } },
    });
    let bundle = |statement: &Value| {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2",
            "verificationMaterial": { "publicKey": { "hint": "SHA256:abc" }, "tlogEntries": [] },
            "dsseEnvelope": { "payload": base64(statement.to_string().as_bytes()),
                "payloadType": "application/vnd.in-toto+json", "signatures": [{ "sig": "AAAA", "keyid": "" }] },
        })
    };
    let good = bundle(&statement);
    let bare =
        json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "messageSignature": {} });
    world.write("one.jsonl", format!("{good}\n{bare}\n"));
    let ran = state(&world, &server, "import one.jsonl");
    assert_eq!(ran.exit, 1, "{ran:?}");
    assert!(ran.stdout.contains("a statement from elsewhere is leaf 1 of the log\n"), "{ran:?}");
    assert!(
        ran.stderr.contains("bundle 2: ") && ran.stderr.contains("a bare signature, which states nothing"),
        "{ran:?}"
    );
    let ran =
        world.run(&format!("verify-statement one.jsonl.imported-1.tlog-proof {TRUST} --file one.bin")).done();
    for expected in [
        "said by   a key named SHA256:abc\n",
        "neither the log nor this program checked that signature or its certificate\n",
        "builder   https://example.com/\\u{202e}builder\n",
        "by        centre\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}: {ran:?}");
    }
    // It is no provenance.
    assert!(rows(&server, "kind=provenance").is_empty());
    let row = &rows(&server, "kind=imported")[0];
    assert_eq!(
        (&row["signer"], &row["predicate_type"]),
        (&json!("SHA256:abc"), &json!("https://slsa.dev/provenance/v1"))
    );
    // As npm's registry lists the attestations of a version: its own word under its key, and the provenance.
    const PUBLISH: &str = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1";
    let own = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": PUBLISH,
        "subject": [{ "name": "pkg:npm/%40example/scanner@4.2.0", "digest": { "sha512": "ab".repeat(64) } }],
        "predicate": { "name": "@example/scanner", "version": "4.2.0", "registry": "https://registry.example.com" },
    });
    let item = |statement: &Value| json!({ "predicateType": statement["predicateType"], "bundle": bundle(statement) });
    world.write("npm.json", json!({ "attestations": [item(&own), item(&statement)] }).to_string());
    world.run("publisher add log --name npm --key npm.pub --purl pkg:npm/* --purl pkg:generic/* --kind imported").done();
    server.hang_up();
    let ran = world.run(&format!("import npm.json --json --log {} --key npm.pem", server.url)).done();
    let told = ran.json_lines();
    let carried: Vec<_> = told.iter().map(|one| (&one["what"], &one["envelope"])).collect();
    assert_eq!(carried, [(&json!("imported"), &json!(true)); 2], "{ran:?}");
    let row = &rows(&server, "package=pkg:npm/%2540example/scanner")[0];
    assert_eq!((&row["predicate_type"], &row["signer"]), (&json!(PUBLISH), &json!("SHA256:abc")), "{row}");
    // One that is of no use does not hide the other.
    world.write(
        "npm.json",
        json!({ "attestations": [{ "predicateType": "x" }, item(&statement)] }).to_string(),
    );
    let ran = world.run(&format!("import npm.json --log {} --key npm.pem", server.url));
    assert!(
        ran.exit == 1 && ran.stderr.contains("bundle 1: ") && ran.stdout.contains("the log already had it"),
        "{ran:?}"
    );
    world.write("none.json", "{}");
    state(&world, &server, "import none.json").refused("not-imported");
    world.write("none.json", "[]");
    state(&world, &server, "import none.json").failed(2, "to be an object");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// Types commands into a shell in the world's directory.
fn typed(world: &World, commands: &str) -> Ran {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_treehead")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["-e", "-c", commands]).current_dir(world.path("")).env("PATH", path).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { exit: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn the_first_lines_of_the_page_run_as_they_are_written() {
    const PAGE: &str = include_str!("../../docs/statements.md");
    let world = World::new();
    world.run("keygen publisher --name maker --out vendor.pem").done();
    let right = PAGE.split('`').find(|code| code.starts_with("treehead publisher add ")).unwrap();
    // The log is there already, and its publisher has this name.
    typed(&world, &right.replace(" mylog ", " log ").replace("--name vendor", "--name maker")).done();
    let server = world.serve();
    world.write("scanner-4.2.0.tar.gz", "a scanner");
    world.write("scanner.spdx.json", r#"{"spdxVersion":"SPDX-2.3"}"#);
    typed(&world, "cp log/endpoint.policy log/publishers.toml .").done();
    let first = PAGE.split("```").nth(1).unwrap();
    assert!(first.contains("treehead attest ") && first.contains("treehead verify-statement "), "{first}");
    let ran = typed(&world, &first.replace("https://log.example.com", &server.url)).done();
    assert!(ran.stdout.starts_with("a list of components (SBOM) is leaf 0 of the log\n"), "{ran:?}");
    assert!(ran.stdout.contains("\nby        maker\n"), "{ran:?}");
}
