//! Copying a log while it runs: the signed checkpoint first, then exactly what it covers.
//!
//! A backup looks like a log's directory, without sled, and with a file that says that it is a backup. It
//! consists of its checkpoint, and the journal up to that size: entries beyond it are of a later run that was
//! cut short, and nothing reads them.

mod source;
mod verified;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::{Scan, segment_path, segments};
use super::rehash::Rehash;
use super::{CopyError, Layout, StoreError};
use crate::checkpoint::origin_hash;
use crate::disk::{DirLock, DiskError, DiskIo, list_dir, read_if_exists, replace, replace_secret};
use crate::merkle::{Hash, TreeSize};
use crate::note::NoteKey;
use crate::store::signed_head::{SignedHead, read_signed};
pub use source::{BackupSource, Heads, JournalToCopy, TakeBatch};
use verified::{Segment, Verified};

/// A file of the log's directory that goes into the backup beside journal and checkpoint.
#[derive(Debug, Clone)]
pub struct Companion<'a> {
    /// Its name in both directories.
    pub name: &'a str,
    /// Whether only the owner may read it.
    pub secret: bool,
}

/// A backup to make.
pub struct Backup<'a> {
    /// Directory of the log, for the files beside journal and checkpoint.
    pub log: &'a Path,
    /// The log's batches and heads: those in its directory, or in a bucket.
    pub from: &'a dyn BackupSource,
    /// Directory of the backup; made if need be.
    pub out: &'a Path,
    /// The log's key; its name is the origin.
    pub key: &'a NoteKey,
    /// Files to copy beside journal and checkpoint, if they exist.
    pub files: &'a [Companion<'a>],
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// Whether to read back all segments, not only those that are new or due.
    pub all: bool,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Called with the entries checked and in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of a backup.
#[derive(Debug, Clone)]
pub struct BackedUp {
    /// The head that it ends at.
    pub head: SignedHead,
    /// Tree size of the backup that was there before.
    pub before: Option<TreeSize>,
    /// Segments that were copied.
    pub copied: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Segments that were there already, whole.
    pub kept: u64,
    /// Bytes of the journal in the backup.
    pub bytes: u64,
    /// Bytes that were read back. The rest is in sealed segments that an earlier run read back.
    pub read_bytes: u64,
}

impl BackedUp {
    const fn new(head: SignedHead, before: Option<TreeSize>) -> Self {
        Self { head, before, copied: 0, copied_bytes: 0, kept: 0, bytes: 0, read_bytes: 0 }
    }
}

/// The file that makes a directory a backup, which must not be served.
#[must_use]
pub fn marker(dir: &Path) -> PathBuf {
    dir.join("backup")
}

/// The note of the segments that were read back.
fn note(dir: &Path) -> PathBuf {
    dir.join("verified")
}

impl Backup<'_> {
    /// Makes the backup, or updates it. Before it replaces the checkpoint, it reads back and hashes its journal
    /// up to the signed root: what is new, what is not sealed, and a part of what earlier runs read back, so
    /// that everything is read within a month.
    ///
    /// # Errors
    /// [`CopyError`]; an earlier backup stays valid.
    pub fn run(&self) -> Result<BackedUp, CopyError> {
        let Heads { witnessed, signed: head } = self.from.heads(self.key)?;
        self.check_place()?;
        let out = Layout::new(self.out);
        fs::create_dir_all(out.journal()).map_err(DiskError::io("create", out.journal()))?;
        let _lock = DirLock::acquire(&out.lock())?;
        // A crash from here on leaves the older backup with more in its journal than its checkpoint
        // covers, or a first one without a checkpoint: the next run goes on from either.
        let about = format!("treehead backup of {}\n", self.key.name());
        replace(self.io.as_ref(), &marker(self.out), about.as_bytes())?;
        let before = read_signed(&out.checkpoint(), self.key)?;
        self.check_older(before.as_ref(), &head)?;
        let noted = if self.all { Verified::default() } else { Verified::read(&note(self.out)) };
        let start = BackedUp::new(head.clone(), before.as_ref().map(|before| before.head.size));
        let (mut done, mut verified) = (start.clone(), Verified { at: self.now, ..Verified::default() });
        if let Err(error) = self.copy_segments(before.as_ref(), &noted, &mut done, &mut verified) {
            let may_be_noted_wrong = done.read_bytes < done.bytes && !is_other_than_damage(&error);
            if !may_be_noted_wrong {
                return Err(error);
            }
            (done, verified.segments) = (start, BTreeMap::new());
            self.copy_segments(before.as_ref(), &Verified::default(), &mut done, &mut verified)?;
        }
        self.io.sync_dir(&out.journal()).map_err(DiskError::io("fsync", out.journal()))?;
        for file in self.files {
            self.copy_file(file)?;
        }
        // Last: from here on it is the newer backup.
        replace(self.io.as_ref(), &out.checkpoint(), &head.note)?;
        // A crash before this line leaves an older one or none, which a start gets over.
        if let Some(witnessed) = witnessed {
            replace(self.io.as_ref(), &out.witnessed(), &witnessed)?;
        }
        // A crash before this line leaves the older note: what it says was read back holds still.
        verified.write(self.io.as_ref(), &note(self.out))?;
        Ok(done)
    }

    /// Refuses a directory that is no backup: a log's looks much the same.
    fn check_place(&self) -> Result<(), CopyError> {
        let refused = |detail: String| CopyError::NotABackup { path: self.out.to_owned(), detail };
        if list_dir(self.out)?.is_empty() {
            return Ok(());
        }
        let expected = format!("treehead backup of {}\n", self.key.name());
        match read_if_exists(&marker(self.out))? {
            Some(seen) if seen == expected.as_bytes() => Ok(()),
            Some(seen) => Err(refused(format!(
                "expected a file `backup` that says {:?}, saw {}",
                expected.trim_end(),
                crate::format::quote_bytes(&seen)
            ))),
            // A first run that was cut short may not have written that file.
            None if is_begun(self.out) => Ok(()),
            None => Err(refused("it is not empty, and has no file `backup`".to_owned())),
        }
    }

    fn check_older(&self, before: Option<&SignedHead>, head: &SignedHead) -> Result<(), CopyError> {
        let Some(before) = before else { return Ok(()) };
        let (there, here) = (before.head.size, head.head.size);
        if there > here {
            let from = self.from.name();
            return Err(CopyError::Newer { path: self.out.to_owned(), from, there, here });
        }
        if there == here && before.head.root != head.head.root {
            return Err(self.fork(there));
        }
        Ok(())
    }

    fn fork(&self, size: TreeSize) -> CopyError {
        CopyError::Fork { a: self.from.name(), b: self.out.display().to_string(), size }
    }

    /// Checks or copies all segments. Trusts those that `noted` has and that are not due. Adds the sealed ones
    /// to `verified`.
    fn copy_segments(
        &self,
        before: Option<&SignedHead>,
        noted: &Verified,
        done: &mut BackedUp,
        verified: &mut Verified,
    ) -> Result<(), CopyError> {
        let (there, size) = (segments(&Layout::new(self.out).journal())?, done.head.head.size);
        let firsts = self.from.segments(size, &there)?;
        if let Some(other) = there.iter().find(|first| **first < size.get() && !firsts.contains(first)) {
            let detail =
                format!("expected the log's segments, saw {other:020}.seg, which the log does not have");
            let error = CopyError::NotABackup { path: self.out.to_owned(), detail };
            return self.blame(error, before, &done.head).map(drop);
        }
        let due = noted.due(self.now);
        let mut tree = Rehash::watching(before.iter().map(|b| b.head.size).chain([size]));
        for (at, first) in firsts.iter().enumerate() {
            let sealed = firsts.get(at + 1).and_then(|next| TreeSize::new(*next));
            let until = sealed.unwrap_or(size);
            let known = noted.segments.get(first).filter(|known| known.edge.size() == until);
            let known = known.filter(|known| sealed.is_some() && self.has_length(*first, known.length));
            let trusted = known.filter(|_| !due.contains(first)).and_then(|known| {
                let tree = tree.skip_to(&known.edge)?;
                Some((tree, known))
            });
            let bytes = done.bytes;
            let read_at = if let Some((after, known)) = trusted {
                (done.kept, done.bytes) = (done.kept + 1, done.bytes + known.length);
                tree = after;
                known.read_at
            } else {
                let copied = self.copy_segment(*first, until, &tree, before, done);
                // Reading the log on its own shows whether it is to blame.
                tree = copied.or_else(|e| self.blame(e, before, &done.head))?;
                done.read_bytes += done.bytes - bytes;
                self.now
            };
            if sealed.is_some() {
                let segment = Segment { length: done.bytes - bytes, read_at, edge: tree.edge().clone() };
                verified.segments.insert(*first, segment);
            }
            (self.progress)(tree.edge().size().get(), size.get());
        }
        let Err(missing) = tree.check(&done.head) else { return Ok(()) };
        Err(self.blame(missing.into(), before, &done.head).err().unwrap_or_else(|| self.fork(size)))
    }

    /// Whether log and backup both have a segment, of this length.
    fn has_length(&self, first: u64, length: u64) -> bool {
        let path = segment_path(&Layout::new(self.out).journal(), first);
        let is_there = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == length);
        is_there && self.from.may_have(first, length)
    }

    /// Checks or copies one segment of the backup, from `first` to `until`. Returns the tree after it.
    fn copy_segment(
        &self,
        first: u64,
        until: TreeSize,
        tree: &Rehash,
        before: Option<&SignedHead>,
        done: &mut BackedUp,
    ) -> Result<Rehash, CopyError> {
        let origin = origin_hash(self.key.name().as_str());
        let to = segment_path(&Layout::new(self.out).journal(), first);
        if to.exists()
            && let Ok((tree, length)) = read_segment(&to, origin, first, until, tree.clone())
            && fs::metadata(&to).is_ok_and(|meta| meta.len() == length)
        {
            (done.kept, done.bytes) = (done.kept + 1, done.bytes + length);
            return Ok(tree);
        }
        let new = self.out.join("segment.new");
        self.from.copy(first, until, tree, &to, &new)?;
        let (tree, length) = read_segment(&new, origin, first, until, tree.clone())?;
        if before.is_some_and(|before| tree.root_at(before.head.size).is_some() && !tree.holds(before)) {
            return Err(self.fork(before.map_or(TreeSize::ZERO, |before| before.head.size)));
        }
        // A crash before or after this line leaves the shorter segment or the longer one.
        self.io.rename(&new, &to).map_err(DiskError::io("rename", &new))?;
        (done.copied, done.copied_bytes) = (done.copied + 1, done.copied_bytes + length);
        done.bytes += length;
        Ok(tree)
    }

    /// Finds out whether the log or the backup is wrong, if both together do not check.
    fn blame(
        &self,
        error: CopyError,
        before: Option<&SignedHead>,
        head: &SignedHead,
    ) -> Result<Rehash, CopyError> {
        if is_other_than_damage(&error) || matches!(error, CopyError::Fork { .. }) {
            return Err(error);
        }
        let sizes = before.iter().map(|b| b.head.size).chain([head.head.size]);
        let tree = self.from.rehash(head.head.size, Rehash::watching(sizes))?;
        tree.check(head)?;
        if let Some(before) = before.filter(|before| !tree.holds(before)) {
            return Err(self.fork(before.head.size));
        }
        Err(match error {
            CopyError::Store(e) => {
                let detail = format!("the log is sound, what is there does not fit it: {e}");
                CopyError::NotABackup { path: self.out.to_owned(), detail }
            }
            other => other,
        })
    }

    fn copy_file(&self, file: &Companion<'_>) -> Result<(), DiskError> {
        let (from, to) = (self.log.join(file.name), self.out.join(file.name));
        let Some(bytes) = read_if_exists(&from)? else { return Ok(()) };
        if read_if_exists(&to)?.is_some_and(|there| there == bytes) {
            return Ok(());
        }
        let replace = if file.secret { replace_secret } else { replace };
        replace(self.io.as_ref(), &to, &bytes)
    }
}

fn is_other_than_damage(error: &CopyError) -> bool {
    matches!(error, CopyError::Store(e) if !e.is_damage())
}

/// Whether a directory only has files that an interrupted first backup leaves.
fn is_begun(dir: &Path) -> bool {
    let Ok(names) = list_dir(dir) else { return false };
    names.iter().all(|name| match name.to_str() {
        Some("journal") => list_dir(&dir.join("journal")).is_ok_and(|names| names.is_empty()),
        Some("lock" | "backup.new") => true,
        _ => false,
    })
}

/// Re-hashes one segment, which must hold whole batches from `first` up to `until`. Returns the tree after
/// it, and the length of these batches in the file.
fn read_segment(
    path: &Path,
    origin: Hash,
    first: u64,
    until: TreeSize,
    mut tree: Rehash,
) -> Result<(Rehash, u64), StoreError> {
    let mut scan = Scan::of_segment(path, origin, first)?;
    while scan.size() < until {
        let Some(record) = scan.next_record()? else {
            let seen = scan.size();
            return Err(StoreError::Damaged {
                what: path.display().to_string(),
                detail: format!("expected whole batches up to entry {until}, saw them up to {seen}"),
            });
        };
        tree.take(&record, path)?;
    }
    if scan.size() != until {
        let seen = scan.size();
        return Err(StoreError::Damaged {
            what: path.display().to_string(),
            detail: format!("expected a batch to end with entry {until}, saw one up to {seen}"),
        });
    }
    let end = scan.end().map_or(0, |end| end.offset);
    Ok((tree, end))
}
