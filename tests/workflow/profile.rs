//! A log keeps its profile: releases, or opaque.

use std::fs;

use treehead::client::{LogClient, Wait};
use treehead::release::{Envelope, PublisherSigner};

use crate::program::World;

const SERVE: &str = "serve log --listen 127.0.0.1:0";

fn set_profile(world: &World, from: &str, to: &str) {
    let settings = String::from_utf8(world.read("log/treehead.toml")).unwrap();
    let line = |profile: &str| format!("profile = \"{profile}\"");
    assert!(settings.contains(&line(from)), "{settings}");
    world.write("log/treehead.toml", settings.replace(&line(from), &line(to)));
}

#[test]
fn a_profile_that_was_changed_is_refused_by_every_command() {
    let world = World::new();
    assert_eq!(world.read("log/profile"), b"release\n");
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    server.terminate();
    world.run("backup log saved").done();
    set_profile(&world, "release", "opaque");
    let says = "log/treehead.toml: a configuration is malformed at line 3, `profile`: expected release, which the log was made with and keeps for life";
    for command in [SERVE, "fsck log", "backup log other", "export log out", "policy log"] {
        world.run(command).failed(2, says);
    }
    // A deleted profile counts as a changed one.
    let settings = String::from_utf8(world.read("log/treehead.toml")).unwrap();
    world.write("log/treehead.toml", settings.replace("profile = \"opaque\"\n", ""));
    world.serve().terminate();
    let opaque = World::opaque();
    set_profile(&opaque, "opaque", "release");
    opaque.run(SERVE).failed(2, "`profile`: expected opaque, which the log was made with");
    // A log restored from a backup keeps it.
    fs::remove_dir_all(world.path("log")).unwrap();
    world.run("restore saved log").done();
    assert_eq!(world.read("log/profile"), b"release\n");
    set_profile(&world, "release", "opaque");
    world.run(SERVE).failed(2, says);
    // The message about a file without a profile says what to do.
    world.write("log/profile", "something\n");
    world.run(SERVE).failed(2, "cp BACKUP/profile log/profile");
}

#[test]
fn a_log_of_an_older_version_keeps_what_its_settings_and_entries_say() {
    let old = |world: &World| fs::remove_file(world.path("log/profile")).unwrap();
    let world = World::new();
    old(&world);
    let server = world.serve();
    assert_eq!(world.read("log/profile"), b"release\n", "an empty log has the profile of its settings");
    world.publish(&server, "1.bin", "1", 1).done();
    server.terminate();
    // A log with statements by publishers is not opaque, whatever its settings say.
    old(&world);
    set_profile(&world, "release", "opaque");
    world
        .run(SERVE)
        .failed(2, "the log was made with profile = \"release\", and keeps it for life: entry 0 says so");
    assert!(!world.path("log/profile").exists());
    set_profile(&world, "opaque", "release");
    world.serve().terminate();
    assert_eq!(world.read("log/profile"), b"release\n");

    let world = World::opaque();
    let server = world.serve();
    let load = format!("load --log {} --writers 1 --rate 1 --duration 1s", server.url);
    world.run(&load).done();
    server.terminate();
    old(&world);
    set_profile(&world, "opaque", "release");
    world.write("log/publishers.toml", "");
    world.run(SERVE).failed(2, "the log was made with profile = \"opaque\"");
    set_profile(&world, "release", "opaque");
    world.serve().terminate();
    assert_eq!(world.read("log/profile"), b"opaque\n");
}

/// An older version may have accepted entries that are refused now, and an opaque log may hold a statement by chance.
#[test]
fn the_profile_of_an_older_log_is_told_by_its_envelopes() {
    let world = World::opaque();
    world.run("keygen publisher --name vendor --out vendor.pem").done();
    let key = PublisherSigner::from_pem(&String::from_utf8(world.read("vendor.pem")).unwrap()).unwrap();
    let of_older = Envelope::sign(b"{}".to_vec(), &[&key]).unwrap().to_entry();
    world.write("log/publishers.toml", "");
    let again = |from: &str, to: &str| {
        fs::remove_file(world.path("log/profile")).unwrap();
        if from != to {
            set_profile(&world, from, to);
        }
    };
    let server = world.serve();
    LogClient::new(&server.url).unwrap().add(&of_older, Wait::Published).unwrap();
    server.terminate();
    again("opaque", "opaque");
    world
        .run(SERVE)
        .failed(2, "the log was made with profile = \"release\", and keeps it for life: entry 0 says so");
    world.write("log/profile", "release\n");
    again("opaque", "release");
    world.serve().terminate();
    assert_eq!(world.read("log/profile"), b"release\n");
    // It continues to accept any entry.
    world.write("log/profile", "opaque\n");
    set_profile(&world, "release", "opaque");
    let server = world.serve();
    LogClient::new(&server.url).unwrap().add(b"anything", Wait::Published).unwrap();
    server.terminate();
    again("opaque", "opaque");
    world.serve().terminate();
    assert_eq!(world.read("log/profile"), b"opaque\n");
}
