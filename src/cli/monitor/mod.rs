//! `treehead monitor`: follows logs until it is told to end, or once.

pub mod args;
pub mod config;
pub mod init;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use indicatif::ProgressBar;

use super::exit::{CliResult, Failure};
use super::output;
use super::serving;
use super::signals::{Hangup, stop_signal};
use crate::format::shown;
use crate::monitor::delivery::Condition;
use crate::monitor::{Monitor, OnProgress, Once};
use crate::release::format_time;
use args::MonitorCommand;
use config::Config;

pub fn run(args: &args::Monitor, json: bool) -> CliResult {
    match (&args.command, &args.config) {
        (Some(MonitorCommand::Init(args)), _) => init::run(args, json),
        (None, Some(config)) => follow(config, args.once),
        (None, None) => Err(Failure::Usage("expected --config FILE".to_owned())),
    }
}

fn follow(path: &Path, once: bool) -> CliResult {
    output::start_log();
    let Config { settings, delivery, listen } = Config::load(path)?;
    let (logs, watched) = (settings.logs.len(), settings.logs.clone());
    for rules in &watched {
        if let Some(warning) = rules.policy.split_warning() {
            tracing::warn!(log = %rules.origin, "{warning}");
        }
    }
    let open = || Monitor::open(settings, delivery, Box::new(std::io::stdout())).map_err(Failure::from);
    if once {
        let monitor = open()?;
        return judge(&monitor.once(&progress())?, logs);
    }
    let runtime = serving::runtime()?;
    let ended = runtime.block_on(async {
        let hangup = Hangup::listen();
        hangup.then(move || watched.iter().for_each(|rules| rules.reload()));
        let listener = match &listen {
            None => None,
            Some(listen) => Some(serving::listen(listen, "in the settings").await?),
        };
        let monitor = open()?;
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let url = address.map_or_else(|| "nowhere".to_owned(), |address| format!("http://{address}"));
        let stop = stop_signal();
        tracing::info!(logs, %url, "following");
        monitor.run(listener, progress(), stop).await?;
        tracing::info!("stopped; the next start goes on from here");
        Ok(())
    });
    runtime.shutdown_background();
    ended
}

/// Prints the open conditions on standard error, and turns the outcome into an exit code.
fn judge(done: &Once, logs: usize) -> CliResult {
    for Condition { code, message, since, .. } in &done.open_conditions {
        let line = format!("open since {}: {code}: {message}", format_time(*since));
        anstream::eprintln!("{}", shown(&line));
    }
    let mut outcome = Vec::new();
    if done.alerts_told > 0 {
        let were = if done.alerts_told == 1 { "alert was" } else { "alerts were" };
        outcome.push(format!("{} {were} told", done.alerts_told));
    }
    if done.not_followed > 0 {
        outcome.push(format!(
            "{} of {logs} logs could not be followed to their head; what is wrong with them is in the events",
            done.not_followed
        ));
    }
    if !done.delivered {
        outcome.push(
            "some events are not delivered yet; they are kept, and the next run tries again".to_owned(),
        );
    }
    if outcome.is_empty() {
        return Ok(());
    }
    let outcome = outcome.join("; ");
    // A log that was caught may fall silent: that changes nothing.
    if done.grave_alerts_told == 0 && (done.not_followed > 0 || !done.delivered) {
        return Err(Failure::CouldNotTell(outcome));
    }
    Err(Failure::refused("alerts-told", outcome, "Each alert is a line of standard output, with advice."))
}

/// A bar for each log that is behind; hidden where there is no terminal.
fn progress() -> OnProgress {
    let bars: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    Arc::new(move |origin, done, total| {
        let mut bars = bars.lock().expect("no panic while it is held");
        if done >= total {
            if let Some(bar) = bars.remove(origin) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar =
            bars.entry(origin.to_owned()).or_insert_with(|| output::progress("re-hashing", total, "entries"));
        bar.set_length(total);
        bar.set_position(done);
    })
}
