//! Restoring a log from a backup, unless that would lose entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rebuild::{JournalSource, Rebuild};
use super::rehash::{Rehash, rehash_journal};
use super::{CopyError, Layout, StoreError, swap};
use crate::checkpoint::origin_hash;
use crate::disk::{DirLock, DiskIo, read_note, remove_dir, replace};
use crate::merkle::{Hash, TreeSize};
use crate::note::NoteKey;
use crate::store::signed_head::{SignedHead, read_signed};

/// A restore to make.
pub struct Restore<'a> {
    /// Directory of the backup.
    pub backup: &'a Path,
    /// Directory of the log: one that is empty but for its settings, or an older log.
    pub dir: &'a Path,
    /// The log's key; its name is the origin.
    pub key: &'a NoteKey,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// A journal segment is sealed when it has grown past this.
    pub segment_bytes: u64,
    /// Called with the entries in place and in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of a restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The head that the log ends at now.
    pub head: SignedHead,
    /// Entries that the directory held before.
    pub before: TreeSize,
    /// The old journal's new path.
    pub kept_as: Option<PathBuf>,
}

/// The state of a log's directory.
struct There {
    signed: Option<SignedHead>,
    size: TreeSize,
    root: Hash,
}

impl Restore<'_> {
    /// Checks the whole backup, then brings the directory up to it.
    ///
    /// # Errors
    /// [`CopyError::Newer`] and [`CopyError::Fork`] if the directory holds what the backup does not; nothing
    /// is changed then. [`StoreError::Disk`] while it is served.
    pub fn run(&self) -> Result<Restored, CopyError> {
        let layout = Layout::new(self.dir);
        let _lock = DirLock::acquire(&layout.lock())?;
        swap::finish(self.io.as_ref(), &layout)?;
        let there = self.there(&layout)?;
        let head = self.check(&there)?;
        if there.size == head.head.size && there.signed.as_ref() == Some(&head) {
            return Ok(Restored { head, before: there.size, kept_as: None });
        }
        let rebuild = Rebuild {
            layout: &layout,
            target: &head,
            also: &[],
            from: &self.backup.display().to_string(),
            io: &self.io,
            segment_bytes: self.segment_bytes,
            progress: self.progress,
        };
        // The directory's own entries were compared and are kept; the rest comes from the backup.
        let mut source = JournalSource::new(&Layout::new(self.backup).journal())?;
        // A crash in here leaves `journal.building`, which counts for nothing.
        rebuild.write(&mut source)?;
        // Before the swap: its rows name places in the old journal.
        remove_dir(&layout.sled())?;
        let kept_as = swap::swap(self.io.as_ref(), &layout)?;
        // A crash before this line leaves the whole journal under an older checkpoint: a log that
        // has more than it signed, as after any crash.
        replace(self.io.as_ref(), &layout.checkpoint(), &head.note)?;
        // So that the log can be read while its witnesses are asked.
        if let Some(witnessed) = read_note(&Layout::new(self.backup).witnessed())? {
            replace(self.io.as_ref(), &layout.witnessed(), &witnessed)?;
        }
        Ok(Restored { head, before: there.size, kept_as })
    }

    fn there(&self, layout: &Layout) -> Result<There, CopyError> {
        let signed = read_signed(&layout.checkpoint(), self.key)?;
        if !layout.journal().exists() {
            return Ok(There { signed, size: TreeSize::ZERO, root: Hash::EMPTY_ROOT });
        }
        let origin = origin_hash(self.key.name().as_str());
        let tree = rehash_journal(&layout.journal(), origin, None, Rehash::default(), &|_, _| ())?;
        let (size, root) = (tree.edge().size(), tree.edge().root());
        if signed.is_none() && size > TreeSize::ZERO {
            return Err(StoreError::CheckpointMissing { path: layout.checkpoint() }.into());
        }
        Ok(There { signed, size, root })
    }

    /// Checks that the backup is whole and extends the directory's log. Returns its head.
    fn check(&self, there: &There) -> Result<SignedHead, CopyError> {
        let signed = there.signed.as_ref().map_or(TreeSize::ZERO, |signed| signed.head.size);
        let (head, tree) = read_backup(self.backup, self.key, [there.size, signed], self.progress)?;
        let (from, path) = (self.backup.display().to_string(), self.dir.to_owned());
        let most = there.size.max(signed);
        if most > head.head.size {
            return Err(CopyError::Newer { path, from, there: most, here: head.head.size });
        }
        let fork = |size| CopyError::Fork { a: path.display().to_string(), b: from.clone(), size };
        if tree.root_at(there.size) != Some(there.root) {
            return Err(fork(there.size));
        }
        match &there.signed {
            Some(own) if !tree.holds(own) => Err(fork(signed)),
            _ => Ok(head),
        }
    }
}

/// Re-hashes a whole backup up to its signed root, and returns its head.
///
/// # Errors
/// [`CopyError::Store`] that names the file of the backup that does not check.
pub fn check_backup(dir: &Path, key: &NoteKey, progress: &dyn Fn(u64, u64)) -> Result<SignedHead, CopyError> {
    read_backup(dir, key, [], progress).map(|(head, _)| head)
}

fn read_backup(
    dir: &Path,
    key: &NoteKey,
    sizes: impl IntoIterator<Item = TreeSize>,
    progress: &dyn Fn(u64, u64),
) -> Result<(SignedHead, Rehash), CopyError> {
    let broken = |e: StoreError| match e {
        e if e.is_damage() => CopyError::Source {
            from: dir.display().to_string(),
            detail: format!("the backup is damaged: {e}"),
        },
        e => e.into(),
    };
    let layout = Layout::new(dir);
    let path = layout.checkpoint();
    let head = read_signed(&path, key).map_err(broken)?;
    let head = head.ok_or_else(|| broken(StoreError::CheckpointMissing { path }))?;
    let origin = origin_hash(key.name().as_str());
    let tree = Rehash::watching(sizes.into_iter().chain([head.head.size]));
    let tree =
        rehash_journal(&layout.journal(), origin, Some(head.head.size), tree, progress).map_err(broken)?;
    tree.check(&head).map_err(broken)?;
    Ok((head, tree))
}
