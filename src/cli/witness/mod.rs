//! `treehead witness`: serves a witness, makes one, or lets it cosign for a log.

pub mod add_log;
pub mod config;
pub mod init;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::{CliResult, Failure};
use super::output;
use super::serving::{self, Address};
use super::signals::stop_signal;
use super::values::parse_listen;
use crate::witness;
use config::Config;

/// Serve a witness, which cosigns what a log grows to, until SIGINT or SIGTERM
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  treehead witness init mywitness --name witness.example.com/w1 --url https://witness.example.com
  treehead witness add-log mywitness log.vkey
  treehead witness mywitness --listen 127.0.0.1:9001

It remembers one tree head for each log, and cosigns only what is proven to have grown out of it.
Never run it on an older copy of its directory: docs/witness.md")]
pub struct Witness {
    #[command(subcommand)]
    pub command: Option<WitnessCommand>,
    /// Directory of the witness
    #[arg(required = true)]
    pub dir: Option<PathBuf>,
    /// Address to listen on; overrides treehead-witness.toml
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum WitnessCommand {
    Init(init::WitnessInit),
    AddLog(add_log::WitnessAddLog),
}

pub fn run(args: &Witness, json: bool) -> CliResult {
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
        let address = Address::take(&listen).await?;
        let trusted_proxies = config.trusted_proxies.clone();
        let witness = serving::open(move || witness::Witness::open(&config.dir, signers)).await?;
        let (name, logs) = (witness.name().clone(), witness.ledger().heads().len());
        let (url, watched) = (address.url(), witness.clone());
        let listener = address.listener(trusted_proxies, move || watched.reload());
        let stop = stop_signal();
        tracing::info!(%name, cosigned_logs = logs, %url, "serving");
        serving::ended(witness::run(listener, witness, stop).await)?;
        tracing::info!("stopped; every head that was cosigned is durable");
        Ok(())
    })
}
