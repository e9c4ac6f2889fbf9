//! The log over HTTP: submissions, tlog-tiles reads, proofs, search and the explorer.
//!
//! [`Log`] is an open log. [`run`] serves it on a listener until it is told to stop; [`router`] mounts it in a
//! program's own axum application.

pub(crate) mod explorer;
mod health;
mod intersection;
mod log;
mod metrics;
mod open_error;
mod openapi;
mod problem;
mod profile;
mod proof;
mod read;
mod search;
mod sequence;
mod submit;
mod tile_cache;
mod warnings;
mod withdrawal;

use std::future::Future;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::http::admission::Upload;
use crate::http::routes::RouteHints;
use crate::http::{self, ClientAddress, Handler, Listener, cache, cross_origin};
use crate::merkle::Tile;

pub use crate::release::Profile;
#[cfg(feature = "bucket")]
pub use log::Bucket;
pub use log::{Log, LogConfig, Storage};
pub use open_error::OpenError;
pub use problem::Problem;
pub use profile::PROFILE_FILE;
#[cfg(feature = "cli")]
pub(crate) use profile::describe;
pub use search::{ArtifactRow, ReleaseRow, WithdrawnRow};
pub use submit::{MAX_BATCH_BODY_BYTES, PROOF_MEDIA_TYPE};

const HINTS: RouteHints = RouteHints {
    no_route: "this log: see docs/http.md",
    wrong_method: "POST goes to /add and /add-batch, everything else is GET",
};

/// Serves `log` on a listener until `shutdown` is ready, then answers the requests in progress,
/// [shuts the log down](Log::shut_down), and returns.
///
/// # Errors
/// [`io::Error`] if the listener fails, or not everything that is durable could be published.
pub async fn run(
    listener: impl Into<Listener>,
    log: Log,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let routes = Routes { router: router(log.clone()), log: log.clone() };
    let result = http::serve_with(listener, routes, shutdown).await;
    log.shut_down().await.and(result)
}

/// Answers the two busiest routes itself, because the router clones and boxes several services for each request.
/// Everything else goes through the router, which answers these two the same way.
struct Routes {
    log: Log,
    router: Router,
}

impl Handler for Routes {
    fn handle(
        &self,
        request: Request,
        client: ClientAddress,
    ) -> impl Future<Output = Response> + Send + use<> {
        let is_add = *request.method() == Method::POST && request.uri().path() == "/add";
        let tile = (*request.method() == Method::GET).then(|| hash_tile(request.uri().path())).flatten();
        let route = match tile {
            Some(tile) => Route::Tile(self.log.clone(), tile),
            None if is_add => Route::Add(self.log.clone(), request),
            None => Route::Other(self.router.handle(request, client)),
        };
        async move {
            match route {
                Route::Add(log, request) => {
                    let (Parts { uri, headers, .. }, body) = request.into_parts();
                    let answer = submit::add(State(log), uri, Upload::new(headers, body, client)).await;
                    cache::default_to_never(answer.into_response()).await
                }
                Route::Tile(log, tile) => {
                    let answer = cross_origin::allow_any(read::hashes(&log, tile).into_response()).await;
                    cache::default_to_never(answer).await
                }
                Route::Other(answer) => answer.await,
            }
        }
    }
}

/// The way to the answer of a request.
#[expect(clippy::large_enum_variant, reason = "a box would cost the allocation that these routes avoid")]
enum Route<R> {
    Add(Log, Request<Body>),
    Tile(Log, Tile),
    Other(R),
}

/// The tile of hashes that a path names, if it is the path of one.
fn hash_tile(path: &str) -> Option<Tile> {
    let path = path.strip_prefix('/').filter(|path| path.starts_with("tile/"))?;
    Tile::parse(path).ok().filter(|tile| !tile.is_bundle())
}

/// All routes of the log, for a program that serves them itself, on its own or inside another application.
///
/// ```no_run
/// use std::net::SocketAddr;
///
/// use axum::Router;
/// use axum::routing::get;
/// use treehead::server::{self, Log, LogConfig};
///
/// # async fn embed(config: LogConfig) -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::open(config)?;
/// let app = Router::new()
///     .route("/", get(|| async { "releases of Example Corp." }))
///     .nest("/log", server::router(log.clone()));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let service = app.into_make_service_with_connect_info::<SocketAddr>();
/// axum::serve(listener, service)
///     .with_graceful_shutdown(async {
///         let _ = tokio::signal::ctrl_c().await;
///     })
///     .await?;
/// log.shut_down().await?;
/// # Ok(())
/// # }
/// ```
///
/// The log's URL prefix is then `http://127.0.0.1:8080/log`, which is also the address of its explorer; paths in its answers, such as `proof` of
/// `GET /releases`, begin at that prefix. The router answers unknown paths below it with a 404 of its own, so mount
/// it with `nest` or `nest_service`, not with `merge`.
///
/// The router itself bounds what request bodies use, and the entries that wait to be sequenced. The rest is done by
/// [`http::serve`], or by the program that embeds the router:
///
/// - **The client's address.** Each network has a share of the bounds. [`ClientAddress`] says
///   how a program names the client of a request. Without that, all clients count as one on this machine: the
///   totals hold, but one client can use all of them.
/// - **Connections.** Their number, idle ones, and clients that send a head or read an answer slowly.
/// - **Transfer codings.** hyper passes on a body whose `Transfer-Encoding` lists more than `chunked`; the log
///   refuses it as malformed, where [`http::serve`] answers 501.
/// - **The end.** After the last request, [`Log::shut_down`] commits and publishes what was accepted. A log that is
///   not shut down loses nothing that it answered, and recovers at its next start.
pub fn router(log: Log) -> Router {
    let reads = Router::new()
        .route("/checkpoint", get(read::checkpoint))
        .route("/tile/{level}/{*path}", get(read::tile))
        .route("/tile/entries/{*path}", get(read::bundle))
        .route("/releases", get(search::releases))
        .route("/proof/inclusion/{size}/{index}", get(proof::inclusion))
        .route("/proof/consistency/{old}/{new}", get(proof::consistency))
        .route("/proof/leaf/{hash}", get(proof::leaf))
        .route("/sequence", get(sequence::sequence))
        .route("/healthz", get(health::healthz))
        .route("/openapi.json", get(openapi::openapi))
        .route("/explorer/{file}", get(explorer::file))
        .layer(map_response(cross_origin::allow_any));
    let routes = Router::new()
        .route("/", get(explorer::page))
        .route("/add", post(submit::add))
        .route("/add-batch", post(submit::add_batch))
        .route("/metrics", get(metrics::metrics))
        .merge(reads);
    HINTS.complete(routes).with_state(log)
}
