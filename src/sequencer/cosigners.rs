//! Whoever collects cosignatures on the log's heads, as the sequencer sees it. How witnesses are asked is
//! not its matter.

use std::sync::Arc;

use super::Trouble;
use super::pool::Pool;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::store::{SignedHead, StoreReader};

/// Collects cosignatures, on threads of its own. It begins by asking what the witnesses last saw, and says
/// [`Word::MaySign`] or [`Word::MustNotSign`]; until then it is asked nothing.
pub trait Cosigners: Send + Sync {
    /// Collects cosignatures on a head, which is durable. The newest head asked for is the one that counts;
    /// asked again for the same one, witnesses are to look at their clocks again.
    fn ask(&self, head: &SignedHead);

    /// Whether a head carries the cosignatures of a quorum.
    fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool;

    /// The quorum in words, as in `2 of (w1, w2, w3)`.
    fn quorum(&self) -> String;

    /// What is wrong with the quorum that was chosen, in words, if anything.
    fn warning(&self) -> Option<String> {
        None
    }

    /// What their answers together say of the log itself, in words.
    fn troubles(&self) -> Vec<(Trouble, String)> {
        Vec::new()
    }

    /// How each witness does, in the order of the settings.
    fn status(&self) -> Vec<CosignerStatus>;
}

/// How one witness does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerStatus {
    /// Its name in the settings.
    pub name: String,
    /// Where it is asked.
    pub url: String,
    /// Tree size of the last head that it cosigned for this process.
    pub cosigned_size: Option<u64>,
    /// Seconds since then.
    pub cosigned_seconds_ago: Option<u64>,
    /// Why it did not cosign when it was last asked, if so.
    pub fault: Option<String>,
}

/// What the cosigners tell the sequencer.
#[derive(Debug, Clone)]
pub enum Word {
    /// No head that the world has seen goes beyond this log's own: it may sign.
    MaySign,
    /// A witness has a head, signed by this log, that this log does not have: its files are older than what
    /// the world has seen, or other. In words, with what to do.
    MustNotSign(String),
    /// A head that was asked for, with the cosignatures of a quorum.
    Witnessed(SignedHead),
}

/// Where words go. Clones lead to the same place.
#[derive(Clone)]
pub struct Inbox(pub(super) Pool);

impl Inbox {
    /// Tells the sequencer, which may have ended.
    pub fn say(&self, word: Word) {
        self.0.say(word);
    }
}

/// A log that was just opened, as its cosigners need it.
pub struct Opened {
    /// Its tree.
    pub reader: Arc<dyn StoreReader>,
    /// What it signed last.
    pub last_signed: Option<SignedHead>,
    /// Where to tell what the witnesses did.
    pub inbox: Inbox,
}

/// Starts the cosigners of a log.
pub type StartCosigners = Box<dyn FnOnce(Opened) -> Arc<dyn Cosigners> + Send>;
