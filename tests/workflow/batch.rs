//! `treehead verify --batch`: questions on standard input, verdicts on standard output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};
use treehead::endpoint::MAX_BATCH_LINE_BYTES;
use treehead::merkle::Hash;

use crate::online::{publish, releases};
use crate::program::{Ran, World};

const BATCH: &str = "verify --batch --policy log/endpoint.policy --publishers log/publishers.toml";

fn ask(world: &World, options: &str, lines: &[Value]) -> Ran {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    world.run_with(&format!("{BATCH}{options}"), &input)
}

/// Code and exit code of each answer.
fn answers(ran: &Ran) -> Vec<(String, u64)> {
    let answer = |line: Value| (line["code"].as_str().unwrap().to_owned(), line["exit"].as_u64().unwrap());
    ran.json_lines().into_iter().map(answer).collect()
}

fn expected(answers: &[(&str, u64)]) -> Vec<(String, u64)> {
    answers.iter().map(|(code, exit)| ((*code).to_owned(), *exit)).collect()
}

#[test]
fn each_line_has_its_answer_in_order_and_a_bad_one_stops_no_other() {
    let (world, _server) = releases(3);
    world.write("2.bin", "tampered");
    let long = format!("{{\"file\":\"{}\"}}", "x".repeat(MAX_BATCH_LINE_BYTES));
    let input = format!(
        "{{\"file\":\"1.bin\",\"id\":\"first\"}}\nnonsense\n\n  \n{{\"file\":\"2.bin\"}}\r\n{{\"file\":\"missing.bin\"}}\n\
         {long}\n{{\"file\":\"3.bin\",\"chanel\":\"stable\"}}\n{{\"id\":9,\"file\":\"3.bin\",\"kind\":\"virus\"}}\n{{\"file\":\"3.bin\"}}"
    );
    let ran = world.run_with(BATCH, &input);
    assert_eq!((ran.exit, ran.stderr.as_str()), (1, ""), "{ran:?}");
    let codes = [
        ("verified", 0),
        ("usage", 2),
        ("artifact-mismatch", 1),
        ("could-not-tell", 3),
        ("usage", 2),
        ("usage", 2),
        ("usage", 2),
        ("verified", 0),
    ];
    assert_eq!(answers(&ran), expected(&codes));
    let lines = ran.json_lines();
    let numbers: Vec<u64> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 5, 6, 7, 8, 9, 10], "empty lines count and have no answer");
    assert_eq!((&lines[0]["id"], &lines[6]["id"], lines[1].get("id")), (&"first".into(), &9.into(), None));
    let message = |at: usize| lines[at]["message"].as_str().unwrap();
    assert_eq!(message(0), "pkg:generic/example/scanner@1.0 (build, stable, sequence 1) by vendor");
    assert!(message(1).starts_with("line 2: a question is malformed"), "{}", message(1));
    assert!(message(4).contains("too large") && message(5).contains("chanel"), "{lines:?}");
    // The rest is what `--json` says.
    let alone = "1.bin --policy log/endpoint.policy --publishers log/publishers.toml --json";
    let alone = world.run(&format!("verify {alone}")).done();
    let mut first = lines[0].clone();
    for more in ["line", "id", "exit", "message"] {
        first.as_object_mut().unwrap().remove(more);
    }
    assert_eq!(first, alone.json());
    assert_eq!(world.run_with(BATCH, "").done().stdout, "", "no question, no answer");
}

#[test]
fn a_line_pins_what_options_leave_open() {
    let (world, _server) = releases(2);
    let ran = ask(
        &world,
        " --purl pkg:generic/example/* --channel stable",
        &[
            json!({ "file": "1.bin", "purl": "pkg:generic/example/scanner@1.0", "publisher": "vendor", "kind": "build" }),
            json!({ "file": "1.bin", "purl": "pkg:generic/example/scanner@2.0" }),
            json!({ "file": "1.bin", "purl": "pkg:generic/example/scanner" }),
            json!({ "file": "1.bin", "purl": "pkg:generic/other" }),
            json!({ "file": "1.bin", "channel": "beta" }),
            json!({ "file": "1.bin", "publisher": "other" }),
            json!({ "file": "1.bin", "kind": "update" }),
            json!({ "file": "1.bin", "audience": "beta-testers" }),
            json!({ "file": "1.bin", "min_sequence": 2 }),
            json!({ "file": "1.bin", "name": "2.bin" }),
            json!({ "file": "1.bin", "max_age": 60 }),
        ],
    );
    let codes = [
        ("verified", 0),
        ("other-package", 1),
        ("verified", 0),
        ("other-package", 1),
        ("other-channel", 1),
        ("other-publisher", 1),
        ("other-kind", 1),
        ("other-audience", 1),
        ("below-min-sequence", 1),
        ("artifact-swapped", 1),
        ("stale", 1),
    ];
    assert_eq!(answers(&ran), expected(&codes), "{ran:?}");
    let ran = ask(
        &world,
        " --channel beta",
        &[json!({ "file": "1.bin" }), json!({ "file": "1.bin", "channel": "stable" })],
    );
    assert_eq!(answers(&ran), expected(&[("other-channel", 1), ("verified", 0)]));
    for contradiction in ["1.bin", "--sha256 00", "--name 1.bin"] {
        world.run(&format!("{BATCH} {contradiction}")).failed(2, "");
    }
}

#[test]
fn a_digest_needs_no_file_but_a_proof() {
    let (world, _server) = releases(1);
    let digest = Hash::digest(b"artifact 1").to_hex();
    // The file is not read: it may be gone.
    std::fs::remove_file(world.path("1.bin")).unwrap();
    let ran = ask(
        &world,
        "",
        &[
            json!({ "sha256": digest, "file": "1.bin" }),
            json!({ "sha256": digest.to_uppercase(), "proof": "1.bin.tlog-proof" }),
            json!({ "sha256": digest }),
            json!({ "sha256": Hash::digest(b"other").to_hex(), "file": "1.bin" }),
        ],
    );
    let codes = [("verified", 0), ("verified", 0), ("usage", 2), ("artifact-mismatch", 1)];
    assert_eq!(answers(&ran), expected(&codes), "{ran:?}");
    let ran = ask(&world, " --proof 1.bin.tlog-proof", &[json!({ "sha256": digest })]).done();
    assert_eq!(ran.json()["name"], "1.bin");
}

#[test]
fn a_hook_may_wait_for_each_answer_and_others_use_the_memory_meanwhile() {
    let (world, server) = releases(3);
    let mut command = world.command(&format!("{BATCH} --state state"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut questions, mut answers) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let mut ask = |file: &str| -> Value {
        writeln!(questions, "{{\"file\":\"{file}\"}}").unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(ask("1.bin")["code"], "verified");
    assert_eq!(ask("3.bin")["code"], "verified");
    assert_eq!(ask("2.bin")["code"], "rollback");
    // Another process is not kept waiting, and what it learns counts.
    publish(&world, &server, 4);
    let alone = "4.bin --policy log/endpoint.policy --publishers log/publishers.toml --state state";
    world.run(&format!("verify {alone}")).done();
    let last = ask("3.bin");
    assert_eq!(
        (&last["code"], &last["line"], &last["expected"]),
        (&"rollback".into(), &4.into(), &"4".into())
    );
    drop(questions);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn lines_that_come_together_are_one_check_of_each_log() {
    use crate::common::proxy::Proxy;
    let (world, server) = releases(3);
    let between = Proxy::before(&server.url, |_| None);
    let lines: Vec<Value> = (0..60).map(|n| json!({ "file": format!("{}.bin", n % 3 + 1) })).collect();
    let ran = ask(&world, &format!(" --online {}", between.url), &lines).done();
    assert_eq!(ran.json_lines().len(), 60);
    assert!(between.asked("/checkpoint") <= 2, "the last of them may come late");
    // If nothing can be checked, each line says so.
    world.write("state", "a file");
    let ran = ask(&world, " --state state", &lines[..2]);
    assert_eq!(answers(&ran), expected(&[("could-not-tell", 3), ("could-not-tell", 3)]));
}
