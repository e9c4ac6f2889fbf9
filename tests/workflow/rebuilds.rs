//! Rebuilders compare, state what they found, and endpoints ask for it.

use std::fs;
use std::io::{Seek as _, Write as _};

use serde_json::Value;
use treehead::merkle::Hash;

use crate::program::{Ran, Server, World};

const PURL: &str = "pkg:generic/example/scanner@1.0";
const PROGRAM: &[u8] = b"MZ\x01\x02\x03\x04program code and dataSIGNATUR";
const REBUILT: &[u8] = b"MZ\0\0\0\0program code and data";
const ALLOW: &str = "\
[[allow]]
reason = \"the PE checksum\"
offset = 2
length = 4

[[allow]]
reason = \"the vendor's signature\"
from_end = 8
length = 8
rebuilt_length = 0
";

/// A log with a vendor and three rebuilders, and a release in it.
fn scene(artifact: &[u8]) -> (World, Server) {
    let world = World::new();
    for who in ["a", "b", "c"] {
        world.run(&format!("keygen publisher --name rebuilder-{who} --out {who}.pem")).done();
        let rights = "--purl pkg:generic/example/* --kind verification-summary";
        world.run(&format!("publisher add log --name rebuilder-{who} --key {who}.pub {rights}")).done();
    }
    let server = world.serve();
    world.write("one.bin", artifact);
    world.run(&world.publish_line(&server, "one.bin", 1)).done();
    (world, server)
}

/// One of them compares the release with what it built.
fn check(world: &World, who: &str, rebuilt: &[u8], more: &str) -> Ran {
    fs::create_dir_all(world.path(who)).unwrap();
    world.write(&format!("{who}/one.bin"), rebuilt);
    let about = format!("--verifier https://{who}.example.com --resource {PURL} --summary {who}.json");
    world.run(&format!("rebuild-check one.bin {who}/one.bin {about}{more}"))
}

fn attest(world: &World, server: &Server, who: &str) -> Ran {
    world.run(&format!(
        "attest one.bin --type verification-summary --predicate {who}.json --purl {PURL} --log {} --key {who}.pem --out {who}.tlog-proof",
        server.url
    ))
}

/// Writes a trust file that asks for so many of the rebuilders, and more.
fn trust(world: &World, name: &str, at_least: u64, more: &str) {
    let rules = format!(
        "[[require]]\npurls = [\"pkg:generic/example/*\"]\nattestation = \"verification-summary\"\n\
         from = [\"rebuilder-a\", \"rebuilder-b\", \"rebuilder-c\"]\nat_least = {at_least}\n{more}"
    );
    world.write("rules.toml", rules);
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml --require rules.toml";
    world.run(&format!("trust make {files} --out {name}")).done();
}

#[test]
fn two_of_three_rebuilders_agree_and_an_endpoint_decides_how_many_it_wants() {
    let (world, server) = scene(b"the program");
    for who in ["a", "b"] {
        let ran = check(&world, who, b"the program", "").done();
        let expected = format!(
            "identical  one.bin and {who}/one.bin, 11 bytes\nsha256   {}\nsummary  {who}.json\n",
            Hash::digest(b"the program").to_hex()
        );
        assert_eq!(ran.stdout, expected);
    }
    let ran = check(&world, "c", b"the Program", "").refused("rebuild-differs");
    assert_eq!(
        ran.stderr,
        "refused (rebuild-differs): c/one.bin is not one.bin: first at offset 4, expected 74 68 65 20 [70] 72 6f 67 72 61 6d, saw 74 68 65 20 [50] 72 6f 67 72 61 6d; 1 byte differs, in 1 place\n\
         `diffoscope ARTIFACT REBUILT` shows what the bytes mean. If a difference is meant to be there, --allow takes a list of such.\nsummary  c.json\n"
    );
    for who in ["a", "b", "c"] {
        attest(&world, &server, who).done();
    }
    let ran = world.run("inspect c.tlog-proof").done();
    assert!(ran.stdout.contains("FAILED"), "{ran:?}");
    trust(&world, "two.trust", 2, "");
    trust(&world, "three.trust", 3, "");
    let prove = format!("prove one.bin --log {} --trust two.trust --with-attestations", server.url);
    let ran = world.run(&prove).done();
    assert!(ran.stdout.starts_with("4 entries of the log under one tree head\n"), "{ran:?}");
    world.run("verify one.bin --trust two.trust").done();
    let ran = world.run("verify one.bin --trust three.trust").refused("attestations");
    let says = "verification-summary by 3 of (rebuilder-a, rebuilder-b, rebuilder-c): saw rebuilder-a, rebuilder-b; missing rebuilder-c (another result, at leaf 3)";
    assert!(ran.stderr.contains(says), "{ran:?}");
    // The last one fixes its build, and takes back what it said.
    check(&world, "c", b"the program", "").done();
    attest(&world, &server, "c").done();
    world.run(&prove).done();
    world.run("verify one.bin --trust three.trust").done();
}

#[test]
fn a_list_of_allowed_differences_counts_for_those_who_know_it() {
    let (world, server) = scene(PROGRAM);
    world.write("allow.toml", ALLOW);
    for who in ["a", "b", "c"] {
        let ran = check(&world, who, REBUILT, " --allow allow.toml").done();
        let says = "35 bytes, of which the list allows 12 bytes to differ\n";
        assert!(ran.stdout.contains(says), "{ran:?}");
        assert!(ran.stdout.contains("allowed  by rule 2, 8 bytes: the vendor's signature\n"), "{ran:?}");
        attest(&world, &server, who).done();
    }
    let summary: Value = serde_json::from_slice(&world.read("a.json")).unwrap();
    let policy = summary["policy"]["uri"].as_str().unwrap();
    assert!(policy.starts_with("ni:///sha-256;"), "{policy}");
    // What this list allows is fine; that anything is allowed is not.
    trust(&world, "list.trust", 3, &format!("policy = \"{policy}\"\n"));
    trust(&world, "identical.trust", 1, "policy = \"urn:treehead:rebuild:identical:v1\"\n");
    trust(&world, "level.trust", 1, "levels = [\"REBUILT_IDENTICAL\"]\n");
    world.run(&format!("prove one.bin --log {} --with-attestations", server.url)).done();
    world.run("verify one.bin --trust list.trust").done();
    world.run("verify one.bin --trust identical.trust").refused("attestations");
    world.run("verify one.bin --trust level.trust").refused("attestations");
    // A name of one's own for the list, and machine-readable results.
    let ran =
        check(&world, "a", REBUILT, " --allow allow.toml --policy https://a.example.com/scanner --json");
    let told = ran.done().json();
    assert_eq!(
        (&told["ok"], &told["identical"], &told["allowed"][0]["rule"]),
        (&true.into(), &false.into(), &1.into())
    );
    let summary: Value = serde_json::from_slice(&world.read("a.json")).unwrap();
    assert_eq!(summary["policy"]["uri"], "https://a.example.com/scanner");
    assert_eq!(summary["policy"]["digest"]["sha256"], Hash::digest(ALLOW.as_bytes()).to_hex());
    let ran = check(&world, "a", b"MZ\0\0\0\0program c0de and data", " --allow allow.toml --json");
    let told = ran.json();
    assert_eq!((ran.exit, &told["code"], &told["summary"]), (1, &"rebuild-differs".into(), &"a.json".into()));
    let difference = &told["differences"][0];
    assert_eq!((&difference["offset"], &difference["bytes"]), (&15.into(), &1.into()));
    assert_eq!((&difference["expected"]["at"], &difference["seen"]["at"]), (&"6f".into(), &"30".into()));
}

#[test]
fn a_summary_is_stated_about_what_was_compared_alone() {
    let (world, server) = scene(b"the program");
    check(&world, "a", b"the program", "").done();
    world.write("one.bin", "another program");
    let ran = attest(&world, &server, "a").refused("other-artifact");
    assert!(ran.stderr.contains("Nothing was signed or sent."), "{ran:?}");
    // Of a folder, it is about the manifest.
    for (dir, content) in [("rules", "one"), ("rebuilt", "one")] {
        fs::create_dir_all(world.path(dir).join("net")).unwrap();
        world.write(&format!("{dir}/net/a.yar"), content);
        world.write(&format!("{dir}/index.txt"), "index");
    }
    let about = "--verifier https://a.example.com --resource urn:example:rules --summary a.json";
    let ran = world.run(&format!("rebuild-check rules rebuilt {about}")).done();
    assert!(ran.stdout.starts_with("identical  rules and rebuilt, 2 files, 8 bytes\n"), "{ran:?}");
    world.run("manifest make rules --out one.bin").failed(2, "one.bin is there and is no manifest");
    world.run("manifest make rules --out rules.manifest").done();
    fs::rename(world.path("rules.manifest"), world.path("one.bin")).unwrap();
    attest(&world, &server, "a").done();
    world.write("rebuilt/net/a.yar", "two");
    world.write("rebuilt/new.yar", "new");
    let ran = world.run("rebuild-check rules rebuilt").refused("rebuild-differs");
    let says = "rebuilt is not rules, which has 2 files: 2 files differ; \"net/a.yar\" differs first at offset 0, expected [6f] 6e 65, saw [74] 77 6f; 3 bytes differ, in 1 place; also new.yar";
    assert!(ran.stderr.contains(says), "{ran:?}");
}

#[test]
fn what_can_not_be_compared_or_written_is_said_first() {
    let world = World::new();
    world.write("a", "program");
    world.write("b", "program");
    world.write("allow.toml", ALLOW);
    world.run("rebuild-check a a").failed(2, "a and a are the same");
    world.run("rebuild-check a log").failed(2, "expected two files or two folders");
    world.run("rebuild-check a nothing").failed(3, "could not read nothing");
    world.run("rebuild-check a /dev/zero").failed(2, "saw a device");
    world.run("rebuild-check a b --allow allow.toml").failed(2, "allow.toml: rule 2 does not fit");
    world.write("typo.toml", ALLOW.replace("length = 4", "lenght = 4"));
    world.run("rebuild-check a b --allow typo.toml").failed(2, "typo.toml: a list of allowed differences");
    world.run("rebuild-check a b --summary s.json").failed(2, "--verifier");
    world.run("rebuild-check a b --verifier urn:x").failed(2, "--summary");
    let about = "--verifier urn:x --resource urn:y";
    world
        .run(&format!("rebuild-check a b --summary publisher.pem {about}"))
        .failed(2, "is no verification summary");
    world.run(&format!("rebuild-check a b --summary no/s.json {about}")).failed(3, "could not write");
    world
        .run("rebuild-check a b --summary s.json --verifier urn:x --resource pkg:generic/example/scanner")
        .failed(2, "--verifier, --resource or --policy: a purl is malformed");
    assert!(!world.path("s.json").exists());
}

/// Files of which the disk has a few blocks, and that are larger than the memory that the program may use.
#[test]
fn large_files_are_compared_in_little_memory() {
    const LENGTH: u64 = (96 << 20) + 7;
    let world = World::new();
    for (name, last) in [("a", b"x"), ("b", b"y")] {
        let mut file = fs::File::create(world.path(name)).unwrap();
        file.set_len(LENGTH).unwrap();
        file.seek(std::io::SeekFrom::Start(LENGTH - 1)).unwrap();
        file.write_all(last).unwrap();
    }
    // The program's code and its allocator's reserve are in it as well; the two files are not.
    let output = world.limited("ulimit -d 65536", "rebuild-check a b").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("first at offset 100663302, expected 00 00 00 00 00 00 00 00 [78]"), "{said}");
}
