//! Fetches many paths as fast as the answers come, with all connections on one thread: that leaves the other cores to
//! the server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use treehead::load::Histogram;

/// What to fetch, and for how long.
#[derive(Debug, Clone)]
pub struct Fetches {
    /// The server, as in `http://127.0.0.1:8080`.
    pub url: String,
    /// Fetched in this order and then again; at least one.
    pub paths: Vec<String>,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// How long requests are sent.
    pub duration: Duration,
}

/// The answers, all with status 200.
#[derive(Default)]
pub struct Fetched {
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    pub elapsed: Duration,
    pub latency: Histogram,
}

impl Fetched {
    pub fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.answers).expect("a small number")) / self.elapsed.as_secs_f64()
    }
}

/// Fetches the paths over and over until the time is over, and reads each body to its end. Fails with the first answer
/// that is an error.
pub fn fetch(fetches: &Fetches) -> Result<Fetched, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let start = Instant::now();
        let run =
            Rc::new(Run { end: start + fetches.duration, next: Cell::new(0), fetched: RefCell::default() });
        let mut readers = JoinSet::new();
        for _ in 0..fetches.connections {
            readers.spawn_local(read(run.clone(), fetches.clone()));
        }
        while let Some(ended) = readers.join_next().await {
            ended.expect("readers do not panic")?;
        }
        Ok(Fetched { elapsed: start.elapsed(), ..run.fetched.take() })
    })
}

struct Run {
    end: Instant,
    /// Position in the paths.
    next: Cell<usize>,
    fetched: RefCell<Fetched>,
}

async fn read(run: Rc<Run>, fetches: Fetches) -> Result<(), String> {
    let failed = |error: hyper::Error| error.to_string();
    let host = fetches.url.strip_prefix("http://").expect("an http:// address");
    let stream = TcpStream::connect(host).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).expect("an open socket");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::task::spawn_local(connection);
    while Instant::now() < run.end {
        let path = &fetches.paths[run.next.get()];
        run.next.set((run.next.get() + 1) % fetches.paths.len());
        sender.ready().await.map_err(failed)?;
        let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new()).expect("a path");
        let sent = Instant::now();
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(failed)?.to_bytes();
        if status != 200 {
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)));
        }
        let mut fetched = run.fetched.borrow_mut();
        fetched.answers += 1;
        fetched.bytes += body.len() as u64;
        fetched.latency.record(sent.elapsed());
    }
    Ok(())
}
