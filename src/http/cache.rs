//! Rules for caches between a server and its readers.
//!
//! | answer | rule |
//! | --- | --- |
//! | full and partial tiles, entry bundles, proofs with all parameters in their path | [`FOREVER`] |
//! | checkpoints | [`REVALIDATE`] |
//! | everything else: searches, proof files, health, metrics, errors, pages | [`NEVER`] |
//!
//! An answer without a rule gets [`NEVER`], so a route that forgets the header is never cached.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// For answers that depend on their path alone: the tree below a published size never changes.
pub const FOREVER: &str = "public, max-age=31536000, immutable";
/// For answers that change: a cache must revalidate before it serves one again.
pub const REVALIDATE: &str = "no-cache";
/// For answers that hold only at the moment they are given.
pub const NEVER: &str = "no-store";

/// Media type of checkpoints and signature lines, for which the specifications name none.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of a media type, with a rule for caches.
pub fn answer(media_type: &'static str, rule: &'static str, body: impl IntoResponse) -> Response {
    // Not as a tuple: that would check and copy the values for each answer.
    let mut answer = body.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(rule));
    answer
}

/// Gives an answer without a rule the rule [`NEVER`].
pub async fn default_to_never(mut answer: Response) -> Response {
    answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(NEVER));
    answer
}
