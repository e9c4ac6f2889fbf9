//! `treehead move`, and `treehead fsck` of a log in a bucket.

use libtest_mimic::Completion;
use rustix::process::Signal;
use treehead::bucket::{Headers, Objects as _};

use crate::REQUIRED;
use crate::fleet::World;
use crate::needs::{Outcome, ignored};
use crate::store::store;

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
    for file in [
        "treehead.toml",
        "profile",
        "log.key",
        "log.vkey",
        "log.mldsa.key",
        "log.mldsa.vkey",
        "endpoint.policy",
    ] {
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
    bucket.put("batch/00000000000000000000", b"noise", &Headers::default())?;
    let (sound, said) = world.run(&["fsck", &world.url, "--policy", "log/endpoint.policy"]);
    assert!(
        !sound && said.contains("refused (bucket-damaged): batch/00000000000000000000 is damaged"),
        "{said}"
    );
    Ok(Completion::Completed)
}
