//! A release is withdrawn by its publisher, and by nobody else.

use treehead::merkle::Hash;

use crate::common::proxy::Proxy;
use crate::middleman::{Middleman, Told};
use crate::program::{Ran, Server, World, get};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

const FIRST: &str = "pkg:generic/example/scanner@1.0";

fn line(url: &str, key: &str, leaf: &str, more: &str) -> String {
    format!(
        "withdraw --log {url} --key {key} --policy log/endpoint.policy --leaf {leaf} --reason broken{more}"
    )
}

/// Withdraws a leaf as version 1.0. `more` is appended to the command.
fn withdraw(world: &World, server: &Server, key: &str, leaf: &str, more: &str) -> Ran {
    world.run(&line(&server.url, key, leaf, &format!(" --purl {FIRST}{more}")))
}

fn rows(server: &Server, query: &str) -> Vec<serde_json::Value> {
    let (status, page) = server.get(&format!("/releases?{query}"));
    assert_eq!(status, 200);
    let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
    page["releases"].as_array().unwrap().clone()
}

#[test]
fn a_release_is_withdrawn_once_and_everybody_finds_it_so() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "two.bin", "two", 2).done();
    let more = " --out withdrawal.tlog-proof";
    let ran = withdraw(&world, &server, "publisher.pem", "0", more).done();
    assert_eq!(
        ran.stdout,
        "pkg:generic/example/scanner@1.0, leaf 0, is withdrawn by leaf 2\nproof  withdrawal.tlog-proof\n"
    );
    let shown = format!(
        "leaf       0\nrelease    {FIRST} (build, stable, sequence 1)\nartifact   {} \"one.bin\"\npublisher  key ",
        Hash::digest(b"one").to_hex()
    );
    assert!(ran.stderr.starts_with(&shown) && ran.stderr.ends_with(" (this very key)\n"), "{ran:?}");
    // A second run adds nothing, and says so.
    let proof = world.read("withdrawal.tlog-proof");
    let ran = withdraw(&world, &server, "publisher.pem", "0", more).done();
    assert!(ran.stdout.contains("was withdrawn before: by leaf 2; nothing was added\n"), "{ran:?}");
    assert_eq!(world.read("withdrawal.tlog-proof"), proof);
    let json = withdraw(&world, &server, "publisher.pem", "0", " --json").done().json();
    let seen = (&json["index"], &json["withdraws"], &json["duplicate"], &json["proof"]);
    assert_eq!(seen, (&2.into(), &0.into(), &true.into(), &serde_json::Value::Null));
    assert_eq!(server.tree_size(), 3);

    let found = rows(&server, "kind=build");
    assert!(found[0].get("withdrawn").is_none(), "{found:?}");
    assert_eq!(found[1]["withdrawn"][0]["reason"], "broken");
    assert_eq!(rows(&server, "kind=withdrawal")[0]["withdraws"], 0);

    let ran = world.run("inspect withdrawal.tlog-proof").done();
    let expected = "a withdrawal\nwithdraws pkg:generic/example/scanner@1.0, leaf 0\n          with hash ";
    assert!(ran.stdout.contains(expected) && ran.stdout.contains("\nreason    broken\n"), "{ran:?}");
    // It is no proof of the release, whose own proof stays valid.
    world.run(&format!("verify one.bin --proof withdrawal.tlog-proof {VERIFY}")).refused("not-a-release");
    world.run(&format!("verify one.bin {VERIFY}")).done();
}

#[test]
fn a_release_is_withdrawn_where_its_proof_can_t_be_had() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let told = "leaf 0 is withdrawn all the same, by leaf 1; for the proof, run the command again";
    let missing = withdraw(&world, &server, "publisher.pem", "0", " --out no/such/dir");
    missing.failed(3, "nothing was signed or appended");
    let ran = withdraw(&world, &server, "publisher.pem", "0", " --out publisher.pem");
    ran.failed(2, "publisher.pem is there and is no proof file: choose another name, or move it away");
    assert_eq!(server.tree_size(), 1);
    let between = Middleman::before(&server.url, |_, answer| {
        Told::Body(if answer.starts_with("c2sp.org/tlog-proof@v1") { "junk".to_owned() } else { answer })
    });
    let line =
        line(&between.url, "publisher.pem", "0", &format!(" --purl {FIRST} --out withdrawal.tlog-proof"));
    world.run(&line).failed(3, told);
    let ran = withdraw(&world, &server, "publisher.pem", "0", " --out withdrawal.tlog-proof").done();
    assert!(ran.stdout.contains("was withdrawn before: by leaf 1"), "{ran:?}");
    assert_eq!(server.tree_size(), 2);
}

#[test]
fn another_publisher_is_refused() {
    let world = World::new();
    world.run("keygen publisher --name rival --out rival.pem").done();
    world
        .run("publisher add log --name rival --key rival.pub --purl pkg:generic/example/* --kind build --kind provenance")
        .done();
    world.run("keygen publisher --name stranger --out stranger.pem").done();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let out = " --out withdrawal.tlog-proof";
    let ran = withdraw(&world, &server, "rival.pem", "0", out).refused("withdrawal-not-permitted");
    assert!(
        ran.stderr.contains("(another key: the log decides whether it is the same publisher's)"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("expected a withdrawal by vendor"), "{ran:?}");
    withdraw(&world, &server, "stranger.pem", "0", out).refused("unknown-publisher");
    assert_eq!(server.tree_size(), 1);
    assert!(!world.path("withdrawal.tlog-proof").exists());
    assert!(rows(&server, "")[0].get("withdrawn").is_none());
}

#[test]
fn what_can_t_be_withdrawn_is_said_before_anything_is_sent() {
    let world = World::new();
    let server = world.serve();
    let refused = |leaf: &str, code: &str| withdraw(&world, &server, "publisher.pem", leaf, "").refused(code);
    refused("0", "withdrawal-unknown-leaf");
    world.publish(&server, "one.bin", "one", 1).done();
    refused("1", "withdrawal-unknown-leaf");
    refused("256", "withdrawal-unknown-leaf");
    withdraw(&world, &server, "publisher.pem", "0", "").done();
    let ran = refused("1", "withdrawal-mismatch");
    assert!(ran.stderr.contains("leaf 1 can't be withdrawn: expected a release"), "{ran:?}");
    for leaf in ["-1", "00", "x"] {
        withdraw(&world, &server, "publisher.pem", leaf, "").failed(2, "leaf");
    }
    let long = "x".repeat(1_025);
    let because = |reason: &str| {
        let line = line(&server.url, "publisher.pem", "0", &format!(" --purl {FIRST}"));
        world.run(&line.replace("--reason broken", &format!("--reason {reason}")))
    };
    because(&long).failed(2, "expected at most 1024 bytes, saw 1025");
    because("a\nb").failed(2, "words without control characters");
    withdraw(&world, &server, "publisher.pem", "0", " --wait sequenced --out x").failed(2, "--out: ");
    // A public key needs no secrecy.
    let publish = world.publish_line(&server, "one.bin", 3).replace("publisher.pem", "publisher.pub");
    for ran in [withdraw(&world, &server, "publisher.pub", "0", ""), world.run(&publish)] {
        let ran = ran.failed(2, "publisher.pub holds a public key: expected the secret key");
        assert!(!ran.stderr.contains("chmod"), "{ran:?}");
    }
    assert_eq!(server.tree_size(), 2);
    let url = server.url.clone();
    drop(server);
    world
        .run(&line(&url, "publisher.pem", "0", &format!(" --purl {FIRST} --timeout 1s")))
        .failed(3, "is a server running there");
}

#[test]
fn a_withdrawal_that_is_only_sequenced_says_so() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let ran = withdraw(&world, &server, "publisher.pem", "0", " --wait sequenced").done();
    assert!(ran.stdout.ends_with("is withdrawn by leaf 1, durable and not published yet\n"), "{ran:?}");
}

#[test]
fn a_log_of_anything_has_nothing_to_withdraw() {
    let world = World::opaque();
    world.run("keygen publisher --name vendor --out publisher.pem").done();
    let server = world.serve();
    world.write("a.bin", "a");
    world.run(&world.publish_line(&server, "a.bin", 1)).done();
    // The log holds a release by chance, and accepts the withdrawal like any bytes.
    withdraw(&world, &server, "publisher.pem", "0", "").done();
    withdraw(&world, &server, "publisher.pem", "1", "").refused("withdrawal-mismatch");
}

/// A log can serve anything as a leaf, but it signed only one root.
#[test]
fn nothing_is_signed_that_is_not_proven_to_be_in_the_log() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let of_one = get(&server.url, "/tile/entries/000.p/1").1;
    world.publish(&server, "two.bin", "two", 2).done();
    let of_two = get(&server.url, "/tile/entries/000.p/2").1;
    // Genuine releases of the same publisher, swapped.
    let swapped = [&of_two[of_one.len()..], &of_one].concat();
    let entries = swapped.clone();
    let liar = Proxy::before(&server.url, move |path| {
        path.starts_with("/tile/entries/").then(|| (200, entries.clone()))
    });
    for purl in [FIRST, "pkg:generic/example/scanner@2.0"] {
        let more = format!(" --purl {purl}");
        let ran = world.run(&line(&liar.url, "publisher.pem", "0", &more)).refused("not-included");
        assert!(ran.stderr.contains("is not in the tree of 2 that the log signed"), "{ran:?}");
        assert!(ran.stderr.contains("Nothing was signed or appended."), "{ran:?}");
    }
    // Even with matching tiles, the root is the signed one.
    let hashes = get(&server.url, "/tile/0/000.p/2").1;
    let liar = Proxy::before(&server.url, move |path| match path {
        "/tile/entries/000.p/2" => Some((200, swapped.clone())),
        "/tile/0/000.p/2" => Some((200, [&hashes[32..], &hashes[..32]].concat())),
        _ => None,
    });
    world.run(&line(&liar.url, "publisher.pem", "0", &format!(" --purl {FIRST}"))).refused("not-included");
    // A head that no trusted key signed, or with too few cosignatures.
    let other = World::opaque();
    world.write("other.policy", other.read("log/endpoint.policy"));
    let line = line(&server.url, "publisher.pem", "0", &format!(" --purl {FIRST}"));
    world.run(&line.replace("log/endpoint.policy", "other.policy")).failed(3, "is of another log");
    world.run("keygen witness --name w.example --out w.key").done();
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    let witness = String::from_utf8(world.read("w.vkey")).unwrap();
    world.write("strict.policy", policy.replace("quorum none", &format!("witness w {witness}quorum w")));
    let ran = world.run(&line.replace("log/endpoint.policy", "strict.policy")).refused("no-quorum");
    assert!(ran.stderr.contains("Nothing was signed or appended."), "{ran:?}");
    world.run(&line.replace(" --policy log/endpoint.policy", "")).failed(2, "--policy <FILE>");
    assert_eq!(server.tree_size(), 2, "not one of them came to the log");
    assert_eq!(rows(&server, "kind=withdrawal").len(), 0);
    world.run(&line).done();
}

#[test]
fn what_is_withdrawn_is_named_or_confirmed() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "two.bin", "two", 2).done();
    // Off by one.
    let ran = withdraw(&world, &server, "publisher.pem", "1", "").refused("withdrawal-mismatch");
    assert!(
        ran.stderr.contains("leaf 1 is another release: expected pkg:generic/example/scanner@1.0, saw pkg:"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("release    pkg:generic/example/scanner@2.0 (build"), "{ran:?}");
    // Nobody listens there.
    let line = line(&server.url, "publisher.pem", "1", "");
    let ran = world.run(&line).failed(2, "expected --purl with package and version, or a terminal");
    assert!(
        ran.stderr.contains("\"two.bin\"")
            && ran.stderr.ends_with("--purl pkg:generic/example/scanner@2.0\n"),
        "{ran:?}"
    );
    world.run(&format!("{line} --purl pkg:generic/example/scanner")).failed(2, "--purl");
    assert_eq!(server.tree_size(), 2);
}
