//! `treehead verify`: verifies artifacts, offline or with the log's current answers.

pub mod args;
mod artifacts;
mod batch;
pub mod failure;
pub mod folder;
pub mod verified;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use args::Verify;
use artifacts::Asked;
use failure::{Places, failure, tell};

use super::exit::{self, CliResult, Failure};
use super::output::say;
use super::trusting::{learn_files, learn_online, news_json};
use crate::client;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{Accepted, Artifact, Endpoint, Freshness, Online, Pins, Question, Stated, stated};
use crate::note::Note;

pub fn run(args: &Verify, json: bool) -> CliResult {
    let places = Arc::new(Places::of(args));
    let learned = learn(args)?;
    let endpoint = endpoint(args, &places)?;
    if args.batch {
        return batch::run(args, &endpoint, &places);
    }
    if let Some(verified) = folder::run(args, &endpoint, &places, learned.as_ref(), json) {
        return verified;
    }
    let asked = artifacts::read(args)?;
    let freshness = Freshness::now(args.max_age);
    let read = asked.iter().filter_map(|asked| asked.read.as_ref().ok());
    let questions: Vec<Question<'_>> = read.map(|artifact| question(artifact, args, freshness)).collect();
    let checked = endpoint.check_all(&questions, online(args));
    // Report heads whatever the verdicts are: monitors look for heads that nobody else was shown.
    args.report.iter().for_each(|url| report(url, &checked.heads));
    let mut verdicts = checked.verdicts.map_err(|e| failure(e, &places))?.into_iter();
    let verdict = |asked: &Asked| match &asked.read {
        Ok(_) => verdicts.next().expect("one for each question").map_err(|e| failure(e, &places)),
        Err(unread) => Err(unread.clone()),
    };
    let verdicts = asked.iter().map(verdict).collect::<Vec<_>>();
    print((&asked, &verdicts), &endpoint, learned.as_ref(), json)
}

/// Learns newer trust files, from files and from the log. What the log answered, for machines.
fn learn(args: &Verify) -> Result<Option<Value>, Failure> {
    let (Some(trust), Some(state)) = (&args.trusting.trust, &args.state) else { return Ok(None) };
    learn_files(trust, state, &args.learn)?;
    let Some(address) = &args.online else { return Ok(None) };
    let address = Some(address.as_str()).filter(|address| !address.is_empty());
    Ok(Some(news_json(&learn_online(trust, state, address, &[])?)))
}

fn question<'a>(artifact: &'a artifacts::Artifact, args: &'a Verify, freshness: Freshness) -> Question<'a> {
    let artifacts::Artifact { name, digest, proof } = artifact;
    Question {
        artifact: Artifact::File { digest, name: name.as_deref() },
        proof,
        freshness,
        pins: pins(args),
    }
}

fn print(
    (asked, verdicts): (&[Asked], &[Result<Accepted, Failure>]),
    endpoint: &Endpoint,
    learned: Option<&Value>,
    json: bool,
) -> CliResult {
    for (asked, verdict) in asked.iter().zip(verdicts) {
        match verdict {
            Ok(accepted) => verified::tell(asked, accepted, learned, json)?,
            Err(failure) if json => {
                let mut about = about(asked, endpoint);
                about.extend(learned.map(|learned| ("trust".to_owned(), learned.clone())));
                exit::tell(failure, json, about);
            }
            // With one artifact the user knows which one is refused.
            Err(failure) if verdicts.len() == 1 => exit::tell(failure, json, Map::new()),
            Err(failure) => exit::tell(&failure.clone().of(&asked.title), json, Map::new()),
        }
    }
    Failure::worst(verdicts.iter().filter_map(|verdict| verdict.as_ref().err()))
}

fn endpoint(args: &Verify, places: &Arc<Places>) -> Result<Endpoint, Failure> {
    let places = Arc::clone(places);
    let endpoint =
        args.trusting.endpoint(args.state.as_deref())?.on_notice(move |notice| tell(notice, &places));
    Ok(match &args.state {
        Some(dir) => endpoint.with_state_dir(dir),
        None => endpoint,
    })
}

impl Places {
    fn of(args: &Verify) -> Self {
        let evidence =
            args.state.as_deref().map_or_else(|| Path::new(".").to_owned(), |dir| dir.join("evidence"));
        Self { policy: args.trusting.file().display().to_string(), evidence: EvidenceDir::new(evidence) }
    }
}

fn online(args: &Verify) -> Option<Online<'_>> {
    args.online.as_deref().map(|url| Online::At(Some(url).filter(|url| !url.is_empty())))
}

fn pins(args: &Verify) -> Pins<'_> {
    Pins {
        package: args.purl.as_ref(),
        channel: args.channel.as_deref(),
        kind: args.kind,
        publisher: args.publisher.as_deref(),
        min_sequence: args.min_sequence,
        audience: args.audience.as_deref(),
        name: args.name.as_deref(),
    }
}

/// Facts about an artifact that is not verified: its file and digest, and the release that its proof covers.
fn about(asked: &Asked, endpoint: &Endpoint) -> Map<String, Value> {
    let mut about = Map::new();
    let mut add = |key: &str, value: Value| drop(about.insert(key.to_owned(), value));
    add("file", asked.file.clone().into());
    let Ok(artifact) = &asked.read else { return about };
    add("digest", artifact.digest.to_hex().into());
    let of = Artifact::File { digest: &artifact.digest, name: None };
    if let Some(stated) = stated(&artifact.proof, of, endpoint.trust()) {
        add_stated(&mut about, stated);
    }
    about
}

/// Adds the release that a proof covers.
pub fn add_stated(about: &mut Map<String, Value>, stated: Stated) {
    let mut add = |key: &str, value: Value| drop(about.insert(key.to_owned(), value));
    add("purl", stated.release.purl.as_str().into());
    add("channel", stated.release.channel.into());
    add("sequence", stated.release.sequence.into());
    add("origin", stated.origin.into());
    add("index", stated.index.get().into());
    add("leaf_hash", stated.leaf.to_hex().into());
}

fn report(url: &str, heads: &[Note]) {
    for head in heads {
        if let Err(e) = client::report(url, head) {
            say(&format!("could not report the tree head: {e}"));
            return;
        }
    }
}
