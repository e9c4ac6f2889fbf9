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
use crate::store::{Layout, StoreError, backup_marker};

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

    /// The log's secret key, which has to be the origin's.
    pub fn signer(&self) -> Result<NoteSigner, Failure> {
        let path = self.dir.join("log.key");
        let hint = "put your own copy of it back, with mode 600: no other key can go on with this log";
        let text = files::read_secret(&path).map_err(|e| e.and(hint))?;
        let signer = NoteSigner::parse(text.trim_end_matches('\n'));
        let signer = signer.map_err(|e| Failure::file(&path, &e).and(hint))?;
        self.check_origin(&path, signer.public())?;
        Ok(signer)
    }

    /// The key pair: what signs is what endpoints trust.
    pub fn signer_of_vkey(&self) -> Result<NoteSigner, Failure> {
        let (signer, vkey) = (self.signer()?, self.vkey()?);
        if *signer.public() == vkey {
            return Ok(signer);
        }
        let message = format!("log.key is not the key of log.vkey: expected {vkey}, saw {}", signer.public());
        Err(Failure::refused(
            "wrong-key",
            message,
            "Put the right one of the two back; never sign with another key.",
        ))
    }

    /// The log's public key.
    pub fn vkey(&self) -> Result<NoteKey, Failure> {
        let path = self.dir.join("log.vkey");
        let key = files::parse(&path, "a verifier key", 4_096, parse_vkey).map_err(|e| {
            // It can be made again wherever the secret key can be read.
            e.and(&match self.signer() {
                Ok(signer) => format!("run: echo '{}' > {}", signer.public(), path.display()),
                Err(_) => put_back(&path, "it is public"),
            })
        })?;
        self.check_origin(&path, &key)?;
        Ok(key)
    }

    fn check_origin(&self, path: &Path, key: &NoteKey) -> Result<(), Failure> {
        if *key.name() == self.origin {
            return Ok(());
        }
        let (path, origin, seen) = (path.display(), &self.origin, key.name());
        Err(Failure::Usage(format!(
            "{path} is the key of another log: expected origin {origin}, as treehead.toml says, saw {seen}; put the right one of the two back from a backup"
        )))
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

/// A vkey in a file, with one final newline or none.
pub fn parse_vkey(bytes: &[u8]) -> Result<NoteKey, FormatError> {
    let text = crate::format::utf8("a verifier key", bytes)?;
    NoteKey::parse(text.strip_suffix('\n').unwrap_or(text))
}

fn wrong(expected: &str, seen: &str) -> FormatError {
    FormatError::malformed("a configuration", expected, seen)
}
