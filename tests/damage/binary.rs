//! The program itself: exit codes, output, exports and addresses as sources, and `kill -9`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::proxy::serve_files;
use crate::program::World;

const RELEASES: u64 = 300;
const SEGMENT: &str = "log/journal/00000000000000000000.seg";

/// A stopped log of releases, with a backup and an export of it.
fn world() -> World {
    let world = World::new();
    let server = world.serve();
    let line = |n: u64| {
        let sha256 = treehead::merkle::Hash::digest(&n.to_be_bytes()).to_hex();
        format!(
            "{{\"purl\":\"pkg:generic/example/tool@{n}\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":{n},\"artifacts\":[{{\"name\":\"tool\",\"sha256\":\"{sha256}\"}}]}}\n"
        )
    };
    world.write("releases.jsonl", (1..=RELEASES).map(line).collect::<String>());
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url)).done();
    world.publish(&server, "a.bin", "a", 1).done();
    let ran = world.run("backup log out").done();
    assert!(ran.stdout.contains("up to tree size 301"), "{ran:?}");
    assert!(ran.stdout.contains("log.key and log.mldsa.key are NOT in this backup"), "{ran:?}");
    server.terminate();
    world.run("export log static").done();
    world
}

fn spoil(world: &World, file: &str, at: usize) {
    let mut bytes = world.read(file);
    bytes[at] ^= 0x10;
    world.write(file, bytes);
}

#[test]
fn a_backup_becomes_a_log_again() {
    let world = world();
    assert!(!world.path("out/log.key").exists() && !world.path("out/log.mldsa.key").exists());
    assert!(world.path("out/log.mldsa.vkey").exists() && !world.path("out/sled").exists());
    let json = world.run("backup log out --json").done().json();
    assert_eq!((&json["tree_size"], &json["segments_copied"]), (&301.into(), &0.into()));
    // A backup can be checked, and is never served.
    world.run("fsck out").done();
    assert!(!world.path("out/sled").exists());
    world.run("serve out --listen 127.0.0.1:0").failed(2, "is a backup");
    let ran = world.run("restore out back").done();
    assert!(ran.stdout.contains("would FORK it") && ran.stdout.contains("log.key was not"), "{ran:?}");
    world.run("serve back --listen 127.0.0.1:0").failed(3, "put your own copy of it back");
    assert!(ran.stdout.contains("log.mldsa.key was not"), "{ran:?}");
    // The log signs with two keys, so one alone is not enough.
    for key in ["log.key", "log.mldsa.key"] {
        world.run("serve back --listen 127.0.0.1:0").failed(3, &format!("back/{key}: "));
        world.write(&format!("back/{key}"), world.read(&format!("log/{key}")));
        world.chmod(&format!("back/{key}"), 0o600);
    }
    let ran = world.run("fsck back").done();
    assert!(ran.stdout.contains("at tree size 301"), "{ran:?}");
    // Served, it is the same log: the restored directory replaces the old one.
    fs::rename(world.path("log"), world.path("old")).unwrap();
    fs::rename(world.path("back"), world.path("log")).unwrap();
    let server = world.serve();
    assert_eq!(server.tree_size(), 301);
    world.publish(&server, "b.bin", "b", 2).done();
    world.run("restore out log").failed(3, "is in use by another treehead process");
    server.terminate();
    world.run("restore out log").refused("would-lose-entries");
    // Only the backup that was asked for the keys has them, readable by its owner alone.
    world.run("backup log keyed --with-key").done();
    world.run("restore keyed new").done();
    for secret in ["keyed/log.key", "keyed/log.mldsa.key", "new/log.key", "new/log.mldsa.key"] {
        let mode = fs::metadata(world.path(secret)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600, "{secret}");
    }
    world.run("fsck new").done();
    world.run("restore keyed keyed").failed(2, "are the same directory");
    world.run("init other --origin log.example.org/other").done();
    world.run("restore out other").refused("other-log");
    world.run("backup other out").refused("not-a-backup");
    world.run("backup log old").refused("not-a-backup");
}

#[test]
fn each_kind_of_source_repairs() {
    let world = world();
    let files = serve_files(&world.path("static"));
    for source in ["out", "static", &files.clone()] {
        spoil(&world, SEGMENT, 5_000);
        let ran = world.run("fsck log").refused("journal-damaged");
        assert!(ran.stderr.contains("treehead repair DIR --from SOURCE"), "{ran:?}");
        let _ = fs::remove_dir_all(world.path("log/sled"));
        world.run("serve log --listen 127.0.0.1:0").refused("journal-damaged");
        let json = world.run(&format!("repair log --from {source} --json")).done().json();
        assert_eq!((&json["entries"], &json["checkpoint_was"]), (&301.into(), &"current".into()), "{source}");
        assert!(json["entries_fetched"].as_u64().unwrap() > 0);
        world.run("fsck log").done();
        let ran = world.run(&format!("repair log --from {source}")).done();
        assert!(ran.stdout.contains("it was not changed"), "{ran:?}");
        fs::remove_file(world.path("log/checkpoint")).unwrap();
        world.run("fsck log").refused("checkpoint-missing");
        world.run("serve log --listen 127.0.0.1:0").refused("checkpoint-missing");
        let ran = world.run(&format!("repair log --from {source}")).done();
        assert!(ran.stdout.contains("would FORK it"), "{ran:?}");
    }
    let server = world.serve();
    world.run("repair log --from out").failed(3, "is in use by another treehead process");
    assert_eq!(server.tree_size(), 301);
}

#[test]
fn a_source_that_is_none_is_refused_and_changes_nothing() {
    let world = world();
    world.run("init other --origin log.example.org/other").done();
    spoil(&world, SEGMENT, 5_000);
    let before = world.read(SEGMENT);
    let refused = |source: &str| {
        world.run(&format!("repair log --from {source}")).refused("source-refused");
        assert_eq!(world.read(SEGMENT), before);
        assert!(!world.path("log/journal.building").exists());
    };
    refused("other");
    fs::create_dir_all(world.path("lies/tile/entries")).unwrap();
    for (name, spoilt) in [("000", 5_000), ("001.p/45", 10)] {
        let mut bytes = world.read(&format!("static/tile/entries/{name}"));
        bytes[spoilt] ^= 1;
        let path = world.path(&format!("lies/tile/entries/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::copy(world.path("static/checkpoint"), world.path("lies/checkpoint")).unwrap();
    refused("lies");
    let files = serve_files(&world.path("lies"));
    refused(&files);
    fs::remove_dir_all(world.path("lies/tile/entries/001.p")).unwrap();
    fs::remove_file(world.path("lies/tile/entries/000")).unwrap();
    refused("lies");
    refused(&files);
    world.run("repair log --from missing").failed(2, "saw none of them");
    world.run("repair log --from log").failed(2, "are the same directory");
    world.run("repair log --from static").done();
    world.run("fsck log").done();
}

#[test]
fn each_file_that_is_missing_or_empty_is_named_with_what_to_do() {
    let world = world();
    for (file, says) in [
        ("treehead.toml", "cp BACKUP/treehead.toml log/treehead.toml"),
        ("profile", "cp BACKUP/profile log/profile"),
        ("publishers.toml", "cp BACKUP/publishers.toml log/publishers.toml"),
        ("log.vkey", "run: echo '"),
        ("log.key", "put your own copy of it back"),
        ("log.mldsa.vkey", "run: echo '"),
        ("log.mldsa.key", "put your own copy of it back"),
        ("endpoint.policy", "cp BACKUP/endpoint.policy log/endpoint.policy"),
        ("checkpoint", "treehead repair DIR --from SOURCE"),
        ("journal/00000000000000000000.seg", "treehead repair DIR --from SOURCE"),
    ] {
        let path = format!("log/{file}");
        let (whole, mode) = (world.read(&path), fs::metadata(world.path(&path)).unwrap().permissions());
        for missing in [true, false] {
            // A log of an older version has no profile, and a log without publishers is a log.
            if missing && file == "profile" || !missing && file == "publishers.toml" {
                continue;
            }
            if missing {
                fs::remove_file(world.path(&path)).unwrap();
            } else {
                world.write(&path, "");
            }
            fs::set_permissions(world.path(&path), mode.clone()).ok();
            let ran = world.run("fsck log");
            assert!(ran.exit != 0 && ran.exit < 4, "{file}: {ran:?}");
            assert!(ran.stderr.contains(says), "{file}: {ran:?}");
            assert!(!ran.stderr.contains("panicked"), "{ran:?}");
            // A log does not start without the files that serving needs.
            if file != "endpoint.policy" {
                let _ = fs::remove_dir_all(world.path("log/sled"));
                let serve = world.run("serve log --listen 127.0.0.1:0");
                assert!(serve.exit != 0 && serve.stderr.contains(says), "{file}: {serve:?}");
            }
        }
        world.write(&path, &whole);
        fs::set_permissions(world.path(&path), mode).unwrap();
    }
    world.run("fsck log").done();
    world.serve().terminate();
}

#[test]
fn flips_in_settings_and_keys_are_found_or_leave_a_valid_setting() {
    let world = world();
    let mut unnoticed = Vec::new();
    for file in ["treehead.toml", "log.vkey", "log.key", "log.mldsa.vkey", "log.mldsa.key", "endpoint.policy"]
    {
        let path = format!("log/{file}");
        let whole = world.read(&path);
        for at in (0..whole.len()).step_by(whole.len() / 9) {
            spoil(&world, &path, at);
            let ran = world.run("fsck log");
            assert!((0..4).contains(&ran.exit) && !ran.stderr.contains("panicked"), "{file} {at}: {ran:?}");
            if ran.exit == 0 {
                unnoticed.push((file, String::from_utf8_lossy(&world.read(&path)).into_owned()));
            } else {
                let said = ["cp BACKUP/", "run: echo", "put your own", "put the right one", "chmod 600"];
                assert!(said.iter().any(|said| ran.stderr.contains(said)), "{file} {at}: {ran:?}");
            }
            world.write(&path, &whole);
        }
    }
    // Changed comments, another address or another interval are as good as before: people write settings, so they
    // have no signature. The keys protect the values that must not change.
    for (file, text) in unnoticed {
        assert!(matches!(file, "treehead.toml" | "endpoint.policy"), "{file}: {text}");
        if file == "treehead.toml" {
            assert!(text.contains("origin = \"log.example.com/releases\""), "{text}");
        } else {
            let vkey = String::from_utf8(world.read("log/log.vkey")).unwrap();
            assert!(
                text.contains(&format!("log {}", vkey.trim_end())) && text.contains("\nquorum none"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_log_never_signs_with_another_key_or_with_less() {
    let world = world();
    let whole = |name: &str| (name.to_owned(), world.read(&format!("log/{name}")));
    let files = ["log.key", "log.vkey", "log.mldsa.key", "log.mldsa.vkey", "endpoint.policy"].map(whole);
    let put_back = || files.iter().for_each(|(name, bytes)| world.write(&format!("log/{name}"), bytes));
    // The printed line restores the public half.
    fs::remove_file(world.path("log/log.mldsa.vkey")).unwrap();
    let ran = world.run("serve log --listen 127.0.0.1:0").failed(3, "run: echo '");
    let line = ran.stderr.split("echo '").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(format!("{line}\n").as_bytes(), files[3].1);
    put_back();
    for (secret, algorithm) in [("log.key", "ed25519"), ("log.mldsa.key", "ml-dsa-44")] {
        let keygen = |name: &str, algorithm: &str, out: &str| {
            let _ = fs::remove_file(world.path(&format!("{out}.key")));
            let _ = fs::remove_file(world.path(&format!("{out}.vkey")));
            world.run(&format!("keygen log --algorithm {algorithm} --name {name} --out {out}.key")).done();
            let path = format!("log/{secret}");
            world.write(&path, world.read(&format!("{out}.key")));
        };
        let other_algorithm = if algorithm == "ed25519" { "ml-dsa-44" } else { "ed25519" };
        keygen("log.example.com/releases", algorithm, "another");
        let ran = world.run("serve log --listen 127.0.0.1:0").refused("wrong-key");
        assert!(ran.stderr.contains(&format!("{secret} is not the key of ")), "{ran:?}");
        world.run("fsck log").refused("wrong-key");
        world.run("backup log keyed --with-key").refused("wrong-key");
        keygen("log.example.org", algorithm, "elsewhere");
        world.run("serve log --listen 127.0.0.1:0").failed(2, "is the key of another log: expected origin");
        keygen("log.example.com/releases", other_algorithm, "kind");
        world.run("fsck log").failed(2, "is a key for something else: expected ");
        put_back();
        world.chmod(&format!("log/{secret}"), 0o644);
        world.run("serve log --listen 127.0.0.1:0").failed(2, &format!("run: chmod 600 log/{secret}"));
        world.chmod(&format!("log/{secret}"), 0o600);
    }
    // Without both halves, it looks like a log that never had them; only endpoints know better.
    for name in ["log.mldsa.key", "log.mldsa.vkey"] {
        fs::remove_file(world.path(&format!("log/{name}"))).unwrap();
    }
    world.run("fsck log").failed(2, "trusts a key of this log that is not in its directory");
    let policy = world.run("policy log").done().stdout;
    assert_eq!(policy.lines().filter(|line| line.starts_with("log ")).count(), 1);
    put_back();
    world.chmod("log/log.mldsa.key", 0o600);
    // Endpoints may require either signature.
    let policy = String::from_utf8(files[4].1.clone()).unwrap();
    for at in 0..2 {
        let mut lines: Vec<&str> = policy.lines().collect();
        let logs: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("log ")).collect();
        lines.remove(logs[at]);
        world.write("log/endpoint.policy", lines.join("\n") + "\n");
        world.run("fsck log").done();
        world.run("verify a.bin --policy log/endpoint.policy").done();
    }
}

#[test]
fn a_log_without_a_post_quantum_key_is_whole() {
    let world = World::new();
    world.run("init classic --origin log.example.com/classic --no-pq").done();
    assert!(!world.path("classic/log.mldsa.key").exists() && !world.path("classic/log.mldsa.vkey").exists());
    world.run("fsck classic").done();
    let ran = world.run("backup classic out").done();
    assert!(ran.stdout.contains("log.key is NOT in this backup"), "{ran:?}");
    world.run("backup classic keyed --with-key").done();
    let json = world.run("restore keyed back --json").done().json();
    assert_eq!(json["has_key"], true);
    // The operator may add a key later.
    world
        .run("keygen log --algorithm ml-dsa-44 --name log.example.com/classic --out back/log.mldsa.key")
        .done();
    world.run("fsck back").done();
    fs::rename(world.path("log"), world.path("old")).unwrap();
    fs::rename(world.path("back"), world.path("log")).unwrap();
    let policy = world.run("policy log").done().stdout;
    assert_eq!(policy.lines().filter(|line| line.starts_with("log ")).count(), 2);
    world.serve().terminate();
}

fn damaged_journals(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    items.filter(|path| path.to_string_lossy().contains("journal.damaged")).collect()
}

#[test]
fn a_repair_that_is_killed_is_run_again() {
    let world = world();
    let whole = world.read(SEGMENT);
    // One whole run measures the time; the kills are spread over it.
    spoil(&world, SEGMENT, 5_000);
    let begun = Instant::now();
    world.run("repair log --from out").done();
    let takes = begun.elapsed().max(Duration::from_millis(20));
    for round in 0..12_u32 {
        world.write(SEGMENT, &whole);
        spoil(&world, SEGMENT, 5_000 + usize::try_from(round).unwrap());
        let mut child = world.command("repair log --from out");
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(takes * round / 11);
        let _ = child.kill();
        child.wait().unwrap();
        // Without a repair, it starts with all entries or not at all.
        let fsck = world.run("fsck log");
        assert!(fsck.exit == 0 || fsck.stderr.contains("treehead repair DIR"), "{fsck:?}");
        world.run("repair log --from out").done();
        world.run("fsck log").done();
    }
    assert!(!damaged_journals(&world.path("log")).is_empty());
    let server = world.serve();
    assert_eq!(server.tree_size(), 301);
}
