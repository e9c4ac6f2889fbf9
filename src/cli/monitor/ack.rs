//! `treehead monitor ack`: what people say to a monitor's alerts, while it runs or not.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;

use crate::checkpoint::{Origin, origin_hash};
use crate::cli::exit::{CliResult, Failure};
use crate::cli::output;
use crate::cli::values::{parse_duration, parse_pattern};
use crate::clock;
use crate::format::quote;
use crate::monitor::delivery::acks::{self, Listing, NamedSilence};
use crate::monitor::delivery::{AlertView, Silence};
use crate::release::{PurlPattern, format_time};

#[derive(Debug, ClapArgs)]
pub struct AckArgs {
    /// Settings of the monitor
    #[arg(long, value_name = "FILE", default_value = "monitor.toml")]
    pub config: PathBuf,
    /// Alerts that somebody has dealt with: their ids, or at least the first six digits of each
    #[arg(value_name = "ID", conflicts_with_all = ["all", "silence", "log", "package", "unsilence", "list"])]
    pub ids: Vec<String>,
    /// The same for every alert that waits
    #[arg(long, conflicts_with_all = ["silence", "log", "package", "unsilence", "list"])]
    pub all: bool,
    /// Send events of this code nowhere for a while; they are still printed
    #[arg(long, value_name = "CODE", requires = "for_seconds")]
    pub silence: Option<String>,
    /// The same for events of this log; with --silence or --package, for what is both
    #[arg(long, value_name = "ORIGIN", requires = "for_seconds")]
    pub log: Option<String>,
    /// The same for events of these packages
    #[arg(long, value_name = "PATTERN", requires = "for_seconds", value_parser = parse_pattern)]
    pub package: Option<PurlPattern>,
    /// How long: 90s, 15m, 24h or 7d; a year at most
    #[arg(long = "for", id = "for_seconds", value_name = "TIME", value_parser = parse_duration)]
    pub for_seconds: Option<u64>,
    /// End a silence before its time, by the name that --list shows
    #[arg(long, value_name = "NAME", conflicts_with_all = ["silence", "log", "package", "list"])]
    pub unsilence: Option<String>,
    /// Have this webhook or command give up the event that it does not take; it gets the next ones
    #[arg(
        long,
        value_name = "SINK",
        conflicts_with_all = ["ids", "all", "silence", "log", "package", "unsilence", "list"]
    )]
    pub skip: Option<String>,
    /// Show what is open and what is silenced; so it does without any option
    #[arg(long, conflicts_with_all = ["silence", "log", "package"])]
    pub list: bool,
}

/// Says it to the monitor that keeps its state in this directory.
pub fn run(state_dir: &Path, args: &AckArgs, json: bool) -> CliResult {
    if !state_dir.is_dir() {
        return Err(Failure::CouldNotTell(format!(
            "{} does not exist: no monitor has run with {} yet",
            state_dir.display(),
            args.config.display()
        )));
    }
    run_at(state_dir, args, json, clock::now())
}

fn run_at(dir: &Path, args: &AckArgs, json: bool, now: u64) -> CliResult {
    if args.all {
        acknowledged(json, &acks::acknowledge_all(dir, now)?)
    } else if !args.ids.is_empty() {
        acknowledged(json, &acks::acknowledge(dir, &args.ids, now)?)
    } else if let Some(sink) = &args.skip {
        let skipped = acks::skip(dir, sink, now)?;
        let line = format!("given up for {sink}: {}\n", skipped.line);
        output::result(json, &json!({ "ok": true, "skipped": skipped }), &line)
    } else if let Some(name) = &args.unsilence {
        let ended = acks::unsilence(dir, name, now)?;
        let line = format!("no longer silenced: {}\n", in_words(&ended.silence));
        output::result(json, &json!({ "ok": true, "unsilenced": ended }), &line)
    } else if let Some(seconds) = args.for_seconds {
        if seconds == 0 {
            return Err(Failure::Usage("expected a time to come with --for".to_owned()));
        }
        check_followed(dir, args.log.as_deref())?;
        let until = now.saturating_add(seconds);
        let package = args.package.as_ref().map(|pattern| pattern.as_str().to_owned());
        let silence = Silence { code: args.silence.clone(), log: args.log.clone(), package, until };
        let named = acks::silence(dir, &silence, now)?;
        output::result(json, &json!({ "ok": true, "silenced": named }), &silence_line(&named))
    } else {
        let listing = acks::list(dir, now)?;
        let object = json!({ "ok": true, "alerts": listing.alerts, "silences": listing.silences });
        output::result(json, &object, &lines(&listing))
    }
}

/// A log of which the monitor knows nothing is a slip of the pen, and the silence would cover nothing.
fn check_followed(dir: &Path, log: Option<&str>) -> Result<(), Failure> {
    let Some(log) = log else { return Ok(()) };
    let known = Origin::new(log).is_ok_and(|origin| {
        dir.join("logs").join(format!("{}.json", origin_hash(&origin).to_hex())).exists()
    });
    if known {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the monitor has not begun to follow a log {}: expected the origin of one, as `log` in its events says it",
        quote(log)
    )))
}

fn acknowledged(json: bool, alerts: &[AlertView]) -> CliResult {
    let ids: Vec<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
    let lines: String = alerts.iter().map(|alert| format!("acknowledged  {}\n", alert_line(alert))).collect();
    let lines = if lines.is_empty() { "no alert waits\n".to_owned() } else { lines };
    output::result(json, &json!({ "ok": true, "acknowledged": ids }), &lines)
}

fn lines(listing: &Listing) -> String {
    let mut text = String::new();
    for alert in &listing.alerts {
        let state = match (alert.acknowledged, alert.silenced) {
            (Some(time), _) => format!("  (acknowledged {})", format_time(time)),
            (None, true) => "  (silenced)".to_owned(),
            (None, false) => String::new(),
        };
        text += &format!("{}{state}\n", alert_line(alert));
    }
    if listing.alerts.is_empty() {
        text += "no alert is open\n";
    }
    listing.silences.iter().for_each(|named| text += &silence_line(named));
    text
}

/// Ten digits are enough to name it, and to be typed.
fn alert_line(alert: &AlertView) -> String {
    let AlertView { id, code, message, raised, .. } = alert;
    let log = alert.log.as_ref().map(|log| format!("  {log}")).unwrap_or_default();
    format!("{}  {}  {code}{log}  {message}", &id[..10], format_time(*raised))
}

fn silence_line(named: &NamedSilence) -> String {
    let NamedSilence { name, silence } = named;
    format!("{name}  silenced until {}: {}\n", format_time(silence.until), in_words(silence))
}

fn in_words(silence: &Silence) -> String {
    let Silence { code, log, package, .. } = silence;
    let of = |word: &str, what: &Option<String>| what.as_ref().map(|what| format!("{word} {what}"));
    let words = [of("code", code), of("log", log), of("package", package)];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;

    use super::*;
    use crate::monitor::delivery::{Delivery, DeliverySettings};
    use crate::monitor::event::{Code, Event};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AckArgs,
    }

    fn parse(words: &[&str]) -> Result<AckArgs, clap::Error> {
        Line::try_parse_from([&["ack"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn alerts_are_listed_acknowledged_and_silenced() {
        let dir = tempfile::tempdir().unwrap();
        let settings = DeliverySettings::new(Arc::new(|| 1_769_860_800));
        let delivery = Delivery::open(dir.path(), settings, Box::new(std::io::sink())).unwrap();
        let event = |number: &str| {
            Event::new(Code::Fork, Some("log.example/a"), &[number], 0, format!("fork {number}"))
        };
        delivery.tell(&[event("1"), event("2"), event("3")]).unwrap();
        let now = 1_769_860_900;
        let shown = || lines(&acks::list(dir.path(), now).unwrap());
        let line = |number| {
            let id = event(number).id.to_string();
            format!("{}  2026-01-31T12:00:00Z  fork  log.example/a  fork {number}", &id[..10])
        };
        assert_eq!(shown(), format!("{}\n{}\n{}\n", line("1"), line("2"), line("3")));
        let run = |words: &[&str]| run_at(dir.path(), &parse(words).unwrap(), true, now);
        run(&[&event("2").id.to_string()[..10]]).unwrap();
        assert_eq!(shown(), format!("{}\n{}\n", line("1"), line("3")));
        // As the monitor leaves it once it follows the log.
        let origin = Origin::new("log.example/a").unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join(format!("logs/{}.json", origin_hash(&origin).to_hex())), "").unwrap();
        run(&["--silence", "fork", "--log", "log.example/a", "--for", "1h"]).unwrap();
        let name = acks::list(dir.path(), now).unwrap().silences[0].name.clone();
        let silence = format!("{name}  silenced until 2026-01-31T13:01:40Z: code fork, log log.example/a\n");
        assert_eq!(shown(), format!("{}  (silenced)\n{}  (silenced)\n{silence}", line("1"), line("3")));
        run(&["--unsilence", &name]).unwrap();
        run(&["--all"]).unwrap();
        run(&["--all"]).unwrap();
        run(&["--list"]).unwrap();
        assert_eq!(shown(), "no alert is open\n");
        for bad in
            [&["abcdef012345"][..], &["ab"], &["--unsilence", &name], &["--silence", "x", "--for", "1h"]]
        {
            assert!(matches!(run(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
        for bad in [
            &["--silence", "fork", "--for", "0s"][..],
            &["--silence", "fork", "--for", "367d"],
            &["--silence", "fork", "--for", "99999d"],
            &["--log", "log.example/b", "--for", "1h"],
            &["--log", "no origin", "--for", "1h"],
            &["--skip", "pager"],
        ] {
            assert!(matches!(run(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
        run(&["--silence", "fork", "--for", "366d"]).unwrap();
        assert!(matches!(run(&["--for", "1h"]), Err(Failure::Usage(_))), "everything");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &["abcdef", "--all"][..],
            &["--skip", "pager", "--all"],
            &["--skip", "pager", "abcdef"],
            &["--all", "--list"],
            &["--silence", "fork"],
            &["--log", "log.example"],
            &["--package", "pkg:generic/x@1", "--for", "1h"],
            &["--silence", "fork", "--for", "soon"],
            &["--unsilence", "abcdef", "--silence", "fork", "--for", "1h"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse(&[]).unwrap().config, Path::new("monitor.toml"));
    }
}
