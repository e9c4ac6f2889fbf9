//! `GET /healthz`: 200 where the log can append and publish, 503 where it can't.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Log;

#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    origin: String,
    profile: &'static str,
    /// Entries that are durable and in the tree.
    tree_size: u64,
    /// Entries in the signed checkpoint.
    published_size: u64,
    /// Seconds since this process last published a checkpoint.
    published_seconds_ago: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

pub async fn healthz(State(log): State<Log>) -> (StatusCode, Json<Health>) {
    let published = log.published();
    let faults: Vec<String> = log.sequencer().fault().into_iter().chain(log.publishers().fault()).collect();
    let well = (StatusCode::OK, "ok");
    let (code, status) = if faults.is_empty() { well } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") };
    let health = Health {
        status,
        origin: log.origin().to_string(),
        profile: log.profile().as_str(),
        tree_size: log.reader().size().get(),
        published_size: published.checkpoint.size.get(),
        published_seconds_ago: published.at.elapsed().as_secs(),
        faults,
    };
    (code, Json(health))
}
