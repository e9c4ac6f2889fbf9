//! `treehead verify`: verifies artifacts, offline or with the log's current answers.

pub mod args;
mod artifacts;
mod endpoint;
mod online;
mod refused;
pub mod verified;
mod withdrawals;

use serde_json::{Map, Value};

use args::Verify;
use artifacts::Asked;
use endpoint::Endpoint;

use super::exit::{self, CliResult, Failure};
use super::files;
use super::memory::evidence_dir;
use super::output::{path, say};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::client;
use crate::clock;
use crate::endpoint::stated;
use crate::note::Note;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};

pub fn run(args: &Verify, json: bool) -> CliResult {
    let policy = files::parse(&args.policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
    let publishers_path =
        args.publishers.clone().unwrap_or_else(|| args.policy.with_file_name("publishers.toml"));
    if args.publishers.is_none() && !publishers_path.exists() {
        return Err(Failure::CouldNotTell(format!(
            "{} does not exist: name the publishers you believe with --publishers FILE",
            path(&publishers_path)
        )));
    }
    let publishers =
        files::parse(&publishers_path, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
    let asked = artifacts::read(args)?;
    let now = clock::now();
    let evidence = evidence_dir(args.state.as_deref());
    let endpoint = Endpoint { args, evidence, policy: &policy, publishers: &publishers, now };
    let mut heads = endpoint.heads(&asked);
    let verdicts = endpoint.judge_all(&asked, &mut heads);
    // Whatever came of it: a head that nobody else was shown is what monitors wait for.
    args.report.iter().for_each(|url| report(url, &heads));
    let verdicts = verdicts?;
    for (asked, verdict) in asked.iter().zip(&verdicts) {
        match verdict {
            Ok(accepted) => verified::tell(asked, accepted, json)?,
            Err(failure) if json => exit::tell(failure, json, about(asked, &endpoint)),
            // Who asked about one thing knows what is refused.
            Err(failure) if verdicts.len() == 1 => exit::tell(failure, json, Map::new()),
            Err(failure) => exit::tell(&failure.clone().of(&asked.title), json, Map::new()),
        }
    }
    Failure::worst(verdicts.iter().filter_map(|verdict| verdict.as_ref().err()))
}

/// What is known about an artifact that is not verified: its file and digest, and the release that its proof
/// covers.
fn about(asked: &Asked, endpoint: &Endpoint<'_>) -> Map<String, Value> {
    let mut about = Map::new();
    let mut add = |key: &str, value: Value| drop(about.insert(key.to_owned(), value));
    add("file", asked.file.clone().into());
    let Ok(artifact) = &asked.read else { return about };
    add("digest", artifact.digest.to_hex().into());
    if let Some(stated) = stated(&artifact.proof, endpoint.policy, endpoint.publishers) {
        add("purl", stated.release.purl.as_str().into());
        add("channel", stated.release.channel.into());
        add("sequence", stated.release.sequence.into());
        add("origin", stated.origin.into());
        add("index", stated.index.get().into());
        add("leaf_hash", stated.leaf.to_hex().into());
    }
    about
}

fn report(url: &str, heads: &[Note]) {
    for head in heads {
        if let Err(e) = client::report(url, head) {
            say(&format!("could not report the tree head: {e}"));
            return;
        }
    }
}
