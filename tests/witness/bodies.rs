//! Bodies that are no requests, arrive in parts, or not at all: the witness answers other clients, and forgets
//! nothing.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use flate2::Compression;
use flate2::write::GzEncoder;
use treehead::proof::wire::MAX_ADD_CHECKPOINT_BYTES;

use super::world::{Served, TestLog};
use crate::common::framing::{nothing_is_smuggled, only_chunked_is_understood};
use crate::common::http::{connect, exchange, read_reply, request};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn other_spellings_are_malformed() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let good = log.request(9, 20).to_string();
    for bad in [
        String::new(),
        "\n".to_owned(),
        good.replace('\n', "\r\n"),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!(" {good}"),
        good.replacen("old 9", "old 09", 1),
        good.replacen("old 9", "old +9", 1),
        good.replacen("old 9", "old  9", 1),
        good.replacen("old 9", "OLD 9", 1),
        good.replacen("old 9\n", "", 1),
        good.replacen("=\n", "\n", 1),
        good.replacen("\n\n", "\n", 1),
        good.replacen('—', "-", 1),
        good.replacen('—', "\u{7}—", 1),
        good.lines().next().unwrap().to_owned(),
    ] {
        witness.add(&bad).problem(400, "malformed");
    }
    let noise: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    exchange(witness.address, &request("POST", "/add-checkpoint", &[], &noise)).problem(400, "malformed");
    witness.is_unmoved(&log, 9);
    assert_eq!(witness.add(&good).status, 200);
}

#[test]
fn bodies_are_framed_in_one_way() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    for path in ["/add-checkpoint", "/sign-subtree"] {
        only_chunked_is_understood(witness.address, path);
        nothing_is_smuggled(witness.address, path);
    }
    witness.cosigns(&log, 0, 9);
}

#[test]
fn a_compressed_body_is_not_unpacked() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    // Sixteen mebibytes, compressed to a few thousand bytes.
    let bomb = gzip(&vec![b'x'; 16 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024);
    for body in [bomb, gzip(log.request(9, 20).to_string().as_bytes())] {
        for encoding in ["gzip", "deflate", "identity"] {
            let encoded = request("POST", "/add-checkpoint", &[("Content-Encoding", encoding)], &body);
            exchange(witness.address, &encoded).problem(415, "encoded");
        }
        exchange(witness.address, &request("POST", "/add-checkpoint", &[], &body)).problem(400, "malformed");
    }
    witness.is_unmoved(&log, 9);
}

#[test]
fn a_huge_body_is_refused_before_it_is_whole() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    for route in ["/add-checkpoint", "/sign-subtree"] {
        for length in ["1000000", "99999999999", "9223372036854775807"] {
            // No byte of it follows.
            let bytes = request("POST", route, &[("Content-Length", length)], b"");
            exchange(witness.address, &bytes).problem(413, "too-large");
        }
    }
    // Of unknown length, and never ending.
    let mut stream = connect(witness.address);
    stream.write_all(&request("POST", "/add-checkpoint", &[("Transfer-Encoding", "chunked")], b"")).unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
    let mut sent = 0;
    while sent <= MAX_ADD_CHECKPOINT_BYTES + 0x10000 && stream.write_all(&chunk).is_ok() {
        sent += 0x1000;
    }
    read_reply(&mut stream, false).unwrap().problem(413, "too-large");
    // The longest line that is no number.
    let body = [b"old ".as_slice(), &vec![b'9'; MAX_ADD_CHECKPOINT_BYTES - 4]].concat();
    exchange(witness.address, &request("POST", "/add-checkpoint", &[], &body)).problem(400, "malformed");
    witness.is_unmoved(&log, 9);
}

#[test]
fn a_body_that_ends_early_leaves_nothing_behind() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    witness.cosigns(&log, 0, 9);
    let body = log.request(9, 20).to_string().into_bytes();
    let whole = request("POST", "/add-checkpoint", &[], &body);
    for length in [10, whole.len() - body.len(), whole.len() - body.len() / 2, whole.len() - 1] {
        // The client vanishes.
        let mut stream = connect(witness.address);
        stream.write_all(&whole[..length]).unwrap();
        drop(stream);
        // The client closes its sending side, and waits for an answer.
        let mut stream = connect(witness.address);
        stream.write_all(&whole[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
    }
    witness.is_unmoved(&log, 9);
}

#[test]
fn a_thousand_idle_connections_keep_nobody_waiting() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let half = request("POST", "/add-checkpoint", &[("Content-Length", "5000")], b"old 0\n");
    let idle: Vec<TcpStream> = (0..1_000)
        .map(|at| {
            let mut stream = connect(witness.address);
            match at % 3 {
                0 => {}
                1 => stream.write_all(b"POST /add-che").unwrap(),
                _ => stream.write_all(&half).unwrap(),
            }
            stream
        })
        .collect();
    witness.cosigns(&log, 0, 9);
    witness.is_unmoved(&log, 9);
    assert_eq!(idle.len(), 1_000);
    drop(idle);
    witness.cosigns(&log, 9, 20);
}

#[test]
fn one_connection_serves_many_requests() {
    let log = TestLog::new("log.example/a", 40);
    let witness = Served::new(&[&log]);
    let mut stream = connect(witness.address);
    for next in 1..30 {
        let body = log.request(next - 1, next).to_string();
        let head =
            format!("POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        assert_eq!(read_reply(&mut stream, false).unwrap().status, 200);
        // An error does not close the connection either.
        stream
            .write_all(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nold")
            .unwrap();
        read_reply(&mut stream, false).unwrap().problem(400, "malformed");
    }
    witness.is_unmoved(&log, 29);
}
