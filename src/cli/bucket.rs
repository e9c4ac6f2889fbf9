//! The bucket of a log: its settings in `treehead.toml`, and the options that set them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::exit::Failure;
use super::object_store::{StoreArgs, parse_address};
use crate::bucket::probe::{Extent, Findings, check_store};
use crate::bucket::{Address, Objects, S3, StoreOptions};
use crate::format::{FormatError, TomlPlace, quote, toml_string};
use crate::server::Bucket;
use crate::threads;

/// Default length of the lease, in seconds.
const LEASE_SECONDS: u32 = 3;
/// Default minimum interval between small batches, in milliseconds. Each batch costs a few requests.
const LINGER_MS: u64 = 1_000;

/// `[bucket]` in `treehead.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketBlock {
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    unsigned_payload: bool,
    lease_seconds: Option<u32>,
    linger_ms: Option<u64>,
    address: Option<String>,
}

/// The settings of a log in a bucket.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    pub address: Address,
    pub options: StoreOptions,
    pub lease_seconds: u32,
    pub linger: Duration,
    /// The URL at which this server accepts entries. Standbys name it to their clients.
    pub url: Option<String>,
}

/// Probes a store. Each racer of the probe has a thread of its own, and they wait for each other.
pub fn probe(store: &dyn Objects, extent: Extent) -> Result<Findings, Failure> {
    threads::check("the probe of a store", extent.racers)?;
    Ok(check_store(store, extent)?)
}

impl BucketSettings {
    /// Reads `store` and `[bucket]`. Paths are relative to the log's directory.
    pub fn of(
        dir: &Path,
        store: Option<&str>,
        block: Option<BucketBlock>,
        place: &TomlPlace<'_>,
    ) -> Result<Option<Self>, FormatError> {
        let Some(store) = store else {
            return match block {
                None => Ok(None),
                Some(_) => Err(place
                    .key("bucket")
                    .malformed("`store = \"s3://BUCKET/PREFIX\"` beside it", "none".to_owned())),
            };
        };
        let address = store.parse().map_err(|e: FormatError| place.key("store").wrong(e))?;
        let block = block.unwrap_or_default();
        let (lease_seconds, linger) =
            (block.lease_seconds.unwrap_or(LEASE_SECONDS), block.linger_ms.unwrap_or(LINGER_MS));
        let within = |key, expected, seen: String, holds| {
            if holds { Ok(()) } else { Err(place.key("bucket").key(key).malformed(expected, seen)) }
        };
        let lease_holds = (1..=60).contains(&lease_seconds);
        within("lease_seconds", "a number from 1 to 60", lease_seconds.to_string(), lease_holds)?;
        within("linger_ms", "a number from 0 to 10000", linger.to_string(), linger <= 10_000)?;
        let is_url = block.address.as_deref().is_none_or(crate::client::is_address);
        let seen = quote(block.address.as_deref().unwrap_or_default());
        within("address", "the URL at which this server accepts entries", seen, is_url)?;
        Ok(Some(Self {
            address,
            options: StoreOptions {
                endpoint: block.endpoint,
                region: block.region,
                path_style: block.path_style,
                ca_file: block.ca_file.map(|path| dir.join(path)),
                unsigned_payload: block.unsigned_payload,
                ..StoreOptions::default()
            },
            lease_seconds,
            linger: Duration::from_millis(linger),
            url: block.address,
        }))
    }

    /// A client of the bucket, which is not probed. For commands that only read.
    pub fn client(&self) -> Result<Arc<dyn Objects>, Failure> {
        Ok(Arc::new(S3::open(&self.address, &self.options)?))
    }

    /// Opens and probes the bucket. Returns an error if the store breaks a promise that a log depends on.
    pub fn open(&self) -> Result<Arc<dyn Objects>, Failure> {
        let store = S3::open(&self.address, &self.options)?;
        let findings = probe(&store, Extent::START)?;
        findings.conditions()?;
        Ok(Arc::new(store))
    }

    /// Opens the storage of a server.
    pub fn storage(self) -> Result<Bucket, Failure> {
        Ok(Bucket { objects: self.open()?, lease_seconds: self.lease_seconds, address: self.url })
    }

    /// The lines for `treehead.toml`: those at the top, and the block at the end.
    pub fn to_toml(&self) -> (String, String) {
        let top = format!(
            "# The log is in this bucket. This directory holds its keys, its settings and a disposable cache.\nstore = {}\n",
            toml_string(&self.address.to_string())
        );
        let StoreOptions { endpoint, region, path_style, ca_file, unsigned_payload, .. } = &self.options;
        let mut block = "\n[bucket]\n".to_owned();
        let text = |key: &str, value: &str| format!("{key} = {}\n", toml_string(value));
        block.extend(endpoint.iter().map(|endpoint| text("endpoint", endpoint)));
        block.extend(region.iter().map(|region| text("region", region)));
        block.extend(path_style.iter().map(|path_style| format!("path_style = {path_style}\n")));
        block.extend(ca_file.iter().map(|path| text("ca_file", &path.display().to_string())));
        block.extend(unsigned_payload.then_some("unsigned_payload = true\n"));
        block += &format!(
            "# A standby takes over after the holder has not renewed the lease for this long.\n\
             lease_seconds = {}\n\
             # Minimum interval between small batches, each of which costs a few requests.\n\
             linger_ms = {}\n",
            self.lease_seconds,
            self.linger.as_millis()
        );
        block.extend(self.url.iter().map(|url| text("address", url)));
        (top, block)
    }
}

/// Options for a log's bucket.
#[derive(Debug, clap::Args)]
pub struct BucketArgs {
    /// Keep the log in this bucket, so that other servers can take over
    #[arg(long = "store", value_name = "s3://BUCKET/PREFIX", value_parser = parse_address)]
    pub address: Option<Address>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// URL at which this server accepts entries; standbys name it to their clients
    #[arg(long = "address", value_name = "URL", requires = "address")]
    pub url: Option<String>,
}

impl BucketArgs {
    /// The settings, if the options name a bucket.
    pub fn settings(&self) -> Result<Option<BucketSettings>, Failure> {
        let options = self.store.options();
        let Some(address) = self.address.clone() else {
            return if options == StoreOptions::default() {
                Ok(None)
            } else {
                Err(Failure::Usage(
                    "expected --store s3://BUCKET/PREFIX with the options of an object store, saw none"
                        .to_owned(),
                ))
            };
        };
        Ok(Some(BucketSettings {
            address,
            options,
            lease_seconds: LEASE_SECONDS,
            linger: Duration::from_millis(LINGER_MS),
            url: self.url.clone(),
        }))
    }
}
