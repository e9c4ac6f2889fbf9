//! The sequencer's view of whoever collects cosignatures on the log's heads. How witnesses are asked is not
//! its business.

use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::Trouble;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::store::{SignedHead, StoreReader};
use crate::threads::ThreadError;

/// Collects cosignatures, on threads of its own.
///
/// It begins by asking the witnesses what they last saw, and reports [`CosignerEvent::MaySign`] or
/// [`CosignerEvent::MustNotSign`]. Until then the sequencer asks it for nothing.
pub trait Cosigners: Send + Sync {
    /// Collects cosignatures on a durable head. Only the newest head that was asked for counts. Asked again for
    /// the same head, the witnesses sign it with their present time.
    fn ask(&self, head: &SignedHead);

    /// Checks whether a head carries the cosignatures of a quorum.
    fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool;

    /// The quorum in words, as in `2 of (w1, w2, w3)`.
    fn quorum(&self) -> String;

    /// A warning about the choice of the quorum, in words, if there is one.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Troubles of the log itself that the witnesses' answers together suggest, in words.
    fn troubles(&self) -> Vec<(Trouble, String)> {
        Vec::new()
    }

    /// The state of each witness, in the order of the settings.
    fn status(&self) -> Vec<CosignerStatus>;
}

/// The state of one witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CosignerStatus {
    /// The witness's name in the settings.
    pub name: String,
    /// The URL prefix at which the witness is asked.
    pub url: String,
    /// Tree size of the last head that the witness cosigned for this process.
    pub cosigned_size: Option<u64>,
    /// Seconds since then.
    pub cosigned_seconds_ago: Option<u64>,
    /// Why the witness did not cosign when it was last asked, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// An event that the cosigners report to the sequencer.
#[derive(Debug, Clone)]
pub enum CosignerEvent {
    /// No witness has seen a head that goes beyond this log's own: the log may sign.
    MaySign,
    /// A witness has a head that this log signed and does not have: the log's files are older than what it
    /// published, or differ from it. In words, with advice.
    MustNotSign(String),
    /// A head that was asked for, with the cosignatures of a quorum.
    Cosigned(SignedHead),
}

/// Reports events to a sequencer. Clones lead to the same one.
#[derive(Clone)]
pub struct CosignerEvents(Arc<dyn Fn(CosignerEvent) + Send + Sync>);

impl CosignerEvents {
    /// Passes each event to `to`.
    pub(super) fn new(to: impl Fn(CosignerEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(to))
    }

    /// Reports an event. The sequencer may have stopped; then the event is lost, which is harmless.
    pub fn report(&self, event: CosignerEvent) {
        (self.0)(event);
    }
}

/// A log that was just opened, as its cosigners need it.
pub struct OpenedLog {
    /// The log's tree.
    pub reader: Arc<dyn StoreReader>,
    /// The head that the log signed last.
    pub last_signed: Option<SignedHead>,
    /// The way to report to the sequencer.
    pub events: CosignerEvents,
}

/// Starts the cosigners of a log that was just opened, or that this process takes over from another one. Knows their quorum
/// also while this process stands by.
pub struct CosignersFactory {
    is_quorum: Box<IsQuorum>,
    start: Box<StartCosigners>,
}

type IsQuorum = dyn Fn(&LogSigned<Checkpoint>) -> bool + Send;
type StartCosigners = dyn Fn(OpenedLog) -> Result<Arc<dyn Cosigners>, ThreadError> + Send;

impl CosignersFactory {
    /// `is_quorum` decides as [`Cosigners::is_quorum`] of those that `start` makes.
    pub fn new(
        is_quorum: impl Fn(&LogSigned<Checkpoint>) -> bool + Send + 'static,
        start: impl Fn(OpenedLog) -> Result<Arc<dyn Cosigners>, ThreadError> + Send + 'static,
    ) -> Self {
        Self { is_quorum: Box::new(is_quorum), start: Box::new(start) }
    }

    /// Checks whether a head carries the cosignatures of a quorum.
    pub(super) fn is_quorum(&self, head: &LogSigned<Checkpoint>) -> bool {
        (self.is_quorum)(head)
    }

    pub(super) fn start(&self, log: OpenedLog) -> Result<Arc<dyn Cosigners>, ThreadError> {
        (self.start)(log)
    }
}

/// The cosigners while this process appends; none while it stands by. Clones share them.
#[derive(Clone, Default)]
pub struct CurrentCosigners(Arc<Mutex<Option<Arc<dyn Cosigners>>>>);

impl CurrentCosigners {
    pub fn get(&self) -> Option<Arc<dyn Cosigners>> {
        self.0.lock().expect("no panic while it is held").clone()
    }

    pub fn set(&self, cosigners: Option<Arc<dyn Cosigners>>) {
        *self.0.lock().expect("no panic while it is held") = cosigners;
    }
}
