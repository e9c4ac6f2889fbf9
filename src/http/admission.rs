//! Bounds what request bodies may use: memory while they arrive, processors while they are checked.
//! A request that exceeds a bound is refused at once, so that it delays no accepted one.
//!
//! ```text
//! announced (headers) -> received (bytes) -> checked (bytes) -> the server's own queue
//! ```

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame};
use tokio::time::{Instant, timeout_at};

use super::budget::{Budget, Reservation};
use super::client_address::ClientAddress;
use super::problem::RequestError;
use crate::format::{FormatError, cap, quote};

/// Bytes of bodies that are being received: many slow uploads of the largest size fit. One network may have half
/// of them, a second one a third, and so on.
const RECEIVING_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of bodies that are being checked: two of the largest, or 23,000 signed statements of 700
/// bytes, which take two processors half a second. One network may have three quarters: one of the largest.
const CHECKING_BYTES: usize = 16 * 1024 * 1024;
const CHECKING_TIMES: usize = 3;
/// Most bytes for which there is room before they have arrived: a batch of 256 signed statements, or of a thousand small
/// entries.
const RESERVED_BYTES: usize = 256 * 1024;
/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// In each window of this length ...
const PACE_WINDOW: Duration = Duration::from_secs(10);
/// ... this many bytes of a body have to arrive, unless it ends.
const PACE_BYTES: usize = 10 * 1024;

/// Bounds the bodies that a server receives and checks. Clones share the bounds.
#[derive(Debug, Clone)]
pub struct Admission {
    receiving: Budget,
    checking: Budget,
}

/// A request body that has not been received yet, with its headers and its sender.
#[derive(Debug)]
pub struct Upload {
    pub headers: HeaderMap,
    body: Body,
    from: ClientAddress,
}

impl<S: Sync> FromRequest<S> for Upload {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        let from = ClientAddress::in_request(&parts.extensions);
        Ok(Self::new(parts.headers, body, from))
    }
}

impl Upload {
    /// The body of a request of this client.
    pub fn new(headers: HeaderMap, body: Body, from: ClientAddress) -> Self {
        Self { headers, body, from }
    }

    /// The length that the headers announce; 0 where they announce none.
    ///
    /// # Errors
    /// [`RequestError`] if the headers already rule the body out: it is encoded or too large.
    pub fn announced(&self, what: &'static str, limit: usize) -> Result<usize, RequestError> {
        if let Some(encoding) = self.headers.get(header::CONTENT_ENCODING) {
            return Err(RequestError::Encoded(quote(&String::from_utf8_lossy(encoding.as_bytes()))));
        }
        let length = self.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
        cap(what, length, limit).map_err(RequestError::TooLarge)?;
        Ok(length)
    }

    /// Reads a refused body to its end: a client that is still sending would not see the answer.
    pub fn discard(self, limit: usize) {
        discard(self.body, limit);
    }
}

/// A received body, with the right to check it: dropped when the server's own queue has the content.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    _checking: Reservation,
}

impl Default for Admission {
    fn default() -> Self {
        let checking = Budget::new(CHECKING_BYTES, CHECKING_TIMES);
        Self { receiving: Budget::new(RECEIVING_BYTES, 1), checking }
    }
}

impl Admission {
    /// Receives a body of at most `limit` bytes, whatever length its headers announce.
    ///
    /// # Errors
    /// [`RequestError`] if the body is encoded, too large, incomplete or too slow, or
    /// [`Busy`](RequestError::Busy) if a bound is reached.
    pub async fn receive(
        &self,
        what: &'static str,
        upload: Upload,
        limit: usize,
    ) -> Result<Received, RequestError> {
        upload.announced(what, limit)?;
        self.receive_announced(what, upload, limit).await
    }

    /// Like [`receive`](Self::receive), after [`Upload::announced`].
    pub async fn receive_announced(
        &self,
        what: &'static str,
        upload: Upload,
        limit: usize,
    ) -> Result<Received, RequestError> {
        let Upload { mut body, from, .. } = upload;
        // Counts bytes, not frames: a chunk may hold a single byte.
        let mut receiving = self.receiving.reserve(from.network());
        match collect(what, &mut body, limit, &mut receiving).await {
            Ok(bytes) => {
                let mut checking = self.checking.reserve(from.network());
                checking.grow(bytes.len()).map_err(|_| RequestError::Busy)?;
                Ok(Received { bytes, _checking: checking })
            }
            Err(RequestError::Busy) => {
                discard(body, limit);
                Err(RequestError::Busy)
            }
            Err(error) => Err(error),
        }
    }
}

async fn collect(
    what: &'static str,
    body: &mut Body,
    limit: usize,
    receiving: &mut Reservation,
) -> Result<Bytes, RequestError> {
    let mut received = Vec::new();
    // Most bodies are here already: only the others need a clock.
    let mut next = ready_frame(body).await;
    let mut pace = None;
    loop {
        let frame = if let Some(frame) = next.take() {
            frame
        } else {
            let pace = pace.get_or_insert_with(|| Pace::new(Instant::now()));
            let Ok(frame) = timeout_at(pace.next_look(), body.frame()).await else {
                pace.look(received.len())?;
                continue;
            };
            frame
        };
        let Some(frame) = frame else { return Ok(received.into()) };
        let frame = frame.map_err(|e| RequestError::CutShort(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let seen = received.len() + data.len();
        if seen > limit {
            return Err(RequestError::TooLarge(FormatError::TooLarge { what, limit, unit: "bytes", seen }));
        }
        receiving.grow(data.len()).map_err(|_| RequestError::Busy)?;
        // Most bodies arrive in one frame.
        if received.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        // Room for the rest at once, if its length is known: a buffer that grows is copied again and again. Only so much
        // on a client's word alone. The system may have less memory than the budget allows.
        let rest = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let more = data.len() + rest.min(RESERVED_BYTES);
        received.try_reserve(more).map_err(|_| RequestError::Busy)?;
        received.extend_from_slice(&data);
    }
}

/// The next frame of a body if it is here: `Some(None)` at the end of the body.
async fn ready_frame(body: &mut Body) -> Option<Option<Result<Frame<Bytes>, axum::Error>>> {
    poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// The pace of a body. It may be slow only for a while, because its bytes take memory from others.
struct Pace {
    began: Instant,
    window: Instant,
    /// Bytes that had arrived when the window began.
    before: usize,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { began: now, window: now, before: 0 }
    }

    /// Time of the next check.
    fn next_look(&self) -> Instant {
        (self.window + PACE_WINDOW).min(self.began + BODY_TIMEOUT)
    }

    /// Checks what has arrived by [`next_look`](Self::next_look), and begins the next window.
    fn look(&mut self, received: usize) -> Result<(), RequestError> {
        let now = self.next_look();
        let (window, whole) = (PACE_WINDOW.as_secs(), BODY_TIMEOUT.as_secs());
        if now >= self.began + BODY_TIMEOUT {
            return Err(RequestError::TooSlow(format!(
                "expected all of it within {whole} s, saw {received} bytes"
            )));
        }
        let came = received - self.before;
        if came < PACE_BYTES {
            return Err(RequestError::TooSlow(format!(
                "expected its end, or {PACE_BYTES} bytes of it, within {window} s, saw {came}"
            )));
        }
        (self.window, self.before) = (now, received);
        Ok(())
    }
}

/// Reads up to `limit` bytes of a refused body in the background.
pub(super) fn discard(mut body: Body, limit: usize) {
    tokio::spawn(tokio::time::timeout(BODY_TIMEOUT, async move {
        let mut left = limit;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else { break };
            left = less;
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(from: u8, body: impl Into<Body>) -> Upload {
        let address = std::net::IpAddr::from([192, 0, 2, from]);
        Upload {
            headers: HeaderMap::new(),
            body: body.into(),
            from: ClientAddress::of(address, &HeaderMap::new(), &[]),
        }
    }

    /// A body in frames of one byte each.
    fn byte_by_byte(count: usize) -> Body {
        struct Bytewise(usize);
        impl hyper::body::Body for Bytewise {
            type Data = Bytes;
            type Error = Infallible;

            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
                let frame = self.0.checked_sub(1).map(|left| {
                    self.0 = left;
                    Ok(hyper::body::Frame::data(Bytes::from_static(b"x")))
                });
                std::task::Poll::Ready(frame)
            }
        }
        Body::new(Bytewise(count))
    }

    fn is_busy(result: &Result<Received, RequestError>) -> bool {
        matches!(result, Err(RequestError::Busy))
    }

    #[tokio::test]
    async fn what_is_checked_is_bounded_and_given_back() {
        let admission = Admission::default();
        let body = || Upload { from: ClientAddress::local(), ..upload(0, vec![7; 6 * 1024 * 1024]) };
        let limit = 8 * 1024 * 1024;
        let first = admission.receive("a batch", body(), limit).await.unwrap();
        assert_eq!(first.bytes.len(), 6 * 1024 * 1024);
        let second = admission.receive("a batch", body(), limit).await.unwrap();
        assert!(is_busy(&admission.receive("a batch", body(), limit).await));
        let small = admission.receive("an entry", upload(1, "small"), limit).await.unwrap();
        drop((second, small));
        admission.receive("a batch", body(), limit).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_before_it_is_whole() {
        let admission = Admission::default();
        let result = admission.receive("an entry", upload(1, vec![0; 1_001]), 1_000).await;
        let too_large = FormatError::TooLarge { what: "an entry", limit: 1_000, unit: "bytes", seen: 1_001 };
        assert!(matches!(result, Err(RequestError::TooLarge(e)) if e == too_large));
        let fits = admission.receive("an entry", upload(1, vec![0; 1_000]), 1_000).await.unwrap();
        assert_eq!(fits.bytes.len(), 1_000);
        let empty = admission.receive("an entry", upload(1, Body::empty()), 1_000).await.unwrap();
        assert_eq!(empty.bytes.len(), 0);
    }

    #[tokio::test]
    async fn what_arrives_is_bounded_however_many_send() {
        let admission = Admission::default();
        let mut held = admission.receiving.reserve(None);
        held.grow(RECEIVING_BYTES).unwrap();
        assert!(is_busy(&admission.receive("an entry", upload(1, "late"), 1_000).await));
        drop(held);
        admission.receive("an entry", upload(1, "late"), 1_000).await.unwrap();
    }

    /// 300,000 frames, each counted as a KiB, would be more than there is.
    #[tokio::test]
    async fn bytes_are_counted_and_not_frames() {
        let admission = Admission::default();
        let received = admission.receive("a batch", upload(1, byte_by_byte(300_000)), 1 << 20).await;
        assert_eq!(received.unwrap().bytes.len(), 300_000);
        let mut rest = admission.receiving.reserve(None);
        assert_eq!(rest.grow(RECEIVING_BYTES), Ok(()), "all of it was given back");
    }

    #[tokio::test]
    async fn one_network_leaves_something_to_the_others() {
        let admission = Admission::default();
        let greedy = upload(1, "").from.network();
        let mut held: Vec<Reservation> = Vec::new();
        loop {
            let mut one = admission.receiving.reserve(greedy);
            if one.grow(1 << 20).is_err() {
                break;
            }
            held.push(one);
        }
        assert_eq!(held.len(), RECEIVING_BYTES >> 21);
        let large = || vec![7; 1 << 20];
        assert!(is_busy(&admission.receive("a batch", upload(1, large()), 1 << 20).await));
        admission.receive("a batch", upload(2, large()), 1 << 20).await.unwrap();
        admission
            .receive("a batch", Upload { from: ClientAddress::local(), ..upload(0, large()) }, 1 << 20)
            .await
            .unwrap();
    }

    #[test]
    fn a_body_may_be_slow_for_a_while_and_not_for_long() {
        let mut steady = Pace::new(Instant::now());
        assert!(steady.look(PACE_BYTES).is_ok() && steady.look(2 * PACE_BYTES).is_ok());
        let Err(RequestError::TooSlow(all)) = steady.look(3 * PACE_BYTES) else { panic!("thirty seconds") };
        assert_eq!(all, "expected all of it within 30 s, saw 30720 bytes");
        let mut stalls = Pace::new(Instant::now());
        assert!(stalls.look(5_000_000).is_ok());
        let Err(RequestError::TooSlow(few)) = stalls.look(5_000_001) else { panic!("a byte in ten seconds") };
        assert_eq!(few, "expected its end, or 10240 bytes of it, within 10 s, saw 1");
    }
}
