//! `treehead.toml` and the other files of a log's directory.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::bucket::{BucketBlock, BucketSettings};
use super::exit::Failure;
use super::files;
use super::remedies::{correct, fault_advice, put_back};
use super::values::{LISTEN, is_listen};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::feeder::Feeder;
pub(crate) use crate::feeder::settings::WHAT;
use crate::feeder::settings::{WitnessBlock, WitnessSettings, parse_policy};
use crate::format::{FormatError, TomlFile, TomlPlace, quote};
use crate::note::KeyName;
use crate::sequencer::{CosignersFactory, Options};
use crate::server::{PROFILE_FILE, Profile};
use crate::store::{INDEX_BYTES, Layout, StoreError, backup_marker};

/// Largest `treehead.toml`: as large as a policy, for as many witnesses with ML-DSA-44 keys.
pub const MAX_CONFIG_BYTES: usize = MAX_POLICY_BYTES;
/// The default address to listen on: loopback, because TLS is a reverse proxy's job.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigText {
    origin: String,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    listen: Option<String>,
    #[serde(default)]
    trusted_proxies: Vec<IpAddr>,
    #[serde(default)]
    publish_interval_ms: Option<u64>,
    #[serde(default)]
    index_memory_mib: Option<u32>,
    #[serde(default)]
    store: Option<String>,
    #[serde(default)]
    bucket: Option<BucketBlock>,
    #[serde(default)]
    quorum: Option<u64>,
    #[serde(default)]
    publish_without_quorum_risking_split_views: bool,
    #[serde(default)]
    witnesses: Option<String>,
    #[serde(default)]
    witness: Vec<WitnessBlock>,
}

/// The settings of a log.
pub struct Config {
    /// Its directory.
    pub dir: PathBuf,
    /// Its identity.
    pub origin: KeyName,
    /// The entries that it admits.
    pub profile: Profile,
    /// Address to listen on.
    pub listen: String,
    /// Reverse proxies: for their requests, the client address that they report counts.
    pub trusted_proxies: Vec<IpAddr>,
    /// How it sequences.
    pub options: Options,
    /// Memory for the filters of its index, in bytes.
    pub index_bytes: u64,
    /// The bucket that the log is in, unless it is in its directory.
    pub bucket: Option<BucketSettings>,
    /// The bucket that the log was in of which this directory is a backup.
    pub backup_of: Option<BucketSettings>,
    /// The witnesses that it asks.
    witnesses: WitnessSettings,
}

impl Config {
    /// Reads the settings of the log in `dir`.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("treehead.toml");
        if !path.exists() && ["journal", "log.key", "log.vkey"].iter().any(|name| dir.join(name).exists()) {
            return Err(Failure::CouldNotTell(format!(
                "{} is missing, with the log's origin and profile, which are for life; {}",
                path.display(),
                put_back(&path)
            )));
        }
        if !path.exists() {
            return Err(Failure::CouldNotTell(format!(
                "{} is no log: it has no treehead.toml; `treehead init` makes one",
                dir.display()
            )));
        }
        let kept = Profile::kept(dir)?;
        files::parse(&path, WHAT, MAX_CONFIG_BYTES, |bytes| Self::parse(dir, bytes, kept))
            .map_err(|e| e.and(&correct(&path)))
    }

    /// Checks settings that are about to be written for the log in `dir`.
    pub fn check_text(dir: &Path, text: &str) -> Result<(), Failure> {
        let kept = Profile::kept(dir)?;
        let parsed = Self::parse(dir, text.as_bytes(), kept);
        parsed.map(drop).map_err(|e| Failure::file(&dir.join("treehead.toml"), &e))
    }

    fn parse(dir: &Path, bytes: &[u8], kept: Option<Profile>) -> Result<Self, FormatError> {
        let (toml, text) = TomlFile::read(WHAT, "TOML as `treehead init` writes it", bytes)?;
        Self::of(dir, text, kept, &toml.root())
    }

    fn of(
        dir: &Path,
        text: ConfigText,
        kept: Option<Profile>,
        place: &TomlPlace<'_>,
    ) -> Result<Self, FormatError> {
        let said = text.profile.as_deref().unwrap_or("release");
        let profile = Profile::parse(said)
            .ok_or_else(|| place.key("profile").malformed("release or opaque", quote(said)))?;
        if let Some(kept) = kept.filter(|kept| *kept != profile) {
            let expected = format!(
                "{}, which the log was made with and keeps for life, as its file `{PROFILE_FILE}` says",
                kept.as_str()
            );
            return Err(place.key("profile").malformed(expected, quote(said)));
        }
        let interval = text.publish_interval_ms.unwrap_or(100);
        // After thirty seconds, requests that wait for publication fail.
        if !(1..=5_000).contains(&interval) {
            let seen = interval.to_string();
            return Err(place.key("publish_interval_ms").malformed("a number from 1 to 5000", seen));
        }
        let bucket = BucketSettings::of(dir, text.store.as_deref(), text.bucket, place)?;
        // Of a backup, the journal counts.
        let (bucket, backup_of) = if backup_marker(dir).exists() { (None, bucket) } else { (bucket, None) };
        let linger = bucket.as_ref().map(|bucket| bucket.linger).unwrap_or_default();
        Ok(Self {
            dir: dir.to_owned(),
            origin: KeyName::new(&text.origin).map_err(|e| place.key("origin").wrong(e))?,
            profile,
            trusted_proxies: text.trusted_proxies,
            listen: listen_of(text.listen, DEFAULT_LISTEN, place)?,
            options: Options {
                publish_interval: Duration::from_millis(interval),
                linger,
                publish_unwitnessed: text.publish_without_quorum_risking_split_views,
                advice: fault_advice,
                ..Options::default()
            },
            index_bytes: text.index_memory_mib.map_or(INDEX_BYTES, |mib| u64::from(mib) << 20),
            bucket,
            backup_of,
            witnesses: WitnessSettings::new(&text.witness, text.quorum, text.witnesses, place)?,
        })
    }

    /// Rejects a backup, and a log that does not know what it signed last.
    pub fn check_servable(&self) -> Result<(), Failure> {
        let (dir, layout) = (self.dir.display(), Layout::new(&self.dir));
        if backup_marker(&self.dir).exists() {
            return Err(Failure::Usage(format!(
                "{dir} is a backup, and a backup is never served: run `treehead restore {dir} DIR`"
            )));
        }
        if self.bucket.is_some() {
            return Ok(()); // the store looks for it there
        }
        // `treehead init` writes a checkpoint, so a log without one has lost it.
        let path = layout.checkpoint();
        if path.exists() { Ok(()) } else { Err(StoreError::CheckpointMissing { path }.into()) }
    }

    /// Reads the witnesses that the log asks, with their URLs, and the quorum; `None` if the settings name no
    /// witnesses.
    pub fn witnesses(&self) -> Result<Option<Policy>, Failure> {
        let path = match (&self.witnesses, self.witnesses_path()) {
            (WitnessSettings::Blocks(policy), _) => return Ok(Some(policy.clone())),
            (_, None) => return Ok(None),
            (_, Some(path)) => path,
        };
        files::parse(&path, "a policy", MAX_POLICY_BYTES, parse_policy)
            .map(Some)
            .map_err(|e| e.and(&format!("treehead.toml names it as `witnesses`; {}", correct(&path))))
    }

    /// Prepares the feeder, if the settings name witnesses. It knows replaced keys as well: a witness may have seen the log
    /// last when only they signed, and that head says whether this copy was rolled back.
    pub fn cosigners(&self) -> Result<Option<CosignersFactory>, Failure> {
        let keys = self.vkeys()?;
        let prepare = |policy| Feeder::prepare(policy, keys, self.options.publish_unwitnessed);
        self.witnesses()?.map(prepare).transpose().map_err(|e| Failure::Usage(e.to_string()))
    }

    /// The file that names the witnesses, if one does.
    pub fn witnesses_path(&self) -> Option<PathBuf> {
        match &self.witnesses {
            WitnessSettings::File(name) => Some(self.dir.join(name)),
            _ => None,
        }
    }

    /// Name of the file that names the witnesses, if it is in the log's own directory.
    pub fn witnesses_file(&self) -> Option<&str> {
        match &self.witnesses {
            WitnessSettings::File(name) if Path::new(name).file_name() == Some(name.as_ref()) => Some(name),
            _ => None,
        }
    }

    /// Path of the file that names the witnesses, if it is anywhere else.
    pub fn witnesses_elsewhere(&self) -> Option<PathBuf> {
        self.witnesses_path().filter(|_| self.witnesses_file().is_none())
    }

    /// Path of `publishers.toml`.
    pub fn publishers(&self) -> PathBuf {
        self.dir.join("publishers.toml")
    }
}

/// The address to listen on in settings, or the usual one.
pub fn listen_of(said: Option<String>, usual: &str, place: &TomlPlace<'_>) -> Result<String, FormatError> {
    match said {
        Some(listen) if !is_listen(&listen) => Err(place.key("listen").malformed(LISTEN, quote(&listen))),
        said => Ok(said.unwrap_or_else(|| usual.to_owned())),
    }
}
