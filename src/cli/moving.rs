//! `treehead move`: moves a log between its directory and a bucket.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use toml_edit::DocumentMut;

use super::bucket::{BucketArgs, BucketSettings};
use super::config::{Config, MAX_CONFIG_BYTES, WHAT};
use super::exit::{CliResult, Failure};
use super::files;
use super::object_store::{StoreArgs, parse_address};
use super::output::{self, GREEN};
use crate::bucket::Address;
use crate::disk::{RealDisk, replace_keeping_mode};
use crate::format::file_text;
use crate::store::OpenOptions;
use crate::store::bucket::{MoveError, MoveToBucket, MoveToDirectory, finish_move, is_moving};

/// Concurrent requests.
const THREADS: usize = 16;

/// Move a log from its directory into a bucket, or back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead move mylog s3://releases/log --region eu-central-1
  treehead move mylog s3://releases/log --endpoint https://s3.example.com \\
      --address https://log-a.example.com
  treehead move s3://releases/log mylog

Stop all servers of the log first. The command reads back everything that it wrote and compares it
with the signed root before the move takes effect. If it is interrupted, run it again.

Keys, settings and publishers stay in the directory. A move into a bucket puts the old journal into
DIR/moved. A move back seals the bucket: no server can append to it again, but readers can still
read it.")]
pub struct Args {
    /// The log's directory, or the bucket that its settings name
    #[arg(value_name = "DIR|s3://BUCKET/PREFIX")]
    pub from: String,
    /// The bucket and a prefix without a log, or the log's directory
    #[arg(value_name = "s3://BUCKET/PREFIX|DIR")]
    pub to: String,
    #[command(flatten)]
    pub store: StoreArgs,
    /// URL at which this server accepts entries; standbys name it to their clients
    #[arg(long = "address", value_name = "URL")]
    pub url: Option<String>,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    match (Address::is_meant(&args.from), Address::is_meant(&args.to)) {
        (false, true) => to_bucket(Path::new(&args.from), &address(&args.to)?, args, json),
        (true, false) => to_directory(&address(&args.from)?, Path::new(&args.to), args, json),
        _ => Err(Failure::Usage(
            "expected a directory and s3://BUCKET/PREFIX, in either order: `treehead move mylog s3://releases/log`"
                .to_owned(),
        )),
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    parse_address(text).map_err(|e| Failure::Usage(e.to_string()))
}

fn to_bucket(dir: &Path, address: &Address, args: &Args, json: bool) -> CliResult {
    let config = Config::load(dir)?;
    if let Some(bucket) = &config.bucket {
        return arrived(&config, bucket, address, json);
    }
    config.check_servable()?;
    config.signer()?;
    let given =
        BucketArgs { address: Some(address.clone()), store: args.store.clone(), url: args.url.clone() };
    let bucket = given.settings()?.expect("an address is given");
    let (path, text) = (dir.join("treehead.toml"), settings_with(dir, &bucket)?);
    let moved = moving(&config, &bucket, |moving| {
        moving.run(&mut || replace_keeping_mode(&RealDisk, &path, text.as_bytes()))
    })?;
    let (size, root, shown) = (moved.signed.size, moved.signed.root.to_base64(), dir.display());
    let object = json!({
        "ok": true, "store": address.to_string(), "tree_size": size.get(), "root": root,
        "entries": moved.entries.get(), "batches": moved.batches, "tiles": moved.tiles,
        "old": moved.aside.as_ref().map(|path| path.display().to_string()),
    });
    let unsigned = moved.entries.get() - size.get();
    let unsigned = if unsigned > 0 {
        format!(", and {unsigned} entries that the next head will cover")
    } else {
        String::new()
    };
    let lines = format!(
        "{GREEN}moved{GREEN:#}      {} up to tree size {size}{unsigned} into {address}\n\
         read back  {} batches and {} tiles; their entries have the signed root {root}\n\
         settings   {} names the bucket\n{}\nNext:\n  treehead serve {shown}\n",
        config.origin,
        moved.batches,
        moved.tiles,
        path.display(),
        aside_in_words(moved.aside.as_deref()),
    );
    output::result(json, &object, &lines)
}

/// Does `work` with a move of a log into a bucket.
fn moving<T>(
    config: &Config,
    bucket: &BucketSettings,
    work: impl FnOnce(&MoveToBucket<'_>) -> Result<T, MoveError>,
) -> Result<T, Failure> {
    let (keys, witnesses, objects) = (config.vkeys()?, config.witnesses()?, bucket.open()?);
    output::with_progress("moving", "steps", |progress| {
        let moving = MoveToBucket {
            dir: &config.dir,
            keys: &keys,
            witnesses: witnesses.as_ref(),
            publish_unwitnessed: config.options.publish_unwitnessed,
            profile: config.profile.as_str(),
            objects,
            threads: THREADS,
            io: Arc::new(RealDisk),
            progress,
        };
        Ok(work(&moving)?)
    })
}

fn aside_in_words(aside: Option<&Path>) -> String {
    aside.map_or_else(String::new, |path| {
        format!(
            "old        {} has the old journal and heads, which nothing reads; delete it once the log was served\n           \
             from the bucket and you have a backup; never serve it again, because that would fork the log\n",
            path.display()
        )
    })
}

/// Completes a move into the bucket that was interrupted after the switch of the settings.
fn arrived(config: &Config, bucket: &BucketSettings, address: &Address, json: bool) -> CliResult {
    let dir = config.dir.as_path();
    if bucket.address != *address {
        let (dir, seen) = (dir.display(), &bucket.address);
        return Err(Failure::Usage(format!(
            "the log of {dir} is in {seen}, according to its treehead.toml: move it back first (`treehead move {seen} {dir}`)"
        )));
    }
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime")]
    let aside = moving(config, bucket, |moving| moving.finish())?;
    let object = json!({
        "ok": true, "store": address.to_string(),
        "old": aside.as_ref().map(|path| path.display().to_string()),
    });
    let lines = format!(
        "{GREEN}moved{GREEN:#}      the log is in {address}\n{}\nNext:\n  treehead serve {}\n",
        aside_in_words(aside.as_deref()),
        dir.display()
    );
    output::result(json, &object, &lines)
}

fn to_directory(address: &Address, dir: &Path, args: &Args, json: bool) -> CliResult {
    if args.store.options() != StoreArgs::default().options() || args.url.is_some() {
        return Err(Failure::Usage(format!(
            "expected no options of an object store, saw some: {}/treehead.toml already has them",
            dir.display()
        )));
    }
    let config = Config::load(dir)?;
    let Some(bucket) = &config.bucket else {
        if !is_moving(dir) {
            let dir = dir.display();
            return Err(Failure::Usage(format!(
                "expected a directory whose treehead.toml names {address}, saw that the log of {dir} is in {dir}"
            )));
        }
        finish_move(&RealDisk, dir)?;
        return tell_back(address, dir, None, json);
    };
    if bucket.address != *address {
        return Err(Failure::Usage(format!(
            "expected {}, which {}/treehead.toml names, saw {address}",
            bucket.address,
            dir.display()
        )));
    }
    config.signer()?;
    let keys = config.vkeys()?;
    let (path, text) = (dir.join("treehead.toml"), settings_without(dir)?);
    let objects = bucket.open()?;
    let moved = output::with_progress("moving", "entries", |progress| {
        let moving = MoveToDirectory {
            dir,
            keys: &keys,
            profile: config.profile.as_str(),
            has_witnesses: config.witnesses()?.is_some(),
            objects,
            threads: THREADS,
            io: Arc::new(RealDisk),
            segment_bytes: OpenOptions::new(config.origin.as_str()).segment_bytes,
            progress,
        };
        Ok(moving.run(&mut || replace_keeping_mode(&RealDisk, &path, text.as_bytes()))?)
    })?;
    tell_back(
        address,
        dir,
        Some((moved.signed.size.get(), moved.signed.root.to_base64(), moved.entries.get())),
        json,
    )
}

fn tell_back(address: &Address, dir: &Path, moved: Option<(u64, String, u64)>, json: bool) -> CliResult {
    let mut object = json!({ "ok": true, "store": address.to_string(), "dir": dir.display().to_string() });
    let dir = dir.display();
    let mut lines = format!("{GREEN}moved{GREEN:#}      the log is in {dir}\n");
    if let Some((size, root, entries)) = moved {
        (object["tree_size"], object["root"]) = (size.into(), root.as_str().into());
        object["entries"] = entries.into();
        lines += &format!(
            "read back  its journal of {entries} entries has the signed root {root} at tree size {size}\n"
        );
    }
    lines += &format!(
        "sealed     no server can append to {address} any more; readers still can read it. Delete it once nobody reads it\n           \
         and you have a backup\n\nNext:\n  treehead serve {dir}\n"
    );
    output::result(json, &object, &lines)
}

/// Adds a bucket to the settings and keeps everything else.
fn settings_with(dir: &Path, bucket: &BucketSettings) -> Result<String, Failure> {
    let (top, block) = bucket.to_toml();
    edit(dir, |document| {
        let mut top: DocumentMut = top.parse().expect("written above");
        let (key, item) = top.remove_entry("store").expect("written above");
        document.insert_formatted(&key, item);
        // A table extends to the next one or to the end of the file, so the block goes last.
        let mut text = document.to_string();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text + &block
    })
}

/// Removes the bucket from the settings and keeps everything else.
fn settings_without(dir: &Path) -> Result<String, Failure> {
    edit(dir, |document| {
        document.remove("store");
        let bucket = document.remove("bucket");
        // Keep comments above the block.
        let above = bucket.as_ref().and_then(|bucket| bucket.as_table()?.decor().prefix()?.as_str());
        let above = above.map_or("", |above| above.strip_suffix('\n').unwrap_or(above));
        let trailing = format!("{above}{}", document.trailing().as_str().unwrap_or_default());
        document.set_trailing(trailing);
        document.to_string()
    })
}

fn edit(dir: &Path, change: impl FnOnce(&mut DocumentMut) -> String) -> Result<String, Failure> {
    let path = dir.join("treehead.toml");
    let old = files::parse(&path, WHAT, MAX_CONFIG_BYTES, |bytes| file_text(WHAT, bytes).map(str::to_owned))?;
    let mut document: DocumentMut = old
        .parse()
        .map_err(|e: toml_edit::TomlError| Failure::Usage(format!("{}: {}", path.display(), e.message())))?;
    let new = change(&mut document);
    Config::check_text(dir, &new)?;
    Ok(new)
}
