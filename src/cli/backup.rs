//! `treehead backup`: copies a log, also while it is served.

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::files;
use super::keys::secrets_of;
use super::output::{self, GREEN};
use crate::clock;
use crate::disk::RealDisk;
use crate::merkle::TreeSize;
use crate::note::NoteKey;
use crate::server::PROFILE_FILE;
use crate::store::bucket::BucketToCopy;
use crate::store::{Backup, BackupSource, Companion, JournalToCopy, OpenOptions};

/// Copy a log, also while it is served, and check the copy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead backup mylog /backup/mylog
  treehead backup mylog /safe/mylog --with-key     with the secret key: keep it as you keep that

Works while the log is served. Run again, it copies what is new. It is read back and re-hashed up
to the signed root before the backup counts, and so is a part of what was there already: all of it
within a month, or now with --all. `treehead restore` makes a log of it. A backup
of a log in a bucket comes from its batches, and nothing is written to the bucket.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory of the backup; made if need be
    pub out: PathBuf,
    /// Copy log.key and log.mldsa.key too (mode 600)
    #[arg(long)]
    pub with_key: bool,
    /// Read back everything, not only what is new or was not read for long
    #[arg(long)]
    pub all: bool,
}

/// Files of a log beside its journal, apart from its secret keys and a file that names its witnesses.
pub const COMPANIONS: [&str; 10] = [
    "treehead.toml",
    PROFILE_FILE,
    "publishers.toml",
    "log.vkey",
    "log.mldsa.vkey",
    "log.next.vkey",
    "log.next.mldsa.vkey",
    "log.old.vkey",
    "log.old.mldsa.vkey",
    "endpoint.policy",
];

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let key = config.vkey()?;
    config.vkeys()?;
    config.witnesses()?;
    // A damaged file must not replace a whole one in the backup.
    config.profile.publishers(&config.publishers())?;
    let policy = args.dir.join("endpoint.policy");
    if policy.exists() {
        files::policy(&policy)?;
    }
    if args.with_key {
        config.signer()?;
    }
    let authorities = config.bucket.as_ref().and_then(|bucket| bucket.options.ca_file.clone());
    for path in config.witnesses_elsewhere().into_iter().chain(authorities) {
        output::say(&format!("{} is not in the backup: keep a copy of it elsewhere", path.display()));
    }
    let mut companions: Vec<Companion<'_>> = COMPANIONS.map(|name| Companion { name, secret: false }).into();
    companions.extend(config.witnesses_file().map(|name| Companion { name, secret: false }));
    let secrets = secrets_of(&args.dir).0;
    companions
        .extend(secrets.into_iter().filter(|_| args.with_key).map(|name| Companion { name, secret: true }));
    let from = source(&config, &key)?;
    let done = output::with_progress("backing up", "entries", |progress| {
        let (log, out, io) = (&args.dir, &args.out, Arc::new(RealDisk));
        let (all, now, from) = (args.all, clock::now(), from.as_ref());
        Ok(Backup { log, from, out, key: &key, files: &companions, io, all, now, progress }.run()?)
    })?;
    let (there, lost) = secrets_of(&args.out);
    let has_key = lost.is_empty();
    let (size, out) = (done.head.head.size, args.out.display());
    let new = size.get() - done.before.map_or(0, TreeSize::get);
    let object = json!({
        "ok": true, "tree_size": size.get(), "root": done.head.head.root.to_base64(), "new_entries": new,
        "segments_copied": done.copied, "bytes_copied": done.copied_bytes, "segments_kept": done.kept,
        "bytes": done.bytes, "bytes_read_back": done.read_bytes, "has_key": has_key,
    });
    let is = |secrets: &[&str]| {
        format!("{} {}", secrets.join(" and "), if secrets.len() > 1 { "are" } else { "is" })
    };
    let key = if has_key {
        format!("{} in this backup: who can read that can sign as the log", is(&there))
    } else {
        format!("{} NOT in this backup: keep a copy elsewhere; without it the log has ended", is(&lost))
    };
    let read = if done.read_bytes == done.bytes {
        format!("all {}", HumanBytes(done.bytes))
    } else {
        format!(
            "{} of {}, and the rest within the last month,",
            HumanBytes(done.read_bytes),
            HumanBytes(done.bytes)
        )
    };
    let lines = format!(
        "{GREEN}backed up{GREEN:#}  {} up to tree size {}, {} more than before, in {out}\n\
         copied     {}, {}; {} there already\n\
         checked    {read} were read back; their entries make the signed root {}\n\
         key        {key}\n",
        config.origin,
        HumanCount(size.get()),
        HumanCount(new),
        segments(done.copied),
        HumanBytes(done.copied_bytes),
        segments(done.kept),
        done.head.head.root.to_base64(),
    );
    output::result(json, &object, &lines)
}

/// The log's batches and heads, to be copied.
pub fn source(config: &Config, key: &NoteKey) -> Result<Box<dyn BackupSource>, Failure> {
    let Some(bucket) = &config.bucket else {
        return Ok(Box::new(JournalToCopy::new(&config.dir, key, Arc::new(RealDisk))));
    };
    let (objects, has_witnesses) = (bucket.client()?, config.witnesses()?.is_some());
    let segment_bytes = OpenOptions::new(key.name().as_str()).segment_bytes;
    Ok(Box::new(BucketToCopy::new(objects, key, has_witnesses, segment_bytes, Arc::new(RealDisk))))
}

fn segments(count: u64) -> String {
    format!("{count} {}", if count == 1 { "segment" } else { "segments" })
}

/// Rejects two names of one directory.
pub fn check_different(a: &std::path::Path, b: &std::path::Path) -> CliResult {
    if files::is_same(a, b) {
        return Err(Failure::Usage(format!("{} and {} are the same directory", a.display(), b.display())));
    }
    Ok(())
}
