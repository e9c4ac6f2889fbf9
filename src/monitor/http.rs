//! The monitor's routes: what it vouches for, what others push, a page, figures and health.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::net::TcpListener;

use super::Monitor;
use super::accuse::evidence;
use super::board::{Board, PUSHED, Taken};
use super::metrics::metrics;
use super::page::{content_security_policy, page};
use super::problem::{GOSSIP_KNOWN, GOSSIP_QUEUED, GossipError};
use super::rules::Rules;
use crate::checkpoint;
use crate::format::quote;
use crate::http::admission::Upload;
use crate::http::json::Json;
use crate::http::problem::blocking;
use crate::http::routes::{RouteHints, health};
use crate::http::{self, ClientAddress, Listener, cache};
use crate::merkle::Hash;
use crate::note::{MAX_NOTE_BYTES, Note};

const HINTS: RouteHints = RouteHints {
    no_route: "a monitor: see docs/monitor.md",
    wrong_method: "POST goes to /gossip and /evidence, everything else is GET",
};

/// Serves a monitor until `shutdown` is ready, then answers the requests in progress.
///
/// # Errors
/// [`io::Error`] where the listener fails.
pub async fn serve(
    listener: TcpListener,
    monitor: Arc<Monitor>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = Listener::behind(listener, monitor.trusted_proxies().to_vec());
    http::serve(listener, router(monitor), shutdown).await
}

fn router(monitor: Arc<Monitor>) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/{hash}/checkpoint", get(checkpoint_of))
        .route("/gossip", post(gossip))
        .route("/evidence", post(evidence))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics));
    HINTS.complete(routes).with_state(monitor)
}

/// The page has no scripts and loads nothing else, and its policy tells the browser so: if a name ever became
/// markup, it could do nothing.
async fn index(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, content_security_policy()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Html(page(&monitor)))
}

/// The newest head all of whose entries were re-hashed, with the signatures that were checked.
async fn checkpoint_of(
    State(monitor): State<Arc<Monitor>>,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, GossipError> {
    let hash = path.ok().and_then(|Path(hash)| Hash::from_hex(&hash).ok());
    let hash = hash.ok_or_else(|| HINTS.no_route(&uri))?;
    let board = monitor.boards().iter().find(|board| board.hash == hash);
    let vouched = board.and_then(|board| board.vouched());
    let vouched = vouched.ok_or_else(|| GossipError::NotFollowed(hash.to_hex()))?;
    Ok(cache::answer(cache::TEXT, cache::REVALIDATE, vouched.note))
}

/// Takes a head that somebody was shown. Answers with the monitor's own, so that whoever pushes can compare
/// too.
async fn gossip(
    State(monitor): State<Arc<Monitor>>,
    client: ClientAddress,
    body: Upload,
) -> Result<Response, GossipError> {
    let answer = take(&monitor, client, body).await;
    let outcome = match &answer {
        Ok((_, Taken::Known)) => GOSSIP_KNOWN,
        Ok(_) => GOSSIP_QUEUED,
        Err(error) => error.row().outcome,
    };
    monitor.outcomes().count(outcome);
    let (board, taken) = answer?;
    let status = if taken == Taken::Known { StatusCode::OK } else { StatusCode::ACCEPTED };
    let own = board.vouched().map(|vouched| vouched.note).unwrap_or_default();
    Ok((status, cache::answer(cache::TEXT, cache::NEVER, own)).into_response())
}

async fn take(
    monitor: &Arc<Monitor>,
    client: ClientAddress,
    body: Upload,
) -> Result<(Arc<Board>, Taken), GossipError> {
    let what = "a tree head";
    monitor.admit(client)?;
    let received = monitor.admission().receive(what, body, MAX_NOTE_BYTES).await?;
    let note = Note::parse(&received.bytes)?;
    let (board, rules) = log_of(monitor, &note)?;
    // A signature takes a part of a millisecond, and a note may have many lines.
    let head = blocking(move || checkpoint::open_note(note, &rules.keys)).await??;
    match board.take(PUSHED, head, monitor.now()) {
        Taken::Full => Err(GossipError::Busy),
        taken => Ok((board, taken)),
    }
}

/// The followed log that a note names as its origin: what is known of it, and what the monitor was told.
pub fn log_of(monitor: &Monitor, note: &Note) -> Result<(Arc<Board>, Arc<Rules>), GossipError> {
    let origin = note.text().split('\n').next().unwrap_or_default();
    let place = monitor.boards().iter().position(|board| board.origin.as_str() == origin);
    let place = place.ok_or_else(|| GossipError::UnknownLog(quote(origin)))?;
    Ok((monitor.boards()[place].clone(), monitor.rules()[place].clone()))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    logs: Vec<LogHealth>,
    sinks: Vec<SinkHealth>,
    open_alerts: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

#[derive(Serialize)]
struct LogHealth {
    origin: String,
    /// As in the address of its checkpoint.
    origin_hash: String,
    /// Entries that were re-hashed.
    verified: u64,
    /// Entries that the log has signed.
    signed: u64,
    /// Seconds since the log answered; none where it never did.
    asked_seconds_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

#[derive(Serialize)]
struct SinkHealth {
    name: String,
    undelivered: usize,
    /// A code: the words are in the monitor's own log, because a command's may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

/// 503 where the monitor can't do its own part: follow, and tell. That a log misbehaves is what it is for.
async fn healthz(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    let now = monitor.now();
    let figures = monitor.delivery().figures();
    let log = |board: &Arc<Board>| {
        let progress = board.progress();
        LogHealth {
            origin: board.origin.to_string(),
            origin_hash: board.hash.to_hex(),
            verified: progress.cursor.get(),
            signed: progress.target.get(),
            asked_seconds_ago: progress.asked.map(|asked| now.saturating_sub(asked)),
            fault: progress.fault,
        }
    };
    let sink = |sink: &super::delivery::SinkFigures| SinkHealth {
        name: sink.name.clone(),
        undelivered: sink.undelivered,
        fault: sink.fault_code,
    };
    let sinks: Vec<SinkHealth> = figures.sinks.iter().map(sink).collect();
    let mut faults = monitor.faults();
    faults.extend(figures.faults.clone());
    faults.extend(
        sinks
            .iter()
            .filter_map(|sink| Some(format!("{}: {}; the monitor's log says more", sink.name, sink.fault?))),
    );
    let (code, status) = health(&faults);
    let logs = monitor.boards().iter().map(log).collect();
    (code, Json(Health { status, logs, sinks, open_alerts: figures.open_conditions, faults }))
}
