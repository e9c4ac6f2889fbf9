//! `treehead export`: writes a log as plain files.

use std::path::PathBuf;

use serde_json::json;

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::{files, output, policy};
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};
use crate::server::{Profile, explorer};
use crate::store::Export;

/// Write a log as a static tlog-tiles tree that any web server or CDN can serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead export mylog /var/www/log

Works while the log is served. Run again, it adds what is new; the checkpoint is written last.
The explorer is written beside it: index.html, unless there is another one, and the folder explorer.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory to write the tree to
    pub out: PathBuf,
    /// Let the exported explorer look at this log as well, at index.html?log=URL; may be repeated
    #[arg(long, value_name = "URL", value_parser = explorer::parse_other)]
    pub explore: Vec<String>,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    if let Some(bucket) = &config.bucket {
        return Err(Failure::Usage(format!(
            "the log of {} is in {}, which has the static tree already: let readers read it there (docs/bucket.md)",
            args.dir.display(),
            bucket.address
        )));
    }
    let (keys, witnesses) = (config.vkeys()?, config.witnesses()?);
    let done = output::with_progress("exporting", "entries", |progress| {
        let export = Export {
            dir: &args.dir,
            keys: &keys,
            witnesses: witnesses.as_ref(),
            publish_unwitnessed: config.options.publish_unwitnessed,
            out: &args.out,
            progress,
        };
        Ok(export.run()?)
    })?;
    let publishers = match config.profile {
        Profile::Opaque => Publishers::default(),
        Profile::Release => {
            files::parse(&config.publishers(), "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?
        }
    };
    let trust = explorer::trust_file(&policy::of(&keys, witnesses.as_ref())?, &publishers);
    let trust = trust.map_err(|e| Failure::CouldNotTell(format!("the trust file of this log: {e}")))?;
    explorer::export(&args.out, &trust, &args.explore)?;
    let (size, written, kept, out) = (done.size, done.written, done.kept, args.out.display());
    output::result(
        json,
        &json!({ "ok": true, "tree_size": size.get(), "written": written, "kept": kept }),
        &format!(
            "{out} holds the log up to tree size {size}: {written} files written, {kept} there already\n"
        ),
    )
}
