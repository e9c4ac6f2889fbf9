//! The witness's routes, and its health.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;

use super::metrics::metrics;
use super::problem::COSIGNED;
use super::{Head, Record, Witness, WitnessError};
use crate::checkpoint::{Origin, origin_hash};
use crate::http::admission::Upload;
use crate::http::json::Json;
use crate::http::problem::blocking;
use crate::http::routes::{RouteHints, health};
use crate::http::{self, Listener, cache};
use crate::merkle::Hash;
use crate::note::NoteSignature;
use crate::proof::wire::{MAX_ADD_CHECKPOINT_BYTES, MAX_SIGN_SUBTREE_BYTES, print_signatures};

const HINTS: RouteHints = RouteHints {
    no_route: "a witness: expected /add-checkpoint, /sign-subtree, /<origin hash>/checkpoint, /healthz or /metrics",
    wrong_method: "POST goes to /add-checkpoint and /sign-subtree, everything else is GET",
};

/// Serves `witness` on a listener until `shutdown` is ready, then answers the requests in progress and returns.
///
/// # Errors
/// [`io::Error`] if the listener fails.
pub async fn run(
    listener: impl Into<Listener>,
    witness: Witness,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let result = http::serve(listener, router(witness.clone()), shutdown).await;
    let stopped = tokio::task::spawn_blocking(move || witness.ledger().shut_down()).await;
    stopped.map_err(io::Error::other).and(result)
}

fn router(witness: Witness) -> Router {
    let routes = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/sign-subtree", post(sign_subtree))
        .route("/{hash}/checkpoint", get(checkpoint))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics));
    HINTS.complete(routes).with_state(witness)
}

async fn add_checkpoint(State(witness): State<Witness>, body: Upload) -> Result<Response, WitnessError> {
    let what = "an add-checkpoint request";
    let answer = async {
        let received = witness.inner.admission.receive(what, body, MAX_ADD_CHECKPOINT_BYTES).await?;
        let request = witness.read_request(&received.bytes).await?;
        // A request that waits for its turn must not hold up other logs with its body or its right to be checked.
        drop(received);
        witness.answer(request).await
    };
    counted(&witness, answer.await)
}

async fn sign_subtree(State(witness): State<Witness>, body: Upload) -> Result<Response, WitnessError> {
    let what = "a sign-subtree request";
    let answer = async {
        let received = witness.inner.admission.receive(what, body, MAX_SIGN_SUBTREE_BYTES).await?;
        witness.sign_subtree(&received.bytes).await
    };
    counted(&witness, answer.await)
}

fn counted(
    witness: &Witness,
    answer: Result<Vec<NoteSignature>, WitnessError>,
) -> Result<Response, WitnessError> {
    witness.inner.outcomes.count(answer.as_ref().map_or_else(|error| error.row().outcome, |_| COSIGNED));
    answer.map(|lines| cache::answer(cache::TEXT, cache::NEVER, print_signatures(&lines)))
}

/// The last cosigned checkpoint of a log, with the signatures that this witness verified or made.
async fn checkpoint(
    State(witness): State<Witness>,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, WitnessError> {
    let hash = path.ok().and_then(|Path(hash)| Hash::from_hex(&hash).ok());
    let hash = hash.ok_or_else(|| HINTS.no_route(&uri))?;
    let record: Option<Record> = blocking(move || witness.ledger().record(&hash)).await??;
    let record = record.ok_or_else(|| WitnessError::NeverCosigned(hash.to_hex()))?;
    Ok(cache::answer(cache::TEXT, cache::REVALIDATE, record.note))
}

#[derive(Serialize)]
struct WitnessHealth {
    status: &'static str,
    name: String,
    /// The verifier keys for its cosignatures.
    vkeys: Vec<String>,
    /// The logs that are or were listed.
    logs: Vec<WitnessedLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// Conditions that need attention although the witness cosigns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct WitnessedLog {
    origin: String,
    /// SHA-256 of the origin, as in the path of its checkpoint.
    origin_hash: String,
    /// Whether the witness still cosigns for it.
    listed: bool,
    /// Size that was cosigned last.
    #[serde(skip_serializing_if = "Option::is_none")]
    tree_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cosigned_seconds_ago: Option<u64>,
    /// Names of the evidence files about it in the witness's directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
}

async fn healthz(State(witness): State<Witness>) -> (StatusCode, Json<WitnessHealth>) {
    let faults = witness.faults();
    let heads = witness.ledger().heads();
    let known: HashMap<&Origin, &Head> = heads.iter().map(|(origin, head)| (origin, head)).collect();
    let in_order = witness.inner.logs.current().origins();
    let listed: HashSet<&Origin> = in_order.iter().collect();
    let dropped = heads.iter().map(|(origin, _)| origin).filter(|origin| !listed.contains(origin));
    let now = (witness.inner.clock)();
    let log = |origin: &Origin| {
        let head = known.get(origin);
        WitnessedLog {
            origin: origin.to_string(),
            origin_hash: origin_hash(origin).to_hex(),
            listed: listed.contains(origin),
            tree_size: head.map(|head| head.size.get()),
            cosigned_seconds_ago: head.map(|head| now.saturating_sub(head.time)),
            evidence: witness.inner.evidence.about(origin),
        }
    };
    let (code, status) = health(&faults);
    let health = WitnessHealth {
        status,
        name: witness.name().to_string(),
        vkeys: witness.keys().map(ToString::to_string).collect(),
        logs: in_order.iter().chain(dropped).map(log).collect(),
        faults,
        warnings: witness.warnings(),
    };
    (code, Json(health))
}
