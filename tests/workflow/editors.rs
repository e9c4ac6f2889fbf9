//! Files as editors, copying and other programs leave them: read correctly, or refused with the cause.

use crate::program::World;

/// With a byte order mark, CRLF, and white space at the end.
fn spoilt(world: &World, name: &str) {
    let text = String::from_utf8(world.read(name)).unwrap();
    let mode = std::fs::metadata(world.path(name)).unwrap().permissions();
    world.write(name, format!("\u{feff}{}\r\n", text.replace('\n', "\r\n")));
    std::fs::set_permissions(world.path(name), mode).unwrap();
}

fn utf16(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn marks_and_line_ends_of_other_systems_are_read() {
    let world = World::new();
    for name in ["log.key", "log.vkey", "log.mldsa.key", "log.mldsa.vkey", "treehead.toml", "publishers.toml"]
    {
        spoilt(&world, &format!("log/{name}"));
    }
    // In the style of `openssl pkey -text`.
    let pem = world.read("publisher.pem");
    world.write("publisher.pem", [&pem, b"ED25519 Private-Key:\npriv:\n    00:11\n".as_slice()].concat());
    world.chmod("publisher.pem", 0o600);
    spoilt(&world, "publisher.pem");
    spoilt(&world, "publisher.pub");
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    let line = |sequence: u64| {
        let digest = treehead::merkle::Hash::digest(&sequence.to_be_bytes()).to_hex();
        format!(
            "{{\"purl\":\"pkg:generic/example/scanner@{sequence}.0\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":{sequence},\"artifacts\":[{{\"name\":\"x\",\"sha256\":\"{digest}\"}}]}}\n"
        )
    };
    world.write("releases.jsonl", line(2) + &line(3));
    spoilt(&world, "releases.jsonl");
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url)).done();
    assert_eq!(server.tree_size(), 3);
    // The publisher has these keys already: none is added twice.
    world
        .run("publisher add log --name other --key publisher.pub --purl pkg:generic/x --kind build")
        .failed(2, "it is vendor's");
    world.run("inspect log/log.vkey").done();
    let policy = world.run("policy log").done().stdout;
    assert!(!policy.contains('\r') && !policy.contains('\u{feff}'));
    server.terminate();
}

#[test]
fn what_is_not_taken_is_refused_with_its_cause() {
    let world = World::new();
    world.write("wide.policy", utf16(&world.read("log/endpoint.policy")));
    world.run("inspect wide.policy").failed(2, "");
    for (file, command, says) in [
        (
            "log/treehead.toml",
            "policy log",
            "log/treehead.toml: a configuration is malformed: expected UTF-8, saw UTF-16",
        ),
        (
            "log/publishers.toml",
            "publisher list log",
            "publishers.toml: a publishers file is malformed: expected UTF-8, saw UTF-16",
        ),
        (
            "log/log.vkey",
            "policy log",
            "log/log.vkey: a verifier key is malformed: expected UTF-8, saw UTF-16",
        ),
        (
            "log/log.key",
            "serve log --listen 127.0.0.1:0",
            "log/log.key: a key is malformed: expected UTF-8, saw UTF-16",
        ),
        (
            "publisher.pem",
            "publish log/log.vkey --log http://127.0.0.1:1 --key publisher.pem --kind build --purl pkg:generic/example/a@1 --channel c --sequence 1",
            "publisher.pem: a publisher's secret key is malformed: expected UTF-8, saw UTF-16",
        ),
        (
            "log/endpoint.policy",
            "backup log out",
            "endpoint.policy: a policy is malformed at line 1: expected UTF-8 without a byte order mark, saw UTF-16",
        ),
    ] {
        let (whole, mode) = (world.read(file), std::fs::metadata(world.path(file)).unwrap().permissions());
        world.write(file, utf16(&whole));
        let ran = world.run(command).failed(2, says);
        assert!(!ran.stderr.contains("PRIVATE"), "{ran:?}");
        world.write(file, whole);
        std::fs::set_permissions(world.path(file), mode).unwrap();
    }
}

#[test]
fn settings_that_can_t_be_meant_are_named_with_line_key_and_block() {
    let world = World::new();
    world.run("witness init w --name w.example.com/w1 --listen 127.0.0.1:9001").done();
    let card = String::from_utf8(world.read("w/card.toml")).unwrap();
    let settings = String::from_utf8(world.read("log/treehead.toml")).unwrap() + "quorum = 1\n\n" + &card;
    let line_of =
        |text: &str, start: &str| 1 + text.lines().position(|line| line.starts_with(start)).unwrap();
    for (from, to, place, says) in [
        ("listen = ", "listen = \"1234\" # ", "`listen`", "expected HOST:PORT, as in 127.0.0.1:8080"),
        ("origin = ", "origin = \"a b\" # ", "`origin`", "saw \"a b\""),
        ("profile = ", "profile = \"any\" # ", "`profile`", "expected release or opaque, saw \"any\""),
        (
            "publish_interval_ms = ",
            "publish_interval_ms = 0 # ",
            "`publish_interval_ms`",
            "from 1 to 5000, saw 0",
        ),
        (
            "publish_interval_ms = ",
            "publish_interval_ms = \"x\" # ",
            "`publish_interval_ms`",
            "saw invalid type",
        ),
        ("publish_interval_ms = ", "publish_intervall = 1 # ", "`publish_intervall`", "saw unknown field"),
        ("quorum = ", "quorum = 2 # ", "`quorum`", "a quorum from 1 to 1, the number of witnesses, saw 2"),
        ("url = ", "url = \"nowhere\" # ", "`url` of witness \"w.example.com/w1\"", "saw \"nowhere\""),
        ("name = ", "name = \"none\" # ", "`name` of witness \"none\"", "saw \"none\""),
        (
            "vkeys = ",
            "vkeys = [\"x\"]\n# ",
            "`vkeys` of witness \"w.example.com/w1\"",
            "a verifier key is malformed",
        ),
    ] {
        let mut wrong = settings.replacen(from, to, 1);
        if from == "vkeys = " {
            wrong = wrong[..wrong.find("\n# [").unwrap()].to_owned() + "\n";
        }
        let line = line_of(&wrong, to.split('=').next().unwrap());
        world.write("log/treehead.toml", &wrong);
        let ran = world.run("policy log").failed(2, says);
        let place = format!("malformed at line {line}, {place}: ");
        assert!(
            ran.stderr.starts_with("error: log/treehead.toml: ") && ran.stderr.contains(&place),
            "{place}: {ran:?}"
        );
    }
    let own = String::from_utf8(world.read("w/treehead-witness.toml")).unwrap();
    for (from, to, place) in [
        ("listen = ", "listen = \"9001\" # ", "`listen`"),
        ("name = ", "name = \"a+b\" # ", "`name`"),
        ("post_quantum = ", "post_quantum = 1 # ", "`post_quantum`"),
    ] {
        let wrong = own.replacen(from, to, 1);
        let line = line_of(&wrong, to.split('=').next().unwrap());
        world.write("w/treehead-witness.toml", &wrong);
        let ran = world.run("witness add-log w log/log.vkey");
        assert_eq!(ran.exit, 2, "{ran:?}");
        assert!(ran.stderr.contains("w/treehead-witness.toml: a"), "{ran:?}");
        assert!(ran.stderr.contains(&format!("malformed at line {line}, {place}: ")), "{ran:?}");
    }
    world.write("card.toml", card.replace("url = ", "uri = "));
    for (url, name) in [("http://a:b@c", "other"), ("http://a/?x", "other")] {
        world.run(&format!("witness init w9 --name {name} --url {url}")).failed(2, "--url: expected a URL");
    }
    let ran = world.run("init other --origin other.example.com --witness card.toml --quorum 1");
    assert!(
        ran.stderr.contains("card.toml: a witness's card is malformed at line 4, `uri` of witness"),
        "{ran:?}"
    );
}
