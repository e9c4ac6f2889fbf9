//! What a submission may use before it is in the pool: memory while its body arrives, processors while its
//! signatures are checked. Whatever exceeds the limits is refused at once, so that accepted entries are not
//! delayed, and memory stays bounded.
//!
//! ```text
//! refused at once <- room in the pool? -> receive (bytes) -> check (bytes) -> pool (entries, bytes)
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::budget::{Budget, Held};
use super::sender::Sender;
use crate::format::{FormatError, cap, quote};

/// Bytes of bodies that are on their way: many slow senders of the largest ones fit. One network may have half
/// of them, a second one a third, and so on.
const RECEIVING_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of bodies that are being checked: two of the largest, or 23,000 signed statements of 700
/// bytes: half a second of two processors. One network may have three quarters: one of the largest ones.
const CHECKING_BYTES: usize = 16 * 1024 * 1024;
const CHECKING_TIMES: usize = 3;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// In each such time ...
const PACE_WINDOW: Duration = Duration::from_secs(10);
/// ... so many bytes of a body have to arrive, unless it ends.
const PACE_BYTES: usize = 10 * 1024;

/// The two bounds. Clones share them.
#[derive(Debug, Clone)]
pub struct Admission {
    receiving: Budget,
    checking: Budget,
}

/// A body that has not been received yet, and who sends it.
#[derive(Debug)]
pub struct Upload {
    body: Body,
    from: Sender,
}

impl<S: Sync> FromRequest<S> for Upload {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let from = request.extensions().get().copied().unwrap_or(Sender::local());
        Ok(Self { body: request.into_body(), from })
    }
}

impl Upload {
    /// Reads it to its end, where it is refused: a client that still sends would not see the answer.
    pub fn discard(self, limit: usize) {
        discard(self.body, limit);
    }
}

/// Why a body was not received.
#[derive(Debug)]
pub enum BodyError {
    /// Larger than it may be.
    TooLarge(FormatError),
    /// It was incomplete.
    CutShort(String),
    /// It came too slowly: what was expected, and what was seen.
    TooSlow(String),
    /// It is compressed or otherwise encoded.
    Encoded(String),
    /// Too much is under way already.
    Busy,
}

/// A body that was received, and the right to spend time on it. Dropped when it is in the pool.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    _checking: Held,
}

impl Default for Admission {
    fn default() -> Self {
        let checking = Budget::new(CHECKING_BYTES, CHECKING_TIMES);
        Self { receiving: Budget::new(RECEIVING_BYTES, 1), checking }
    }
}

impl Admission {
    /// Receives a body of at most `limit` bytes, and no more than that whatever its headers say.
    pub async fn receive<E: From<BodyError>>(
        &self,
        what: &'static str,
        upload: Upload,
        limit: usize,
    ) -> Result<Received, E> {
        self.try_receive(what, upload, limit).await.map_err(E::from)
    }

    async fn try_receive(
        &self,
        what: &'static str,
        Upload { mut body, from }: Upload,
        limit: usize,
    ) -> Result<Received, BodyError> {
        // Counted by what came, not by how it came: a byte in a chunk of its own is a byte.
        let mut receiving = self.receiving.hold(from.network());
        match collect(what, &mut body, limit, &mut receiving).await {
            Ok(bytes) => {
                let mut checking = self.checking.hold(from.network());
                checking.grow(bytes.len()).map_err(|_| BodyError::Busy)?;
                Ok(Received { bytes, _checking: checking })
            }
            Err(BodyError::Busy) => {
                discard(body, limit);
                Err(BodyError::Busy)
            }
            Err(error) => Err(error),
        }
    }
}

async fn collect(
    what: &'static str,
    body: &mut Body,
    limit: usize,
    receiving: &mut Held,
) -> Result<Bytes, BodyError> {
    let (mut received, mut pace) = (Vec::new(), Pace::new(Instant::now()));
    loop {
        let Ok(frame) = timeout_at(pace.next_look(), body.frame()).await else {
            pace.look(received.len())?;
            continue;
        };
        let Some(frame) = frame else { return Ok(received.into()) };
        let frame = frame.map_err(|e| BodyError::CutShort(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let seen = received.len() + data.len();
        if seen > limit {
            return Err(BodyError::TooLarge(FormatError::TooLarge { what, limit, unit: "bytes", seen }));
        }
        receiving.grow(data.len()).map_err(|_| BodyError::Busy)?;
        // Most bodies come whole.
        if received.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        // The system may have less than the budget has.
        received.try_reserve(data.len()).map_err(|_| BodyError::Busy)?;
        received.extend_from_slice(&data);
    }
}

/// How fast a body arrives. It may be slow only for a while, because its bytes take the room of others.
struct Pace {
    began: Instant,
    window: Instant,
    /// Bytes that had come when the window began.
    before: usize,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { began: now, window: now, before: 0 }
    }

    /// When to look again.
    fn next_look(&self) -> Instant {
        (self.window + PACE_WINDOW).min(self.began + BODY_TIMEOUT)
    }

    /// Looks at what has come by then.
    fn look(&mut self, received: usize) -> Result<(), BodyError> {
        let now = self.next_look();
        let (window, whole) = (PACE_WINDOW.as_secs(), BODY_TIMEOUT.as_secs());
        if now >= self.began + BODY_TIMEOUT {
            return Err(BodyError::TooSlow(format!(
                "expected all of it within {whole} s, saw {received} bytes"
            )));
        }
        let came = received - self.before;
        if came < PACE_BYTES {
            return Err(BodyError::TooSlow(format!(
                "expected its end, or {PACE_BYTES} bytes of it, within {window} s, saw {came}"
            )));
        }
        (self.window, self.before) = (now, received);
        Ok(())
    }
}

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

/// What the headers say before the body arrives: the announced length, or why the body is refused.
pub fn announced(what: &'static str, headers: &HeaderMap, limit: usize) -> Result<usize, BodyError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING) {
        return Err(BodyError::Encoded(quote(&String::from_utf8_lossy(encoding.as_bytes()))));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length = length.unwrap_or(0);
    cap(what, length, limit).map_err(BodyError::TooLarge)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(from: u8, body: impl Into<Body>) -> Upload {
        let address = std::net::IpAddr::from([192, 0, 2, from]);
        Upload { body: body.into(), from: Sender::of(address, &HeaderMap::new(), &[]) }
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

    fn is_busy(result: &Result<Received, BodyError>) -> bool {
        matches!(result, Err(BodyError::Busy))
    }

    #[tokio::test]
    async fn what_is_checked_is_bounded_and_given_back() {
        let admission = Admission::default();
        let body = || Upload { from: Sender::local(), ..upload(0, vec![7; 6 * 1024 * 1024]) };
        let limit = 8 * 1024 * 1024;
        let first = admission.try_receive("a batch", body(), limit).await.unwrap();
        assert_eq!(first.bytes.len(), 6 * 1024 * 1024);
        let second = admission.try_receive("a batch", body(), limit).await.unwrap();
        assert!(is_busy(&admission.try_receive("a batch", body(), limit).await));
        let small = admission.try_receive("an entry", upload(1, "small"), limit).await.unwrap();
        drop((second, small));
        admission.try_receive("a batch", body(), limit).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_before_it_is_whole() {
        let admission = Admission::default();
        let result = admission.try_receive("an entry", upload(1, vec![0; 1_001]), 1_000).await;
        let too_large = FormatError::TooLarge { what: "an entry", limit: 1_000, unit: "bytes", seen: 1_001 };
        assert!(matches!(result, Err(BodyError::TooLarge(e)) if e == too_large));
        let fits = admission.try_receive("an entry", upload(1, vec![0; 1_000]), 1_000).await.unwrap();
        assert_eq!(fits.bytes.len(), 1_000);
        let empty = admission.try_receive("an entry", upload(1, Body::empty()), 1_000).await.unwrap();
        assert_eq!(empty.bytes.len(), 0);
    }

    #[tokio::test]
    async fn what_arrives_is_bounded_however_many_send() {
        let admission = Admission::default();
        let mut held = admission.receiving.hold(None);
        held.grow(RECEIVING_BYTES).unwrap();
        assert!(is_busy(&admission.try_receive("an entry", upload(1, "late"), 1_000).await));
        drop(held);
        admission.try_receive("an entry", upload(1, "late"), 1_000).await.unwrap();
    }

    /// 300,000 frames, each counted as a KiB, would be more than there is.
    #[tokio::test]
    async fn bytes_are_counted_and_not_frames() {
        let admission = Admission::default();
        let received = admission.try_receive("a batch", upload(1, byte_by_byte(300_000)), 1 << 20).await;
        assert_eq!(received.unwrap().bytes.len(), 300_000);
        let mut rest = admission.receiving.hold(None);
        assert_eq!(rest.grow(RECEIVING_BYTES), Ok(()), "all of it was given back");
    }

    #[tokio::test]
    async fn one_network_leaves_something_to_the_others() {
        let admission = Admission::default();
        let greedy = upload(1, "").from.network();
        let mut held: Vec<Held> = Vec::new();
        loop {
            let mut one = admission.receiving.hold(greedy);
            if one.grow(1 << 20).is_err() {
                break;
            }
            held.push(one);
        }
        assert_eq!(held.len(), RECEIVING_BYTES >> 21);
        let large = || vec![7; 1 << 20];
        assert!(is_busy(&admission.try_receive("a batch", upload(1, large()), 1 << 20).await));
        admission.try_receive("a batch", upload(2, large()), 1 << 20).await.unwrap();
        admission
            .try_receive("a batch", Upload { from: Sender::local(), ..upload(0, large()) }, 1 << 20)
            .await
            .unwrap();
    }

    #[test]
    fn a_body_may_be_slow_for_a_while_and_not_for_long() {
        let mut steady = Pace::new(Instant::now());
        assert!(steady.look(PACE_BYTES).is_ok() && steady.look(2 * PACE_BYTES).is_ok());
        let Err(BodyError::TooSlow(all)) = steady.look(3 * PACE_BYTES) else { panic!("thirty seconds") };
        assert_eq!(all, "expected all of it within 30 s, saw 30720 bytes");
        let mut stalls = Pace::new(Instant::now());
        assert!(stalls.look(5_000_000).is_ok());
        let Err(BodyError::TooSlow(few)) = stalls.look(5_000_001) else { panic!("a byte in ten seconds") };
        assert_eq!(few, "expected its end, or 10240 bytes of it, within 10 s, saw 1");
    }
}
