//! `treehead verify` of several artifacts, of digests, and from a pipe.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;
use treehead::merkle::Hash;
use treehead::release::PublisherSigner;

use crate::common::proxy::Proxy;
use crate::online::{evidence, forge, heads, publish, releases};
use crate::program::{Ran, World};
use crate::withdrawn::withdraw;

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

fn verify(world: &World, what: &str) -> Ran {
    world.run(&format!("verify {what} {VERIFY}"))
}

/// One object per line, each with its code.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn codes(ran: &Ran) -> Vec<String> {
    lines(ran).iter().map(|line| line["code"].as_str().expect("a code").to_owned()).collect()
}

#[test]
fn each_gets_its_verdict_in_order_and_the_worst_is_the_exit_code() {
    let (world, _server) = releases(3);
    world.write("2.bin", "tampered");
    std::fs::create_dir(world.path("folder")).unwrap();
    let ran = verify(&world, "1.bin 2.bin missing.bin folder 3.bin --json");
    assert_eq!((ran.exit, ran.stderr.as_str()), (1, ""), "machines read one stream: {ran:?}");
    assert_eq!(codes(&ran), ["verified", "artifact-mismatch", "could-not-tell", "usage", "verified"]);
    let files: Vec<Value> = lines(&ran).iter().map(|line| line["file"].clone()).collect();
    assert_eq!(files, ["1.bin", "2.bin", "missing.bin", "folder", "3.bin"]);
    // The text output names the artifact of each verdict.
    let ran = verify(&world, "1.bin 2.bin missing.bin folder 3.bin");
    let verified: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("verified")).collect();
    assert_eq!(verified, ["verified   1.bin", "verified   3.bin"]);
    let refused: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(": ")).collect();
    let begins = [
        "refused (artifact-mismatch): 2.bin: the artifact is not",
        "error: missing.bin: could not read",
        "error: folder: folder is no regular file",
    ];
    assert_eq!(refused.len(), 3, "{ran:?}");
    refused.iter().zip(begins).for_each(|(line, begin)| assert!(line.starts_with(begin), "{line}"));
    // A refused artifact outranks a wrong command, which outranks an unknown answer.
    for (what, exit) in [
        ("1.bin 3.bin", 0),
        ("1.bin missing.bin 3.bin", 3),
        ("missing.bin folder", 2),
        ("folder missing.bin 2.bin", 1),
        ("missing.bin", 3),
    ] {
        assert_eq!(verify(&world, what).exit, exit, "{what}");
    }
    // Errors before the first check are reported once.
    let ran = world.run("verify 1.bin 2.bin --policy missing.policy --json");
    assert_eq!((ran.exit, codes(&ran)), (3, vec!["could-not-tell".to_owned()]));
}

#[test]
fn json_has_every_known_fact() {
    let (world, _server) = releases(2);
    let ran = verify(&world, "2.bin --json").done();
    let mut said = ran.json();
    let leaf = said["leaf_hash"].take();
    assert!(Hash::from_hex(leaf.as_str().unwrap()).is_ok(), "{leaf}");
    let digest = Hash::digest(b"artifact 2").to_hex();
    let expected = serde_json::json!({
        "ok": true, "code": "verified", "file": "2.bin", "name": "2.bin", "names": ["2.bin"], "digest": digest,
        "purl": "pkg:generic/example/scanner@2.0", "kind": "build", "channel": "stable", "sequence": 2,
        "audience": null, "source": null, "publisher": "vendor", "origin": "log.example.com/releases",
        "index": 1, "leaf_hash": null, "tree_size": 2, "witnesses": [], "withdrawals": "not-asked",
    });
    assert_eq!(said, expected);
    // A refusal too says what was expected, what was seen, and which release it is about.
    world.write("2.bin", "tampered");
    let said = verify(&world, "2.bin --json").json();
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((text("code"), text("file")), ("artifact-mismatch".to_owned(), "2.bin".to_owned()));
    assert_eq!(text("expected"), format!("{digest} (2.bin)"));
    assert_eq!(text("seen"), Hash::digest(b"tampered").to_hex());
    assert_eq!((text("digest"), &said["leaf_hash"]), (text("seen"), &leaf));
    assert_eq!((text("purl"), &said["index"]), ("pkg:generic/example/scanner@2.0".to_owned(), &1.into()));
    assert_eq!(
        (text("channel"), text("origin")),
        ("stable".to_owned(), "log.example.com/releases".to_owned())
    );
    // Only known facts: this proof is about nothing.
    world.write("2.bin.tlog-proof", "noise");
    let said = verify(&world, "2.bin --json").json();
    assert_eq!((&said["code"], said.get("purl")), (&"proof-malformed".into(), None), "{said}");
    assert_eq!(said["seen"], "none", "{said}");
}

#[test]
fn all_artifacts_share_one_memory() {
    let (world, _server) = releases(3);
    let state = |what: &str| verify(&world, &format!("{what} --state state --json"));
    // As if they were checked one after the other.
    let ran = state("1.bin 3.bin 2.bin");
    assert_eq!(
        (ran.exit, codes(&ran)),
        (1, ["verified", "verified", "rollback"].map(str::to_owned).to_vec())
    );
    assert_eq!(heads(&world), (None, vec![1, 3]));
    assert_eq!(codes(&state("3.bin 1.bin")), ["verified", "rollback"]);
    // Without a memory, no release is older than another.
    verify(&world, "3.bin 2.bin 1.bin").done();
}

#[test]
fn one_proof_is_enough_for_all_artifacts_of_a_release() {
    let world = World::new();
    let server = world.serve();
    for (file, content) in [("a.bin", "a"), ("b.bin", "b")] {
        world.write(file, content);
    }
    world.run(&world.publish_line(&server, "a.bin b.bin", 1)).done();
    let proof = " --proof a.bin.tlog-proof";
    verify(&world, &format!("a.bin b.bin{proof}")).done();
    // Each file under the other's name.
    std::fs::rename(world.path("a.bin"), world.path("c.bin")).unwrap();
    std::fs::rename(world.path("b.bin"), world.path("a.bin")).unwrap();
    std::fs::rename(world.path("c.bin"), world.path("b.bin")).unwrap();
    let ran = verify(&world, &format!("a.bin b.bin{proof} --json"));
    assert_eq!(codes(&ran), ["artifact-swapped", "artifact-swapped"]);
    assert_eq!((&lines(&ran)[0]["expected"], &lines(&ran)[0]["seen"]), (&"a.bin".into(), &"b.bin".into()));
}

#[test]
fn a_digest_or_a_pipe_is_enough() {
    let (world, _server) = releases(1);
    let digest = Hash::digest(b"artifact 1").to_hex();
    let proof = " --proof 1.bin.tlog-proof";
    // Some tools print capitals.
    for digest in [digest.clone(), digest.to_uppercase()] {
        let ran = verify(&world, &format!("--sha256 {digest}{proof}")).done();
        assert!(ran.stdout.contains("\nartifact   1.bin, SHA-256 "), "{ran:?}");
        let said = verify(&world, &format!("--sha256 {digest}{proof} --json")).done().json();
        assert_eq!((&said["file"], &said["name"]), (&Value::Null, &"1.bin".into()));
    }
    let other = Hash::digest(b"another").to_hex();
    let ran = verify(&world, &format!("1.bin --sha256 {other} --sha256 {digest}{proof} --json"));
    assert_eq!(codes(&ran), ["verified", "artifact-mismatch", "verified"]);
    verify(&world, &format!("--sha256 {digest}")).failed(2, "--proof <FILE>");
    verify(&world, &format!("--sha256 {}{proof}", &digest[1..])).failed(2, "64");
    let piped = |content: &str, what: &str| {
        let mut child = world.command(&format!("verify {what} {VERIFY}"));
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { exit: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    let ran = piped("artifact 1", &format!("-{proof}")).done();
    assert!(ran.stdout.starts_with("verified   -\nartifact   1.bin, SHA-256 "), "{ran:?}");
    piped("artifact 2", &format!("-{proof}")).refused("artifact-mismatch");
    piped("artifact 1", &format!("-{proof} --name 1.bin")).done();
    piped("artifact 1", &format!("-{proof} --name 2.bin")).refused("artifact-swapped");
    // Contradictory arguments.
    verify(&world, "-").failed(2, "name one with --proof FILE");
    verify(&world, &format!("- -{proof}")).failed(2, "standard input can be read only once");
    verify(&world, "1.bin 1.bin --name 1.bin").failed(2, "expected one, saw 2");
    world.run(&format!("verify {VERIFY}")).failed(2, "<FILE|--sha256 <HEX>|--batch|--manifest <FILE>>");
}

#[test]
fn a_fork_shown_by_one_proof_is_reported_for_all() {
    let (world, server) = releases(1);
    let good = world.read("1.bin.tlog-proof");
    (2..=4).for_each(|n| publish(&world, &server, n));
    world.write("1.bin.tlog-proof", forge(&world, "1.bin", 4));
    // The first is good, and the other two contradict each other.
    for state in [" --state state", ""] {
        let ran = verify(&world, &format!("2.bin 4.bin 1.bin{state} --json"));
        assert_eq!((ran.exit, codes(&ran)), (1, vec!["fork".to_owned(); 3]), "{ran:?}");
    }
    assert_eq!(evidence(&world), [(4, 4)]);
    world.write("1.bin.tlog-proof", good);
    verify(&world, "1.bin --state state").refused("fork");
    verify(&world, "1.bin 2.bin 3.bin 4.bin --state other").done();
}

#[test]
fn a_log_is_asked_once_for_all() {
    let (world, server) = releases(3);
    let key = PublisherSigner::from_pem(&String::from_utf8(world.read("publisher.pem")).unwrap()).unwrap();
    withdraw(&world, &server, "2.bin", &key);
    world.write("refused.bin", "tampered");
    world.write("refused.bin.tlog-proof", world.read("3.bin.tlog-proof"));
    let between = Proxy::before(&server.url, |_| None);
    let online = format!(" --online {} --state state", between.url);
    let ran = verify(&world, &format!("1.bin refused.bin 2.bin 1.bin missing.bin 3.bin{online} --json"));
    assert_eq!(
        codes(&ran),
        ["verified", "artifact-mismatch", "withdrawn", "verified", "could-not-tell", "verified"]
    );
    assert_eq!(between.asked("/checkpoint"), 1);
    // The withdrawal, and the release it withdraws, are found for one release, and not fetched again for other
    // releases of the package.
    assert_eq!(between.asked("/proof/leaf/"), 2);
    let said = lines(&ran);
    assert_eq!((&said[0]["withdrawals"], &said[5]["latest_tree_size"]), (&"learnt".into(), &4.into()));
    assert_eq!(said[2]["expected"], "a release that stands");
    assert_eq!(heads(&world), (Some(4), vec![]), "all of them were compared");
    // It also holds offline.
    assert_eq!(world.remembered()["withdrawals"].as_array().unwrap().len(), 1);
    // If the log does not answer, each verdict stays open, except for releases that are refused anyway.
    drop(server);
    let silent = "http://127.0.0.1:1";
    let ran = verify(&world, &format!("3.bin refused.bin --online {silent} --state state --json"));
    assert_eq!(
        (ran.exit, codes(&ran)),
        (1, ["could-not-tell", "artifact-mismatch"].map(str::to_owned).to_vec())
    );
}

/// With two logs in one policy, each is asked once, about its own releases.
#[test]
fn each_of_two_logs_is_asked_once() {
    let (world, server) = releases(2);
    let other = World::opaque();
    other.run("keygen publisher --name vendor --out publisher.pem").done();
    other.run("init other --origin log.example.org/other").done();
    let rights = "--purl pkg:generic/example/* --kind build";
    other.run(&format!("publisher add other --name vendor --key publisher.pub {rights}")).done();
    let other_server = other.start("serve other --listen 127.0.0.1:0");
    other.write("3.bin", "artifact 3");
    other.run(&other.publish_line(&other_server, "3.bin", 3)).done();
    for file in ["3.bin", "3.bin.tlog-proof"] {
        world.write(file, other.read(file));
    }
    let (one, two) = (Proxy::before(&server.url, |_| None), Proxy::before(&other_server.url, |_| None));
    let line = |vkey: Vec<u8>, url: &str| format!("log {} {url}\n", String::from_utf8(vkey).unwrap().trim());
    let logs = line(world.read("log/log.vkey"), &one.url) + &line(other.read("other/log.vkey"), &two.url);
    world.write("both.policy", logs + "quorum none\n");
    let publishers = [world.read("log/publishers.toml"), other.read("other/publishers.toml")].concat();
    let publishers =
        String::from_utf8(publishers).unwrap().replacen("name = \"vendor\"", "name = \"first\"", 1);
    world.write("both.toml", publishers);
    let verify = |what: &str| {
        world.run(&format!("verify {what} --policy both.policy --publishers both.toml --state state --json"))
    };
    let ran = verify("1.bin 3.bin 2.bin --online").done();
    assert_eq!(codes(&ran), ["verified"; 3], "{ran:?}");
    let sizes: Vec<Value> = lines(&ran).iter().map(|said| said["latest_tree_size"].clone()).collect();
    assert_eq!(sizes, [2, 1, 2]);
    assert_eq!((one.asked("/checkpoint"), two.asked("/checkpoint")), (1, 1));
    // One of the logs is at this address; verdicts about the other stay open.
    let ran = verify(&format!("1.bin 3.bin 2.bin --online={}", one.url));
    assert_eq!(
        (ran.exit, codes(&ran)),
        (1, ["rollback", "could-not-tell", "verified"].map(str::to_owned).to_vec())
    );
    assert!(lines(&ran)[1]["message"].as_str().unwrap().contains("is the address of another log"), "{ran:?}");
}
