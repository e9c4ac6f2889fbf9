//! Scarce resources of the system: files, and address space.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::program::World;

/// The log answers and appends beside idle connections that would take three times its files.
#[test]
fn idle_connections_take_no_files_from_the_log() {
    let world = World::opaque();
    let server = world.start_limited("ulimit -n 64", "serve log --listen 127.0.0.1:0");
    let address = server.url.strip_prefix("http://").expect("an address");
    let idle: Vec<TcpStream> = (0..180).map(|_| TcpStream::connect(address).expect("queued")).collect();
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.get("/checkpoint").0, 200);
    }
    world.run(&format!("load --log {} --writers 4 --duration 1s --vkey log/log.vkey", server.url)).done();
    assert!(server.tree_size() > 0);
    world.run(&format!("fsck {} --policy log/endpoint.policy", server.url)).done();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    drop(idle);
    let said = server.terminate();
    assert!(!said.contains("Too many open files"), "{said}");
}

#[test]
fn too_little_address_space_is_told_before_anything_begins() {
    let world = World::opaque();
    world.run("witness init w --name w.example.com --listen 127.0.0.1:0 --url http://127.0.0.1:1").done();
    for line in ["serve log --listen 127.0.0.1:0", "witness w"] {
        let ended = world.limited("ulimit -v 1000000", line).output().expect("it runs");
        let said = String::from_utf8(ended.stderr).expect("text");
        assert_eq!(ended.status.code(), Some(3), "{line}: {said}");
        assert!(said.contains("expected at least 4194304 (KiB) or unlimited, saw 1000000"), "{line}: {said}");
    }
    let line = "load --log http://127.0.0.1:1 --batch 4096 --writers 64";
    let ended = world.limited("ulimit -v 400000", line).output().expect("it runs");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("a quarter of `ulimit -v`"), "{said}");
}
