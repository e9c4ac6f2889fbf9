//! Answers in JSON.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::format::to_json;

/// An answer in JSON that is safe to print: hidden characters are escaped, which is the same JSON but can't
/// drive a terminal.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], to_json(&self.0)).into_response()
    }
}
