//! The keys in a log's directory: an Ed25519 pair, and an ML-DSA-44 pair unless the log was made without.

use std::path::Path;

use super::config::Config;
use super::exit::Failure;
use super::files;
use super::remedies::put_back;
use crate::checkpoint::LogSigner;
use crate::format::FormatError;
use crate::note::{NoteKey, NoteSigner, SignatureType};

/// Most bytes of a vkey in a file.
pub const MAX_VKEY_BYTES: usize = 4_096;

/// One of a log's key pairs.
pub struct Pair {
    pub secret: &'static str,
    pub public: &'static str,
    kind: SignatureType,
}

/// The pair that every log has.
pub const ED25519: Pair = Pair { secret: "log.key", public: "log.vkey", kind: SignatureType::Ed25519 };
/// The pair that logs made with `--no-pq`, or by older versions, lack.
pub const ML_DSA: Pair =
    Pair { secret: "log.mldsa.key", public: "log.mldsa.vkey", kind: SignatureType::CosignatureMlDsa44 };

/// The pairs that are to replace the two above. While they are there, the log signs with all.
pub const NEXT: [Pair; 2] = [
    Pair { secret: "log.next.key", public: "log.next.vkey", kind: SignatureType::Ed25519 },
    Pair {
        secret: "log.next.mldsa.key",
        public: "log.next.mldsa.vkey",
        kind: SignatureType::CosignatureMlDsa44,
    },
];
/// Public keys that were replaced: the log signs nothing with them, and old proofs need them.
const OLD: [Pair; 2] = [
    Pair { secret: "log.old.key", public: "log.old.vkey", kind: SignatureType::Ed25519 },
    Pair {
        secret: "log.old.mldsa.key",
        public: "log.old.mldsa.vkey",
        kind: SignatureType::CosignatureMlDsa44,
    },
];

/// Names the secret keys of the public keys in a directory: those that are there, and those that are not.
pub fn secrets_of(dir: &Path) -> (Vec<&'static str>, Vec<&'static str>) {
    let pairs = [ED25519, ML_DSA].into_iter().chain(NEXT).filter(|pair| dir.join(pair.public).exists());
    pairs.map(|pair| pair.secret).partition(|secret| dir.join(secret).exists())
}

impl Config {
    /// Reads the log's secret keys. Each has to be the origin's, and belong to its public key: endpoints trust that.
    pub fn signer(&self) -> Result<LogSigner, Failure> {
        let ed25519 = self.pair(&ED25519)?;
        let ml_dsa = self.has(&ML_DSA).then(|| self.pair(&ML_DSA)).transpose()?;
        let next = NEXT.iter().filter(|pair| self.has(pair)).map(|pair| self.pair(pair));
        let next = next.collect::<Result<Vec<_>, _>>()?;
        // The names are checked, and `vkeys` checks that the keys differ.
        self.vkeys()?;
        Ok(LogSigner::new(ed25519, ml_dsa).with_next(next))
    }

    /// Reads the public Ed25519 key.
    pub fn vkey(&self) -> Result<NoteKey, Failure> {
        self.public(&ED25519)
    }

    /// Reads all public keys, Ed25519 first, also those to come and those that were replaced.
    pub fn vkeys(&self) -> Result<Vec<NoteKey>, Failure> {
        let mut keys = vec![self.vkey()?];
        let others = [&ML_DSA].into_iter().chain(&NEXT).filter(|pair| self.has(pair));
        for pair in others.chain(OLD.iter().filter(|pair| self.dir.join(pair.public).exists())) {
            let key = self.public(pair)?;
            if keys.contains(&key) {
                let path = self.dir.join(pair.public);
                return Err(Failure::Usage(format!(
                    "{}: expected a key that the log does not have yet, saw {key}",
                    path.display()
                )));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// Whether the log has such a pair. Half a pair counts: the other half was lost, and a log never signs with fewer
    /// keys than before.
    fn has(&self, pair: &Pair) -> bool {
        [pair.secret, pair.public].iter().any(|name| self.dir.join(name).exists())
    }

    fn pair(&self, pair: &Pair) -> Result<NoteSigner, Failure> {
        let (signer, vkey) = (self.secret(pair)?, self.public(pair)?);
        if *signer.public() == vkey {
            return Ok(signer);
        }
        let Pair { secret, public, .. } = pair;
        let message =
            format!("{secret} is not the key of {public}: expected {vkey}, saw {}", signer.public());
        Err(Failure::refused(
            "wrong-key",
            message,
            "Put the right one of the two back; never sign with another key.",
        ))
    }

    fn secret(&self, pair: &Pair) -> Result<NoteSigner, Failure> {
        let path = self.dir.join(pair.secret);
        let hint = "put your own copy of it back, with mode 600: no other key can go on with this log";
        let signer = files::note_signer(&path, hint)?;
        self.check(&path, pair, signer.public())?;
        Ok(signer)
    }

    fn public(&self, pair: &Pair) -> Result<NoteKey, Failure> {
        let path = self.dir.join(pair.public);
        let key = files::parse(&path, "a verifier key", MAX_VKEY_BYTES, parse_vkey).map_err(|e| {
            // The secret key, if it can be read, yields the public one.
            e.and(&match self.secret(pair) {
                Ok(signer) => format!("run: echo '{}' > {}", signer.public(), path.display()),
                Err(_) => put_back(&path),
            })
        })?;
        self.check(&path, pair, &key)?;
        Ok(key)
    }

    fn check(&self, path: &Path, pair: &Pair, key: &NoteKey) -> Result<(), Failure> {
        let path = path.display();
        if *key.name() != self.origin {
            let (origin, seen) = (&self.origin, key.name());
            return Err(Failure::Usage(format!(
                "{path} is the key of another log: expected origin {origin}, as treehead.toml says, saw {seen}; put the right one of the two back from a backup"
            )));
        }
        if key.kind() != pair.kind {
            let (expected, seen) = (pair.kind.as_str(), key.kind().as_str());
            return Err(Failure::Usage(format!(
                "{path} is a key for something else: expected {expected}, saw {seen}; put the right one back from a backup"
            )));
        }
        Ok(())
    }
}

/// Parses a vkey in a file; white space around it is ignored.
pub fn parse_vkey(bytes: &[u8]) -> Result<NoteKey, FormatError> {
    NoteKey::parse(crate::format::file_text("a verifier key", bytes)?.trim())
}
