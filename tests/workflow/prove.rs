//! `treehead prove`: finding the release of an artifact.

use serde_json::{Value, json};
use treehead::client::{LogClient, Wait};
use treehead::merkle::Hash;
use treehead::proof::ProofFile;
use treehead::release::{Envelope, PublisherSigner};

use crate::common::proxy::Proxy;
use crate::program::{Ran, Server, World};
use crate::withdrawn::{publisher, withdraw};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";
const SCANNER: &str = "pkg:generic/example/scanner@1.0";

/// A log of one release, `one.bin`, with an auditor and a second vendor.
pub fn scene() -> (World, Server) {
    let world = World::new();
    world.run("keygen publisher --name auditor --out auditor.pem").done();
    let kinds = "--kind provenance --kind verification-summary";
    world
        .run(&format!("publisher add log --name auditor --key auditor.pub --purl pkg:generic/* {kinds}"))
        .done();
    world.run("keygen publisher --name rival --out rival.pem").done();
    world.run("publisher add log --name rival --key rival.pub --purl pkg:generic/* --kind build").done();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    (world, server)
}

fn prove(world: &World, server: &Server, more: &str) -> Ran {
    world.run(&format!("prove one.bin --log {}{more}", server.url))
}

/// The leaf that a proof file is about.
fn leaf(world: &World, name: &str) -> u64 {
    ProofFile::parse(&world.read(name)).unwrap().index.get()
}

/// The path at which the log serves the proof file of the only release of these bytes.
fn proof_path(server: &Server, content: &str) -> String {
    let found = server.get(&format!("/releases?digest={}", Hash::digest(content.as_bytes()).to_hex())).1;
    let found: Value = serde_json::from_slice(&found).unwrap();
    found["releases"][0]["proof"].as_str().unwrap().to_owned()
}

pub fn attest(world: &World, server: &Server, predicate_type: &str, predicate: &Value) {
    let key = PublisherSigner::from_pem(&String::from_utf8(world.read("auditor.pem")).unwrap()).unwrap();
    let digest = Hash::digest(b"one").to_hex();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate, "predicateType": predicate_type,
        "subject": [{ "digest": { "sha256": digest }, "name": "one.bin" }],
    });
    let envelope = Envelope::sign(serde_json::to_vec(&statement).unwrap(), &[&key]).unwrap();
    LogClient::new(&server.url).unwrap().append(&envelope.to_entry(), Wait::Published).unwrap();
}

/// Publishes as the second vendor, with a package, version and channel of its own.
fn publish(world: &World, server: &Server, key: &str, purl: &str, channel: &str, sequence: u64) {
    let line = format!(
        "publish one.bin --log {} --key {key}.pem --kind build --purl {purl} --channel {channel} --sequence {sequence}",
        server.url
    );
    let proof = world.read("one.bin.tlog-proof");
    world.run(&line).done();
    world.write("one.bin.tlog-proof", proof);
}

#[test]
fn what_was_stated_about_a_release_is_not_taken_for_it() {
    let (world, server) = scene();
    attest(
        &world,
        &server,
        "https://slsa.dev/provenance/v1",
        &json!({
            "buildDefinition": { "buildType": "https://example.com/make", "externalParameters": {} },
            "runDetails": { "builder": { "id": "https://example.com/builder" } },
        }),
    );
    let summary = |resource: &str| {
        json!({
            "policy": { "uri": "https://example.com/policy" }, "resourceUri": resource,
            "timeVerified": "2026-01-31T12:00:00Z", "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_3"], "verifier": { "id": "https://example.com/auditor" },
        })
    };
    attest(&world, &server, "https://slsa.dev/verification_summary/v1", &summary(SCANNER));
    let ran = prove(&world, &server, "").done();
    assert_eq!(ran.stderr, "", "only one release is meant");
    assert_eq!(leaf(&world, "one.bin.tlog-proof"), 0);
    world.run(&format!("verify one.bin {VERIFY}")).done();
    // More than any page holds.
    (0..120).for_each(|n| {
        attest(
            &world,
            &server,
            "https://slsa.dev/verification_summary/v1",
            &summary(&format!("{SCANNER}.{n}")),
        );
    });
    withdraw(&world, &server, "one.bin", &publisher(&world));
    let ran = prove(&world, &server, "").done();
    assert!(ran.stderr.contains("the log says that leaf 0 was withdrawn"), "{ran:?}");
    assert!(ran.stdout.contains("is leaf 0 of the log"), "{ran:?}");
}

#[test]
fn several_publishers_or_packages_have_to_be_told_apart() {
    let (world, server) = scene();
    publish(&world, &server, "rival", "pkg:generic/rival@7.0", "stable", 1);
    world.write("one.bin.tlog-proof", "c2sp.org/tlog-proof@v1 as it was");
    let ran = prove(&world, &server, "").failed(2, "expected --purl, --publisher or --leaf");
    for line in [
        "it has leaf 1, \"pkg:generic/rival@7.0\" (\"stable\") by \"rival\"",
        "; leaf 0, \"pkg:generic/example/scanner@1.0\" (\"stable\") by \"vendor\"",
    ] {
        assert!(ran.stderr.contains(line), "{line}: {ran:?}");
    }
    assert_eq!(world.read("one.bin.tlog-proof"), b"c2sp.org/tlog-proof@v1 as it was");
    for (more, expected) in [
        (" --purl pkg:generic/example/scanner", 0),
        (" --purl pkg:generic/example/scanner@1.0", 0),
        (" --purl pkg:generic/example/*", 0),
        (" --publisher vendor", 0),
        (" --leaf 0", 0),
        (" --purl pkg:generic/rival@7.0", 1),
        (" --publisher rival", 1),
        (" --leaf 1", 1),
        (" --leaf 1 --publisher rival --purl pkg:generic/rival", 1),
    ] {
        let ran = prove(&world, &server, more).done();
        assert_eq!((leaf(&world, "one.bin.tlog-proof"), ran.stderr.as_str()), (expected, ""), "{more}");
    }
    // The question is wrong, not the log.
    for (more, says) in [
        (" --purl pkg:generic/example/scanner@2.0", "no release of pkg:generic/example/scanner@2.0 in "),
        (" --publisher stranger", "no release by \"stranger\" in "),
        (" --leaf 2", "no release at leaf 2 in "),
        (" --leaf 0 --publisher rival", "no release by \"rival\" at leaf 0 in "),
    ] {
        let ran = prove(&world, &server, more).refused("not-logged");
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("damaged"), "{more}: {ran:?}");
    }
    let ran = prove(&world, &server, " --leaf 1 --purl pkg:generic/example/*").refused("not-logged");
    assert!(ran.stderr.contains("; it has leaf 1, \"pkg:generic/rival@7.0\""), "{ran:?}");
    prove(&world, &server, " --purl nonsense").failed(2, "--purl");
    // The same publisher and package, signed by somebody else.
    publish(&world, &server, "rival", SCANNER, "stable", 2);
    prove(&world, &server, " --purl pkg:generic/example/scanner@1.0")
        .failed(2, "several packages or publishers");
    prove(&world, &server, " --purl pkg:generic/example/scanner@1.0 --publisher vendor").done();
    assert_eq!(leaf(&world, "one.bin.tlog-proof"), 0);
}

#[test]
fn of_several_releases_of_a_package_the_newest_that_is_not_withdrawn_is_taken() {
    let (world, server) = scene();
    publish(&world, &server, "publisher", "pkg:generic/example/scanner@1.1", "stable", 2);
    publish(&world, &server, "publisher", "pkg:generic/example/scanner@1.2", "stable", 3);
    let ran = prove(&world, &server, "").done();
    assert_eq!(leaf(&world, "one.bin.tlog-proof"), 2);
    assert!(
        ran.stderr.contains("3 releases have this artifact; leaf 2, \"pkg:generic/example/scanner@1.2\""),
        "{ran:?}"
    );
    withdraw(&world, &server, "one.bin", &publisher(&world));
    prove(&world, &server, "").done();
    assert_eq!(leaf(&world, "one.bin.tlog-proof"), 1, "leaf 2 was withdrawn");
    let ran = prove(&world, &server, " --leaf 2").done();
    assert!(ran.stderr.contains("leaf 2 was withdrawn"), "{ran:?}");
}

#[test]
fn several_files_are_proven_together_or_not_at_all() {
    let (world, server) = scene();
    world.write("two.bin", "two");
    let line = |more: &str| format!("prove one.bin two.bin --log {}{more}", server.url);
    std::fs::remove_file(world.path("one.bin.tlog-proof")).unwrap();
    let ran = world.run(&line("")).refused("not-logged");
    assert!(ran.stderr.contains("asked for two.bin"), "{ran:?}");
    assert!(!world.path("one.bin.tlog-proof").exists());
    world.publish(&server, "two.bin", "two", 2).done();
    std::fs::remove_file(world.path("two.bin.tlog-proof")).unwrap();
    world
        .run(&line(" --out x"))
        .failed(2, "--out names one proof file: expected one artifact, saw one.bin and two.bin");
    let ran = world.run(&line(" --policy log/endpoint.policy --json")).done();
    let told: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (told, (file, index)) in told.iter().zip([("one.bin", 0), ("two.bin", 1)]) {
        assert_eq!((&told["file"], &told["index"]), (&file.into(), &index.into()), "{told}");
        assert_eq!((&told["publishers"][0], told["ok"].as_bool()), (&"vendor".into(), Some(true)), "{told}");
        world.run(&format!("verify {file} {VERIFY}")).done();
    }
    assert_eq!(told.len(), 2);
}

#[test]
fn a_proof_that_does_not_check_is_not_written() {
    let (world, server) = scene();
    world.publish(&server, "two.bin", "two", 2).done();
    std::fs::remove_file(world.path("one.bin.tlog-proof")).unwrap();
    let two = world.read("two.bin.tlog-proof");
    let other =
        Proxy::before(&server.url, move |path| path.starts_with("/proof").then(|| (200, two.clone())));
    let ran = world
        .run(&format!("prove one.bin --log {}", other.url))
        .failed(3, "answered with the proof of another entry");
    assert!(!ran.stderr.contains("Do not install"), "{ran:?}");
    let genuine = String::from_utf8(server.get(&proof_path(&server, "one")).1).unwrap();
    let sibling = ProofFile::parse(genuine.as_bytes()).unwrap().proof[0].to_base64();
    let bent = genuine.replace(&sibling, &Hash::EMPTY_ROOT.to_base64());
    let bent = Proxy::before(&server.url, move |path| {
        path.starts_with("/proof").then(|| (200, bent.clone().into()))
    });
    let ran = world.run(&format!("prove one.bin --log {}", bent.url));
    let ran = ran.failed(3, "a proof that does not verify against its tree head");
    assert!(!ran.stderr.contains("lies"), "nobody signed it: {ran:?}");
    let unsigned = genuine.split("\n\n\u{2014} ").next().unwrap().to_owned() + "\n\n\u{2014} x AAAAAAA=\n";
    let unsigned = Proxy::before(&server.url, move |path| {
        path.starts_with("/proof").then(|| (200, unsigned.clone().into_bytes()))
    });
    let line = format!("prove one.bin --log {} --policy log/endpoint.policy", unsigned.url);
    world.run(&line).failed(3, "a tree head that the log did not sign: no trusted key signed this note");
    // A log that the policy does not trust.
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    world.run("keygen witness --name w.example --out w.key").done();
    let witness = String::from_utf8(world.read("w.vkey")).unwrap();
    world.write("strict.policy", policy.replace("quorum none", &format!("witness w {witness}quorum w")));
    prove(&world, &server, " --policy strict.policy").refused("no-quorum");
    let elsewhere = World::opaque();
    world.write("other.policy", elsewhere.read("log/endpoint.policy"));
    prove(&world, &server, " --policy other.policy").failed(3, "the checkpoint is of another log");
    let opaque = elsewhere.serve();
    world.run(&format!("prove one.bin --log {}", opaque.url)).failed(3, "has no search");
    assert!(!world.path("one.bin.tlog-proof").exists());
}

/// What `auditor` says about `one.bin`, today.
pub fn verified(result: &str) -> Value {
    json!({
        "policy": { "uri": "https://example.com/policy" }, "resourceUri": SCANNER,
        "timeVerified": "2026-01-31T12:00:00Z", "verificationResult": result,
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"], "verifier": { "id": "https://example.com/auditor" },
    })
}

#[test]
fn a_release_comes_with_the_attestations_that_a_gate_asks_for() {
    const SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
    let (world, server) = scene();
    let rules = "[[require]]\npurls = [\"pkg:generic/example/*\"]\nattestation = \"verification-summary\"\n\
                 from = [\"auditor\"]\nlevels = [\"SLSA_BUILD_LEVEL_2\"]\n";
    world.write("rules.toml", rules);
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("trust make {files} --require rules.toml --out endpoint.trust")).done();
    let shown = world.run("trust show endpoint.trust").done().stdout;
    let needs = "needs      for anything of pkg:generic/example/*: verification-summary by 1 of (auditor), result PASSED, levels SLSA_BUILD_LEVEL_2\n";
    assert!(shown.contains(needs), "{shown}");
    let verify = |more: &str| world.run(&format!("verify one.bin --trust endpoint.trust{more}"));
    // The proof file alone, and a bundle made too early.
    let ran = verify("").refused("attestations");
    assert!(
        ran.stderr.contains("verification-summary by 1 of (auditor): saw none; missing auditor"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("treehead prove FILE --log URL --trust TRUST --with-attestations"),
        "{ran:?}"
    );
    let with = " --trust endpoint.trust --with-attestations";
    prove(&world, &server, with).done();
    verify("").refused("attestations");
    attest(&world, &server, SUMMARY, &verified("PASSED"));
    let ran = prove(&world, &server, with).done();
    assert!(
        ran.stdout.starts_with("2 entries of the log under one tree head\nbundle  one.bin.tlog-bundle\n"),
        "{ran:?}"
    );
    // The bundle beside the artifact counts, whether there is a proof file or not.
    verify("").done();
    let told = verify(" --json").done().json();
    assert_eq!((&told["ok"], &told["index"]), (&true.into(), &0.into()));
    verify(" --proof one.bin.tlog-proof").refused("attestations");
    std::fs::remove_file(world.path("one.bin.tlog-proof")).unwrap();
    verify("").done();
    let shown = world.run("inspect one.bin.tlog-bundle").done().stdout;
    assert!(shown.starts_with("a bundle of 2 entries of 2, with 0 hashes\n"), "{shown}");
    // The gate of installers takes the trust file, too.
    let gate = "trust = \"endpoint.trust\"\n[[rule]]\npackages = [\"*\"]\nunlogged = \"require\"\n";
    world.write("gate.toml", gate);
    world.run("gate one.bin --config gate.toml").done();
    // What was said last counts.
    attest(&world, &server, SUMMARY, &verified("FAILED"));
    prove(&world, &server, with).done();
    let ran = verify("").refused("attestations");
    assert!(ran.stderr.contains("missing auditor (another result, at leaf 2)"), "{ran:?}");
    world.run("gate one.bin --config gate.toml").refused("attestations");
    // Without a gate nothing is asked; a withdrawal in the bundle is heeded.
    world.run(&format!("verify one.bin {VERIFY}")).done();
    prove(&world, &server, "").done();
    withdraw(&world, &server, "one.bin", &publisher(&world));
    prove(&world, &server, " --with-attestations").done();
    world.run(&format!("verify one.bin {VERIFY}")).refused("withdrawn");
    world
        .run("verify one.bin --trust endpoint.trust --policy log/endpoint.policy")
        .failed(2, "cannot be used with");
}

#[test]
fn one_bundle_proves_several_artifacts() {
    let (world, server) = scene();
    world.publish(&server, "two.bin", "two", 2).done();
    let ran = world.run(&format!(
        "prove one.bin two.bin --log {} --with-attestations --out both.tlog-bundle",
        server.url
    ));
    assert!(ran.done().stdout.starts_with("2 entries of the log"));
    let told = world.run(&format!("verify one.bin two.bin {VERIFY} --proof both.tlog-bundle --json")).done();
    let places: Vec<u64> = told.json_lines().iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [0, 1]);
    // A bundle is also a head that somebody kept.
    world.run(&format!("fsck {} --policy log/endpoint.policy --since both.tlog-bundle", server.url)).done();
    // So does the bundle of a release with several artifacts.
    let release = "--kind build --purl pkg:generic/example/scanner@3.0 --channel stable --sequence 3";
    let line = format!("publish one.bin two.bin --log {} --key publisher.pem {release}", server.url);
    let out = " --out both.tlog-bundle";
    world.run(&format!("{line}{out}")).done();
    assert!(world.read("both.tlog-bundle").starts_with(b"treehead-bundle@v1\nentry 2 "));
    world.run(&format!("verify one.bin two.bin {VERIFY} --proof both.tlog-bundle")).done();
    // Without a trust file, everything that was stated comes along.
    let many = json!({
        "buildDefinition": { "buildType": "https://example.com/make", "externalParameters": {} },
        "runDetails": { "builder": { "id": "https://example.com/builder" } },
    });
    attest(&world, &server, "https://slsa.dev/provenance/v1", &many);
    let ran = world.run(&format!("prove one.bin --log {} --with-attestations", server.url)).done();
    assert!(ran.stdout.starts_with("2 entries of the log"), "{ran:?}");
}
