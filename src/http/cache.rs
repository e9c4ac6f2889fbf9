//! What caches between a server and its readers may keep.
//!
//! | answer | rule |
//! | --- | --- |
//! | full and partial tiles, entry bundles, proofs with all parameters in their path | [`FOR_EVER`] |
//! | tree heads | [`ASK`] |
//! | everything else: searches, proof files, health, figures, errors, pages | [`NEVER`] |
//!
//! A route without a rule gets [`NEVER`], so that no cache keeps an answer because somebody forgot a header.

use axum::http::{HeaderValue, header};
use axum::response::Response;

/// For answers that depend on their path alone: the tree below a published size never changes.
pub const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For answers that change: a cache must revalidate before it serves one again.
pub const ASK: &str = "no-cache";
/// For answers that only hold now.
pub const NEVER: &str = "no-store";

/// Forbids caches to store answers without a rule of their own.
pub async fn closed(mut response: Response) -> Response {
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(NEVER));
    response
}
