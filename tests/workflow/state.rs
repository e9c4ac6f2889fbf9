//! `treehead verify --state`: the memory of an endpoint.

use std::process::Stdio;

use treehead::checkpoint::Checkpoint;
use treehead::endpoint::EndpointState;
use treehead::merkle::{Hash, TreeSize};
use treehead::note::NoteSigner;

use crate::program::{Server, World};

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
    assert_eq!(world.read("state/state.json"), remembered, "a refusal is not remembered");
    world.run(&verify("two.bin")).done();
    // Without a memory, it is a release like any other.
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
    let json = world.memory();
    let checked = |json: &str| format!("{}\n{json}", Hash::digest(json.as_bytes()).to_hex());
    assert_eq!(checked(&json), good);
    for damaged in [
        "",
        "{}",
        &good[..good.len() / 2],
        // Valid JSON with possible values, but not what the program wrote.
        &good.replace("\"sequence\": 2", "\"sequence\": 1"),
        &good.replacen('—', "–", 1),
        &good.replace("log.example.com/releases\\n2", "log.example.com/releases\\n1"),
        // Without the checksum, or as an older version wrote it, without one.
        &json,
        &json.replace("\"version\": 4", "\"version\": 1"),
        // No program writes this.
        &checked(&json.replace("\"version\": 4", "\"version\": 2")),
        &checked(&json.replace("\"unproven\"", "\"proven\"")),
        &checked(&json.replace("log.example.com/releases\\n2", "log.example.com/releases\\n1")),
        &checked(&json.replace("\"withdrawals\": []", "\"withdrawals\": [7]")),
        &checked(&json.replace("\"sequence\": 2", "\"sequence\": -2")),
        &checked(&json.replace("\"sequences\"", "\"sequense\"")),
    ] {
        assert_ne!(damaged, good);
        world.write("state/state.json", damaged);
        let ran = world.run(&verify("two.bin")).refused("state-damaged");
        assert!(ran.stderr.contains("Restore the file"), "{ran:?}");
        assert_eq!(world.read("state/state.json"), damaged.as_bytes(), "left for a person to look at");
    }
    // The memory of a newer program is not damaged, and nobody is told to delete it.
    let newer = checked(&json.replace("\"version\": 4", "\"version\": 5").replace("\"logs\"", "\"trees\""));
    world.write("state/state.json", &newer);
    let ran = world.run(&verify("two.bin")).refused("state-newer");
    assert!(ran.stderr.contains("expected at most version 4, saw 5"), "{ran:?}");
    assert!(ran.stderr.contains("run the newer program") && !ran.stderr.contains("delete"), "{ran:?}");
    assert_eq!(world.read("state/state.json"), newer.as_bytes());
    // A memory that can't be read may exist.
    std::fs::remove_file(world.path("state/state.json")).unwrap();
    std::os::unix::fs::symlink("state.json", world.path("state/state.json")).unwrap();
    world.run(&verify("two.bin")).failed(3, "could not read state/state.json");
    std::fs::remove_file(world.path("state/state.json")).unwrap();
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
    // Not by accident: a log that lost entries that it signed does not start.
    world.run("serve log --listen 127.0.0.1:0").refused("checkpoint-missing");
    let secret = String::from_utf8(world.read("log/log.key")).unwrap();
    let key = NoteSigner::parse(secret.trim_end()).unwrap();
    let empty = Checkpoint::new(key.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    world.write("log/checkpoint", empty.sign(&key).to_string());
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "three.bin", "three", 3).done();
    let ran = world.run(&verify("three.bin")).refused("fork");
    // The evidence is kept, and anybody can check it.
    let file = ran.stderr.split('`').nth(1).unwrap().split(' ').nth(2).unwrap();
    assert!(file.starts_with("state/evidence/"), "{ran:?}");
    let verdict =
        world.run(&format!("verify-evidence {file} --policy log/endpoint.policy --json")).done().json();
    assert_eq!((&verdict["smaller"]["size"], &verdict["larger"]["size"]), (&2.into(), &2.into()));
    world.run(&verify("three.bin")).refused("fork");
    assert_eq!(std::fs::read_dir(world.path("state/evidence")).unwrap().count(), 1, "once");
    // From now on the endpoint trusts nothing under this log.
    let ran = world.run(&verify("two.bin")).refused("fork");
    assert!(ran.stderr.contains("as this endpoint found earlier") && ran.stderr.contains(file), "{ran:?}");
    world.run(verify("two.bin").trim_end_matches(" --state state")).done();
}

#[test]
fn memories_of_older_versions_are_taken_over() {
    let world = two_releases();
    world.run(&verify("two.bin")).done();
    let new = world.remembered();
    let head = &new["logs"][0]["unproven"][0];
    // The memory does not say which channel is followed; if it has only one, that is it.
    let before = world.memory().replace(",\n      \"followed\": true", "");
    let sequences = serde_json::from_str::<serde_json::Value>(&before).unwrap()["sequences"].take();
    assert_eq!(sequences[0].get("followed"), None);
    let first = serde_json::json!({
        "version": 1,
        "logs": [{ "origin": new["logs"][0]["origin"], "size": head["size"], "root": head["root"] }],
        "sequences": sequences,
    });
    let version = |n: u8| before.replace("\"version\": 4", &format!("\"version\": {n}"));
    let third = format!("{}\n{}", Hash::digest(version(3).as_bytes()).to_hex(), version(3));
    for old in [first.to_string(), version(2), third] {
        world.write("state/state.json", &old);
        world.run(&verify("one.bin")).refused("rollback");
        assert_eq!(world.read("state/state.json"), old.as_bytes(), "a refusal is not remembered");
        world.run(&verify("two.bin")).done();
        assert_eq!(world.remembered(), new, "with the signatures that it came with this time");
    }
}

/// Different packages, so that no forgotten one is hidden by another.
const TOOLS: usize = 8;

fn tools(world: &World, server: &Server) {
    for n in 1..=TOOLS {
        let file = format!("tool-{n}.bin");
        world.write(&file, format!("tool {n}"));
        let line = world.publish_line(server, &file, n as u64);
        world.run(&line.replace("example/scanner@", &format!("example/tool-{n}@"))).done();
    }
}

/// The packages in the memory, which is undamaged.
fn remembered(world: &World) -> Vec<String> {
    let Ok(bytes) = std::fs::read(world.path("state/state.json")) else { return Vec::new() };
    EndpointState::parse(&bytes).expect("whole");
    let state = world.remembered();
    let rows = state["sequences"].as_array().unwrap();
    rows.iter().map(|row| row["package"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn concurrent_runs_forget_nothing() {
    let world = World::new();
    let server = world.serve();
    tools(&world, &server);
    let line = |n: usize| {
        let line = verify(&format!("tool-{n}.bin"));
        if n.is_multiple_of(2) { format!("{line} --online {}", server.url) } else { line }
    };
    let children: Vec<_> = (1..=TOOLS)
        .chain(1..=TOOLS)
        .map(|n| world.command(&line(n)).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let packages: Vec<String> = (1..=TOOLS).map(|n| format!("pkg:generic/example/tool-{n}")).collect();
    assert_eq!(remembered(&world), packages);
}

#[test]
fn a_verdict_is_remembered_through_any_kill() {
    let world = World::new();
    let server = world.serve();
    tools(&world, &server);
    let mut told = std::collections::BTreeSet::new();
    let mut killed = 0;
    for round in 0..48 {
        if round % 16 == 0 {
            let _ = std::fs::remove_dir_all(world.path("state"));
            told.clear();
        }
        let n = round % TOOLS + 1;
        let mut child =
            world.command(&verify(&format!("tool-{n}.bin"))).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round as u64 * 397 % 12_000));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        killed += usize::from(!output.status.success());
        if String::from_utf8_lossy(&output.stdout).starts_with("verified") {
            told.insert(format!("pkg:generic/example/tool-{n}"));
        }
        let remembered = remembered(&world);
        assert!(told.iter().all(|package| remembered.contains(package)), "{told:?}: {remembered:?}");
    }
    assert!(killed > 0, "no kill came after the cursor had moved");
    world.run(&verify("tool-1.bin")).done();
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
