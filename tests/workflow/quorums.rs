//! A quorum that two disjoint sets of witnesses can reach: the program warns wherever it is chosen.

use serde_json::Value;

use crate::program::World;

const SAID: &str = "can be reached by two disjoint sets of witnesses";

fn witnesses(world: &World, count: u32) -> String {
    for number in 1..=count {
        let address = World::free_address();
        world.run(&format!("witness init w{number} --name w{number}.example.com --listen {address}")).done();
    }
    (1..=count).map(|number| format!(" --witness w{number}/card.toml")).collect()
}

#[test]
fn a_quorum_that_two_histories_can_reach_is_told_everywhere() {
    let world = World::opaque();
    let cards = witnesses(&world, 4);
    let init = |name: &str, quorum: u32, cards: &str| {
        world.run(&format!(
            "init {name} --origin log.example.com/{name} --profile opaque --quorum {quorum}{cards}"
        ))
    };
    assert!(!init("sound", 3, &cards).done().stderr.contains(SAID));
    let one = init("one", 1, &cards[..cards.len() / 4 * 3]).done();
    assert!(one.stderr.starts_with("warning: the quorum, 1 of (w1.example.com, "), "{one:?}");
    let json = init("two", 2, &format!("{cards} --json")).done().json();
    assert!(json["warnings"][0].as_str().unwrap().contains(SAID), "{json}");
    // A card appended to the settings splits a sound quorum.
    init("log2", 2, &cards[..cards.len() / 4 * 3]).done();
    let mut settings = String::from_utf8(world.read("log2/treehead.toml")).unwrap();
    assert!(!world.run("policy log2 --out endpoint.policy").done().stderr.contains(SAID));
    settings += &String::from_utf8(world.read("w4/card.toml")).unwrap();
    world.write("log2/treehead.toml", settings);
    let policy = world.run("policy log2").done();
    assert!(
        policy.stderr.contains(SAID) && policy.stdout.contains("# WARNING: two disjoint sets of these"),
        "{policy:?}"
    );
    assert!(!String::from_utf8(world.read("endpoint.policy")).unwrap().contains("WARNING"));
    world.run("policy log2 --out endpoint.policy").done();
    let inspected = world.run("inspect endpoint.policy").done();
    assert!(inspected.stdout.contains("warning    the quorum, 2 of "), "{inspected:?}");
    let server = world.start("serve log2 --listen 127.0.0.1:0");
    let (_, health) = server.get("/healthz");
    let health: Value = serde_json::from_slice(&health).unwrap();
    assert!(health["warnings"][0].as_str().unwrap().contains(SAID), "{health}");
    assert!(server.terminate().contains(SAID));
}

#[test]
fn a_policy_is_written_whole_or_not_at_all() {
    let world = World::opaque();
    let cards = witnesses(&world, 3);
    world.run(&format!("init w --origin log.example.com/w --profile opaque --quorum 2{cards}")).done();
    let printed = world.run("policy w --urls").done().stdout;
    world.run("policy w --urls --out monitor.policy").done();
    assert_eq!(world.read("monitor.policy"), printed.as_bytes());
    // A failed command leaves the existing files.
    let settings = world.read("w/treehead.toml");
    world.write("w/treehead.toml", "origin = 7\n");
    world.run("policy w --out monitor.policy").failed(2, "at line 1, `origin`: expected TOML");
    assert_eq!(world.read("monitor.policy"), printed.as_bytes());
    // The new file would lose the addresses of the witnesses.
    let text = String::from_utf8(settings).unwrap();
    let own = text.split("# A tree head").next().unwrap().to_owned() + "witnesses = \"witnesses.policy\"\n";
    world.write("w/treehead.toml", own);
    world.write("w/witnesses.policy", &printed);
    world
        .run("policy w --out w/../w/witnesses.policy")
        .failed(2, "treehead.toml names that file as `witnesses`");
    assert_eq!(world.read("w/witnesses.policy"), printed.as_bytes());
    world.run("policy w --urls --out monitor.policy").done();
}
