//! `treehead repair`: makes a sound journal from what is left and what others have.

mod of_bucket;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

pub use of_bucket::witnessed;

use super::backup::check_different;
use super::config::Config;
use super::exit::{CliResult, Failure};
use super::object_store::StoreArgs;
use super::output::{self, GREEN};
use super::sources;
use crate::disk::RealDisk;
use crate::store::{CheckpointWas, OpenOptions, Repair, Repaired};

/// Mend a damaged log with entries of a backup, an export or a mirror
#[allow(clippy::doc_markdown, reason = "help is plain text")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead repair mylog --from /backup/mylog
  treehead repair mylog --from /var/www/log                      an export
  treehead repair mylog --from https://mirror.example.com/log    any tlog-tiles log or mirror
  treehead repair mylog                                          a log in a bucket, from its bundles

Stop the server first. The command keeps the undamaged part of the log's own journal, fetches the
rest, and compares all of it with the signed root before it replaces anything. The old journal stays
beside the new one.

For a log in a bucket, the command rebuilds lost and damaged batches from the entry bundles in the
bucket, from this server's cache or from SOURCE, and tiles from the batches.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// A backup, another copy of the log's directory, an export, or the address of a log or mirror; a log in a bucket may need
    /// none
    #[arg(long, value_name = "DIR|URL|s3://BUCKET/PREFIX")]
    pub from: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    if let Some(from) = &args.from {
        check_different(&args.dir, Path::new(from))?;
    }
    let config = Config::load(&args.dir)?;
    let key = config.vkey()?;
    let source = args.from.as_ref().map(|from| sources::open(from, &args.store, &key)).transpose()?;
    if config.bucket.is_some() {
        return of_bucket::run(args, &config, &key, source, json);
    }
    let (Some(from), Some(mut source)) = (&args.from, source) else {
        return Err(Failure::Usage(
            "--from: expected a backup, an export or an address; only a log in a bucket may need none"
                .to_owned(),
        ));
    };
    let done = output::with_progress("repairing", "entries", |progress| {
        let repair = Repair {
            dir: &args.dir,
            key: &key,
            from,
            from_head: source.head.take(),
            io: Arc::new(RealDisk),
            segment_bytes: OpenOptions::new(config.origin.as_str()).segment_bytes,
            progress,
        };
        Ok(repair.run(source.entries.as_mut())?)
    })?;
    tell(args, from, json, &done)
}

/// The state of the checkpoint before, for machines.
const fn was(checkpoint: CheckpointWas) -> &'static str {
    match checkpoint {
        CheckpointWas::Current => "current",
        CheckpointWas::Older => "older",
        CheckpointWas::Lost => "lost",
    }
}

fn tell(args: &Args, from: &str, json: bool, done: &Repaired) -> CliResult {
    let (dir, head, checkpoint) = (args.dir.display(), &done.head.head, was(done.checkpoint));
    let counts = done.journal.unwrap_or_default();
    let kept_as = done.kept_as.as_ref().map(|path| path.display().to_string());
    let object = json!({
        "ok": true, "tree_size": head.size.get(), "root": head.root.to_base64(), "entries": done.size.get(),
        "journal_replaced": done.journal.is_some(), "entries_kept": counts.kept,
        "entries_fetched": counts.fetched, "old_journal": kept_as, "checkpoint_was": checkpoint,
    });
    let mut lines = match done.journal {
        None => format!(
            "{GREEN}sound{GREEN:#}     the journal of {dir} holds what was signed at tree size {}: it was not changed\n",
            head.size
        ),
        Some(counts) => format!(
            "{GREEN}repaired{GREEN:#}  {dir} holds what was signed at tree size {}: {} entries were its own, {} came from {from}\n",
            head.size, counts.kept, counts.fetched
        ),
    };
    if let Some(path) = kept_as {
        lines += &format!("before    the old journal is in {path}; delete it when you need the space\n");
    }
    lines += &match done.checkpoint {
        CheckpointWas::Current => String::new(),
        CheckpointWas::Older => {
            format!("signed    {from} has a newer checkpoint of this log: it was put in place\n")
        }
        CheckpointWas::Lost => format!(
            "signed    the checkpoint is the one of {from}, because this log's own was lost or damaged\n\n\
             If the log ever published more than {} entries, serving it now would FORK it. Look at what mirrors,\n\
             monitors and endpoints have seen of it before you serve it.\n",
            done.size
        ),
    };
    lines += &format!("\nNext:\n  treehead fsck {dir}\n  treehead serve {dir}\n");
    output::result(json, &object, &lines)
}
