//! Bundles: written by `publish`, found beside artifacts, fetched by `gate`; and `gate` of folders.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;
use treehead::merkle::Hash;

use crate::common::proxy::Proxy;
use crate::program::{Ran, Server, World};
use crate::prove::{attest, scene, verified};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";
const SUMMARY: &str = "https://slsa.dev/verification_summary/v1";

fn gate(world: &World, what: &str) -> Ran {
    world.run(&format!("gate --config gate.toml {what}"))
}

#[test]
fn publish_of_several_artifacts_writes_one_bundle_that_endpoints_find() {
    let world = World::new();
    let server = world.serve();
    let files = ["a.bin", "b.bin", "c.bin"];
    for folder in ["dist", "elsewhere"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    files.iter().for_each(|file| world.write(&format!("dist/{file}"), file));
    let line = world.publish_line(&server, "dist/a.bin dist/b.bin dist/c.bin", 1);
    let ran = world.run(&line).done();
    let proofs = "proof  dist/a.bin.tlog-proof\n       dist/b.bin.tlog-proof\n       dist/c.bin.tlog-proof\nbundle dist/release.tlog-bundle\n";
    assert!(ran.stdout.ends_with(proofs), "{ran:?}");
    assert_eq!(world.run(&format!("{line} --json")).done().json()["bundle"], "dist/release.tlog-bundle");
    // The bundle alone is enough for all of them.
    files.iter().for_each(|file| fs::remove_file(world.path(&format!("dist/{file}.tlog-proof"))).unwrap());
    world.run(&format!("verify dist/a.bin dist/b.bin dist/c.bin {VERIFY}")).done();
    let trust = "policy = 'log/endpoint.policy'\npublishers = 'log/publishers.toml'\n";
    world.write(
        "gate.toml",
        format!("{trust}proofs = ['dist']\n[[rule]]\npackages = ['loose*']\nunlogged = 'warn'\n"),
    );
    gate(&world, "dist/a.bin dist/b.bin").done();
    // It is found in a folder of proofs, by the digest alone.
    gate(&world, &format!("--sha256 {}", Hash::digest(b"c.bin").to_hex())).done();
    // A changed file that the bundle names is a changed file; one that it does not name has no proof.
    world.write("elsewhere/a.bin", "changed");
    let ran = gate(&world, "elsewhere/a.bin --package loose").refused("artifact-mismatch");
    assert!(!ran.stderr.contains("no proof file"), "{ran:?}");
    world.write("elsewhere/d.bin", "changed");
    gate(&world, "elsewhere/d.bin").refused("no-proof");
    gate(&world, "elsewhere/d.bin --package loose").done();

    // A name of its own; and none where the artifacts lie apart.
    fs::copy(world.path("dist/b.bin"), world.path("b.bin")).unwrap();
    let apart = world.publish_line(&server, "dist/a.bin b.bin", 2);
    assert!(world.run(&format!("{apart} --json")).done().json()["bundle"].is_null());
    let ran = world.run(&format!("{apart} --bundle both.tlog-bundle")).done();
    assert!(ran.stdout.ends_with("bundle both.tlog-bundle\n"), "{ran:?}");
    world.run(&format!("verify dist/a.bin b.bin {VERIFY} --proof both.tlog-bundle")).done();
    let ran = world.run(&format!("{apart} --out elsewhere")).done();
    assert!(ran.stdout.ends_with("bundle elsewhere/release.tlog-bundle\n"), "{ran:?}");
    world.run(&format!("{apart} --bundle both.proof")).failed(2, "ends in .tlog-bundle");
    world
        .run(&format!("{apart} --bundle x.tlog-bundle --wait sequenced"))
        .failed(2, "--bundle: a release that is only");
}

#[test]
fn many_releases_get_one_bundle() {
    let world = World::new();
    let server = world.serve();
    let row = |n: u64| {
        let sha256 = Hash::digest(format!("rules {n}").as_bytes()).to_hex();
        json!({
            "purl": format!("pkg:generic/example/rules@{n}"), "kind": "build", "channel": "stable", "sequence": n,
            "artifacts": [{ "name": format!("{n}.bin"), "sha256": sha256 }],
        })
    };
    let mut text = String::new();
    for n in 1..=20 {
        writeln!(text, "{}", row(n)).unwrap();
        world.write(&format!("{n}.bin"), format!("rules {n}"));
    }
    world.write("night.jsonl", &text);
    let line = format!("publish --from night.jsonl --log {} --key publisher.pem", server.url);
    let ran = world.run(&format!("{line} --bundle night.tlog-bundle")).done();
    assert!(
        ran.stdout.starts_with(
            "20 added, 0 in the log already, 0 refused, of 20 releases\nbundle night.tlog-bundle\n"
        ),
        "{ran:?}"
    );
    assert!(!world.path("proofs").exists());
    let files: Vec<String> = (1..=20).map(|n| format!("{n}.bin")).collect();
    world.run(&format!("verify {} {VERIFY} --proof night.tlog-bundle", files.join(" "))).done();
    // With proof files, and again: the same entries under the newest of their heads.
    let again = world.run(&format!("{line} --proofs proofs --bundle again.tlog-bundle --json")).done();
    assert_eq!(again.json_lines().pop().unwrap()["bundle"], "again.tlog-bundle");
    assert_eq!(fs::read_dir(world.path("proofs")).unwrap().count(), 20);
    world.run(&format!("verify {} {VERIFY} --proof again.tlog-bundle", files.join(" "))).done();
    // A release that the log refuses: a bundle without it would look like all of them.
    world.write("night.jsonl", text.replace("example/rules@7\"", "other/rules@7\""));
    world.write("night.jsonl", format!("{text}{}\n", row(3).to_string().replace("rules@3", "rules@99")));
    let refused = world.run(&format!("{line} --bundle refused.tlog-bundle"));
    assert_eq!(refused.exit, 1, "{refused:?}");
    assert!(!world.path("refused.tlog-bundle").exists());
    let many: String = (1..=4_097).map(|n| format!("{}\n", row(n))).collect();
    world.write("night.jsonl", many);
    let ran = world.run(&format!("{line} --bundle many.tlog-bundle"));
    ran.failed(2, "--bundle: expected at most 4096 releases in night.jsonl, saw 4097; nothing was sent");
}

/// A trust file that asks for what the auditor says, and settings of a gate with it.
fn asking(world: &World, server: &Server) {
    let rules = "[[require]]\npurls = [\"pkg:generic/example/*\"]\nattestation = \"verification-summary\"\nfrom = [\"auditor\"]\n";
    world.write("rules.toml", rules);
    world.run(&format!("trust make {VERIFY} --require rules.toml --out endpoint.trust")).done();
    world.write("gate.toml", format!("trust = 'endpoint.trust'\nfetch = true\nlog = '{}'\n", server.url));
}

#[test]
fn a_gate_fetches_what_the_trust_file_asks_for() {
    let (world, server) = scene();
    asking(&world, &server);
    // The proof file beside it is good, but not enough, and the log has no more.
    gate(&world, "one.bin").refused("attestations");
    attest(&world, &server, SUMMARY, &verified("PASSED"));
    gate(&world, "one.bin").done();
    fs::remove_file(world.path("one.bin.tlog-proof")).unwrap();
    let ran = gate(&world, "one.bin --json").done();
    assert_eq!((&ran.json()["ruling"], &ran.json()["withdrawals"]), (&"proven".into(), &"learnt".into()));
    gate(&world, &format!("--sha256 {}", Hash::digest(b"one").to_hex())).done();
    // What is at hand and enough costs no request.
    let with = "--trust endpoint.trust --with-attestations";
    world.run(&format!("prove one.bin --log {} {with}", server.url)).done();
    let between = Proxy::before(&server.url, |_| None);
    let settings = String::from_utf8(world.read("gate.toml")).unwrap();
    world.write("gate.toml", settings.replace(&server.url, &between.url));
    gate(&world, "one.bin").done();
    assert_eq!(between.asked("/"), 0);
    // A log that can't be asked does not make the proof at hand better.
    fs::remove_file(world.path("one.bin.tlog-bundle")).unwrap();
    world.run(&format!("prove one.bin --log {}", server.url)).done();
    world.write("gate.toml", settings.replace(&server.url, "http://127.0.0.1:1"));
    gate(&world, "one.bin").refused("attestations");
}

#[test]
fn no_bundle_is_made_of_more_statements_than_a_search_reads() {
    let (world, server) = scene();
    asking(&world, &server);
    // 2,000 statements are read. The auditor's is older than 2,001 others about the same artifact.
    attest(&world, &server, SUMMARY, &verified("PASSED"));
    let sha256 = Hash::digest(b"one").to_hex();
    let row = |n: u64| {
        json!({
            "purl": format!("pkg:generic/example/many@{n}"), "kind": "build", "channel": "stable", "sequence": n,
            "artifacts": [{ "name": "one.bin", "sha256": sha256 }],
        })
    };
    world.write("many.jsonl", (1..=2_001).map(|n| format!("{}\n", row(n))).collect::<String>());
    world.run(&format!("publish --from many.jsonl --log {} --key publisher.pem", server.url)).done();
    let told = format!(
        "has more than 2000 statements about the artifact with SHA-256 {sha256}: some may be missing, so no bundle was made"
    );
    let prove = format!(
        "prove one.bin --log {} --purl pkg:generic/example/scanner@1.0 --with-attestations",
        server.url
    );
    for trust in ["", " --trust endpoint.trust"] {
        world.run(&format!("{prove}{trust}")).failed(3, &told);
    }
    assert!(!world.path("one.bin.tlog-bundle").exists());
    fs::remove_file(world.path("one.bin.tlog-proof")).unwrap();
    let rule = "[[rule]]\npackages = ['*']\nunlogged = 'require'\npurl = 'pkg:generic/example/scanner@1.0'\n";
    world.write("gate.toml", String::from_utf8(world.read("gate.toml")).unwrap() + rule);
    // The gate asks for releases first, and there are too many of these as well to know the right one.
    gate(&world, "one.bin").failed(3, &told);
}

#[test]
fn a_gate_judges_folders_by_their_manifests() {
    let world = World::new();
    let server = world.serve();
    for n in 0..30 {
        fs::create_dir_all(world.path(&format!("rules/{}", n % 3))).unwrap();
        world.write(&format!("rules/{}/{n}.yar", n % 3), format!("rule {n}"));
    }
    world.run(&format!("{} --manifest", world.publish_line(&server, "rules", 1))).done();
    let trust = "policy = 'log/endpoint.policy'\npublishers = 'log/publishers.toml'\n";
    let settings = |more: &str| world.write("gate.toml", format!("{trust}{more}\n"));
    settings("[[rule]]\npackages = ['rules']\nunlogged = 'require'\npurl = 'pkg:generic/example/scanner'\n");
    for folder in ["rules", "rules/", "rules --manifest rules.manifest"] {
        let ran = gate(&world, folder).done();
        assert!(ran.stdout.starts_with("proven   rules"), "{ran:?}");
    }
    let ran = gate(&world, "rules --json").done();
    let digest = Hash::digest(&world.read("rules.manifest")).to_hex();
    assert_eq!((&ran.json()["package"], &ran.json()["digest"]), (&"rules".into(), &digest.into()));
    let batch = world.run_with("gate --config gate.toml --batch", "{\"file\":\"rules\"}\n").done();
    assert_eq!(batch.json()["ruling"], "proven");

    // Some files, by their proof; the release's proof lies beside the manifest, which need not be there.
    world.run("prove --manifest rules.manifest --file 0/3.yar --file 1/4.yar").done();
    fs::create_dir_all(world.path("some/0")).unwrap();
    fs::create_dir_all(world.path("some/1")).unwrap();
    for file in ["0/3.yar", "1/4.yar"] {
        fs::copy(world.path(&format!("rules/{file}")), world.path(&format!("some/{file}"))).unwrap();
    }
    fs::rename(world.path("rules.manifest"), world.path("kept.manifest")).unwrap();
    gate(&world, "some --files-proof rules.tlog-files").done();
    gate(&world, "some --files-proof rules.tlog-files --proof rules.manifest.tlog-proof").done();
    world.write("some/1/4.yar", "changed");
    let ran = gate(&world, "some --files-proof rules.tlog-files --json");
    assert_eq!((ran.exit, &ran.json()["code"]), (1, &"not-in-manifest".into()), "{ran:?}");
    assert_eq!(ran.json()["changed"], json!(["1/4.yar"]));

    // A folder without its manifest, with another one, and with other files.
    gate(&world, "rules").failed(3, "rules.manifest");
    let text = String::from_utf8(world.read("kept.manifest")).unwrap();
    world.write("rules.manifest", text.replace("0/3.yar", "0/3.yaz"));
    gate(&world, "rules").refused("not-in-manifest");
    world.write("rules.manifest", text.replace("0/3.yar", "../3.yar"));
    gate(&world, "rules").refused("manifest-malformed");
    fs::rename(world.path("kept.manifest"), world.path("rules.manifest")).unwrap();
    world.write("rules/extra.yar", "extra");
    let ran = gate(&world, "rules").refused("not-in-manifest");
    assert!(ran.stderr.contains("saw 1 extra (\"extra.yar\")"), "{ran:?}");
    fs::remove_file(world.path("rules/extra.yar")).unwrap();
    gate(&world, "rules").done();
    gate(&world, "rules/0/3.yar --manifest rules.manifest").failed(2, "is no folder");
    gate(&world, "rules rules --manifest rules.manifest").failed(2, "expected one, saw 2");

    // Without a proof at hand, the log has it under the manifest's digest.
    fs::remove_file(world.path("rules.manifest.tlog-proof")).unwrap();
    let ran = gate(&world, "rules").refused("no-proof");
    assert!(ran.stderr.contains("rules.manifest.tlog-proof"), "{ran:?}");
    settings(&format!("fetch = true\nlog = '{}'", server.url));
    gate(&world, "rules").done();
    gate(&world, "some --files-proof rules.tlog-files").refused("no-proof");
}
