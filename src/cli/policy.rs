//! `treehead policy`: what endpoints have to trust, from the settings and keys of a log.

use serde_json::json;

use super::args::Policy as Args;
use super::config::Config;
use super::exit::CliResult;
use super::output;
use crate::note::NoteKey;
use crate::policy::Policy;

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let text = text(&config.vkeys()?, config.witnesses()?.as_ref(), args.urls);
    if json {
        return output::result(true, &json!({ "ok": true, "policy": String::from_utf8_lossy(&text) }), "");
    }
    output::file(&text)
}

/// A policy file for the log with these keys, and its witnesses. URLs are for monitors.
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
    [text.as_bytes(), &witnesses.rule_lines(urls)].concat()
}
