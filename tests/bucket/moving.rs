//! `treehead move`, and `treehead fsck` of a log in a bucket.

use libtest_mimic::Completion;
use rustix::process::Signal;
use treehead::bucket::{Headers, Objects as _};
use treehead::checkpoint::{self, Checkpoint};
use treehead::disk::note_of;
use treehead::merkle::{Hash, TreeSize};
use treehead::note::NoteSigner;

use crate::REQUIRED;
use crate::fleet::World;
use crate::needs::{Outcome, ignored};
use crate::store::store;
use crate::witnessed::Witnessed;

/// The files that a second server needs.
pub const KEYS_AND_SETTINGS: [&str; 7] =
    ["treehead.toml", "profile", "log.key", "log.vkey", "log.mldsa.key", "log.mldsa.vkey", "endpoint.policy"];

/// Makes a log in the directory `log` with this number of entries.
pub fn with_log(world: &World, entries: usize) {
    let (made, said) = world.run(&["init", "log", "--origin", "log.example.com", "--profile", "opaque"]);
    assert!(made, "{said}");
    let path = world.path("log/treehead.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# Ours: keep.\n{settings}\n# The end.\n")).unwrap();
    let mut server = world.serve("log");
    for at in 0..entries {
        let wait = if at + 1 == entries { "published" } else { "sequenced" };
        server.request(&format!("POST /add?wait={wait}"), format!("entry {at}").as_bytes());
    }
    server.wait("all are there", |server| server.size() == Some(entries as u64));
    let head = server.get("/checkpoint").unwrap().1;
    std::fs::write(world.path("kept"), head).unwrap();
    server.end(Signal::TERM);
}

fn settings(world: &World) -> String {
    std::fs::read_to_string(world.path("log/treehead.toml")).unwrap()
}

pub fn a_log_moves_into_a_bucket_and_back() -> Outcome {
    let world = match store() {
        Ok(store) => World::empty(store, "move"),
        Err(why) => return ignored(&why, REQUIRED),
    };
    with_log(&world, 300);
    let (url, before) = (world.url.clone(), settings(&world));
    let fsck = |log: &str| {
        let (sound, said) = world.run(&["fsck", log, "--since", "kept"]);
        assert!(sound, "{said}");
        said
    };
    let (moved, said) = world.run(&["move", "log", &url, "--address", "http://127.0.0.1:1"]);
    assert!(moved && said.contains("up to tree size 300 into s3://"), "{said}");
    let settled = settings(&world);
    assert!(settled.starts_with("# Ours: keep.\n") && settled.contains("# The end.\n"), "{settled}");
    assert!(
        settled.contains(&format!("store = \"{url}\""))
            && settled.contains("address = \"http://127.0.0.1:1\"")
    );
    // Repeat the command: the log is already there.
    let (moved, said) = world.run(&["move", "log", &url]);
    assert!(moved && said.contains("the log is in s3://"), "{said}");
    assert!(world.path("log/moved/journal").exists() && !world.path("log/journal").exists());
    assert!(fsck("log").contains("300 entries in"));
    // Add a second server with only keys and settings.
    std::fs::create_dir(world.path("b"))?;
    for file in KEYS_AND_SETTINGS {
        std::fs::copy(world.path("log").join(file), world.path("b").join(file))?;
    }
    let mut server = world.serve("log");
    assert_eq!((server.add("entry 7"), server.add("in the bucket")), (7, 300));
    // `move` refuses while a server appends.
    let (moved, said) = world.run(&["move", &url, "log"]);
    assert!(!moved && said.contains("lock"), "{said}");
    let (moved, said) = world.run(&["move", &url, "b"]);
    assert!(!moved && said.contains("a server appends to the log"), "{said}");
    server.end(Signal::TERM);
    let (moved, said) = world.run(&["move", &url, "log"]);
    assert!(moved && said.contains("no server can append to"), "{said}");
    assert_eq!(settings(&world), before, "as it was");
    let mut server = world.serve("log");
    assert_eq!((server.add("in the bucket"), server.add("back")), (300, 301));
    server.end(Signal::TERM);
    assert!(fsck("log").contains("at tree size 302"));
    let (sound, said) = world.run(&["fsck", &url, "--policy", "log/endpoint.policy"]);
    assert!(sound && said.contains("sealed: the log was moved away"), "{said}");
    // The other server refuses, and so does a second move into this bucket.
    let (served, said) = world.run(&["serve", "b", "--listen", "127.0.0.1:0"]);
    assert!(!served && said.contains("refused (log-moved)"), "{said}");
    let (moved, said) = world.run(&["move", &url, "b"]);
    assert!(!moved && said.contains("refused (log-moved)"), "{said}");
    let (moved, said) = world.run(&["move", "log", &url]);
    assert!(!moved && said.contains("refused (log-moved)"), "{said}");
    // Readers still find the log.
    world.store.allow_reading();
    let path = url.strip_prefix("s3:/").unwrap();
    let (sound, said) =
        world.run(&["fsck", &format!("{}{path}", world.store.endpoint), "--policy", "log/endpoint.policy"]);
    assert!(sound && said.contains("at tree size 301"), "{said}");
    Ok(Completion::Completed)
}

pub fn a_damaged_bucket_is_named_object_by_object() -> Outcome {
    let world = match store() {
        Ok(store) => World::empty(store, "fsck"),
        Err(why) => return ignored(&why, REQUIRED),
    };
    with_log(&world, 260);
    let (moved, said) = world.run(&["move", "log", &world.url]);
    assert!(moved, "{said}");
    let prefix = world.url.strip_prefix(&format!("s3://{}/", world.store.bucket)).unwrap();
    let bucket = world.store.client(prefix);
    bucket.delete("tile/0/000")?;
    bucket.put("tile/entries/001.p/4", b"noise", &Headers::default())?;
    let output = world.command(&["fsck", "log", "--json"]).output()?;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert_eq!((&found["ok"], &found["code"]), (&false.into(), &"tiles-damaged".into()), "{found}");
    let keys: Vec<&str> =
        found["objects"].as_array().unwrap().iter().map(|object| object["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["tile/0/000", "tile/entries/001.p/4"]);
    let (sound, said) = world.run(&["fsck", "log"]);
    assert!(
        !sound && said.contains("tile/0/000: expected 8192 bytes of SHA-256 ") && said.contains(", saw none"),
        "{said}"
    );
    // Damage two batches and delete one, in addition to those tiles.
    let batches: Vec<String> =
        bucket.list("batch/", "", 1_000)?.objects.into_iter().map(|listed| listed.key).collect();
    assert!(batches.len() >= 4, "{batches:?}");
    let lost = [&batches[0], &batches[1], &batches[3]];
    // The first one still states where the second one begins.
    let mut bytes = bucket.get(lost[0], 1 << 20)?.unwrap().bytes;
    *bytes.last_mut().unwrap() ^= 1;
    bucket.put(lost[0], &bytes, &Headers::default())?;
    bucket.delete(lost[1])?;
    bucket.put(lost[2], b"noise", &Headers::default())?;
    // The tile lacks the leaves of the first batch, but the bundle has them.
    let (sound, said) = world.run(&["fsck", &world.url, "--policy", "log/endpoint.policy"]);
    assert!(!sound && said.contains("refused (bucket-damaged)") && said.contains("3 batches"), "{said}");
    for key in lost.iter().map(|key| key.as_str()).chain(["tile/0/000", "tile/entries/001.p/4"]) {
        assert!(said.contains(&format!("{key}: expected ")), "{key}: {said}");
    }
    let output = world.command(&["fsck", "log", "--json"]).output()?;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((output.status.code(), &found["damaged_batches"]), (Some(1), &3.into()), "{found}");
    let keys: Vec<&str> =
        found["objects"].as_array().unwrap().iter().map(|object| object["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [lost[0], lost[1], lost[2], "tile/0/000", "tile/entries/001.p/4"]);
    // Without the bundle, nothing reveals the content of the first batch.
    bucket.delete("tile/entries/000")?;
    let (sound, said) = world.run(&["fsck", "log"]);
    assert!(!sound && said.contains("not checked: entries 0 to "), "{said}");
    // A check that can't reach the store does not report damage.
    let mut command = world.command(&["fsck", "log"]);
    let output = command.env("AWS_SECRET_ACCESS_KEY", "another").output()?;
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Completion::Completed)
}

pub fn a_bucket_that_does_not_continue_a_kept_head_convicts_its_log() -> Outcome {
    let world = match store() {
        Ok(store) => World::empty(store, "fork"),
        Err(why) => return ignored(&why, REQUIRED),
    };
    with_log(&world, 12);
    let (moved, said) = world.run(&["move", "log", &world.url]);
    assert!(moved, "{said}");
    let key = NoteSigner::parse(std::fs::read_to_string(world.path("log/log.key"))?.trim_end()).unwrap();
    let sign = |size: u64| {
        let root = Hash::digest(b"another history");
        let head = Checkpoint::new(key.public().name().clone(), TreeSize::new(size).unwrap(), root);
        std::fs::write(world.path("other"), head.sign(&key).to_string()).unwrap();
    };
    for (log, evidence, size) in [("log", "inside", 7), (world.url.as_str(), "outside", 12)] {
        sign(size);
        let line =
            ["fsck", log, "--policy", "log/endpoint.policy", "--since", "other", "--evidence", evidence];
        // A directory has its own keys.
        let line = if log == "log" { [&line[..2], &line[4..]].concat() } else { line.to_vec() };
        let (sound, said) = world.run(&line);
        assert!(!sound && said.contains("refused (fork)") && said.contains("signed two histories"), "{said}");
        let file = std::fs::read_dir(world.path(evidence))?.next().unwrap()?.path();
        let shown = ["verify-evidence", file.to_str().unwrap(), "--policy", "log/endpoint.policy", "--json"];
        let (forked, said) = world.run(&shown);
        let verdict: serde_json::Value = serde_json::from_str(&said)?;
        assert!(forked && verdict["code"] == "forked", "{said}");
        assert_eq!((&verdict["smaller"]["size"], &verdict["larger"]["size"]), (&size.into(), &12.into()));
    }
    // The log is shorter than what it signed. That proves no fork, but is reported.
    sign(13);
    let (sound, said) = world.run(&["fsck", "log", "--since", "other", "--evidence", "none"]);
    assert!(!sound && said.contains("tree size 13") && !world.path("none").exists(), "{said}");
    Ok(Completion::Completed)
}

pub fn a_log_with_witnesses_moves_with_both_heads_and_is_cosigned_afterwards() -> Outcome {
    let world = match store() {
        Ok(store) => World::empty(store, "move-witnessed"),
        Err(why) => return ignored(&why, REQUIRED),
    };
    let (made, said) = world.run(&["init", "log", "--origin", "log.example.com", "--profile", "opaque"]);
    assert!(made, "{said}");
    let log = Witnessed::with_servers(world, &["log"]);
    let mut server = log.serve("log");
    log.wait_shown(&mut server, 0);
    (0..3).for_each(|at| assert_eq!(server.add(&format!("entry {at}")), at));
    // The last head is signed but has no quorum.
    log.silence();
    let sent = server.request("POST /add?wait=sequenced", b"entry 3").unwrap();
    assert_eq!((sent.0, sent.1.trim()), (200, "3"));
    let size_of = |file: &str| {
        let note = note_of(&std::fs::read(log.world.path("log").join(file)).unwrap());
        checkpoint::open(&note, &log.keys).unwrap().get().size.get()
    };
    server.wait("it is signed", |_| size_of("checkpoint") == 4);
    server.end(Signal::TERM);
    let (moved, said) = log.world.run(&["move", "log", &log.world.url]);
    assert!(moved && said.contains("up to tree size 4"), "{said}");
    assert_eq!((log.size_of("checkpoint"), log.size_of("checkpoint.signed")), (3, 4));
    // The server shows a head with a quorum, and the last head gets one.
    log.be_honest();
    let mut server = log.serve("log");
    log.wait_shown(&mut server, 4);
    assert_eq!((server.add("entry 3"), server.add("entry 4")), (3, 4));
    log.wait_shown(&mut server, 5);
    log.silence();
    server.request("POST /add?wait=sequenced", b"entry 5").unwrap();
    server.wait("it is signed", |_| log.size_of("checkpoint.signed") == 6);
    server.end(Signal::TERM);
    let (moved, said) = log.world.run(&["move", &log.world.url, "log"]);
    assert!(moved && said.contains("at tree size 6"), "{said}");
    assert_eq!((size_of("checkpoint.witnessed"), size_of("checkpoint")), (5, 6));
    log.be_honest();
    let mut server = log.serve("log");
    log.wait_shown(&mut server, 6);
    assert_eq!((server.add("entry 5"), server.add("entry 6")), (5, 6));
    log.wait_shown(&mut server, 7);
    let heads: Vec<u64> = log.witnesses[0].released().iter().map(|head| head.size.get()).collect();
    assert!(heads.is_sorted() && heads.last() == Some(&7), "{heads:?}");
    Ok(Completion::Completed)
}
