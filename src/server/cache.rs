//! What caches between a server and its readers may keep.
//!
//! | answer | rule |
//! | --- | --- |
//! | full and partial tiles, entry bundles, proofs with all parameters in their path | [`FOR_EVER`] |
//! | tree heads | [`ASK`] |
//! | everything else: searches, proof files, health, figures, errors, pages | [`NEVER`] |
//!
//! A route that says nothing gets [`NEVER`], so that a forgotten header never keeps an old answer alive.

use axum::http::{HeaderValue, header};
use axum::response::Response;

/// For answers that are a function of their path: the tree below a published size never changes.
pub const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For answers that change: a cache has to ask before it gives one out again.
pub const ASK: &str = "no-cache";
/// For answers to a question about today.
pub const NEVER: &str = "no-store";

/// Closes answers that have no rule of their own to caches.
pub async fn closed(mut response: Response) -> Response {
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(NEVER));
    response
}
