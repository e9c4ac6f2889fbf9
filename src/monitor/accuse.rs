//! `POST /evidence`: somebody has a `.tlog-fork` file of a log that is followed here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Monitor;
use super::http::log_of;
use super::problem::{GOSSIP_QUEUED, GossipError};
use crate::http::ClientAddress;
use crate::http::admission::Upload;
use crate::http::problem::blocking;
use crate::proof::fork::{ForkEvidence, MAX_FORK_BYTES};

/// Takes it. It is kept and told of like a fork that this monitor finds itself.
pub async fn evidence(
    State(monitor): State<Arc<Monitor>>,
    client: ClientAddress,
    body: Upload,
) -> Result<StatusCode, GossipError> {
    let answer = take(&monitor, client, body).await;
    monitor.outcomes().count(match &answer {
        Ok(()) => GOSSIP_QUEUED,
        Err(error) => error.row().outcome,
    });
    answer.map(|()| StatusCode::ACCEPTED)
}

async fn take(monitor: &Arc<Monitor>, client: ClientAddress, body: Upload) -> Result<(), GossipError> {
    let what = "evidence of a fork";
    monitor.admit(client)?;
    let received = monitor.admission().receive(what, body, MAX_FORK_BYTES).await?;
    let evidence = ForkEvidence::parse(&received.bytes)?;
    let [smaller, _] = evidence.notes();
    let (board, rules) = log_of(monitor, smaller)?;
    // The policy may trust other logs; they have boards of their own.
    let judge = move || evidence.judge(&rules.keys).map_err(GossipError::NoFork);
    let fork = blocking(judge).await??;
    if board.accuse(fork) { Ok(()) } else { Err(GossipError::Busy) }
}
