//! `treehead export`: writes a log as plain files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::backup::source;
use super::bucket::probe;
use super::config::Config;
use super::exit::{CliResult, Failure};
use super::object_store::{StoreArgs, parse_address};
use super::{files, output, policy};
use crate::bucket::Address;
use crate::bucket::probe::Extent;
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};
use crate::server::{Profile, explorer};
use crate::store::bucket::ExportBucket;
use crate::store::{Export, ExportDirectory, ExportPlace};

/// Concurrent requests.
const THREADS: usize = 16;

/// Write a log as a static tlog-tiles tree that any web server or CDN can serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead export mylog /var/www/log
  treehead export mylog s3://public/log --endpoint https://s3.example.com

Works while the log is served. Run again, it adds what is new; the checkpoint is written last.
The explorer is written beside it: index.html, unless there is another one, and the folder explorer.

If OUT is a bucket, the store or a CDN serves the tree (docs/bucket.md): allow s3:GetObject. To keep
the log itself in a bucket, with a standby, see `treehead init --store` and `treehead move`.")]
pub struct Args {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory, or bucket and prefix, to write the tree to
    #[arg(value_name = "OUT|s3://BUCKET/PREFIX")]
    pub out: String,
    /// Let the exported explorer look at this log as well, at index.html?log=URL; may be repeated
    #[arg(long, value_name = "URL", value_parser = explorer::parse_other)]
    pub explore: Vec<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let place = place(args)?;
    let (keys, witnesses) = (config.vkeys()?, config.witnesses()?);
    let from = source(&config, &keys[0])?;
    let done = output::with_progress("exporting", "entries", |progress| {
        let export = Export {
            from: from.as_ref(),
            keys: &keys,
            witnesses: witnesses.as_ref(),
            publish_unwitnessed: config.options.publish_unwitnessed,
            out: place.as_ref(),
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
    explorer::export(place.as_ref(), &trust, &args.explore)?;
    let (size, written, kept, out) = (done.size, done.written, done.kept, &args.out);
    output::result(
        json,
        &json!({ "ok": true, "tree_size": size.get(), "written": written, "kept": kept }),
        &format!(
            "{out} holds the log up to tree size {size}: {written} files written, {kept} there already\n"
        ),
    )
}

/// The place to write to.
fn place(args: &Args) -> Result<Box<dyn ExportPlace>, Failure> {
    if !Address::is_meant(&args.out) {
        args.store.check_unused()?;
        return Ok(Box::new(ExportDirectory::new(Path::new(&args.out))));
    }
    let address = parse_address(&args.out).map_err(|e| Failure::Usage(e.to_string()))?;
    let store = Arc::new(args.store.open(&address)?);
    let place = ExportBucket::new(store.clone(), THREADS);
    // Before the probe writes anything there.
    place.check()?;
    probe(store.as_ref(), Extent::START)?.conditions()?;
    Ok(Box::new(place))
}
