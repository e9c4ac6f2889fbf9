//! `treehead policy`: prints what endpoints have to trust, from the settings and keys of a log.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::files::{self, OutFile};
use super::output;
use crate::checkpoint::policy::Policy;
use crate::note::NoteKey;

/// Print the policy that endpoints need for a log, as its settings say
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead policy mylog --out mylog/endpoint.policy     after a change of its witnesses
  treehead policy mylog --urls --out monitor.policy     for `treehead monitor`")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// Keep the URLs of the witnesses, for monitors
    #[arg(long)]
    pub urls: bool,
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let witnesses = config.witnesses()?;
    let text = text(&config.vkeys()?, witnesses.as_ref(), args.urls);
    let mut object = json!({ "ok": true, "policy": String::from_utf8_lossy(&text) });
    output::warn_in(&mut object, witnesses.and_then(|policy| policy.split_warning()));
    match &args.out {
        Some(out) => {
            write(&config, out, &text)?;
            object["out"] = out.display().to_string().into();
            output::result(json, &object, &format!("wrote {}\n", out.display()))
        }
        None if json => output::result(true, &object, ""),
        None => output::file(&text),
    }
}

/// Writes the policy atomically, so that a failure does not cost the old one.
fn write(config: &Config, out: &Path, text: &[u8]) -> CliResult {
    if let Some(source) = config.witnesses_path()
        && files::is_same(&source, out)
    {
        return Err(Failure::Usage(format!(
            "--out {}: treehead.toml names that file as `witnesses`, the source of this policy; write to another file",
            out.display()
        )));
    }
    files::prepare_out(out, OutFile::Policy)?.finish(text)
}

/// The policy of endpoints for the log with these keys and its witnesses.
pub fn of(keys: &[NoteKey], witnesses: Option<&Policy>) -> Result<Policy, Failure> {
    let policy = Policy::parse(&text(keys, witnesses, false));
    policy.map_err(|e| Failure::CouldNotTell(format!("the policy of this log: {e}")))
}

/// Makes a policy file for the log with these keys and its witnesses. URLs are for monitors.
pub fn text(keys: &[NoteKey], witnesses: Option<&Policy>, urls: bool) -> Vec<u8> {
    let mut text =
        "# What endpoints trust: https://c2sp.org/tlog-policy. Ship it with your product.\n".to_owned();
    if keys.len() > 1 {
        text += "# Either signature of the log is enough. Take the Ed25519 line, the first, away to demand the\n\
                 # post-quantum one.\n";
    }
    keys.iter().for_each(|key| text += &format!("log {key}\n"));
    let Some(witnesses) = witnesses else {
        text += "# No witnesses yet: the log alone is believed. With witnesses, a quorum of them has to agree.\n\
                 quorum none\n";
        return text.into_bytes();
    };
    text +=
        "# A tree head counts only when a quorum of these has seen that it continues what they saw before.\n";
    if witnesses.can_split() {
        text += "# WARNING: two disjoint sets of these witnesses can each form a quorum, and cosign different histories.\n";
    }
    [text.as_bytes(), &witnesses.rule_lines(urls)].concat()
}
