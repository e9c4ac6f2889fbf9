//! `treehead publish --from`: many releases, again and again.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use treehead::merkle::Hash;

use crate::program::{Ran, Server, World};

/// One line for each sequence number.
fn lines(sequences: impl Iterator<Item = u64>) -> String {
    let mut text = String::new();
    for n in sequences {
        let sha256 = Hash::digest(&n.to_be_bytes()).to_hex();
        let line = json!({
            "purl": format!("pkg:generic/example/scanner@{n}.0"), "kind": "build", "channel": "stable",
            "sequence": n, "artifacts": [{ "name": "scanner.bin", "sha256": sha256 }],
        });
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn publish(world: &World, server: &Server) -> Ran {
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url))
}

fn tally(world: &World, server: &Server) -> (u64, u64, u64) {
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem --json", server.url);
    let json = world.run(&line).done().json();
    let number = |field: &str| json[field].as_u64().expect("a number");
    (number("total"), number("added"), number("known"))
}

#[test]
fn a_second_run_adds_nothing_and_a_longer_file_only_what_is_new() {
    let world = World::new();
    let server = world.serve();
    // More than one request's worth.
    world.write("releases.jsonl", lines(1..2_501));
    assert_eq!(tally(&world, &server), (2_500, 2_500, 0));
    assert_eq!(tally(&world, &server), (2_500, 0, 2_500));
    world.write("releases.jsonl", lines(1..2_502));
    let ran = publish(&world, &server).done();
    let told = "1 added, 2500 in the log already, 0 refused, of 2501 releases\n";
    assert!(ran.stdout.starts_with(told), "{ran:?}");
    assert_eq!(ran.stderr, "", "no progress bar where there is no terminal");
    assert_eq!(server.tree_size(), 2_501);
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
    // Each is to be found.
    let digest = Hash::digest(&1_234_u64.to_be_bytes()).to_hex();
    let (status, page) = server.get(&format!("/releases?digest={digest}"));
    assert_eq!(status, 200);
    assert!(String::from_utf8(page).unwrap().contains("scanner@1234.0"));
}

#[test]
fn empty_lines_are_skipped_and_an_empty_file_is_done() {
    let world = World::new();
    let server = world.serve();
    world.write("releases.jsonl", format!("\n{}\r\n \n{}", lines(1..2), lines(2..3).trim_end()));
    assert_eq!(tally(&world, &server), (2, 2, 0), "the last line needs no newline");
    world.write("releases.jsonl", "");
    assert_eq!(tally(&world, &server), (0, 0, 0));
}

#[test]
fn a_bad_line_is_named_before_anything_is_sent() {
    let world = World::new();
    let server = world.serve();
    let good = lines(1..2);
    let cases = [
        ("{".to_owned(), "EOF"),
        (good.replace("\"channel\"", "\"chanel\""), "chanel"),
        (good.replace("@1.0", ""), "a version"),
        (good.replace("\"build\"", "\"virus\""), "build, update or detection-rules"),
        (good.replace("\"sequence\":1", "\"sequence\":-1"), "-1"),
        (good.replace("stable", "Sta ble"), "a channel"),
        (good.replace("\"sha256\":\"", "\"sha256\":\"x"), "64 lower-case hex digits"),
        (good.replace("}]", "},{}]"), "missing field"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(140_000)), "too large"),
    ];
    for (bad, expected) in cases {
        world.write("releases.jsonl", format!("{}\n{}\n", lines(5..7), bad.trim_end()));
        let ran = publish(&world, &server).failed(2, "releases.jsonl: ");
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
        // What is too large has no line in its error.
        assert!(expected == "too large" || ran.stderr.contains("at line 4:"), "{ran:?}");
    }
    assert_eq!(server.tree_size(), 0);
    world
        .run(&format!("publish --from missing.jsonl --log {} --key publisher.pem", server.url))
        .failed(3, "missing.jsonl");
}

#[test]
fn a_taken_sequence_is_named_by_its_line_and_the_others_are_added() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "a.bin", "another scanner", 3).done();
    world.write("releases.jsonl", format!("\n{}", lines(1..6)));
    let ran = publish(&world, &server).refused("sequence-taken");
    assert!(
        ran.stderr.contains("4 added, 0 in the log already, 1 refused, of 5 releases: line 4: "),
        "{ran:?}"
    );
    assert_eq!(server.tree_size(), 5);
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem --json", server.url);
    let again = world.run(&line);
    assert_eq!((again.exit, &again.json()["code"]), (1, &"sequence-taken".into()));
}

#[test]
fn a_publisher_without_the_right_is_told_which_line_was_refused() {
    let world = World::new();
    let server = world.serve();
    world
        .write("releases.jsonl", lines(1..4).replace("generic/example/scanner@2", "generic/other/scanner@2"));
    let ran = publish(&world, &server).refused("publisher-not-permitted");
    assert!(ran.stderr.contains(": line 2: ") && ran.stderr.contains("entry 1 of the batch"), "{ran:?}");
    assert_eq!(server.tree_size(), 0);
}

#[test]
fn a_run_that_was_interrupted_is_completed_by_the_next() {
    let world = World::new();
    let mut server = world.serve();
    world.write("releases.jsonl", lines(1..12_001));
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url);
    let mut command = world.command(&line);
    let running =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.tree_size() == 0 {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(2));
    }
    server.kill();
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("run the same command again to go on"), "{stderr}");
    let server = world.serve();
    let before = server.tree_size();
    assert!((1_000..12_000).contains(&before), "{before}");
    assert_eq!(tally(&world, &server), (12_000, 12_000 - before, before));
    assert_eq!(server.tree_size(), 12_000);
    drop(server);
    world.run("fsck log").done();
}
