//! `treehead publish --sequence auto`, `time` and `--dry-run`.

use serde_json::json;

use crate::common::proxy::Proxy;
use crate::monitoring::events;
use crate::program::{Ran, Server, World};

/// Publishes a file with this content as this version, in the channel `stable`.
fn publish(world: &World, url: &str, content: &str, more: &str) -> Ran {
    world.write(&format!("{content}.bin"), content);
    world.run(&line(url, content, more))
}

fn line(url: &str, content: &str, more: &str) -> String {
    format!(
        "publish {content}.bin --log {url} --key publisher.pem --kind build --purl pkg:generic/example/scanner@{content} --channel stable {more}"
    )
}

fn release(world: &World, server: &Server, content: &str, sequence: &str) -> serde_json::Value {
    publish(world, &server.url, content, &format!("--sequence {sequence} --json")).done().json()
}

#[test]
fn auto_takes_the_next_number_and_run_again_it_adds_nothing() {
    let world = World::new();
    let server = world.serve();
    assert_eq!(release(&world, &server, "a", "auto")["sequence"], 1);
    let second = publish(&world, &server.url, "b", "--sequence auto").done();
    assert!(second.stdout.contains("\nsequence 2 of channel stable, after 1\n"), "{second:?}");
    let again = release(&world, &server, "b", "auto");
    assert_eq!(
        (&again["sequence"], &again["index"], &again["duplicate"]),
        (&2.into(), &1.into(), &true.into())
    );
    // It is no longer the latest, and a release like any other.
    release(&world, &server, "c", "auto");
    assert_eq!(release(&world, &server, "b", "auto")["sequence"], 4);
    // Each channel counts for itself.
    let beta = line(&server.url, "b", "--sequence auto --json").replace("stable", "beta");
    assert_eq!(world.run(&beta).done().json()["sequence"], 1);
    release(&world, &server, "d", "70");
    assert_eq!(release(&world, &server, "e", "auto")["sequence"], 71);
}

#[test]
fn of_many_at_once_each_gets_a_number_of_its_own() {
    let world = World::new();
    let server = world.serve();
    let contents: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let publish = |content| release(&world, &server, content, "auto")["sequence"].as_u64().unwrap();
        let running: Vec<_> = contents.iter().map(|content| scope.spawn(move || publish(content))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    // The log has them in this order.
    world.monitor("m", &server.url, "");
    let told = events(&world.once("m").stdout);
    assert!(told.iter().all(|event| !event["event"].as_str().unwrap().starts_with("sequence")), "{told:?}");
}

#[test]
fn a_number_that_the_log_makes_up_is_not_signed_after() {
    let world = World::new();
    let server = world.serve();
    release(&world, &server, "a", "auto");
    let liar = Proxy::before(&server.url, |path| {
        path.starts_with("/sequence").then(|| {
            let answer = json!({ "highest": (1_u64 << 53) - 2, "index": 0 });
            (200, answer.to_string().into_bytes())
        })
    });
    let ran = publish(&world, &liar.url, "b", "--sequence auto").failed(3, "that this key signed");
    assert!(
        ran.stderr.contains("leaf 0 is no release of this package and channel with that number"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("nothing was sent: give the number"), "{ran:?}");
    assert_eq!(server.tree_size(), 1);
    // A sequence number under another key of the same publisher is not used: this key can't check it.
    world.run("keygen publisher --name vendor --out second.pem").done();
    let second = String::from_utf8(world.read("second.pub")).unwrap();
    let publishers = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    world.write("log/publishers.toml", format!("{publishers}\n[[publisher.key]]\npem = '''\n{second}'''\n"));
    drop(server);
    let server = world.serve();
    let rotated =
        |more: &str| world.run(&line(&server.url, "b", more).replace("publisher.pem", "second.pem"));
    rotated("--sequence auto").failed(3, "that this key signed: ").failed(3, "--sequence 2");
    rotated("--sequence 2").done();
    world.write("c.bin", "c");
    let next = line(&server.url, "c", "--sequence auto --json").replace("publisher.pem", "second.pem");
    assert_eq!(world.run(&next).done().json()["sequence"], 3);
}

#[test]
fn the_time_is_a_number_that_grows() {
    let world = World::new();
    let server = world.serve();
    let first = release(&world, &server, "a", "time")["sequence"].as_u64().unwrap();
    assert_eq!(first.to_string().len(), 14, "{first}");
    assert!(first > 20_260_000_000_000 && first < 99_991_231_235_959, "{first}");
    let second = release(&world, &server, "b", "time");
    assert!(second["sequence"].as_u64().unwrap() > first, "also within a second");
    assert_eq!(second["highest"], first);
    let again = release(&world, &server, "b", "time");
    assert_eq!((&again["sequence"], &again["duplicate"]), (&second["sequence"], &true.into()));
    release(&world, &server, "c", "99991231235959");
    let ran = publish(&world, &server.url, "d", "--sequence time")
        .failed(2, "saw 99991231235959; nothing was sent");
    assert!(ran.stderr.contains("--sequence auto"), "{ran:?}");
    assert_eq!(release(&world, &server, "d", "auto")["sequence"], 99_991_231_235_960_u64);
    assert_eq!(server.tree_size(), 4);
}

#[test]
fn a_number_below_the_highest_is_taken_and_told() {
    let world = World::new();
    let server = world.serve();
    release(&world, &server, "a", "20261128103001");
    let ran = publish(&world, &server.url, "b", "--sequence 2").done();
    assert!(ran.stdout.contains("\nsequence 2 of channel stable, after 20261128103001\n"), "{ran:?}");
    assert!(ran.stderr.contains("warning (sequence-below-highest): 2 is below 20261128103001"), "{ran:?}");
    let json = release(&world, &server, "c", "3");
    assert_eq!(
        (&json["highest"], &json["warnings"][0]["code"]),
        (&20_261_128_103_001_u64.into(), &"sequence-below-highest".into())
    );
    // Each of many is reported.
    let sha256 = treehead::merkle::Hash::digest(b"d").to_hex();
    let object = json!({
        "purl": "pkg:generic/example/scanner@d", "kind": "build", "channel": "stable", "sequence": 4,
        "artifacts": [{ "name": "d.bin", "sha256": sha256 }],
    });
    world.write("releases.jsonl", format!("{object}\n"));
    let many = format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url);
    let ran = world.run(&many).done();
    assert!(ran.stderr.contains("line 1: warning (sequence-below-highest): 4 is below"), "{ran:?}");
}

#[test]
fn a_dry_run_shows_everything_and_sends_nothing() {
    let world = World::new();
    let server = world.serve();
    let dry = |content: &str, sequence: &str| {
        publish(&world, &server.url, content, &format!("--sequence {sequence} --dry-run"))
    };
    let ran = dry("a", "auto").done();
    assert!(
        ran.stdout.starts_with("a release statement\nrelease   pkg:generic/example/scanner@a\n"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("channel   stable, sequence 1\n"), "{ran:?}");
    assert!(
        ran.stdout.ends_with(
            "highest   none: it would be the first of this package and channel\nnothing was sent\n"
        )
    );
    release(&world, &server, "a", "7");
    let ran = dry("b", "auto").done();
    assert!(ran.stdout.contains("sequence 8\n") && ran.stdout.contains("highest   7 so far\n"), "{ran:?}");
    assert_eq!(ran.stderr, "for log.example.com/releases\n");
    for (content, sequence, code) in
        [("a", "7", "duplicate"), ("b", "7", "sequence-taken"), ("b", "2", "sequence-below-highest")]
    {
        let ran = dry(content, sequence).done();
        assert!(ran.stderr.contains(&format!("warning ({code}): ")), "{code}: {ran:?}");
    }
    let json = publish(&world, &server.url, "b", "--sequence 2 --dry-run --json").done().json();
    let seen = (&json["dry_run"], &json["highest"], &json["sequence"], &json["warnings"][0]["code"]);
    assert_eq!(seen, (&true.into(), &7.into(), &2.into(), &"sequence-below-highest".into()));
    // A dry run fails where the real one would.
    world
        .run(&format!("{} --out no/such/x", line(&server.url, "b", "--sequence 8 --dry-run")))
        .failed(3, "could not write");
    assert!(!world.path("b.bin.tlog-proof").exists());
    assert_eq!(server.tree_size(), 1);
}

#[test]
fn a_log_that_knows_no_numbers_says_so() {
    let world = World::opaque();
    world.run("keygen publisher --name vendor --out publisher.pem").done();
    let server = world.serve();
    publish(&world, &server.url, "a", "--sequence auto")
        .failed(3, "give one with --sequence N; nothing was sent");
    publish(&world, &server.url, "a", "--sequence 1").done();
    assert_eq!(server.tree_size(), 1);
}
