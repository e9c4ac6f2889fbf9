//! Handles every request before the router, and every answer after it: framing, the client's address, and the
//! bytes of unread answers.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Request, Response, header};
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::admission::discard;
use super::budget::{Budget, Reservation};
use super::client_address::ClientAddress;
use super::connections::{Arrival, Connection, Connections};
use super::problem::RequestError;
use crate::format::{FormatError, quote};

/// Answers up to this size are not counted: sockets hold them, and all connections together have at most 64 MiB
/// of them.
const SMALL_ANSWER_BYTES: usize = 16 * 1_024;
/// Most bytes that are read of a body after it was refused.
const REFUSED_BODY_BYTES: usize = 64 * 1_024;

/// Answers the requests of a server.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of this client.
    fn handle(
        &self,
        request: Request<Body>,
        client: ClientAddress,
    ) -> impl Future<Output = Response<Body>> + Send + use<Self>;
}

impl Handler for Router {
    fn handle(
        &self,
        mut request: Request<Body>,
        client: ClientAddress,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        request.extensions_mut().insert(client);
        let answer = TowerToHyperService::new(self.clone()).call(request);
        async move { answer.await.unwrap_or_else(|never| match never {}) }
    }
}

/// The state that all connections of a server share.
pub struct Frontend<H> {
    handler: H,
    pub trusted_proxies: Vec<IpAddr>,
    pub connections: Arc<Connections>,
    answers: Budget,
}

impl<H: Handler> Frontend<H> {
    pub fn new(handler: H, trusted_proxies: Vec<IpAddr>, connections: Arc<Connections>) -> Arc<Self> {
        let answers = Budget::new(connections.limits.answers, 1);
        Arc::new(Self { handler, trusted_proxies, connections, answers })
    }

    /// Answers a request that came on this connection, from this address.
    ///
    /// The future is no trait object and in no box: hyper has a place for it in each connection. So it is kept small.
    pub fn answer(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        from: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<H> {
        let serving = connection.serve();
        let request = request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            Body::new(ObservedBody { body, arrival: connection.expect_body() })
        });
        let client = ClientAddress::of(from, request.headers(), &self.trusted_proxies);
        let frontend = self.clone();
        async move {
            let _serving = serving;
            if let Err(error) = check_framing(request.headers()) {
                discard(request.into_body(), REFUSED_BODY_BYTES);
                let mut answer = error.into_response();
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                return Ok(answer);
            }
            // Awaited where it is made: a future that is moved before has its place twice.
            let answer = frontend.handler.handle(request, client).await;
            Ok(frontend.count(answer, client).await)
        }
    }

    /// Counts the bytes of an answer until they are sent. If too many are waiting already, closes the connection
    /// that has been stalled longest, and turns this answer into an error.
    async fn count(&self, answer: Response<Body>, client: ClientAddress) -> Response<Body> {
        let size = answer.body().size_hint().exact().and_then(|size| usize::try_from(size).ok());
        if size.is_some_and(|size| size <= SMALL_ANSWER_BYTES) {
            return answer;
        }
        let (head, body) = answer.into_parts();
        // Handlers build answers whole: this copies nothing and waits for nothing.
        let Ok(whole) = body.collect().await else { return RequestError::Internal.into_response() };
        let bytes = whole.to_bytes();
        let mut held = self.answers.reserve(client.network());
        if held.grow(bytes.len()).is_err() {
            self.connections.close_slowest_reader();
            return RequestError::TooManyAnswers.into_response();
        }
        Response::from_parts(head, Bytes::from_owner(CountedBytes { bytes, _held: held }).into())
    }
}

/// Bytes that count against the budget until their last slice is dropped.
struct CountedBytes {
    bytes: Bytes,
    _held: Reservation,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request body that tells its connection how it arrives.
struct ObservedBody {
    body: Incoming,
    arrival: Arrival,
}

impl hyper::body::Body for ObservedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => self.arrival.awaits(),
            Poll::Ready(Some(Ok(frame))) => self.arrival.came(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(_) => self.arrival.came(0),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Checks `Transfer-Encoding`. RFC 9112 section 6.1: a server answers 501 to a transfer coding that it does not
/// understand, and this one understands only chunked. hyper checks only the last of a list, and would pass on a
/// body that is still encoded.
///
/// hyper refuses a list that does not end in chunked (400). If a request also has a length, hyper uses the
/// chunks and closes the connection, as section 6.3 asks.
fn check_framing(headers: &HeaderMap) -> Result<(), RequestError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => return Ok(()),
        (Some(one), None) if is_chunked(one) => return Ok(()),
        _ => {}
    }
    let lines: Vec<&[u8]> =
        headers.get_all(header::TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    let all = lines.join(&b", "[..]);
    let seen = quote(&String::from_utf8_lossy(&all));
    if all.split(|byte| *byte == b',').all(is_chunked) {
        return Err(FormatError::malformed("Transfer-Encoding", "chunked, once", seen).into());
    }
    Err(RequestError::TransferCoding(seen))
}
