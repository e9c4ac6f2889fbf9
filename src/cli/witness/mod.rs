//! `treehead witness`: serves one, or makes one, or lets it know a log.

pub mod add_log;
pub mod args;
pub mod config;
pub mod init;

use std::path::Path;

use super::exit::{CliResult, Failure};
use super::output;
use super::serve::{Hangup, stop_signal};
use super::serving;
use crate::http::Front;
use crate::witness::{self, Witness};
use args::WitnessCommand;
use config::Config;

pub fn run(args: &args::Witness, json: bool) -> CliResult {
    match (&args.command, &args.dir) {
        (Some(WitnessCommand::Init(args)), _) => init::run(args, json),
        (Some(WitnessCommand::AddLog(args)), _) => add_log::run(args, json),
        (None, Some(dir)) => serve(dir, args.listen.as_deref()),
        (None, None) => Err(Failure::Usage("expected the directory of a witness".to_owned())),
    }
}

fn serve(dir: &Path, listen: Option<&str>) -> CliResult {
    output::start_log();
    let config = Config::load(dir)?;
    let signers = config.signers()?;
    let listen = listen.unwrap_or(&config.listen).to_owned();
    serving::runtime()?.block_on(async {
        let hangup = Hangup::listen();
        let listener = serving::listen(&listen, "with --listen").await?;
        let trusted_proxies = config.trusted_proxies.clone();
        let opened = tokio::task::spawn_blocking(move || Witness::open(&config.dir, signers)).await;
        let witness = opened.expect("opening does not panic")?;
        let address = listener.local_addr().map_or(listen, |address| address.to_string());
        let (name, logs) = (witness.name().clone(), witness.ledger().heads().len());
        let watched = witness.clone();
        hangup.then(move || watched.reload());
        let stop = stop_signal();
        tracing::info!(%name, cosigned_logs = logs, url = %format!("http://{address}"), "serving");
        let front = Front::behind(listener, trusted_proxies);
        let served = witness::run(front, witness, stop).await;
        served.map_err(|e| Failure::CouldNotTell(format!("the server did not stop as it should: {e}")))?;
        tracing::info!("stopped; every head that was cosigned is durable");
        Ok(())
    })
}
