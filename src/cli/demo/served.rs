//! The servers of the demo, on ports of the system's choice.

use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::exit::{CliResult, Failure};

/// The longest wait for a server of the demo: longer than a log takes to hear its witnesses.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Completes when a server should stop.
pub type Until = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that runs, and its stop signal.
pub struct Served {
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Listens on a port of the system's choice; returns its URL, too.
pub fn listen(runtime: &Runtime) -> Result<(String, TcpListener), Failure> {
    let no_port = |e: std::io::Error| Failure::CouldNotTell(format!("could not listen on loopback: {e}"));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(no_port)?;
    let address = listener.local_addr().map_err(no_port)?;
    Ok((format!("http://{address}"), listener))
}

impl Served {
    /// Spawns a server.
    pub fn start<F>(runtime: &Runtime, run: impl FnOnce(Until) -> F) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        // The server stops when the sender is dropped.
        let until: Until = Box::pin(async move { drop(stopped.await) });
        Self { stop, task: runtime.spawn(run(until)) }
    }
    /// Stops it as SIGTERM does.
    pub fn stop(self, runtime: &Runtime) -> CliResult {
        drop(self.stop);
        let ended = runtime.block_on(self.task).map_err(std::io::Error::other);
        ended.and_then(|ended| ended).map_err(|e| Failure::CouldNotTell(format!("a server failed: {e}")))
    }
}
