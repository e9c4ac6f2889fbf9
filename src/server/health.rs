//! `GET /healthz`: 200 if the log can append and publish, 503 if it can't.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Log;
use crate::http::json::Json;
use crate::http::routes::health;
use crate::sequencer::{CosignerStatus, Role};

#[derive(Serialize)]
pub struct LogHealth {
    status: &'static str,
    origin: String,
    profile: &'static str,
    /// Entries that are durable and in the tree.
    tree_size: u64,
    /// Entries in the signed checkpoint that everyone sees.
    published_size: u64,
    /// Seconds since this process last published a checkpoint.
    published_seconds_ago: u64,
    /// `holder` or `standby`, if several servers may serve the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// The URL of the server that appends, if this one stands by and knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// The state of the witnesses, if the log has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    witnessing: Option<WitnessingHealth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// Conditions that need attention although the log appends and publishes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct WitnessingHealth {
    /// The quorum, for people.
    quorum: String,
    /// Set if a quorum has cosigned the published checkpoint.
    reached: bool,
    witnesses: Vec<CosignerStatus>,
}

pub async fn healthz(State(log): State<Log>) -> (StatusCode, Json<LogHealth>) {
    let published = log.published();
    let faults: Vec<String> = log.sequencer().faults().into_values().chain(log.publishers_fault()).collect();
    let (code, status) = health(&faults);
    let witnessing = log.sequencer().cosigners().map(|cosigners| WitnessingHealth {
        quorum: cosigners.quorum(),
        reached: published.witnessed,
        witnesses: cosigners.status(),
    });
    let health = LogHealth {
        status,
        origin: log.origin().to_string(),
        profile: log.profile().as_str(),
        tree_size: log.reader().size().get(),
        published_size: published.checkpoint.size.get(),
        published_seconds_ago: published.at.elapsed().as_secs(),
        role: Some(log.sequencer().figures().role).filter(|role| *role != Role::Alone).map(Role::as_str),
        #[cfg(feature = "bucket")]
        holder: log.holder(),
        #[cfg(not(feature = "bucket"))]
        holder: None,
        witnessing,
        faults,
        warnings: log.warnings(),
    };
    (code, Json(health))
}
