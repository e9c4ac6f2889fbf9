//! Repairing a damaged log: from its own batches that check and a source's entries for the rest, all proven
//! against what the log signed before anything is replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rebuild::{Counts, EntrySource, Rebuild};
use super::rehash::{Rehash, rehash_journal};
use super::{CopyError, Layout, StoreError, swap};
use crate::checkpoint::origin_hash;
use crate::disk::{DirLock, DiskIo, remove_dir, replace};
use crate::merkle::TreeSize;
use crate::note::NoteKey;
use crate::store::signed_head::{SignedHead, read_signed};

/// A log to be repaired.
pub struct Repair<'a> {
    /// Its directory.
    pub dir: &'a Path,
    /// The log's key; its name is the origin.
    pub key: &'a NoteKey,
    /// The source's name in messages.
    pub from: &'a str,
    /// The last head that the source has, if it has any.
    pub from_head: Option<SignedHead>,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// A journal segment is sealed when it has grown past this.
    pub segment_bytes: u64,
    /// Called with the entries in place and in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of a repair.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The head that the journal was proven against.
    pub head: SignedHead,
    /// Entries in the journal now.
    pub size: TreeSize,
    /// Their sources; `None` if the journal was sound.
    pub journal: Option<Counts>,
    /// The old journal's new path.
    pub kept_as: Option<PathBuf>,
    /// Why the source's checkpoint replaced the file, if it did.
    pub checkpoint: CheckpointWas,
}

/// The state of the checkpoint file before a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointWas {
    /// The last known head; it stays.
    Current,
    /// Older than the source's.
    Older,
    /// Missing or damaged. Nobody knows whether the source's is the last one that was published.
    Lost,
}

impl Repair<'_> {
    /// Repairs the log.
    ///
    /// # Errors
    /// [`CopyError`]; nothing that was in use is lost. [`StoreError::Disk`] while it is served.
    pub fn run(&self, source: &mut dyn EntrySource) -> Result<Repaired, CopyError> {
        let layout = Layout::new(self.dir);
        let _lock = DirLock::acquire(&layout.lock())?;
        // Otherwise a journal that an earlier repair finished would be taken for lost.
        swap::finish(self.io.as_ref(), &layout)?;
        let own = match read_signed(&layout.checkpoint(), self.key) {
            Ok(own) => own,
            Err(StoreError::CheckpointDamaged { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        let (target, checkpoint) = match (&own, &self.from_head) {
            (Some(own), Some(theirs)) if theirs.head.size > own.head.size => (theirs, CheckpointWas::Older),
            (Some(own), _) => (own, CheckpointWas::Current),
            (None, Some(theirs)) => (theirs, CheckpointWas::Lost),
            (None, None) => return Err(StoreError::CheckpointMissing { path: layout.checkpoint() }.into()),
        };
        let also: Vec<SignedHead> = own.iter().chain(&self.from_head).cloned().collect();
        let sound = self.sound_journal(&layout, target, &also)?;
        let (size, journal, kept_as) = match sound {
            Some(size) => (size, None, None),
            None => self.replace_journal(&layout, target, &also, source)?,
        };
        if checkpoint != CheckpointWas::Current {
            // A crash before this line leaves a sound journal under the older checkpoint, or under
            // none, which no log starts with: repairing again ends here.
            replace(self.io.as_ref(), &layout.checkpoint(), &target.note)?;
        }
        Ok(Repaired { head: target.clone(), size, journal, kept_as, checkpoint })
    }

    /// The size of the journal, if it checks from end to end and holds all that was signed.
    fn sound_journal(
        &self,
        layout: &Layout,
        target: &SignedHead,
        also: &[SignedHead],
    ) -> Result<Option<TreeSize>, CopyError> {
        let origin = origin_hash(self.key.name().as_str());
        let sizes = also.iter().map(|head| head.head.size);
        let read = layout
            .journal()
            .exists()
            .then(|| rehash_journal(&layout.journal(), origin, None, Rehash::watching(sizes), &|_, _| ()));
        let tree = match read {
            None => return Ok(None),
            Some(Err(e)) if e.is_damage() => return Ok(None),
            Some(tree) => tree?,
        };
        if !tree.holds(target) {
            return Ok(None);
        }
        match also.iter().find(|head| !tree.holds(head)) {
            None => Ok(Some(tree.edge().size())),
            Some(other) => {
                let (a, b) = (self.dir.display().to_string(), self.from.to_owned());
                Err(CopyError::Fork { a, b, size: other.head.size })
            }
        }
    }

    fn replace_journal(
        &self,
        layout: &Layout,
        target: &SignedHead,
        also: &[SignedHead],
        source: &mut dyn EntrySource,
    ) -> Result<(TreeSize, Option<Counts>, Option<PathBuf>), CopyError> {
        let rebuild = Rebuild {
            layout,
            target,
            also,
            from: self.from,
            io: &self.io,
            segment_bytes: self.segment_bytes,
            progress: self.progress,
        };
        // A crash in here leaves `journal.building`, which the next repair begins anew.
        let counts = match rebuild.write(source) {
            Ok(counts) => counts,
            Err(e) => {
                remove_dir(&layout.journal_building())?;
                return Err(e);
            }
        };
        // Before the swap: its rows name places in the old journal.
        remove_dir(&layout.sled())?;
        let kept_as = swap::swap(self.io.as_ref(), layout)?;
        let size = TreeSize::new(counts.kept + counts.fetched).unwrap_or_default();
        Ok((size, Some(counts), kept_as))
    }
}
