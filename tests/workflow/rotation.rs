//! A publisher's keys rotate while the log runs.

use std::time::{Duration, Instant};

use crate::program::{Ran, Server, World};

fn keyid(world: &World, key: &str) -> String {
    let json = world.run("publisher list log --json").done().json();
    let publishers = json["publishers"].as_array().unwrap();
    let keys = publishers.iter().flat_map(|publisher| publisher["keys"].as_array().unwrap());
    let found =
        keys.filter(|found| found["state"] == key).map(|found| found["keyid"].as_str().unwrap().to_owned());
    found.collect::<Vec<_>>().join(" ")
}

/// Publishes with a key until that works, or is refused for this reason: the log checks the file once a second.
fn publish_until(world: &World, server: &Server, key: &str, sequence: u64, says: Option<&str>) -> Ran {
    let deadline = Instant::now() + Duration::from_secs(20);
    for attempt in 0.. {
        // Each attempt is a release of its own, refused or not.
        let sequence = sequence * 1_000 + attempt;
        world.write("tool.bin", format!("tool {sequence}"));
        let line = world.publish_line(server, "tool.bin", sequence).replace("publisher.pem", key);
        let ran = world.run(&line);
        match says {
            None if ran.exit == 0 => return ran,
            Some(says) if ran.exit == 1 && ran.stderr.contains(says) => return ran,
            _ => assert!(Instant::now() < deadline, "{ran:?}"),
        }
    }
    unreachable!("the attempts have no end")
}

#[test]
fn keys_rotate_while_the_log_runs() {
    let world = World::new();
    let settings = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    world.write(
        "log/publishers.toml",
        settings.replacen("[[publisher]]", "# ours, since 2026\n[[publisher]]", 1),
    );
    let server = world.serve();
    let first = keyid(&world, "valid");
    publish_until(&world, &server, "publisher.pem", 1, None);
    world.run("verify tool.bin --policy log/endpoint.policy").done();
    world.write("old.bin", world.read("tool.bin"));
    world.write("old.bin.tlog-proof", world.read("tool.bin.tlog-proof"));
    // A name that exists leads to the right command.
    world.run("keygen publisher --name vendor --out second.pem").done();
    let add = "--name vendor --key second.pub";
    world
        .run(&format!("publisher add log {add} --purl pkg:generic/example/* --kind build"))
        .failed(2, "`treehead publisher add-key log --name vendor --key second.pub`");
    publish_until(&world, &server, "second.pem", 2, Some("unknown-publisher"));
    world.run(&format!("publisher add-key log {add}")).done();
    publish_until(&world, &server, "second.pem", 3, None);
    publish_until(&world, &server, "publisher.pem", 4, None);
    // The old key expires: it signs nothing new, and its earlier signatures stay valid.
    let ran =
        world.run(&format!("publisher expire log --keyid {} --at 2026-01-31T00:00:00Z", &first[..8])).done();
    assert!(ran.stderr.is_empty(), "there is another one: {ran:?}");
    assert_eq!(keyid(&world, "expired"), first);
    publish_until(&world, &server, "publisher.pem", 5, Some("key-not-valid"));
    publish_until(&world, &server, "second.pem", 6, None);
    world.run("verify old.bin --policy log/endpoint.policy").done();
    // The new key is stolen.
    let second = keyid(&world, "valid");
    let ran = world.run(&format!("publisher revoke log --keyid {second}")).done();
    assert!(ran.stderr.contains("no key of vendor is valid after this"), "{ran:?}");
    publish_until(&world, &server, "second.pem", 7, Some("publisher-key-revoked"));
    world.run("verify tool.bin --policy log/endpoint.policy").refused("publisher-key-revoked");
    world.run("verify old.bin --policy log/endpoint.policy").done();
    let file = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    assert!(file.contains("# ours, since 2026\n") && file.starts_with("# Who may publish"), "{file}");
    assert!(world.run("publisher list log").done().stdout.contains(&format!("{second}  ed25519  revoked")));
}
