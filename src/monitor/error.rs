//! Why a log could not be followed.

use super::delivery::DeliveryError;
use super::state::StateError;
use crate::checkpoint::CheckpointError;
use crate::client::{ClientError, NetworkFault};
use crate::merkle::{ProofError, TreeSize};
use crate::note::NoteError;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log does not answer, or not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log's entries or tiles contradict the head that it signed.
    #[error("{message}")]
    Lie {
        /// The kind of contradiction.
        lie: LogLie,
        /// Expected and seen, in words.
        message: String,
    },
    /// The monitor is stopping.
    #[error("stopped")]
    Stopped,
    /// Events can't be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The state file can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How a log contradicts what it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLie {
    /// It signed two histories.
    Fork,
    /// Its head is smaller than the tree that was re-hashed.
    Shrunk,
    /// Its head has another history than the entries that were re-hashed.
    OtherHistory,
    /// Its entries don't make the root of its head.
    WrongRoot,
    /// An entry does not hash to what the tile above it holds.
    WrongEntry,
    /// Its tiles don't make the root of its head.
    WrongTile,
}

impl LogLie {
    /// The name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Shrunk => "shrunk",
            Self::OtherHistory => "other-history",
            Self::WrongRoot => "wrong-root",
            Self::WrongEntry => "wrong-entry",
            Self::WrongTile => "wrong-tile",
        }
    }
}

impl FollowError {
    pub(super) fn lie(lie: LogLie, message: impl Into<String>) -> Self {
        Self::Lie { lie, message: message.into() }
    }

    /// Whether the log's operator is to blame rather than the monitor's.
    #[must_use]
    pub const fn is_the_logs(&self) -> bool {
        match self {
            Self::Client(error) => !matches!(error, ClientError::Threads(_)),
            Self::Lie { .. } => true,
            _ => false,
        }
    }

    /// Whether the same step may work later: disks fill up and are emptied again, and so is the system's table of threads.
    /// What was not saved or delivered is done again then.
    pub(super) const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::State(_)
                | Self::Client(ClientError::Threads(_))
                | Self::Delivery(DeliveryError::Disk(_) | DeliveryError::OutputFull(_))
        )
    }
}

/// The lie of a log whose tiles don't make the root of its head of this size: they are wrong, or of another tree.
pub fn wrong_tiles(size: TreeSize, error: &ProofError) -> FollowError {
    let message =
        format!("the tiles that the log serves are not those of its tree head of size {size}: {error}");
    FollowError::lie(LogLie::WrongTile, message)
}

/// Whether somebody else answered in the log's place, such as a network's sign-in page.
pub fn is_not_the_log(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Status { status: 300..=399, .. }
            | ClientError::Network { fault: NetworkFault::Garbled, .. }
            | ClientError::Head { .. }
    )
}

/// Whether a log or a peer did not answer, rather than contradict itself. Anybody on the way can send a head that
/// no key of the log signed, so such a head accuses nobody.
pub fn is_silence(error: &ClientError) -> bool {
    let is_untrusted = matches!(error, ClientError::Network { fault: NetworkFault::Certificate, .. });
    let is_missing = matches!(error, ClientError::Status { .. } | ClientError::Network { .. });
    !is_untrusted && (is_missing || is_not_the_log(error))
}

/// Whether the answer is a note without a head that the log signed.
pub fn is_unsigned_head(error: &ClientError) -> bool {
    let ClientError::Head { source, .. } = error else { return false };
    !matches!(**source, CheckpointError::Format(_) | CheckpointError::Note(NoteError::Format(_)))
}
