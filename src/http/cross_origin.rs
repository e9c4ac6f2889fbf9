//! Lets pages of other sites read answers: Fetch Standard, "CORS protocol".

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

/// Headers that pages may read besides the usual ones.
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after");

/// Lets pages of any site read an answer that is public anyway.
pub fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// [`allow`], as a layer.
pub async fn allow_any(mut answer: Response) -> Response {
    allow(answer.headers_mut());
    answer
}
