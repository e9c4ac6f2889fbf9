//! Accepting connections: as many as are bearable, none for longer than it is of use.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a request's head may take, and a connection may idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in progress may take after the signal to stop: longer than any commit takes,
/// shorter than the ninety seconds after which service managers kill.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after the system has no socket to give: some connection will end meanwhile.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown` is ready, then answers the requests in progress.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_each(listener, |_| router.clone(), shutdown).await
}

/// The same with a router for each connection, made for the address that it comes from.
pub async fn serve_each(
    listener: TcpListener,
    router: impl Fn(IpAddr) -> Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, from, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted?,
        };
        let service = TowerToHyperService::new(router(from));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        // Clients that never finish their request were promised nothing.
        () = tokio::time::sleep(GRACE) => {}
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Answers are small and awaited: they must not wait for more to be sent.
                let _ = stream.set_nodelay(true);
                return Ok((stream, from.ip(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(OUT_OF_SOCKETS).await;
            }
        }
    }
}
