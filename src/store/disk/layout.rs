//! The parts of a log in its directory, and opening sled there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DirLock, DiskError, DiskIo, RealDisk, SledDir, SledIo, remove_dir, write_new};
use crate::store::StoreError;
use crate::store::derived::{Opened, TreeRows};

/// More than opening sled again may write at once.
const ROOM_BYTES: usize = 1024 * 1024;
/// sled's cache while fsck reads it.
const FSCK_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Paths of the parts of a log in its directory.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// The layout of the log in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Held by the one process that writes.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Segment files: the truth.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Derived from the journal: may be deleted while no server runs.
    #[must_use]
    pub fn sled(&self) -> PathBuf {
        self.0.join("sled")
    }

    /// Files of the index: derived from the journal, and durable.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// Leaf hashes and bundle offsets: derived from the journal, and written out now and then.
    #[must_use]
    pub fn leaves(&self) -> PathBuf {
        self.0.join("leaves")
    }

    /// Removes the leaf hashes.
    pub(super) fn discard_leaves(&self, io: &dyn DiskIo) -> Result<(), DiskError> {
        let path = self.leaves();
        if path.exists() { io.remove(&path).map_err(DiskError::io("remove", &path)) } else { Ok(()) }
    }

    /// Exists while sled is open, and names the boot of the machine.
    #[must_use]
    pub fn sled_mark(&self) -> PathBuf {
        self.0.join("sled.open")
    }

    /// The last signed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// The last head that a quorum of witnesses cosigned, which the world is shown. It is no larger than the
    /// checkpoint, and may be lost: the log asks its witnesses again.
    #[must_use]
    pub fn witnessed(&self) -> PathBuf {
        self.0.join("checkpoint.witnessed")
    }

    /// Written and removed again, to see whether the disk has room.
    fn room(&self) -> PathBuf {
        self.0.join("room")
    }

    /// Checks that the disk takes as much as opening sled may write.
    pub(in crate::store) fn check_room(&self, io: &dyn DiskIo) -> Result<(), DiskError> {
        let path = self.room();
        let written = write_new(io, &path, &vec![0; ROOM_BYTES]);
        // A crash before this line leaves the file until the next check.
        let removed = io.remove(&path).map_err(DiskError::io("remove", &path));
        written.and(removed)
    }

    pub(in crate::store) fn sled_dir(&self, io: Arc<dyn SledIo>) -> SledDir {
        SledDir::new(self.sled(), self.sled_mark(), io)
    }
}

/// Opens the tree of the log in `dir` for fsck, with the lock that keeps servers away meanwhile.
///
/// # Errors
/// [`StoreError::Disk`] while the log is served; [`StoreError::TreeDamaged`] if sled does not open.
pub fn open_tree_rows(dir: &Path) -> Result<(TreeRows, DirLock), StoreError> {
    let layout = Layout::new(dir);
    let lock = DirLock::acquire(&layout.lock())?;
    let sled = layout.sled_dir(Arc::new(RealDisk));
    let Opened { db, tree } = sled.open_sound(FSCK_CACHE_BYTES, Opened::new)?;
    Ok((TreeRows::new(sled, db, tree, layout.index()), lock))
}

/// Discards tree, leaf hashes and index; the next opening rebuilds them from the journal.
///
/// # Errors
/// [`StoreError::Disk`] while the log is served.
pub fn discard_tree(dir: &Path) -> Result<(), StoreError> {
    let layout = Layout::new(dir);
    let _lock = DirLock::acquire(&layout.lock())?;
    layout.sled_dir(Arc::new(RealDisk)).discard_marked()?;
    layout.discard_leaves(&RealDisk)?;
    Ok(remove_dir(&layout.index())?)
}
