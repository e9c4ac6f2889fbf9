//! Something else answers in place of the log: a sign-in page, an empty page, half a head. Nobody signed these
//! answers, so they accuse nobody.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::common::proxy::Proxy;
use crate::online::{online, publish, releases, verify};
use crate::program::{Server, World};

const PAGE: &[u8] = b"<!doctype html>\n<title>Hotel \x1b[31m Wi-Fi: sign in</title>\n";

/// Gives every request this answer, until the test ends.
fn portal(head: &str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}

/// The address of a server in the log's place, and the expected words about it.
fn portals(server: &Server) -> Vec<(String, &'static str)> {
    let head = String::from_utf8(server.get("/checkpoint").1).unwrap();
    let text = head.split("\n\n").next().unwrap();
    let changed = head.replacen("\n2\n", "\n3\n", 1);
    assert_ne!(changed, head);
    let (html, plain) = ("200 OK\r\nContent-Type: text/html", "200 OK\r\nContent-Type: text/plain");
    let large = [PAGE, &vec![b' '; 300_000]].concat();
    vec![
        (
            portal(html, PAGE.to_vec()),
            "58 bytes (\"text/html\") that begin with \"<!doctype html>\\n<title>Hotel ",
        ),
        (portal(html, Vec::new()), "it sent an empty body (\"text/html\")"),
        (portal("200 OK", Vec::new()), "it sent an empty body (without a content type)"),
        (portal(html, large), "the answer is too large: expected at most 262144 bytes"),
        (
            portal("302 Found\r\nLocation: https://hotel.example/sign-in", Vec::new()),
            "redirected to \"https://hotel.example/sign-in\"",
        ),
        (
            portal(plain, head.as_bytes()[..20].to_vec()),
            "20 bytes (\"text/plain\") that begin with \"log.example.com/rele",
        ),
        (portal(plain, format!("{text}\n").into_bytes()), "; it sent"),
        (portal(plain, changed.into_bytes()), "the text or the signature was changed"),
    ]
}

#[test]
fn whoever_answers_in_the_logs_place_accuses_nobody() {
    let (world, server) = releases(2);
    world.run("backup log copy").done();
    let commands = |url: &str| {
        vec![
            online("2.bin", url),
            format!("fsck {url} --policy log/endpoint.policy"),
            format!("prove 2.bin --log {url} --policy log/endpoint.policy --out elsewhere"),
            format!(
                "withdraw --log {url} --key publisher.pem --policy log/endpoint.policy --leaf 0 --purl pkg:generic/example/scanner@1.0 --reason broken"
            ),
            format!("load --log {url} --vkey log/log.vkey --writers 1 --duration 1s"),
        ]
    };
    for (url, says) in portals(&server) {
        for line in commands(&url) {
            let ran = world.run(&line).failed(3, says);
            for accusing in ["Do not install", "tampered", "operator", "damaged", "\u{1b}"] {
                assert!(!ran.stderr.contains(accusing), "{accusing}: {line}: {ran:?}");
            }
        }
    }
    assert!(!world.path("elsewhere").exists());
    world.run(&verify("2.bin", "")).done();
    world.run(&online("2.bin", &server.url)).done();
    assert_eq!(server.tree_size(), 2);
    // A repair works while the log is stopped.
    let portals = portals(&server);
    drop(server);
    for (url, says) in portals {
        world.run(&format!("repair log --from {url}")).failed(3, says);
    }
}

/// The page answers in the middle of the repair.
fn from_then_on(server: &Server, paths: &'static str) -> Proxy {
    Proxy::before(&server.url, move |path| path.starts_with(paths).then(|| (200, PAGE.to_vec())))
}

#[test]
fn a_page_in_place_of_tiles_searches_or_proofs_accuses_nobody_either() {
    let (world, server): (World, Server) = releases(1);
    world.run(&verify("1.bin", "")).done();
    publish(&world, &server, 2);
    for (paths, line) in [
        ("/tile", online("1.bin", "URL")),
        ("/releases", online("1.bin", "URL")),
        ("/releases", "prove 1.bin --log URL --out elsewhere".to_owned()),
        ("/proof", "prove 1.bin --log URL --out elsewhere".to_owned()),
    ] {
        let page = from_then_on(&server, paths);
        let ran = world.run(&line.replace("URL", &page.url));
        assert_eq!(ran.exit, 3, "{paths}: {ran:?}");
        assert!(!ran.stderr.contains("Do not install") && !ran.stderr.contains('\u{1b}'), "{paths}: {ran:?}");
        assert!(page.asked(paths) > 0, "{paths}");
    }
    world.run(&online("1.bin", &server.url)).done();
}
