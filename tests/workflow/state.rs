//! `treehead verify --state`: what an endpoint remembers.

use treehead::checkpoint::Checkpoint;
use treehead::merkle::{Hash, TreeSize};
use treehead::note::NoteSigner;

use crate::program::World;

fn verify(file: &str) -> String {
    format!("verify {file} --policy log/endpoint.policy --publishers log/publishers.toml --state state")
}

fn two_releases() -> World {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "two.bin", "two", 2).done();
    world
}

#[test]
fn an_older_release_than_one_seen_is_a_rollback() {
    let world = two_releases();
    world.run(&verify("one.bin")).done();
    world.run(&verify("two.bin")).done();
    let remembered = world.read("state/state.json");
    let ran = world.run(&verify("one.bin")).refused("rollback");
    assert!(ran.stderr.contains("expected sequence 2 or higher, saw 1"), "{ran:?}");
    assert_eq!(world.read("state/state.json"), remembered, "a refusal teaches nothing");
    world.run(&verify("two.bin")).done();
    // Without memory it is a release like any other.
    world.run(verify("one.bin").trim_end_matches(" --state state")).done();
}

#[test]
fn a_refused_artifact_is_not_remembered() {
    let world = two_releases();
    world.run(&verify("one.bin")).done();
    let remembered = world.read("state/state.json");
    world.write("two.bin", "tampered");
    world.run(&verify("two.bin")).refused("artifact-mismatch");
    assert_eq!(world.read("state/state.json"), remembered);
    world.run(&verify("one.bin")).done();
}

#[test]
fn a_damaged_memory_fails_closed() {
    let world = two_releases();
    world.run(&verify("two.bin")).done();
    let good = String::from_utf8(world.read("state/state.json")).unwrap();
    for damaged in [
        "",
        "{}",
        &good[..good.len() / 2],
        &good.replace("\"version\": 1", "\"version\": 2"),
        &good.replace("\"sequence\": 2", "\"sequence\": -2"),
        &good.replace("\"sequences\"", "\"sequense\""),
    ] {
        assert_ne!(damaged, good);
        world.write("state/state.json", damaged);
        world.run(&verify("two.bin")).refused("state-damaged");
        assert_eq!(world.read("state/state.json"), damaged.as_bytes(), "left for a person to look at");
    }
    world.write("state/state.json", good);
    world.run(&verify("one.bin")).refused("rollback");
}

#[test]
fn another_history_of_the_log_is_a_fork() {
    let world = two_releases();
    world.run(&verify("two.bin")).done();
    // The log's key signs a second history: same size, another leaf.
    for part in ["journal", "sled"] {
        std::fs::remove_dir_all(world.path("log").join(part)).unwrap();
    }
    std::fs::remove_file(world.path("log/checkpoint")).unwrap();
    // Not by accident: a log that lost what it signed does not start.
    world.run("serve log --listen 127.0.0.1:0").refused("checkpoint-missing");
    let secret = String::from_utf8(world.read("log/log.key")).unwrap();
    let key = NoteSigner::parse(secret.trim_end()).unwrap();
    let empty = Checkpoint::new(key.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    world.write("log/checkpoint", empty.sign(&key).to_string());
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "three.bin", "three", 3).done();
    world.run(&verify("three.bin")).refused("fork");
}

#[test]
fn endpoints_that_share_a_memory_take_turns() {
    let world = two_releases();
    let children: Vec<_> = (0..8)
        .map(|_| world.command(&verify("two.bin")).stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    world.run(&verify("one.bin")).refused("rollback");
}
