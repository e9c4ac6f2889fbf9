//! What a submission may take of the server before it is in the pool: memory while its body arrives,
//! processors while its signatures are checked. What does not fit is refused at once, so that what
//! was accepted is not late, and memory stays bounded whatever is sent.
//!
//! ```text
//! refused at once <- room in the pool? -> receive (bytes) -> check (bytes) -> pool (entries, bytes)
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::format::{FormatError, cap, quote};

/// Bytes of bodies that are on their way: many slow senders of the largest ones fit.
const RECEIVING_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of bodies that are being checked: two of the largest, or 23,000 signed statements of 700
/// bytes: half a second of two processors.
const CHECKING_BYTES: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes are counted in pieces of this size: a small body takes one.
const PIECE_BYTES: usize = 1_024;

/// The two bounds. Clones share them.
#[derive(Debug, Clone)]
pub struct Admission {
    receiving: Arc<Semaphore>,
    checking: Arc<Semaphore>,
}

/// Why a body was not received.
#[derive(Debug)]
pub enum BodyError {
    /// Larger than it may be.
    TooLarge(FormatError),
    /// It did not arrive whole.
    CutShort(String),
    /// It did not arrive in so many seconds.
    TooSlow(u64),
    /// It is compressed or otherwise encoded.
    Encoded(String),
    /// Too much is under way already.
    Busy,
}

/// A body that was received, and the right to spend time on it. Dropped when it is in the pool.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    _checking: OwnedSemaphorePermit,
}

impl Default for Admission {
    fn default() -> Self {
        let pieces = |bytes: usize| Arc::new(Semaphore::new(bytes / PIECE_BYTES));
        Self { receiving: pieces(RECEIVING_BYTES), checking: pieces(CHECKING_BYTES) }
    }
}

impl Admission {
    /// Receives a body of at most `limit` bytes, and no more than that whatever its headers say.
    pub async fn receive<E: From<BodyError>>(
        &self,
        what: &'static str,
        body: Body,
        limit: usize,
    ) -> Result<Received, E> {
        self.try_receive(what, body, limit).await.map_err(E::from)
    }

    async fn try_receive(
        &self,
        what: &'static str,
        mut body: Body,
        limit: usize,
    ) -> Result<Received, BodyError> {
        match tokio::time::timeout(BODY_TIMEOUT, self.collect(what, &mut body, limit)).await {
            Ok(Ok((bytes, receiving))) => {
                let checking = take(&self.checking, bytes.len())?;
                drop(receiving);
                Ok(Received { bytes, _checking: checking })
            }
            Ok(Err(BodyError::Busy)) => {
                discard(body, limit);
                Err(BodyError::Busy)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(BodyError::TooSlow(BODY_TIMEOUT.as_secs())),
        }
    }

    async fn collect(
        &self,
        what: &'static str,
        body: &mut Body,
        limit: usize,
    ) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), BodyError> {
        let (mut received, mut rights) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| BodyError::CutShort(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if received.len() + data.len() > limit {
                let seen = received.len() + data.len();
                return Err(BodyError::TooLarge(FormatError::TooLarge { what, limit, unit: "bytes", seen }));
            }
            rights.push(take(&self.receiving, data.len())?);
            // Most bodies come whole.
            if received.is_empty() && body.is_end_stream() {
                return Ok((data, rights));
            }
            received.extend_from_slice(&data);
        }
        Ok((received.into(), rights))
    }
}

/// Reads a body that was refused to its end: a client that still sends would not see the answer.
pub fn discard(mut body: Body, limit: usize) {
    tokio::spawn(tokio::time::timeout(BODY_TIMEOUT, async move {
        let mut left = limit;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else { break };
            left = less;
        }
    }));
}

/// What the headers say already, before a byte of the body: the length that they announce, or why there
/// is no use in receiving it.
pub fn announced(what: &'static str, headers: &HeaderMap, limit: usize) -> Result<usize, BodyError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING) {
        return Err(BodyError::Encoded(quote(&String::from_utf8_lossy(encoding.as_bytes()))));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length = length.unwrap_or(0);
    cap(what, length, limit).map_err(BodyError::TooLarge)?;
    Ok(length)
}

fn take(of: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
    let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).expect("bodies are capped");
    of.clone().try_acquire_many_owned(pieces).map_err(|_| BodyError::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_busy(result: &Result<Received, BodyError>) -> bool {
        matches!(result, Err(BodyError::Busy))
    }

    #[tokio::test]
    async fn what_is_checked_is_bounded_and_given_back() {
        let admission = Admission::default();
        let body = || Body::from(vec![7; 6 * 1024 * 1024]);
        let limit = 8 * 1024 * 1024;
        let first = admission.try_receive("a batch", body(), limit).await.unwrap();
        assert_eq!(first.bytes.len(), 6 * 1024 * 1024);
        let second = admission.try_receive("a batch", body(), limit).await.unwrap();
        assert!(is_busy(&admission.try_receive("a batch", body(), limit).await));
        let small = admission.try_receive("an entry", Body::from("small"), limit).await.unwrap();
        drop((second, small));
        admission.try_receive("a batch", body(), limit).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large_before_it_is_whole() {
        let admission = Admission::default();
        let result = admission.try_receive("an entry", Body::from(vec![0; 1_001]), 1_000).await;
        let too_large = FormatError::TooLarge { what: "an entry", limit: 1_000, unit: "bytes", seen: 1_001 };
        assert!(matches!(result, Err(BodyError::TooLarge(e)) if e == too_large));
        assert_eq!(
            admission.try_receive("an entry", Body::from(vec![0; 1_000]), 1_000).await.unwrap().bytes.len(),
            1_000
        );
        assert_eq!(admission.try_receive("an entry", Body::empty(), 1_000).await.unwrap().bytes.len(), 0);
    }

    #[tokio::test]
    async fn what_arrives_is_bounded_however_many_send() {
        let admission = Admission::default();
        let held = take(&admission.receiving, RECEIVING_BYTES).unwrap();
        assert!(is_busy(&admission.try_receive("an entry", Body::from("late"), 1_000).await));
        drop(held);
        admission.try_receive("an entry", Body::from("late"), 1_000).await.unwrap();
    }
}
