//! The file `leaves`: leaf hashes and beginnings of bundles, from which the tree grows after a power cut without reading
//! the whole journal.
//!
//! A [framed journal](crate::disk::journal) beside the segments, derived from them:
//!
//! ```text
//! file    magic "THLEAF1\n", about: origin hash (32), random marker
//! frame   number: first tile, items: full tiles of leaf hashes
//!         tag: cursor (64) || beginning of the bundle that its last leaf is in (24), or zeros
//!         body: (beginning of the bundle (24) || 256 hashes)*
//!         CRC of head and body
//! ```
//!
//! A cursor is the last batch that its frame's tiles are complete up to. Nobody trusts the file: what is read from it
//! counts only if the tree has the root that the log signed, and each cursor's batch is in the journal. A thread of its own
//! appends to it, and nobody waits for that thread.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::journal::has_batch;
use crate::disk::journal::{
    Checksum, FileHead, Format, Frame, FrameHead, JournalFile, JournalReader, Numbers,
};
use crate::disk::{DiskError, DiskIo};
use crate::merkle::{HASH_BYTES, Hash, TILE_WIDTH, TreeSize, hashes_from_bytes};
use crate::store::StoreError;
use crate::store::derived::{Cursor, OnRows, PLACE_BYTES, Place, Tree};
use crate::threads::{self, ThreadError};

/// Tiles in a frame: after a power cut, at most about so many have to be hashed again.
pub const FRAME_TILES: usize = 256;
/// Most tiles in a frame: the last one of several takes the rest.
const MAX_TILES: usize = 2 * FRAME_TILES;
const TILE_LEAVES: usize = 256;
const TILE_BYTES: usize = TILE_LEAVES * HASH_BYTES;
const START_BYTES: usize = PLACE_BYTES;
const TAG_BYTES: usize = Cursor::BYTES + START_BYTES;
/// Wake-ups that are let pass after a failure: a minute under load.
const REST: u32 = 600;

static FORMATS: [Format; 1] = [Format {
    magic: *b"THLEAF1\n",
    about_bytes: HASH_BYTES,
    marker: None,
    tag_bytes: TAG_BYTES,
    checksum: Checksum::Frame,
    numbers: Numbers::Items,
    max_items: MAX_TILES,
    max_body_bytes: MAX_TILES * (START_BYTES + TILE_BYTES),
}];

/// The file, and what it is derived from.
#[derive(Clone)]
pub struct LeafFile {
    pub path: PathBuf,
    pub journal: PathBuf,
    /// Hash of the log's origin.
    pub origin: Hash,
    pub io: Arc<dyn DiskIo>,
    /// Tiles in a frame, at most [`FRAME_TILES`].
    pub frame_tiles: usize,
}

/// Consecutive full tiles.
pub struct LeafTiles {
    pub leaf_hashes: Vec<Hash>,
    pub bundles: Vec<(u64, Place)>,
    pub cursor: Option<Cursor>,
    /// Bytes of the file read and in all.
    pub progress: (u64, u64),
}

/// The end of what the file has.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Offset of the last frame, or 0.
    last: u64,
    offset: u64,
    /// Number of the next tile.
    next: u64,
}

impl LeafFile {
    /// Passes the tiles of the signed tree to `take`, up to the last frame whose cursor the journal knows.
    ///
    /// # Errors
    /// Those of `take`, and [`DiskError`] if a file can't be read.
    pub fn read(
        &self,
        signed: TreeSize,
        mut take: impl FnMut(LeafTiles) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(mut reader) = self.open()? else { return Ok(()) };
        let mut end = None;
        for (at, head) in Heads::of(&reader) {
            let Some(cursor) = cursor_of(&head) else { continue };
            if cursor.size > signed || !has_batch(&self.journal, &cursor.into())? {
                break;
            }
            end = Some(at + head.frame_bytes(&FORMATS[0]));
        }
        let (Some(end), mut next) = (end, 0) else { return Ok(()) };
        while reader.offset() < end {
            let Some(frame) = reader.frame(next)? else {
                tracing::warn!(file = %self.path.display(), "a frame does not check; reading the journal instead");
                // Otherwise it would be found again after the next power cut, and hide what follows.
                return Ok(self.cut(reader.path(), next)?);
            };
            next += frame.head.items as u64;
            let Some(tiles) = tiles_of(&frame, (frame.end, end)) else { return Ok(()) };
            take(tiles)?;
        }
        Ok(())
    }

    /// The file, unless there is none, or it is another log's or of another version.
    fn open(&self) -> Result<Option<JournalReader>, DiskError> {
        match JournalReader::open(&self.path, &FORMATS) {
            Ok(reader) => {
                let ours = reader.head().is_some_and(|head| head.about == self.origin.as_bytes());
                Ok(ours.then_some(reader))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Cuts off the frames from tile `next` on.
    fn cut(&self, path: &Path, next: u64) -> Result<(), DiskError> {
        let Some(reader) = self.open()? else { return Ok(()) };
        let frame = Heads::of(&reader).find(|(_, head)| head.number == next);
        let Some((at, _)) = frame else { return Ok(()) };
        let file = std::fs::File::options().write(true).open(path).map_err(DiskError::io("open", path))?;
        // A crash before the next sync of the file brings the frame back, to be cut off again.
        self.io.set_len(&file, path, at).map_err(DiskError::io("truncate", path))
    }

    /// Opens the file for appending, or makes it.
    fn append_to(&self) -> Result<JournalFile, DiskError> {
        let end = self.open()?.map(|mut reader| end_of(&mut reader)).transpose()?;
        let (io, path) = (self.io.clone(), self.path.clone());
        if let Some(End { last, offset, next }) = end {
            return JournalFile::open(io, path, &FORMATS, last, offset, next);
        }
        let about = self.origin.as_bytes().to_vec();
        let head = FileHead::new(&FORMATS[0], about).map_err(DiskError::io("mark", &path))?;
        JournalFile::create(io, path, head, 0)
    }
}

/// The heads of the frames that follow each other from the beginning on, with their offsets.
struct Heads<'a> {
    reader: &'a JournalReader,
    at: u64,
    next: u64,
}

impl<'a> Heads<'a> {
    fn of(reader: &'a JournalReader) -> Self {
        Self { reader, at: FORMATS[0].file_head_bytes() as u64, next: 0 }
    }
}

impl Iterator for Heads<'_> {
    type Item = (u64, FrameHead);

    fn next(&mut self) -> Option<(u64, FrameHead)> {
        let head = self.reader.head_at(self.at).ok()??;
        let (at, end) = (self.at, self.at + head.frame_bytes(&FORMATS[0]));
        if head.number != self.next || head.items == 0 || end > self.reader.length() {
            return None;
        }
        (self.at, self.next) = (end, head.next_number(&FORMATS[0])?);
        Some((at, head))
    }
}

/// The end of the frames that follow each other, the last of which a crash may have torn.
fn end_of(reader: &mut JournalReader) -> Result<End, DiskError> {
    let mut ends = [End { last: 0, offset: FORMATS[0].file_head_bytes() as u64, next: 0 }; 2];
    for (at, head) in Heads::of(reader) {
        let offset = at + head.frame_bytes(&FORMATS[0]);
        ends = [ends[1], End { last: at, offset, next: head.number + head.items as u64 }];
    }
    let [before, end] = ends;
    if end.next > 0 {
        reader.seek(end.last)?;
        if reader.frame(before.next)?.is_none() {
            return Ok(before);
        }
    }
    Ok(end)
}

/// The cursor of a frame that has one, if it is of the frame's tiles.
fn cursor_of(head: &FrameHead) -> Option<Cursor> {
    let cursor = Cursor::from_bytes(&head.tag[..Cursor::BYTES])?;
    (cursor.size.get() / TILE_WIDTH == head.number + head.items as u64).then_some(cursor)
}

fn tiles_of(frame: &Frame, progress: (u64, u64)) -> Option<LeafTiles> {
    let rows = frame.body.chunks_exact(START_BYTES + TILE_BYTES);
    if frame.body.len() != frame.head.items * (START_BYTES + TILE_BYTES) {
        return None;
    }
    let (mut leaf_hashes, mut bundles) = (Vec::new(), Vec::new());
    for (index, row) in (frame.head.number..).zip(rows) {
        let (start, hashes) = row.split_at(START_BYTES);
        bundles.push((index, Place(start.try_into().ok()?)));
        leaf_hashes.extend(hashes_from_bytes(hashes, TILE_LEAVES)?);
    }
    let cursor = cursor_of(&frame.head);
    if cursor.is_some_and(|cursor| cursor.size.get() % TILE_WIDTH > 0) {
        let start = frame.head.tag[Cursor::BYTES..].try_into().ok()?;
        bundles.push((frame.head.number + frame.head.items as u64, Place(start)));
    }
    Some(LeafTiles { leaf_hashes, bundles, cursor, progress })
}

/// Appends the tree's new tiles to the file whenever rows were written, on a thread of its own unless `at_once`.
///
/// # Errors
/// [`ThreadError`].
pub fn follow(file: LeafFile, tree: &Tree, at_once: bool) -> Result<OnRows, ThreadError> {
    let writer = LeafWriter::new(file, tree.clone());
    if at_once {
        let writer = Mutex::new(writer);
        Ok(Arc::new(move || writer.lock().expect("no panic while it is held").catch_up(|| false)))
    } else {
        let thread = LeafThread::start(writer)?;
        Ok(Arc::new(move || thread.wake()))
    }
}

/// Appends the tree's new tiles to the file.
struct LeafWriter {
    file: LeafFile,
    tree: Tree,
    open: Option<JournalFile>,
    rest: u32,
}

impl LeafWriter {
    const fn new(file: LeafFile, tree: Tree) -> Self {
        Self { file, tree, open: None, rest: 0 }
    }

    /// Appends what is missing until `is_over` says that nobody wants it. A failure is no harm: what the file lacks is
    /// hashed again after a power cut.
    fn catch_up(&mut self, is_over: impl Fn() -> bool) {
        self.rest = self.rest.saturating_sub(1);
        while self.rest == 0 && !is_over() {
            match self.append() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "leaf hashes were not written; trying again later");
                    (self.open, self.rest) = (None, REST);
                }
            }
        }
    }

    /// Appends one frame. False if there are too few tiles for one.
    fn append(&mut self) -> Result<bool, StoreError> {
        let Some(cursor) = self.tree.cursor()? else { return Ok(false) };
        let (tiles, each) = (cursor.size.get() / TILE_WIDTH, self.file.frame_tiles as u64);
        if tiles < each {
            return Ok(false);
        }
        let file = match &mut self.open {
            Some(file) => file,
            closed => closed.insert(self.file.append_to()?),
        };
        let first = file.next_number();
        let left = tiles.saturating_sub(first);
        if left < each {
            return Ok(false);
        }
        let (mut end, mut tag) = (first + each, Vec::with_capacity(TAG_BYTES));
        if left < 2 * each {
            (end, tag) = (tiles, cursor.to_bytes());
            if cursor.size.get() % TILE_WIDTH > 0 {
                tag.extend_from_slice(&self.tree.bundle_start(tiles)?.0);
            }
        }
        tag.resize(TAG_BYTES, 0);
        let mut rows = Vec::with_capacity(2 * self.file.frame_tiles);
        for index in first..end {
            rows.push(self.tree.leaf_rows(index)?);
        }
        let body = |out: &mut Vec<u8>| {
            for (start, hashes) in &rows {
                out.extend_from_slice(&start.0);
                out.extend_from_slice(hashes);
            }
        };
        // A crash in here leaves a torn frame, which is cut off; one that another process changed is not appended to.
        file.append(rows.len(), &tag, body)?;
        Ok(true)
    }
}

/// The thread that appends to the file.
struct LeafThread {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LeafThread {
    fn start(writer: LeafWriter) -> Result<Self, ThreadError> {
        let (wake, woken) = sync_channel(1);
        let thread = threads::start("leaves", move || run(writer, &woken))?;
        let thread = Self { wake: Some(wake), thread: Some(thread) };
        thread.wake();
        Ok(thread)
    }

    /// There may be new tiles.
    fn wake(&self) {
        // A full channel says the same.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }
}

impl Drop for LeafThread {
    /// Waits for the frame that is being written.
    fn drop(&mut self) {
        drop(self.wake.take());
        // sled may have panicked in it.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(mut writer: LeafWriter, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        writer.catch_up(|| woken.try_recv() == Err(TryRecvError::Disconnected));
    }
}
