//! `treehead fsck`: re-hash every entry and tile of a log up to its signed root.

mod args;
mod bucket;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

pub use args::Args;
use args::read_kept;

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::keys::{ML_DSA, secrets_of};
use super::object_store::StoreArgs;
use super::output::{self, GREEN, result, say};
use super::remedies::{correct, put_back};
use super::{evidence, files};
use crate::bucket::Address;
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{self, Checkpoint, LogKey, LogSigned, SignsFor};
use crate::client::{AuditError, LogClient, audit, check_continues};
use crate::disk::evidence_dir::EvidenceDir;
use crate::disk::{open_plain, read_note, torn_slot};
use crate::endpoint::Refusal;
use crate::merkle::TreeSize;
use crate::server::describe;
use crate::store::{
    DiskStore, FsckError, Layout, OpenOptions, SledSeen, Sound, StoreError, backup_marker, discard_tree,
    read_signed,
};

pub fn run(args: &Args, json: bool) -> CliResult {
    if Address::is_meant(&args.log) {
        return bucket::check_address(args, json);
    }
    if args.store.options() != StoreArgs::default().options() {
        return Err(Failure::Usage("options of an object store need s3://BUCKET/PREFIX".to_owned()));
    }
    if !args.log.starts_with("http://") && !args.log.starts_with("https://") {
        return check_dir(Path::new(&args.log), args, json);
    }
    if args.rebuild {
        return Err(Failure::Usage("--rebuild needs the log's directory, not its address".to_owned()));
    }
    check_url(args, &args.policy()?, json)
}

/// Checks a log from outside.
fn check_url(args: &Args, policy: &Policy, json: bool) -> CliResult {
    let keys = policy.log_keys();
    let kept = args.since.as_deref().map(|path| read_kept(path, &keys)).transpose()?;
    let client = LogClient::new(&args.log)?;
    let signed = client.checkpoint(&keys)?;
    // First: a log that forked is not worth hours of hashing.
    if let Some(kept) = kept {
        check_continues(&client, &kept, &signed).map_err(|error| match error {
            AuditError::Fork(fork) => evidence::refuse(*fork, &keys, &EvidenceDir::new(&args.evidence)),
            other => other.into(),
        })?;
    }
    let cosigned = policy.check(&signed).map_err(Refusal::Quorum)?;
    let head = cosigned.get();
    let bar = output::progress("re-hashing", head.size.get(), "entries");
    let tiles = audit(&client, head, &|done| bar.set_position(done))?;
    bar.finish_and_clear();
    tell(json, head, head.size.get(), tiles, "")
}

/// Checks a log's directory from inside.
fn check_dir(dir: &Path, args: &Args, json: bool) -> CliResult {
    let config = Config::load(dir)?;
    if let Some(bucket) = &config.bucket {
        check_files(&config)?;
        return bucket::check_dir(&config, bucket, args, json);
    }
    if args.rebuild {
        rebuild(&config)?;
    }
    let layout = Layout::new(dir);
    // Read first: the journal only grows, so it holds at least this much when it is scanned.
    let path = layout.checkpoint();
    let signed = read_signed(&path, &config.vkey()?)?.ok_or(StoreError::CheckpointMissing { path })?.head;
    let heads = read_heads(args, &config, &layout)?;
    report_torn_slots(&layout)?;
    check_files(&config)?;
    if !layout.journal().exists() {
        if signed.size > TreeSize::ZERO {
            return Err(StoreError::JournalShort { signed: signed.size, seen: TreeSize::ZERO }.into());
        }
        return tell(json, &signed, 0, 0, "the log was never served\n");
    }
    let bar = output::progress("re-hashing", 0, "bytes");
    let fsck = crate::store::Fsck {
        dir,
        keys: &config.vkeys()?,
        heads: &heads,
        describe: describe(config.profile.publishers(&config.publishers())?),
        progress: &output::shows(&bar),
    };
    let Sound { entries, tiles, sled } = fsck.run().map_err(|error| match error {
        FsckError::Fork(fork) => evidence::refuse_fork(&fork, &EvidenceDir::new(&args.evidence)),
        FsckError::Store(error) => error.into(),
    })?;
    bar.finish_and_clear();
    let also = match sled {
        SledSeen::None => "there is no sled: it is made anew at the next start\n".to_owned(),
        SledSeen::InUse => {
            "the log is being served, so sled was not looked at: check it by its address\n".to_owned()
        }
        SledSeen::Leaves(applied) if applied < entries => {
            format!("sled holds {applied} of {entries} leaves: it catches up at the next start\n")
        }
        SledSeen::Leaves(_) => String::new(),
    };
    tell(json, &signed, entries.get(), tiles, &also)
}

/// Reads the heads that the log signed: the last one, the last one with a quorum, and one that somebody kept.
fn read_heads(args: &Args, config: &Config, layout: &Layout) -> Result<Vec<LogSigned<Checkpoint>>, Failure> {
    let keys = config.vkeys()?;
    let mut heads = Vec::new();
    for path in [layout.checkpoint(), layout.witnessed()] {
        heads.extend(read_head(&path, &keys));
    }
    if let Some(path) = &args.since {
        heads.push(read_kept(path, &keys)?);
    }
    Ok(heads)
}

/// Says which slots of the heads' files do not check, and which head counts. The next head is written over such a slot.
fn report_torn_slots(layout: &Layout) -> CliResult {
    for path in [layout.checkpoint(), layout.witnessed()] {
        let Some(slot) = torn_slot(&path)? else { continue };
        let note = read_note(&path)?.unwrap_or_default();
        let counts = checkpoint::read_unverified(&note).map_or_else(
            |_| "the other one".to_owned(),
            |(head, _)| format!("the head of tree size {}", head.size),
        );
        say(&format!(
            "warning: slot {slot} of {} does not check, as after a write that a crash cut off; {counts} counts",
            path.display()
        ));
    }
    Ok(())
}

/// Reads a head with every signature line; `None` if it can't be read: `checkpoint.witnessed` may be lost.
fn read_head(path: &Path, keys: &[impl SignsFor]) -> Option<LogSigned<Checkpoint>> {
    let bytes = read_note(path).ok()??;
    let opened = checkpoint::open(&bytes, keys);
    opened.inspect_err(|e| say(&format!("{} was not looked at: {e}", path.display()))).ok()
}

/// Checks the files that nothing else is derived from, and that have no signature.
fn check_files(config: &Config) -> CliResult {
    config.profile.publishers(&config.publishers())?;
    let path = config.dir.join("endpoint.policy");
    let policy = files::policy(&path).map_err(|e| e.and(&correct(&path)))?;
    // Either key may be taken out of it, to demand the signature of the other.
    let keys = config.vkeys()?;
    if !policy.log_keys().iter().any(|log| keys.contains(log.note_key())) {
        let message = format!("{} does not trust this log's key, which is in log.vkey", path.display());
        return Err(Failure::Usage(message).and(&correct(&path)));
    }
    let unknown = |log: &&LogKey| *log.log() == config.origin && !keys.contains(log.note_key());
    if let Some(key) = policy.log_keys().iter().find(unknown).map(LogKey::note_key) {
        let message =
            format!("{} trusts a key of this log that is not in its directory: {key}", path.display());
        return Err(Failure::Usage(message)
            .and(&format!("correct the policy, or {}", put_back(&config.dir.join(ML_DSA.public)))));
    }
    // The user who runs this command need not be the one who signs.
    let (there, lost) = secrets_of(&config.dir);
    for secret in there {
        if let Err(e) = open_plain(&config.dir.join(secret))
            && e.kind() == std::io::ErrorKind::PermissionDenied
        {
            say(&format!("{secret} can't be read by this user, and was not looked at"));
            return Ok(());
        }
    }
    if !lost.is_empty() && backup_marker(&config.dir).exists() {
        return Ok(());
    }
    config.witnesses()?;
    config.signer().map(drop)
}

fn rebuild(config: &Config) -> CliResult {
    // Errors in the journal have to be known before sled is thrown away.
    config.check_servable()?;
    discard_tree(&config.dir)?;
    say("sled is made anew from the journal");
    let bar = output::progress("rebuilding", 0, "bytes");
    let options = OpenOptions {
        describe: describe(config.profile.publishers(&config.publishers())?),
        progress: Arc::new(output::shows(&bar)),
        log_key: Some(config.vkey()?),
        index_bytes: config.index_bytes,
        ..OpenOptions::new(config.origin.as_str())
    };
    drop(DiskStore::open(&config.dir, options)?);
    bar.finish_and_clear();
    Ok(())
}

/// Reports a sound log.
fn tell(json: bool, head: &Checkpoint, entries: u64, tiles: u64, also: &str) -> CliResult {
    let (size, root) = (head.size.get(), head.root.to_base64());
    let object = json!({ "ok": true, "tree_size": size, "root": root, "entries": entries, "tiles": tiles });
    let plural =
        |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let hashed = format!("{} and {}", plural(entries, "entry", "entries"), plural(tiles, "tile", "tiles"));
    result(
        json,
        &object,
        &format!(
            "{GREEN}sound{GREEN:#}  {hashed} re-hashed; they make the signed root {root} at tree size {size}\n{also}"
        ),
    )
}
