//! `treehead export`: the log as plain files.

use crate::common::proxy::serve_files;
use crate::program::World;

fn export(world: &World) -> (u64, u64, u64) {
    let json = world.run("export log out --json").done().json();
    let number = |field: &str| json[field].as_u64().expect("a number");
    (number("tree_size"), number("written"), number("kept"))
}

#[test]
fn an_export_is_added_to_and_never_written_twice() {
    let world = World::new();
    let server = world.serve();
    for sequence in 1..=3 {
        world.publish(&server, &format!("{sequence}.bin"), &sequence.to_string(), sequence).done();
    }
    assert_eq!(export(&world), (3, 6, 0), "a tile and a bundle for each head, while the log is served");
    assert_eq!(export(&world), (3, 0, 6));
    for path in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        assert_eq!(world.read(&format!("out/{path}")), server.get(&format!("/{path}")).1, "{path}");
    }
    world.publish(&server, "4.bin", "4", 4).done();
    assert_eq!(export(&world), (4, 2, 6));
    assert!(world.path("out/tile/0/000.p/3").exists(), "a reader of the old checkpoint needs the old tile");
    // Any web server can serve it, from any path.
    drop(server);
    let files = serve_files(&world.path("out"));
    let ran = world.run(&format!("fsck {files} --policy log/endpoint.policy")).done();
    assert!(ran.stdout.starts_with("sound  4 entries and 1 tile re-hashed"), "{ran:?}");
}

#[test]
fn the_explorer_is_exported_and_nobody_elses_page_is_replaced() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    world.run("export log out").done();
    let page = String::from_utf8(world.read("out/index.html")).unwrap();
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; ";
    assert!(page.contains(policy) && page.contains("connect-src 'self'; "), "{page}");
    for name in ["app.js", "style.css", "treehead.js", "treehead.wasm"] {
        assert_eq!(
            world.read(&format!("out/explorer/{name}")),
            server.get(&format!("/explorer/{name}")).1,
            "{name}"
        );
    }
    let trust = "explorer/endpoint.trust";
    assert_eq!(world.read(&format!("out/{trust}")), server.get(&format!("/{trust}")).1);
    world.run("export log out --explore https://log.example.com/releases/").done();
    let page = String::from_utf8(world.read("out/index.html")).unwrap();
    assert!(page.contains("connect-src 'self' https://log.example.com; "), "{page}");
    world.run("export log out --explore log.example.com").failed(2, "expected an address");
    world.write("out/index.html", "our own page");
    world.run("export log out").done();
    assert_eq!(world.read("out/index.html"), b"our own page");
}

#[test]
fn what_is_there_already_and_differs_is_not_overwritten() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    export(&world);
    world.write("out/tile/0/000.p/1", [7; 32]);
    world.run("export log out").refused("export-differs");
    assert_eq!(world.read("out/tile/0/000.p/1"), [7; 32]);
}

#[test]
fn a_damaged_log_is_not_exported_under_its_checkpoint() {
    let world = World::new();
    let server = world.serve();
    world.publish(&server, "1.bin", "1", 1).done();
    world.publish(&server, "2.bin", "2", 2).done();
    server.terminate();
    let segment = "log/journal/00000000000000000000.seg";
    let whole = world.read(segment);
    world.write(segment, &whole[..whole.len() - 1]);
    world.run("export log out").refused("journal-short");
    assert!(!world.path("out/checkpoint").exists());
}

/// Appends entries one by one: each is a batch, and has a tree head.
fn append(world: &World, server: &crate::program::Server, from: u64, to: u64) {
    for number in from..to {
        let client = server.url.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(client).unwrap();
        let body = format!("entry {number}");
        let head = format!("POST /add?wait=published HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (_, checkpoint) = server.get("/checkpoint");
        world.write(&format!("heads/{}", number + 1), checkpoint);
    }
}

#[test]
fn whoever_has_an_older_head_finds_its_tiles_in_an_export() {
    use treehead::merkle::{Tile, TreeSize, tiles_of};
    let world = World::opaque();
    std::fs::create_dir(world.path("heads")).unwrap();
    let server = world.serve();
    let there = |tile: Tile| world.path(&format!("out/{tile}")).exists();
    let full = |tile: Tile| Tile::new(tile.id, 256).unwrap();
    let check = |sizes: std::ops::RangeInclusive<u64>, end: u64| {
        for size in sizes {
            for tile in tiles_of(TreeSize::new(size).unwrap()) {
                let is_full = Tile::in_tree(tile.id, TreeSize::new(end).unwrap()).unwrap().is_full();
                assert!(
                    if is_full { there(full(tile)) } else { there(tile) },
                    "{tile} of the head at {size}"
                );
            }
        }
    };
    append(&world, &server, 0, 40);
    world.run("export log out").done();
    check(1..=40, 40);
    append(&world, &server, 40, 262);
    world.run("export log out").done();
    check(1..=262, 262);
    // The log serves the same bytes.
    for path in ["tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/001.p/5", "tile/entries/000"] {
        assert_eq!(world.read(&format!("out/{path}")), server.get(&format!("/{path}")).1, "{path}");
    }
    // Partial tiles stay for one more export: a reader may have just read an older checkpoint.
    assert!(world.path("out/tile/0/000.p/40").exists() && world.path("out/tile/entries/000.p/40").exists());
    world.write("out/tile/0/000.p/README", "mine");
    world.run("export log out").done();
    assert!(!world.path("out/tile/0/000.p/40").exists() && !world.path("out/tile/entries/000.p").exists());
    assert!(world.path("out/tile/0/000.p/README").exists(), "other files stay");
    check(1..=262, 262);
    // Anybody with an old head of any size can prove that the current log continues it.
    drop(server);
    let files = serve_files(&world.path("out"));
    for size in [1, 39, 40, 41, 255, 256, 257, 261] {
        let old = format!("heads/{size}");
        world.run(&format!("fsck {files} --policy log/endpoint.policy --since {old}")).done();
    }
}

#[test]
fn an_export_goes_into_a_directory_of_its_own() {
    let world = World::new();
    world.run("backup log saved").done();
    world.run("init other --origin log.example.com/other").done();
    world.run("export other theirs").done();
    world.run("witness init w --name w.example.com --listen 127.0.0.1:9001").done();
    world.run("monitor init m --log http://127.0.0.1:1 --policy log/endpoint.policy").done();
    std::fs::create_dir(world.path("full")).unwrap();
    world.write("full/index.html", "mine");
    for (place, says) in [
        ("saved", "saved is a backup of a log: expected a new or empty directory"),
        ("log", "log is the directory of a log: "),
        ("other", "other is the directory of a log: "),
        ("w", "w is the directory of a witness: "),
        ("m", "m is the directory of a monitor: "),
        ("full", "full is a directory with other files in it: "),
        ("theirs", "theirs/checkpoint is not a checkpoint of log.example.com/releases: "),
    ] {
        let before = list(&world.path(place));
        let ran = world.run(&format!("export log {place}")).refused("not-an-export");
        assert!(ran.stderr.contains(says), "{ran:?}");
        assert_eq!(list(&world.path(place)), before, "{place}");
    }
    world.run("backup log saved").done();
    world.run("fsck saved").done();
    // The export of a restored log: a backup's directory is refused as its place.
    world.run("restore saved saved2").done();
    world.run("backup log third").done();
    world.run("restore saved third").refused("is-a-backup");
    world.run("export log new").done();
    world.run("backup log new").refused("not-a-backup");
    world.run("restore saved new").failed(3, "new is no log");
}

fn list(dir: &std::path::Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    names
}
