//! `treehead load`: its figures, and how it catches a log that breaks its promises.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treehead::load::{self, Answers, Entries, Plan, Target};

#[path = "../../benches/common/fetch.rs"]
#[allow(dead_code, reason = "the benches use all of it")]
mod fetch;

use crate::middleman::{Middleman, Told};
use crate::program::{Ran, Server, World};

fn load(world: &World, url: &str, options: &str) -> Ran {
    world.run(&format!("load --log {url} {options}"))
}

/// The JSON object of a successful run.
fn done(world: &World, url: &str, options: &str) -> Value {
    let json = load(world, url, &format!("{options} --json")).done().json();
    assert_eq!((&json["ok"], &json["verified"]["ok"]), (&json!(true), &json!(true)), "{json}");
    json
}

fn number(json: &Value, field: &str) -> u64 {
    json[field].as_u64().unwrap_or_else(|| panic!("{field}: {json}"))
}

fn start(world: &World, url: &str, options: &str) -> Child {
    let mut command = world.command(&format!("load --log {url} {options}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Ran { exit: output.status.code().expect("no signal"), stdout, stderr }
}

fn wait_for_leaves(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.tree_size() == 0 {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An opaque log, and a proxy that lies about its answers.
fn lying(lie: impl Fn(u64, String) -> Told + Send + Sync + 'static) -> (World, Server, Middleman) {
    let world = World::opaque();
    let server = world.serve();
    let middleman = Middleman::before(&server.url, lie);
    (world, server, middleman)
}

#[test]
fn what_was_acknowledged_is_in_the_log() {
    let world = World::opaque();
    let server = world.serve();
    let json = done(&world, &server.url, "--writers 8 --duration 1s --size 100 --vkey log/log.vkey");
    let entries = number(&json, "acknowledged");
    assert!(entries >= 8, "{json}");
    assert_eq!(number(&json, "tree_size_before"), 0);
    assert_eq!((number(&json, "tree_size_after"), server.tree_size()), (entries, entries));
    assert_eq!(number(&json["latency"], "count"), entries);
    assert_eq!((number(&json, "remembered"), number(&json["verified"], "indices")), (entries, entries));
    assert_eq!(json["verified"]["signature"], true);
    assert_eq!((&json["errors"], number(&json["busy"], "count")), (&json!([]), 0));
    // Again, on a tree that exists, with output in words.
    let ran = load(&world, &server.url, "--writers 2 --duration 1s --wait sequenced --check all").done();
    assert!(ran.stdout.contains(&format!("tree          {entries} leaves before, ")), "{ran:?}");
    assert!(ran.stdout.contains("signature not checked (no --policy or --vkey)"), "{ran:?}");
    assert_eq!(ran.stderr, "", "no progress line without a terminal");
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
}

#[test]
fn batches_and_a_rate() {
    let world = World::opaque();
    let server = world.serve();
    let options = "--writers 4 --duration 1s --batch 100 --size 16 --policy log/endpoint.policy";
    let json = done(&world, &server.url, options);
    assert_eq!(number(&json, "acknowledged"), 100 * number(&json, "requests"), "{json}");
    let before = server.tree_size();
    let json = done(&world, &server.url, "--writers 16 --duration 1s --rate 40");
    let sent = number(&json, "acknowledged") + number(&json, "unsent");
    assert_eq!((sent, server.tree_size() - before), (40, number(&json, "acknowledged")), "{json}");
}

#[test]
fn statements_for_a_log_of_releases() {
    let world = World::new();
    let server = world.serve();
    let signed = "--key publisher.pem --purl pkg:generic/example/load@1.0.0";
    let json = done(&world, &server.url, &format!("{signed} --writers 8 --duration 1s --rate 50"));
    assert_eq!(number(&json, "acknowledged") + number(&json, "unsent"), 50, "{json}");
    let json =
        done(&world, &server.url, &format!("{signed} --writers 2 --duration 1s --rate 100 --batch 10"));
    assert_eq!(json["errors"], json!([]), "a later run has later sequence numbers: {json}");
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
    // Without the key, with a key that the log does not know, and without the right.
    load(&world, &server.url, "--duration 1s").failed(2, "give --key FILE and --purl PURL");
    world.run("keygen publisher --name stranger --out stranger.pem").done();
    let stranger = signed.replace("publisher.pem", "stranger.pem");
    load(&world, &server.url, &format!("{stranger} --duration 1s --rate 50")).refused("unknown-publisher");
    let other = signed.replace("example", "other");
    load(&world, &server.url, &format!("{other} --duration 1s --rate 50")).refused("publisher-not-permitted");
}

#[test]
fn a_log_that_dies_is_no_verdict_but_the_errors_are_told() {
    let world = World::opaque();
    let mut server = world.serve();
    let running = start(&world, &server.url, "--writers 8 --duration 3s");
    wait_for_leaves(&server);
    server.kill();
    let ran = finish(running).failed(3, "no answer from");
    assert!(ran.stdout.contains("connect: ") && ran.stdout.contains("verified      no"), "{ran:?}");
    assert!(ran.stdout.contains("0 leaves before, unknown after"), "{ran:?}");
    load(&world, &server.url, "--duration 1s").failed(3, "and is the address right?");
}

#[test]
fn ctrl_c_ends_the_run_and_what_was_acknowledged_is_checked() {
    let world = World::opaque();
    let server = world.serve();
    let running = start(&world, &server.url, "--writers 8 --duration 600s");
    wait_for_leaves(&server);
    let id = running.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    let ran = finish(running).done();
    assert!(ran.stderr.contains("Ctrl-C again leaves at once"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("0 leaves before, {} after", server.tree_size())), "{ran:?}");
}

#[test]
fn errors_are_counted_by_status_and_code_and_the_run_goes_on() {
    let (world, server, middleman) = lying(|n, answer| match n {
        0..3 => Told::HangUp,
        3..5 => Told::Problem(
            "503 Service Unavailable",
            "Content-Type: application/problem+json",
            json!({ "code": "storage", "detail": "no space" }).to_string(),
        ),
        5..7 => Told::Problem("500 Oops", "X: y", "what?".to_owned()),
        7 => Told::Problem("429 Too Many Requests", "Retry-After: 1", String::new()),
        _ => Told::Body(answer),
    });
    let json = done(&world, &middleman.url, "--writers 8 --duration 3s");
    let rows = json!([
        { "status": null, "code": "connection-closed", "count": 3 },
        { "status": 500, "code": "http", "count": 2 },
        { "status": 503, "code": "storage", "count": 2 },
    ]);
    assert_eq!((&json["errors"], number(&json["busy"], "count")), (&rows, 1), "{json}");
    // The entry that got the 429 was sent again, and was in this log already: its first index is its own.
    assert_eq!(number(&json, "acknowledged") + 7, server.tree_size());
}

#[test]
fn an_index_that_is_another_entrys_is_caught() {
    let (world, _server, middleman) = lying(|n, answer| match answer.trim_end().split_once('\n') {
        Some((one, other)) if n == 1 => Told::Body(format!("{other}\n{one}\n")),
        _ => Told::Body(answer),
    });
    let ran = load(&world, &middleman.url, "--writers 1 --batch 2 --duration 1s").refused("wrong-leaf");
    assert!(ran.stderr.contains("leaf 2: expected the entry ") && ran.stderr.contains("leaf 3: "), "{ran:?}");
    assert!(ran.stdout.contains("verified      no"), "{ran:?}");
}

#[test]
fn an_index_that_is_given_twice_is_caught() {
    let last = Mutex::new(None);
    let (world, _server, middleman) = lying(move |n, answer| {
        let mut last = last.lock().expect("no panic");
        let told = last.take().filter(|_| n == 3).unwrap_or_else(|| answer.clone());
        *last = Some(answer);
        Told::Body(told)
    });
    let ran = load(&world, &middleman.url, "--writers 1 --duration 1s").refused("index-twice");
    assert!(ran.stderr.contains("leaf 2 was acknowledged twice: to the entries "), "{ran:?}");
}

#[test]
fn an_index_from_before_the_run_is_caught() {
    let (world, server, middleman) =
        lying(|n, answer| Told::Body(if n == 1 { "0".to_owned() } else { answer }));
    done(&world, &server.url, "--writers 1 --duration 1s");
    let ran = load(&world, &middleman.url, "--writers 1 --duration 1s").refused("index-taken");
    assert!(ran.stderr.contains("acknowledged as leaf 0, which was there before"), "{ran:?}");
}

#[test]
fn an_index_that_no_head_ever_covers_is_caught() {
    let (world, _server, middleman) =
        lying(|n, answer| Told::Body(if n == 1 { "7777777".to_owned() } else { answer }));
    let ran = load(&world, &middleman.url, "--writers 1 --duration 1s").refused("not-in-head");
    assert!(ran.stderr.contains("leaf 7777777 was acknowledged: expected a tree head over it"), "{ran:?}");
}

#[test]
fn an_answer_that_is_no_index_is_caught() {
    let (world, _server, middleman) =
        lying(|n, answer| Told::Body(if n == 1 { "yes".to_owned() } else { answer }));
    let ran = load(&world, &middleman.url, "--writers 1 --duration 1s --json");
    assert_eq!(ran.exit, 1);
    let objects: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["ok"], objects[0]["latency"]["count"].is_u64()), (&json!(false), true));
    assert_eq!(objects[1]["code"], "answer-malformed");
}

#[test]
fn too_few_file_descriptors_are_told_with_what_to_do() {
    let world = World::opaque();
    let server = world.serve();
    let program = env!("CARGO_BIN_EXE_treehead");
    let line = format!("ulimit -n 64; exec {program} load --log {} --writers 100", server.url);
    let shell = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
    let said = String::from_utf8(shell.stderr).expect("text");
    assert_eq!(shell.status.code(), Some(3), "{said}");
    assert!(said.contains("of 100 connections") && said.contains("`ulimit -n 164`"), "{said}");
    assert_eq!(server.tree_size(), 0);
}

#[test]
fn a_head_of_another_key_is_not_believed() {
    let world = World::opaque();
    let server = world.serve();
    world.run("keygen log --name log.example.com/anything --out other.key").done();
    let ran = load(&world, &server.url, "--duration 1s --vkey other.vkey");
    // No signed head arrived, so nothing is known about the log.
    assert_eq!((ran.exit, server.tree_size()), (3, 0), "{ran:?}");
}

#[test]
fn the_engine_drives_servers_that_are_no_log_and_fetches() {
    let world = World::opaque();
    let server = world.serve();
    let middleman = Middleman::before(&server.url, |_, _| Told::Body("whatever".to_owned()));
    let target = |url| Target::parse(url).unwrap();
    let second = Duration::from_secs(1);
    let plan = Plan {
        writers: 4,
        duration: second,
        entries: Entries::Random(16),
        answers: Answers::Anything,
        ..Plan::new(target(&middleman.url))
    };
    let mut watched = 0;
    let appended = load::append(&plan, std::future::pending(), &mut |_| watched += 1).unwrap();
    assert!(appended.measured.entries >= 4 && appended.measured.errors.total() == 0);
    assert_eq!((appended.acks.seen(), appended.measured.entries), (0, server.tree_size()));
    assert!(watched > 0);
    let fetches = fetch::Fetches {
        url: server.url.clone(),
        paths: vec!["/checkpoint".to_owned(), "/tile/0/000.p/1".to_owned()],
        connections: 2,
        duration: second,
    };
    let fetched = fetch::fetch(&fetches).unwrap();
    assert!(fetched.answers > 2 && fetched.bytes > fetched.answers);
    let missing = fetch::Fetches { paths: vec!["/nothing".to_owned()], ..fetches };
    let error = fetch::fetch(&missing).err().expect("a refusal");
    assert!(error.contains("404") && error.contains("no-route"), "{error}");
}
