//! Which logs are known: `logs.policy`, read again when it changes.
//!
//! The file is a policy without witnesses: a `log` line for each key, any number of them for an origin,
//! and `quorum none`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::signs_for_logs;
use crate::format::FormatError;
use crate::note::{KeyName, NoteKey, SignatureType};
use crate::policy::{MAX_POLICY_BYTES, Policy};
use crate::server::watched::{Kind, WatchError, Watched};

/// The file, in the witness's directory.
pub const LOGS_FILE: &str = "logs.policy";

/// The logs that a witness knows, by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    keys: Vec<NoteKey>,
}

impl Logs {
    const WHAT: &str = "a list of logs";

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a policy that names logs alone.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let policy = Policy::parse(bytes)?;
        if let Some(witness) = policy.witnesses().first() {
            let seen = format!("the witness {}", witness.key.name());
            return Err(FormatError::malformed(Self::WHAT, "log lines and `quorum none`", seen));
        }
        Ok(Self { keys: policy.log_keys() })
    }

    /// The keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[NoteKey] {
        &self.keys
    }

    /// The origins, each once, in the order of the file.
    #[must_use]
    pub fn origins(&self) -> Vec<KeyName> {
        let mut origins: Vec<KeyName> = Vec::new();
        for key in &self.keys {
            if !origins.contains(key.name()) {
                origins.push(key.name().clone());
            }
        }
        origins
    }

    /// Adds keys, and returns those that are new.
    ///
    /// A log's ML-DSA-44 key is of the same type as a witness's: it is taken for a log's only beside an
    /// Ed25519 key of the same origin.
    ///
    /// # Errors
    /// [`FormatError`] for a key that is no log's; nothing is added then.
    pub fn add(&mut self, keys: &[NoteKey]) -> Result<Vec<NoteKey>, FormatError> {
        const KEY: &str = "a log's verifier key";
        for key in keys {
            let seen = format!("{}, {}", key.name(), key.kind().as_str());
            if !signs_for_logs(key.kind()) {
                return Err(FormatError::malformed(KEY, "signature type 0x01 or 0x06", seen));
            }
            let is_log =
                |other: &NoteKey| other.kind() == SignatureType::Ed25519 && other.name() == key.name();
            if !self.keys.iter().chain(keys).any(is_log) {
                let expected = "the log's Ed25519 key too, as in log.vkey";
                return Err(FormatError::malformed(KEY, expected, seen));
            }
        }
        let mut new = Vec::new();
        for key in keys {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
                new.push(key.clone());
            }
        }
        Ok(new)
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# The logs that this witness cosigns for. Add one with: treehead witness add-log DIR VKEY"
        )?;
        writeln!(f, "# A running witness reads this file again when it changes.")?;
        self.keys.iter().try_for_each(|key| writeln!(f, "log {key}"))?;
        writeln!(f, "quorum none")
    }
}

static FILE: Kind<Logs> = Kind { what: "a list of logs", limit: MAX_POLICY_BYTES, parse: Logs::parse };

/// The logs now, at most a second old. A file that has become unreadable changes nothing but the health.
#[derive(Debug)]
pub struct LogBook(Watched<Logs>);

impl LogBook {
    /// Reads `logs.policy` in the witness's directory.
    pub fn open(dir: &Path) -> Result<Self, WatchError> {
        Watched::open(&dir.join(LOGS_FILE), &FILE).map(Self)
    }

    /// The logs.
    pub fn current(&self) -> Arc<Logs> {
        self.0.current()
    }

    /// Why the file can't be read now, if so.
    pub fn fault(&self) -> Option<String> {
        self.0.fault()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::NoteSigner;

    fn key(name: &str, kind: SignatureType) -> NoteKey {
        let name = KeyName::new(name).unwrap();
        NoteSigner::from_seed(name, kind, &[u8::try_from(kind.as_str().len()).unwrap(); 32]).public().clone()
    }

    #[test]
    fn what_is_printed_reads_back() {
        let mut logs = Logs::parse(Logs::default().to_string().as_bytes()).unwrap();
        let ed25519 = key("log.example/a", SignatureType::Ed25519);
        let ml_dsa = key("log.example/a", SignatureType::CosignatureMlDsa44);
        let both = [ml_dsa, ed25519];
        assert_eq!(logs.add(&both), Ok(both.to_vec()), "in any order");
        assert_eq!(logs.add(&both), Ok(vec![]), "once");
        let read = Logs::parse(logs.to_string().as_bytes()).unwrap();
        assert_eq!(read, logs);
        assert_eq!(read.origins(), [KeyName::new("log.example/a").unwrap()]);
        assert_eq!(read.keys().len(), 2);
    }

    #[test]
    fn the_keys_of_witnesses_are_no_logs() {
        let mut logs = Logs::default();
        let alone = key("witness.example/w", SignatureType::CosignatureMlDsa44);
        let cosigner = key("witness.example/w", SignatureType::CosignatureEd25519);
        let log = key("log.example/a", SignatureType::Ed25519);
        for bad in [[log.clone(), cosigner], [log, alone]] {
            assert!(logs.add(&bad).is_err());
            assert_eq!(logs, Logs::default(), "all or nothing");
        }
        let witness = key("witness.example/w", SignatureType::CosignatureEd25519);
        let policy = format!("witness w {witness}\nquorum none\n");
        assert!(Logs::parse(policy.as_bytes()).unwrap_err().to_string().contains("witness.example/w"));
    }
}
