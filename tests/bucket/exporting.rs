//! `treehead export` to a bucket, and from one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use libtest_mimic::Completion;
use rustix::process::Signal;
use treehead::bucket::Objects as _;

use crate::REQUIRED;
use crate::fleet::World;
use crate::moving::with_log;
use crate::needs::{Outcome, ignored};
use crate::store::store;

/// The head of the store's answer to an anonymous reader, in lower case.
fn head_of(world: &World, path: &str) -> String {
    let host = world.store.endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    answer.split_once("\r\n\r\n").unwrap().0.to_owned()
}

pub fn an_export_in_a_bucket_is_served_by_the_store() -> Outcome {
    let world = match store() {
        Ok(store) => World::empty(store, "export"),
        Err(why) => return ignored(&why, REQUIRED),
    };
    with_log(&world, 300);
    let url = world.url.clone();
    let path = url.strip_prefix("s3:/").unwrap();
    let readers = format!("{}{path}", world.store.endpoint);
    let export = |log: &str, out: &str| {
        let output = world.command(&["export", log, out, "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        ["tree_size", "written", "kept"].map(|field| json[field].as_u64().expect(field))
    };
    let check = |size: u64| {
        let (sound, said) =
            world.run(&["fsck", &readers, "--policy", "log/endpoint.policy", "--since", "kept"]);
        assert!(sound && said.contains(&format!("at tree size {size}")), "{said}");
    };
    let [size, written, kept] = export("log", &url);
    assert!(size == 300 && written > 4 && kept == 0, "{written} {kept}");
    assert_eq!(export("log", &url), [300, 0, written]);
    world.store.allow_reading();
    check(300);
    for (name, media_type, cache) in [
        ("checkpoint", "text/plain", "no-cache"),
        ("tile/0/000", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/0/001.p/44", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("index.html", "text/html", "no-cache"),
        ("explorer/treehead.wasm", "application/wasm", "no-cache"),
        ("explorer/endpoint.trust", "application/json", "no-cache"),
    ] {
        let head = head_of(&world, &format!("{path}/{name}"));
        assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
        assert!(head.contains(&format!("content-type: {media_type}")), "{name}: {head}");
        assert!(head.contains(&format!("cache-control: {cache}")), "{name}: {head}");
    }
    let mut server = world.serve("log");
    assert_eq!(server.add("one more"), 300);
    server.end(Signal::TERM);
    let [size, more, kept] = export("log", &url);
    assert_eq!((size, more, kept), (301, 2, written), "a tile and a bundle");
    check(301);
    // Export a log that lives in a bucket to another bucket and to a directory.
    let (served, other) = (format!("{url}-served"), format!("{url}-other"));
    let (moved, said) = world.run(&["move", "log", &served]);
    assert!(moved, "{said}");
    assert_eq!(export("log", &other)[0], 301);
    assert_eq!(export("log", "out")[0], 301);
    let key = |url: &str| url.strip_prefix(&format!("s3://{}/", world.store.bucket)).unwrap().to_owned();
    let (there, original) = (world.store.client(&key(&other)), world.store.client(&key(&url)));
    for name in ["checkpoint", "tile/0/000", "tile/0/001.p/45", "tile/entries/001.p/45", "index.html"] {
        let bytes = there.get(name, 1 << 20)?.expect(name).bytes;
        assert!(std::fs::read(world.path("out").join(name))? == bytes, "{name}");
        assert!(original.get(name, 1 << 20)?.expect(name).bytes == bytes, "{name}");
    }
    let (refused, said) = world.run(&["export", "log", &served]);
    assert!(!refused && said.contains("refused (not-an-export)"), "{said}");
    let (refused, said) = world.run(&["export", "log", "out", "--region", "here"]);
    assert!(!refused && said.contains("expected s3://BUCKET/PREFIX"), "{said}");
    Ok(Completion::Completed)
}
