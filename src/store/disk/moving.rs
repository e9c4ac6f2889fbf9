//! The log's directory while the log moves to another place, or back from there.
//!
//! ```text
//! moved/, moved-2/, ...   journal and heads of a log that went on elsewhere; nothing reads them
//! journal.building        the journal of a log that comes back, while it is written
//! journal.new             finished; becomes `journal` at the next start, or when the move ends
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::JournalWriter;
use super::rehash::{Rehash, rehash_journal};
use super::{Layout, swap};
use crate::checkpoint::{Checkpoint, Origin, origin_hash};
use crate::disk::{DiskError, DiskIo, RealDisk, remove_dir, replace, sync_parent};
use crate::merkle::{Growth, Hash, RightEdge, TreeSize};
use crate::store::StoreError;

impl Layout {
    /// The parts that are the log, and not made from it.
    fn truth(&self) -> [PathBuf; 3] {
        [self.journal(), self.checkpoint(), self.witnessed()]
    }

    /// A directory to set the log aside in: the first one that has none of its parts.
    fn moved(&self) -> PathBuf {
        let name = |n: u32| self.dir().join(if n == 1 { "moved".to_owned() } else { format!("moved-{n}") });
        let has_part =
            |dir: &Path| self.truth().iter().any(|path| dir.join(path.file_name().expect("a name")).exists());
        // An attempt that was cut short has some of them, of which none is here.
        let is_free = |dir: &PathBuf| {
            let mut here = self.truth().into_iter().filter(|path| path.exists());
            !has_part(dir) || here.all(|path| !dir.join(path.file_name().expect("a name")).exists())
        };
        (1..).map(name).find(is_free).expect("one of the names is free")
    }
}

/// Returns true if the directory has a journal of its own.
#[must_use]
pub fn has_journal(dir: &Path) -> bool {
    Layout::new(dir).journal().exists()
}

/// Sets aside the journal and the heads of a log that goes on elsewhere: from then on nothing takes them for the log. Returns
/// where they are; `None` if there are none. The caller holds the lock.
///
/// # Errors
/// [`DiskError`]; the next call goes on.
pub fn set_aside(io: &dyn DiskIo, dir: &Path) -> Result<Option<PathBuf>, DiskError> {
    let layout = Layout::new(dir);
    // What a repair left is of the log that is not here any more.
    for left in [layout.journal_building(), layout.journal_new()] {
        remove_dir(&left)?;
    }
    layout.discard_leaves(io)?;
    let here: Vec<PathBuf> = layout.truth().into_iter().filter(|path| path.exists()).collect();
    if here.is_empty() {
        return Ok(None);
    }
    let aside = layout.moved();
    fs::create_dir_all(&aside).map_err(DiskError::io("create", &aside))?;
    sync_parent(io, &aside)?;
    // The journal first: without it, whatever is left is no log that could be served.
    for path in here {
        let to = aside.join(path.file_name().expect("a name"));
        io.rename(&path, &to).map_err(DiskError::io("rename", &path))?;
        sync_parent(io, &path)?;
    }
    sync_parent(io, &aside.join("journal"))?;
    Ok(Some(aside))
}

/// Removes everything that is made from the log's entries, wherever those are. The caller holds the lock.
///
/// # Errors
/// [`DiskError`]; the rest may be there.
pub fn discard_derived(dir: &Path) -> Result<(), DiskError> {
    let layout = Layout::new(dir);
    layout.sled_dir(Arc::new(RealDisk)).discard_marked()?;
    layout.discard_leaves(&RealDisk)?;
    remove_dir(&layout.index())?;
    remove_dir(&dir.join("bundles"))
}

/// Finishes a repair that was cut short. The caller holds the lock.
///
/// # Errors
/// [`DiskError`].
pub fn finish_swap(io: &dyn DiskIo, dir: &Path) -> Result<(), DiskError> {
    swap::finish(io, &Layout::new(dir))
}

/// The journal of a log that comes into its directory from elsewhere.
pub struct NewJournal {
    io: Arc<dyn DiskIo>,
    layout: Layout,
    origin: Hash,
    writer: JournalWriter,
}

impl NewJournal {
    /// Begins it, in place of an earlier attempt. The caller holds the lock.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn create(
        io: Arc<dyn DiskIo>,
        dir: &Path,
        origin: &Origin,
        segment_bytes: u64,
    ) -> Result<Self, StoreError> {
        let (layout, origin) = (Layout::new(dir), origin_hash(origin.as_str()));
        let writer = JournalWriter::create(&io, &layout.journal_building(), origin, segment_bytes)?;
        Ok(Self { io, layout, origin, writer })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn append(&mut self, entries: &[&[u8]], growth: Growth) -> Result<(), StoreError> {
        self.writer.append(entries, growth)
    }

    /// Makes all of it durable, reads it back, and compares it with the tree that it should make and with heads of smaller
    /// trees.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn check(&self, tree: &RightEdge, heads: &[&Checkpoint]) -> Result<(), StoreError> {
        self.writer.sync()?;
        let watched = Rehash::watching(heads.iter().map(|head| head.size));
        let read = rehash_journal(&self.layout.journal_building(), self.origin, None, watched, &|_, _| ())?;
        if read.edge() != tree {
            let detail = format!(
                "expected {} entries with root {}, as they were written, saw {} with root {}",
                tree.size(),
                tree.root(),
                read.edge().size(),
                read.edge().root()
            );
            let what = self.layout.journal_building().display().to_string();
            return Err(StoreError::Damaged { what, detail });
        }
        heads.iter().try_for_each(|head| {
            let root = read.root_at(head.size);
            crate::store::check_holds(head, tree.size(), || Ok(root.unwrap_or(Hash::EMPTY_ROOT)))
        })
    }

    /// The root of the first entries.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn root_at(&self, size: TreeSize) -> Result<Hash, StoreError> {
        let read = rehash_journal(
            &self.layout.journal_building(),
            self.origin,
            Some(size),
            Rehash::watching([size]),
            &|_, _| (),
        )?;
        Ok(read.root_at(size).unwrap_or(Hash::EMPTY_ROOT))
    }

    /// Puts the journal and its heads in place: from now on they are the log, once the settings say that it is here. There
    /// must be no journal.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; the move is begun again then.
    pub fn offer(self, signed: &[u8], witnessed: Option<&[u8]>) -> Result<(), StoreError> {
        let (io, layout) = (self.io, self.layout);
        let (building, new) = (layout.journal_building(), layout.journal_new());
        drop(self.writer);
        remove_dir(&new)?;
        replace(io.as_ref(), &layout.checkpoint(), signed)?;
        let path = layout.witnessed();
        match witnessed {
            Some(witnessed) => replace(io.as_ref(), &path, witnessed)?,
            None if path.exists() => io.remove(&path).map_err(DiskError::io("remove", &path))?,
            None => {}
        }
        io.rename(&building, &new).map_err(DiskError::io("rename", &building))?;
        Ok(sync_parent(io.as_ref(), &new)?)
    }
}
