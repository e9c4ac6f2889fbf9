//! The kit on real sockets, with limits so small that tests reach them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::sync::oneshot;

use super::admission::{Admission, Upload};
use super::connections::ConnectionLimits;
use super::listener::{Listener, serve};

/// Longer than anything takes here: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(30);
/// A megabyte is more than two sockets have room for.
const LARGE: usize = 16 << 20;

/// A server with these limits. Dropping it stops it.
struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(limits: ConnectionLimits) -> Self {
        Self::behind(limits, Vec::new())
    }

    fn behind(limits: ConnectionLimits, trusted_proxies: Vec<IpAddr>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/small", get(|| async { "small" }))
            .route("/large", get(|| async { vec![b'x'; LARGE] }))
            .route("/add", post(add))
            .route("/full", post(full));
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = Listener::behind(listener, trusted_proxies).limited(limits);
        runtime.spawn(serve(listener, router, async {
            let _ = stopped.await;
        }));
        Self { address, _stop: stop, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        ask(&mut stream, path);
        stream
    }
}

async fn add(body: Upload) -> StatusCode {
    let received = Admission::default().receive("an entry", body, 8_192).await;
    received.map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK)
}

/// Answers before the body has arrived.
async fn full(body: Upload) -> StatusCode {
    body.discard(8_192);
    StatusCode::TOO_MANY_REQUESTS
}

/// Two bytes of a body of five thousand.
fn begin_post(stream: &mut TcpStream, path: &str) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nxx");
    stream.write_all(head.as_bytes()).unwrap();
}

fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
}

fn begin(stream: &mut TcpStream) -> String {
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).expect("the beginning of an answer");
    String::from_utf8(begin.to_vec()).unwrap()
}

/// Reads to the end of the connection, however it ends, and returns the number of bytes.
fn read_to_end(stream: &mut TcpStream) -> usize {
    let (mut all, mut some) = (0, vec![0; 1 << 16]);
    let began = Instant::now();
    while let Ok(bytes @ 1..) = stream.read(&mut some) {
        all += bytes;
    }
    assert!(began.elapsed() < PATIENCE, "it was not ended");
    all
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let server = Server::start(ConnectionLimits {
        connections: 8,
        stall: Duration::from_millis(50),
        ..ConnectionLimits::default()
    });
    let mut idle: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    let mut half_a_head: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    half_a_head.iter_mut().for_each(|stream| stream.write_all(b"GET /small HTTP/1.1\r\nHo").unwrap());
    for _ in 0..20 {
        assert_eq!(begin(&mut server.ask("/small")), "HTTP/1.1 200");
    }
    assert_eq!(read_to_end(&mut idle[0]), 0, "the first one had to go");
}

#[test]
fn uploads_that_stall_make_room_for_new_connections() {
    let server = Server::start(ConnectionLimits {
        connections: 8,
        stall: Duration::from_millis(50),
        ..ConnectionLimits::default()
    });
    let mut stalled: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    stalled.iter_mut().for_each(|stream| begin_post(stream, "/add"));
    let began = Instant::now();
    assert_eq!(begin(&mut server.ask("/small")), "HTTP/1.1 200");
    // A stalled body times out after ten seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let mut steady = server.connect();
    begin_post(&mut steady, "/add");
    steady.write_all(&[b'x'; 4_998]).unwrap();
    assert_eq!(begin(&mut steady), "HTTP/1.1 200");
}

#[test]
fn a_connection_idles_as_long_as_others_after_an_early_answer() {
    let server =
        Server::start(ConnectionLimits { head: Duration::from_millis(300), ..ConnectionLimits::default() });
    let mut stream = server.connect();
    begin_post(&mut stream, "/full");
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") {
        let mut some = [0; 1_024];
        let bytes = stream.read(&mut some).unwrap();
        answer += &String::from_utf8_lossy(&some[..bytes]);
    }
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    stream.write_all(&[b'x'; 4_998]).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    ask(&mut stream, "/small");
    assert_eq!(begin(&mut stream), "HTTP/1.1 200");
}

#[test]
fn a_connection_outlives_the_head_of_a_request_and_a_slow_head_does_not() {
    let limits = ConnectionLimits { head: Duration::from_millis(300), ..ConnectionLimits::default() };
    let server = Server::start(limits);
    let mut idle = server.ask("/small");
    assert_eq!(begin(&mut idle), "HTTP/1.1 200");
    let mut slow = server.connect();
    slow.write_all(b"GET /small HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(read_to_end(&mut slow), 0);
    ask(&mut idle, "/small");
    let mut rest = vec![0; 4_096];
    let mut seen = String::new();
    while !seen.contains("HTTP/1.1 200") {
        let bytes = idle.read(&mut rest).expect("the connection is still there");
        assert!(bytes > 0, "it was ended: {seen}");
        seen += &String::from_utf8_lossy(&rest[..bytes]);
    }
    let server =
        Server::start(ConnectionLimits { idle: Duration::from_millis(300), ..ConnectionLimits::default() });
    assert_eq!(read_to_end(&mut server.connect()), 0, "in the end an idle one goes, too");
}

#[test]
fn whoever_does_not_read_is_cut_off() {
    let server =
        Server::start(ConnectionLimits { window: Duration::from_millis(300), ..ConnectionLimits::default() });
    let mut deaf = server.ask("/large");
    std::thread::sleep(Duration::from_secs(3));
    assert!(read_to_end(&mut deaf) < LARGE);
    let mut reads = server.ask("/large");
    let (mut seen, mut some) = (0, vec![0; 1 << 20]);
    while seen < LARGE {
        seen += reads.read(&mut some).expect("who reads gets all of it");
    }
}

#[test]
fn answers_that_nobody_reads_take_so_much_memory_and_no_more() {
    let (answers, stall) = (LARGE * 5 / 2, Duration::from_millis(50));
    let server = Server::start(ConnectionLimits { stall, answers, ..ConnectionLimits::default() });
    let mut deaf: Vec<TcpStream> = (0..2).map(|_| server.ask("/large")).collect();
    deaf.iter_mut().for_each(|stream| assert_eq!(begin(stream), "HTTP/1.1 200"));
    let mut third = server.ask("/large");
    assert_eq!(begin(&mut third), "HTTP/1.1 503", "there is room for two");
    assert_eq!(begin(&mut server.ask("/small")), "HTTP/1.1 200", "small ones are not counted");
    // Connections that don't read were closed for it, once idle.
    let deadline = Instant::now() + PATIENCE;
    while begin(&mut server.ask("/large")) != "HTTP/1.1 200" {
        assert!(Instant::now() < deadline, "nobody makes room");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for large answers for an address that a proxy names, and reads none. Returns the connections that were served.
fn unread_for(server: &Server, address: &str) -> Vec<TcpStream> {
    let mut unread = Vec::new();
    loop {
        let mut stream = server.connect();
        let head = format!("GET /large HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        if begin(&mut stream) != "HTTP/1.1 200" {
            return unread;
        }
        unread.push(stream);
    }
}

#[test]
fn behind_a_trusted_proxy_each_address_has_a_share() {
    // No connection is idle long enough to be closed.
    let limits = ConnectionLimits { answers: LARGE * 6, stall: PATIENCE, ..ConnectionLimits::default() };
    let server = Server::behind(limits, vec![IpAddr::from([127, 0, 0, 1])]);
    let first = unread_for(&server, "192.0.2.1");
    let second = unread_for(&server, "192.0.2.2");
    assert_eq!((first.len(), second.len()), (3, 1), "half of it, and half of the rest in whole answers");
    assert_eq!(unread_for(&server, "127.0.0.1").len(), 2, "this machine has what is left");
    // Without that setting, the header is ignored.
    let server = Server::start(limits);
    assert_eq!(unread_for(&server, "192.0.2.1").len(), 6);
}
