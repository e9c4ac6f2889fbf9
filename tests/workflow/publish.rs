//! `treehead publish` of one release, with obstacles.

use std::time::{Duration, Instant};

use crate::middleman::{Middleman, Told};
use crate::monitoring::eventually;
use crate::program::{Server, World};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

#[test]
fn what_can_t_be_saved_is_found_out_before_the_log_has_it() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    world.run(&format!("{line} --out no/such/a.proof")).failed(3, "nothing was sent to the log");
    world.run(&format!("{line} --out no/such/")).failed(3, "nothing was sent to the log");
    std::fs::create_dir(world.path("a.bin.tlog-proof")).unwrap();
    let ran = world.run(&line).failed(2, "a.bin.tlog-proof is a directory: expected the path of a file");
    assert!(ran.stderr.contains("nothing was sent to the log"), "{ran:?}");
    world
        .run(&format!("{line} --wait sequenced --out a.proof"))
        .failed(2, "a release that is only sequenced has no proof");
    assert_eq!(server.tree_size(), 0);
    let left = std::fs::read_dir(world.path(""))
        .unwrap()
        .filter(|item| item.as_ref().unwrap().file_name().to_str().unwrap().starts_with(".tmp"));
    assert_eq!(left.count(), 0, "the failed attempt left nothing");
}

#[test]
fn out_costs_no_key_no_settings_and_no_artifact() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "a.bin", "a", 1).done();
    world.write("b.bin", "b");
    let log = &server.url;
    let publish = world.publish_line(&server, "b.bin", 2);
    for (line, out) in [
        (publish.clone(), "publisher.pem"),
        (publish, "b.bin"),
        (format!("prove a.bin --log {log}"), "a.bin"),
        (format!("prove a.bin --log {log}"), "log/endpoint.policy"),
        ("policy log".to_owned(), "log/log.key"),
        ("policy log".to_owned(), "log/treehead.toml"),
        ("policy log".to_owned(), "a.bin.tlog-proof"),
    ] {
        let before = world.read(out);
        world.run(&format!("{line} --out {out}")).failed(2, "choose another name, or move it away");
        assert_eq!(world.read(out), before, "{out}");
    }
    assert_eq!(server.tree_size(), 1);
    // Each run replaces the files of the one before.
    for _ in 0..2 {
        world.run("policy log --out new.policy").done();
        world.run(&format!("prove a.bin --log {log} --out new.tlog-proof")).done();
    }
}

#[test]
fn proofs_belong_to_many_releases() {
    let world = World::new();
    world.write("a.bin", "a");
    let line =
        "publish a.bin --log http://127.0.0.1:1 --key publisher.pem --kind build --purl pkg:generic/x@1";
    world
        .run(&format!("{line} --channel stable --sequence 1 --proofs proofs"))
        .failed(2, "'[FILE]...' cannot be used with '--proofs <DIR>'");
}

#[test]
fn a_proof_that_can_t_be_saved_leaves_word_of_the_leaf_and_of_how_to_get_it() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "first.bin", "first", 1).done();
    // Between the append and its proof, somebody puts a directory in the proof's place.
    let place = world.path("a.bin.tlog-proof");
    let made = place.clone();
    let between = Middleman::before(&server.url, move |n, answer| {
        if n == 1 {
            std::fs::create_dir(&made).unwrap();
        }
        Told::Body(answer)
    });
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 2).replace(&server.url, &between.url);
    let ran = world.run(&line).failed(3, "could not write a.bin.tlog-proof");
    assert!(ran.stdout.contains("pkg:generic/example/scanner@2.0 is leaf 1 of the log\n"), "{ran:?}");
    assert!(!ran.stderr.contains("Do not install"), "{ran:?}");
    let command = ran.stderr.split('`').nth(1).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(ran.stderr.contains("the release is still in the log, as leaf 1"), "{ran:?}");
    std::fs::remove_dir(&place).unwrap();
    let command = command.strip_prefix("treehead ").unwrap().replace(&between.url, &server.url);
    world.run(&command).done();
    world.run(&format!("verify a.bin {VERIFY}")).done();
    assert_eq!(server.tree_size(), 2);
}

#[test]
fn a_proof_that_the_log_does_not_send_leaves_word_of_the_leaf() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    for (told, sequence) in [("junk", 1), ("", 2)] {
        let between = Middleman::before(&server.url, move |n, answer| {
            Told::Body(if n == 1 { told.to_owned() } else { answer })
        });
        let line = world.publish_line(&server, "a.bin", sequence).replace(&server.url, &between.url);
        let ran = world.run(&format!("{line} --json --timeout 2s"));
        assert_ne!(ran.exit, 0, "{ran:?}");
        let told = ran.json_lines();
        assert_eq!((&told[0]["index"], &told[0]["proofs"]), (&(sequence - 1).into(), &serde_json::json!([])));
        let message = told[1]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("the release is still in the log, as leaf {}", sequence - 1)),
            "{ran:?}"
        );
        // The same command again completes it.
        let again =
            world.run(&format!("{} --json", world.publish_line(&server, "a.bin", sequence))).done().json();
        assert_eq!(again["duplicate"], true);
    }
    assert_eq!(server.tree_size(), 2);
}

#[test]
fn nothing_is_signed_for_another_log_than_is_meant() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    let origin = String::from_utf8(server.get("/checkpoint").1).unwrap().lines().next().unwrap().to_owned();
    let line = world.publish_line(&server, "a.bin", 1);
    let ran = world.run(&format!("{line} --origin log.example.org/other")).refused("other-log");
    assert!(ran.stderr.contains(&format!("expected origin log.example.org/other, saw {origin}")), "{ran:?}");
    assert_eq!(server.tree_size(), 0);
    let ran = world.run(&format!("{line} --origin {origin}")).done();
    assert!(ran.stderr.lines().any(|line| line == format!("for {origin}")), "{ran:?}");
}

#[test]
fn a_statement_that_the_log_has_under_another_key_is_told() {
    let world = World::new();
    world.run("keygen publisher --name vendor --out new.pem").done();
    world.run("publisher add-key log --name vendor --key new.pub").done();
    let server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    let told = "the log has this statement under another signature (keyid ";
    for (key, is_told) in [("publisher.pem", false), ("publisher.pem", false), ("new.pem", true)] {
        let ran = world.run(&line.replace("publisher.pem", key)).done();
        assert_eq!(ran.stderr.contains(told), is_told, "{key}: {ran:?}");
    }
    let row = format!(
        r#"{{"kind":"build","purl":"pkg:generic/example/scanner@1.0","channel":"stable","sequence":1,"artifacts":[{{"name":"a.bin","sha256":"{}"}}]}}"#,
        treehead::merkle::Hash::digest(b"a").to_hex()
    );
    world.write("many.jsonl", row + "\n");
    let many = format!("publish --from many.jsonl --log {} --key new.pem --proofs proofs", server.url);
    for _ in 0..2 {
        let ran = world.run(&many).done();
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
    assert_eq!(server.tree_size(), 1);
}

#[test]
fn files_of_one_name_get_names_of_their_own() {
    let world = World::new();
    let server = world.serve();
    for (dir, content) in [("d1", "linux"), ("d2", "mac")] {
        std::fs::create_dir(world.path(dir)).unwrap();
        world.write(&format!("{dir}/x.bin"), content);
    }
    let line = |files: &str| world.publish_line(&server, files, 1);
    let ran = world
        .run(&line("d1/x.bin d2/x.bin"))
        .failed(2, "two artifacts are named x.bin: d1/x.bin and d2/x.bin");
    assert!(ran.stderr.contains("NAME=FILE"), "{ran:?}");
    assert_eq!(server.tree_size(), 0);
    let json = world.run(&(line("linux-x.bin=d1/x.bin mac-x.bin=d2/x.bin") + " --json")).done().json();
    assert_eq!(json["proofs"], serde_json::json!(["d1/x.bin.tlog-proof", "d2/x.bin.tlog-proof"]));
    let ran = world.run("inspect d2/x.bin.tlog-proof").done();
    assert!(ran.stdout.contains("linux-x.bin") && ran.stdout.contains("mac-x.bin"), "{ran:?}");
    // In one directory, the artifacts keep their stated names.
    std::fs::create_dir(world.path("out")).unwrap();
    let again = line("linux-x.bin=d1/x.bin mac-x.bin=d2/x.bin") + " --out out --json";
    let json = world.run(&again).done().json();
    assert_eq!(json["proofs"], serde_json::json!(["out/linux-x.bin.tlog-proof", "out/mac-x.bin.tlog-proof"]));
    let one = line("linux-x.bin=d1/x.bin mac-x.bin=d2/x.bin") + " --out release.proof";
    assert!(world.run(&one).done().stdout.ends_with("\nproof  release.proof\n"));
    assert_eq!(world.read("release.proof"), world.read("out/mac-x.bin.tlog-proof"));
    assert_eq!(server.tree_size(), 1);
    // A file whose own name contains the separator.
    world.write("a=b", "either");
    world.run(&world.publish_line(&server, "a=b", 2)).done();
    world.write("b", "or");
    world.run(&world.publish_line(&server, "a=b", 3)).failed(2, "a=b is a file, and so is b: expected ./a=b");
    world.run(&world.publish_line(&server, "./a=b", 3)).done();
    world.run(&world.publish_line(&server, "a=./b", 4)).done();
    assert!(world.run("inspect b.tlog-proof").done().stdout.contains("  a\n"));
}

#[test]
fn a_log_that_is_not_there_yet_is_waited_for_and_that_is_told() {
    let world = World::new();
    let address = World::free_address();
    world.write("a.bin", "a");
    let line = format!(
        "publish a.bin --log http://{address} --key publisher.pem --kind build --purl pkg:generic/example/scanner@1 --channel stable --sequence 1"
    );
    let mut command = world.command(&line);
    let running = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let server = world.start(&format!("serve log --listen {address}"));
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let told = format!(
        "waiting for http://{address} to show its tree head, for 2 s of at most 120 s: no answer from"
    );
    assert!(stderr.contains(&told) && stderr.contains("Connection refused"), "{stderr}");
    assert_eq!(server.tree_size(), 1);
}

#[test]
fn a_wait_reports_its_limit() {
    let world = World::new();
    let mut server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    server.kill();
    for (timeout, least, most) in [("1s", 0, 20), ("3s", 2, 20)] {
        let begun = Instant::now();
        let ran = world.run(&format!("{line} --timeout {timeout}")).failed(3, "is a server running there");
        let waited = begun.elapsed().as_secs();
        assert!((least..most).contains(&waited), "{timeout}: {waited} s");
        assert_eq!(ran.stderr.contains("for 2 s of at most 3 s"), timeout == "3s", "{ran:?}");
    }
    world.run(&format!("{line} --timeout 0s")).failed(2, "expected at least 1s");
    // A name that does not resolve may resolve a moment later.
    let ran = world.run(&format!("{} --timeout 3s", line.replace(&server.url, "http://log.invalid")));
    ran.failed(3, "waiting for http://log.invalid to show its tree head, for 2 s of at most 3 s: no answer");
}

#[test]
fn a_quorum_that_is_gone_is_told_and_not_waited_for_longer_than_asked() {
    let world = World::witnessed();
    let mut witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    eventually("it shows a head", || server.get("/checkpoint").0 == 200);
    witnesses.drain(..2).for_each(drop);
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    let begun = Instant::now();
    let ran = world
        .run(&format!("{line} --timeout 4s"))
        .failed(3, "to publish the release, for 2 s of at most 4 s");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(ran.stderr.contains("the log may have it"), "{ran:?}");
    // The release is in the log, and the same command gets its proof once the quorum is back.
    let _back: Vec<Server> = (1..=2).map(|number| world.serve_witness(number)).collect();
    let json = world.run(&format!("{line} --json")).done().json();
    assert_eq!((&json["duplicate"], server.tree_size()), (&true.into(), 1));
    world.run(&format!("verify a.bin {VERIFY}")).done();
}

#[test]
fn a_key_may_come_out_of_the_shell_s_pipe_and_never_lie_on_the_disk() {
    let world = World::new();
    let server = world.serve();
    world.write("one.bin", "one");
    let line = world.publish_line(&server, "one.bin", 1).replace("publisher.pem", "<(cat publisher.pem)");
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &format!("\"$0\" {line}"), env!("CARGO_BIN_EXE_treehead")]).current_dir(world.path(""));
    let ran = shell.output().expect("bash runs");
    assert!(ran.status.success(), "{ran:?}");
    world.run("verify one.bin --policy log/endpoint.policy").done();
}
