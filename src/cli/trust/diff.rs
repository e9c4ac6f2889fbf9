//! `treehead trust diff`: the difference of two trust files, in words.

use std::path::PathBuf;

use serde_json::json;

use super::{in_words, needed, update_in_words};
use crate::checkpoint::policy::{Policy, PolicyLog, PolicyWitness};
use crate::cli::exit::CliResult;
use crate::cli::output::{BOLD, result};
use crate::cli::trusting::trust_file;
use crate::endpoint::TrustFile;
use crate::format::shown;
use crate::note::NoteKey;
use crate::release::{Publisher, PublisherKey, PurlPattern, StatementKind, format_time};

#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The present trust file
    old: PathBuf,
    /// The new trust file
    new: PathBuf,
}

pub fn run(args: &Diff, json: bool) -> CliResult {
    let (old, new) = (trust_file(&args.old)?, trust_file(&args.new)?);
    let changes = changes(&old, &new);
    let rule = update_in_words(&old);
    let numbers = (old.number(), new.number());
    let object = json!({ "what": "trust-diff", "from": numbers.0, "to": numbers.1, "changes": changes, "takes": rule });
    let lines: String = changes.iter().map(|line| format!("  {line}\n")).collect();
    let lines = if lines.is_empty() { "  nothing\n".to_owned() } else { lines };
    let head = format!("{BOLD}from trust file {} to {}{BOLD:#}", numbers.0, numbers.1);
    result(json, &object, &format!("{head}\n{lines}takes  {rule}\n"))
}

/// Each change in a sentence. Empty for two files with the same bytes only.
pub fn changes(old: &TrustFile, new: &TrustFile) -> Vec<String> {
    let mut said = Vec::new();
    let (from, to) = (old.number(), new.number());
    if from.checked_add(1) != Some(to) && old.to_bytes() != new.to_bytes() {
        said.push(format!("! number {to} does not follow {from}: only number {} does", from + 1));
    }
    let (before, after) = (old.trust(), new.trust());
    policy(before.policy, after.policy, &mut said);
    let (before, after) = (before.publishers.list(), after.publishers.list());
    for publisher in before.iter().filter(|publisher| named(after, publisher).is_none()) {
        said.push(format!("- publisher {}", in_words(publisher)));
    }
    for publisher in after {
        match named(before, publisher) {
            None => said.push(format!("+ publisher {}", in_words(publisher))),
            Some(before) => publisher_changes(before, publisher, &mut said),
        }
        // A renamed publisher starts anew at every endpoint that remembers sequence numbers.
        let elsewhere = before.iter().filter(|other| other.name != publisher.name);
        for other in elsewhere.filter(|other| other.keys.iter().any(|key| has(&publisher.keys, key))) {
            let (new, old) = (shown(&publisher.name), shown(&other.name));
            said.push(format!(
                "! publisher {new} has a key of {old}: what endpoints remember of {old} does not count for {new}"
            ));
        }
    }
    let gate = |file: &TrustFile| file.trust().gate.iter().map(needed).collect::<Vec<_>>();
    lists("needs", &gate(old), &gate(new), &mut said);
    let (before, after) = (update_in_words(old), update_in_words(new));
    if before != after {
        said.push(format!("* updates took: {before}; will take: {after}"));
    }
    if said.is_empty() && (from, old.to_bytes()) != (to, new.to_bytes()) && !differ_in_number_alone(old, new)
    {
        said.push("* an order of lines, which changes nothing".to_owned());
    }
    said
}

/// Tells whether two files say the same in the same order.
fn differ_in_number_alone(old: &TrustFile, new: &TrustFile) -> bool {
    let without = |file: &TrustFile| {
        let text = String::from_utf8_lossy(&file.to_bytes()).into_owned();
        text.replacen(&format!("\"number\":{},", file.number()), "", 1)
    };
    without(old) == without(new)
}

fn policy(old: &Policy, new: &Policy, said: &mut Vec<String>) {
    let begun = said.len();
    let key = |key: &NoteKey| format!("{}+{}, {}", shown(key.name().as_str()), key.id(), key.kind().as_str());
    let logs = |policy: &Policy| {
        let line = |log: &PolicyLog| {
            (log.key.to_string(), format!("{} by key {}", shown(log.origin.as_str()), key(&log.key)))
        };
        policy.logs().iter().map(line).collect::<Vec<_>>()
    };
    let witnesses = |policy: &Policy| {
        let line = |witness: &PolicyWitness| {
            let name = String::from_utf8_lossy(&witness.name).into_owned();
            (witness.key.to_string(), format!("{} by key {}", shown(&name), key(&witness.key)))
        };
        policy.witnesses().iter().map(line).collect::<Vec<_>>()
    };
    for (what, old, new) in [("log", logs(old), logs(new)), ("witness", witnesses(old), witnesses(new))] {
        // The whole key is compared: its ID in the words has 32 bits.
        said.extend(
            old.iter().filter(|line| !new.contains(line)).map(|(_, line)| format!("- {what} {line}")),
        );
        said.extend(
            new.iter().filter(|line| !old.contains(line)).map(|(_, line)| format!("+ {what} {line}")),
        );
    }
    let (before, after) = (old.quorum_in_words(), new.quorum_in_words());
    if before != after {
        said.push(format!("* quorum was {before}; will be {after}"));
    }
    if said.len() == begun && old != new {
        said.push(
            "* groups of witnesses, in a way that `trust show` does not tell: compare the files".to_owned(),
        );
    }
}

fn named<'a>(list: &'a [Publisher], publisher: &Publisher) -> Option<&'a Publisher> {
    list.iter().find(|other| other.name == publisher.name)
}

fn has(keys: &[PublisherKey], key: &PublisherKey) -> bool {
    keys.iter().any(|other| other.keyid == key.keyid)
}

fn publisher_changes(old: &Publisher, new: &Publisher, said: &mut Vec<String>) {
    let name = shown(&new.name);
    let purls =
        |publisher: &Publisher| publisher.purls.iter().map(texts(PurlPattern::as_str)).collect::<Vec<_>>();
    let kinds =
        |publisher: &Publisher| publisher.kinds.iter().map(texts(StatementKind::as_str)).collect::<Vec<_>>();
    let families = |publisher: &Publisher| {
        publisher.require_signatures.iter().map(|family| family.as_str().to_owned()).collect::<Vec<_>>()
    };
    lists(&format!("{name}: packages"), &purls(old), &purls(new), said);
    lists(&format!("{name}: right to"), &kinds(old), &kinds(new), said);
    lists(&format!("{name}: has to sign with"), &families(old), &families(new), said);
    let key =
        |key: &PublisherKey| format!("{name}: key {} ({})", key.keyid.to_hex(), key.public_key().family());
    said.extend(old.keys.iter().filter(|old| !has(&new.keys, old)).map(|old| format!("- {}", key(old))));
    for after in &new.keys {
        let validity = validity(after);
        match old.keys.iter().find(|before| before.keyid == after.keyid) {
            None => said.push(format!("+ {}{validity}", key(after))),
            Some(before) if self::validity(before) != validity => {
                let validity = if validity.is_empty() { ", valid without limits" } else { &validity };
                said.push(format!("* {}{validity}", key(after)));
            }
            Some(_) => {}
        }
    }
}

/// The validity of a key, in words.
fn validity(key: &PublisherKey) -> String {
    let time = |word: &str, time: Option<u64>| time.map(|time| format!(", {word} {}", format_time(time)));
    let from = time("not before", key.not_before).unwrap_or_default();
    let to = time("not after", key.not_after).unwrap_or_default();
    format!("{}{from}{to}", if key.revoked { ", revoked" } else { "" })
}

fn texts<T>(text: fn(&T) -> &str) -> impl Fn(&T) -> String {
    move |item| shown(text(item))
}

/// The items of two lists that are in one of them only.
fn lists(what: &str, old: &[String], new: &[String], said: &mut Vec<String>) {
    said.extend(old.iter().filter(|item| !new.contains(item)).map(|item| format!("- {what} {item}")));
    said.extend(new.iter().filter(|item| !old.contains(item)).map(|item| format!("+ {what} {item}")));
}
