//! Backups, restores and repairs of a log in a real bucket, and clients that ask a standby.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Completion;
use rustix::process::Signal;
use serde_json::Value;
use treehead::bucket::{Headers, Objects as _, S3};

use crate::REQUIRED;
use crate::fleet::{Server, World};
use crate::needs::{Outcome, ignored};
use crate::store::{Store, store};

/// Makes a log for the test, or ends the test if there is no store.
macro_rules! world {
    ($name:literal) => {
        match store() {
            Ok(store) => World::new(store, $name),
            Err(why) => return ignored(&why, REQUIRED),
        }
    };
}

/// Runs a command that must succeed, and returns its JSON.
fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.command(arguments).arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON")
}

/// Runs a command that must fail, and returns its output.
fn refused(world: &World, arguments: &[&str]) -> String {
    let (ok, text) = world.run(arguments);
    assert!(!ok, "{arguments:?}: {text}");
    text
}

/// The log's objects.
fn objects(store: &Store, url: &str) -> S3 {
    let client = store.client(url.strip_prefix(&format!("s3://{}/", store.bucket)).unwrap());
    // Find out the form of tags that the store accepts.
    let extent = treehead::bucket::probe::Extent { rounds: 1, racers: 2, objects: 1 };
    treehead::bucket::probe::check_store(&client, extent).unwrap();
    client
}

fn keys(objects: &S3, prefix: &str) -> Vec<String> {
    objects.list(prefix, "", 1_000).unwrap().objects.into_iter().map(|listed| listed.key).collect()
}

/// A loss: its name, whether its repair needs a source, and a function that causes it.
type Loss<'a> = (&'a str, bool, Box<dyn Fn() + 'a>);

/// A server with these entries, one in each batch.
fn fill(server: &mut Server, from: u64, to: u64) {
    (from..to).for_each(|at| assert_eq!(server.add(&format!("entry {at}")), at));
}

pub fn a_backup_of_a_served_log_makes_logs_in_directories_and_buckets() -> Outcome {
    let world = world!("backup");
    let mut server = world.serve("a");
    fill(&mut server, 0, 20);
    // Back up while entries are appended. Each backup has a head over its entries.
    let done = AtomicBool::new(false);
    let (first, second) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut next = 20;
            while !done.load(Ordering::Relaxed) {
                let sent = server.request("POST /add?wait=sequenced", format!("entry {next}").as_bytes());
                assert_eq!(
                    sent.map(|(status, body)| (status, body.trim().to_owned())),
                    Some((200, next.to_string()))
                );
                next += 1;
            }
        });
        let first = json(&world, &["backup", "a", "out", "--with-key"]);
        let second = json(&world, &["backup", "a", "out", "--with-key"]);
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        (first, second)
    });
    let size = |done: &Value| done["tree_size"].as_u64().unwrap();
    assert!(size(&first) >= 20 && size(&second) >= size(&first), "{first} {second}");
    assert_eq!(first["bytes_read_back"], first["bytes"]);
    let last = server.add("the last one");
    server.end(Signal::TERM);
    let third = json(&world, &["backup", "a", "out", "--with-key"]);
    assert_eq!((size(&third), third["new_entries"].as_u64()), (last + 1, Some(last + 1 - size(&second))));
    let fourth = json(&world, &["backup", "a", "out", "--with-key"]);
    assert_eq!((fourth["segments_copied"].as_u64(), fourth["segments_kept"].as_u64()), (Some(0), Some(1)));
    // `fsck` of a backup checks the backup, although its settings name the bucket.
    let (ok, said) = world.run(&["fsck", "out"]);
    assert!(ok && said.contains(&format!("tree size {}", last + 1)), "{said}");
    // A restore must be told where the log goes.
    let said = refused(&world, &["restore", "out", "c"]);
    assert!(said.contains("--to-directory") && !world.path("c").exists(), "{said}");
    // Restore into a new prefix.
    let other = format!("{}-restored", world.url);
    let restored = json(&world, &["restore", "out", "c", "--store", &other]);
    assert_eq!((size(&restored), restored["has_key"].as_bool()), (last + 1, Some(true)));
    assert!(fs::read_to_string(world.path("c/treehead.toml")).unwrap().contains(&other));
    let mut server = world.serve("c");
    assert_eq!(
        (server.size(), server.add("entry 3"), server.add("another one")),
        (Some(last + 1), 3, last + 1)
    );
    server.end(Signal::TERM);
    // Refuse if the bucket has more than the backup.
    let said = refused(&world, &["restore", "out", "d", "--store", &other]);
    assert!(said.contains("is newer") && !world.path("d").exists(), "{said}");
    // The log's own bucket has the whole backup already.
    let same = json(&world, &["restore", "out", "a"]);
    assert_eq!((same["batches_created"].as_u64(), same["tiles_written"].as_u64()), (Some(0), Some(0)));
    // Restore into a directory.
    let restored = json(&world, &["restore", "out", "d", "--to-directory"]);
    assert_eq!(size(&restored), last + 1);
    let (ok, said) = world.run(&["fsck", "d"]);
    assert!(ok && said.contains(&(last + 1).to_string()), "{said}");
    let mut server = world.serve("d");
    assert_eq!((server.add("entry 3"), server.add("another one")), (3, last + 1));
    Ok(Completion::Completed)
}

pub fn every_kind_of_lost_object_is_rebuilt() -> Outcome {
    let world = world!("repair");
    let mut server = world.serve("a");
    fill(&mut server, 0, 12);
    for at in 12..300 {
        server.request("POST /add?wait=sequenced", format!("entry {at}").as_bytes());
    }
    let size = server.add("the last one") + 1;
    server.end(Signal::TERM);
    json(&world, &["backup", "a", "out"]);
    let bucket = objects(&world.store, &world.url);
    let batches = keys(&bucket, "batch/");
    let (first, last) = (&batches[0], batches.last().unwrap());
    let head = bucket.get("checkpoint", 10_000)?.unwrap().bytes;
    let lose = |key: &str| bucket.delete(key).unwrap();
    let spoil = |key: &str| drop(bucket.put(key, b"spoiled", &Headers::default()).unwrap());
    let losses: Vec<Loss<'_>> = vec![
        ("nothing", false, Box::new(|| ())),
        ("the first batch", false, Box::new(|| lose(first))),
        ("the last batch", false, Box::new(|| lose(last))),
        ("neighbours", false, Box::new(|| batches[3..7].iter().for_each(|key| lose(key)))),
        ("all batches", false, Box::new(|| batches.iter().for_each(|key| lose(key)))),
        ("a batch is spoiled", false, Box::new(|| spoil(&batches[5]))),
        ("a full tile", false, Box::new(|| lose("tile/0/000"))),
        ("a full bundle", false, Box::new(|| lose("tile/entries/000"))),
        (
            "partial tiles",
            false,
            Box::new(|| {
                keys(&bucket, "tile/").iter().filter(|key| key.contains(".p/")).for_each(|key| lose(key));
            }),
        ),
        ("a tile is spoiled", false, Box::new(|| spoil("tile/0/000"))),
        (
            "a batch and its bundle",
            true,
            Box::new(|| {
                lose(first);
                lose("tile/entries/000");
            }),
        ),
        ("the head", true, Box::new(|| lose("checkpoint"))),
        ("the head is spoiled", true, Box::new(|| spoil("checkpoint"))),
        ("names", false, Box::new(|| ["origin", "profile"].iter().for_each(|key| lose(key)))),
        (
            "everything",
            true,
            Box::new(|| {
                ["batch/", "tile/", "index/"]
                    .iter()
                    .flat_map(|below| keys(&bucket, below))
                    .for_each(|key| lose(&key));
                ["checkpoint", "origin", "profile", "lease"].iter().for_each(|key| lose(key));
            }),
        ),
    ];
    for (what, needs_source, lose) in losses {
        lose();
        if needs_source {
            refused(&world, &["repair", "a"]);
            json(&world, &["repair", "a", "--from", "out"]);
        } else {
            json(&world, &["repair", "a"]);
        }
        assert_eq!(bucket.get("checkpoint", 10_000)?.unwrap().bytes, head, "{what}");
        let again = json(&world, &["repair", "a"]);
        let figures =
            ["batches_created", "batches_replaced", "tiles_written"].map(|name| again[name].as_u64());
        assert_eq!((again["entries"].as_u64(), figures), (Some(size), [Some(0); 3]), "{what}");
    }
    // A server without a cache, and one with its old cache.
    let mut server = world.serve("b");
    assert_eq!((server.size(), server.add("entry 7")), (Some(size), 7));
    server.end(Signal::TERM);
    let mut server = world.serve("a");
    assert_eq!((server.add("entry 299"), server.add("one more")), (299, size));
    // Repair from a server's URL, from its directory, and from another bucket.
    let url = format!("http://127.0.0.1:{}", server.address.port());
    lose_and_repair(&world, &bucket, &url);
    lose_and_repair(&world, &bucket, "a");
    let other = format!("{}-other", world.url);
    json(&world, &["backup", "a", "out"]);
    json(&world, &["restore", "out", "c", "--store", &other]);
    let options = ["--endpoint", &world.store.endpoint, "--region", "us-east-1"];
    lose_and_repair(&world, &bucket, &[&[other.as_str()], options.as_slice()].concat().join(" "));
    Ok(Completion::Completed)
}

/// Deletes the second batch and its bundles, and repairs the bucket in the directory `b` from this source.
fn lose_and_repair(world: &World, bucket: &S3, from: &str) {
    bucket.delete(&keys(bucket, "batch/")[1]).unwrap();
    bucket.delete("tile/entries/000").unwrap();
    let from: Vec<&str> = from.split(' ').collect();
    let arguments = [&["repair", "b", "--from"], from.as_slice()].concat();
    let done = json(world, &arguments);
    assert_eq!(done["batches_created"], 1, "{from:?} {done}");
}

pub fn a_bucket_that_was_rolled_back_gets_the_rest_of_a_backup() -> Outcome {
    let world = world!("rollback");
    let mut server = world.serve("a");
    fill(&mut server, 0, 6);
    let bucket = objects(&world.store, &world.url);
    let old = bucket.get("checkpoint", 10_000)?.unwrap();
    fill(&mut server, 6, 10);
    server.end(Signal::TERM);
    json(&world, &["backup", "a", "out"]);
    let lost: Vec<String> = keys(&bucket, "batch/").split_off(6);
    lost.iter().for_each(|key| bucket.delete(key).unwrap());
    // The last batches are gone, but the head that covers them is still there.
    let done = json(&world, &["restore", "out", "a"]);
    assert_eq!((done["entries_before"].as_u64(), done["batches_created"].as_u64()), (Some(6), Some(4)));
    // The head is an older one as well, so the cache covers more than the bucket.
    lost.iter().for_each(|key| bucket.delete(key).unwrap());
    bucket.put("checkpoint", &old.bytes, &Headers::default())?;
    let said = refused(&world, &["serve", "a", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("rolled back"), "{said}");
    json(&world, &["restore", "out", "a"]);
    let mut server = world.serve("a");
    assert_eq!((server.size(), server.add("entry 9"), server.add("more")), (Some(10), 9, 10));
    server.end(Signal::TERM);
    // A restore never replaces a newer log or another history.
    let said = refused(&world, &["restore", "out", "a"]);
    assert!(said.contains("is newer"), "{said}");
    let more = keys(&bucket, "batch/").pop().unwrap();
    bucket.delete(&more)?;
    bucket.put(&keys(&bucket, "batch/").pop().unwrap(), b"spoiled", &Headers::default())?;
    bucket.put("checkpoint", &old.bytes, &Headers::default())?;
    let said = refused(&world, &["restore", "out", "a"]);
    assert!(said.contains("treehead repair"), "{said}");
    json(&world, &["repair", "a", "--from", "out"]);
    Ok(Completion::Completed)
}

/// Makes a log with these arguments of `init` and starts two servers, with their addresses in their settings. Returns
/// the holder and the standby.
fn pair(world: &World, arguments: &[&str]) -> (Server, Server) {
    let url = format!("{}-pair", world.url);
    let init =
        ["init", "p", "--origin", "log.example.com", "--store", &url, "--address", "http://127.0.0.1:1"];
    json(world, &[&init, arguments].concat());
    fs::create_dir(world.path("q")).unwrap();
    for file in fs::read_dir(world.path("p")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), world.path("q").join(file.file_name())).unwrap();
    }
    if arguments.is_empty() {
        json(world, &["keygen", "publisher", "--name", "example-vendor", "--out", "key.pem"]);
        for log in ["p", "q"] {
            let purl = "pkg:generic/example/*";
            let add = ["publisher", "add", log, "--name", "example-vendor", "--key", "key.pub"];
            json(world, &[&add, ["--purl", purl, "--kind", "build"].as_slice()].concat());
        }
    }
    let serve = |name: &str| {
        // It is unlikely that another process takes the port in the meantime.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (path, port) = (world.path(name).join("treehead.toml"), address.port());
        let settings = fs::read_to_string(&path).unwrap();
        fs::write(&path, settings.replace("127.0.0.1:1\"", &format!("127.0.0.1:{port}\""))).unwrap();
        let mut server = world.start(name, address, &world.store.endpoint, &[]);
        server.wait("it serves", |server| server.get("/healthz").is_some());
        server
    };
    let mut holder = serve("p");
    holder.wait("it appends", |holder| holder.is("holder"));
    let mut standby = serve("q");
    let address = format!("\"holder\":\"http://127.0.0.1:{}\"", holder.address.port());
    standby.wait("it stands by", |standby| {
        standby.get("/healthz").is_some_and(|(_, body)| body.contains(&address))
    });
    (holder, standby)
}

pub fn a_publisher_can_publish_through_the_standby() -> Outcome {
    let world = world!("clients");
    let (holder, mut standby) = pair(&world, &[]);
    let url = format!("http://127.0.0.1:{}", standby.address.port());
    fs::write(world.path("a.bin"), "a release").unwrap();
    fs::write(world.path("b.bin"), "another release").unwrap();
    let publish = |file: &str, version: &str| {
        let purl = format!("pkg:generic/example/scanner@{version}");
        let line = ["publish", file, "--log", &url, "--key", "key.pem", "--kind", "build", "--purl", &purl];
        let line = [&line, ["--channel", "stable", "--sequence", "auto"].as_slice()].concat();
        json(&world, &line)
    };
    assert_eq!(publish("a.bin", "1.0.0")["index"], 0);
    let verify = ["verify", "a.bin", "--policy", "p/endpoint.policy", "--publishers", "p/publishers.toml"];
    assert!(world.run(&verify).0);
    let metric = |server: &Server, name: &str| -> Option<u64> {
        let (_, text) = server.get("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    assert!(metric(&holder, "treehead_lease_left_milliseconds ").unwrap() > 0);
    assert_eq!(metric(&standby, "treehead_lease_left_milliseconds "), Some(0));
    assert_eq!(metric(&holder, "treehead_lease_term "), metric(&standby, "treehead_lease_term "));
    assert_eq!(metric(&holder, "treehead_lease_errors_total "), Some(0));
    // Kill the holder. The standby, which still names it, takes over, and the client waits for that.
    holder.end(Signal::KILL);
    assert_eq!(publish("b.bin", "2.0.0")["index"], 1);
    standby.wait("it appends", |standby| standby.is("holder"));
    assert!(metric(&standby, "treehead_lease_term ").unwrap() > 1);
    Ok(Completion::Completed)
}

pub fn load_measures_the_server_that_appends() -> Outcome {
    let world = world!("load");
    let (holder, standby) = pair(&world, &["--profile", "opaque"]);
    let load = |server: &Server| {
        let url = format!("http://127.0.0.1:{}", server.address.port());
        world.run(&["load", "--log", &url, "--writers", "8", "--duration", "4s", "--vkey", "p/log.vkey"])
    };
    let (ok, said) = load(&holder);
    assert!(ok && said.contains("verified"), "{said}");
    let (ok, said) = load(&standby);
    let address = format!("http://127.0.0.1:{}", holder.address.port());
    assert!(!ok && said.contains("standby") && said.contains(&address), "{said}");
    Ok(Completion::Completed)
}
