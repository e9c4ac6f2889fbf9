//! Prints a verified release.

use serde_json::Value;

use super::artifacts::Asked;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Cosigned, WitnessedBy};
use crate::cli::exit::CliResult;
use crate::cli::output::{GREEN, result};
use crate::endpoint::{Accepted, witnesses_json};
use crate::release::{Subject, format_time};

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

/// The artifact's names in the release.
fn names_in_words(artifacts: &[Subject]) -> String {
    let name = |subject: &Subject| match subject.name.as_str() {
        "" => "without a name".to_owned(),
        name => name.to_owned(),
    };
    let others: Vec<String> = artifacts[1..].iter().map(name).collect();
    let also = if others.is_empty() { String::new() } else { format!(" (also {})", others.join(", ")) };
    format!("{}{also}", name(&artifacts[0]))
}

fn online_in_words(head: &Cosigned<Checkpoint>) -> String {
    let by = match head.cosignatures() {
        [] => String::new(),
        witnesses => format!(", cosigned by {}", cosigners(witnesses).join(", ")),
    };
    format!(
        "online     the log has {} leaves now{by}, consistent with all heads seen before\n",
        head.get().size
    )
}

/// Prints it, and what was learned of the trust file.
pub fn tell(asked: &Asked, accepted: &Accepted, learned: Option<&Value>, json: bool) -> CliResult {
    let artifacts = accepted.release.artifacts();
    let artifact = format!("{}, SHA-256 {}", names_in_words(artifacts), artifacts[0].sha256.to_hex());
    let mut object = object(asked.file.as_deref(), accepted);
    learned.into_iter().for_each(|learned| object["trust"] = learned.clone());
    result(json, &object, &words(&asked.title, &artifact, accepted))
}

/// The release, in a sentence.
pub fn sentence(accepted: &Accepted) -> String {
    let verdict = &accepted.release;
    let release = verdict.release();
    format!(
        "{} ({}, {}, sequence {}) by {}",
        release.purl,
        release.kind,
        release.channel,
        release.sequence,
        verdict.publisher()
    )
}

/// The object for machines. `file` is the file as it was named.
pub fn object(file: Option<&str>, accepted: &Accepted) -> Value {
    let Accepted { release, latest, asked_for_withdrawals: learnt } = accepted;
    let mut object = Value::from(release.to_json());
    object["file"] = file.into();
    // For machines that have to know: nobody told of withdrawals, or what was told is learnt.
    object["withdrawals"] = if *learnt { "learnt" } else { "not-asked" }.into();
    if let Some(latest) = latest {
        object["latest_tree_size"] = latest.get().size.get().into();
        object["latest_witnesses"] =
            witnesses_json(latest.cosignatures()).into_iter().map(Value::from).collect();
    }
    object
}

/// The lines for people.
pub fn words(title: &str, artifact: &str, accepted: &Accepted) -> String {
    let Accepted { release: verdict, latest, .. } = accepted;
    let (release, head) = (verdict.release(), verdict.head());
    let by = match head.cosignatures() {
        [] => "none required".to_owned(),
        witnesses => cosigners(witnesses).join(", "),
    };
    let audience =
        release.audience.as_deref().map_or(String::new(), |a| format!("audience   {a} (not everyone)\n"));
    let source = release.source.as_ref().map_or(String::new(), |source| {
        format!("source     {} {}:{}\n", source.uri, source.digest.0, source.digest.1)
    });
    format!(
        "{GREEN}verified{GREEN:#}   {title}\nartifact   {artifact}\nrelease    {} ({}, {}, sequence {})\npublisher  {}\n{source}{audience}log        {}, leaf {} of {}\nwitnesses  {by}\n{}",
        release.purl,
        release.kind,
        release.channel,
        release.sequence,
        verdict.publisher(),
        head.get().origin,
        verdict.index(),
        head.get().size,
        latest.as_ref().map_or_else(String::new, online_in_words),
    )
}
