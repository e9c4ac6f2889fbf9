//! Requests with odd framing, which every server treats alike: RFC 9112 section 6.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use super::http::{connect, exchange, request};

/// Transfer codings, one per header line, that end in chunked but are more than that.
const UNKNOWN_CODINGS: [&[&str]; 5] = [
    &["gzip, chunked"],
    &["gzip", "chunked"],
    &["identity, chunked"],
    &["x-unknown,chunked"],
    &["gzip,deflate,chunked"],
];

/// Headers that give a request two different ends.
const MISLEADING: [&[(&str, &str)]; 5] = [
    &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
    &[("Content-Length", "4"), ("Transfer-Encoding", "gzip, chunked")],
    &[("Content-Length", "5"), ("Transfer-Encoding", "identity")],
    &[("Content-Length", "5"), ("Content-Length", "60")],
];

/// A request whose body is `entry` in a chunk, under these codings.
pub fn with_codings(path: &str, codings: &[&str]) -> Vec<u8> {
    let headers: Vec<_> = codings.iter().map(|coding| ("Transfer-Encoding", *coding)).collect();
    request("POST", path, &headers, b"5\r\nentry\r\n0\r\n\r\n")
}

/// Checks that chunked, once, is the only accepted transfer coding, and that any other closes the connection.
pub fn only_chunked_is_understood(address: SocketAddr, path: &str) {
    for codings in UNKNOWN_CODINGS {
        let reply = exchange(address, &with_codings(path, codings));
        let detail = reply.problem(501, "transfer-coding");
        assert!(detail.contains("no Transfer-Encoding other than chunked"), "{detail}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    for codings in [&["chunked, chunked"][..], &["chunked", "chunked"]] {
        let detail = exchange(address, &with_codings(path, codings)).problem(400, "malformed");
        assert!(detail.contains("expected chunked, once"), "{codings:?}: {detail}");
    }
}

/// Checks that no bytes after the first request are read as a second one.
pub fn nothing_is_smuggled(address: SocketAddr, path: &str) {
    for headers in MISLEADING {
        let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: log.example\r\n");
        headers.iter().for_each(|(name, value)| bytes += &format!("{name}: {value}\r\n"));
        bytes += "\r\n5\r\nentry\r\n0\r\n\r\n";
        bytes += &format!("POST {path} HTTP/1.1\r\nHost: log.example\r\nContent-Length: 8\r\n\r\nsmuggled");
        let mut stream = connect(address);
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers).to_ascii_lowercase();
        assert_eq!(answers.matches("http/1.1 ").count(), 1, "{headers:?}: {answers}");
        assert!(answers.contains("connection: close"), "{headers:?}: RFC 9112 section 6.3: {answers}");
    }
}
