//! `treehead restore` into a bucket.

use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::{Args, Done};
use crate::bucket::StoreOptions;
use crate::cli::bucket::BucketSettings;
use crate::cli::config::Config;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::keys::secrets_of;
use crate::cli::output::{self, GREEN};
use crate::cli::repair::witnessed;
use crate::cli::settings::{with_address, with_store};
use crate::disk::read_note;
use crate::note::NoteKey;
use crate::store::bucket::{
    BucketRepair, MakeError, NamedSource, RepairMode, RepairOutcome, SourceHeads, recognise,
};
use crate::store::{JournalSource, Layout, StoreError, check_backup};

/// The bucket into which a new log is restored; `None` for a directory.
pub fn settings(args: &Args, backup: &Config) -> Result<Option<BucketSettings>, Failure> {
    match (args.bucket.settings()?, &backup.backup_of) {
        (Some(asked), Some(own)) if asked.options == StoreOptions::default() => {
            // Use the backup's store, with this address.
            let url = asked.url.or_else(|| own.url.clone());
            Ok(Some(BucketSettings { address: asked.address, url, ..own.clone() }))
        }
        (None, Some(own)) if !args.to_directory => {
            let (backup, address) = (args.backup.display(), &own.address);
            Err(Failure::Usage(format!(
                "the log in {backup} was in {address}: expected `--store {address}` to restore what that bucket lost, `--store` with a new prefix, or `--to-directory`, saw none of them"
            )))
        }
        (asked, _) => Ok(asked),
    }
}

/// The backup's settings, changed to the location of the new log.
pub fn settings_file(
    bytes: Zeroizing<Vec<u8>>,
    args: &Args,
    backup: &Config,
    bucket: Option<&BucketSettings>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = String::from_utf8_lossy(&bytes);
    let has_own_options = args.bucket.store.options() != StoreOptions::default();
    let text = match (bucket, &backup.backup_of) {
        (None, None) => return Ok(bytes),
        (Some(bucket), Some(_)) if !has_own_options => with_address(&text, bucket)?,
        (bucket, _) => with_store(&text, bucket)?,
    };
    Ok(Zeroizing::new(text.into_bytes()))
}

/// Restores into a bucket that is empty or has less than the backup. `config` has the log's settings.
pub fn run(args: &Args, config: &Config, bucket: &BucketSettings, key: &NoteKey) -> Result<Done, Failure> {
    let head = output::with_progress("checking", "entries", |progress| {
        Ok(check_backup(&args.backup, key, progress)?)
    })?;
    let objects = bucket.open()?;
    match recognise(objects.as_ref(), config.origin.as_str(), config.profile.as_str()) {
        Err(MakeError::Missing { .. }) => {}
        recognised => recognised?,
    }
    let layout = Layout::new(&args.backup);
    let note = read_note(&layout.witnessed()).map_err(StoreError::from)?;
    let heads = SourceHeads { signed: Some(head), witnessed: witnessed(config, key, note)? };
    let entries = Box::new(JournalSource::new(&layout.journal())?);
    let mut sources = [NamedSource { name: args.backup.display().to_string(), entries }];
    let done = output::with_progress("restoring", "entries", |progress| {
        let (objects, profile) = (Arc::clone(&objects), config.profile.as_str());
        let (has_witnesses, mode) = (config.witnesses()?.is_some(), RepairMode::Restore);
        Ok(BucketRepair { objects, key, profile, has_witnesses, mode, heads, progress }.run(&mut sources)?)
    })?;
    Ok(Done::Bucket(objects.name(), Box::new(done)))
}

pub fn tell(args: &Args, json: bool, backup: &Config, name: &str, done: &RepairOutcome) -> CliResult {
    let (dir, size) = (args.dir.display(), done.head.head.size);
    let lost = secrets_of(&args.dir).1;
    let object = json!({
        "ok": true, "tree_size": size.get(), "entries_before": done.kept_entries, "has_key": lost.is_empty(),
        "store": name, "batches_kept": done.kept, "batches_created": done.created,
        "tiles_written": done.tiles.damaged,
    });
    if done.created == 0 && done.heads.is_empty() && done.tiles.damaged == 0 {
        let lines = format!("{name} already holds the whole backup; nothing was changed\n");
        return output::result(json, &object, &lines);
    }
    let mut lines = format!("{GREEN}restored{GREEN:#}  {} up to tree size {size} in {name}\n", backup.origin);
    if done.kept > 0 {
        lines += &format!("kept      {} entries in {} batches\n", done.kept_entries, done.kept);
    }
    lines += &format!("created   {} batches, {} tiles and bundles\n", done.created, done.tiles.damaged);
    for key in lost {
        lines += &format!("key       {key} was not in the backup: put your copy at {dir}/{key}, mode 600\n");
    }
    lines += &format!(
        "\nIf this log ever published more than {size} entries, serving it now would FORK it: it would sign other\n\
         entries at indices that are taken. First bring it up to its last published head.\n\nNext:\n  \
         treehead repair {dir} --from URL    a mirror or an export that has the log's newest checkpoint\n  \
         treehead serve {dir}\n"
    );
    output::result(json, &object, &lines)
}
