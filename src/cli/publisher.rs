//! `treehead publisher`

use serde_json::json;

use super::args::{Publisher, PublisherAdd, PublisherCommand};
use super::config::Config;
use super::exit::{CliResult, Failure};
use super::{files, output};
use crate::format::FormatError;
use crate::release::{MAX_PUBLISHERS_BYTES, NewPublisher, Publishers};
use crate::server::Profile;

pub fn run(args: &Publisher, json: bool) -> CliResult {
    match &args.command {
        PublisherCommand::Add(args) => add(args, json),
    }
}

fn add(args: &PublisherAdd, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    if config.profile == Profile::Opaque {
        return Err(Failure::Usage(
            "an opaque log takes entries from anybody: it has no publishers".to_owned(),
        ));
    }
    let path = config.publishers();
    // Two at once would each write the file without the other's publisher.
    let _lock = files::lock(&args.dir.join("publishers.lock"))?;
    let text = |what: &'static str, path: &std::path::Path, limit: usize| {
        files::parse(path, what, limit, |bytes| crate::format::utf8(what, bytes).map(str::to_owned))
    };
    let old = text("a publishers file", &path, MAX_PUBLISHERS_BYTES)?;
    let pem = text("a publisher key", &args.key, 16 * 1024)?;
    Publishers::parse(old.as_bytes()).map_err(|e| Failure::file(&path, &e))?;
    let new = NewPublisher { name: &args.name, pem: &pem, purls: &args.purls, kinds: &args.kinds };
    let new = new.append_to(&old).map_err(|e| match &e {
        FormatError::Malformed { what: "a publisher key", .. } => Failure::file(&args.key, &e),
        _ => Failure::file(&path, &e),
    })?;
    files::replace(&path, new.as_bytes())?;
    let publishers = Publishers::parse(new.as_bytes()).map_err(|e| Failure::file(&path, &e))?;
    let keyid = publishers.list().last().and_then(|p| p.keys.last()).map(|key| key.keyid.to_hex());
    let keyid = keyid.unwrap_or_default();
    output::result(
        json,
        &json!({ "ok": true, "publisher": args.name, "keyid": keyid }),
        &format!("{} may publish to {}\nkey ID  {keyid}\n", args.name, config.origin),
    )
}
