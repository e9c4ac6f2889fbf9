//! `treehead-witness.toml` and the other files of a witness's directory.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::config::{WHAT, listen_of};
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::format::TomlFile;
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::witness::JOURNAL;

/// Name of the settings file.
pub const SETTINGS: &str = "treehead-witness.toml";
/// Name of the file with the Ed25519 key.
pub const KEY: &str = "witness.key";
/// Name of the file with the ML-DSA-44 key.
pub const ML_DSA_KEY: &str = "witness.mldsa.key";
/// Largest settings file.
const MAX_SETTINGS_BYTES: usize = 64 * 1024;
/// The default address to listen on: loopback, because TLS is a reverse proxy's job.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9001";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsText {
    name: String,
    post_quantum: bool,
    listen: Option<String>,
    #[serde(default)]
    trusted_proxies: Vec<IpAddr>,
}

/// The settings of a witness.
pub struct Config {
    /// Its directory.
    pub dir: PathBuf,
    /// Its identity.
    pub name: KeyName,
    /// Address to listen on.
    pub listen: String,
    /// Reverse proxies: for their requests, the client address that they report counts.
    pub trusted_proxies: Vec<IpAddr>,
    /// Whether it has an ML-DSA-44 key.
    post_quantum: bool,
}

impl Config {
    /// Reads the settings of the witness in `dir`.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(SETTINGS);
        if !path.exists() {
            let made = [JOURNAL, KEY].iter().any(|name| dir.join(name).exists());
            let (path, place) = (path.display(), dir.display());
            return Err(Failure::CouldNotTell(if made {
                format!("{path} is missing: put it back; name and keys of a witness are for life")
            } else {
                format!(
                    "{place} is no witness: it has no {SETTINGS}; `treehead witness init {place} --name NAME` makes one"
                )
            }));
        }
        files::parse(&path, WHAT, MAX_SETTINGS_BYTES, |bytes| {
            let expected = "TOML as `treehead witness init` writes it";
            let (toml, settings): (_, SettingsText) = TomlFile::read(WHAT, expected, bytes)?;
            Ok(Self {
                dir: dir.to_owned(),
                name: KeyName::new(&settings.name).map_err(|e| toml.root().key("name").wrong(e))?,
                listen: listen_of(settings.listen, DEFAULT_LISTEN, &toml.root())?,
                trusted_proxies: settings.trusted_proxies,
                post_quantum: settings.post_quantum,
            })
        })
    }

    /// Reads the secret keys, Ed25519 first.
    pub fn signers(&self) -> Result<Vec<NoteSigner>, Failure> {
        let mut signers = vec![self.signer(KEY, SignatureType::CosignatureEd25519)?];
        if self.post_quantum {
            signers.push(self.signer(ML_DSA_KEY, SignatureType::CosignatureMlDsa44)?);
        }
        Ok(signers)
    }

    fn signer(&self, file: &str, kind: SignatureType) -> Result<NoteSigner, Failure> {
        let path = self.dir.join(file);
        let hint = "put your own copy of it back, with mode 600: logs and endpoints know no other";
        let signer = files::note_signer(&path, hint)?;
        let key = signer.public();
        if key.kind() == kind && *key.name() == self.name {
            return Ok(signer);
        }
        let (path, expected) = (path.display(), kind.as_str());
        Err(Failure::Usage(format!(
            "{path} is another key: expected one for {expected} of {}, as {SETTINGS} says, saw {} of {}; {hint}",
            self.name,
            key.kind().as_str(),
            key.name()
        )))
    }
}
