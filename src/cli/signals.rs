//! The signals that servers obey: SIGINT and SIGTERM end them, SIGHUP makes them read their files again.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Completes when the process gets a signal to end. Catches signals from this call on.
pub fn stop_signal() -> impl Future<Output = ()> + Send {
    let caught = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [Ok(mut terminate), Ok(mut interrupt)] = caught else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests in progress are answered first");
    }
}

/// SIGHUP: the process reads its files again, and goes on.
pub struct Hangup(Option<Signal>);

impl Hangup {
    /// Catches the signal from this call on.
    pub fn listen() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// Calls `reload` each time the process gets the signal.
    pub fn then(self, reload: impl Fn() + Send + Sync + 'static) {
        let Some(mut hangups) = self.0 else { return };
        let reload = Arc::new(reload);
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                tracing::info!(
                    "SIGHUP: reading the watched files again; other settings take effect at the next start"
                );
                let reload = reload.clone();
                let _ = tokio::task::spawn_blocking(move || reload()).await;
            }
        });
    }
}
