//! `treehead verify` with expectations of the user: names, pins, and the followed channel.

use crate::program::{Server, World};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

/// One release of three artifacts, two of which share a file name.
fn three_artifacts(world: &World, server: &Server) {
    for (file, content) in [("installer.exe", "installs"), ("factory-reset.exe", "deletes everything")] {
        world.write(file, content);
    }
    world.run(&world.publish_line(server, "installer.exe factory-reset.exe", 1)).done();
}

#[test]
fn a_renamed_artifact_of_the_same_release_is_refused() {
    let world = World::new();
    let server = world.serve();
    three_artifacts(&world, &server);
    let verify = |file: &str, also: &str| {
        world.run(&format!("verify {file} --proof installer.exe.tlog-proof {VERIFY}{also}"))
    };
    let ran = verify("installer.exe", "").done();
    assert!(ran.stdout.contains("\nartifact   installer.exe, SHA-256 "), "{ran:?}");
    std::fs::create_dir(world.path("downloads")).unwrap();
    for file in ["downloads/installer.exe", "downloads/Installer.EXE", "tmp123"] {
        world.write(file, "deletes everything");
    }
    let alike = ["installer.exe.", "installer.exe\u{200b}", "Inst\u{ad}aller.exe..\u{200b}."];
    alike.iter().for_each(|file| world.write(file, "deletes everything"));
    for file in ["downloads/installer.exe", "downloads/Installer.EXE"].iter().chain(&alike) {
        let ran = verify(file, "").refused("artifact-swapped");
        let told = "expected \"installer.exe\", saw \"factory-reset.exe\" by its digest";
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
    // A file name that the release does not have passes, and the output names the artifact.
    let ran = verify("tmp123", "").done();
    assert!(ran.stdout.contains("\nartifact   factory-reset.exe, SHA-256 "), "{ran:?}");
    assert_eq!(verify("tmp123", " --json").done().json()["name"], "factory-reset.exe");
    // A user who knows what they want pins it.
    verify("tmp123", " --name factory-reset.exe").done();
    verify("downloads/installer.exe", " --name factory-reset.exe").done();
    verify("tmp123", " --name installer.exe").refused("artifact-swapped");
    verify("tmp123", " --name another.exe").refused("artifact-swapped");
}

#[test]
fn what_was_not_asked_for_is_refused_with_its_code() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "a.bin", "a", 7).done();
    let verify = |also: &str| world.run(&format!("verify a.bin {VERIFY}{also}"));
    let met = " --purl pkg:generic/example/scanner@7.0 --channel stable --kind build --publisher vendor --min-sequence 7";
    verify(met).done();
    for (pin, wrong, code, told) in [
        (
            "scanner@7.0",
            "scanner@7",
            "other-package",
            "expected pkg:generic/example/scanner@7, saw pkg:generic/example/scanner@7.0",
        ),
        ("channel stable", "channel beta", "other-channel", "expected beta, saw stable"),
        ("kind build", "kind update", "other-kind", "expected update, saw build"),
        ("publisher vendor", "publisher vendors", "other-publisher", "expected vendors, saw vendor"),
        ("sequence 7", "sequence 8", "below-min-sequence", "expected sequence 8 or higher, saw 7"),
        (
            "sequence 7",
            "sequence 7 --audience x",
            "other-audience",
            "expected one for \"x\", saw one for everyone",
        ),
    ] {
        let ran = verify(&met.replace(pin, wrong)).refused(code);
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
    }
    for pattern in ["pkg:generic/example/*", "pkg:generic/example/scanner"] {
        verify(&format!(" --purl {pattern}")).done();
    }
    verify(" --purl scanner@7.0").failed(2, "expected pkg:<type>/<name>");
    verify(" --kind builds").failed(2, "expected build, update, detection-rules or trust");
}

#[test]
fn an_old_release_of_another_channel_is_refused_by_the_memory() {
    let world = World::new();
    let server = world.serve();
    world.write("beta.bin", "beta");
    world.run(&world.publish_line(&server, "beta.bin", 3).replace("channel stable", "channel beta")).done();
    world.publish(&server, "stable.bin", "stable", 42).done();
    let verify = |file: &str, also: &str| world.run(&format!("verify {file} {VERIFY}{also}"));
    let state = " --state state";
    verify("stable.bin", state).done();
    let remembered = world.read("state/state.json");
    let ran = verify("beta.bin", state).refused("other-channel");
    assert!(ran.stderr.contains("than this endpoint follows: expected stable, saw beta"), "{ran:?}");
    assert_eq!(world.read("state/state.json"), remembered, "a refusal is not remembered");
    // Without a memory, no channel is followed.
    verify("beta.bin", "").done();
    // A user who asks for a channel gets it, and follows it from then on.
    verify("beta.bin", &format!("{state} --channel beta")).done();
    verify("beta.bin", state).done();
    verify("stable.bin", state).refused("other-channel");
    verify("stable.bin", &format!("{state} --channel stable")).done();
    verify("beta.bin", state).refused("other-channel");
    // A memory that an older program wrote follows the only channel that it knows.
    let followed = |state: &serde_json::Value| {
        let rows = state["sequences"].as_array().unwrap();
        rows.iter().map(|row| row["followed"] == true).collect::<Vec<_>>()
    };
    assert_eq!(followed(&world.remembered()), [false, true]);
}
