//! A server between a client and a log, which forwards everything except the answers to appends.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::http;

/// The answer that the client gets instead of the log's.
pub enum Told {
    /// Status 200 with this body.
    Body(String),
    /// The rest of the status line, headers and a body.
    Problem(&'static str, &'static str, String),
    /// None: the connection ends.
    HangUp,
}

/// Takes the number of the append, counted from 0, and the log's answer to it.
type Lie = dyn Fn(u64, String) -> Told + Send + Sync;

/// The treatment of appends.
struct Passage {
    /// The delay of each append on its way to the log, by its number, counted from 0 in order of arrival.
    hold: Box<dyn Fn(u64) -> Duration + Send + Sync>,
    lie: Box<Lie>,
    came: AtomicU64,
    answered: AtomicU64,
    under_way: AtomicU64,
    most: AtomicU64,
}

pub struct Middleman {
    pub url: String,
    passage: Arc<Passage>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Middleman {
    /// Starts in front of the log at `url`.
    pub fn before(url: &str, lie: impl Fn(u64, String) -> Told + Send + Sync + 'static) -> Self {
        Self::start(url, |_| Duration::ZERO, lie)
    }

    /// Like `before`, but forwards the log's answers, and delays appends so that they overtake each other.
    pub fn holding_up(url: &str, hold: impl Fn(u64) -> Duration + Send + Sync + 'static) -> Self {
        Self::start(url, hold, |_, answer| Told::Body(answer))
    }

    /// The largest number of appends in progress at once.
    pub fn most_at_once(&self) -> u64 {
        self.passage.most.load(Ordering::SeqCst)
    }

    fn start(
        url: &str,
        hold: impl Fn(u64) -> Duration + Send + Sync + 'static,
        lie: impl Fn(u64, String) -> Told + Send + Sync + 'static,
    ) -> Self {
        let log = url.strip_prefix("http://").expect("a URL").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let passage = Arc::new(Passage {
            hold: Box::new(hold),
            lie: Box::new(lie),
            came: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let (stopped, passages) = (stop.clone(), passage.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), log, passage) = (stream, log.clone(), passages.clone()) else { continue };
                // The thread ends with the client's connection.
                std::thread::spawn(move || pass(stream, &log, &passage));
            }
        });
        Self { url: format!("http://{address}"), passage, stop, thread: Some(thread) }
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.strip_prefix("http://").expect("a URL"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pass(mut client: TcpStream, log: &str, passage: &Passage) -> io::Result<()> {
    let mut log = TcpStream::connect(log)?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    loop {
        let (request, is_append) = read_request(&mut client)?;
        if is_append {
            let under_way = passage.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            passage.most.fetch_max(under_way, Ordering::SeqCst);
            std::thread::sleep((passage.hold)(passage.came.fetch_add(1, Ordering::SeqCst)));
        }
        log.write_all(&request)?;
        let reply = http::read_reply(&mut log, false)?;
        if is_append {
            passage.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        let mut body = reply.body.clone();
        let mut status = format!("{} Whatever\r\nX: y", reply.status);
        if is_append && reply.status == 200 {
            let n = passage.answered.fetch_add(1, Ordering::SeqCst);
            match (passage.lie)(n, String::from_utf8(body).expect("text")) {
                Told::Body(text) => body = text.into_bytes(),
                Told::Problem(line, headers, text) => {
                    (status, body) = (format!("{line}\r\n{headers}"), text.into_bytes());
                }
                Told::HangUp => return Ok(()),
            }
        }
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(&[head.as_bytes(), &body].concat())?;
    }
}

/// The bytes of a request, and whether it appends.
fn read_request(client: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request.clone()).expect("ASCII").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().expect("a number"));
    let start = request.len();
    request.resize(start + length, 0);
    client.read_exact(&mut request[start..])?;
    Ok((request, head.starts_with("post /add")))
}
