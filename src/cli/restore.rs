//! `treehead restore`: makes a log of a backup, unless that would lose entries.

mod into_bucket;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::backup::{COMPANIONS, check_different};
use super::bucket::BucketArgs;
use super::config::Config;
use super::exit::{CliResult, Failure};
use super::files;
use super::keys::{ED25519, ML_DSA, NEXT, secrets_of};
use super::new_dir;
use super::output::{self, GREEN};
use crate::disk::RealDisk;
use crate::merkle::TreeSize;
use crate::note::NoteKey;
use crate::store::bucket::RepairOutcome;
use crate::store::{OpenOptions, Restore, Restored, backup_marker};

/// Make a log of a backup; never in place of a newer one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead restore /backup/mylog mylog
  treehead restore /backup/mylog mylog --store s3://releases/log    into a new prefix of a bucket
  treehead restore /backup/mylog mylog    into the bucket that a server's directory names

In the log's own bucket, the command appends missing batches and replaces nothing.

A backup is older than the log's last published head. Before you serve the restored log, bring it up
to date:
  treehead repair mylog --from https://mirror.example.com/log")]
pub struct Args {
    /// Directory of the backup
    pub backup: PathBuf,
    /// Directory of the log: new, empty, or an older state of the same log
    pub dir: PathBuf,
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Restore the backup of a log in a bucket into DIR; stop the log's servers for good first
    #[arg(long, conflicts_with = "address")]
    pub to_directory: bool,
}

/// Largest file of a log beside its journal: the publishers of a large vendor.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// The file with the settings.
const SETTINGS: &str = "treehead.toml";

pub fn run(args: &Args, json: bool) -> CliResult {
    check_different(&args.backup, &args.dir)?;
    let backup = Config::load(&args.backup)?;
    let key = backup.vkey()?;
    let occupied = match fs::read_dir(&args.dir) {
        Ok(mut items) => items.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Failure::io("list", &args.dir, &e)),
    };
    let done = if occupied { into_log(args, &key)? } else { into_new(args, &backup, &key)? };
    match done {
        Done::Directory(done) => tell(args, json, &backup, &done),
        Done::Bucket(name, done) => into_bucket::tell(args, json, &backup, &name, &done),
    }
}

/// A restore that is done.
enum Done {
    Directory(Restored),
    /// Into a bucket with this name.
    Bucket(String, Box<RepairOutcome>),
}

/// Restores into an existing log. Its settings stay; its journal, or its chain in a bucket, can only grow.
fn into_log(args: &Args, key: &NoteKey) -> Result<Done, Failure> {
    if backup_marker(&args.dir).exists() {
        let message = format!("{} is a backup, and can't become a log", args.dir.display());
        return Err(Failure::refused(
            "is-a-backup",
            message,
            "Nothing was changed; choose another directory.",
        ));
    }
    let config = Config::load(&args.dir)
        .map_err(|e| e.and("restore to an empty directory, or to one that does not exist"))?;
    if config.vkey()? != *key {
        let (dir, seen) = (args.dir.display(), config.vkey()?);
        let message = format!("{dir} is another log: expected the key {key}, saw {seen}");
        return Err(Failure::refused("other-log", message, "Nothing was changed; choose another directory."));
    }
    let asked = args.bucket.settings()?;
    match (&config.bucket, asked) {
        (Some(bucket), asked)
            if !args.to_directory && asked.as_ref().is_none_or(|asked| asked.address == bucket.address) =>
        {
            into_bucket::run(args, &config, bucket, key)
        }
        (None, None) => Ok(Done::Directory(journal(&args.backup, &args.dir, key)?)),
        _ => Err(Failure::Usage(format!(
            "{} is a log already, and a restore leaves it where its settings say: `treehead move` moves it",
            args.dir.display()
        ))),
    }
}

/// Restores into a directory that appears whole or not at all.
fn into_new(args: &Args, backup: &Config, key: &NoteKey) -> Result<Done, Failure> {
    let bucket = into_bucket::settings(args, backup)?;
    new_dir::whole(&args.dir, |new| {
        let secrets = [ED25519, ML_DSA].into_iter().chain(NEXT).map(|pair| pair.secret);
        let secrets: Vec<&str> = secrets.collect();
        for name in COMPANIONS.into_iter().chain(backup.witnesses_file()).chain(secrets.iter().copied()) {
            let (from, to) = (args.backup.join(name), new.join(name));
            if from.exists() {
                let mut bytes = Zeroizing::new(files::read(&from, "a file of the backup", MAX_FILE_BYTES)?);
                if name == SETTINGS {
                    bytes = into_bucket::settings_file(bytes, args, backup, bucket.as_ref())?;
                }
                files::create_new(&to, &bytes, if secrets.contains(&name) { 0o600 } else { 0o644 })?;
            }
        }
        match &bucket {
            None => Ok(Done::Directory(journal(&args.backup, new, key)?)),
            Some(bucket) => into_bucket::run(args, backup, bucket, key),
        }
    })
}

fn journal(backup: &Path, dir: &Path, key: &NoteKey) -> Result<Restored, Failure> {
    let segment_bytes = OpenOptions::new(key.name().as_str()).segment_bytes;
    output::with_progress("restoring", "entries", |progress| {
        Ok(Restore { backup, dir, key, io: Arc::new(RealDisk), segment_bytes, progress }.run()?)
    })
}

fn tell(args: &Args, json: bool, backup: &Config, done: &Restored) -> CliResult {
    let (dir, size) = (args.dir.display(), done.head.head.size);
    let lost = secrets_of(&args.dir).1;
    let has_key = lost.is_empty();
    let kept_as = done.kept_as.as_ref().map(|path| path.display().to_string());
    let object = json!({
        "ok": true, "tree_size": size.get(), "entries_before": done.before.get(), "has_key": has_key,
        "old_journal": kept_as,
    });
    let mut lines = format!("{GREEN}restored{GREEN:#}  {} up to tree size {size} in {dir}\n", backup.origin);
    if done.before == size && done.kept_as.is_none() {
        let lines = format!("{dir} already holds the whole backup; nothing was changed\n");
        return output::result(json, &object, &lines);
    }
    if let Some(path) = kept_as.filter(|_| done.before > TreeSize::ZERO) {
        lines += &format!("before    {} entries; the old journal is in {path}\n", done.before);
    }
    for key in lost {
        lines += &format!("key       {key} was not in the backup: put your copy at {dir}/{key}, mode 600\n");
    }
    lines += &format!(
        "\nIf this log ever published more than {size} entries, serving it now would FORK it: it would sign other\n\
         entries in places that are taken. Bring it up to what the world has seen first.\n\nNext:\n  \
         treehead repair {dir} --from URL    a mirror, or an export: whatever has the log's newest checkpoint\n  \
         treehead fsck {dir}\n  treehead serve {dir}\n"
    );
    output::result(json, &object, &lines)
}
