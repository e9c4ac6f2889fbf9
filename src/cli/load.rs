//! `treehead load`: the load generator's command line, live line and summary.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::oneshot;

use super::exit::{self, CliResult, Failure};
use super::keys::{MAX_VKEY_BYTES, parse_vkey};
use super::trusting::TrustedHeads;
use super::values::{parse_duration, parse_kind, parse_purl};
use super::{files, output, signers};
use crate::client::Wait;
use crate::format::FormatError;
use crate::load::{self, Checks, Entries, Plan, Progress, SAMPLE, Statement, Target, Trust};
use crate::merkle::Hash;
use crate::release::{Kind, Purl, Release, Subject};
use crate::signing::{SignError, Signers};
use crate::threads::{self, ThreadError};

/// Append to a log under load, measure, and check that it has what it acknowledged
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead load --log http://127.0.0.1:8080 --writers 256 --duration 30s     as fast as it can
  treehead load --log http://127.0.0.1:8080 --rate 2000 --duration 5m --vkey log.vkey
  treehead load --log http://127.0.0.1:8080 --batch 500 --key publisher.pem \\
      --purl pkg:generic/example/load@1.0.0

Entries stay for ever: use a log of your own. With --rate, latency counts from when a request was
due, whether it was sent late or not, so that a stall shows in full; without, from when it was sent.
Up to 65,536 statements of --key are signed before the clock starts.
Ctrl-C ends the run early; acknowledged entries are still checked.")]
pub struct Load {
    /// Address of the log: http:// only, behind the proxy that does TLS
    #[arg(long, value_name = "URL")]
    pub log: String,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub writers: u16,
    /// Entries a second in all [default: as fast as answers come]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Bytes of an entry, 16 to 65,535
    #[arg(long, value_name = "B", default_value_t = 1_024, conflicts_with = "key", value_parser = clap::value_parser!(u16).range(16..))]
    pub size: u16,
    /// How long, as in 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: u64,
    /// Entries in a request, 1 to 4,096; more than one go to /add-batch
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub batch: u16,
    /// State to wait for
    #[arg(
        long,
        value_enum,
        default_value = "published",
        hide_possible_values = true,
        value_name = "sequenced|published|witnessed"
    )]
    pub wait: Wait,
    /// How many of the acknowledged leaves are compared with the log's: all, or 2,000 at random
    #[arg(
        long,
        value_enum,
        default_value = "sample",
        hide_possible_values = true,
        value_name = "all|sample"
    )]
    pub check: CheckArg,
    #[command(flatten)]
    pub trusted: TrustedHeads,
    /// The log's public key, to check its tree heads with
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "trust"])]
    pub vkey: Option<PathBuf>,
    /// Publisher's secret key, as for `publish`: a file (mode 600), env:NAME or -. Entries are release statements that it
    /// signs. Repeatable
    #[arg(long, value_name = "FILE|env:NAME|-", requires = "purl")]
    pub key: Vec<PathBuf>,
    /// Passphrase of encrypted keys: a file (mode 600). Without it: the variable `TREEHEAD_PASSPHRASE`, or you are asked
    /// at the terminal
    #[arg(long, value_name = "FILE", requires = "key")]
    pub passphrase_file: Option<PathBuf>,
    /// Package and version of the statements
    #[arg(long, value_parser = parse_purl, requires = "key")]
    pub purl: Option<Purl>,
    /// Channel of the statements; two runs at once need two
    #[arg(long, default_value = "load", requires = "key")]
    pub channel: String,
    /// Kind of the statements
    #[arg(long, value_parser = parse_kind, value_name = "build|update|detection-rules|trust", default_value = "build", requires = "key")]
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CheckArg {
    /// All that the run remembers, up to a million
    All,
    /// At most 2,000 at random
    Sample,
}

pub fn run(args: &Load, json: bool) -> CliResult {
    let plan = plan(args)?;
    let leaves = match args.check {
        CheckArg::All => None,
        CheckArg::Sample => Some(SAMPLE),
    };
    let checks = Checks { trust: trust(args)?, leaves };
    let line = live_line();
    let summary = load::run(&plan, &checks, stop_signal()?, &mut |progress| show(&line, progress));
    line.finish_and_clear();
    let summary = summary?;
    output::result(json, &summary.to_json(), &summary.to_string())?;
    Ok(summary.check.map(|_| ())?)
}

fn plan(args: &Load) -> Result<Plan, Failure> {
    if args.duration == 0 {
        return Err(Failure::Usage("--duration: expected at least 1s, saw none".to_owned()));
    }
    let route = if args.batch == 1 { "add" } else { "add-batch" };
    Ok(Plan {
        path: format!("/{route}?wait={}", args.wait.as_str()),
        entries: entries(args)?,
        batch: args.batch.into(),
        writers: args.writers.into(),
        rate: args.rate,
        duration: Duration::from_secs(args.duration),
        ..Plan::new(Target::parse(&args.log)?)
    })
}

fn entries(args: &Load) -> Result<Entries, Failure> {
    let Some(purl) = args.purl.as_ref().filter(|_| !args.key.is_empty()) else {
        return Ok(Entries::Random(args.size.into()));
    };
    let signers = Signers::new(signers::secret_keys(&args.key, args.passphrase_file.as_deref())?);
    let signers = signers.map_err(|e| Failure::Usage(e.to_string()))?;
    // Keys at hand fail for the sake of the envelope alone.
    let sign = move |payload| {
        signers.sign(payload).map_err(|e| match e {
            SignError::Envelope(e) => e,
            other => FormatError::malformed("a key that signs a run", "one at hand", other.to_string()),
        })
    };
    let release = Release {
        subjects: vec![Subject { name: "load.bin".to_owned(), sha256: Hash::EMPTY_ROOT }],
        purl: purl.clone(),
        kind: args.kind,
        channel: args.channel.clone(),
        sequence: 0,
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    };
    Ok(Entries::Signed(Arc::new(Statement { sign: Box::new(sign), release })))
}

fn trust(args: &Load) -> Result<Trust, Failure> {
    if let Some(policy) = args.trusted.policy()? {
        return Ok(Trust::Policy(policy));
    }
    match &args.vkey {
        Some(path) => Ok(Trust::Key(files::parse(path, "a verifier key", MAX_VKEY_BYTES, parse_vkey)?)),
        None => Ok(Trust::Unverified),
    }
}

/// A progress line, hidden if stderr is no terminal.
fn live_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
    line.set_style(ProgressStyle::with_template("{msg}").expect("a template of ours"));
    line.set_message("preparing");
    line
}

fn show(line: &ProgressBar, progress: &Progress) {
    let Progress { elapsed, last_second, p99, busy, errors, .. } = progress;
    line.set_message(format!(
        "{:.0} s  {last_second} entries/s  p99 {:.1} ms  429s {busy}  errors {errors}",
        elapsed.as_secs_f64(),
        p99.as_secs_f64() * 1_000.0
    ));
}

/// Completes at the first Ctrl-C. One that comes when nothing is left to stop ends the program: nobody should have to wait
/// for an unwanted check.
fn stop_signal() -> Result<impl Future<Output = ()>, ThreadError> {
    let (stop, stopped) = oneshot::channel();
    threads::start("signals", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_err() {
                return std::future::pending().await;
            }
            if stop.send(()).is_ok() {
                output::say("stopping; acknowledged entries are still checked. Ctrl-C again leaves at once");
                let _ = tokio::signal::ctrl_c().await;
            }
            exit::at_once()
        });
    })?;
    Ok(async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
