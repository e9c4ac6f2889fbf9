//! Settings that name witnesses: their effect on endpoints and exports, and errors in them.

use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::policy::Policy;
use treehead::checkpoint::{Checkpoint, LogSigner};
use treehead::disk::note_of;
use treehead::merkle::Hash;
use treehead::note::{KeyName, Note, NoteSigner, SignatureType};

use crate::program::{ORIGIN, World};

/// Both keys of a witness.
fn keys(number: u8) -> [NoteSigner; 2] {
    let name = KeyName::new(&format!("w{number}.example.com")).unwrap();
    [(SignatureType::CosignatureEd25519, 0), (SignatureType::CosignatureMlDsa44, 100)]
        .map(|(kind, apart)| NoteSigner::from_seed(name.clone(), kind, &[number + apart; 32]))
}

/// `$E1` and `$M1` are the Ed25519 and ML-DSA-44 vkeys of witness 1; `$L` is a log's key.
fn fill(text: &str) -> String {
    let log = NoteSigner::from_seed(KeyName::new(ORIGIN).unwrap(), SignatureType::Ed25519, &[99; 32]);
    (1..=3).fold(text.replace("$L", &log.public().to_string()), |text, number| {
        let [ed25519, ml_dsa] = keys(number);
        text.replace(&format!("$E{number}"), &ed25519.public().to_string())
            .replace(&format!("$M{number}"), &ml_dsa.public().to_string())
    })
}

fn block(number: u8) -> String {
    fill(&format!(
        "[[witness]]\nname = \"w{number}.example.com\"\nurl = \"http://127.0.0.1:900{number}\"\nvkeys = [\"$E{number}\", \"$M{number}\"]\n"
    ))
}

/// A log whose settings end with this text.
fn with_settings(world: &World, text: &str) {
    let bare = String::from_utf8(world.read("bare.toml")).unwrap();
    world.write("log/treehead.toml", format!("{bare}{}", fill(text)));
}

fn world() -> World {
    let world = World::opaque();
    world.write("bare.toml", world.read("log/treehead.toml"));
    world
}

#[test]
fn blocks_mean_a_policy_with_and_without_urls() {
    let world = world();
    let bare = world.read("log/endpoint.policy");
    assert_eq!(world.run("policy log").done().stdout.as_bytes(), bare, "init writes what the command prints");
    let third =
        "[[witness]]\nname = \"w3.example.com\"\nurl = \"https://w3.example.com/here\"\nvkeys = [\"$M3\"]\n";
    with_settings(&world, &format!("quorum = 2\n{}{}{third}", block(1), block(2)));
    let printed = world.run("policy log").done().stdout;
    assert!(printed.starts_with("# What endpoints trust") && !printed.contains("http://127"), "{printed}");
    let policy = Policy::parse(printed.as_bytes()).unwrap();
    assert_eq!(policy.quorum_in_words(), "2 of (w1.example.com, w2.example.com, w3.example.com)");
    assert_eq!(policy.witnesses().len(), 5);
    assert!(policy.witnesses().iter().all(|witness| witness.url.is_none()));
    let log_lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("log ")).map(str::to_owned).collect()
    };
    assert_eq!(log_lines(&printed), log_lines(std::str::from_utf8(&bare).unwrap()));
    assert_eq!(log_lines(&printed).len(), 2);
    let with_urls = world.run("policy log --urls").done().stdout;
    let with_urls = Policy::parse(with_urls.as_bytes()).unwrap();
    let url = |at: usize| with_urls.witnesses()[at].url.clone().unwrap();
    assert_eq!(
        [url(0), url(1), url(4)],
        ["http://127.0.0.1:9001", "http://127.0.0.1:9001", "https://w3.example.com/here"]
    );
    let json = world.run("policy log --json").done().json();
    assert_eq!(json["policy"], printed.as_str());
    // A reserved word of policy files is no name.
    let named = block(1).replace("name = \"w1.example.com\"", "name = \"quorum\"");
    with_settings(&world, &format!("quorum = 1\n{named}{}", block(2)));
    let printed = world.run("policy log").done().stdout;
    assert_eq!(
        Policy::parse(printed.as_bytes()).unwrap().quorum_in_words(),
        "1 of (quorum_, w2.example.com)"
    );
}

#[test]
fn a_file_names_the_witnesses_by_any_rule() {
    let world = world();
    let file = fill(
        "log $L\nwitness a $E1 http://127.0.0.1:9001\nwitness b $M2 https://b.example\nwitness c $E3\n\
         group x any a b\ngroup y all x c\nquorum x\n",
    );
    world.write("log/w.policy", &file);
    with_settings(&world, "witnesses = \"w.policy\"\n");
    let policy = Policy::parse(world.run("policy log").done().stdout.as_bytes()).unwrap();
    assert_eq!(policy.quorum_in_words(), "1 of (a, b)");
    let vkey = |name: &str| String::from_utf8(world.read(name)).unwrap().trim_end().to_owned();
    let logs: Vec<String> = policy.logs().iter().map(|log| log.key.to_string()).collect();
    assert_eq!(
        logs,
        [vkey("log/log.vkey"), vkey("log/log.mldsa.vkey")],
        "its own log lines are not the log's"
    );
    // The file moves with the settings.
    world.run("backup log out").done();
    assert_eq!(world.read("out/w.policy"), file.as_bytes());
    world.run("restore out back").done();
    assert_eq!(world.read("back/w.policy"), file.as_bytes());
    let mut path = world.path("w.policy");
    std::fs::rename(world.path("log/w.policy"), &path).unwrap();
    world.run("policy log").failed(3, "cp BACKUP/w.policy log/w.policy");
    path.pop();
    for outside in ["../w.policy".to_owned(), path.join("w.policy").display().to_string()] {
        with_settings(&world, &format!("witnesses = \"{outside}\"\n"));
        world.run("policy log").done();
        let ran = world.run("backup log elsewhere").done();
        assert!(ran.stderr.contains("w.policy is not in the backup"), "{ran:?}");
    }
    for (bad, why) in [
        ("quorum none\n", "expected a URL on the lines of the witnesses that are to be asked, saw none"),
        ("witness a $E1\nquorum a\n", "expected a URL on the lines of the witnesses"),
        (
            "witness a $E1 ftp://a/\nquorum a\n",
            "expected a URL that begins with http:// or https://, without a query or user name, saw \"ftp://a/\"",
        ),
        (
            "witness a $E1 http://a/\nwitness b $E2\ngroup q all a b\nquorum q\n",
            "expected URLs of enough witnesses for the quorum, saw 1 of 2 witnesses with one",
        ),
        ("witness a $E1 http://a/\nquorum b\n", "at line 2: expected the name of a witness or group"),
        ("", "each line to end in a newline"),
    ] {
        world.write("log/w.policy", fill(bad));
        with_settings(&world, "witnesses = \"w.policy\"\n");
        let ran = world.run("policy log").failed(2, why);
        assert!(ran.stderr.contains("log/w.policy: a policy is malformed"), "{ran:?}");
    }
}

#[test]
fn settings_that_can_not_be_meant_are_named() {
    let world = world();
    let replaced = |from: &str, to: &str| format!("quorum = 1\n{}", block(1).replace(&fill(from), &fill(to)));
    let named = |name: &str| replaced("\"w1.example.com\"", name);
    let url = |url: &str| replaced("http://127.0.0.1:9001", url);
    let cases = [
        (block(1), "expected `quorum = <how many of the witnesses have to agree>`"),
        ("quorum = 1\n".to_owned(), "expected a [[witness]] block for each witness beside it, saw none"),
        (
            format!("quorum = 0\n{}", block(1)),
            "expected a quorum from 1 to 1, the number of witnesses, saw 0",
        ),
        (
            format!("quorum = 3\n{}{}", block(1), block(2)),
            "expected a quorum from 1 to 2, the number of witnesses, saw 3",
        ),
        (format!("quorum = -1\n{}", block(1)), "expected TOML as `treehead init` writes it"),
        (format!("quorum = \"all\"\n{}", block(1)), "expected TOML as `treehead init` writes it"),
        (format!("quorum = 1\nwitnesses = \"w.policy\"\n{}", block(1)), "and [[witness]] blocks, saw both"),
        (format!("witnesses = \"w.policy\"\n{}", block(1)), "and [[witness]] blocks, saw both"),
        ("quorum = 1\nwitnesses = \"w.policy\"\n".to_owned(), "and [[witness]] blocks, saw both"),
        (
            replaced("$M1", "$L"),
            "expected cosignature keys (type 0x04 or 0x06) of the witness w1.example.com, saw a log's Ed25519 key",
        ),
        (
            replaced("\"$M1\"", "\"$E1\""),
            "expected at most one key of each algorithm of the witness w1.example.com, saw a second one of ed25519",
        ),
        (replaced("\"$M1\"", "\"$E2\""), "saw a second one of ed25519"),
        (
            replaced("$M1", "$M2"),
            "expected keys of one cosigner for the witness w1.example.com, saw those of w1.example.com and w2.example.com",
        ),
        (replaced("$M1", "w1.example.com+0"), "a verifier key is malformed"),
        (replaced("\"$E1\", \"$M1\"", ""), "expected the vkeys of the witness w1.example.com, saw none"),
        (
            format!("quorum = 1\n{}{}", block(1), block(1)),
            "expected each name of a witness once, saw \"w1.example.com\" twice",
        ),
        (
            format!("quorum = 1\n{}{}", block(1), block(1).replace("name = \"w1", "name = \"other")),
            "expected each key of a witness once, saw one of other.example.com twice",
        ),
        (
            format!(
                "quorum = 1\n{}{}",
                block(1),
                block(2).replace("\"w2.example.com\"", "\"w1.example.com/ed25519\"")
            ),
            "expected each name of a witness once, saw \"w1.example.com/ed25519\" twice",
        ),
        (
            format!(
                "quorum = 1\n{}{}",
                block(1).replace(&fill(", \"$M1\""), ""),
                block(1).replace(&fill("\"$E1\", "), "").replace("name = \"w1", "name = \"other")
            ),
            "expected each cosigner in one [[witness]] block, with all of its vkeys, saw a second block of w1.example.com, named other.example.com",
        ),
        (named("\"\""), "expected the name of a witness without white space"),
        (named("\"two words\""), "expected the name of a witness without white space"),
        (named("\"w1\\n\""), "expected the name of a witness without white space"),
        (named("\"w1\\u00a0\""), "expected the name of a witness without white space"),
        (named("\"w1\\u007f\""), "expected the name of a witness without white space"),
        (named("\"#w1\""), "expected the name of a witness without white space"),
        (named("\"none\""), "expected the name of a witness without white space"),
        (
            url(""),
            "`url` of witness \"w1.example.com\": expected a URL that begins with http:// or https://, without a query or user name, saw \"\"",
        ),
        (url("w1.example.com"), "expected a URL that begins with http:// or https://"),
        (url("ftp://w1.example.com"), "expected a URL that begins with http:// or https://"),
        (url("http://"), "expected a URL that begins with http:// or https://"),
        (url("https:///path"), "expected a URL that begins with http:// or https://"),
        (url("http://w1 .example.com"), "expected a URL that begins with http:// or https://"),
        (format!("quorum = 1\n{}weight = 2\n", block(1)), "unknown field `weight`"),
        ("quorums = 1\n".to_owned(), "unknown field `quorums`"),
        (format!("quorum = 1\n{}", block(1).replace("url = ", "# url = ")), "missing field `url`"),
        ("publish_without_quorum_risking_split_views = 1\n".to_owned(), "expected a boolean"),
    ];
    for (settings, why) in cases {
        with_settings(&world, &settings);
        for command in ["policy log", "serve log --listen 127.0.0.1:0"] {
            let ran = world.run(command).failed(2, why);
            assert!(
                ran.stderr.contains("log/treehead.toml: a ") && ran.stderr.contains("cp BACKUP/"),
                "{ran:?}"
            );
        }
    }
}

#[test]
fn a_log_is_made_with_the_cards_of_its_witnesses() {
    let world = World::opaque();
    for number in 1..=3 {
        world.write(&format!("{number}.toml"), format!("# A card.\n{}", block(number)));
    }
    let init = "init new --origin log.example.com/anything";
    let ran =
        world.run(&format!("{init} --witness 1.toml --witness 2.toml --witness 3.toml --quorum 2")).done();
    assert!(ran.stdout.contains("made the log"), "{ran:?}");
    let policy = world.read("new/endpoint.policy");
    assert_eq!(world.run("policy new").done().stdout.as_bytes(), policy);
    let words = Policy::parse(&policy).unwrap().quorum_in_words();
    assert_eq!(words, "2 of (w1.example.com, w2.example.com, w3.example.com)");
    let settings = String::from_utf8(world.read("new/treehead.toml")).unwrap();
    assert!(
        settings.contains("\nquorum = 2\n") && settings.contains("url = \"http://127.0.0.1:9003\""),
        "{settings}"
    );
    world.run("fsck new").done();

    let other = "init other --origin log.example.com/anything";
    world.run(&format!("{other} --witness 1.toml")).failed(2, "--quorum <K>");
    world.run(&format!("{other} --quorum 1")).failed(2, "--witness <CARD>");
    world
        .run(&format!("{other} --witness 1.toml --quorum 2"))
        .failed(2, "--quorum: a configuration is malformed: expected a quorum from 1 to 1");
    world.run(&format!("{other} --witness 1.toml --quorum 0")).failed(2, "expected a quorum from 1 to 1");
    world
        .run(&format!("{other} --witness 1.toml --witness 1.toml --quorum 1"))
        .failed(2, "each name of a witness once");
    world.run(&format!("{other} --witness missing.toml --quorum 1")).failed(3, "could not read missing.toml");
    for (card, why) in [
        (String::new(), "expected one [[witness]] block with name, url and vkeys, saw missing field"),
        (format!("{}{}", block(1), block(2)), "saw 2 of them"),
        (format!("quorum = 1\n{}", block(1)), "saw unknown field `quorum`"),
        (block(1).replace("http:", "gopher:"), "expected a URL that begins with"),
    ] {
        world.write("bad.toml", card);
        let ran = world.run(&format!("{other} --witness bad.toml --quorum 1")).failed(2, why);
        assert!(ran.stderr.contains("bad.toml: a "), "{ran:?}");
        assert!(ran.stderr.contains("`treehead witness init` writes a card"), "{ran:?}");
    }
    assert!(!world.path("other").exists(), "nothing half-made");
}

#[test]
fn only_a_head_with_its_quorum_is_exported() {
    let world = World::opaque();
    let both = format!("quorum = 1\n{}{}", block(1), block(2));
    world.write("bare.toml", world.read("log/treehead.toml"));
    with_settings(&world, &both);
    let ran = world.run("export log out").refused("no-quorum");
    assert!(
        ran.stderr.contains(
            "has reached its quorum of witnesses yet: expected 1 of (w1.example.com, w2.example.com)"
        ),
        "{ran:?}"
    );
    let note = Note::parse(&world.read("log/checkpoint")).unwrap();
    let head = Checkpoint::parse(note.text()).unwrap();
    let cosigned = |head: &Checkpoint, signers: &[NoteSigner]| {
        let mut note = note.clone();
        signers.iter().for_each(|signer| note.push(cosign(head, signer, 7)));
        note.to_string()
    };
    // Whatever the file holds, the program reads it as an endpoint does.
    world.write("log/checkpoint.witnessed", note.to_string());
    let ran = world.run("export log out").refused("no-quorum");
    assert!(
        ran.stderr.contains("saw cosignatures by nobody; missing w1.example.com, w2.example.com"),
        "{ran:?}"
    );
    world.write("log/checkpoint.witnessed", cosigned(&head, &keys(3)));
    world.run("export log out").refused("no-quorum");
    let other = Checkpoint::new(head.origin.clone(), head.size, Hash::leaf(b"other"));
    world.write("log/checkpoint.witnessed", cosigned(&other, &keys(1)));
    world.run("export log out").refused("no-quorum");
    let stranger =
        NoteSigner::from_seed(KeyName::new(head.origin.as_str()).unwrap(), SignatureType::Ed25519, &[5; 32]);
    world.write("log/checkpoint.witnessed", LogSigner::from(stranger).sign(&head, 1).to_string());
    world.run("export log out").refused("checkpoint-damaged");
    assert!(!world.path("out/checkpoint").exists());

    let [_, ml_dsa] = keys(2);
    let witnessed = cosigned(&head, &[ml_dsa]);
    world.write("log/checkpoint.witnessed", &witnessed);
    world.run("export log out").done();
    assert_eq!(world.read("out/checkpoint"), witnessed.as_bytes());
    // A newer head that is only signed is not shown.
    with_settings(&world, "");
    let server = world.serve();
    world.run(&format!("load --log {} --duration 1s --rate 20 --writers 1", server.url)).done();
    server.terminate();
    with_settings(&world, &both);
    world.run("export log out").done();
    assert_eq!(world.read("out/checkpoint"), witnessed.as_bytes());
    with_settings(&world, &format!("publish_without_quorum_risking_split_views = true\n{both}"));
    world.run("export log out").done();
    assert_eq!(world.read("out/checkpoint"), note_of(&world.read("log/checkpoint")));
}

#[test]
fn waiting_for_witnesses_is_asked_of_the_log() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    // A log without witnesses says so, and writes no proof.
    let ran = world.run(&format!("{line} --wait witnessed"));
    assert!(ran.exit == 1 && ran.stderr.contains("this log has no witnesses to wait for"), "{ran:?}");
    assert!(!world.path("a.bin.tlog-proof").exists());
    world.run(&format!("{line} --wait sequenced")).done();
    assert!(!world.path("a.bin.tlog-proof").exists());
    world.run(&format!("{line} --wait published")).done();
    assert!(world.path("a.bin.tlog-proof").exists());
    server.terminate();
    let opaque = World::opaque();
    let server = opaque.serve();
    let load = format!("load --log {} --duration 1s --writers 1", server.url);
    let ran = opaque.run(&format!("{load} --wait witnessed")).refused("malformed");
    assert!(ran.stderr.contains("this log has no witnesses to wait for"), "{ran:?}");
    opaque.run(&format!("{load} --wait sequenced")).done();
}

#[test]
fn several_keys_in_a_file_are_told_apart() {
    let world = World::opaque();
    world.write("keys", fill("$E1\n$M1\n$L\n"));
    let json = world.run("inspect keys --json").done().json();
    assert_eq!(json["what"], "vkeys");
    let types: Vec<&str> =
        json["keys"].as_array().unwrap().iter().map(|key| key["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["Ed25519 cosignature", "ML-DSA-44 cosignature", "Ed25519"]);
    let ran = world.run("inspect keys").done();
    assert!(ran.stdout.starts_with("3 verifier keys\nname    w1.example.com\n"), "{ran:?}");
    world.write("keys", fill("$E1\r\n$M1\n\n"));
    world.run("inspect keys").done();
    world.write("keys", fill("$E1\n$M1\nw3\n"));
    world.run("inspect keys").failed(2, "expected a proof file, a bundle, fork evidence, a checkpoint");
}
