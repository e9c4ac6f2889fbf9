//! The state of a process while another one appends, and the ends of an attempt to append.

use std::time::Instant;

use super::SubmitError;
use super::commands::RETRY_AFTER;
use crate::store::StoreError;

/// Another process appends.
pub struct Standing {
    /// The URL at which it takes entries, if it said so.
    pub holder: Option<String>,
    /// When to look for new entries, and whose turn it is.
    pub next_look: Instant,
}

impl Standing {
    /// The answer to those who send entries meanwhile.
    pub fn refusal(&self) -> SubmitError {
        SubmitError::Standby { holder: self.holder.clone(), retry_after: RETRY_AFTER }
    }
}

/// The end of an attempt to append.
pub enum Attempt {
    /// Everything that was due is done.
    Done,
    /// It is another process's turn.
    Stand(SubmitError),
    /// A step failed.
    Failed(StoreError),
}
