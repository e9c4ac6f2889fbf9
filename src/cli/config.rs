//! `treehead.toml` and the other files of a log's directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::exit::Failure;
use super::files;
use crate::format::FormatError;
use crate::note::{KeyName, NoteKey, NoteSigner};
use crate::sequencer::Options;
use crate::server::Profile;

/// Largest `treehead.toml`.
const MAX_CONFIG_BYTES: usize = 64 * 1024;
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
}

impl Config {
    /// Reads the settings of the log in `dir`.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join("treehead.toml");
        if !path.exists() {
            return Err(Failure::CouldNotTell(format!(
                "{} is no log: it has no treehead.toml; `treehead init` makes one",
                dir.display()
            )));
        }
        let text: ConfigText = files::parse(&path, "a configuration", MAX_CONFIG_BYTES, |bytes| {
            let text = crate::format::utf8("a configuration", bytes)?;
            toml::from_str(text).map_err(|e| wrong("TOML as `treehead init` writes it", e.message()))
        })?;
        let check = |text: ConfigText| {
            let profile = text.profile.as_deref().unwrap_or("release");
            let interval = text.publish_interval_ms.unwrap_or(100);
            // Whoever waits for publication is told after ten seconds that it failed.
            if !(1..=5_000).contains(&interval) {
                return Err(wrong("publish_interval_ms from 1 to 5000", &interval.to_string()));
            }
            Ok(Self {
                dir: dir.to_owned(),
                origin: KeyName::new(&text.origin)?,
                profile: Profile::parse(profile)
                    .ok_or_else(|| wrong("profile to be release or opaque", profile))?,
                listen: text.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
                options: Options { publish_interval: Duration::from_millis(interval), ..Options::default() },
            })
        };
        check(text).map_err(|e| Failure::file(&path, &e))
    }

    /// The log's secret key, which has to be the origin's.
    pub fn signer(&self) -> Result<NoteSigner, Failure> {
        let path = self.dir.join("log.key");
        let text = files::read_secret(&path)?;
        let signer = NoteSigner::parse(text.trim_end_matches('\n')).map_err(|e| Failure::file(&path, &e))?;
        self.check_origin(&path, signer.public())?;
        Ok(signer)
    }

    /// The log's public key.
    pub fn vkey(&self) -> Result<NoteKey, Failure> {
        let path = self.dir.join("log.vkey");
        let key = files::parse(&path, "a verifier key", 4_096, parse_vkey)?;
        self.check_origin(&path, &key)?;
        Ok(key)
    }

    fn check_origin(&self, path: &Path, key: &NoteKey) -> Result<(), Failure> {
        if *key.name() == self.origin {
            return Ok(());
        }
        let (path, origin, seen) = (path.display(), &self.origin, key.name());
        Err(Failure::Usage(format!("{path} is the key of another log: expected origin {origin}, saw {seen}")))
    }

    /// `publishers.toml`.
    pub fn publishers(&self) -> PathBuf {
        self.dir.join("publishers.toml")
    }
}

/// A vkey in a file, with one final newline or none.
pub fn parse_vkey(bytes: &[u8]) -> Result<NoteKey, FormatError> {
    let text = crate::format::utf8("a verifier key", bytes)?;
    NoteKey::parse(text.strip_suffix('\n').unwrap_or(text))
}

fn wrong(expected: &str, seen: &str) -> FormatError {
    FormatError::malformed("a configuration", expected, seen)
}
