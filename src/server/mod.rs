//! The log over HTTP: submissions, tlog-tiles reads, proofs and search.
//!
//! [`Log`] is an open log; [`run`] serves it on a listener until it is told to stop.

mod health;
mod intersection;
mod log;
mod metrics;
pub(crate) mod problem;
mod profile;
mod proof;
mod publisher_book;
mod read;
mod search;
mod sequence;
mod submit;
mod warnings;
mod withdrawal;

use std::future::Future;
use std::io;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{get, post};

use crate::http::{self, Front, cache};

pub use log::{Log, LogConfig, OpenError};
pub use problem::Problem;
pub use profile::{FILE as PROFILE_FILE, Profile};
pub(crate) use publisher_book::PUBLISHERS;
pub use publisher_book::PublisherBook;
pub use search::{ArtifactRow, ReleaseRow, WithdrawnRow};
pub use submit::{MAX_BATCH_BODY_BYTES, PROOF_MEDIA_TYPE};

/// Serves `log` on a listener, or a [`Front`], until `shutdown` is ready, then answers the requests in progress, commits and
/// publishes everything that was accepted, and returns.
///
/// # Errors
/// [`io::Error`] where the listener fails, or not everything that is durable could be published.
pub async fn run(
    front: impl Into<Front>,
    log: Log,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let result = http::serve(front.into(), router(log.clone()), shutdown).await;
    let sequencer = log.sequencer().clone();
    let stopped = tokio::task::spawn_blocking(move || sequencer.shut_down()).await;
    stopped.map_err(io::Error::other).and_then(|stopped| stopped.map_err(io::Error::other)).and(result)
}

/// All routes of the log.
fn router(log: Log) -> Router {
    Router::new()
        .route("/add", post(submit::add))
        .route("/add-batch", post(submit::add_batch))
        .route("/checkpoint", get(read::checkpoint))
        .route("/tile/{level}/{*path}", get(read::tile))
        .route("/tile/entries/{*path}", get(read::bundle))
        .route("/releases", get(search::releases))
        .route("/proof/inclusion/{size}/{index}", get(proof::inclusion))
        .route("/proof/consistency/{old}/{new}", get(proof::consistency))
        .route("/proof/leaf/{hash}", get(proof::leaf))
        .route("/sequence", get(sequence::sequence))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::metrics))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(map_response(cache::closed))
        .with_state(log)
}
