//! Accepts connections and serves each in a task of its own.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client_address::{Network, is_proxy, network};
use super::connections::{ConnectionLimits, Connections, Slot};
use super::service::{Frontend, Handler};
use super::tracked_stream::TrackedStream;

/// Longest time for requests in progress after the signal to stop: longer than any commit takes, shorter than
/// the ninety seconds after which service managers kill.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after an error of `accept` that is not about one connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Least time between two log lines about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Time between two checks of all connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Largest head of a request. Proofs travel in bodies, and proxies send no longer heads.
const MAX_HEAD_BYTES: usize = 32 * 1_024;
/// Most bytes that a connection reads at once and keeps until they are handed on.
const MAX_READ_BYTES: usize = 64 * 1_024;
/// `EMFILE` and `ENFILE`: this process, or the system, has no file descriptor to give.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// A listening socket with the reverse proxies and the limits of a server.
pub struct Listener {
    socket: TcpListener,
    trusted_proxies: Vec<IpAddr>,
    limits: ConnectionLimits,
}

impl Listener {
    /// A listener behind reverse proxies at these addresses: for their requests, the address counts that they
    /// append to `X-Forwarded-For`.
    #[must_use]
    pub fn behind(socket: TcpListener, trusted_proxies: Vec<IpAddr>) -> Self {
        Self { socket, trusted_proxies, limits: ConnectionLimits::default() }
    }

    /// Replaces the limits.
    #[cfg(test)]
    pub(super) fn limited(self, limits: ConnectionLimits) -> Self {
        Self { limits, ..self }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::behind(socket, Vec::new())
    }
}

/// Serves a router until `shutdown` is ready, then answers the requests in progress.
///
/// Bounds connections, slow clients and unread answers, answers 501 to transfer codings besides chunked, and
/// puts a [`ClientAddress`](super::ClientAddress) into the extensions of each request.
///
/// # Errors
/// [`io::Error`] if the listener fails.
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_with(listener, router, shutdown).await
}

/// Like [`serve`], for any handler.
pub async fn serve_with(
    listener: impl Into<Listener>,
    handler: impl Handler,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Listener { socket, trusted_proxies, limits } = listener.into();
    let connections = Connections::new(limits);
    let frontend = Frontend::new(handler, trusted_proxies, connections.clone());
    let (stop, stopped) = watch::channel(());
    // Dropping the set ends the task.
    let mut sweeper = JoinSet::new();
    sweeper.spawn(sweep(connections));
    let (mut shutdown, mut logged) = (pin!(shutdown), None);
    loop {
        let (stream, from, slot) = tokio::select! {
            () = &mut shutdown => break,
            next = next(&socket, &frontend, &mut logged) => next,
        };
        tokio::spawn(serve_connection(stream, from, slot, frontend.clone(), stopped.clone()));
    }
    drop((socket, stopped));
    let _ = stop.send(());
    tokio::select! {
        () = stop.closed() => {}
        // A client that never finishes its request was promised nothing.
        () = tokio::time::sleep(GRACE) => {}
    }
    Ok(())
}

/// Serves one connection to its end.
async fn serve_connection(
    stream: TcpStream,
    from: IpAddr,
    slot: Slot,
    frontend: Arc<Frontend<impl Handler>>,
    mut stop: watch::Receiver<()>,
) {
    let connection = slot.connection.clone();
    let mut http = http1::Builder::new();
    // The sweeper times heads: hyper's timeout would count an idle connection as a slow head.
    http.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_READ_BYTES);
    let io = TokioIo::new(TrackedStream { stream, connection: connection.clone() });
    let answering = connection.clone();
    let service = service_fn(move |request| frontend.answer(&answering, from, request));
    let mut serving = pin!(http.serve_connection(io, service));
    let stopping = stop.clone();
    let is_told = || connection.must_close() || stopping.has_changed().unwrap_or(true);
    loop {
        let signal = pin!(async {
            tokio::select! {
                () = connection.told_to_close() => Signal::Close,
                _ = stop.changed() => Signal::Stop,
            }
        });
        match serve_until(serving.as_mut(), signal, is_told).await {
            Ok(ended) => return log_early_end(ended),
            Err(Signal::Close) if !connection.is_working() => return,
            Err(Signal::Close) => slot.keep_open(),
            Err(Signal::Stop) => break,
        }
    }
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, serving).await.map(log_early_end);
}

/// A reason to end a connection.
enum Signal {
    /// Its slot is wanted, or it was too slow.
    Close,
    /// The server stops.
    Stop,
}

/// Polls `serving` whenever the task is woken; returns its output, or `Err` with that of `signal`.
///
/// Each request wakes the task a few times. Polling the signal takes two locks, so it is polled once, which leaves the
/// task's waker with it, and then only if `is_told`.
async fn serve_until<T, S>(
    mut serving: Pin<&mut impl Future<Output = T>>,
    mut signal: Pin<&mut impl Future<Output = S>>,
    is_told: impl Fn() -> bool,
) -> Result<T, S> {
    let mut is_waiting = false;
    poll_fn(|context| {
        if let Poll::Ready(ended) = serving.as_mut().poll(context) {
            return Poll::Ready(Ok(ended));
        }
        if std::mem::replace(&mut is_waiting, true) && !is_told() {
            return Poll::Pending;
        }
        signal.as_mut().poll(context).map(Err)
    })
    .await
}

fn log_early_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The next connection that gets a slot. `logged` is when a failed accept was last logged.
async fn next(
    socket: &TcpListener,
    frontend: &Frontend<impl Handler>,
    logged: &mut Option<Instant>,
) -> (TcpStream, IpAddr, Slot) {
    loop {
        let error = match socket.accept().await {
            Ok((stream, from)) => {
                let from = from.ip();
                // A proxy has many connections, for many clients.
                let of =
                    network(from).filter(|_| !is_proxy(from, &frontend.trusted_proxies)).map(Network::site);
                let Ok(slot) = frontend.connections.slot(of).await else { continue };
                // Clients wait for small answers, so the socket must not hold them back to fill a packet.
                let _ = stream.set_nodelay(true);
                return (stream, from, slot);
            }
            Err(error) => error,
        };
        if logged.is_none_or(|logged| logged.elapsed() > LOG_INTERVAL) {
            tracing::warn!(%error, "could not accept a connection");
            *logged = Some(Instant::now());
        }
        if error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)) {
            frontend.connections.make_room().await;
        } else if error.kind() != io::ErrorKind::ConnectionAborted {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn sweep(connections: Arc<Connections>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        connections.sweep();
    }
}
