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

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for an answer: longer than the ten seconds for which a log waits for its own disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// `EMFILE` and `ENFILE`: this process, or the system, is out of file descriptors.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// An open connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

/// An answer, with the beginning of its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The seconds in `Retry-After`.
    pub retry_after: Option<u64>,
    /// The beginning of the body, as much as was asked for.
    pub body: Bytes,
    /// Length of the whole body in bytes.
    pub length: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ConnectionError {
    /// The connection could not be made.
    Connect(std::io::Error),
    /// The connection ended before the answer did.
    Closed(String),
    /// Connecting, or the answer, took too long.
    Timeout,
}

impl ConnectionError {
    /// A stable name, for counting.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed(_) => "connection-closed",
            Self::Timeout => "timeout",
        }
    }

    /// Returns true if the process or the system is out of file descriptors.
    pub fn is_out_of_files(&self) -> bool {
        match self {
            Self::Connect(error) => error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)),
            _ => false,
        }
    }
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Closed(detail) => detail.fmt(f),
            Self::Timeout => write!(f, "no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        }
    }
}

impl Connection {
    /// Connects. Must run within a `LocalSet`, which drives the connection.
    pub async fn open(address: SocketAddr) -> Result<Self, ConnectionError> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream =
            connecting.await.map_err(|_| ConnectionError::Timeout)?.map_err(ConnectionError::Connect)?;
        // Requests are small and awaited: they must not wait in the kernel for more.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| ConnectionError::Closed(e.to_string()))?;
        tokio::task::spawn_local(async move {
            // The request in progress gets the error, too.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Returns true if the server closed it, as servers do with idle connections.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and reads the answer to its end. Keeps at most `keep` bytes of the body.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: usize,
    ) -> Result<Answer, ConnectionError> {
        timeout(ANSWER_TIMEOUT, self.exchange(request, keep)).await.unwrap_or(Err(ConnectionError::Timeout))
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: usize,
    ) -> Result<Answer, ConnectionError> {
        let closed = |e: hyper::Error| ConnectionError::Closed(e.to_string());
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
        // Nearly every answer comes in one piece, which needs no copy.
        kept = if kept.is_empty() { data } else { [kept, data].concat().into() };
        if body.is_end_stream() {
            break;
        }
    }
    Ok(Answer { status, retry_after, body: kept, length })
}
