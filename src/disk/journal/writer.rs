//! Appending to a journal.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{BODY_CRC_BYTES, Checksum, Encoder, FileHead, Format};
use crate::disk::{DiskError, DiskIo, check_written, replace, sync_parent, write_new};

/// Room that a failed append needs before it counts as over. A larger frame may fail again; it must not keep
/// smaller ones away.
const ROOM_BYTES: usize = 64 * 1024;

/// A frame is written in pieces of about this size, each of which is still in the processor's cache when the kernel
/// copies it: much faster than in one piece. Few bytes in unit tests, so that small frames have several.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 256 * 1024 };

/// A file of a journal, open for appending.
pub struct JournalFile {
    io: Arc<dyn DiskIo>,
    path: PathBuf,
    file: File,
    head: FileHead,
    /// Offset of the next frame: everything before it is durable.
    end: u64,
    /// Number of the next frame.
    next: u64,
    /// True if each append is durable when it returns; otherwise the caller syncs the whole file at the end.
    pub(crate) synced: bool,
    /// An append failed, and nobody knows what the disk has.
    unsound: bool,
    /// A piece of a frame; kept for its allocation.
    buffer: Vec<u8>,
    /// Length of the frame that was written last, or failed.
    frame_bytes: u64,
}

impl JournalFile {
    /// Creates a file, in place of whatever a crash left under that name. Its first frame gets the number
    /// `first`.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn create(io: Arc<dyn DiskIo>, path: PathBuf, head: FileHead, first: u64) -> Result<Self, DiskError> {
        let file = write_new(io.as_ref(), &path, &head.encode())?;
        sync_parent(io.as_ref(), &path)?;
        let end = head.length();
        Ok(Self::sound(io, path, file, head, end, first))
    }

    fn sound(io: Arc<dyn DiskIo>, path: PathBuf, file: File, head: FileHead, end: u64, next: u64) -> Self {
        let (buffer, frame_bytes) = (Vec::new(), 0);
        Self { io, path, file, head, end, next, unsound: false, synced: true, buffer, frame_bytes }
    }

    /// Writes a whole journal beside the one at `path`, and renames it.
    ///
    /// # Errors
    /// [`DiskError::Io`]; either of the two may be there.
    pub fn replace(io: Arc<dyn DiskIo>, path: &Path, journal: Encoder) -> Result<Self, DiskError> {
        let Encoder { head, bytes, next } = journal;
        // A crash in here leaves the old journal or the new one, both whole.
        replace(io.as_ref(), path, &bytes)?;
        let file = File::options().write(true).open(path).map_err(DiskError::io("open", path))?;
        let (path, end) = (path.to_owned(), bytes.len() as u64);
        Ok(Self::sound(io, path, file, head, end, next))
    }

    /// Writes a whole journal in place of this one, after which the file is sound.
    ///
    /// # Errors
    /// [`DiskError::Io`]; the file is unsound then.
    pub fn renew(&mut self, journal: Encoder) -> Result<(), DiskError> {
        // Should this fail half way, the name may belong to the new file already, and the open one to nobody.
        self.unsound = true;
        *self = Self::replace(self.io.clone(), &self.path, journal)?;
        Ok(())
    }

    /// Opens a file that was read up to `end`, cuts off the torn tail behind it, and makes sure of what is
    /// before it.
    ///
    /// The bytes from `last_written` on were read, but perhaps from memory alone: after an fdatasync that
    /// failed, the system forgets that it owes them to the disk, and the next one succeeds without writing
    /// them. So they are written once more. They are the same bytes: a crash can't harm them.
    ///
    /// # Errors
    /// [`DiskError::Io`]; [`DiskError::Damaged`] if the head of the file does not check.
    pub fn open(
        io: Arc<dyn DiskIo>,
        path: PathBuf,
        formats: &'static [Format],
        last_written: u64,
        end: u64,
        next: u64,
    ) -> Result<Self, DiskError> {
        let opened = File::options().read(true).write(true).open(&path);
        let file = opened.map_err(DiskError::io("open", &path))?;
        let length = file.metadata().map_err(DiskError::io("read", &path))?.len();
        if length > end {
            io.set_len(&file, &path, end).map_err(DiskError::io("truncate", &path))?;
        }
        let mut bytes = vec![0; usize::try_from(end - last_written).expect("a frame fits into memory")];
        file.read_exact_at(&mut bytes, last_written).map_err(DiskError::io("read", &path))?;
        io.write_at(&file, &path, &bytes, last_written).map_err(DiskError::io("write", &path))?;
        // A crash before this line finds the same torn tail again. The fsync also covers a last frame that
        // was written whole but not synced: from here on others may rely on it.
        io.sync_all(&file, &path).map_err(DiskError::io("fsync", &path))?;
        let head = FileHead::read(&file, formats).map_err(DiskError::io("read", &path))?;
        let Some(head) = head else {
            return Err(DiskError::Damaged { path, at: 0, detail: "its head does not check".to_owned() });
        };
        Ok(Self::sound(io, path, file, head, end, next))
    }

    /// Appends a frame with one fdatasync; `body` appends the body. When this returns, the frame survives a power
    /// cut. Returns the offset of the body.
    ///
    /// # Errors
    /// As [`append_parts`](Self::append_parts).
    ///
    /// # Panics
    /// If the file is unsound, or the frame none of the format's.
    pub fn append(
        &mut self,
        items: usize,
        tag: &[u8],
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, DiskError> {
        let mut whole = Vec::new();
        body(&mut whole);
        let mut parts = whole.chunks(PIECE_BYTES);
        self.append_parts(items, tag, whole.len(), |out| {
            let part = parts.next();
            out.extend_from_slice(part.unwrap_or_default());
            part.is_some()
        })
    }

    /// Like [`append`](Self::append), for a body of `body_bytes` that is never in one place: `next_part` appends
    /// its next part, and returns false if there is none.
    ///
    /// # Errors
    /// [`DiskError::Changed`] if another process changed the file: nothing is written then.
    /// [`DiskError::Io`]; the frame may be durable nevertheless, in whole or in part. After any error the
    /// file is [unsound](Self::is_unsound).
    ///
    /// # Panics
    /// If the file is unsound, or the frame none of the format's.
    pub fn append_parts(
        &mut self,
        items: usize,
        tag: &[u8],
        body_bytes: usize,
        mut next_part: impl FnMut(&mut Vec<u8>) -> bool,
    ) -> Result<u64, DiskError> {
        assert!(!self.unsound, "a failed append is cut off, or the journal replaced, before the next one");
        self.unsound = true;
        self.check()?;
        let (io, path, format) = (&self.io, &self.path, self.head.format);
        let head = self.head.encode_frame_head(self.next, items, tag, body_bytes);
        let body_at = self.end + head.len() as u64;
        self.frame_bytes = (head.len() + body_bytes + BODY_CRC_BYTES) as u64;
        let mut crc = crc32fast::Hasher::new();
        // The buffer's bytes up to here are in the CRC, or not covered by it.
        let mut summed = if format.checksum == Checksum::Body { head.len() } else { 0 };
        self.buffer.clear();
        self.buffer.extend_from_slice(&head);
        let (mut written, mut is_last) = (self.end, false);
        // A crash before the fdatasync returns leaves a torn or unsynced frame behind `end`, or only the first
        // pieces of one. Nobody was told of it; the next start drops it or takes it whole.
        while !is_last {
            is_last = !next_part(&mut self.buffer);
            if !is_last && self.buffer.len() < PIECE_BYTES {
                continue;
            }
            crc.update(&self.buffer[summed..]);
            if is_last {
                self.buffer.extend_from_slice(&crc.clone().finalize().to_be_bytes());
            }
            io.write_at(&self.file, path, &self.buffer, written).map_err(DiskError::io("write", path))?;
            written += self.buffer.len() as u64;
            self.buffer.clear();
            summed = 0;
        }
        assert_eq!(written, self.end + self.frame_bytes, "the parts are the whole body");
        if self.synced {
            io.sync_data(&self.file, path).map_err(DiskError::io("fdatasync", path))?;
        }
        // A crash from here on loses nothing.
        self.end = written;
        self.next += format.step(items);
        self.unsound = false;
        Ok(body_at)
    }

    /// Checks that the file is still what this process wrote.
    ///
    /// # Errors
    /// [`DiskError::Changed`], or [`DiskError::Io`] if the check itself fails.
    pub fn check(&self) -> Result<(), DiskError> {
        check_written(&self.file, &self.path, self.end, |length| length == self.end)
    }

    /// Cuts off what a failed append left behind, so that it can't be taken for durable: after a failed fsync
    /// the page cache may show bytes that the disk does not have. Then checks that there is room again: a
    /// program that says it is well on a full disk would be believed.
    ///
    /// # Errors
    /// [`DiskError`]; the file stays unsound.
    pub fn cut_failed_append(&mut self) -> Result<(), DiskError> {
        self.unsound = true;
        self.cut()?;
        let (io, path) = (&self.io, &self.path);
        // A crash in here leaves zeros behind the end: a torn frame that nobody was told of.
        let room =
            vec![0; usize::try_from(self.frame_bytes).map_or(ROOM_BYTES, |bytes| bytes.min(ROOM_BYTES))];
        io.write_at(&self.file, path, &room, self.end).map_err(DiskError::io("write", path))?;
        io.sync_data(&self.file, path).map_err(DiskError::io("fdatasync", path))?;
        self.cut()?;
        self.unsound = false;
        Ok(())
    }

    fn cut(&self) -> Result<(), DiskError> {
        let (io, path, end) = (&self.io, &self.path, self.end);
        // A shorter file would be extended by this, with zeros in place of what was written.
        check_written(&self.file, path, end, |length| length >= end)?;
        io.set_len(&self.file, path, end).map_err(DiskError::io("truncate", path))?;
        io.sync_all(&self.file, path).map_err(DiskError::io("fsync", path))
    }

    /// Whether an append failed, so that nothing may be appended.
    #[must_use]
    pub const fn is_unsound(&self) -> bool {
        self.unsound
    }

    /// The head of the file.
    #[must_use]
    pub const fn head(&self) -> &FileHead {
        &self.head
    }

    /// Offset behind the last durable frame.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Number of the next frame.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next
    }
}
