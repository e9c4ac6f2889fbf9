//! Releases of many files: `publish DIR --manifest`, proofs of some files, deltas, and an endpoint that follows them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::program::{Ran, Server, World};

const TRUST: &str = "--policy log/endpoint.policy --publishers log/publishers.toml";

/// A folder `rules` of some hundred files.
fn rules(world: &World) {
    for n in 0..300 {
        let path = format!("rules/net/{:02}/{n:03}.yar", n % 10);
        fs::create_dir_all(world.path(&path).parent().unwrap()).unwrap();
        world.write(&path, format!("rule r{n} {{ condition: true }}\n"));
    }
    world.write("rules/index.txt", "300 rules\n");
}

fn publish(world: &World, server: &Server, sequence: u64) -> Ran {
    let line = world.publish_line(server, "rules", sequence);
    world.run(&format!("{line} --manifest"))
}

/// The whole story, as a new user types it.
#[test]
fn a_stream_of_rules_from_the_publisher_to_the_endpoint() {
    let world = World::new();
    let server = world.serve();
    rules(&world);
    let ran = publish(&world, &server, 1).done();
    assert!(ran.stdout.contains("proof  rules.manifest.tlog-proof"), "{ran:?}");
    let text = String::from_utf8(world.read("rules.manifest")).unwrap();
    assert!(text.starts_with("treehead-manifest@v1\nfiles 301\n"), "{text}");
    // From the third line on, other tools read it.
    let sums = text.splitn(3, '\n').nth(2).unwrap();
    world.write("sums", sums);
    let checked = std::process::Command::new("sha256sum")
        .args(["--quiet", "-c", "../sums"])
        .current_dir(world.path("rules"))
        .status();
    assert!(checked.is_ok_and(|status| status.success()));
    // The manifest is an artifact like any other.
    world.run(&format!("verify rules.manifest {TRUST}")).done();

    // An endpoint checks the whole folder, and remembers the manifest.
    let ran = world.run(&format!("verify rules --manifest rules.manifest {TRUST} --state state")).done();
    assert!(ran.stdout.contains("artifact   all 301 files, root "), "{ran:?}");

    // Some files, with one proof.
    let ran = world
        .run("prove --manifest rules.manifest --file net/03/013.yar --file index.txt --file net/09/299.yar --json")
        .done();
    assert_eq!((&ran.json()["files"], &ran.json()["proof"]), (&3.into(), &"rules.tlog-files".into()));
    let some = format!("--files-proof rules.tlog-files --proof rules.manifest.tlog-proof {TRUST}");
    fs::create_dir_all(world.path("fetched/net/03")).unwrap();
    fs::create_dir_all(world.path("fetched/net/09")).unwrap();
    for file in ["index.txt", "net/03/013.yar", "net/09/299.yar"] {
        fs::copy(world.path(&format!("rules/{file}")), world.path(&format!("fetched/{file}"))).unwrap();
    }
    let ran = world.run(&format!("verify fetched {some}")).done();
    assert!(ran.stdout.contains("artifact   3 of 301 files of the release"), "{ran:?}");
    fs::remove_file(world.path("fetched/net/09/299.yar")).unwrap();
    let ran = world.run(&format!("verify fetched {some}")).refused("not-in-manifest");
    assert!(ran.stderr.contains("saw 1 missing (\"net/09/299.yar\")"), "{ran:?}");
    let ran =
        world.run(&format!("verify fetched --file index.txt --file net/03/013.yar {some} --json")).done();
    assert_eq!(ran.json()["names"], serde_json::json!(["index.txt", "net/03/013.yar"]));
    world.write("fetched/index.txt", "301 rules\n");
    world.run(&format!("verify fetched --file index.txt {some}")).refused("not-in-manifest");
    world.run(&format!("verify fetched --file net/00/000.yar {some}")).refused("not-in-manifest");

    // The next release, as a delta.
    fs::rename(world.path("rules.manifest"), world.path("1.manifest")).unwrap();
    fs::rename(world.path("rules.manifest.tlog-proof"), world.path("1.tlog-proof")).unwrap();
    world.write("rules/net/00/new.yar", "rule new { condition: false }\n");
    world.write("rules/index.txt", "300 rules, one of them new\n");
    fs::remove_file(world.path("rules/net/01/001.yar")).unwrap();
    publish(&world, &server, 2).done();
    let ran = world.run("manifest diff 1.manifest rules.manifest --out 2.manifest-delta").done();
    assert!(ran.stdout.starts_with("1 added, 1 changed, 1 removed, 301 files now\n"), "{ran:?}");
    assert!(world.read("2.manifest-delta").len() < 600);
    let take = format!("verify --manifest 2.manifest-delta --proof rules.manifest.tlog-proof {TRUST}");
    world.run(&take).failed(2, "expected --state DIR");
    world.run(&format!("{take} --state other")).failed(3, "no manifest of pkg:generic/example/scanner");
    let ran = world.run(&format!("{take} --state state --write-manifest followed.manifest")).done();
    assert!(ran.stdout.contains("changes    1 added, 1 changed, 1 removed, 301 files now\n~ index.txt\n+ net/00/new.yar\n- net/01/001.yar\n"), "{ran:?}");
    assert_eq!(world.read("followed.manifest"), world.read("rules.manifest"));
    world.run(&format!("{take} --state state")).done();
    // What was the newest is now old.
    let old = format!("verify --manifest 1.manifest --proof 1.tlog-proof {TRUST} --state state");
    world.run(&old).refused("rollback");
    // A delta to another state than the endpoint's.
    world.run("manifest diff 1.manifest 1.manifest --out none.manifest-delta").done();
    world
        .run(&format!("verify --manifest none.manifest-delta --proof 1.tlog-proof {TRUST} --state state"))
        .failed(3, "the delta is for another manifest");
    world.run(&format!("verify rules --manifest followed.manifest --proof rules.manifest.tlog-proof {TRUST} --state state")).done();
    for file in ["rules.manifest", "2.manifest-delta", "rules.tlog-files"] {
        world.run(&format!("inspect {file}")).done();
    }
}

#[test]
fn a_folder_with_other_files_is_refused_with_their_names() {
    let world = World::new();
    let server = world.serve();
    rules(&world);
    publish(&world, &server, 1).done();
    let verify = format!("verify rules --manifest rules.manifest {TRUST}");
    world.write("rules/extra.yar", "rule extra { condition: true }\n");
    let ran = world.run(&verify).refused("not-in-manifest");
    assert!(ran.stderr.contains("saw 1 extra (\"extra.yar\")"), "{ran:?}");
    world.run(&format!("{verify} --allow-extra")).done();
    world.write("rules/index.txt", "evil\n");
    fs::remove_file(world.path("rules/net/00/000.yar")).unwrap();
    symlink("../index.txt", world.path("rules/net/00/000.yar")).unwrap();
    fs::remove_file(world.path("rules/net/01/001.yar")).unwrap();
    let ran = world.run(&format!("{verify} --json"));
    assert_eq!(ran.exit, 1, "{ran:?}");
    let refusal = ran.json();
    assert_eq!(refusal["code"], "not-in-manifest");
    assert_eq!(refusal["missing"], serde_json::json!(["net/01/001.yar"]));
    assert_eq!(refusal["changed"], serde_json::json!(["index.txt", "net/00/000.yar"]));
    assert_eq!(refusal["extra"], serde_json::json!(["extra.yar"]));
    // A manifest that is not the release's, and one that names a place outside.
    let text = String::from_utf8(world.read("rules.manifest")).unwrap();
    world.write("other.manifest", text.replace("index.txt", "index.tyt"));
    world.write("outside.manifest", text.replace("index.txt", "../ssh.txt"));
    let with = |manifest: &str| {
        world.run(&format!("verify rules --manifest {manifest} --proof rules.manifest.tlog-proof {TRUST}"))
    };
    with("other.manifest").refused("not-in-manifest");
    let ran = with("outside.manifest").refused("manifest-malformed");
    assert!(ran.stderr.contains("which could leave the release's folder"), "{ran:?}");
}

#[test]
fn what_can_not_be_released_is_found_before_anything_is_sent() {
    let world = World::new();
    let server = world.serve();
    rules(&world);
    let line = world.publish_line(&server, "rules", 1);
    world.run(&format!("{line} --manifest=rules/rules.manifest")).failed(2, "whose files are released");
    world.run(&format!("{line} --manifest --out rules/x.tlog-proof")).failed(2, "whose files are released");
    world.run(&format!("{line} --manifest=publisher.pem")).failed(2, "is no manifest: choose another name");
    world.run(&line.replace("publish rules", "publish publisher.pem --manifest")).failed(2, "is no folder");
    symlink("/etc/passwd", world.path("rules/link")).unwrap();
    let ran = world.run(&format!("{line} --manifest")).failed(2, "rules/link is a symbolic link");
    assert!(ran.stderr.contains("nothing was sent to the log"), "{ran:?}");
    fs::remove_file(world.path("rules/link")).unwrap();
    world.write("rules/Index.TXT", "the same on a system that ignores case\n");
    world.run(&format!("{line} --manifest")).failed(2, "differ in more than case");
    fs::remove_file(world.path("rules/Index.TXT")).unwrap();
    assert_eq!(server.tree_size(), 0);
    // The same release again adds nothing.
    world.run(&format!("{line} --manifest=other.manifest")).done();
    let again = world.run(&format!("{line} --manifest=other.manifest --json")).done().json();
    assert_eq!((&again["duplicate"], server.tree_size()), (&true.into(), 1));
}
