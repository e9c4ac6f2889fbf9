//! `GET /openapi.json`: the description of the API, for machines. tests/http/openapi.rs holds it to the code.

use axum::response::Response;

use crate::http::cache;

pub async fn openapi() -> Response {
    cache::answer("application/json", cache::REVALIDATE, include_str!("openapi.json"))
}
