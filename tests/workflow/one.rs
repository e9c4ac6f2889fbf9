//! One release: publish, prove, verify.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::proxy::Proxy;
use crate::program::{ORIGIN, World};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

#[test]
fn a_release_is_published_and_verified_and_a_changed_byte_is_noticed() {
    let world = World::new();
    let server = world.serve();
    let ran = world.publish(&server, "scanner.bin", "the scanner", 1).done();
    assert_eq!(
        ran.stdout,
        "pkg:generic/example/scanner@1.0 is leaf 0 of the log\nsequence 1 of channel stable\nproof  scanner.bin.tlog-proof\n"
    );
    let verify = format!("verify scanner.bin {VERIFY}");
    let ran = world.run(&verify).done();
    assert!(ran.stdout.starts_with("verified   scanner.bin\n"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("log        {ORIGIN}, leaf 0 of 1\n")), "{ran:?}");
    // The endpoint is offline.
    drop(server);
    world.run(&verify).done();
    world.write("scanner.bin", "the scanneR");
    world.run(&verify).refused("artifact-mismatch");
    let json = world.run(&format!("{verify} --json"));
    assert_eq!((json.exit, &json.json()["code"]), (1, &"artifact-mismatch".into()));
    assert_eq!(json.stderr, "", "machines read one stream");
}

#[test]
fn several_artifacts_of_one_release_share_a_statement() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    world.write("b.bin", "b");
    let line = world.publish_line(&server, "a.bin b.bin", 1)
        + " --source git+https://example.com/scanner@gitCommit:0123456789abcdef0123456789abcdef01234567 --audience beta-testers --policy log/endpoint.policy --json";
    let json = world.run(&line).done().json();
    assert_eq!(json["proofs"], serde_json::json!(["a.bin.tlog-proof", "b.bin.tlog-proof"]));
    assert_eq!(world.read("a.bin.tlog-proof"), world.read("b.bin.tlog-proof"));
    for file in ["a.bin", "b.bin"] {
        // The proof has an audience, and the user named none.
        let ran = world.run(&format!("verify {file} {VERIFY}")).refused("other-audience");
        assert!(ran.stderr.contains("expected one for everyone, saw one for \"beta-testers\""), "{ran:?}");
        let ran = world.run(&format!("verify {file} {VERIFY} --audience beta-testers")).done();
        assert!(ran.stdout.contains(&format!("artifact   {file}, SHA-256 ")), "{ran:?}");
        assert!(ran.stdout.contains("source     git+https://example.com/scanner gitCommit:0123"), "{ran:?}");
        assert!(ran.stdout.contains("audience   beta-testers (not everyone)\n"), "{ran:?}");
    }
    // The same release again is the same leaf.
    assert_eq!(world.run(&line).done().json()["index"], 0);
    assert_eq!(server.tree_size(), 1);
}

/// Keys rotate, and pipelines run twice.
#[test]
fn a_release_that_is_published_again_with_another_key_gets_the_proof_of_the_first() {
    let world = World::new();
    world.run("keygen publisher --name vendor --out second.pem").done();
    let second = String::from_utf8(world.read("second.pub")).unwrap();
    let publishers = String::from_utf8(world.read("log/publishers.toml")).unwrap();
    world.write("log/publishers.toml", format!("{publishers}\n[[publisher.key]]\npem = '''\n{second}'''\n"));
    let server = world.serve();
    world.publish(&server, "a.bin", "a", 1).done();
    let first = world.read("a.bin.tlog-proof");
    let line = world.publish_line(&server, "a.bin", 1).replace("publisher.pem", "second.pem") + " --json";
    let again = world.run(&line).done().json();
    let leaf = treehead::proof::ProofFile::parse(&first).unwrap().extra.unwrap();
    assert_eq!(again["leaf_hash"], treehead::merkle::Hash::leaf(&leaf).to_hex());
    assert_eq!((&again["index"], world.read("a.bin.tlog-proof")), (&0.into(), first));
    let sequenced = world.run(&format!("{line} --wait sequenced")).done().json();
    assert_eq!((&sequenced["index"], &sequenced["leaf_hash"]), (&0.into(), &again["leaf_hash"]));
    world.run(&format!("verify a.bin {VERIFY}")).done();
    assert_eq!(server.tree_size(), 1);
}

#[test]
fn a_proof_is_fetched_by_whoever_has_only_the_artifact() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "one.bin", "one", 1).done();
    world.publish(&server, "two.bin", "two", 2).done();
    let shipped = world.read("two.bin.tlog-proof");
    world.write("copy.bin", "one");
    let prove = format!("prove copy.bin --log {}", server.url);
    let ran = world.run(&prove).done();
    assert!(ran.stdout.contains("is leaf 0 of the log\nproof  copy.bin.tlog-proof\n"), "{ran:?}");
    let ran = world.run(&format!("verify copy.bin {VERIFY}")).done();
    assert!(ran.stdout.contains("leaf 0 of 2"), "under the latest checkpoint: {ran:?}");
    world.run(&format!("prove two.bin --log {} --out elsewhere", server.url)).done();
    assert_eq!(world.read("elsewhere"), shipped);
    world.write("unknown.bin", "three");
    world.run(&format!("prove unknown.bin --log {}", server.url)).refused("not-logged");
    assert!(!world.path("unknown.bin.tlog-proof").exists());
}

#[test]
fn an_old_proof_stays_good_while_the_log_grows() {
    let world = World::new();
    let server = world.serve();
    for sequence in 1..=5 {
        let file = format!("{sequence}.bin");
        world.publish(&server, &file, &file, sequence).done();
    }
    for sequence in 1..=5 {
        let ran = world.run(&format!("verify {sequence}.bin {VERIFY}")).done();
        assert!(ran.stdout.contains(&format!("leaf {} of {sequence}\n", sequence - 1)), "{ran:?}");
    }
}

#[test]
fn a_release_that_is_only_sequenced_has_no_proof_yet() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    let ran = world.run(&(world.publish_line(&server, "a.bin", 1) + " --wait sequenced")).done();
    assert!(ran.stdout.contains("is leaf 0, durable and not published yet"), "{ran:?}");
    assert!(!world.path("a.bin.tlog-proof").exists());
}

#[test]
fn a_log_s_refusal_is_passed_on_and_no_proof_is_written() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "a.bin", "a", 1).done();
    world.publish(&server, "b.bin", "b", 1).refused("sequence-taken");
    let line = world.publish_line(&server, "b.bin", 2);
    world.run(&line.replace("/example/", "/other/")).refused("publisher-not-permitted");
    world.run(&line.replace("kind build", "kind update")).refused("publisher-not-permitted");
    world.run("keygen publisher --name stranger --out stranger.pem").done();
    world.run(&line.replace("publisher.pem", "stranger.pem")).refused("unknown-publisher");
    assert!(!world.path("b.bin.tlog-proof").exists());
    assert_eq!(server.tree_size(), 1);
}

#[test]
fn a_proof_by_another_log_than_the_policy_s_is_not_written() {
    let world = World::new();
    let server = world.serve();
    world.run("init other --origin log.example.org/other").done();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    let ran = world.run(&format!("{line} --policy other/endpoint.policy"));
    assert!(
        ran.exit != 0 && ran.stderr.contains("the policy is other/endpoint.policy; nothing was sent"),
        "{ran:?}"
    );
    assert_eq!(server.tree_size(), 0);
    assert!(!world.path("a.bin.tlog-proof").exists());
    assert_eq!(server.tree_size(), 0);
    world.run(&format!("{line} --policy log/endpoint.policy")).done();
}

/// A release in a test log must be useless to somebody who submits it to another log.
#[test]
fn what_is_published_names_its_log_and_no_other_takes_it() {
    let world = World::new();
    world.run("init staging --origin log.example.com/staging").done();
    world.write("staging/publishers.toml", world.read("log/publishers.toml"));
    let staging = world.start("serve staging --listen 127.0.0.1:0");
    world.write("a.bin", "a");
    let json = world.run(&(world.publish_line(&staging, "a.bin", 1) + " --json")).done().json();
    assert_eq!(json["log"], "log.example.com/staging");
    let line = "{\"purl\":\"pkg:generic/example/scanner@2.0\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":2,\
                \"artifacts\":[{\"name\":\"b\",\"sha256\":\"ab\"}]}\n";
    world.write("releases.jsonl", line.replace("\"ab\"", &format!("{:?}", "ab".repeat(32))));
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", staging.url)).done();
    let withdraw = format!(
        "withdraw --log {} --key publisher.pem --leaf 0 --reason trial --policy staging/endpoint.policy --purl pkg:generic/example/scanner@1.0 --out w.tlog-proof",
        staging.url
    );
    world.run(&withdraw).done();
    let ran = world.run("inspect w.tlog-proof").done();
    assert!(ran.stdout.contains("\nfor log   log.example.com/staging\n"), "{ran:?}");

    let server = world.serve();
    let (_, bundle) = staging.get("/tile/entries/000.p/3");
    let entries = treehead::proof::bundle::split(&bundle, 3).unwrap();
    assert_eq!(entries.len(), 3);
    for (at, entry) in entries.iter().enumerate() {
        let (status, problem) = server.post("/add", entry);
        assert!(status == 422 && problem.contains("other-log"), "entry {at}: {status} {problem}");
    }
    assert_eq!(server.tree_size(), 0);
    // Its publisher states it again for the other log.
    world.run(&world.publish_line(&server, "a.bin", 1)).done();
}

/// A server may claim any log's name. It could submit to that log what it then receives.
#[test]
fn a_server_s_word_for_its_origin_is_not_taken_where_a_policy_has_another() {
    let world = World::new();
    let server = world.serve();
    world.run("init staging --origin log.example.com/staging").done();
    let (log, staging) = (world.read("log/endpoint.policy"), world.read("staging/log.vkey"));
    let both = [b"log ".to_vec(), staging, log].concat();
    world.write("both.policy", both);
    world.run("init liar --origin log.example.com/releases").done();
    let head = world.read("liar/checkpoint");
    let liar = Proxy::before(&server.url, move |path| (path == "/checkpoint").then(|| (200, head.clone())));
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    let at_liar = line.replace(&server.url, &liar.url);
    let ran = world.run(&format!("{at_liar} --policy both.policy"));
    ran.failed(3, "has no tree head signed by a trusted log");
    assert_eq!((liar.asked("/checkpoint"), liar.asked("/add")), (1, 0));
    let json = world.run(&format!("{line} --policy both.policy --json")).done().json();
    assert_eq!(json["log"], ORIGIN);
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    for mode in [0o644, 0o640, 0o604, 0o700 | 0o007] {
        world.chmod("publisher.pem", mode);
        let hint = format!("expected mode 600, saw {mode:03o}; run: chmod 600 publisher.pem");
        world.run(&line).failed(2, &hint);
    }
    assert_eq!(server.tree_size(), 0);
    world.chmod("publisher.pem", 0o400);
    world.run(&line).done();
    drop(server);
    world.chmod("log/log.key", 0o644);
    world.run("serve log --listen 127.0.0.1:0").failed(2, "run: chmod 600 log/log.key");
}

#[test]
fn what_is_missing_or_unreachable_could_not_be_told() {
    let world = World::new();
    let mut server = world.serve();
    world.write("a.bin", "a");
    let line = world.publish_line(&server, "a.bin", 1);
    world.run(&line.replace("publisher.pem", "missing.pem")).failed(3, "could not read missing.pem");
    world.run(&line.replace("a.bin", "missing.bin")).failed(3, "could not read missing.bin");
    world.run(&line.replace("publisher.pem", "publisher.pub")).failed(2, "publisher.pub holds a public key");
    world.write("noise.pem", "noise");
    world.chmod("noise.pem", 0o640);
    world.run(&line.replace("publisher.pem", "noise.pem")).failed(2, "noise.pem holds a secret that others");
    world.chmod("noise.pem", 0o600);
    world.run(&line.replace("publisher.pem", "noise.pem")).failed(2, "PRIVATE KEY in PKCS#8 PEM");
    server.kill();
    let line = line + " --timeout 1s";
    world.run(&line).failed(3, "is a server running there");
    world
        .run(&format!("prove a.bin --log {} --timeout 1s", server.url))
        .failed(3, "is a server running there");
    let fsck = format!("fsck {} --policy log/endpoint.policy", server.url);
    world.run(&fsck).failed(3, "is a server running there");
    world.run(&line.replace("http://", "ftp://")).failed(2, "not the address of a log");
    // Without a publishers file, the program looks beside the policy.
    std::fs::copy(world.path("log/endpoint.policy"), world.path("alone.policy")).unwrap();
    world.run("verify a.bin --policy alone.policy").failed(3, "publishers.toml does not exist");
    assert!(!world.path("a.bin.tlog-proof").exists());
}

#[test]
fn an_artifact_that_changes_while_it_is_hashed_is_refused() {
    let world = World::new();
    let server = world.serve();
    world.write("a.bin", vec![0; 48 << 20]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::File::options().append(true).open(world.path("a.bin"));
            let mut file = file.unwrap();
            while !stop.load(Ordering::SeqCst) {
                file.write_all(b"more").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let ran = world.run(&world.publish_line(&server, "a.bin", 1));
        stop.store(true, Ordering::SeqCst);
        ran.refused("artifact-changed");
    });
    assert_eq!(server.tree_size(), 0);
    world.run(&world.publish_line(&server, "a.bin", 1)).done();
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let world = World::new();
    let made = Command::new("mkfifo").arg(world.path("pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    world.write("a.bin", "a");
    // Nobody will ever write to this pipe: a program that opens it waits for ever.
    let lines = ["pipe", "log", "/dev/null"]
        .map(|file| (file, format!("verify {file} {VERIFY} --proof log/log.vkey")));
    let publish =
        "--log http://127.0.0.1:1 --kind build --purl pkg:generic/a@1 --channel stable --sequence 1";
    let others = [
        format!("verify a.bin {VERIFY} --proof pipe"),
        "verify a.bin --policy pipe --proof a.bin".to_owned(),
        "verify a.bin --policy log/endpoint.policy --publishers pipe --proof a.bin".to_owned(),
        "inspect pipe".to_owned(),
        "verify-evidence pipe --policy log/endpoint.policy".to_owned(),
        format!("publish a.bin {publish} --key pipe"),
        format!("publish pipe {publish} --key publisher.pem"),
        "publish --from pipe --log http://127.0.0.1:1 --key publisher.pem".to_owned(),
        "fsck log --since pipe".to_owned(),
    ];
    for (file, line) in lines.into_iter().chain(others.map(|line| ("pipe", line))) {
        let mut child = world.command(&line);
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains(&format!("{file} is no regular file: expected one, saw a")),
            "{line}: {stderr}"
        );
    }
}

#[test]
fn a_lock_that_is_a_link_leads_nowhere() {
    let world = World::new();
    let link = |name: &str| {
        let _ = std::fs::remove_file(world.path(name));
        std::os::unix::fs::symlink(world.path("elsewhere"), world.path(name)).unwrap();
    };
    let (said, verify) =
        ("expected one, saw a symbolic link: remove it", format!("verify a.bin {VERIFY} --state state"));
    world.write("a.bin", "a");
    world.write("a.bin.tlog-proof", "no proof");
    std::fs::create_dir(world.path("state")).unwrap();
    for (lock, line, exit) in [
        ("log/lock", "serve log --listen 127.0.0.1:0", 3),
        ("log/lock", "fsck log --rebuild", 3),
        (
            "log/publishers.lock",
            "publisher add log --name x --key publisher.pub --purl pkg:generic/x --kind build",
            2,
        ),
        ("state/lock", &verify, 2),
    ] {
        link(lock);
        world.run(line).failed(exit, said);
    }
    assert!(!world.path("elsewhere").exists());
}

#[test]
fn a_log_that_is_told_to_stop_says_so_in_plain_text() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "a.bin", "a", 1).done();
    let talk = server.terminate();
    assert!(talk.contains("stopping: requests in progress are answered first"), "{talk}");
    assert!(talk.contains("stopped; everything accepted is durable and published"), "{talk}");
    assert!(!talk.contains('\u{1b}'), "its output went to no terminal: {talk:?}");
}

#[test]
fn a_second_server_on_one_directory_is_refused() {
    let world = World::new();
    let server = world.serve();
    world.run("serve log --listen 127.0.0.1:0").failed(3, "is in use by another treehead process");
    let address = server.url.strip_prefix("http://").unwrap();
    world.run("init other --origin log.example.org/other").done();
    world.run(&format!("serve other --listen {address}")).failed(3, "choose another with --listen");
    assert_eq!(server.get("/checkpoint").0, 200);
}
