//! `treehead fsck` finds damage wherever it is.

use std::fs;

use treehead::checkpoint::Checkpoint;
use treehead::merkle::{Hash, TreeSize};
use treehead::note::{KeyName, NoteSigner};

use crate::common::proxy::serve_files;
use crate::program::{ORIGIN, Server, World};

const SEGMENT: &str = "log/journal/00000000000000000000.seg";
/// Two full tiles at level 0, and one more hash at level 1.
const RELEASES: u64 = 600;

fn fsck_url(world: &World, url: &str) -> crate::program::Ran {
    world.run(&format!("fsck {url} --policy log/endpoint.policy"))
}

/// A stopped log of three releases, each in its own batch.
fn stopped() -> World {
    let world = World::new();
    let server = world.serve();
    for sequence in 1..=3 {
        world.publish(&server, &format!("{sequence}.bin"), &sequence.to_string(), sequence).done();
    }
    server.terminate();
    world
}

fn large() -> (World, Server) {
    let world = World::new();
    let server = world.serve();
    let line = |n: u64| {
        let sha256 = Hash::digest(&n.to_be_bytes()).to_hex();
        format!(
            "{{\"purl\":\"pkg:generic/example/tool@{n}\",\"kind\":\"build\",\"channel\":\"stable\",\"sequence\":{n},\"artifacts\":[{{\"name\":\"tool\",\"sha256\":\"{sha256}\"}}]}}\n"
        )
    };
    world.write("releases.jsonl", (1..=RELEASES).map(line).collect::<String>());
    world.run(&format!("publish --from releases.jsonl --log {} --key publisher.pem", server.url)).done();
    (world, server)
}

/// Flips a bit of a file in place.
fn flip(world: &World, file: &str, at: usize) {
    let mut bytes = world.read(file);
    bytes[at] ^= 1;
    world.write(file, bytes);
}

#[test]
fn a_sound_log_is_sound_from_inside_and_outside() {
    let (world, server) = large();
    let ran = fsck_url(&world, &server.url).done();
    assert!(ran.stdout.starts_with("sound  600 entries and 4 tiles re-hashed; they make the signed root"));
    let outside =
        world.run(&format!("fsck {} --policy log/endpoint.policy --json", server.url)).done().json();
    let ran = world.run("fsck log").done();
    assert!(ran.stdout.contains("the log is being served, so sled was not looked at"), "{ran:?}");
    server.terminate();
    let ran = world.run("fsck log").done();
    assert!(!ran.stdout.contains("served"), "{ran:?}");
    assert_eq!(world.run("fsck log --json").done().json(), outside);
}

#[test]
fn a_flipped_byte_in_the_journal_is_found_wherever_it_is() {
    let world = stopped();
    let whole = world.read(SEGMENT);
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        flip(&world, SEGMENT, at);
        let ran = world.run("fsck log");
        assert_eq!(ran.exit, 1, "byte {at}: {ran:?}");
        let named = ["journal-damaged", "journal-short"].iter().any(|code| ran.stderr.contains(code));
        assert!(named, "byte {at}: {ran:?}");
        // The log does not start either: it must not sign entries that it can't read.
        if at % 7 == 0 {
            let serve = world.run("serve log --listen 127.0.0.1:0");
            assert_eq!(serve.exit, 1, "byte {at}: {serve:?}");
        }
        world.write(SEGMENT, &whole);
    }
    world.run("fsck log").done();
    // Damage in the middle is located.
    flip(&world, SEGMENT, 200);
    let ran = world.run("fsck log").refused("journal-damaged");
    assert!(ran.stderr.contains("00000000000000000000.seg"), "{ran:?}");
}

#[test]
fn a_truncated_journal_lost_what_was_signed() {
    let world = stopped();
    let whole = world.read(SEGMENT);
    for end in [whole.len() - 1, whole.len() / 2, whole.len() / 4] {
        world.write(SEGMENT, &whole[..end]);
        let ran = world.run("fsck log").refused("journal-short");
        assert!(ran.stderr.contains("expected at least 3"), "{ran:?}");
        assert!(ran.stderr.contains("Don't delete the checkpoint file"), "{ran:?}");
    }
    fs::remove_file(world.path(SEGMENT)).unwrap();
    world.run("fsck log").refused("journal-short");
    fs::remove_dir_all(world.path("log/journal")).unwrap();
    world.run("fsck log").refused("journal-short");
    world.run("serve log --listen 127.0.0.1:0").refused("journal-short");
}

#[test]
fn a_replaced_checkpoint_is_not_believed() {
    let world = stopped();
    let good = world.read("log/checkpoint");
    let origin = KeyName::new(ORIGIN).unwrap();
    let secret = String::from_utf8(world.read("log/log.key")).unwrap();
    let key = NoteSigner::parse(secret.trim_end()).unwrap();
    let sign = |size: u64, root: Hash, key: &NoteSigner| {
        let head = Checkpoint::new(origin.clone(), TreeSize::new(size).unwrap(), root);
        world.write("log/checkpoint", head.sign(key).to_string());
    };
    // Another root of the same size, signed by the log's own key.
    sign(3, Hash::digest(b"another"), &key);
    world.run("fsck log").refused("journal-forked");
    world.run("serve log --listen 127.0.0.1:0").refused("journal-forked");
    sign(2, Hash::digest(b"another"), &key);
    world.run("fsck log").refused("journal-forked");
    // A tree larger than the log.
    sign(4, Hash::digest(b"larger"), &key);
    world.run("fsck log").refused("journal-short");
    // Another key under the same name.
    let stranger = NoteSigner::from_seed(origin.clone(), treehead::note::SignatureType::Ed25519, &[7; 32]);
    sign(3, Hash::digest(b"another"), &stranger);
    world.run("fsck log").refused("checkpoint-damaged");
    // Changed text, and no checkpoint at all.
    let note = String::from_utf8(treehead::disk::note_of(&good)).unwrap();
    assert!(note.contains("\n3\n"), "{note}");
    world.write("log/checkpoint", note.replace("\n3\n", "\n2\n"));
    world.run("fsck log").refused("checkpoint-damaged");
    world.write("log/checkpoint", "noise");
    let ran = world.run("fsck log");
    assert_eq!(ran.exit, 1, "{ran:?}");
    world.write("log/checkpoint", good);
    world.run("fsck log").done();
}

/// The log's key, in the hands of an attacker.
fn log_key(world: &World) -> NoteSigner {
    NoteSigner::parse(String::from_utf8(world.read("log/log.key")).unwrap().trim_end()).unwrap()
}

fn sign(world: &World, size: u64, root: Hash) -> String {
    let key = log_key(world);
    let head = Checkpoint::new(key.public().name().clone(), TreeSize::new(size).unwrap(), root);
    head.sign(&key).to_string()
}

/// The evidence files in this directory, which anybody can check.
#[track_caller]
fn evidence(world: &World, dir: &str) -> Vec<(u64, u64)> {
    let Ok(folder) = fs::read_dir(world.path(dir)) else { return Vec::new() };
    let paths = folder.map(|entry| entry.unwrap().path());
    let forks = paths.filter(|path| path.extension().is_some_and(|end| end == "tlog-fork"));
    let check = |path: std::path::PathBuf| {
        let line = format!("verify-evidence {} --policy log/endpoint.policy --json", path.display());
        let verdict = world.run(&line).done().json();
        assert_eq!(verdict["code"], "forked");
        (verdict["smaller"]["size"].as_u64().unwrap(), verdict["larger"]["size"].as_u64().unwrap())
    };
    let mut sizes: Vec<(u64, u64)> = forks.map(check).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_log_that_does_not_continue_what_somebody_kept_convicts_itself() {
    let (world, server) = large();
    let line = |since: &str| {
        format!("fsck {} --policy log/endpoint.policy --since {since} --evidence kept", server.url)
    };
    world.write("good", world.read("log/checkpoint"));
    world.run(&line("good")).done();
    world.publish(&server, "one.bin", "one", 1).done();
    world.run(&line("good")).done();
    world.run(&line("one.bin.tlog-proof")).done();
    assert_eq!(evidence(&world, "kept"), []);
    // Smaller trees, of sizes that are powers of two and that are not, and an equal one.
    for size in [3, 256, 600, 601] {
        world.write("other", sign(&world, size, Hash::digest(b"another history")));
        let ran = world.run(&line("other")).refused("fork");
        assert!(ran.stderr.contains("kept/") && ran.stderr.contains("signed two histories"), "{ran:?}");
        world.run(&line("other")).refused("fork");
    }
    assert_eq!(evidence(&world, "kept"), [(3, 601), (256, 601), (600, 601), (601, 601)]);
    world.write("larger", sign(&world, 602, Hash::digest(b"later")));
    world.run(&line("larger")).refused("log-rolled-back");
    world.write("stranger", "log.example.org\n1\nx\n\n");
    assert_eq!(world.run(&line("stranger")).exit, 1);
    assert_eq!(evidence(&world, "kept").len(), 4);
    // From the log's own directory, also while the log is served.
    world.run("fsck log --since good").done();
    world.write("other", sign(&world, 77, Hash::digest(b"another history")));
    world.run("fsck log --since other --evidence inside").refused("fork");
    assert_eq!(evidence(&world, "inside"), [(77, 601)]);
}

#[test]
fn heads_of_a_directory_that_contradict_each_other_are_a_fork() {
    let world = stopped();
    let good = world.read("log/checkpoint");
    let fsck = "fsck log --evidence kept";
    world.run(fsck).done();
    // The head that was shown is of another tree than the journal's and the newest head's.
    for size in [1, 2, 3] {
        world.write("log/checkpoint.witnessed", sign(&world, size, Hash::digest(b"shown to one")));
        world.run(fsck).refused("fork");
    }
    assert_eq!(evidence(&world, "kept"), [(1, 3), (2, 3), (3, 3)]);
    // The other way round: the journal has the tree that was shown.
    world.write("log/checkpoint.witnessed", &good);
    world.write("log/checkpoint", sign(&world, 2, Hash::digest(b"signed last")));
    world.run(fsck).refused("fork");
    assert_eq!(evidence(&world, "kept"), [(1, 3), (2, 3), (2, 3), (3, 3)]);
    // Neither head is of the journal's tree: somebody lies, and nobody can prove who.
    world.write("log/checkpoint.witnessed", sign(&world, 3, Hash::digest(b"elsewhere")));
    world.run(fsck).refused("journal-forked");
    // A head without the log's signature is no evidence against the log.
    world.write("log/checkpoint", &good);
    world.write("log/checkpoint.witnessed", "noise");
    let ran = world.run(fsck).done();
    assert!(ran.stderr.contains("checkpoint.witnessed was not looked at"), "{ran:?}");
    assert_eq!(evidence(&world, "kept").len(), 4);
}

/// Flips a bit in the first row of sled whose key has this prefix.
fn flip_row(world: &World, kind: &[u8], at: usize) {
    let db = sled::open(world.path("log/sled")).unwrap();
    let rows = db.tree_names().into_iter().find_map(|name| {
        let rows = db.open_tree(name).unwrap();
        let (key, value) = rows.scan_prefix(kind).next()?.unwrap();
        Some((rows, key, value.to_vec()))
    });
    let (rows, key, mut value) = rows.expect("a row of this kind");
    value[at] ^= 1;
    rows.insert(key, value).unwrap();
    db.flush().unwrap();
}

#[test]
fn a_changed_row_in_sled_is_found_and_made_anew() {
    let (world, server) = large();
    server.terminate();
    for (kind, at) in [(b"t", 0), (b"t", 8_191), (b"b", 23)] {
        flip_row(&world, kind, at);
        let ran = world.run("fsck log").refused("tree-damaged");
        assert!(ran.stderr.contains("treehead fsck DIR --rebuild"), "{ran:?}");
        let ran = world.run("fsck log --rebuild").done();
        assert!(ran.stderr.contains("sled is made anew from the journal"), "{ran:?}");
        world.run("fsck log").done();
    }
    // The rebuilt index is as good as before: it knows duplicates, sequence numbers and artifacts.
    let server = world.serve();
    assert_eq!(server.tree_size(), RELEASES);
    let publish = format!("publish --from releases.jsonl --log {} --key publisher.pem --json", server.url);
    let told = world.run(&publish).done().stdout;
    let summary: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(summary["known"], RELEASES);
    world.write("x.bin", "x");
    let line = world.publish_line(&server, "x.bin", 7).replace("example/scanner", "example/tool");
    world.run(&line).refused("sequence-taken");
    let digest = Hash::digest(&599_u64.to_be_bytes()).to_hex();
    let (_, page) = server.get(&format!("/releases?digest={digest}"));
    assert!(String::from_utf8(page).unwrap().contains("tool@599"));
    world.run("fsck log --rebuild").failed(3, "is in use by another treehead process");
}

#[test]
fn noise_in_place_of_sled_is_no_loss() {
    let world = stopped();
    for noise in [vec![0x5a; 4_096], Vec::new(), vec![0; 1 << 20]] {
        world.write("log/sled/db", noise);
        world.run("fsck log --rebuild").done();
        world.run("fsck log").done();
    }
    world.write("log/sled/db", [0x5a; 100_000]);
    let server = world.serve();
    assert_eq!(server.tree_size(), 3);
    world.publish(&server, "1.bin", "1", 1).done();
    assert_eq!(server.tree_size(), 3, "the duplicate is known");
    fsck_url(&world, &server.url).done();
}

#[test]
fn a_log_without_its_sled_is_served_again() {
    let world = stopped();
    fs::remove_dir_all(world.path("log/sled")).unwrap();
    let server = world.serve();
    assert_eq!(server.tree_size(), 3);
    fsck_url(&world, &server.url).done();
}

#[test]
fn an_exported_tree_is_checked_tile_by_tile() {
    let (world, server) = large();
    server.terminate();
    world.run("export log out").done();
    let files = serve_files(&world.path("out"));
    fsck_url(&world, &files).done();
    // A flipped bit in each kind of file.
    for (file, at) in [
        ("out/tile/0/000", 0),
        ("out/tile/0/001", 8_191),
        ("out/tile/0/002.p/88", 88 * 32 - 1),
        ("out/tile/1/000.p/2", 40),
        ("out/tile/entries/000", 300),
        ("out/tile/entries/001", 5_000),
    ] {
        flip(&world, file, at);
        let ran = fsck_url(&world, &files).refused("tile-mismatch");
        assert!(ran.stderr.contains("tile/"), "{ran:?}");
        flip(&world, file, at);
    }
    flip(&world, "out/tile/entries/002.p/88", 300);
    let ran = fsck_url(&world, &files);
    assert_eq!(ran.exit, 1, "{ran:?}");
    flip(&world, "out/tile/entries/002.p/88", 300);
    // A bundle cut short, or with a length that points past its end.
    let bundle = world.read("out/tile/entries/000");
    world.write("out/tile/entries/000", &bundle[..bundle.len() - 1]);
    fsck_url(&world, &files).refused("log-malformed");
    world.write("out/tile/entries/000", &bundle);
    fsck_url(&world, &files).done();
}

#[test]
fn a_tile_that_is_gone_is_named() {
    let (world, server) = large();
    server.terminate();
    world.run("export log out").done();
    let files = serve_files(&world.path("out"));
    for tile in ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/000"] {
        let (there, away) = (world.path("out").join(tile), world.path("away"));
        fs::rename(&there, &away).unwrap();
        let ran = fsck_url(&world, &files);
        // A missing file is not called a lie: it may still be on its way.
        let named = tile.split(".p/").next().unwrap();
        ran.failed(3, named);
        fs::rename(&away, &there).unwrap();
    }
    fs::remove_file(world.path("out/checkpoint")).unwrap();
    fsck_url(&world, &files).failed(3, "checkpoint answered 404");
}

#[test]
fn a_full_tile_does_for_a_partial_one_that_was_dropped() {
    let (world, server) = large();
    world.run("export log out").done();
    // The log grows; a mirror of it keeps the old checkpoint, and only the newest tiles.
    let checkpoint = world.read("out/checkpoint");
    world.write(
        "more.jsonl",
        String::from_utf8(world.read("releases.jsonl")).unwrap().replace("/tool@", "/more@"),
    );
    world.run(&format!("publish --from more.jsonl --log {} --key publisher.pem", server.url)).done();
    world.run("export log out").done();
    for partial in ["tile/0/002.p/88", "tile/entries/002.p/88"] {
        fs::remove_file(world.path("out").join(partial)).unwrap();
    }
    world.write("out/checkpoint", checkpoint);
    let files = serve_files(&world.path("out"));
    let ran = fsck_url(&world, &files).done();
    assert!(ran.stdout.starts_with("sound  600 entries"), "{ran:?}");
}

#[test]
fn another_log_under_the_same_address_is_not_this_one() {
    let world = stopped();
    world.run("init other --origin log.example.org/other").done();
    world.run("export log out").done();
    let files = serve_files(&world.path("out"));
    let line = format!("fsck {files} --policy other/endpoint.policy");
    world
        .run(&line)
        .failed(3, "the checkpoint is of another log: expected origin log.example.org/other, saw");
    world.write("out/checkpoint", "<html>not found</html>");
    let ran = fsck_url(&world, &files).failed(3, "has no tree head signed by a trusted log");
    assert!(ran.stderr.contains("it sent 22 bytes (without a content type) that begin with"), "{ran:?}");
}

#[test]
fn a_slot_that_does_not_check_is_reported_with_the_head_that_counts() {
    let world = stopped();
    let whole = world.read("log/checkpoint");
    let numbers: Vec<u64> = whole.chunks(whole.len() / 2).map(slot_number).collect();
    let older = usize::from(numbers[0] >= numbers[1]);
    let size = |slot: usize| {
        let note = String::from_utf8_lossy(&whole[slot * whole.len() / 2..]).into_owned();
        note.lines().nth(2).unwrap().to_owned()
    };
    for (torn, counts) in [(older, 1 - older), (1 - older, older)] {
        flip(&world, "log/checkpoint", torn * whole.len() / 2 + 200);
        let ran = world.run("fsck log").done();
        let expected = format!("slot {} of log/checkpoint does not check", torn + 1);
        assert!(ran.stderr.contains(&expected), "{ran:?}");
        assert!(ran.stderr.contains(&format!("the head of tree size {} counts", size(counts))), "{ran:?}");
        world.write("log/checkpoint", &whole);
    }
    assert!(!world.run("fsck log").done().stderr.contains("slot"), "both check");
}

/// The number in the first line of a slot; 0 in one that was never written.
fn slot_number(slot: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(slot).into_owned();
    text.strip_prefix("treehead slot, number ").map_or(0, |rest| rest[..20].parse().unwrap())
}
