//! `treehead publisher`: changes who may publish, and with which keys.

pub mod args;
mod edit;

use std::path::Path;

use serde_json::{Value, json};

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::output::{BOLD, warn};
use super::{files, output};
use crate::clock::now;
use crate::release::{
    KeyFamily, MAX_KEY_BYTES, NewPublisher, PublicKey, PublisherKey, Publishers, PurlPattern, StatementKind,
    Timestamp, format_time,
};
use args::{
    Publisher, PublisherAdd, PublisherAddKey, PublisherCommand, PublisherExpire, PublisherList,
    PublisherRevoke,
};
use edit::Place;

pub fn run(args: &Publisher, json: bool) -> CliResult {
    match &args.command {
        PublisherCommand::Add(args) => add(args, json),
        PublisherCommand::List(args) => list(args, json),
        PublisherCommand::AddKey(args) => add_key(args, json),
        PublisherCommand::Expire(args) => expire(args, json),
        PublisherCommand::Revoke(args) => revoke(args, json),
    }
}

fn add(args: &PublisherAdd, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let (name, key) = (&args.name, args.key.display());
    let publishers = edit::change(&config, |before, text| {
        let dir = args.dir.display();
        if before.list().iter().any(|publisher| publisher.name == *name) {
            return Err(Failure::Usage(format!(
                "{name} is a publisher already: `treehead publisher add-key {dir} --name {name} --key {key}` gives it another key, and you change its rights in publishers.toml"
            )));
        }
        let key = read_key(&args.key, args.scheme, before)?;
        let new = NewPublisher { name, key: &key, purls: &args.purls, kinds: &args.kinds };
        new.append_to(text).map_err(|e| Failure::file(&config.publishers(), &e))
    })?;
    let keyid = publishers.list().last().and_then(|p| p.keys.last()).map(|key| key.keyid.to_hex());
    let keyid = keyid.unwrap_or_default();
    output::result(
        json,
        &json!({ "ok": true, "publisher": name, "keyid": keyid }),
        &format!("{name} may publish to {}\nkey ID  {keyid}\n", config.origin),
    )
}

/// Reads a public key that no publisher has yet.
fn read_key(path: &Path, scheme: Option<KeyFamily>, publishers: &Publishers) -> Result<PublicKey, Failure> {
    let read = |bytes: &[u8]| PublicKey::parse(bytes, scheme);
    let key = files::parse(path, "a publisher key", MAX_KEY_BYTES, read)?;
    let keyid = key.keyid();
    match publishers.find(&keyid) {
        None => Ok(key),
        Some((publisher, _)) => Err(Failure::Usage(format!(
            "{}: the key {} is in publishers.toml already: it is {}'s",
            path.display(),
            keyid.to_hex(),
            publisher.name
        ))),
    }
}

fn list(args: &PublisherList, json: bool) -> CliResult {
    let publishers = edit::read(&Config::load(&args.dir)?)?;
    let (now, mut lines, mut objects) = (now(), String::new(), Vec::new());
    for publisher in publishers.list() {
        let purls: Vec<&str> = publisher.purls.iter().map(PurlPattern::as_str).collect();
        let kinds: Vec<&str> = publisher.kinds.iter().map(StatementKind::as_str).collect();
        let required: Vec<&str> = publisher.require_signatures.iter().map(|f| f.as_str()).collect();
        lines += &format!("{BOLD}{}{BOLD:#}\n", publisher.name);
        lines += &format!("  purls  {}\n  kinds  {}\n", purls.join(", "), kinds.join(", "));
        if !required.is_empty() {
            lines += &format!("  needs  a signature of each of {}\n", required.join(", "));
        }
        for key in &publisher.keys {
            let family = key.public_key().family();
            lines += &format!("  key    {}  {family}  {}\n", key.keyid.to_hex(), in_words(key, now));
        }
        let keys: Vec<Value> = publisher.keys.iter().map(|key| key_object(key, now)).collect();
        objects.push(json!({ "name": publisher.name, "purls": purls, "kinds": kinds, "require_signatures": required, "keys": keys }));
    }
    if objects.is_empty() {
        "nobody may publish yet: `treehead publisher add` registers somebody\n".clone_into(&mut lines);
    }
    output::result(json, &json!({ "ok": true, "publishers": objects }), &lines)
}

fn add_key(args: &PublisherAddKey, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let name = &args.name;
    let mut keyid = String::new();
    edit::change(&config, |before, text| {
        let known = before.list().iter().position(|publisher| publisher.name == *name).ok_or_else(|| {
            Failure::Usage(format!(
                "--name {name}: expected a publisher of this log; `treehead publisher list {}` shows them, `treehead publisher add` registers one",
                args.dir.display()
            ))
        })?;
        let key = read_key(&args.key, args.scheme, before)?;
        let new = edit::add_key(text, known, &key, args.not_before, args.not_after)?;
        let after = Publishers::parse(new.as_bytes()).map_err(|e| Failure::file(&config.publishers(), &e))?;
        keyid = after.list()[known].keys.last().map(|key| key.keyid.to_hex()).unwrap_or_default();
        Ok(new)
    })?;
    let object = json!({ "ok": true, "publisher": name, "keyid": keyid });
    let lines = format!(
        "{name} may publish with one more key\nkey ID  {keyid}\n\nNext, once everything is signed with it:\n  \
         treehead publisher expire {} --keyid OLD --at TIME\n",
        args.dir.display()
    );
    output::result(json, &object, &lines)
}

fn expire(args: &PublisherExpire, json: bool) -> CliResult {
    let (at, config) = (args.at.unwrap_or_else(now), Config::load(&args.dir)?);
    let time = format_time(at);
    let (name, keyid) = end_key(&config, &args.keyid, ("not_after", time.as_str().into()), at)?;
    output::result(
        json,
        &json!({ "ok": true, "publisher": name, "keyid": keyid, "not_after": time }),
        &format!(
            "after {time} the log accepts nothing from key {keyid} of {name}; what it signed before stays valid\n"
        ),
    )
}

fn revoke(args: &PublisherRevoke, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let (name, keyid) = end_key(&config, &args.keyid, ("revoked", true.into()), now())?;
    output::result(
        json,
        &json!({ "ok": true, "publisher": name, "keyid": keyid, "revoked": true }),
        &format!(
            "key {keyid} of {name} is revoked: nothing that it signed is trusted any more\nEndpoints and monitors use their own copies: ship them {}\n",
            config.publishers().display()
        ),
    )
}

/// Sets the field that ends the key with this ID prefix at a time, and returns the publisher's name and the whole ID.
fn end_key(
    config: &Config,
    keyid: &str,
    (field, value): (&str, toml_edit::Value),
    at: Timestamp,
) -> Result<(String, String), Failure> {
    let mut found = None;
    let publishers = edit::change(config, |before, text| {
        let place = found.insert(Place::find(before, keyid, &config.dir)?);
        place.set(text, field, value)
    })?;
    let (name, key) = found.expect("the change found it").of(&publishers);
    warn_of_last(&publishers, name, at, &config.dir);
    Ok((name.to_owned(), key.keyid.to_hex()))
}

/// Warns if a publisher has no valid key after this: it can neither publish nor withdraw.
fn warn_of_last(publishers: &Publishers, name: &str, after: Timestamp, dir: &Path) {
    let keys = publishers.list().iter().filter(|publisher| publisher.name == name).flat_map(|p| &p.keys);
    if !keys.into_iter().any(|key| !key.revoked && key.not_after.is_none_or(|last| last > after)) {
        warn(&format!(
            "no key of {name} is valid after this: `treehead publisher add-key {} --name {name} --key FILE` gives it one",
            dir.display()
        ));
    }
}

fn key_object(key: &PublisherKey, now: Timestamp) -> Value {
    json!({
        "keyid": key.keyid.to_hex(), "family": key.public_key().family().as_str(), "state": state(key, now),
        "not_before": key.not_before.map(format_time), "not_after": key.not_after.map(format_time),
    })
}

fn state(key: &PublisherKey, now: Timestamp) -> &'static str {
    match (key.not_before, key.not_after) {
        _ if key.revoked => "revoked",
        (Some(first), _) if now < first => "not-yet-valid",
        (_, Some(last)) if now > last => "expired",
        _ => "valid",
    }
}

fn in_words(key: &PublisherKey, now: Timestamp) -> String {
    let from = key.not_before.map(|time| format!(" from {}", format_time(time)));
    if state(key, now) == "expired" {
        return format!("expired after {}", key.not_after.map(format_time).unwrap_or_default());
    }
    let to = key.not_after.map(|time| format!(" until {}", format_time(time)));
    format!("{}{}{}", state(key, now), from.unwrap_or_default(), to.unwrap_or_default())
}
