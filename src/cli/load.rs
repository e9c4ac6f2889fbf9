//! `treehead load`: the load generator's command line, live line and summary.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::oneshot;

use super::args::{CheckArg, Load};
use super::exit::{self, CliResult, Failure};
use super::keys::{MAX_VKEY_BYTES, parse_vkey};
use super::{files, output};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::client::Wait;
use crate::load::{self, Checks, Entries, Plan, Progress, SAMPLE, Statement, Target, Trust};
use crate::merkle::Hash;
use crate::release::{PublisherSigner, Release, Subject};

pub fn run(args: &Load, json: bool) -> CliResult {
    let plan = plan(args)?;
    let leaves = match args.check {
        CheckArg::All => None,
        CheckArg::Sample => Some(SAMPLE),
    };
    let checks = Checks { trust: trust(args)?, leaves };
    let line = live_line();
    let summary = load::run(&plan, &checks, stop_signal(), &mut |progress| show(&line, progress));
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
        path: format!("/{route}?wait={}", Wait::from(args.wait).as_str()),
        entries: entries(args)?,
        batch: args.batch.into(),
        writers: args.writers.into(),
        rate: args.rate,
        duration: Duration::from_secs(args.duration),
        ..Plan::new(Target::parse(&args.log)?)
    })
}

fn entries(args: &Load) -> Result<Entries, Failure> {
    let (Some(path), Some(purl)) = (&args.key, &args.purl) else {
        return Ok(Entries::Random(args.size.into()));
    };
    let key = files::read_secret(path)?;
    let signer = PublisherSigner::from_pem(&key).map_err(|e| Failure::file(path, &e))?;
    let release = Release {
        subjects: vec![Subject { name: "load.bin".to_owned(), sha256: Hash::EMPTY_ROOT }],
        purl: purl.clone(),
        kind: args.kind,
        channel: args.channel.clone(),
        sequence: 0,
        source: None,
        manifest: None,
        audience: None,
        log: None,
    };
    Ok(Entries::Signed(Arc::new(Statement { signer, release })))
}

fn trust(args: &Load) -> Result<Trust, Failure> {
    if let Some(path) = &args.policy {
        let policy = files::parse(path, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
        return Ok(Trust::Policy(policy));
    }
    match &args.vkey {
        Some(path) => Ok(Trust::Key(files::parse(path, "a verifier key", MAX_VKEY_BYTES, parse_vkey)?)),
        None => Ok(Trust::Unverified),
    }
}

/// Hidden where stderr is no terminal.
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

/// Ready at the first Ctrl-C. One that comes when there is nothing left to stop ends the program:
/// nobody should have to wait for a check that they no longer want.
fn stop_signal() -> impl Future<Output = ()> {
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_err() {
                return std::future::pending().await;
            }
            if stop.send(()).is_ok() {
                output::say("stopping; what was acknowledged is checked. Ctrl-C again leaves at once");
                let _ = tokio::signal::ctrl_c().await;
            }
            exit::at_once()
        });
    });
    async move {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
