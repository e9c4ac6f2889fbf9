//! Replacing the journal by a new one.
//!
//! ```text
//! journal.building         is being written; worth nothing before it is finished
//! journal.new              finished, read back and found right
//! journal.damaged-<n>      the replaced journal; nothing reads it
//! ```
//!
//! `journal` counts whenever it is there; otherwise `journal.new` does.

use std::path::PathBuf;

use super::Layout;
use crate::disk::{DiskError, DiskIo, remove_dir, sync_parent};

impl Layout {
    pub(super) fn journal_building(&self) -> PathBuf {
        self.journal().with_extension("building")
    }

    pub(super) fn journal_new(&self) -> PathBuf {
        self.journal().with_extension("new")
    }

    /// A free name for the next replaced journal.
    fn journal_damaged(&self) -> PathBuf {
        let name = |n: u32| self.journal().with_extension(format!("damaged-{n}"));
        (1..).map(name).find(|path| !path.exists()).expect("one of the names is free")
    }
}

/// Finishes a swap that was cut short between its two renames. The caller holds the lock.
pub fn finish(io: &dyn DiskIo, layout: &Layout) -> Result<(), DiskError> {
    let (journal, new) = (layout.journal(), layout.journal_new());
    if journal.exists() || !new.exists() {
        return Ok(());
    }
    tracing::warn!(journal = %journal.display(), "finishing a repair that was cut short");
    io.rename(&new, &journal).map_err(DiskError::io("rename", &new))?;
    sync_parent(io, &journal)
}

/// Replaces the journal by the one in `journal.building`, which is durable and was read back.
/// Returns the old one's new path; `None` if there was none.
///
/// # Errors
/// [`StoreError::Disk`](super::super::StoreError::Disk); what is there then is the old journal or the new one, and a start or a second
/// repair goes on from either.
pub fn swap(io: &dyn DiskIo, layout: &Layout) -> Result<Option<PathBuf>, DiskError> {
    let (journal, building, new) = (layout.journal(), layout.journal_building(), layout.journal_new());
    // A crash from here on until the second rename leaves the old journal in force: the log refuses
    // to start as before, and the next repair begins anew.
    remove_dir(&new)?;
    // The new journal may have its batches elsewhere.
    layout.discard_leaves(io)?;
    io.rename(&building, &new).map_err(DiskError::io("rename", &building))?;
    sync_parent(io, &journal)?;
    let kept = journal.exists().then(|| layout.journal_damaged());
    if let Some(kept) = &kept {
        io.rename(&journal, kept).map_err(DiskError::io("rename", &journal))?;
        // A crash before this line leaves the old journal or none. With none, the next holder of the lock
        // finishes the swap.
        sync_parent(io, &journal)?;
    }
    io.rename(&new, &journal).map_err(DiskError::io("rename", &new))?;
    // A crash before this line leaves `journal.new` or the new `journal`: the same bytes.
    sync_parent(io, &journal)?;
    Ok(kept)
}
