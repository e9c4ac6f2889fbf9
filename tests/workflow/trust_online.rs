//! Trust files that an endpoint learns from the log, and from files that come with an artifact.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use treehead::client::{LogClient, Wait};
use treehead::endpoint::{MAX_TRUST_STEPS, TRUST_CHANNEL};
use treehead::merkle::Hash;
use treehead::release::{Envelope, Kind, Purl, Release, Subject};

use crate::common::releases::scanner;
use crate::program::{Server, World};
use crate::trust::{PACKAGE, make, make_with, world};
use crate::withdrawn::publisher;

/// Serves files on loopback, and counts the requests.
struct Files {
    url: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
}

impl Files {
    fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Mutex<Shared>>::default();
        let own = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(&mut stream.unwrap(), &own);
            }
        });
        Self { url, shared }
    }

    fn put(&self, path: &str, content: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
        self.put_answer(path, &[head.as_bytes(), content].concat());
    }

    fn put_answer(&self, path: &str, answer: &[u8]) {
        self.shared.lock().unwrap().answers.insert(path.to_owned(), answer.to_vec());
    }

    fn asked(&self) -> usize {
        self.shared.lock().unwrap().asked.len()
    }
}

fn answer(stream: &mut TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut shared = shared.lock().unwrap();
    shared.asked.push(path.clone());
    let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    stream.write_all(shared.answers.get(&path).unwrap_or(&missing))
}

/// Publishes a trust file under the one before.
fn publish(world: &World, server: &Server, number: u64, more: &str) {
    let current = number - 1;
    let how = format!("--current {current}.trust --log {} --key publisher.pem", server.url);
    world.run(format!("trust publish {number}.trust {how} {more}").trim_end()).done();
}

fn remembers(world: &World, number: u64) {
    assert_eq!(world.read("state/endpoint.trust"), world.read(&format!("{number}.trust")), "{number}");
}

#[test]
fn an_endpoint_that_is_online_learns_all_newer_trust_files() {
    let (world, server) = world();
    let files = Files::serve();
    (1..=5).for_each(|number| make(&world, number));
    world.publish(&server, "a.bin", "a", 1).done();
    let online = format!("--trust 1.trust --state state --online {}", server.url);
    // There is nothing newer.
    let ran = world.run(&format!("verify a.bin {online} --json")).done();
    assert_eq!(ran.json()["trust"], serde_json::json!({ "number": 1, "before": 1, "unlearned": null }));
    for number in 2..=3 {
        files.put(&format!("/{number}.trust?a=b"), &world.read(&format!("{number}.trust")));
        publish(&world, &server, number, &format!("--url {}/{number}.trust?a=b", files.url));
    }
    let ran = world.run(&format!("verify a.bin {online} --json")).done();
    assert_eq!(ran.json()["trust"], serde_json::json!({ "number": 3, "before": 1, "unlearned": null }));
    assert!(ran.stderr.contains("learned trust file 3, which counts instead of 1"), "{ran:?}");
    remembers(&world, 3);
    assert_eq!(files.asked(), 2);
    let ran = world.run(&format!("trust update 1.trust --state state --online {}", server.url)).done();
    assert_eq!(ran.stdout, "trusts 3 already\n");

    // The log has the next one, and nobody says where it lies: the verdict is as good as before.
    publish(&world, &server, 4, "");
    let ran = world.run(&format!("verify a.bin {online} --json")).done();
    let told = ran.json()["trust"].clone();
    assert_eq!((&told["number"], &told["unlearned"]["number"]), (&3.into(), &4.into()), "{told}");
    assert_eq!(told["unlearned"]["code"], "not-at-hand");
    for says in ["has number 4 as leaf 3", "trust update 1.trust --new FILE --online --state state"] {
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
    }
    remembers(&world, 3);
    // Whoever brings the file needs no proof file.
    let update = format!("trust update 1.trust --state state --online {}", server.url);
    world.run(&update).failed(3, "no release says where it lies");
    let json = world.run(&format!("{update} --json"));
    assert_eq!((json.exit, &json.json()["learned"]), (3, &false.into()));
    world.run(&format!("{update} --new 5.trust")).failed(3, "has number 4");
    assert_eq!(world.run(&format!("{update} --new 4.trust")).done().stdout, "trusts 4 instead of 3\n");
    remembers(&world, 4);

    // A gate that is online learns, too.
    files.put("/5.trust", &world.read("5.trust"));
    publish(&world, &server, 5, &format!("--url {}/5.trust", files.url));
    let settings = |online: bool| {
        let log = if online { format!("online = true\nlog = '{}'\n", server.url) } else { String::new() };
        world.write("gate.toml", format!("trust = '1.trust'\nstate = 'state'\n{log}"));
    };
    settings(false);
    world.run("gate --config gate.toml a.bin").done();
    remembers(&world, 4);
    settings(true);
    let ran = world.run("gate --config gate.toml a.bin").done();
    assert!(ran.stderr.contains("learned trust file 5, which counts instead of 4"), "{ran:?}");
    remembers(&world, 5);
}

#[test]
fn a_file_that_is_not_what_the_log_has_is_not_learned_and_changes_no_verdict() {
    let (world, server) = world();
    let files = Files::serve();
    (1..=3).for_each(|number| make(&world, number));
    world.publish(&server, "a.bin", "a", 1).done();
    publish(&world, &server, 2, &format!("--url {}/2.trust", files.url));
    let verify = format!("verify a.bin --trust 1.trust --state state --online {}", server.url);
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 5 * 1024 * 1024);
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {}/3\r\nContent-Length: 0\r\n\r\n", files.url);
    let other = world.read("3.trust");
    let other =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", other.len()).as_bytes(), &other].concat();
    for (answer, says) in [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "answered 404"),
        (huge.into_bytes(), "4194304 bytes"),
        (moved.into_bytes(), "redirected to"),
        (other, "/2.trust has another file"),
        (b"nonsense".to_vec(), "no answer from"),
    ] {
        files.put_answer("/2.trust", &answer);
        let ran = world.run(&verify).done();
        assert!(ran.stderr.contains("has number 2 as leaf 1"), "{says}: {ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
        assert!(!world.path("state/endpoint.trust").exists(), "{says}");
    }
    files.put("/2.trust", &world.read("2.trust"));
    world.run(&verify).done();
    remembers(&world, 2);
    // Without an answer of the log, what would pass offline passes as far as trust goes, and `trust update` could not tell.
    server.terminate();
    let update = format!("trust update 1.trust --state state --online http://{}", World::free_address());
    world.run(&update).failed(3, "could not ask for newer trust files");
    world.run("trust update 1.trust --state state --online").failed(3, "has no address of a log");
    world.run("verify a.bin --trust 1.trust --state state").done();
}

/// Two of two have to sign: until they have, nothing is fetched, and then their entries are counted together.
#[test]
fn an_endpoint_fetches_only_what_enough_publishers_signed() {
    let (world, mut server) = world();
    let files = Files::serve();
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind trust";
    world.run(&format!("publisher add log {add}")).done();
    server.hang_up();
    let rule = format!("--package {PACKAGE} --may-change vendor second --at-least 2");
    (1..=2).for_each(|number| make_with(&world, number, &rule));
    world.publish(&server, "a.bin", "a", 1).done();
    files.put("/2.trust", &world.read("2.trust"));
    let line = |key: &str, more: &str| {
        let how = format!("--current 1.trust --log {} --key {key}.pem", server.url);
        format!("trust publish 2.trust {how} --url {}/2.trust {more}", files.url)
    };
    let (size, short) = (server.tree_size(), "signed or sent; with --partial");
    world.run(line("publisher", "").trim_end()).refused("trust-too-few-signers").failed(1, short);
    assert_eq!(server.tree_size(), size);
    let ran = world.run(&line("publisher", "--partial")).done();
    assert!(ran.stderr.contains("signed by vendor, of 2 of (vendor, second): not enough alone"), "{ran:?}");
    assert!(ran.stdout.contains("publish it with the other signers and --name OTHER"), "{ran:?}");
    let verify = format!("verify a.bin --trust 1.trust --state state --online {} --json", server.url);
    let ran = world.run(&verify).done();
    let told = ran.json()["trust"]["unlearned"].clone();
    assert_eq!((&told["code"], &told["number"]), (&"trust-too-few-signers".into(), &serde_json::Value::Null));
    assert!(ran.stderr.contains("has a release of trust file 2 that does not count: too few"), "{ran:?}");
    assert_eq!(files.asked(), 0, "nobody is asked for it yet");
    // The same file under its own name adds nothing to the log's entry.
    let ran = world.run(&line("second", "--partial")).done();
    assert!(ran.stdout.contains("the log already had it"), "{ran:?}");
    world.run(&line("second", "--partial --name again.trust --out second.tlog-proof")).done();
    assert_eq!(world.run(&verify).done().json()["trust"]["number"], 2);
    assert_eq!(files.asked(), 1);
    remembers(&world, 2);
}

#[test]
fn trust_files_that_come_with_an_artifact_are_learned_first() {
    let (world, mut server) = world();
    make(&world, 1);
    world.run("keygen publisher --name second --out second.pem").done();
    let add = "--name second --key second.pub --purl pkg:generic/example/* --kind build";
    world.run(&format!("publisher add log {add}")).done();
    server.hang_up();
    (2..=3).for_each(|number| make(&world, number));
    publish(&world, &server, 2, "--out 2.trust.tlog-bundle");
    publish(&world, &server, 3, "");
    world.write("b.bin", "b");
    let what = "--kind build --purl pkg:generic/example/other@1 --channel stable --sequence 1";
    world.run(&format!("publish b.bin {what} --log {} --key second.pem", server.url)).done();
    server.terminate();
    let verify = "verify b.bin --trust 1.trust --state state";
    world.run(verify).refused("unknown-publisher");
    // One between is missing: nothing is judged.
    world
        .run(&format!("{verify} --learn 3.trust"))
        .refused("trust-gap")
        .failed(1, "3.trust: trust files are missing");
    let ran = world.run(&format!("{verify} --learn 3.trust --learn 2.trust")).done();
    assert!(ran.stderr.contains("learned trust file 3, which counts instead of 2"), "{ran:?}");
    remembers(&world, 3);
    // Whoever ships all of them ships old ones, too.
    let ran = world.run(&format!("{verify} --learn 3.trust --learn 2.trust")).done();
    assert!(!ran.stderr.contains("learned"), "{ran:?}");
    world.run("verify b.bin --trust 1.trust --learn 2.trust").failed(2, "--state");
}

/// What `trust publish` refuses before anything is signed or sent.
#[test]
fn a_trust_file_that_could_never_be_taken_is_not_published() {
    let (world, server) = world();
    (1..=4).for_each(|number| make(&world, number));
    world.run("keygen publisher --name stranger --out stranger.pem").done();
    let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
    world.run(&format!("trust make {files} --out fixed.trust")).done();
    world.run(&format!("trust make {files} --number 2 --out fixed2.trust")).done();
    let other = "--package pkg:generic/example/other --may-change vendor --at-least 1";
    world.run(&format!("trust make {files} --number 2 {other} --out other.trust")).done();
    let publish =
        |new: &str, more: &str| world.run(&format!("trust publish {new} --log {} {more}", server.url));
    let by = "--key publisher.pem";
    publish("1.trust", &format!("--current 2.trust {by}"))
        .refused("trust-rollback")
        .failed(1, "nothing was signed");
    publish("4.trust", &format!("--current 2.trust {by}")).refused("trust-gap");
    publish("2.trust", &format!("--current 2.trust {by}")).failed(2, "both files are trust file 2");
    publish("2.trust", &format!("--current fixed.trust {by}")).refused("trust-not-replaceable");
    publish("other.trust", &format!("--current 1.trust {by}")).refused("trust-other-package");
    let stranger = "--current 1.trust --key stranger.pem --partial";
    publish("2.trust", stranger).refused("trust-too-few-signers").failed(1, "saw none of them");
    publish("1.trust", by).failed(2, "trust file 1 replaces none");
    publish("fixed2.trust", by).failed(2, "expected --current FILE");
    publish("log/endpoint.policy", by).failed(2, "a trust file");
    for url in ["ftp://x/y", "2.trust", "http://x/#y"] {
        publish("2.trust", &format!("--url {url} {by}")).failed(2, "expected the file's address");
    }
    // A log that the file before does not trust.
    let other = World::new();
    let elsewhere = other.serve();
    let line = format!("trust publish 2.trust --current 1.trust {by} --log {}", elsewhere.url);
    world.run(&line).failed(3, "nothing was sent");
    assert_eq!((server.tree_size(), elsewhere.tree_size()), (0, 0));

    // Shown, and not sent.
    let ran =
        publish("2.trust", &format!("--current 1.trust {by} --url https://example.com/2.trust --dry-run"))
            .done();
    assert!(ran.stdout.contains("at        https://example.com/2.trust\n"), "{ran:?}");
    assert!(ran.stdout.contains("trust, sequence 2\n"), "{ran:?}");
    assert_eq!(server.tree_size(), 0);
    // Sent, with a rule that says so, and without the file before.
    let ran = publish("2.trust", &format!("--current 1.trust {by} --json")).done();
    let json = ran.json();
    assert_eq!((&json["number"], &json["takes_effect"]), (&2.into(), &true.into()), "{json}");
    assert_eq!(json["changes"][0], "signed by vendor, of 1 of (vendor): enough", "{json}");
    world.run("trust update 1.trust --new 2.trust --proof 2.trust.tlog-proof --state state").done();
    publish("3.trust", by).done();
    world.run("trust update 1.trust --new 3.trust --proof 3.trust.tlog-proof --state state").done();
    let shown = world.run("inspect 3.trust.tlog-proof").done().stdout;
    assert!(shown.contains(&format!("{PACKAGE}@3")), "{shown}");
}

/// A log ends, and the next trust file names its successor, which has another origin and other keys.
#[test]
fn a_log_ends_and_names_its_successor() {
    let (world, server) = world();
    world.publish(&server, "old.bin", "old", 1).done();
    make(&world, 1);
    let origin = "log2.example.com/releases";
    world.run(&format!("init log2 --origin {origin}")).done();
    world.write("log2/publishers.toml", world.read("log/publishers.toml"));
    let next = world.start("serve log2 --listen 127.0.0.1:0");
    // The second file trusts both, the third one the successor alone.
    let policy = |logs: &[(&str, &str)]| {
        let lines = logs.iter().flat_map(|(dir, url)| {
            ["log.vkey", "log.mldsa.vkey"].map(|key| {
                let key = String::from_utf8(world.read(&format!("{dir}/{key}"))).unwrap();
                format!("log {} {url}\n", key.trim())
            })
        });
        lines.collect::<String>() + "quorum none\n"
    };
    let both = policy(&[("log", &server.url), ("log2", &next.url)]);
    let rule =
        format!("--publishers log/publishers.toml --package {PACKAGE} --may-change vendor --at-least 1");
    for (number, policy) in [(2, both), (3, policy(&[("log2", &next.url)]))] {
        world.write("next.policy", policy);
        world
            .run(&format!("trust make --policy next.policy --number {number} {rule} --out {number}.trust"))
            .done();
    }
    let told = world.run("trust diff 1.trust 2.trust").done().stdout;
    assert_eq!(told.matches(&format!("  + log {origin} by key ")).count(), 2, "{told}");
    publish(&world, &server, 2, "");
    let update = |number: u64, state: &str| {
        let files = format!("--new {number}.trust --proof {number}.trust.tlog-proof");
        world.run(&format!("trust update 1.trust {files} --state {state}"))
    };
    update(2, "state").done();
    // The old log ends. What it proved stays good, and the new one goes on.
    server.terminate();
    world.write("new.bin", "new");
    let what = "--kind build --purl pkg:generic/example/scanner@2.0 --channel stable --sequence 2";
    world.run(&format!("publish new.bin {what} --log {} --key publisher.pem", next.url)).done();
    for file in ["old.bin", "new.bin"] {
        world.run(&format!("verify {file} --trust 1.trust --state state")).done();
    }
    // Who was away refuses the new log until it takes the file whose proof the old log made.
    world.run("verify new.bin --trust 1.trust --state away").refused("unknown-log");
    world.run("verify old.bin --trust 1.trust --state away").done();
    publish(&world, &next, 3, "");
    update(3, "away").refused("trust-gap");
    update(2, "away").done();
    // The third is proven by the new log, under the second, which says where it is asked.
    let ran = world.run("trust update 1.trust --new 3.trust --online --state away").done();
    assert_eq!(ran.stdout, "trusts 3 instead of 2\n");
    world.run("verify new.bin --trust 1.trust --state away").done();
    world.run("verify old.bin --trust 1.trust --state away").refused("unknown-log");
}

/// An endpoint that was off for years needs a few calls, and none of them goes on for ever.
#[test]
fn many_trust_files_are_learned_in_several_calls() {
    let (world, server) = world();
    let files = Files::serve();
    make(&world, 1);
    let (key, log) = (publisher(&world), LogClient::new(&server.url).unwrap());
    let first = String::from_utf8(world.read("1.trust")).unwrap();
    let last = 1 + MAX_TRUST_STEPS + 2;
    let releases = (2..=last).map(|number| {
        let file = first.replacen("\"number\":1,", &format!("\"number\":{number},"), 1);
        files.put(&format!("/{number}"), file.as_bytes());
        let release = Release {
            subjects: vec![Subject {
                name: "endpoint.trust".to_owned(),
                sha256: Hash::digest(file.as_bytes()),
            }],
            purl: Purl::parse(&format!("{PACKAGE}@{number}")).unwrap(),
            kind: Kind::Trust,
            channel: TRUST_CHANNEL.to_owned(),
            sequence: number,
            location: Some(format!("{}/{number}", files.url)),
            ..scanner(1)
        };
        Envelope::sign(release.to_payload().unwrap(), &[&key]).unwrap().to_entry()
    });
    for entry in releases {
        log.append(&entry, Wait::Published).unwrap();
    }
    let update = format!("trust update 1.trust --state state --online {}", server.url);
    world.run(&update).failed(3, "there may be newer trust files after number 65");
    assert_eq!(files.asked(), 64, "the next one is not fetched");
    assert_eq!(world.run(&update).done().stdout, format!("trusts {last} instead of 65\n"));
}
