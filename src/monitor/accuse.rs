//! `POST /evidence`: somebody has a `.tlog-fork` file of a log that is followed here.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::Monitor;
use super::http::log_of;
use super::problem::{GOSSIP_QUEUED, GossipError};
use crate::http::Sender;
use crate::http::admission::{Upload, announced};
use crate::proof::fork::{ForkEvidence, MAX_FORK_BYTES};

/// Takes it. It is kept and told of like a fork that this monitor finds itself.
pub async fn evidence(
    State(monitor): State<Arc<Monitor>>,
    Extension(sender): Extension<Sender>,
    headers: HeaderMap,
    body: Upload,
) -> Result<StatusCode, GossipError> {
    let answer = take(&monitor, sender, &headers, body).await;
    monitor.outcomes().count(match &answer {
        Ok(()) => GOSSIP_QUEUED,
        Err(error) => error.table(),
    });
    answer.map(|()| StatusCode::ACCEPTED)
}

async fn take(
    monitor: &Arc<Monitor>,
    sender: Sender,
    headers: &HeaderMap,
    body: Upload,
) -> Result<(), GossipError> {
    let what = "evidence of a fork";
    monitor.admit(sender)?;
    announced(what, headers, MAX_FORK_BYTES)?;
    let received = monitor.admission().receive::<GossipError>(what, body, MAX_FORK_BYTES).await?;
    let evidence = ForkEvidence::parse(&received.bytes)?;
    let [smaller, _] = evidence.notes();
    let (board, rules) = log_of(monitor, smaller)?;
    // The policy may trust other logs; they have boards of their own.
    let judged = tokio::task::spawn_blocking(move || evidence.judge(&rules.keys)).await;
    let fork = judged.map_err(|_| GossipError::Internal)?.map_err(GossipError::NoFork)?;
    if board.accuse(fork) { Ok(()) } else { Err(GossipError::Busy) }
}
