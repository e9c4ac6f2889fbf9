//! The keys with which a log signs its heads.

use alloc::vec::Vec;

use super::{Checkpoint, signs_for_logs};
use crate::checkpoint::cosignature;
use crate::note::{KeyName, Note, NoteKey, NoteSigner, SignatureType};

/// A log's secret keys, all named as its origin: an Ed25519 key and, optionally, an ML-DSA-44 key, and while they are
/// replaced, their successors. A head carries a signature by each, so that endpoints may demand any of them.
#[derive(Debug)]
pub struct LogSigner {
    ed25519: NoteSigner,
    ml_dsa: Option<NoteSigner>,
    next: Vec<NoteSigner>,
}

impl LogSigner {
    /// Makes a signer from the keys of one log.
    ///
    /// # Panics
    /// If `ed25519` or `ml_dsa` is a key of another type, or their names differ.
    #[must_use]
    pub fn new(ed25519: NoteSigner, ml_dsa: Option<NoteSigner>) -> Self {
        assert_eq!(ed25519.public().kind(), SignatureType::Ed25519, "a log's first key");
        if let Some(ml_dsa) = &ml_dsa {
            assert_eq!(ml_dsa.public().kind(), SignatureType::CosignatureMlDsa44, "a log's second key");
            assert_eq!(ml_dsa.public().name(), ed25519.public().name(), "a log has one origin");
        }
        Self { ed25519, ml_dsa, next: Vec::new() }
    }

    /// Also signs with the keys that are to replace these.
    ///
    /// # Panics
    /// If one of them is not a log's key, has another name, or is among the log's keys already.
    #[must_use]
    pub fn with_next(mut self, next: Vec<NoteSigner>) -> Self {
        for key in next {
            assert!(signs_for_logs(key.public().kind()), "a log's key");
            assert_eq!(key.public().name(), self.origin(), "a log has one origin");
            assert!(!self.keys().contains(key.public()), "each key once");
            self.next.push(key);
        }
        self
    }

    /// The log's origin.
    #[must_use]
    pub const fn origin(&self) -> &KeyName {
        self.ed25519.public().name()
    }

    /// The public Ed25519 key.
    #[must_use]
    pub const fn ed25519(&self) -> &NoteKey {
        self.ed25519.public()
    }

    /// All public keys.
    #[must_use]
    pub fn keys(&self) -> Vec<NoteKey> {
        let keys = [Some(&self.ed25519), self.ml_dsa.as_ref()].into_iter().flatten().chain(&self.next);
        keys.map(|signer| signer.public().clone()).collect()
    }

    /// Signs a head of this log with all keys. The ML-DSA-44 signature includes `time`, a POSIX time in seconds.
    ///
    /// # Panics
    /// If the head is another log's, or `time` is over 2^63 - 1.
    #[must_use]
    pub fn sign(&self, head: &Checkpoint, time: u64) -> Note {
        let mut note = head.sign(&self.ed25519);
        if let Some(ml_dsa) = &self.ml_dsa {
            note.push(cosignature::cosign(head, ml_dsa, time));
        }
        for next in &self.next {
            note.push(match next.public().kind() {
                SignatureType::Ed25519 => head.sign(next).signatures()[0].clone(),
                _ => cosignature::cosign(head, next, time),
            });
        }
        note
    }
}

impl From<NoteSigner> for LogSigner {
    fn from(ed25519: NoteSigner) -> Self {
        Self::new(ed25519, None)
    }
}
