//! A run: sorted pointers of consecutive leaves, written once to pages in sled and never changed.
//!
//! ```text
//! "r" || run u64 || first pointer of the page (16)       pointers of a page, 1 to 256
//! "f" || run u64 || page u64                             4,096 bytes of the run's filter, the last fewer
//! ```
//!
//! sled writes pages of four kilobytes fast, and keeps them small, if they come in the order of their keys.
//! Single rows with random keys, one for each pointer, came at 71,000 a second.

use std::ops::RangeInclusive;

use super::filter::Filter;
use super::pointer::{POINTER_BYTES, Pointer, Wanted, damaged};
use crate::store::StoreError;

const PAGE_POINTERS: usize = 256;
const FILTER_PAGE_BYTES: usize = 4_096;

/// The name of a run; never used twice.
pub type RunId = u64;

/// A finished run, for lookups.
#[derive(Debug)]
pub struct Run {
    pub id: RunId,
    /// Number of merges that it came from.
    pub level: u8,
    /// Number of pointers.
    pub pointers: u64,
    filter: Filter,
}

impl Run {
    /// Opens a run that the manifest names.
    pub fn open(rows: &sled::Tree, id: RunId, level: u8, pointers: u64) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        for page in 0.. {
            let Some(row) = rows.get(filter_key(id, page))? else { break };
            bytes.extend_from_slice(&row);
        }
        let filter = Filter::from_bytes(&bytes).ok_or_else(|| damaged(&format!("the filter of run {id}")))?;
        Ok(Self { id, level, pointers, filter })
    }

    /// Matching pointers, lowest leaf first.
    pub fn find(&self, rows: &sled::Tree, wanted: Wanted) -> Result<Vec<Pointer>, StoreError> {
        if !self.knows(wanted.at(0)) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        // The first may be in the middle of a page, whose key is then smaller.
        let first = rows.get_lt(page_key(self.id, wanted.at(0)))?.filter(|(key, _)| is_page_of(key, self.id));
        let following = rows.range(page_key(self.id, wanted.at(0))..=page_key(self.id, wanted.at(u64::MAX)));
        for row in first.map(Ok).into_iter().chain(following) {
            let page = parse_page(&row?.1)?;
            found.extend(page.into_iter().filter(|pointer| pointer.wanted() == wanted));
        }
        Ok(found)
    }

    /// At most `limit` pointers below `before`, highest leaf first.
    pub fn find_last(
        &self,
        rows: &sled::Tree,
        wanted: Wanted,
        before: u64,
        limit: usize,
    ) -> Result<Vec<Pointer>, StoreError> {
        let (low, high) = (wanted.at(0), wanted.at(before));
        let mut found = Vec::new();
        for row in rows.range(page_key(self.id, Pointer::from_bytes([0; 16]))..page_key(self.id, high)).rev()
        {
            let page = parse_page(&row?.1)?;
            let goes_on = page[0] > low;
            found.extend(page.into_iter().rev().filter(|pointer| (low..high).contains(pointer)));
            if found.len() >= limit || !goes_on {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Whether the filter passes lookups of this pointer.
    pub fn knows(&self, pointer: Pointer) -> bool {
        !pointer.is_filtered() || self.filter.may_have(pointer.wanted())
    }

    /// All pointers, in order.
    pub fn read(&self, rows: &sled::Tree) -> impl Iterator<Item = Result<Pointer, StoreError>> + use<> {
        let (id, mut left) = (self.id, self.pointers);
        let mut rows = rows
            .range(page_key(id, Pointer::from_bytes([0; 16]))..=page_key(id, Pointer::from_bytes([255; 16])));
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(pointer) = page.next() {
                    left = left.wrapping_sub(1);
                    return Some(Ok(pointer));
                }
                let Some(row) = rows.next() else {
                    let missing = std::mem::take(&mut left);
                    let error = || Err(damaged(&format!("{missing} pointers more in run {id}")));
                    return (missing > 0).then(error);
                };
                match row.map_err(StoreError::from).and_then(|(_, page)| parse_page(&page)) {
                    Ok(pointers) => page = pointers.into_iter(),
                    Err(e) => return Some(Err(e)),
                }
            }
        })
    }
}

/// Writes a run pointer by pointer, in order.
pub struct RunWriter<'a> {
    rows: &'a sled::Tree,
    id: RunId,
    page: Vec<u8>,
    filter: Filter,
    pointers: u64,
}

impl<'a> RunWriter<'a> {
    /// Begins a run of at most so many pointers.
    pub fn new(rows: &'a sled::Tree, id: RunId, pointers: u64) -> Self {
        Self { rows, id, page: Vec::new(), filter: Filter::new(pointers), pointers: 0 }
    }

    pub fn push(&mut self, pointer: Pointer) -> Result<(), StoreError> {
        if pointer.is_filtered() {
            self.filter.insert(pointer.wanted());
        }
        self.pointers += 1;
        self.page.extend_from_slice(&pointer.to_bytes());
        if self.page.len() == PAGE_POINTERS * POINTER_BYTES { self.write_page() } else { Ok(()) }
    }

    fn write_page(&mut self) -> Result<(), StoreError> {
        if let Some(first) = self.page.first_chunk() {
            self.rows.insert(page_key(self.id, Pointer::from_bytes(*first)), self.page.as_slice())?;
        }
        self.page.clear();
        Ok(())
    }

    /// Finishes the run. It counts once the manifest names it.
    pub fn finish(mut self, level: u8) -> Result<Run, StoreError> {
        self.write_page()?;
        for (page, bytes) in (0..).zip(self.filter.to_bytes().chunks(FILTER_PAGE_BYTES)) {
            self.rows.insert(filter_key(self.id, page), bytes)?;
        }
        Ok(Run { id: self.id, level, pointers: self.pointers, filter: self.filter })
    }
}

/// Removes all rows of these runs.
pub fn remove(rows: &sled::Tree, runs: RangeInclusive<RunId>) -> Result<(), StoreError> {
    for kind in [b'r', b'f'] {
        let first = [&[kind], runs.start().to_be_bytes().as_slice()].concat();
        let end = runs
            .end()
            .checked_add(1)
            .map_or(vec![kind + 1], |id| [&[kind], id.to_be_bytes().as_slice()].concat());
        for key in rows.range(first..end).keys() {
            rows.remove(key?)?;
        }
    }
    Ok(())
}

fn page_key(id: RunId, first: Pointer) -> [u8; 25] {
    let mut key = [b'r'; 25];
    key[1..9].copy_from_slice(&id.to_be_bytes());
    key[9..].copy_from_slice(&first.to_bytes());
    key
}

fn is_page_of(key: &[u8], id: RunId) -> bool {
    key[0] == b'r' && key[1..9] == id.to_be_bytes()
}

fn filter_key(id: RunId, page: u64) -> [u8; 17] {
    let mut key = [b'f'; 17];
    key[1..9].copy_from_slice(&id.to_be_bytes());
    key[9..].copy_from_slice(&page.to_be_bytes());
    key
}

fn parse_page(bytes: &[u8]) -> Result<Vec<Pointer>, StoreError> {
    let (pointers, rest) = bytes.as_chunks::<POINTER_BYTES>();
    if !rest.is_empty() || pointers.is_empty() {
        return Err(damaged("whole pointers in a page"));
    }
    Ok(pointers.iter().map(|bytes| Pointer::from_bytes(*bytes)).collect())
}
