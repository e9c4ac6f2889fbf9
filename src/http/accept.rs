//! Accepting connections, and serving each in a task of its own.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connections::{Connections, Limits, Seat};
use super::guarded::Guarded;
use super::sender::{Network, is_proxy, network};
use super::service::{Door, Edge};

/// How long requests in progress may take after the signal to stop: longer than any commit takes,
/// shorter than the ninety seconds after which service managers kill.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after an error of `accept` that is not one connection's.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lines in the server's log that say the same.
const QUIET: Duration = Duration::from_secs(60);
/// Between two looks at all connections.
const SWEEP: Duration = Duration::from_secs(1);
/// Largest head of a request. Proofs are in bodies, and proxies send no longer ones.
const MAX_HEAD_BYTES: usize = 32 * 1_024;
/// What a connection reads at once, and keeps in memory until it was handed on.
const MAX_READ_BYTES: usize = 64 * 1_024;
/// `EMFILE` and `ENFILE`: this process, or the system, has no file descriptor to give.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// The listening side of a server.
pub struct Front {
    listener: TcpListener,
    trusted_proxies: Vec<IpAddr>,
    limits: Limits,
}

impl Front {
    /// Behind reverse proxies at these addresses: for requests from one of them, the address counts that it
    /// appends to `X-Forwarded-For`.
    #[must_use]
    pub fn behind(listener: TcpListener, trusted_proxies: Vec<IpAddr>) -> Self {
        Self { listener, trusted_proxies, limits: Limits::default() }
    }

    /// With other limits than usual.
    #[cfg(test)]
    pub(super) fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl From<TcpListener> for Front {
    fn from(listener: TcpListener) -> Self {
        Self::behind(listener, Vec::new())
    }
}

/// Serves connections until `shutdown` is ready, then answers the requests in progress.
pub async fn serve(front: Front, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let Front { listener, trusted_proxies, limits } = front;
    let connections = Connections::new(limits);
    let door = Door::new(router, trusted_proxies, connections.clone());
    let (stop, stopped) = watch::channel(());
    // Ends when it is dropped.
    let mut sweeper = JoinSet::new();
    sweeper.spawn(sweep(connections));
    let (mut shutdown, mut told) = (pin!(shutdown), None);
    loop {
        let (stream, from, seat) = tokio::select! {
            () = &mut shutdown => break,
            next = next(&listener, &door, &mut told) => next,
        };
        tokio::spawn(talk(stream, from, seat, door.clone(), stopped.clone()));
    }
    drop((listener, stopped));
    let _ = stop.send(());
    tokio::select! {
        () = stop.closed() => {}
        // Clients that never finish their request were promised nothing.
        () = tokio::time::sleep(GRACE) => {}
    }
    Ok(())
}

/// One connection, to its end.
async fn talk(stream: TcpStream, from: IpAddr, seat: Seat, door: Arc<Door>, mut stop: watch::Receiver<()>) {
    let connection = seat.connection.clone();
    let mut http = http1::Builder::new();
    // How long a head may take is looked at from outside, because an idle connection is no slow one.
    http.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_READ_BYTES);
    let io = TokioIo::new(Guarded { stream, connection: connection.clone() });
    let mut talk = pin!(http.serve_connection(io, Edge::new(door, connection.clone(), from)));
    loop {
        tokio::select! {
            ended = talk.as_mut() => return note(ended),
            () = connection.close.notified() => {
                if !connection.is_working() {
                    return;
                }
                seat.stay();
            }
            _ = stop.changed() => break,
        }
    }
    talk.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(GRACE, talk).await.map(note);
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The next connection that gets a place; `told` is when the log last reported that there was none.
async fn next(listener: &TcpListener, door: &Door, told: &mut Option<Instant>) -> (TcpStream, IpAddr, Seat) {
    loop {
        let error = match listener.accept().await {
            Ok((stream, from)) => {
                let from = from.ip();
                // A proxy has many connections, for many.
                let of = network(from).filter(|_| !is_proxy(from, &door.trusted_proxies)).map(Network::site);
                let Ok(seat) = door.connections.seat(of).await else { continue };
                // Answers are small and awaited: they must not wait for more to be sent.
                let _ = stream.set_nodelay(true);
                return (stream, from, seat);
            }
            Err(error) => error,
        };
        if told.is_none_or(|told| told.elapsed() > QUIET) {
            tracing::warn!(%error, "could not accept a connection");
            *told = Some(Instant::now());
        }
        if error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)) {
            door.connections.make_room().await;
        } else if error.kind() != io::ErrorKind::ConnectionAborted {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn sweep(connections: Arc<Connections>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        connections.sweep();
    }
}
