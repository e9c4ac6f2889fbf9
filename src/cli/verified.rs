//! What `treehead verify` tells of a release that may be installed.

use std::path::Path;

use serde_json::json;

use super::exit::CliResult;
use super::output::{GREEN, result};
use super::verify_online::News;
use crate::checkpoint::Checkpoint;
use crate::policy::{Cosigned, WitnessedBy};
use crate::release::{Subject, format_time};
use crate::verify::VerifiedRelease;

/// Each cosigner once, with the latest time that it stated.
pub fn cosigners(cosignatures: &[WitnessedBy]) -> Vec<String> {
    let mut latest: Vec<(&str, u64)> = Vec::new();
    for cosignature in cosignatures {
        match latest.iter_mut().find(|(name, _)| *name == cosignature.cosigner) {
            Some((_, time)) => *time = cosignature.time.max(*time),
            None => latest.push((&cosignature.cosigner, cosignature.time)),
        }
    }
    latest.into_iter().map(|(name, time)| format!("{name} at {}", format_time(time))).collect()
}

fn witnesses_of(head: &Cosigned<Checkpoint>) -> Vec<String> {
    head.cosignatures().iter().map(|c| format!("{} at {}", c.witness, format_time(c.time))).collect()
}

/// What the release calls it.
fn names_in_words(artifacts: &[Subject]) -> String {
    let name = |subject: &Subject| match subject.name.as_str() {
        "" => "without a name".to_owned(),
        name => name.to_owned(),
    };
    let others: Vec<String> = artifacts[1..].iter().map(name).collect();
    let also = if others.is_empty() { String::new() } else { format!(" (also {})", others.join(", ")) };
    format!("{}{also}", name(&artifacts[0]))
}

fn online_in_words(news: &News) -> String {
    let head = &news.latest;
    let by = match head.cosignatures() {
        [] => String::new(),
        witnesses => format!(", cosigned by {}", cosigners(witnesses).join(", ")),
    };
    format!("online     the log has {} leaves now{by}, and continues all that was seen\n", head.get().size)
}

pub fn tell(file: &Path, verdict: &VerifiedRelease, news: Option<&News>, json: bool) -> CliResult {
    let (release, head) = (verdict.release(), verdict.head());
    let checkpoint = head.get();
    let by = if head.cosignatures().is_empty() {
        "none required".to_owned()
    } else {
        cosigners(head.cosignatures()).join(", ")
    };
    let audience =
        release.audience.as_deref().map_or(String::new(), |a| format!("audience   {a} (not everyone)\n"));
    let source = release.source.as_ref().map_or(String::new(), |source| {
        format!("source     {} {}:{}\n", source.uri, source.digest.0, source.digest.1)
    });
    let (artifact, digest) = (&verdict.artifacts()[0].name, verdict.artifacts()[0].sha256.to_hex());
    let online = news.map_or_else(String::new, online_in_words);
    let mut object = json!({
        "ok": true, "code": "verified", "name": artifact, "digest": digest, "purl": release.purl.as_str(), "kind": release.kind.as_str(),
        "channel": release.channel, "sequence": release.sequence, "publisher": verdict.publisher(),
        "origin": checkpoint.origin.as_str(), "index": verdict.index().get(),
        "tree_size": checkpoint.size.get(), "witnesses": witnesses_of(head), "audience": release.audience,
    });
    // For machines that have to know: nobody told of withdrawals, or what was told is learnt.
    let learnt = news.is_some_and(News::asked_for_withdrawals);
    object["withdrawals"] = if learnt { "learnt" } else { "not-asked" }.into();
    if let Some(news) = news {
        object["latest_tree_size"] = news.latest.get().size.get().into();
        object["latest_witnesses"] = witnesses_of(&news.latest).into();
    }
    result(
        json,
        &object,
        &format!(
            "{GREEN}verified{GREEN:#}   {}\nartifact   {}, SHA-256 {digest}\nrelease    {} ({}, {}, sequence {})\npublisher  {}\n{source}{audience}log        {}, leaf {} of {}\nwitnesses  {by}\n{online}",
            super::output::path(file),
            names_in_words(verdict.artifacts()),
            release.purl,
            release.kind,
            release.channel,
            release.sequence,
            verdict.publisher(),
            checkpoint.origin,
            verdict.index(),
            checkpoint.size,
        ),
    )
}
