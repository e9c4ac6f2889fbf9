//! A server before a log, which answers some reads itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::program::get;

/// Status and body.
pub type Answer = (u16, Vec<u8>);

pub struct Between {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Stands before the log at `url`. What `answer` makes nothing of, the log answers. It ends with the test.
    pub fn before(url: &str, answer: impl Fn(&str) -> Option<Answer> + Send + 'static) -> Self {
        let log = url.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let (mut request, mut line) = (String::new(), "-".to_owned());
                if !matches!(stream.read_line(&mut request), Ok(1..)) {
                    continue;
                }
                while !line.trim().is_empty() {
                    line.clear();
                    stream.read_line(&mut line).expect("a header");
                }
                let path = request.split(' ').nth(1).expect("a path").to_owned();
                paths.lock().expect("no panic").push(path.clone());
                let (status, body) = answer(&path).unwrap_or_else(|| get(&log, &path));
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // The client may be gone; a failed write is harmless.
                let _ = stream.get_mut().write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { url, asked }
    }

    /// How often a path that begins so was asked for.
    pub fn asked(&self, prefix: &str) -> usize {
        self.asked.lock().expect("no panic").iter().filter(|path| path.starts_with(prefix)).count()
    }
}
