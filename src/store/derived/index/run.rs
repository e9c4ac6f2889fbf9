//! A run: sorted pointers of consecutive leaves in a file of its own, written once and never changed.
//!
//! ```text
//! page*        4,096 bytes: 255 pointers, the last page fewer, then zeros || run u64 || page u32 || CRC-32 u32
//! fence*       first pointer of each page (16)
//! filter       blocks of 64 bytes
//! ```
//!
//! Fences and filter are in memory. A lookup that the filter passes reads one page: the fences say which.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::filter::{BLOCK_BYTES, Filter};
use super::pointer::{POINTER_BYTES, Pointer, Wanted, damaged};
use crate::disk::{DiskError, DiskIo, open_own};
use crate::store::StoreError;

const PAGE_BYTES: usize = 4_096;
pub const PAGE_POINTERS: usize = 255;
const CRC_BYTES: usize = 4;
/// Pages that are read or written at once where a whole run is.
const CHUNK_PAGES: usize = 64;
/// Pages that are written between two syncs, so that the journal's own sync never waits for much.
const SYNC_PAGES: usize = 16 * CHUNK_PAGES;

/// The name of a run; never used twice, unless a crash came before the manifest named it.
pub type RunId = u64;

/// The manifest's line about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFacts {
    pub id: RunId,
    /// Number of merges that it came from.
    pub level: u8,
    /// Number of pointers.
    pub pointers: u64,
    /// Number of the pointers that the filter holds.
    pub keys: u64,
    /// Blocks of the filter.
    pub blocks: u32,
    /// CRC-32 of fences and filter.
    pub crc: u32,
}

impl RunFacts {
    /// File name of the run.
    pub fn file_name(&self) -> String {
        file_name(self.id)
    }

    const fn pages(&self) -> u64 {
        self.pointers.div_ceil(PAGE_POINTERS as u64)
    }

    /// Length of the pages, of the fences, and of fences and filter together; `None` if no file is as long.
    fn lengths(&self) -> Option<(u64, usize, usize)> {
        let at = self.pages().checked_mul(PAGE_BYTES as u64)?;
        let fences = usize::try_from(self.pages()).ok()?.checked_mul(POINTER_BYTES)?;
        let blocks = usize::try_from(self.blocks).ok()?.checked_mul(BLOCK_BYTES)?;
        Some((at, fences, fences.checked_add(blocks)?))
    }

    /// Pointers in a page.
    fn width(&self, page: u64) -> usize {
        let left = self.pointers - page * PAGE_POINTERS as u64;
        usize::try_from(left).map_or(PAGE_POINTERS, |left| left.min(PAGE_POINTERS))
    }
}

pub fn file_name(id: RunId) -> String {
    format!("{id:020}.run")
}

/// A finished run, for lookups. Its file may be removed meanwhile: lookups go on.
#[derive(Debug)]
pub struct Run {
    pub facts: RunFacts,
    file: File,
    fences: Vec<Pointer>,
    filter: Filter,
}

impl Run {
    /// Opens a run that the manifest names.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] unless the file is there with fences and filter that check.
    pub fn open(dir: &Path, facts: RunFacts) -> Result<Self, StoreError> {
        let path = dir.join(facts.file_name());
        let file = open_own(File::options().read(true), &path).map_err(|e| unreadable(facts.id, &e))?;
        let length = file.metadata().map_err(DiskError::io("read", &path))?.len();
        // Before anything is allocated: a manifest from a bucket may say any numbers.
        let (at, fences, tail) = facts
            .lengths()
            .filter(|(at, _, tail)| at.checked_add(*tail as u64) == Some(length))
            .ok_or_else(|| damaged(&format!("run {} to be as long as it was", facts.id)))?;
        let mut bytes = vec![0; tail];
        file.read_exact_at(&mut bytes, at).map_err(|e| unreadable(facts.id, &e))?;
        let filter = Filter::from_bytes(&bytes[fences..], facts.keys);
        let filter = filter.filter(|_| crc32fast::hash(&bytes) == facts.crc);
        let filter = filter.ok_or_else(|| damaged(&format!("the filter of run {}", facts.id)))?;
        let fences = pointers_in(&bytes[..fences]).copied().map(Pointer::from_bytes).collect();
        Ok(Self { facts, file, fences, filter })
    }

    /// Bytes of memory.
    pub const fn bytes(&self) -> usize {
        self.filter.bytes() + self.fences.len() * POINTER_BYTES
    }

    /// Bytes of the filter alone.
    pub const fn filter_bytes(&self) -> usize {
        self.filter.bytes()
    }

    /// Matching pointers, lowest leaf first.
    pub fn find(&self, wanted: Wanted) -> Result<Vec<Pointer>, StoreError> {
        let (low, high) = (wanted.at(0), wanted.at(u64::MAX));
        let mut found = Vec::new();
        if !self.knows(low) {
            return Ok(found);
        }
        // The first may be in the middle of a page, whose first pointer is then smaller.
        let first = self.fences.partition_point(|fence| *fence < low).saturating_sub(1);
        let mut page = Page::new();
        for (at, _) in self.fences.iter().enumerate().skip(first).take_while(|(_, fence)| **fence <= high) {
            let pointers = page.read(self, at)?;
            let begin = pointers.partition_point(|bytes| Pointer::from_bytes(*bytes) < low);
            let matching = pointers[begin..].iter().map(|bytes| Pointer::from_bytes(*bytes));
            found.extend(matching.take_while(|pointer| *pointer <= high));
        }
        Ok(found)
    }

    /// At most `limit` pointers below `before`, highest leaf first.
    pub fn find_last(&self, wanted: Wanted, before: u64, limit: usize) -> Result<Vec<Pointer>, StoreError> {
        let (low, high) = (wanted.at(0), wanted.at(before));
        let mut found = Vec::new();
        let mut page = Page::new();
        for at in (0..self.fences.partition_point(|fence| *fence < high)).rev() {
            let pointers = page.read(self, at)?.iter().rev().map(|bytes| Pointer::from_bytes(*bytes));
            found.extend(pointers.filter(|pointer| (low..high).contains(pointer)));
            if found.len() >= limit || self.fences[at] <= low {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The first pointer from another one on.
    pub fn first_from(&self, from: Pointer) -> Result<Option<Pointer>, StoreError> {
        let Some(at) = self.fences.partition_point(|fence| *fence <= from).checked_sub(1) else {
            return Ok(self.fences.first().copied());
        };
        let mut page = Page::new();
        let pointers = page.read(self, at)?;
        let place = pointers.partition_point(|bytes| Pointer::from_bytes(*bytes) < from);
        let in_page = pointers.get(place).map(|bytes| Pointer::from_bytes(*bytes));
        Ok(in_page.or_else(|| self.fences.get(at + 1).copied()))
    }

    /// Whether the filter passes lookups of this pointer.
    pub fn knows(&self, pointer: Pointer) -> bool {
        !pointer.is_filtered() || self.filter.may_have(pointer.wanted())
    }

    /// All pointers, in order.
    pub fn read(&self) -> RunReader<'_> {
        RunReader { run: self, chunk: Vec::new(), next: 0, pointers: 0..0 }
    }
}

/// One page, for lookups.
struct Page(Box<[u8; PAGE_BYTES]>);

impl Page {
    fn new() -> Self {
        Self(Box::new([0; PAGE_BYTES]))
    }

    /// Reads and checks a page. Returns its pointers.
    fn read(&mut self, run: &Run, page: usize) -> Result<&[[u8; POINTER_BYTES]], StoreError> {
        let at = page as u64 * PAGE_BYTES as u64;
        run.file.read_exact_at(&mut *self.0, at).map_err(|e| unreadable(run.facts.id, &e))?;
        check_page(run, page, &*self.0)
    }
}

/// Checks that these bytes are a page of the run. Returns its pointers.
fn check_page<'a>(run: &Run, page: usize, bytes: &'a [u8]) -> Result<&'a [[u8; POINTER_BYTES]], StoreError> {
    let (body, crc) = bytes.split_at(PAGE_BYTES - CRC_BYTES);
    let (slots, place) = body.as_chunks();
    if crc32fast::hash(body).to_be_bytes() != crc || place != page_place(run.facts.id, page as u64) {
        return Err(damaged(&format!("page {page} of run {} as it was written", run.facts.id)));
    }
    Ok(&slots[..run.facts.width(page as u64)])
}

/// Says where a page belongs, in case the disk puts it elsewhere.
fn page_place(id: RunId, page: u64) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&id.to_be_bytes());
    place[8..].copy_from_slice(&u32::try_from(page & 0xffff_ffff).expect("32 bits").to_be_bytes());
    place
}

fn pointers_in(bytes: &[u8]) -> impl Iterator<Item = &[u8; POINTER_BYTES]> {
    bytes.as_chunks().0.iter()
}

/// A file of the index that can't be read is as good as damaged: the journal has all that was in it.
fn unreadable(id: RunId, error: &std::io::Error) -> StoreError {
    damaged(&format!("run {id} to be readable ({error})"))
}

/// Reads all pointers of a run, in order.
pub struct RunReader<'a> {
    run: &'a Run,
    /// Checked pages.
    chunk: Vec<u8>,
    /// Next page to read into the chunk.
    next: u64,
    /// Pointers of the chunk that were not returned yet.
    pointers: Range<usize>,
}

impl RunReader<'_> {
    fn fill(&mut self) -> Result<(), StoreError> {
        let facts = &self.run.facts;
        let pages =
            usize::try_from(facts.pages() - self.next).map_or(CHUNK_PAGES, |left| left.min(CHUNK_PAGES));
        self.chunk.resize(pages * PAGE_BYTES, 0);
        let at = self.next * PAGE_BYTES as u64;
        self.run.file.read_exact_at(&mut self.chunk, at).map_err(|e| unreadable(facts.id, &e))?;
        self.pointers = 0..0;
        for page in self.chunk.chunks(PAGE_BYTES) {
            let number = usize::try_from(self.next).expect("fences fit into memory");
            let pointers = check_page(self.run, number, page)?;
            let first = pointers.first().map(|bytes| Pointer::from_bytes(*bytes));
            if first != Some(self.run.fences[number]) {
                return Err(damaged(&format!("a fence for page {number} of run {}", facts.id)));
            }
            self.pointers.end += pointers.len();
            self.next += 1;
        }
        Ok(())
    }
}

impl Iterator for RunReader<'_> {
    type Item = Result<Pointer, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pointers.is_empty() {
            if self.next == self.run.facts.pages() {
                return None;
            }
            if let Err(error) = self.fill() {
                self.next = self.run.facts.pages();
                self.pointers = 0..0;
                return Some(Err(error));
            }
        }
        let place = self.pointers.next()?;
        let at = place / PAGE_POINTERS * PAGE_BYTES + place % PAGE_POINTERS * POINTER_BYTES;
        let bytes = self.chunk[at..at + POINTER_BYTES].first_chunk().expect("within a page");
        Some(Ok(Pointer::from_bytes(*bytes)))
    }
}

/// Writes a run pointer by pointer, in order.
pub struct RunWriter<'a> {
    io: &'a dyn DiskIo,
    dir: &'a Path,
    id: RunId,
    file: File,
    /// Pages that are not written yet; the last may be incomplete.
    chunk: Vec<u8>,
    /// Bytes of the file that are written.
    written: u64,
    fences: Vec<Pointer>,
    filter: Filter,
    keys: u64,
    pointers: u64,
}

impl<'a> RunWriter<'a> {
    /// Begins a run, of which at most `keys` pointers are filtered.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn new(
        io: &'a dyn DiskIo,
        dir: &'a Path,
        id: RunId,
        keys: u64,
        filter_bytes: u64,
    ) -> Result<Self, StoreError> {
        let path = dir.join(file_name(id));
        let file = io.create(&path).map_err(DiskError::io("create", &path))?;
        let (filter, fences) = (Filter::new(keys, filter_bytes), Vec::new());
        Ok(Self { io, dir, id, file, chunk: Vec::new(), written: 0, fences, filter, keys, pointers: 0 })
    }

    pub fn push(&mut self, pointer: Pointer) -> Result<(), StoreError> {
        if pointer.is_filtered() {
            self.filter.insert(pointer.wanted());
        }
        let place = self.pointers % PAGE_POINTERS as u64;
        if place == 0 {
            self.fences.push(pointer);
        }
        self.pointers += 1;
        self.chunk.extend_from_slice(&pointer.to_bytes());
        if place + 1 == PAGE_POINTERS as u64 { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<(), StoreError> {
        let begin = (self.chunk.len() - 1) / PAGE_BYTES * PAGE_BYTES;
        self.chunk.resize(begin + PAGE_POINTERS * POINTER_BYTES, 0);
        self.chunk.extend(page_place(self.id, self.fences.len() as u64 - 1));
        let crc = crc32fast::hash(&self.chunk[begin..]);
        self.chunk.extend(crc.to_be_bytes());
        if self.chunk.len() < CHUNK_PAGES * PAGE_BYTES {
            return Ok(());
        }
        self.write_chunk()?;
        if self.fences.len().is_multiple_of(SYNC_PAGES) { self.sync() } else { Ok(()) }
    }

    fn write_chunk(&mut self) -> Result<(), StoreError> {
        let path = self.dir.join(file_name(self.id));
        self.io
            .write_at(&self.file, &path, &self.chunk, self.written)
            .map_err(DiskError::io("write", &path))?;
        self.written += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let path = self.dir.join(file_name(self.id));
        Ok(self.io.sync_data(&self.file, &path).map_err(DiskError::io("fsync", &path))?)
    }

    /// Finishes the run: when this returns, its content survives a power cut. A crash before the manifest names
    /// it leaves a file that the next opening removes.
    pub fn finish(mut self, level: u8) -> Result<Run, StoreError> {
        if !self.pointers.is_multiple_of(PAGE_POINTERS as u64) {
            self.end_page()?;
        }
        let fences = self.fences.iter().flat_map(|fence| fence.to_bytes());
        let tail: Vec<u8> = fences.chain(self.filter.to_bytes()).collect();
        let crc = crc32fast::hash(&tail);
        self.chunk.extend(tail);
        self.write_chunk()?;
        self.sync()?;
        let path = self.dir.join(file_name(self.id));
        // The file was opened for writing alone.
        let file = open_own(File::options().read(true), &path).map_err(DiskError::io("open", &path))?;
        let (id, pointers, keys) = (self.id, self.pointers, self.keys);
        let blocks = u32::try_from(self.filter.bytes() / BLOCK_BYTES).expect("a filter below 256 GiB");
        let facts = RunFacts { id, level, pointers, keys, blocks, crc };
        Ok(Run { facts, file, fences: self.fences, filter: self.filter })
    }
}
