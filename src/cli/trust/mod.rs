//! `treehead trust`: makes, shows, compares, publishes and replaces trust files, which hold everything that an endpoint trusts.

mod diff;
mod publish;
mod update;

use std::path::PathBuf;

use serde_json::json;

use super::exit::{CliResult, Failure};
use super::files;
use super::output::{BOLD, file, result};
use super::trusting::trust_file;
use crate::checkpoint::policy::PolicyLog;
use crate::endpoint::{MAX_RULES_BYTES, Requirement, TrustFile, UpdateRule, parse_rules};
use crate::format::shown;
use crate::release::{MAX_PUBLISHERS_BYTES, Publisher, Publishers, PurlPattern, StatementKind};

/// Make, show, compare, publish and update trust files: all that an endpoint trusts
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead trust make --policy endpoint.policy --publishers publishers.toml --out endpoint.trust
  treehead trust make --policy endpoint.policy --publishers publishers.toml --require rules.toml \\
      --out endpoint.trust
  treehead trust make --policy endpoint.policy --publishers publishers.toml --number 2 \\
      --package pkg:generic/example/trust --may-change release security qa --at-least 2 --out 2.trust
  treehead trust show endpoint.trust
  treehead trust diff endpoint.trust 2.trust
  treehead trust publish 2.trust --current endpoint.trust --log https://log.example.com \\
      --key release.pem --key security.pem --url https://example.com/2.trust
  treehead trust update endpoint.trust --new 2.trust --proof 2.trust.tlog-proof --state state
  treehead trust update endpoint.trust --online https://log.example.com --state state

A trust file that says who may change it can be replaced by the next number: `trust update` takes the
new one if so many of them signed it, in releases of kind `trust` that the log proves under the
present one. `trust publish` makes such a release. docs/trust.md tells how it is made and signed.")]
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
    /// Say in words what changes from one trust file to another
    Diff(diff::Diff),
    /// Sign the release of the next trust file, append it to a log, and write its proof
    Publish(Box<publish::Publish>),
    /// Replace the trust file that a state remembers by the next ones, each with its proof
    Update(update::Update),
}

#[derive(Debug, clap::Args)]
struct Make {
    /// Trusted logs, witnesses and quorum
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Trusted publishers
    #[arg(long, value_name = "FILE")]
    publishers: PathBuf,
    /// Attestations that releases need: a file of rules as in docs/endpoints.md
    #[arg(long, value_name = "RULES.toml")]
    require: Option<PathBuf>,
    /// Number of the file; the next one of the same product has the next number
    #[arg(long, value_name = "N", default_value_t = 1)]
    number: u64,
    /// Publishers that may change what is trusted, by name; without them, the file can't be replaced
    #[arg(long, value_name = "NAME", num_args = 1.., requires_all = ["at_least", "package"])]
    may_change: Vec<String>,
    /// How many of them have to sign the next trust file
    #[arg(long, value_name = "K", requires = "may_change")]
    at_least: Option<u64>,
    /// Package of the releases of the product's trust files: a purl without version
    #[arg(long, value_name = "PURL", requires = "may_change")]
    package: Option<String>,
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
        Command::Diff(args) => diff::run(args, json),
        Command::Publish(args) => publish::run(args, json),
        Command::Update(args) => update::run(args, json),
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
    let made = match (&args.package, args.at_least) {
        (Some(package), Some(at_least)) => {
            let (package, from) = (package.clone(), args.may_change.clone());
            made.and_then(|made| made.with_update(UpdateRule { package, from, at_least }))
        }
        _ => made,
    };
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
    let trusted = trust_file(&args.file)?;
    let trust = trusted.trust();
    let update = update_in_words(&trusted);
    let log = |log: &PolicyLog| format!("{} ({})", shown(log.origin.as_str()), log.key.kind().as_str());
    let logs: Vec<String> = trust.policy.logs().iter().map(log).collect();
    let quorum = trust.policy.quorum_in_words();
    let publishers: Vec<String> = trust.publishers.list().iter().map(in_words).collect();
    let gate: Vec<String> = trust.gate.iter().map(needed).collect();
    let object = json!({ "what": "trust", "number": trusted.number(), "logs": logs, "quorum": quorum, "publishers": publishers, "gate": gate, "update": update });
    let gate: String = gate.iter().map(|line| format!("needs      {line}\n")).collect();
    let publishers: String = publishers.iter().map(|line| format!("publisher  {line}\n")).collect();
    let lines = format!(
        "{BOLD}a trust file{BOLD:#}\nnumber     {}\nlogs       {}\nquorum     {quorum}\n{publishers}{gate}updates    {update}\n",
        trusted.number(),
        logs.join(", ")
    );
    result(json, &object, &lines)
}

/// The rule by which a trust file may be replaced.
fn update_in_words(file: &TrustFile) -> String {
    file.update().map_or_else(
        || "none: it can't be replaced".to_owned(),
        |rule| format!("signed by {} as {}", shown(&rule.in_words()), shown(&rule.package)),
    )
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
