//! `treehead trust`: makes and shows trust files, which hold everything that an endpoint trusts.

use std::path::PathBuf;

use serde_json::json;

use super::exit::{CliResult, Failure};
use super::files;
use super::output::{BOLD, file, result};
use crate::checkpoint::policy::PolicyLog;
use crate::endpoint::{MAX_RULES_BYTES, MAX_TRUST_BYTES, Requirement, TrustFile, parse_rules};
use crate::format::shown;
use crate::release::{MAX_PUBLISHERS_BYTES, Publisher, Publishers, PurlPattern, StatementKind};

/// Make and show trust files: all that an endpoint trusts, in one file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead trust make --policy endpoint.policy --publishers publishers.toml --out endpoint.trust
  treehead trust make --policy endpoint.policy --publishers publishers.toml --require rules.toml \\
      --out endpoint.trust
  treehead trust show endpoint.trust")]
pub struct Trust {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a trust file of a policy, a publishers file, and the attestations that releases need
    Make(Make),
    /// Say in words what a trust file trusts
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Make {
    /// Trusted logs, witnesses and quorum
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Trusted publishers
    #[arg(long, value_name = "FILE")]
    publishers: PathBuf,
    /// Attestations that releases need: a file of [[require]] rules, as in docs/endpoints.md
    #[arg(long, value_name = "RULES.toml")]
    require: Option<PathBuf>,
    /// Number of the file; a later one of the same product has a higher number
    #[arg(long, value_name = "N", default_value_t = 1)]
    number: u64,
    /// Write it to this file, atomically, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The trust file
    file: PathBuf,
}

pub fn run(args: &Trust, json: bool) -> CliResult {
    match &args.command {
        Command::Make(args) => make(args, json),
        Command::Show(args) => show(args, json),
    }
}

fn make(args: &Make, json: bool) -> CliResult {
    let policy = files::policy(&args.policy)?;
    let publishers =
        files::parse(&args.publishers, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
    let rules = |bytes: &[u8]| parse_rules(bytes, &publishers);
    let gate =
        args.require.as_deref().map(|path| files::parse(path, "a file of rules", MAX_RULES_BYTES, rules));
    let gate = gate.transpose()?.unwrap_or_default();
    let made = TrustFile::new(args.number, &policy, publishers, gate);
    let bytes = made.map_err(|e| Failure::Usage(e.to_string()))?.to_bytes();
    let mut object = json!({ "ok": true, "number": args.number, "bytes": bytes.len() });
    match &args.out {
        Some(out) => {
            files::prepare(out)?.finish(&bytes)?;
            object["out"] = out.display().to_string().into();
            result(json, &object, &format!("wrote {}\n", out.display()))
        }
        None => file(&bytes),
    }
}

fn show(args: &Show, json: bool) -> CliResult {
    let trusted = files::parse(&args.file, "a trust file", MAX_TRUST_BYTES, TrustFile::parse)?;
    let trust = trusted.trust();
    let log = |log: &PolicyLog| format!("{} ({})", shown(log.origin.as_str()), log.key.kind().as_str());
    let logs: Vec<String> = trust.policy.logs().iter().map(log).collect();
    let quorum = trust.policy.quorum_in_words();
    let publishers: Vec<String> = trust.publishers.list().iter().map(in_words).collect();
    let gate: Vec<String> = trust.gate.iter().map(needed).collect();
    let object = json!({ "what": "trust", "number": trusted.number(), "logs": logs, "quorum": quorum, "publishers": publishers, "gate": gate });
    let gate: String = gate.iter().map(|line| format!("needs      {line}\n")).collect();
    let publishers: String = publishers.iter().map(|line| format!("publisher  {line}\n")).collect();
    let lines = format!(
        "{BOLD}a trust file{BOLD:#}\nnumber     {}\nlogs       {}\nquorum     {quorum}\n{publishers}{gate}",
        trusted.number(),
        logs.join(", ")
    );
    result(json, &object, &lines)
}

/// A requirement, with the releases that it is about.
fn needed(requirement: &Requirement) -> String {
    let purls: Vec<&str> = requirement.purls.iter().map(PurlPattern::as_str).collect();
    let kinds: Vec<&str> = requirement.kinds.iter().map(|kind| kind.as_str()).collect();
    let kinds = if kinds.is_empty() { "anything".to_owned() } else { kinds.join(", ") };
    format!("for {kinds} of {}: {}", purls.join(" "), requirement.in_words())
}

fn in_words(publisher: &Publisher) -> String {
    let purls: Vec<&str> = publisher.purls.iter().map(PurlPattern::as_str).collect();
    let kinds: Vec<&str> = publisher.kinds.iter().map(StatementKind::as_str).collect();
    let keys: Vec<&str> = publisher
        .keys
        .iter()
        .filter(|key| !key.revoked)
        .map(|key| key.public_key().family().as_str())
        .collect();
    let required: Vec<&str> = publisher.require_signatures.iter().map(|family| family.as_str()).collect();
    let (purls, kinds) = (purls.join(" "), kinds.join(", "));
    let count = match keys.len() {
        0 => "no valid key".to_owned(),
        1 => format!("1 key ({})", keys[0]),
        n => format!("{n} keys ({})", keys.join(", ")),
    };
    let each = if required.is_empty() { String::new() } else { format!(", each of {}", required.join(", ")) };
    format!("{}: {kinds} of {purls}, by {count}{each}", shown(&publisher.name))
}
