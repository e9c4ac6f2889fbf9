//! `treehead export`: writes a log as plain files.

use std::path::PathBuf;

use serde_json::json;

use super::config::Config;
use super::exit::CliResult;
use super::output;
use crate::store::Export;

/// Write a log as a static tlog-tiles tree that any web server or CDN can serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead export mylog /var/www/log

Works while the log is served. Run again, it adds what is new; the checkpoint is written last.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory to write the tree to
    pub out: PathBuf,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
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
    let (size, written, kept, out) = (done.size, done.written, done.kept, args.out.display());
    output::result(
        json,
        &json!({ "ok": true, "tree_size": size.get(), "written": written, "kept": kept }),
        &format!(
            "{out} holds the log up to tree size {size}: {written} files written, {kept} there already\n"
        ),
    )
}
