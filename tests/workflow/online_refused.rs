//! `treehead verify --online` of releases that are refused offline, too: the log's answers still count.

use crate::online::{evidence, forge, heads, online, publish, releases, verify};
use crate::program::World;
use crate::withdrawn::{publisher, withdraw};

fn highest_sequences(world: &World) -> Vec<u64> {
    let sequences = world.remembered()["sequences"].clone();
    sequences.as_array().unwrap().iter().map(|row| row["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn a_fork_outranks_every_other_refusal() {
    let (world, server) = releases(2);
    withdraw(&world, &server, "2.bin", &publisher(&world));
    world.run(&online("2.bin", &server.url)).refused("withdrawn");
    // A head of another history, and many of the right one.
    world.write("1.bin.tlog-proof", forge(&world, "1.bin", 5));
    world.run(&verify("1.bin", "")).done();
    (3..=5).for_each(|n| publish(&world, &server, n));
    let of_first = world.read("state/state.json");
    world.run(&verify("5.bin", "")).done();
    let of_fifth = world.read("state/state.json");
    world.run("keygen publisher --name other --out other.pem").done();
    world.run("init elsewhere --origin log.example.org").done();
    world
        .run("publisher add elsewhere --name other --key other.pub --purl pkg:generic/example/* --kind build")
        .done();
    world.write("swapped.bin", "something else");
    world.write("swapped.bin.tlog-proof", world.read("5.bin.tlog-proof"));
    for (code, memory, file, also) in [
        ("withdrawn", &of_first, "2.bin", ""),
        ("rollback", &of_fifth, "3.bin", ""),
        ("artifact-mismatch", &of_fifth, "swapped.bin", ""),
        ("other-package", &of_fifth, "5.bin", " --purl pkg:generic/other/*"),
        ("unknown-publisher", &of_fifth, "5.bin", " --publishers elsewhere/publishers.toml"),
    ] {
        std::fs::remove_dir_all(world.path("state")).unwrap();
        std::fs::create_dir(world.path("state")).unwrap();
        world.write("state/state.json", memory);
        let line = |line: String| match also.strip_prefix(" --publishers ") {
            Some(publishers) => line.replace("log/publishers.toml", publishers),
            None => line + also,
        };
        world.run(&line(verify(file, ""))).refused(code);
        assert_eq!(evidence(&world), [], "{code}: offline nobody knows");
        let ran = world.run(&line(online(file, &server.url))).refused("fork");
        assert!(ran.stderr.contains("verify-evidence state/evidence/"), "{code}: {ran:?}");
        assert_eq!(evidence(&world), [(5, 6)], "{code}");
        world.run(&verify("5.bin", "")).refused("fork");
    }
}

#[test]
fn what_is_learnt_online_stays_though_the_artifact_is_refused() {
    let (world, server) = releases(3);
    (1..=3).for_each(|n| drop(world.run(&verify(&format!("{n}.bin"), "")).done()));
    assert_eq!(heads(&world), (None, vec![1, 2, 3]));
    publish(&world, &server, 4);
    let ran = world.run(&online("2.bin", &server.url)).refused("rollback");
    assert!(!ran.stderr.contains("also, while asking"), "{ran:?}");
    assert_eq!(heads(&world), (Some(4), vec![]), "compared, and proven");
    assert_eq!(highest_sequences(&world), [3]);
    // The endpoint remembers nothing of a refused release, but it remembers the log's newest head.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    world.write("2.bin", "tampered");
    world.run(&online("2.bin", &server.url)).refused("artifact-mismatch");
    assert_eq!((heads(&world), highest_sequences(&world)), ((Some(4), vec![]), vec![]));
    // A proof that no trusted log signed names no address to ask.
    let remembered = world.read("state/state.json");
    world.write("3.bin.tlog-proof", "noise");
    let ran = world.run(&online("3.bin", &server.url)).refused("proof-malformed");
    assert!(!ran.stderr.contains("also, while asking"), "{ran:?}");
    // A log that does not answer is reported, and changes nothing.
    let url = server.url.clone();
    drop(server);
    let ran = world.run(&online("2.bin", &url)).refused("artifact-mismatch");
    assert!(ran.stderr.contains("also, while asking the log: no answer from"), "{ran:?}");
    assert_eq!(world.read("state/state.json"), remembered);
}
