//! `treehead repair`: makes a sound journal from what is left and what others have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::backup::check_different;
use super::config::Config;
use super::exit::CliResult;
use super::output::{self, GREEN};
use super::sources;
use crate::disk::RealDisk;
use crate::store::{CheckpointWas, OpenOptions, Repair, Repaired};

/// Mend a damaged log with entries of a backup, an export or a mirror
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead repair mylog --from /backup/mylog
  treehead repair mylog --from /var/www/log                      an export
  treehead repair mylog --from https://mirror.example.com/log    any tlog-tiles log or mirror

The server must not run. What checks of the log's own journal is kept, the rest is fetched, and all
of it is compared with the signed root before anything is replaced. The old journal stays beside the
new one.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// A backup, another copy of the log's directory, an export, or the address of a log or mirror
    #[arg(long, value_name = "DIR|URL")]
    pub from: String,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    check_different(&args.dir, Path::new(&args.from))?;
    let config = Config::load(&args.dir)?;
    let key = config.vkey()?;
    let mut source = sources::open(&args.from, &key)?;
    let done = output::with_progress("repairing", "entries", |progress| {
        let repair = Repair {
            dir: &args.dir,
            key: &key,
            from: &args.from,
            from_head: source.head.take(),
            io: Arc::new(RealDisk),
            segment_bytes: OpenOptions::new(config.origin.as_str()).segment_bytes,
            progress,
        };
        Ok(repair.run(source.entries.as_mut())?)
    })?;
    tell(args, json, &done)
}

fn tell(args: &Args, json: bool, done: &Repaired) -> CliResult {
    let (dir, from, head) = (args.dir.display(), &args.from, &done.head.head);
    let checkpoint = match done.checkpoint {
        CheckpointWas::Current => "current",
        CheckpointWas::Older => "older",
        CheckpointWas::Lost => "lost",
    };
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
