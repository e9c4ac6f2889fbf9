//! `treehead publish --from`: many releases, published repeatedly.

use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use treehead::merkle::Hash;

use crate::middleman::Middleman;
use crate::monitoring::{events, eventually};
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

/// The monitor's events, compared with the entries of the log.
fn complaints(ran: &Ran) -> Vec<Value> {
    let events = events(&ran.stdout).into_iter();
    events.filter(|event| !matches!(event["event"].as_str(), Some("started" | "release" | "head"))).collect()
}

/// Starts publishing 12,000 releases, slowly, and waits until some of them are in the log.
fn start(world: &World, server: &Server, more: &str) -> (Child, Middleman) {
    world.write("releases.jsonl", interleaved(4, 3_000));
    let slow = Middleman::holding_up(&server.url, |n| Duration::from_millis(if n == 0 { 0 } else { 800 }));
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem {more}", slow.url);
    let child = world.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("something arrives", || server.tree_size() > 0);
    (child, slow)
}

/// The same releases for several channels, interleaved.
fn interleaved(channels: u64, each: u64) -> String {
    let lines: Vec<String> = lines(1..=each).lines().map(ToOwned::to_owned).collect();
    let of_channel = |line: &String, channel| line.replace("\"stable\"", &format!("\"c{channel}\"")) + "\n";
    lines.iter().flat_map(|line| (0..channels).map(move |channel| of_channel(line, channel))).collect()
}

fn publish(world: &World, server: &Server) -> Ran {
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url))
}

fn tally(world: &World, server: &Server) -> (u64, u64, u64) {
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem --json", server.url);
    let mut told = world.run(&line).done().json_lines();
    let summary = told.pop().expect("a summary");
    let number = |field: &str| summary[field].as_u64().expect("a number");
    assert_eq!(told.len() as u64, number("total"), "one for each");
    (number("total"), number("added"), number("known"))
}

#[test]
fn a_second_run_adds_nothing_and_a_longer_file_only_what_is_new() {
    let world = World::new();
    let server = world.serve();
    // More than fits into one request.
    world.write("releases.jsonl", lines(1..2_501));
    assert_eq!(tally(&world, &server), (2_500, 2_500, 0));
    assert_eq!(tally(&world, &server), (2_500, 0, 2_500));
    world.write("releases.jsonl", lines(1..2_502));
    let ran = publish(&world, &server).done();
    let told = "1 added, 2500 in the log already, 0 refused, of 2501 releases\n";
    assert!(ran.stdout.starts_with(told), "{ran:?}");
    // On a slow machine it may report that it waits.
    let others: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with("waiting for ")).collect();
    assert_eq!(
        others,
        ["for log.example.com/releases"],
        "no progress bar where there is no terminal: {ran:?}"
    );
    assert_eq!(server.tree_size(), 2_501);
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
    // Each can be found.
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
    world.write("releases.jsonl", lines(1..2));
    let told = "0 added, 1 in the log already, 0 refused, of 1 release\n";
    assert!(publish(&world, &server).done().stdout.starts_with(told));
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
        (good.replace("\"build\"", "\"virus\""), "build, update, detection-rules or trust"),
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
        // The error about an oversized file names no line.
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
    let mut told = again.json_lines();
    assert_eq!((again.exit, &told.pop().unwrap()["code"]), (1, &"sequence-taken".into()));
    let summary = told.pop().unwrap();
    assert_eq!(
        (&summary["ok"], &summary["known"], &summary["refused"]),
        (&false.into(), &4.into(), &1.into())
    );
    let refused = &told[2];
    assert_eq!(
        (&refused["line"], &refused["ok"], &refused["code"]),
        (&4.into(), &false.into(), &"sequence-taken".into())
    );
    assert_eq!((told.len(), &told[3]["line"], &told[3]["index"]), (5, &5.into(), &3.into()));
}

#[test]
fn what_a_publisher_may_not_release_is_named_by_its_line_and_the_others_are_added() {
    let world = World::new();
    let server = world.serve();
    let other = |n: u64, text: String| {
        text.replace(&format!("generic/example/scanner@{n}.0"), &format!("generic/other/scanner@{n}.0"))
    };
    let wrong = [2, 3, 9, 20];
    world.write("releases.jsonl", wrong.into_iter().fold(lines(1..21), |text, n| other(n, text)));
    let line = format!(
        "publish --from releases.jsonl --log {} --key publisher.pem --proofs proofs --json",
        server.url
    );
    let ran = world.run(&line);
    let mut told = ran.json_lines();
    assert_eq!((ran.exit, &told.pop().unwrap()["code"]), (1, &"publisher-not-permitted".into()));
    let summary = told.pop().unwrap();
    let number = |field: &str| summary[field].as_u64().unwrap();
    assert_eq!((number("total"), number("added"), number("refused")), (20, 16, 4), "{summary}");
    assert_eq!(told.len(), 20, "each release has one object");
    let mut last = None;
    for (told, n) in told.iter().zip(1_u64..) {
        assert_eq!((&told["line"], &told["sequence"]), (&n.into(), &n.into()), "{told}");
        if wrong.contains(&n) {
            assert_eq!((&told["ok"], &told["code"]), (&false.into(), &"publisher-not-permitted".into()));
            let message = told["message"].as_str().unwrap();
            assert!(message.contains("pkg:generic/other/scanner") && !message.contains("batch"), "{message}");
        } else {
            let index = told["index"].as_u64();
            assert!(index > last, "in the order of the lines: {told}");
            assert!(world.path(told["proof"].as_str().unwrap()).exists(), "{told}");
            last = index;
        }
    }
    assert_eq!(server.tree_size(), 16);
    let ran = publish(&world, &server).refused("publisher-not-permitted");
    let done = "0 added, 16 in the log already, 4 refused, of 20 releases: line 2: ";
    assert!(ran.stderr.contains(done) && ran.stderr.contains("; line 20: "), "{ran:?}");
    // All releases of a stranger are refused, each by itself.
    world.run("keygen publisher --name stranger --out stranger.pem").done();
    let told = world.run(&line.replace("publisher.pem", "stranger.pem")).json_lines();
    assert_eq!((told.len(), &told[20]["refused"]), (22, &20.into()));
}

#[test]
fn a_run_that_was_interrupted_is_completed_by_the_next() {
    let world = World::new();
    let mut server = world.serve();
    let (running, _slow) = start(&world, &server, "--timeout 1s");
    server.kill();
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("run the same command again to continue"), "{stderr}");
    let server = world.serve();
    let before = server.tree_size();
    assert!((1..12_000).contains(&before), "{before}");
    assert_eq!(tally(&world, &server), (12_000, 12_000 - before, before));
    assert_eq!(server.tree_size(), 12_000);
    drop(server);
    world.run("fsck log").done();
}

/// A server that is killed, as if the power failed, and later starts again at the same address.
#[test]
fn a_log_that_is_gone_for_some_seconds_is_waited_for() {
    let world = World::new();
    let serve = format!("serve log --listen {}", World::free_address());
    let mut server = world.start(&serve);
    let (running, slow) = start(&world, &server, "--json");
    server.kill();
    std::thread::sleep(Duration::from_secs(4));
    let server = world.start(&serve);
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let told = format!(
        "waiting for {} to publish the releases, for 2 s of at most 120 s: no answer from ",
        slow.url
    );
    assert!(stderr.contains(&told), "{stderr}");
    let summary: Value =
        serde_json::from_slice(output.stdout.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap())
            .unwrap();
    let number = |field: &str| summary[field].as_u64().unwrap();
    assert_eq!((number("total"), number("added") + number("known")), (12_000, 12_000));
    assert_eq!(server.tree_size(), 12_000, "nothing is there twice");
}

/// Requests overtake each other, and some are sent twice.
#[test]
fn the_order_within_a_package_and_channel_is_kept_with_many_requests_under_way() {
    let world = World::new();
    let server = world.serve();
    // The first request arrives last; its successors must not be in the log before it.
    let between = Middleman::holding_up(&server.url, |n| {
        Duration::from_millis(if n == 0 { 1_500 } else { n % 5 * 40 })
    });
    world.write("releases.jsonl", interleaved(8, 1_200));
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem", between.url);
    world.run(&line).done();
    assert_eq!(server.tree_size(), 9_600);
    assert!(between.most_at_once() > 1, "they are sent one by one");
    world.monitor("m", &server.url, "");
    let ran = world.once("m");
    assert_eq!(complaints(&ran), [] as [Value; 0]);
}

#[test]
fn one_package_is_one_stream_whatever_is_slow() {
    let world = World::new();
    let server = world.serve();
    let between =
        Middleman::holding_up(&server.url, |n| Duration::from_millis(if n == 0 { 1_000 } else { 0 }));
    world.write("releases.jsonl", lines(1..5_001));
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", between.url)).done();
    let (status, page) = server.get("/releases?version=1.0");
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!((status, &page["releases"][0]["index"]), (200, &0.into()));
    world.monitor("m", &server.url, "");
    assert_eq!(complaints(&world.once("m")), [] as [Value; 0]);
}

#[test]
fn each_release_is_told_in_the_order_of_the_file() {
    let world = World::new();
    let server = world.serve();
    let between = Middleman::holding_up(&server.url, |n| Duration::from_millis(n % 3 * 50));
    world.write("releases.jsonl", format!("\n{}", interleaved(5, 300)));
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem --json", between.url);
    let mut told = world.run(&line).done().json_lines();
    let summary = told.pop().unwrap();
    assert_eq!(
        (&summary["ok"], &summary["total"], &summary["added"]),
        (&true.into(), &1_500.into(), &1_500.into())
    );
    let numbers: Vec<u64> = told.iter().map(|object| object["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (2..1_502).collect::<Vec<_>>(), "behind an empty line");
    let mut indexes: Vec<u64> = told.iter().map(|object| object["index"].as_u64().unwrap()).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..1_500).collect::<Vec<_>>());
    let (channel, n) = (told[7]["channel"].as_str().unwrap(), told[7]["sequence"].as_u64().unwrap());
    assert_eq!((channel, n, &told[7]["duplicate"]), ("c2", 2, &false.into()));
    let (status, _) = server.get(&format!("/proof/leaf/{}", told[7]["leaf_hash"].as_str().unwrap()));
    assert_eq!(status, 200, "it is the leaf hash");
}

#[test]
fn each_release_gets_its_proof_also_in_a_second_run() {
    let world = World::new();
    let server = world.serve();
    for n in 1..=3_u64 {
        world.write(&format!("{n}.bin"), n.to_be_bytes());
    }
    world.write("releases.jsonl", lines(1..4));
    let line = format!(
        "publish --from releases.jsonl --log {} --key publisher.pem --proofs out/proofs --policy log/endpoint.policy --json",
        server.url
    );
    let told = world.run(&line).done().json_lines();
    let verify = |n: usize, told: &[Value]| {
        let proof = told[n]["proof"].as_str().unwrap();
        assert_eq!(proof, format!("out/proofs/{}.tlog-proof", told[n]["leaf_hash"].as_str().unwrap()));
        let line = "--policy log/endpoint.policy --publishers log/publishers.toml";
        world.run(&format!("verify {}.bin --proof {proof} {line}", n + 1))
    };
    for n in 0..3 {
        verify(n, &told).done();
    }
    let files = || std::fs::read_dir(world.path("out/proofs")).unwrap().count();
    assert_eq!(files(), 3);
    // Lost and damaged proofs are fetched again, and no entry is added.
    std::fs::remove_file(world.path(told[0]["proof"].as_str().unwrap())).unwrap();
    world.write(told[1]["proof"].as_str().unwrap(), "junk");
    let again = world.run(&line).done().json_lines();
    for n in 0..3 {
        verify(n, &again).done();
        assert_eq!(again[n]["duplicate"], true);
    }
    assert_eq!((files(), server.tree_size()), (3, 3));
}

#[test]
fn proofs_that_can_t_be_had_are_told_and_what_is_in_the_log_is_too() {
    let world = World::new();
    let server = world.serve();
    world.write("releases.jsonl", lines(1..4));
    world.write("file", "in the way");
    let line = format!("publish --from releases.jsonl --log {} --key publisher.pem --proofs", server.url);
    world.run(&format!("{line} file/proofs")).failed(3, "nothing was sent to the log");
    world
        .run(&format!("{line} proofs --wait sequenced"))
        .failed(2, "--proofs: a release that is only sequenced");
    world.run("init other --origin log.example.org/other").done();
    let ran = world.run(&format!("{line} proofs --policy other/endpoint.policy"));
    assert!(ran.exit != 0 && ran.stderr.contains("nothing was sent to the log"), "{ran:?}");
    assert_eq!(server.tree_size(), 0);
    // One of them can't be written: a directory has its name.
    let leaf = world.run(&format!("{line} proofs --json")).done().json_lines()[1]["proof"].clone();
    let leaf = leaf.as_str().unwrap();
    std::fs::remove_file(world.path(leaf)).unwrap();
    std::fs::create_dir(world.path(leaf)).unwrap();
    let ran = world
        .run(&format!("{line} proofs"))
        .failed(3, "0 added, 3 in the log already, 0 refused, of 3 releases");
    assert!(ran.stderr.contains("the proofs of 1 could not be saved: line 2: "), "{ran:?}");
    assert!(ran.stderr.contains("run the same command again for them"), "{ran:?}");
}
