//! Answers on the wire, and faults in sending them.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::lie::{Framing, Lie};

/// A request or connection that is counted as in progress until this is dropped.
pub struct InProgress<'a>(&'a AtomicUsize);

impl<'a> InProgress<'a> {
    pub fn count((now, most): &'a (AtomicUsize, AtomicUsize)) -> Self {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(now)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The answer on a connection without faults.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub media_type: &'static str,
    pub body: Vec<u8>,
}

/// Reads a request: its path without the leading slash, and its headers.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<String>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.trim_end().is_empty() {
            break;
        }
        headers.push(line.trim_end().to_owned());
    }
    let path = first.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    Some((path, headers))
}

/// Announces that the connection closes after a complete answer. Otherwise the client may already be sending the next
/// request.
const LAST: &str = "Connection: close\r\n";

fn head(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\n{headers}\r\n").into_bytes()
}

pub fn write(stream: &mut TcpStream, answer: &Answer, request: InProgress<'_>) -> io::Result<()> {
    let (media_type, length) = (answer.media_type, answer.body.len());
    let headers = format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\n");
    finish(stream, &[head(answer.status, &headers), answer.body.clone()].concat(), request)
}

/// Sends the end of a complete answer. The request is over before the last byte is sent: once the client has that, it
/// may send the next request on another connection.
fn finish(stream: &mut TcpStream, bytes: &[u8], request: InProgress<'_>) -> io::Result<()> {
    let (last, others) = bytes.split_last().expect("an answer is not empty");
    stream.write_all(others)?;
    drop(request);
    stream.write_all(&[*last])
}

/// Sends a lie. Usually returns an error, so that the connection is closed.
pub fn write_lie(
    stream: &mut TcpStream,
    lie: &Lie,
    path: &str,
    honest: &Answer,
    request: InProgress<'_>,
    is_over: &dyn Fn() -> bool,
) -> io::Result<()> {
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    match lie {
        Lie::Endless(framing) => endless(stream, *framing, is_over)?,
        Lie::Chunked => {
            stream.write_all(&head(200, "Transfer-Encoding: chunked\r\n"))?;
            for piece in honest.body.chunks(10_000) {
                let length = format!("{:x}\r\n", piece.len());
                stream.write_all(&[length.as_bytes(), piece, b"\r\n"].concat())?;
            }
            return finish(stream, b"0\r\n\r\n", request);
        }
        Lie::Aged(_) => {
            let headers = length(&honest.body) + "Age: 7\r\n";
            return finish(stream, &[head(200, &headers), honest.body.clone()].concat(), request);
        }
        Lie::Drip(pause) => {
            stream.write_all(&head(200, &length(&honest.body)))?;
            drip(stream, &honest.body, *pause, is_over)?;
        }
        Lie::Status(status) => {
            let body = b"{\"code\":\"said-so\",\"detail\":\"because\"}";
            let headers = length(body) + LAST;
            finish(stream, &[&head(*status, &headers), body.as_slice()].concat(), request)?;
        }
        Lie::Busy(status, seconds) => {
            let headers = format!("Retry-After: {seconds}\r\nContent-Length: 0\r\n{LAST}");
            finish(stream, &head(*status, &headers), request)?;
        }
        Lie::Redirect(to) => {
            let to = to.clone().unwrap_or_else(|| format!("/{path}"));
            let headers = format!("Location: {to}\r\nContent-Length: 0\r\n{LAST}");
            finish(stream, &head(302, &headers), request)?;
        }
        Lie::GzipBomb => {
            let (one, times) = (bomb(), 64);
            let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", one.len() * times);
            stream.write_all(&head(200, &headers))?;
            (0..times).try_for_each(|_| stream.write_all(one))?;
        }
        Lie::CloseHalfway => {
            let half = &honest.body[..honest.body.len() / 2];
            stream.write_all(&[&head(200, &length(&honest.body)), half].concat())?;
        }
        Lie::HeaderFlood => {
            stream.write_all(b"HTTP/1.1 200 Said\r\n")?;
            let line = format!("X-Flood: {}\r\n", "x".repeat(1_000)).into_bytes();
            while !is_over() {
                stream.write_all(&line)?;
            }
        }
        Lie::Noise => stream.write_all(b"SSH-2.0-hello\r\n\r\n")?,
        // The others just close the connection.
        _ => {}
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn endless(stream: &mut TcpStream, framing: Framing, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    let headers = match framing {
        Framing::Length => "Content-Length: 1099511627776\r\n",
        Framing::Chunked => "Transfer-Encoding: chunked\r\n",
        Framing::Close => "Connection: close\r\n",
    };
    stream.write_all(&head(200, headers))?;
    let piece = vec![0; 1 << 16];
    while !is_over() {
        match framing {
            Framing::Chunked => stream.write_all(&[b"10000\r\n", piece.as_slice(), b"\r\n"].concat())?,
            _ => stream.write_all(&piece)?,
        }
    }
    Ok(())
}

fn drip(stream: &mut TcpStream, body: &[u8], pause: Duration, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    for byte in body {
        std::thread::sleep(pause);
        if is_over() {
            break;
        }
        stream.write_all(&[*byte])?;
    }
    Ok(())
}

/// 64 MiB compressed to 64 KiB. As gzip members, it can be repeated.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        let megabyte = vec![0; 1 << 20];
        (0..64).for_each(|_| bomb.write_all(&megabyte).expect("memory"));
        bomb.finish().expect("memory")
    })
}
