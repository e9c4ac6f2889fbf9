//! Raw HTTP/1.1 messages, read completely and forwarded byte for byte.

use std::io::{self, Read as _};
use std::net::TcpStream;

/// Longest head of a message.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The bytes of a request or an answer.
#[derive(Debug, Clone)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// Length of the part before the body.
    pub head: usize,
}

impl Message {
    /// Reads a request. `None` if the connection ends first.
    pub fn request(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::head(stream)? else { return Ok(None) };
        let length = message.header("content-length").map_or(Ok(0), str::parse);
        message.take(stream, length.map_err(io::Error::other)?)?;
        Ok(Some(message))
    }

    /// Reads an answer.
    pub fn answer(stream: &mut TcpStream) -> io::Result<Self> {
        let mut message = Self::head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if matches!(message.status(), 204 | 304) {
            return Ok(message);
        }
        if let Some(length) = message.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            message.take(stream, length)?;
            return Ok(message);
        }
        if message.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            while !message.bytes[message.head..].ends_with(b"\r\n0\r\n\r\n")
                && message.bytes[message.head..] != *b"0\r\n\r\n"
            {
                message.take(stream, 1)?;
            }
            return Ok(message);
        }
        stream.read_to_end(&mut message.bytes)?;
        Ok(message)
    }

    /// An answer that the proxy makes itself.
    pub fn own_answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += "\r\n";
        Self { head: head.len(), bytes: [head.as_bytes(), body].concat() }
    }

    fn head(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let (mut bytes, mut ahead) = (Vec::new(), vec![0; 4_096]);
        loop {
            let seen = stream.peek(&mut ahead)?;
            if seen == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let before: usize = bytes.len();
            bytes.extend_from_slice(&ahead[..seen]);
            let from = before.saturating_sub(3);
            let end = bytes[from..].windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                bytes.truncate(from + end + 4);
            }
            stream.read_exact(&mut ahead[..bytes.len() - before])?;
            if end.is_some() {
                return Ok(Some(Self { head: bytes.len(), bytes }));
            }
            if bytes.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("an endless head"));
            }
        }
    }

    fn take(&mut self, stream: &mut TcpStream, count: usize) -> io::Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + count, 0);
        stream.read_exact(&mut self.bytes[before..])
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.bytes[..self.head]).unwrap_or_default().split("\r\n")
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.lines().next().and_then(|line| line.split(' ').next()).unwrap_or_default()
    }

    /// The path of a request, with its query.
    pub fn path(&self) -> &str {
        self.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.path().parse().unwrap_or_default()
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes[self.head..]
    }
}
