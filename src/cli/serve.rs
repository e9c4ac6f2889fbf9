//! `treehead serve`: serves a log, and the signals that servers obey.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::values::parse_listen;
use super::{output, serving};
use crate::http::Listener;
use crate::server::{self, Log, LogConfig};

/// Serve a log over HTTP until SIGINT or SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  treehead serve mylog --listen 127.0.0.1:8080")]
pub struct Serve {
    /// Directory of the log
    pub dir: PathBuf,
    /// Address to listen on; overrides treehead.toml
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub listen: Option<String>,
}

pub fn run(args: &Serve) -> CliResult {
    output::start_log();
    let config = Config::load(&args.dir)?;
    config.check_servable()?;
    let signer = config.signer()?;
    let listen = args.listen.clone().unwrap_or_else(|| config.listen.clone());
    serving::runtime()?.block_on(async {
        let hangup = Hangup::listen();
        let listener = serving::listen(&listen, "with --listen").await?;
        let publishers = config.publishers();
        if let Some(warning) = config.witnesses()?.and_then(|policy| policy.split_warning()) {
            tracing::warn!("{warning}");
        }
        let cosigners = config.cosigners(&signer)?;
        let (profile, options) = (config.profile, config.options);
        if options.publish_unwitnessed && cosigners.is_some() {
            tracing::warn!("tree heads may be published without a quorum of witnesses, as treehead.toml says: a split view would go unnoticed");
        }
        let bar = output::progress("catching up", 0, "bytes");
        let log = LogConfig {
            dir: config.dir,
            signer,
            profile,
            publishers,
            options,
            cosigners,
            progress: Arc::new(output::shows(&bar)),
        };
        let log = tokio::task::spawn_blocking(|| Log::open(log)).await.expect("opening does not panic")?;
        bar.finish_and_clear();
        let watched = log.clone();
        hangup.then(move || watched.reload_publishers());
        let address = listener.local_addr().map_or(listen, |address| address.to_string());
        let size = log.sequencer().reader().size();
        // Before the line that says it serves: somebody may answer with a signal to stop.
        let stop = stop_signal();
        tracing::info!(origin = %log.origin(), %size, url = %format!("http://{address}"), "serving");
        let listener = Listener::behind(listener, config.trusted_proxies);
        let served = server::run(listener, log.clone(), stop).await;
        served.map_err(|e| Failure::CouldNotTell(format!("the server did not stop as it should: {e}")))?;
        match log.sequencer().fault() {
            None => tracing::info!("stopped; everything accepted is durable and published"),
            Some(fault) => tracing::warn!("stopped; everything accepted is durable, and not all of it published: {fault}"),
        }
        Ok(())
    })
}

/// Completes when the process gets a signal to end. Catches signals from this call on.
pub fn stop_signal() -> impl Future<Output = ()> + Send {
    let told = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [Ok(mut terminate), Ok(mut interrupt)] = told else { return std::future::pending().await };
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
        let Some(mut told) = self.0 else { return };
        let reload = Arc::new(reload);
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                tracing::info!(
                    "SIGHUP: reading the watched files again; other settings take effect at the next start"
                );
                let reload = reload.clone();
                let _ = tokio::task::spawn_blocking(move || reload()).await;
            }
        });
    }
}
