//! Answers that every server gives besides those of its routes.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::map_response;

use super::cache;
use super::problem::RequestError;
use crate::format::quote;

/// The answers to requests outside a server's routes.
pub struct RouteHints {
    /// Completes "... is not a route of".
    pub no_route: &'static str,
    /// Says which methods the routes have.
    pub wrong_method: &'static str,
}

impl RouteHints {
    /// The error for a path without a route.
    pub fn no_route(&self, uri: &Uri) -> RequestError {
        RequestError::NoRoute { path: quote(uri.path()), hint: self.no_route }
    }

    fn wrong_method(&self, method: &Method) -> RequestError {
        RequestError::WrongMethod { method: quote(method.as_str()), hint: self.wrong_method }
    }

    /// Completes a router: other paths are 404, other methods 405, and caches keep only what a route lets them
    /// keep.
    pub fn complete<S: Clone + Send + Sync + 'static>(&'static self, router: Router<S>) -> Router<S> {
        router
            .fallback(move |uri: Uri| async move { self.no_route(&uri) })
            .method_not_allowed_fallback(move |method: Method| async move { self.wrong_method(&method) })
            .layer(map_response(cache::default_to_never))
    }
}

/// Status and `status` member of an answer to `GET /healthz`.
pub fn health(faults: &[String]) -> (StatusCode, &'static str) {
    if faults.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") }
}
