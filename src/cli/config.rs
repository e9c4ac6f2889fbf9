//! `treehead.toml` and the other files of a log's directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::exit::Failure;
use super::files;
use super::witnesses::{Witness, Witnesses};
use crate::format::FormatError;
use crate::note::KeyName;
use crate::policy::MAX_POLICY_BYTES;
use crate::sequencer::Options;
use crate::server::Profile;
use crate::store::{Layout, StoreError, backup_marker};

/// Largest `treehead.toml`: as large as a policy, for as many witnesses with ML-DSA-44 keys.
pub const MAX_CONFIG_BYTES: usize = MAX_POLICY_BYTES;
/// Where a log listens unless it is told otherwise: loopback, because TLS is a proxy's part.
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
    publish_interval_ms: Option<u64>,
    #[serde(default)]
    quorum: Option<u64>,
    #[serde(default)]
    publish_without_quorum_risking_split_views: bool,
    #[serde(default)]
    witnesses: Option<String>,
    #[serde(default)]
    witness: Vec<Witness>,
}

/// The settings of a log.
pub struct Config {
    /// Its directory.
    pub dir: PathBuf,
    /// Its identity.
    pub origin: KeyName,
    /// What it admits.
    pub profile: Profile,
    /// Address to listen on.
    pub listen: String,
    /// How it sequences.
    pub options: Options,
    /// Whom it asks to cosign.
    pub(super) witnesses: Witnesses,
}

impl Config {
    /// Reads the settings of the log in `dir`.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("treehead.toml");
        if !path.exists() && ["journal", "log.key", "log.vkey"].iter().any(|name| dir.join(name).exists()) {
            return Err(Failure::CouldNotTell(format!(
                "{} is missing; {}",
                path.display(),
                put_back(&path, "the origin and profile in it are for life")
            )));
        }
        if !path.exists() {
            return Err(Failure::CouldNotTell(format!(
                "{} is no log: it has no treehead.toml; `treehead init` makes one",
                dir.display()
            )));
        }
        let text: ConfigText = files::parse(&path, "a configuration", MAX_CONFIG_BYTES, |bytes| {
            let text = crate::format::utf8("a configuration", bytes)?;
            toml::from_str(text).map_err(|e| wrong("TOML as `treehead init` writes it", e.message()))
        })
        .map_err(|e| e.and(&put_back(&path, "or mend it")))?;
        let check = |text: ConfigText| {
            let profile = text.profile.as_deref().unwrap_or("release");
            let interval = text.publish_interval_ms.unwrap_or(100);
            // Whoever waits for publication is told after thirty seconds that it failed.
            if !(1..=5_000).contains(&interval) {
                return Err(wrong("publish_interval_ms from 1 to 5000", &interval.to_string()));
            }
            Ok(Self {
                dir: dir.to_owned(),
                origin: KeyName::new(&text.origin)?,
                profile: Profile::parse(profile)
                    .ok_or_else(|| wrong("profile to be release or opaque", profile))?,
                listen: text.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
                options: Options {
                    publish_interval: Duration::from_millis(interval),
                    publish_unwitnessed: text.publish_without_quorum_risking_split_views,
                    ..Options::default()
                },
                witnesses: Witnesses::new(&text.witness, text.quorum, text.witnesses)?,
            })
        };
        check(text).map_err(|e| Failure::file(&path, &e).and(&put_back(&path, "or mend it")))
    }

    /// Refuses to go on in a backup, and where the log does not know what it signed last.
    pub fn check_servable(&self) -> Result<(), Failure> {
        let (dir, layout) = (self.dir.display(), Layout::new(&self.dir));
        if backup_marker(&self.dir).exists() {
            return Err(Failure::Usage(format!(
                "{dir} is a backup, and a backup is never served: run `treehead restore {dir} DIR`"
            )));
        }
        // `treehead init` writes one, so it is not only the journal that tells a new log from a lost one.
        let path = layout.checkpoint();
        if path.exists() { Ok(()) } else { Err(StoreError::CheckpointMissing { path }.into()) }
    }

    /// `publishers.toml`.
    pub fn publishers(&self) -> PathBuf {
        self.dir.join("publishers.toml")
    }
}

/// How a lost file of a log's directory comes back.
pub fn put_back(path: &Path, also: &str) -> String {
    let name = path.file_name().unwrap_or_default().display();
    format!("put it back from a backup ({also}): cp BACKUP/{name} {}", path.display())
}

/// A setting that is not what it should be.
pub fn wrong(expected: &str, seen: &str) -> FormatError {
    FormatError::malformed("a configuration", expected, seen)
}
