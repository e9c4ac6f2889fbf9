//! The script for rebuilderd: links as in-toto-rs writes and signs them, and lists as `rebuildctl pkgs ls --json` prints them.

use std::process::Command;

use libtest_mimic::Completion;
use serde_json::{Value, json};
use treehead::merkle::Hash;

use crate::REQUIRED;
use crate::common::needs::{Outcome, ignored};
use crate::machine::{has, integration, run};
use crate::program::{Ran, World};

const PACKAGE: &str = "tini_0.19.0-1_amd64.deb";
const PURL: &str = "pkg:deb/debian/tini@0.19.0-1";

/// A package, and a rebuilderd's key: `keys.pem` as it writes it, with a NULL that no other program writes.
fn scene() -> World {
    let world = World::new();
    world.write(PACKAGE, "a package");
    openssl(&world, &["genpkey", "-algorithm", "ed25519", "-out", "rebuilderd.pem"]);
    openssl(&world, &["pkey", "-in", "rebuilderd.pem", "-pubout", "-outform", "DER", "-out", "key.der"]);
    let der = world.read("key.der");
    let odd = [b"\x30\x2c\x30\x07\x06\x03\x2b\x65\x70\x05\x00\x03\x21\x00", &der[der.len() - 32..]].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\r\n{}\r\n-----END PUBLIC KEY-----\r\n", base64(&odd));
    world.write("keys.pem", &pem);
    world.write("keys.json", json!({ "current": [pem] }).to_string());
    world
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn openssl(world: &World, args: &[&str]) {
    let ran = run(world, Command::new("openssl").args(args), b"");
    assert_eq!(ran.exit, 0, "{ran:?}");
}

/// Writes the link for a file of this content, signed as in-toto-rs does.
fn link(world: &World, content: &[u8]) -> Value {
    let sha256 = Hash::digest(content).to_hex();
    let sha512 = "0".repeat(128);
    let signed = json!({
        "_type": "link", "name": format!("rebuild {PACKAGE}"),
        "materials": { "tini_0.19.0-1_amd64.buildinfo": { "sha256": "1".repeat(64), "sha512": sha512 } },
        "products": { PACKAGE: { "sha256": sha256, "sha512": sha512 } },
        "environment": null, "byproducts": {}, "command": [],
    });
    // serde_json sorts the names, as canonical JSON does.
    world.write("message", signed.to_string());
    openssl(
        world,
        &["pkeyutl", "-sign", "-rawin", "-in", "message", "-inkey", "rebuilderd.pem", "-out", "sig"],
    );
    let sig: String = world.read("sig").iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "signatures": [{ "keyid": "2".repeat(64), "sig": sig }], "signed": signed })
}

fn summary(world: &World, args: &str) -> Ran {
    let about = format!("{PACKAGE} {args} --verifier https://rebuilderd.example.com --resource {PURL}");
    let mut script = Command::new(integration("rebuilderd/rebuilderd-summary"));
    run(world, script.args(about.split(' ')), b"")
}

#[track_caller]
fn fails(ran: &Ran, exit: i32, says: &str) {
    assert!(ran.exit == exit && ran.stderr.contains(says) && ran.stdout.is_empty(), "{says}: {ran:?}");
}

pub fn what_rebuilderd_found_becomes_a_summary() -> Outcome {
    if !has("python3") || !has("openssl") {
        return ignored("there is no python3 or no openssl", REQUIRED);
    }
    let world = scene();
    world.run("keygen publisher --name rebuilder --out rebuilder.pem").done();
    let rights = "--purl pkg:deb/debian/* --kind verification-summary";
    world.run(&format!("publisher add log --name rebuilder --key rebuilder.pub {rights}")).done();
    let server = world.serve();
    world.write("tini.link", format!("{}\n", link(&world, b"a package")));
    for keys in ["keys.pem", "keys.json"] {
        let ran = summary(&world, &format!("--attestation tini.link --key {keys}")).done();
        world.write("tini.json", &ran.stdout);
        let told = ran.json();
        assert_eq!(told["verificationResult"], "PASSED");
        let input = told["inputAttestations"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(input, Hash::digest(&world.read("tini.link")).to_hex());
    }
    // It is what `rebuild-check` says of two files that are the same.
    std::fs::create_dir(world.path("rebuilt")).unwrap();
    world.write("rebuilt/tini.deb", "a package");
    let about = format!("--verifier urn:x --resource {PURL} --summary own.json");
    world.run(&format!("rebuild-check {PACKAGE} rebuilt/tini.deb {about}")).done();
    let [theirs, own] = ["tini.json", "own.json"].map(|name| {
        let summary: Value = serde_json::from_slice(&world.read(name)).unwrap();
        ["policy", "verifiedLevels", "resourceUri", "urn:treehead:rebuild:v1"].map(|key| summary[key].clone())
    });
    assert_eq!(theirs, own);
    let attest = format!(
        "attest {PACKAGE} --type verification-summary --predicate tini.json --purl {PURL} --log {} --key rebuilder.pem --out tini.tlog-proof",
        server.url
    );
    world.run(&attest).done();
    let check = format!("verify-statement tini.tlog-proof --policy log/endpoint.policy --file {PACKAGE}");
    let ran = world.run(&check).done();
    assert!(
        ran.stdout.contains("PASSED") && ran.stdout.contains("https://rebuilderd.example.com"),
        "{ran:?}"
    );

    // What was not the same: rebuilderd lists it, a page after the other, and signs nothing.
    let package = |name: &str, status: Value| {
        json!({ "id": 1, "name": name, "version": "0.19.0-1", "distribution": "debian", "release": null,
            "component": "main", "architecture": "amd64", "status": status, "build_id": 7, "artifact_id": 9,
            "url": format!("https://deb.debian.org/debian/pool/main/t/{name}/{name}_0.19.0-1_amd64.deb"),
            "last_seen": "2026-01-31T12:00:00", "seen_in_last_sync": true })
    };
    let list = |status: Value| {
        format!("{:#}\n{:#}\n", json!([package("other", json!("GOOD"))]), json!([package("tini", status)]))
    };
    world.write("tini.list", list(json!("BAD")));
    let ran = summary(&world, "--packages tini.list").done();
    world.write("tini.json", &ran.stdout);
    assert_eq!(ran.json()["verificationResult"], "FAILED");
    let ran = world.run(&attest).done();
    assert!(ran.stdout.starts_with("a verification summary is leaf 1 of the log\n"), "{ran:?}");
    for (status, exit, says) in [
        (json!("GOOD"), 2, "is GOOD: expected its attestation"),
        (json!("UNKWN"), 3, "it was not rebuilt yet"),
        (Value::Null, 3, "neither GOOD nor BAD, but unknown"),
    ] {
        world.write("tini.list", list(status));
        fails(&summary(&world, "--packages tini.list"), exit, says);
    }
    world.write("tini.list", "[]");
    fails(&summary(&world, "--packages tini.list"), 3, "expected one package whose URL ends in tini_0.19");
    world.write("tini.list", "[7]");
    fails(&summary(&world, "--packages tini.list"), 2, "expected packages, as `rebuildctl pkgs ls --json`");
    Ok(Completion::Completed)
}

pub fn a_link_that_does_not_hold_makes_no_summary() -> Outcome {
    if !has("python3") || !has("openssl") {
        return ignored("there is no python3 or no openssl", REQUIRED);
    }
    let world = scene();
    let good = link(&world, b"a package");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut link = good.clone();
        change(&mut link);
        link.to_string()
    };
    for (text, exit, says) in [
        (link(&world, b"another").to_string(), 1, "as the artifact has it, saw"),
        (with(&|link| link["signed"]["name"] = json!("x")), 1, "saw none that verifies"),
        (with(&|link| link["signatures"] = json!([])), 1, "saw none that verifies"),
        (with(&|link| link["signatures"][0]["sig"] = json!("zz")), 1, "saw none that verifies"),
        (with(&|link| link["signed"]["_type"] = json!("layout")), 2, "expected an in-toto link"),
        (with(&|link| link["signed"]["command"] = json!([1.5])), 2, "a number that is no integer"),
        (
            good.to_string().replacen("{\"signatures\"", "{\"signatures\":[],\"signatures\"", 1),
            2,
            "a name twice",
        ),
        (String::new(), 2, "expected an in-toto link"),
        ("[]".to_owned(), 2, "expected an in-toto link"),
        ("[".repeat(100_000), 2, "expected JSON"),
    ] {
        world.write("tini.link", &text);
        fails(&summary(&world, "--attestation tini.link --key keys.pem"), exit, says);
    }
    world.write("tini.link", good.to_string());
    openssl(&world, &["genpkey", "-algorithm", "ed25519", "-out", "other.pem"]);
    openssl(&world, &["pkey", "-in", "other.pem", "-pubout", "-out", "other.pub"]);
    fails(&summary(&world, "--attestation tini.link --key other.pub"), 1, "saw none that verifies");
    fails(&summary(&world, "--attestation tini.link --key tini.link"), 2, "public keys");
    fails(&summary(&world, "--attestation tini.link --key none"), 3, "could not read none");
    fails(&summary(&world, "--attestation tini.link"), 2, "expected --attestation and --key together");
    Ok(Completion::Completed)
}
