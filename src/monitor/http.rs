//! The monitor's routes: the head that it vouches for, heads and evidence that others send, a page, metrics and health.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::net::TcpListener;

use super::delivery::{Delivery, SinkFigures};
use super::inbox::{Admitted, PUSHED};
use super::log::FollowedLog;
use super::metrics::metrics_of;
use super::page::{MAX_CONDITIONS, content_security_policy, page};
use super::problem::{GOSSIP_KNOWN, GOSSIP_QUEUED, GossipError};
use super::settings::MonitorSettings;
use crate::checkpoint;
use crate::format::quote;
use crate::http::RequestError;
use crate::http::admission::{Admission, Received, Upload};
use crate::http::exposition::Exposition;
use crate::http::json::Json;
use crate::http::outcomes::Outcomes;
use crate::http::problem::blocking;
use crate::http::rate_limit::{Rate, RateLimits};
use crate::http::routes::{RouteHints, health};
use crate::http::{self, ClientAddress, Listener, cache};
use crate::merkle::Hash;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::proof::fork::{ForkEvidence, MAX_FORK_BYTES};

const HINTS: RouteHints = RouteHints {
    no_route: "a monitor: see docs/monitor.md",
    wrong_method: "POST goes to /gossip and /evidence, everything else is GET",
};
/// Heads that all addresses together may push. Each costs a signature check, a third of a millisecond at most.
const EVERYBODY: Rate = Rate { burst: 200, every: Duration::from_millis(20) };
/// Heads that one address may push. Endpoints push one after an update, and a whole office may share an address.
const EACH: Rate = Rate { burst: 20, every: Duration::from_secs(1) };

pub struct MonitorServer {
    logs: Vec<Arc<FollowedLog>>,
    delivery: Arc<Delivery>,
    settings: Arc<MonitorSettings>,
    outcomes: Outcomes,
    admission: Admission,
    limits: Mutex<RateLimits>,
    opened: Instant,
}

impl MonitorServer {
    pub fn new(settings: Arc<MonitorSettings>, logs: Vec<Arc<FollowedLog>>, delivery: Arc<Delivery>) -> Self {
        Self {
            logs,
            delivery,
            settings,
            outcomes: Outcomes::new(&[
                &[GOSSIP_KNOWN, GOSSIP_QUEUED],
                GossipError::COUNTED,
                RequestError::COUNTED,
            ]),
            admission: Admission::default(),
            limits: Mutex::new(RateLimits::new(EVERYBODY, EACH)),
            opened: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        (self.settings.clock)()
    }

    /// Receives the body of a client that may push now.
    async fn receive(
        &self,
        what: &'static str,
        client: ClientAddress,
        body: Upload,
        limit: usize,
    ) -> Result<Received, GossipError> {
        let admitted = self
            .limits
            .lock()
            .expect("no panic while the lock is held")
            .admit(client.address(), self.opened.elapsed());
        admitted.map_err(|wait| GossipError::TooMany(wait.as_secs() + 1))?;
        Ok(self.admission.receive(what, body, limit).await?)
    }

    fn log_of(&self, note: &Note) -> Result<Arc<FollowedLog>, GossipError> {
        let origin = note.text().split('\n').next().unwrap_or_default();
        let log = self.logs.iter().find(|log| log.origin() == origin);
        log.cloned().ok_or_else(|| GossipError::UnknownLog(quote(origin)))
    }
}

type Server = State<Arc<MonitorServer>>;

/// Serves a monitor until `shutdown` is ready, then answers the requests in progress.
pub async fn serve(
    listener: TcpListener,
    server: Arc<MonitorServer>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = Listener::behind(listener, server.settings.trusted_proxies.clone());
    http::serve(listener, router(server), shutdown).await
}

fn router(server: Arc<MonitorServer>) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/{hash}/checkpoint", get(checkpoint_of))
        .route("/gossip", post(gossip))
        .route("/evidence", post(evidence))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics));
    HINTS.complete(routes).with_state(server)
}

/// The page has no scripts and loads nothing else, and its policy tells the browser so: a name that became markup could
/// do nothing.
async fn index(State(server): Server) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, content_security_policy()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Html(page(&server.logs, &server.delivery.open_conditions(MAX_CONDITIONS))))
}

/// The newest head all of whose entries were re-hashed, with the signatures that were checked.
async fn checkpoint_of(
    State(server): Server,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, GossipError> {
    let hash = path.ok().and_then(|Path(hash)| Hash::from_hex(&hash).ok());
    let hash = hash.ok_or_else(|| HINTS.no_route(&uri))?;
    let vouched = server.logs.iter().find(|log| log.hash == hash).and_then(|log| log.status().vouched);
    let vouched = vouched.ok_or_else(|| GossipError::NotFollowed(hash.to_hex()))?;
    Ok(cache::answer(cache::TEXT, cache::REVALIDATE, vouched.note))
}

/// Accepts a head that somebody was shown. The answer is the monitor's own head, so that the sender can compare too.
async fn gossip(State(server): Server, client: ClientAddress, body: Upload) -> Result<Response, GossipError> {
    let answer = add_head(&server, client, body).await;
    let outcome = match &answer {
        Ok((_, Admitted::Known)) => GOSSIP_KNOWN,
        Ok(_) => GOSSIP_QUEUED,
        Err(error) => error.row().outcome,
    };
    server.outcomes.count(outcome);
    let (log, admitted) = answer?;
    let status = if admitted == Admitted::Known { StatusCode::OK } else { StatusCode::ACCEPTED };
    let own = log.status().vouched.map(|vouched| vouched.note).unwrap_or_default();
    Ok((status, cache::answer(cache::TEXT, cache::NEVER, own)).into_response())
}

async fn add_head(
    server: &MonitorServer,
    client: ClientAddress,
    body: Upload,
) -> Result<(Arc<FollowedLog>, Admitted), GossipError> {
    let received = server.receive("a tree head", client, body, MAX_NOTE_BYTES).await?;
    let note = Note::parse(&received.bytes)?;
    let log = server.log_of(&note)?;
    // A signature takes a part of a millisecond, and a note may have many lines.
    let settings = log.settings.clone();
    let head = blocking(move || checkpoint::open_note(note, &settings.keys)).await??;
    match log.inbox.change(|inbox| inbox.add_head(PUSHED, head, server.now())) {
        Admitted::Full => Err(GossipError::Busy),
        admitted => Ok((log, admitted)),
    }
}

/// Accepts a `.tlog-fork` file. It is kept and reported like a fork that the monitor finds itself.
async fn evidence(
    State(server): Server,
    client: ClientAddress,
    body: Upload,
) -> Result<StatusCode, GossipError> {
    let answer = add_fork(&server, client, body).await;
    server.outcomes.count(match &answer {
        Ok(()) => GOSSIP_QUEUED,
        Err(error) => error.row().outcome,
    });
    answer.map(|()| StatusCode::ACCEPTED)
}

async fn add_fork(server: &MonitorServer, client: ClientAddress, body: Upload) -> Result<(), GossipError> {
    let received = server.receive("evidence of a fork", client, body, MAX_FORK_BYTES).await?;
    let evidence = ForkEvidence::parse(&received.bytes)?;
    let [smaller, _] = evidence.notes();
    let log = server.log_of(smaller)?;
    // The policy may trust other logs; their forks are theirs.
    let settings = log.settings.clone();
    let fork = blocking(move || evidence.judge(&settings.keys).map_err(GossipError::NoFork)).await??;
    if log.inbox.change(|inbox| inbox.add_fork(fork)) { Ok(()) } else { Err(GossipError::Busy) }
}

async fn metrics(State(server): Server) -> Exposition {
    metrics_of(
        &server.logs,
        &server.delivery.figures(),
        &server.settings.evidence(),
        &server.outcomes,
        server.now(),
    )
}

#[derive(Serialize)]
struct MonitorHealth {
    status: &'static str,
    logs: Vec<FollowedHealth>,
    sinks: Vec<SinkFigures>,
    open_alerts: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

#[derive(Serialize)]
struct FollowedHealth {
    origin: String,
    /// SHA-256 of the origin, as in the URL of its checkpoint.
    origin_hash: String,
    verified: u64,
    signed: u64,
    /// Seconds since the log answered, if it ever did.
    asked_seconds_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// 503 while the monitor can't do its own part: follow and report. A log that misbehaves is reported, and no fault.
async fn healthz(State(server): Server) -> impl IntoResponse {
    let (now, figures) = (server.now(), server.delivery.figures());
    let (mut logs, mut faults) = (Vec::new(), Vec::new());
    for log in &server.logs {
        let (status, origin) = (log.status(), log.origin().to_owned());
        faults.extend(status.own_fault.map(|fault| format!("{origin}: {fault}")));
        logs.push(FollowedHealth {
            origin,
            origin_hash: log.hash.to_hex(),
            verified: status.cursor.get(),
            signed: status.target.get(),
            asked_seconds_ago: status.asked.map(|asked| now.saturating_sub(asked)),
            fault: status.fault,
        });
    }
    faults.extend(figures.faults);
    let of_sink = |sink: &SinkFigures| {
        Some(format!("{}: {}; the monitor's log says more", sink.name, sink.fault_code?))
    };
    faults.extend(figures.sinks.iter().filter_map(of_sink));
    let (code, status) = health(&faults);
    let open_alerts = figures.open_by_log.values().sum();
    (code, Json(MonitorHealth { status, logs, sinks: figures.sinks, open_alerts, faults }))
}
