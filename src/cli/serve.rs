//! `treehead serve`: serves a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::BucketSettings;
use super::config::Config;
use super::exit::{CliResult, Failure};
use super::serving::{self, Address};
use super::signals::stop_signal;
use super::values::parse_listen;
use super::{output, policy};
use crate::checkpoint::policy::Policy;
use crate::disk::RealDisk;
use crate::note::NoteKey;
use crate::server::{self, Bucket, Log, LogConfig, Storage};
use crate::store::bucket::set_journal_aside;

/// Serve a log over HTTP until SIGINT or SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The index takes two bytes of memory for each key that it looks up, 512 MiB at
most. `index_memory_mib` in treehead.toml sets another bound.

Example:
  treehead serve mylog --listen 127.0.0.1:8080")]
pub struct Serve {
    /// Directory of the log
    pub dir: PathBuf,
    /// Address to listen on; overrides treehead.toml
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub listen: Option<String>,
}

/// Opens a log's bucket, and completes an interrupted move into it.
fn storage(bucket: BucketSettings, dir: &Path, keys: &[NoteKey]) -> Result<Bucket, Failure> {
    let storage = bucket.storage()?;
    if let Some(aside) = set_journal_aside(&RealDisk, dir, storage.objects.as_ref(), keys)? {
        tracing::warn!(aside = %aside.display(), "the log is in its bucket; moved the journal in its directory aside");
    }
    Ok(storage)
}

pub fn run(args: &Serve) -> CliResult {
    output::start_log();
    let config = Config::load(&args.dir)?;
    config.check_servable()?;
    let signer = config.signer()?;
    let listen = args.listen.clone().unwrap_or_else(|| config.listen.clone());
    serving::runtime()?.block_on(async {
        let address = Address::take(&listen).await?;
        let publishers = config.publishers();
        let witnesses = config.witnesses()?;
        if let Some(warning) = witnesses.as_ref().and_then(Policy::split_warning) {
            tracing::warn!("{warning}");
        }
        let storage = match &config.bucket {
            None => Storage::Directory,
            Some(bucket) => {
                let (bucket, dir, keys) = (bucket.clone(), config.dir.clone(), config.vkeys()?);
                Storage::Bucket(serving::open(move || storage(bucket, &dir, &keys)).await?)
            }
        };
        let cosigners = config.cosigners()?;
        let policy = Some(policy::of(&config.vkeys()?, witnesses.as_ref())?);
        let (profile, options, index_bytes) = (config.profile, config.options, config.index_bytes);
        if options.publish_unwitnessed && cosigners.is_some() {
            tracing::warn!("tree heads may be published without a quorum of witnesses, as treehead.toml says: a split view would go unnoticed");
        }
        let bar = output::progress("catching up", 0, "bytes");
        let log = LogConfig {
            storage,
            dir: config.dir,
            signer,
            profile,
            publishers,
            policy,
            options,
            cosigners,
            index_bytes,
            progress: Arc::new(output::shows(&bar)),
        };
        let log = serving::open(|| Log::open(log)).await?;
        bar.finish_and_clear();
        let (url, watched) = (address.url(), log.clone());
        let listener = address.listener(config.trusted_proxies, move || watched.reload_publishers());
        let size = log.sequencer().reader().size();
        // Before the line that says it serves: somebody may answer with a signal to stop.
        let stop = stop_signal();
        tracing::info!(origin = %log.origin(), %size, %url, "serving");
        serving::ended(server::run(listener, log.clone(), stop).await)?;
        match log.sequencer().fault() {
            None => tracing::info!("stopped; everything accepted is durable and published"),
            Some(fault) => tracing::warn!("stopped; everything accepted is durable, and not all of it published: {fault}"),
        }
        Ok(())
    })
}
