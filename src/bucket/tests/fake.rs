//! A server with scripted answers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Head and body of a request.
pub(super) struct Asked {
    pub head: String,
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        self.head.lines().find(|line| value(line)).map(|line| line[name.len() + 2..].trim())
    }

    /// The method and the path.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }
}

/// Answers requests in turn, each on a connection of its own. An empty answer closes the connection; the answer `hang`
/// keeps it open.
pub(super) fn serve(answers: Vec<Vec<u8>>) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, asked) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = told.send(read(&mut stream));
            if answer == b"hang" {
                kept.push(stream);
                continue;
            }
            // The client hangs up when it has read enough.
            let _ = stream.write_all(&answer);
        }
        std::thread::sleep(Duration::from_secs(5));
    });
    (url, asked)
}

fn read(stream: &mut TcpStream) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            break;
        }
        head.push(byte[0]);
    }
    let mut asked = Asked { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body = vec![0; length];
    stream.read_exact(&mut asked.body).unwrap();
    asked
}

/// An answer with a status and headers. Each header must end with `\r\n`.
pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.into_bytes(), body.to_vec()].concat()
}

/// An error in S3's format.
pub(super) fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>It \u{1b}[2Jsays no.</Message></Error>"
    );
    answer(status, "", body.as_bytes())
}
