//! A log with three witnesses, as its operator, its witnesses and its endpoints run it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::program::{Server, World};

const VERIFY: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: still not so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn health(server: &Server) -> (u16, serde_json::Value) {
    let (status, body) = server.get("/healthz");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

/// Waits until the log has answers of its witnesses and shows a head.
pub fn open(server: &Server) {
    eventually("it shows a head", || server.get("/checkpoint").0 == 200);
}

#[test]
fn a_release_is_witnessed_by_two_of_three_and_verified_offline() {
    let world = World::witnessed();
    let mut witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    open(&server);
    world.publish(&server, "a.bin", "a", 1).done();
    let ran = world.run(&format!("verify a.bin {VERIFY} --max-age 24h --state seen")).done();
    // The third witness may have been as quick as the two that are enough.
    let told = |number: u32| ran.stdout.matches(&format!("w{number}.example.com at 2")).count();
    let told = [told(1), told(2), told(3)];
    assert!(told.iter().all(|times| *times <= 1), "each cosigner once: {ran:?}");
    assert!(told.iter().sum::<usize>() >= 2, "{ran:?}");

    // A dead witness costs nothing.
    witnesses[0].kill();
    let line = world.publish_line(&server, "b.bin", 2) + " --wait witnessed";
    world.write("b.bin", "b");
    world.run(&line).done();
    let json = world.run(&format!("verify b.bin {VERIFY} --json")).done().json();
    let of = |key: &str| -> BTreeSet<String> {
        json["witnesses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|by| by[key].as_str().expect("text").to_owned())
            .collect()
    };
    let (names, cosigners) = (of("name"), of("cosigner"));
    assert_eq!(names.len(), 4, "two cosigners, two keys each: {json}");
    assert_eq!(cosigners, ["w2.example.com", "w3.example.com"].map(str::to_owned).into());
    // Nor does it keep the log from restarting, or clients from reading meanwhile.
    let before = server.get("/checkpoint").1;
    server.terminate();
    let server = world.serve();
    let (status, shown) = server.get("/checkpoint");
    assert_eq!((status, &shown), (200, &before), "a head with a quorum is there at once");
    eventually("it takes entries", || world.publish(&server, "c.bin", "c", 3).exit == 0);
    eventually("who is gone is named", || {
        health(&server).1["witnessing"]["witnesses"][0]["fault"]
            .as_str()
            .is_some_and(|f| f.contains("no answer"))
    });
    assert_eq!(health(&server).0, 200, "a quorum is there");
    // Third parties require the quorum, too.
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
}

#[test]
fn a_proof_without_the_quorum_is_refused_and_the_missing_are_named() {
    let world = World::witnessed();
    let _witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    open(&server);
    world.publish(&server, "a.bin", "a", 1).done();
    let proof = String::from_utf8(world.read("a.bin.tlog-proof")).unwrap();
    let without = |names: &[&str]| -> String {
        let stays = |line: &&str| !names.iter().any(|name| line.starts_with(&format!("\u{2014} {name} ")));
        proof.lines().filter(stays).map(|line| format!("{line}\n")).collect()
    };
    world.write("bare.tlog-proof", without(&["w1.example.com", "w2.example.com", "w3.example.com"]));
    let ran = world.run(&format!("verify a.bin {VERIFY} --proof bare.tlog-proof")).refused("no-quorum");
    let expected = "expected 2 of (w1.example.com, w2.example.com, w3.example.com), saw cosignatures by nobody; missing w1.example.com, w2.example.com, w3.example.com";
    assert!(ran.stderr.contains(expected), "{ran:?}");
    // Two or three have cosigned: one of them alone is no quorum.
    let names = ["w1.example.com", "w2.example.com", "w3.example.com"];
    let there = names.into_iter().find(|name| proof.contains(&format!("\u{2014} {name}"))).unwrap();
    let others: Vec<&str> = names.into_iter().filter(|name| *name != there).collect();
    world.write("one.tlog-proof", without(&others));
    let ran = world.run(&format!("verify a.bin {VERIFY} --proof one.tlog-proof")).refused("no-quorum");
    let expected = format!("saw cosignatures by {there}; missing {}, {}", others[0], others[1]);
    assert!(ran.stderr.contains(&expected), "{ran:?}");
    // The post-quantum half alone is enough if the policy requires only that; the other half is not.
    let policy = String::from_utf8(world.read("log/endpoint.policy")).unwrap();
    let first_log = policy.lines().find(|line| line.starts_with("log ")).unwrap();
    let post_quantum = policy.replacen(&format!("{first_log}\n"), "", 1).replace(" any ", " all ");
    world.write("pq.policy", post_quantum);
    let verify = "verify a.bin --policy pq.policy --publishers log/publishers.toml";
    world.run(verify).done();
    let log = "\u{2014} log.example.com/releases ";
    let second = proof.lines().filter(|line| line.starts_with(log)).nth(1).unwrap();
    world.write("ed.tlog-proof", proof.replacen(&format!("{second}\n"), "", 1));
    world.run(&format!("{verify} --proof ed.tlog-proof")).refused("checkpoint-signature");
}

#[test]
fn a_log_restored_from_an_older_backup_refuses_to_sign_until_it_is_repaired() {
    let world = World::witnessed();
    let _witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    open(&server);
    world.publish(&server, "a.bin", "a", 1).done();
    world.run("backup log backup --with-key").done();
    world.publish(&server, "b.bin", "b", 2).done();
    world.publish(&server, "c.bin", "c", 3).done();
    // The third witness may be a moment later than the quorum.
    eventually("all have cosigned", || {
        let witnesses = health(&server).1["witnessing"]["witnesses"].clone();
        witnesses.as_array().unwrap().iter().all(|witness| witness["cosigned_size"] == 3)
    });
    world.run("export log www").done();
    let shown = server.get("/checkpoint").1;
    server.terminate();
    fs::rename(world.path("log"), world.path("lost")).unwrap();
    world.run("restore backup log").done();

    let server = world.serve();
    eventually("it refuses", || world.publish(&server, "d.bin", "d", 4).stderr.contains("(rolled-back)"));
    let (status, body) = health(&server);
    let fault = body["faults"][0].as_str().unwrap();
    assert_eq!(status, 503);
    assert!(
        fault.contains("has cosigned its tree head at size 3, which this log signed, and this copy ends at 1: 2 entries were lost")
            && fault.contains("treehead repair DIR --from SOURCE"),
        "{fault}"
    );
    // Reads continue, with the entries of the backup.
    let (status, old) = server.get("/checkpoint");
    assert!(status == 200 && old != shown);
    assert_eq!(server.get("/tile/entries/000.p/1").0, 200);
    let talk = server.terminate();
    assert_eq!(talk.matches("ERROR the log was rolled back").count(), 1, "told once: {talk}");

    // Restored from the static export, the log continues where it was.
    world.run("repair log --from www").done();
    let server = world.serve();
    eventually("it takes entries", || world.publish(&server, "e.bin", "e", 4).exit == 0);
    for file in ["a.bin", "b.bin", "c.bin", "e.bin"] {
        world.run(&format!("verify {file} {VERIFY} --state seen")).done();
    }
}

#[test]
fn what_is_published_without_a_quorum_needs_a_setting_that_names_the_risk() {
    let world = World::witnessed();
    let witnesses: Vec<Server> = (1..=3).map(|number| world.serve_witness(number)).collect();
    let server = world.serve();
    open(&server);
    drop(witnesses);
    world.write("a.bin", "a");
    let ran = world.run(&(world.publish_line(&server, "a.bin", 1) + " --wait sequenced")).done();
    assert!(ran.stdout.contains("leaf 0"), "{ran:?}");
    eventually("it is told", || health(&server).0 == 503);
    let (_, body) = health(&server);
    assert!(
        body["faults"][0].as_str().unwrap().contains("too few witnesses cosign: expected 2 of"),
        "{body}"
    );
    assert_eq!((body["tree_size"].as_u64(), body["published_size"].as_u64()), (Some(1), Some(0)));
    drop(server);

    let settings = String::from_utf8(world.read("log/treehead.toml")).unwrap();
    let risky = "publish_without_quorum_risking_split_views = true\nquorum =";
    world.write("log/treehead.toml", settings.replacen("quorum =", risky, 1));
    let server = world.serve();
    eventually("it is shown all the same", || health(&server).1["published_size"] == 1);
    assert_eq!(health(&server).1["witnessing"]["reached"], false);
    eventually("it is told", || health(&server).0 == 503);
    assert!(server.talk().contains("a split view would go unnoticed"));
    world.run(&format!("prove a.bin --log {}", server.url)).done();
    world.run(&format!("verify a.bin {VERIFY}")).refused("no-quorum");
}
