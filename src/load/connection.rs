//! One keep-alive HTTP/1.1 connection.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take: longer than the ten seconds that a log waits for its own disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// `EMFILE` and `ENFILE`: this process, or the system, has no file descriptor to give.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// An open connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer, as much of its body as was asked for.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Seconds that the log asks to wait.
    pub retry_after: Option<u64>,
    /// The beginning of the body.
    pub body: Bytes,
    /// Bytes of the whole body.
    pub length: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// No connection.
    Connect(std::io::Error),
    /// The connection ended early.
    Closed(String),
    /// It took too long.
    Timeout,
}

impl Broken {
    /// Stable, for counting.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed(_) => "connection-closed",
            Self::Timeout => "timeout",
        }
    }

    /// Whether more connections need more file descriptors first.
    pub fn is_out_of_files(&self) -> bool {
        match self {
            Self::Connect(error) => error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)),
            _ => false,
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Closed(detail) => detail.fmt(f),
            Self::Timeout => write!(f, "no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        }
    }
}

impl Connection {
    /// Connects. Has to run within a `LocalSet`, on which the connection is driven.
    pub async fn open(address: SocketAddr) -> Result<Self, Broken> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| Broken::Timeout)?.map_err(Broken::Connect)?;
        // Requests are small and awaited: they must not wait for more to be sent.
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| Broken::Closed(e.to_string()))?;
        tokio::task::spawn_local(async move {
            // The request in progress hears of it, too.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Whether the server ended it, as servers do with connections that idle.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and reads the answer to its end; keeps at most `keep` bytes of the body.
    pub async fn send(&mut self, request: Request<Full<Bytes>>, keep: usize) -> Result<Answer, Broken> {
        timeout(ANSWER_TIMEOUT, self.exchange(request, keep)).await.unwrap_or(Err(Broken::Timeout))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>, keep: usize) -> Result<Answer, Broken> {
        let closed = |e: hyper::Error| Broken::Closed(e.to_string());
        self.sender.ready().await.map_err(closed)?;
        let response = self.sender.send_request(request).await.map_err(closed)?;
        read(response, keep).await.map_err(closed)
    }
}

async fn read(mut response: Response<Incoming>, keep: usize) -> Result<Answer, hyper::Error> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.body_mut();
    let (mut kept, mut length) = (Bytes::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        length += data.len() as u64;
        data.truncate(keep.saturating_sub(kept.len()));
        // Nearly every answer comes in one piece, which is not copied.
        kept = if kept.is_empty() { data } else { [kept, data].concat().into() };
        if body.is_end_stream() {
            break;
        }
    }
    Ok(Answer { status, retry_after, body: kept, length })
}
