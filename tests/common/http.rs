//! Handwritten HTTP/1.1: requests that no library would send, and answers byte for byte.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A limit that no answer reaches, so that a hanging test fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, with its body dechunked.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header that must not occur twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        first
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The JSON of a successful answer.
    pub fn json(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, Some("application/json")), "{self}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Checks that this is the problem document of `code`, and returns its detail.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "errors are not for caches");
        let body: Value = serde_json::from_slice(&self.body).expect("JSON");
        let fields = body.as_object().expect("an object").keys().map(String::as_str);
        // RFC 9457 section 3.2: these are extension members, only present for a fault in a batch, or a server that stands by.
        let fields: Vec<&str> =
            fields.filter(|field| !matches!(*field, "entry" | "entry_detail" | "holder")).collect();
        assert_eq!(fields, ["code", "detail", "status", "title", "type"], "{self}");
        assert_eq!(body["code"], code, "{self}");
        assert_eq!(body["type"], format!("urn:treehead:problem:{code}"));
        assert_eq!(body["status"], status);
        assert!(!body["title"].as_str().expect("text").is_empty());
        let detail = body["detail"].as_str().expect("text");
        assert!(detail.len() > 20, "a helpful detail: {detail}");
        detail.to_owned()
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the log listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream
}

/// The bytes of a request. Adds `Content-Length` unless the body is empty or the headers already
/// give its length.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: log.example\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let framed = headers.iter().any(|(name, _)| matches!(*name, "Content-Length" | "Transfer-Encoding"));
    if !body.is_empty() && !framed {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Sends bytes on a new connection and reads the answer.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = connect(address);
    // A log that refuses a body does not read all of it.
    let _ = stream.write_all(bytes);
    read_reply(&mut stream, bytes.starts_with(b"HEAD")).expect("an answer")
}

/// Like `exchange`, but fails if no whole answer comes, as when the server is killed meanwhile.
pub fn try_exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(bytes)?;
    read_reply(&mut io::BufReader::new(stream), false)
}

pub fn get(address: SocketAddr, path: &str) -> Reply {
    exchange(address, &request("GET", path, &[], b""))
}

pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> Reply {
    exchange(address, &request("POST", path, &[], body))
}

/// Posts, and accepts JSON.
pub fn post_json(address: SocketAddr, path: &str, body: &[u8]) -> Value {
    exchange(address, &request("POST", path, &[("Accept", "application/json")], body)).json()
}

/// Reads one answer. An error if the connection ends too early.
pub fn read_reply(stream: &mut impl Read, to_head: bool) -> io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(stream)?);
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_owned(), value.trim().to_owned())
    };
    let mut reply = Reply {
        status: status[..3].parse().expect("a status"),
        headers: lines.map(header).collect(),
        body: Vec::new(),
    };
    // RFC 9112 section 6.3: neither has a body.
    if to_head || reply.status == 304 {
        return Ok(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(byte(stream)?);
            }
            let length = std::str::from_utf8(&line).expect("ASCII").trim();
            let length = usize::from_str_radix(length, 16).expect("a chunk's length");
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk)?;
            reply.body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                return Ok(reply);
            }
        }
    }
    let length = reply.header("content-length").expect("a length").parse().expect("a number");
    reply.body = vec![0; length];
    stream.read_exact(&mut reply.body)?;
    Ok(reply)
}

fn byte(stream: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}
