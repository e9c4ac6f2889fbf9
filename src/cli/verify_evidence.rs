//! `treehead verify-evidence`: whether a file proves that a log forked.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::exit::CliResult;
use super::files;
use super::output::{BOLD, result};
use super::trusting::TrustedHeads;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::WitnessedBy;
use crate::endpoint::fork_json;
use crate::proof::fork::{ForkEvidence, MAX_FORK_BYTES, ProvenFork};

/// Check offline whether a file proves that a log signed two histories
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead verify-evidence 7d5f8b1c2a3e4d6f-3-5-9a8b7c6d.tlog-fork --policy endpoint.policy

Exit code 0 says that the log forked: anybody who trusts its key can check it with the same file.
Exit code 1 says that the file proves nothing. Of the policy the keys count, not the quorum. The
format, and what to do with such a file: docs/fork-evidence.md")]
pub struct VerifyEvidence {
    /// The .tlog-fork file
    pub file: PathBuf,
    #[command(flatten)]
    pub trusted: TrustedHeads,
}

pub fn run(args: &VerifyEvidence, json: bool) -> CliResult {
    let policy = args.trusted.required()?;
    let evidence = files::parse(&args.file, "fork evidence", MAX_FORK_BYTES, ForkEvidence::parse)?;
    let fork = evidence.judge(&policy.log_keys())?;
    let witnesses = fork.heads().map(|head| policy.witnesses_of(head));
    result(json, &fork_json(&fork, &policy).into(), &words(&fork, &witnesses))
}

fn words(fork: &ProvenFork, witnesses: &[Vec<WitnessedBy>; 2]) -> String {
    let (smaller, larger) = (fork.smaller(), fork.larger());
    let mut text = format!("{BOLD}the log forked{BOLD:#}  {} signed two histories\n", fork.origin());
    let mut head = |name: &str, head: &Checkpoint, also: &str, witnesses: &[WitnessedBy]| {
        let by = witnesses_in_words(witnesses);
        let _ = write!(
            text,
            "{name}  size {}, root {}\n{also}           cosigned by {by}\n",
            head.size, head.root
        );
    };
    head("one head ", smaller, "", &witnesses[0]);
    let also = match fork.prefix() {
        Some(prefix) => format!("           which had root {} at size {}\n", prefix.root, smaller.size),
        None => String::new(),
    };
    head("the other", larger, &also, &witnesses[1]);
    let what = match smaller.size.get() {
        0 => "the empty tree of one is not empty".to_owned(),
        1 => "their first entry is not the same".to_owned(),
        size => format!("their first {size} entries are not the same"),
    };
    let _ = write!(
        text,
        "Both heads carry the log's signature, and {what}: some were shown\n\
         another history than others. Who verified something under one head can't rely on what it says.\n\
         Keep the file, give it to everybody who relies on the log, and trust no new head of it:\n\
         docs/fork-evidence.md\n"
    );
    text
}

/// Each cosigner once, with the latest time that it stated.
fn witnesses_in_words(witnesses: &[WitnessedBy]) -> String {
    if witnesses.is_empty() {
        return "no witness in the policy".to_owned();
    }
    super::verify::verified::cosigners(witnesses).join(", ")
}
