//! One keep-alive HTTP/1.1 connection.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Body as _, Bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for an answer: longer than the ten seconds for which a log waits for its own disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// `EMFILE` and `ENFILE`: this process, or the system, is out of file descriptors.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// Most bytes of an answer that are kept: a line of at most 20 bytes for each entry of a batch, or a problem document.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

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
    /// At most [`MAX_ANSWER_BYTES`] of the body.
    pub body: Bytes,
}

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection could not be made.
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    /// The connection ended before the answer did.
    #[error(transparent)]
    Closed(#[from] hyper::Error),
    /// Connecting, or the answer, took too long.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
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

impl Connection {
    /// Connects. Must run within a `LocalSet`, which drives the connection.
    pub async fn open(address: SocketAddr) -> Result<Self, ConnectionError> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connecting.map_err(|_| ConnectionError::Timeout)??;
        // Requests are small and awaited: they must not wait in the kernel for more.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // The request in progress returns the error.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Returns true if the server closed it, as servers do with idle connections.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and reads the answer to its end.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, ConnectionError> {
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
        Ok(answer.map_err(|_| ConnectionError::Timeout)??)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        let mut response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let (body, mut kept) = (response.body_mut(), Bytes::new());
        while let Some(frame) = body.frame().await {
            let Ok(mut data) = frame?.into_data() else { continue };
            data.truncate(MAX_ANSWER_BYTES.saturating_sub(kept.len()));
            // Nearly every answer comes in one piece, which needs no copy.
            kept = if kept.is_empty() { data } else { [kept, data].concat().into() };
            if body.is_end_stream() {
                break;
            }
        }
        Ok(Answer { status, retry_after, body: kept })
    }
}
