//! The logs that a witness cosigns for: `logs.policy`, read again when it changes.
//!
//! The file is a policy without witnesses: a `log` line for each key, any number of them for an origin, an
//! `origin` line after each one whose log has another origin than the key's name, and `quorum none`. It may be
//! longer than other policies, because a witness serves many logs.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::checkpoint::policy::{Policy, PolicyLimits, log_lines};
use crate::checkpoint::{LogKey, Origin, SignsFor as _, signs_for_logs};
use crate::format::{FormatError, quote};
use crate::http::watched_file::{FileKind, Loss, Update, WatchError, WatchedFile};
use crate::note::{KeyName, NoteKey};

/// Name of the file, in the witness's directory.
pub const LOGS_FILE: &str = "logs.policy";

/// Most keys in the file: 2,048 logs with a key of each algorithm.
pub const MAX_LOGS_KEYS: usize = 4_096;
/// Largest file in bytes: room for that many ML-DSA-44 keys, of 1,752 characters and a name each.
pub const MAX_LOGS_BYTES: usize = 10 * 1024 * 1024;

/// The logs that a witness cosigns for, by their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    keys: Vec<LogKey>,
    /// Keys that the file had since the program started and that are missing from it.
    gone: Vec<LogKey>,
}

impl Logs {
    const WHAT: &str = "a list of logs";

    /// Parses the file.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a policy that names logs alone.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let limits = PolicyLimits { bytes: MAX_LOGS_BYTES, items: MAX_LOGS_KEYS };
        let policy = Policy::parse_within(bytes, limits)?;
        if let Some(witness) = policy.witnesses().first() {
            let seen = format!("the witness {}", witness.key.name());
            return Err(FormatError::malformed(Self::WHAT, "log lines and `quorum none`", seen));
        }
        Ok(Self { keys: policy.log_keys(), gone: Vec::new() })
    }

    /// The keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[LogKey] {
        &self.keys
    }

    /// The origins, each once, in the order of the file.
    #[must_use]
    pub fn origins(&self) -> Vec<Origin> {
        let mut seen = HashSet::new();
        self.keys.iter().map(LogKey::log).filter(|origin| seen.insert(*origin)).cloned().collect()
    }

    /// Adds keys, and returns the new ones. A log may have an ML-DSA-44 key alone: c2sp.org/tlog-checkpoint says that
    /// logs SHOULD sign with it.
    ///
    /// # Errors
    /// [`FormatError`] for a key that is not a log's or is listed for another log; then none is added.
    pub fn add(&mut self, keys: &[LogKey]) -> Result<Vec<LogKey>, FormatError> {
        const KEY: &str = "a log's verifier key";
        let mut new: Vec<LogKey> = Vec::new();
        for log in keys {
            let key = log.key();
            if !signs_for_logs(key.kind()) {
                let seen = format!("{}, {}", key.name(), key.kind().as_str());
                return Err(FormatError::malformed(KEY, "signature type 0x01 or 0x06", seen));
            }
            let same = |other: &&LogKey| other.key().public_bytes() == key.public_bytes();
            match self.keys.iter().chain(&new).find(same) {
                None => new.push(log.clone()),
                Some(known) if known == log => {}
                Some(known) => {
                    let expected = format!("one that {LOGS_FILE} does not list for another log");
                    let (name, id, origin) = (known.key().name(), known.key().id(), quote(known.origin()));
                    let seen =
                        format!("it there, as {name}+{id} of the log {origin}: take that line out first");
                    return Err(FormatError::malformed(KEY, expected, seen));
                }
            }
        }
        self.keys.extend(new.iter().cloned());
        Ok(new)
    }

    /// Appends keys of logs to the file of the witness with this name, which otherwise stays as its operator wrote it.
    /// Returns the new file and the number of keys that it did not have.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_to(
        file: &[u8],
        witness: &KeyName,
        keys: &[LogKey],
    ) -> Result<(Vec<u8>, usize), AppendError> {
        let is_own = |log: &&LogKey| log.key().name() == witness || log.log() == witness;
        if let Some(own) = keys.iter().find(is_own) {
            let key = Box::new(own.key().clone());
            return Err(AppendError::OwnName { key });
        }
        let mut logs = Self::parse(file).map_err(AppendError::File)?;
        let added = logs.add(keys).map_err(AppendError::Key)?;
        let mut new = file.to_vec();
        added.iter().for_each(|key| new.extend_from_slice(log_lines(key).as_bytes()));
        Self::parse(&new).map_err(AppendError::File)?;
        Ok((new, added.len()))
    }
}

/// Why keys could not be appended to a list of logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A key or a log has the witness's own name.
    #[error("{key} has this witness's own name: it cosigns for logs")]
    OwnName {
        /// The key.
        key: Box<NoteKey>,
    },
    /// The file is malformed, or would be with the keys.
    #[error(transparent)]
    File(FormatError),
    /// A key is not a log's, or is listed for another log.
    #[error(transparent)]
    Key(FormatError),
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The logs that this witness cosigns for.")?;
        writeln!(f, "# A running witness reads this file again when it changes.")?;
        self.keys.iter().try_for_each(|key| f.write_str(&log_lines(key)))?;
        writeln!(f, "quorum none")
    }
}

static LOGS: FileKind<Logs> = FileKind {
    what: "a list of logs",
    limit: MAX_LOGS_BYTES,
    parse: Logs::parse,
    succeed: |base, mut new| {
        let had = base.keys.iter().chain(&base.gone);
        new.gone = had.filter(|key| !new.keys.contains(key)).cloned().collect();
        let names: Vec<String> =
            new.gone.iter().map(LogKey::note_key).map(|key| format!("{}+{}", key.name(), key.id())).collect();
        let words = format!(
            "it no longer lists: {}; put back what is missing, or restart if you removed it on purpose",
            names.join(", ")
        );
        let lost = (!names.is_empty()).then_some(Loss { words, all: new.keys.is_empty() });
        let current = Arc::new(new);
        Update { base: current.clone(), current, lost }
    },
};

/// The list of a running witness, at most a second old. A file that becomes unreadable, or names the witness's own
/// key, changes only the health.
#[derive(Debug)]
pub struct LogBook {
    file: WatchedFile<Logs>,
    /// The witness's own keys.
    own: Vec<NoteKey>,
    /// The last list without them, which is in force.
    good: Mutex<Arc<Logs>>,
}

impl LogBook {
    /// Reads `logs.policy` in the directory of the witness that has these keys.
    pub fn open(dir: &Path, own: Vec<NoteKey>) -> Result<Self, WatchError> {
        let path = dir.join(LOGS_FILE);
        let file = WatchedFile::open(&path, &LOGS)?;
        let good = file.current();
        reject_own(&good, &own).map_err(|source| WatchError::Malformed { path, source })?;
        Ok(Self { file, own, good: Mutex::new(good) })
    }

    /// The list in force.
    pub fn current(&self) -> Arc<Logs> {
        let now = self.file.current();
        let mut good = self.good.lock().expect("no panic while it is held");
        if !Arc::ptr_eq(&now, &good) && reject_own(&now, &self.own).is_ok() {
            *good = now;
        }
        good.clone()
    }

    /// The fault of the file, if any.
    pub fn fault(&self) -> Option<String> {
        let own = || reject_own(&self.file.current(), &self.own).err();
        self.file.fault().or_else(|| own().map(|e| format!("{LOGS_FILE}: {e}; the old list stays")))
    }

    /// The keys of logs that the file no longer lists, if others are left.
    pub fn warning(&self) -> Option<String> {
        self.file.warning()
    }

    /// Reads the file at once.
    pub fn reload(&self) {
        self.file.reload();
    }
}

/// Rejects a list with the witness's own key: each cosignature would count as the signature of that log.
fn reject_own(logs: &Logs, own: &[NoteKey]) -> Result<(), FormatError> {
    let is_own = |key: &&NoteKey| own.iter().any(|own| own.public_bytes() == key.public_bytes());
    logs.keys.iter().map(LogKey::note_key).find(is_own).map_or(Ok(()), |key| {
        let seen = format!("this witness's own key, {}+{}", key.name(), key.id());
        Err(FormatError::malformed(Logs::WHAT, "keys of logs; take the line out", seen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{KeyName, NoteSigner, SignatureType};

    fn note_key(name: &str, kind: SignatureType) -> NoteKey {
        let name = KeyName::new(name).unwrap();
        NoteSigner::from_seed(name, kind, &[u8::try_from(kind.as_str().len()).unwrap(); 32]).public().clone()
    }

    fn key(name: &str, kind: SignatureType) -> LogKey {
        note_key(name, kind).into()
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
        assert_eq!(read.origins(), [Origin::new("log.example/a").unwrap()]);
        assert_eq!(read.keys().len(), 2);
    }

    #[test]
    fn the_keys_of_witnesses_are_no_logs() {
        let mut logs = Logs::default();
        let cosigner = key("witness.example/w", SignatureType::CosignatureEd25519);
        let log = key("log.example/a", SignatureType::Ed25519);
        assert!(logs.add(&[log, cosigner]).is_err());
        assert_eq!(logs, Logs::default(), "all or nothing");
        let witness = note_key("witness.example/w", SignatureType::CosignatureEd25519);
        let policy = format!("witness w {witness}\nquorum none\n");
        assert!(Logs::parse(policy.as_bytes()).unwrap_err().to_string().contains("witness.example/w"));
    }

    #[test]
    fn a_log_may_have_an_ml_dsa_44_key_alone() {
        let mut logs = Logs::default();
        let alone = [key("log.example/pq", SignatureType::CosignatureMlDsa44)];
        assert_eq!(logs.add(&alone), Ok(alone.to_vec()));
        assert_eq!(Logs::parse(logs.to_string().as_bytes()), Ok(logs));
    }

    #[test]
    fn a_log_may_have_any_origin() {
        let mut logs = Logs::default();
        let named = |origin: &str, seed: u8| {
            let name = KeyName::new("sum.example").unwrap();
            let key = NoteSigner::from_seed(name, SignatureType::Ed25519, &[seed; 32]).public().clone();
            LogKey::new(Origin::new(origin).unwrap(), key)
        };
        let origins =
            ["go.sum database tree", "a  b", "a+b", "%41", " x ", "%", "é\u{a0}", "#", "\u{7f}", "none"];
        let keys: Vec<LogKey> = (1..).zip(origins).map(|(seed, origin)| named(origin, seed)).collect();
        assert_eq!(logs.add(&keys), Ok(keys.clone()));
        let text = logs.to_string();
        assert_eq!(Logs::parse(text.as_bytes()).unwrap().keys(), keys, "{text}");
        assert!(text.contains("\norigin go.sum database tree\n"), "{text}");
        assert!(text.contains("\norigin %20x%20\n"), "{text}");
        // Nobody says that it was done where it was not.
        let error = logs.add(&[named("another", 1)]).unwrap_err().to_string();
        assert!(error.contains("go.sum database tree") && error.contains("take that line out"), "{error}");
        assert_eq!(logs.keys(), keys);
    }

    #[test]
    fn a_witness_knows_more_logs_than_a_policy_has_items() {
        let line = |at: usize| {
            let name = KeyName::new(&format!("log.example/{at}")).unwrap();
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(at as u64).to_be_bytes());
            format!("log {}\n", NoteSigner::from_seed(name, SignatureType::Ed25519, &seed).public())
        };
        let mut lines: String = (0..MAX_LOGS_KEYS).map(line).collect();
        let logs = Logs::parse(format!("{lines}quorum none\n").as_bytes()).unwrap();
        assert_eq!(logs.origins().len(), MAX_LOGS_KEYS);
        lines += &line(MAX_LOGS_KEYS);
        assert!(Logs::parse(format!("{lines}quorum none\n").as_bytes()).is_err());
    }

    #[test]
    fn logs_that_the_file_has_lost_are_reported_until_they_are_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOGS_FILE);
        let logs = [("log.example/a", 1), ("log.example/b", 2)].map(|(name, seed)| {
            let name = KeyName::new(name).unwrap();
            NoteSigner::from_seed(name, SignatureType::Ed25519, &[seed; 32]).public().clone()
        });
        let write = |logs: &[NoteKey]| {
            let lines: String = logs.iter().map(|log| format!("log {log}\n")).collect();
            std::fs::write(&path, format!("{lines}quorum none\n")).unwrap();
        };
        write(&logs);
        let book = LogBook::open(dir.path(), Vec::new()).unwrap();
        let told = || {
            // Twice: what was lost stays so however often the file is read.
            book.reload();
            book.reload();
            (book.fault(), book.warning())
        };
        assert_eq!(told(), (None, None));
        write(&logs[..1]);
        let (fault, warning) = told();
        assert!(fault.is_none() && warning.unwrap().contains("it no longer lists: log.example/b+"));
        let left: Vec<NoteKey> = book.current().keys().iter().map(|key| key.note_key().clone()).collect();
        assert_eq!(left, &logs[..1], "nothing is cosigned for a log that is gone");
        write(&[]);
        let (fault, warning) = told();
        let fault = fault.unwrap();
        assert!(
            fault.contains("log.example/a+") && fault.contains("log.example/b+") && warning.is_none(),
            "{fault}"
        );
        write(&logs);
        assert_eq!(told(), (None, None));
    }

    #[test]
    fn the_witness_s_own_key_is_no_log_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOGS_FILE);
        let own = note_key("witness.example/w", SignatureType::CosignatureMlDsa44);
        // By whatever name.
        let bad = note_key("log.example/b", SignatureType::CosignatureMlDsa44);
        let log = note_key("log.example/a", SignatureType::Ed25519);
        let good = format!("log {log}\nquorum none\n");
        std::fs::write(&path, format!("log {bad}\n{good}")).unwrap();
        let error = LogBook::open(dir.path(), vec![own.clone()]).unwrap_err().to_string();
        assert!(error.contains("own key"), "{error}");
        std::fs::write(&path, &good).unwrap();
        let book = LogBook::open(dir.path(), vec![own]).unwrap();
        assert_eq!(book.fault(), None);
        std::fs::write(&path, format!("log {bad}\n{good}")).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while book.fault().is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(book.fault().unwrap().contains("own key"));
        assert_eq!(book.current().keys(), [log.into()], "the old list stays");
    }
}
