//! Bodies that arrive in parts, with the wrong length, or not at all.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use crate::common::http::{connect, exchange, read_reply, request};
use crate::common::log::Served;

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    request("POST", path, &[("Transfer-Encoding", "chunked")], body)
}

#[test]
fn a_chunked_body_is_taken_whole() {
    let log = Served::opaque();
    let body = b"3\r\nan \r\n1;ext=1\r\ne\r\n4\r\nntry\r\n0\r\nTrailer: x\r\n\r\n";
    assert_eq!(exchange(log.address, &chunked("/add", body)).text(), "0");
    assert_eq!(log.get("/tile/entries/000.p/1").body, b"\0\x08an entry");
    // Send the body slowly, in chunks.
    let mut stream = connect(log.address);
    for part in [chunked("/add", b"").as_slice(), b"2\r\n", b"ab", b"\r\n", b"0\r\n\r\n"] {
        stream.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read_reply(&mut stream, false).unwrap().text(), "1");
}

#[test]
fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let log = Served::opaque();
    let (mut large, mut fits) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        large.extend_from_slice(b"1000\r\n");
        large.extend_from_slice(&[b'x'; 0x1000]);
        large.extend_from_slice(b"\r\n");
    }
    fits.extend_from_slice(b"ffff\r\n");
    fits.extend_from_slice(&[b'x'; 0xffff]);
    fits.extend_from_slice(b"\r\n0\r\n\r\n");
    large.extend_from_slice(b"0\r\n\r\n");
    let detail = exchange(log.address, &chunked("/add", &large)).problem(413, "too-large");
    assert!(detail.contains("65535"), "{detail}");
    assert_eq!(exchange(log.address, &chunked("/add", &fits)).text(), "0");
}

#[test]
fn a_body_that_ends_early_leaves_nothing_behind() {
    let log = Served::opaque();
    let starts = [
        request("POST", "/add", &[("Content-Length", "100")], b"half of "),
        request("POST", "/add-batch", &[("Content-Length", "100")], b"\0\x04half"),
        chunked("/add", b"8\r\nhalf of "),
        chunked("/add", b"7\r\na whole\r\n"),
        b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Le".to_vec(),
    ];
    for bytes in &starts {
        // The client vanishes.
        let mut stream = connect(log.address);
        stream.write_all(bytes).unwrap();
        drop(stream);
        // The client half-closes the connection and reads: it gets no index.
        let mut stream = connect(log.address);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
    }
    assert_eq!(log.post("/add", b"the first").text(), "0");
    assert_eq!(log.tree_size(), 1);
}

#[test]
fn a_body_longer_than_announced_is_taken_as_long_as_announced() {
    let log = Served::opaque();
    let bytes = request("POST", "/add", &[("Content-Length", "5")], b"entry and a smuggled tail");
    let reply = exchange(log.address, &bytes);
    assert_eq!((reply.status, reply.text()), (200, "0"));
    assert_eq!(log.get("/tile/entries/000.p/1").body, b"\0\x05entry");
    assert_eq!(log.tree_size(), 1);
}

#[test]
fn what_is_announced_as_too_long_is_refused_before_it_is_sent() {
    let log = Served::opaque();
    for (route, length) in [
        ("/add", "65536"),
        ("/add-batch", "8388609"),
        ("/add", "9223372036854775807"),
        ("/add-batch", "99999999999"),
    ] {
        // No byte of the body follows: the answer must not wait for it.
        let bytes = request("POST", route, &[("Content-Length", length)], b"");
        let detail = exchange(log.address, &bytes).problem(413, "too-large");
        assert!(detail.contains(length), "{detail}");
    }
}

#[test]
fn what_is_no_http_is_refused_and_leaves_nothing_behind() {
    let log = Served::opaque();
    for bytes in [
        b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nentry".as_slice(),
        b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nentry",
        b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nentry!",
        b"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nentry\r\n0\r\n\r\n",
        b"POST /add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nentry",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST  /add\r\n\r\nentry",
    ] {
        let mut stream = connect(log.address);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 400");
        assert!(refused, "{}: {}", bytes.escape_ascii(), answer.escape_ascii());
    }
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn one_connection_serves_many_requests() {
    let log = Served::opaque();
    let mut stream = connect(log.address);
    // A pipelining client sends everything at once; answers arrive in order.
    let requests: String = (0..20)
        .map(|at| format!("POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{at:02}"))
        .collect();
    stream.write_all(requests.as_bytes()).unwrap();
    for at in 0..20 {
        assert_eq!(read_reply(&mut stream, false).unwrap().text(), at.to_string());
    }
}
