//! A release is withdrawn: by its publisher, and by nobody else.

use crate::program::{Ran, Server, World};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

/// Withdraws a leaf; `more` is the rest of the line.
fn withdraw(world: &World, server: &Server, key: &str, leaf: &str, more: &str) -> Ran {
    world.run(&format!("withdraw --log {} --key {key} --leaf {leaf} --reason broken{more}", server.url))
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
    let more = " --out withdrawal.tlog-proof --policy log/endpoint.policy";
    let ran = withdraw(&world, &server, "publisher.pem", "0", more).done();
    assert_eq!(
        ran.stdout,
        "pkg:generic/example/scanner@1.0, leaf 0, is withdrawn by leaf 2\nproof  withdrawal.tlog-proof\n"
    );
    assert_eq!(ran.stderr, "", "it is this very key's release");
    // Run again, it adds nothing, and says so.
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
    // It is no proof of the release; that has its own, which stays what it was.
    world.run(&format!("verify one.bin --proof withdrawal.tlog-proof {VERIFY}")).refused("not-a-release");
    world.run(&format!("verify one.bin {VERIFY}")).done();
}

#[test]
fn a_release_is_withdrawn_where_its_proof_can_t_be_had() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    let told = "leaf 0 is withdrawn all the same, by leaf 1; for the proof, run the command again";
    withdraw(&world, &server, "publisher.pem", "0", " --out no/such/dir").failed(3, told);
    // As another log's, the proof is refused; the log takes no second withdrawal either way.
    let other = World::opaque();
    world.write("other.policy", other.read("log/endpoint.policy"));
    let more = " --out withdrawal.tlog-proof --policy other.policy";
    let ran = withdraw(&world, &server, "publisher.pem", "0", more).failed(1, told);
    assert!(!ran.stderr.contains("othing was appended"), "{ran:?}");
    assert!(!world.path("withdrawal.tlog-proof").exists());
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
    assert!(ran.stderr.contains("leaf 0 was signed with another key: the log decides"), "{ran:?}");
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
    let line = format!("withdraw --log {} --key publisher.pem --leaf 0 --reason", server.url);
    world.run(&format!("{line} {long}")).failed(2, "expected at most 1024 bytes, saw 1025");
    world.run(&format!("{line} a\nb")).failed(2, "words without control characters");
    withdraw(&world, &server, "publisher.pem", "0", " --wait sequenced --out x").failed(2, "--out: ");
    withdraw(&world, &server, "publisher.pem", "0", " --policy log/endpoint.policy").failed(2, "--out");
    // Nobody has to hide the public key.
    let line = world.publish_line(&server, "one.bin", 3).replace("publisher.pem", "publisher.pub");
    for ran in [withdraw(&world, &server, "publisher.pub", "0", ""), world.run(&line)] {
        let ran = ran.failed(2, "publisher.pub holds a public key: expected the secret key");
        assert!(!ran.stderr.contains("chmod"), "{ran:?}");
    }
    assert_eq!(server.tree_size(), 2);
    let url = server.url.clone();
    drop(server);
    world
        .run(&format!("withdraw --log {url} --key publisher.pem --leaf 0 --reason broken --timeout 1s"))
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
    // It holds a release nevertheless, and takes the withdrawal as it takes any bytes.
    withdraw(&world, &server, "publisher.pem", "0", "").done();
    withdraw(&world, &server, "publisher.pem", "1", "").refused("withdrawal-mismatch");
}
