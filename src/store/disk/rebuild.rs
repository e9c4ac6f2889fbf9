//! Writing a new journal from what is left of the old one and from a source.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal::{JournalWriter, Record, Salvage};
use super::rehash::{Rehash, rehash_journal};
use super::{CopyError, Layout};
use crate::checkpoint::origin_hash;
use crate::disk::DiskIo;
use crate::merkle::TreeSize;
use crate::release::MAX_ENTRY_BYTES;
use crate::store::signed_head::SignedHead;
use crate::store::{MAX_BATCH_BYTES, MAX_BATCH_ENTRIES};

/// A source of entries that a journal lost. It is not trusted: the rebuilt tree must have the root that the
/// log signed.
pub trait EntrySource {
    /// Reads consecutive entries from `first` on: at least one, at most `most`, and at most
    /// [`MAX_BATCH_BYTES`] in all.
    ///
    /// # Errors
    /// Expected and seen, in words, if the source does not have them.
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String>;
}

/// The batches of another journal that check: a backup's, or a copy's.
#[derive(Debug)]
pub struct JournalSource {
    dir: PathBuf,
    salvage: Salvage,
    last: Option<Record>,
}

impl JournalSource {
    /// The journal in `dir`.
    ///
    /// # Errors
    /// [`CopyError::Store`] if it can't be listed.
    pub fn new(dir: &Path) -> Result<Self, CopyError> {
        Ok(Self { dir: dir.to_owned(), salvage: Salvage::new(dir)?, last: None })
    }
}

impl EntrySource for JournalSource {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        if self.last.as_ref().is_some_and(|last| last.first > first) {
            self.salvage = Salvage::new(&self.dir).map_err(|e| e.to_string())?;
            self.last = None;
        }
        // A damaged journal may have any number in what looks like a batch.
        let end = |record: &Record| record.first.saturating_add(record.entries().len() as u64);
        while self.last.as_ref().is_none_or(|last| end(last) <= first) {
            let Some(record) = self.salvage.next_record() else {
                self.last = None;
                return Err(format!("expected entry {first}, saw an end of its journal before it"));
            };
            self.last = Some(record);
        }
        let record = self.last.as_ref().expect("just read");
        let Some(skip) = first.checked_sub(record.first) else {
            return Err(format!("expected entry {first}, saw none before entry {}", record.first));
        };
        let skip = usize::try_from(skip).expect("within a batch");
        Ok(record.entries().into_iter().skip(skip).take(most).map(<[u8]>::to_vec).collect())
    }
}

/// A journal to write.
pub struct Rebuild<'a> {
    pub layout: &'a Layout,
    /// The head that it must hold.
    pub target: &'a SignedHead,
    /// Other heads that the log signed.
    pub also: &'a [SignedHead],
    /// The source's name in messages.
    pub from: &'a str,
    pub io: &'a Arc<dyn DiskIo>,
    pub segment_bytes: u64,
    pub progress: &'a dyn Fn(u64, u64),
}

/// Numbers of entries in a new journal, by their source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// From the journal that was there.
    pub kept: u64,
    /// From the source.
    pub fetched: u64,
}

impl Rebuild<'_> {
    /// Writes `journal.building`: the log's own batches that check, entries of the source for the rest, then
    /// own batches that follow beyond the signed size. Reads it back and compares it with the signed root.
    ///
    /// # Errors
    /// [`CopyError`]; `journal.building` is not to be used then.
    pub fn write(&self, source: &mut dyn EntrySource) -> Result<Counts, CopyError> {
        let tried = self.attempt(source, true);
        let counts = match tried {
            // A batch of the own journal may check and still be wrong. Try with the source alone up to the
            // signed size.
            Err(CopyError::Source { .. }) => self.attempt(source, false).map_err(|e| match (e, tried) {
                (CopyError::Source { .. }, Err(first)) => first,
                (other, _) => other,
            })?,
            tried => tried?,
        };
        self.read_back()?;
        Ok(counts)
    }

    fn attempt(&self, source: &mut dyn EntrySource, keep_signed: bool) -> Result<Counts, CopyError> {
        let target = self.target.head.size;
        let origin = origin_hash(self.target.head.origin.as_str());
        let building = self.layout.journal_building();
        let writer = JournalWriter::create(self.io, &building, origin, self.segment_bytes)?;
        let tree = Rehash::watching(self.also.iter().chain([self.target]).map(|head| head.head.size));
        let mut job = Job { writer, tree, counts: Counts::default(), target };
        let mut own = Salvage::new(&self.layout.journal())?;
        let mut record = own.next_record();
        loop {
            let next = job.tree.edge().size().get();
            (self.progress)(next.min(target.get()), target.get());
            match &record {
                Some(r) if r.first < next || (r.first < target.get() && !keep_signed) => {
                    record = own.next_record();
                }
                Some(r) if r.first == next => {
                    // A batch that does not make the root in its head is fetched, if it was signed.
                    job.keep(r)?;
                    record = own.next_record();
                }
                _ if next >= target.get() => break,
                gap => {
                    let end = gap.as_ref().map_or(target.get(), |r| r.first.min(target.get()));
                    let most = (end - next).min(MAX_BATCH_ENTRIES as u64);
                    let most = usize::try_from(most).expect("at most a batch");
                    let entries = source.entries(next, most).map_err(|detail| self.source_error(detail))?;
                    if entries.is_empty() || entries.len() > most {
                        let (seen, from) = (entries.len(), next);
                        let detail = format!("expected 1 to {most} entries from {from} on, saw {seen}");
                        return Err(self.source_error(detail));
                    }
                    let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
                    let longest = entries.iter().map(|entry| entry.len()).max().unwrap_or_default();
                    let all: usize = entries.iter().map(|entry| entry.len()).sum();
                    for (limit, seen) in [(MAX_ENTRY_BYTES, longest), (MAX_BATCH_BYTES, all)] {
                        if seen > limit {
                            let detail = format!("expected entries of at most {limit} bytes, saw {seen}");
                            return Err(self.source_error(detail));
                        }
                    }
                    job.append(&entries)?;
                    job.counts.fetched += entries.len() as u64;
                }
            }
        }
        job.writer.finish()?;
        if !job.tree.holds(self.target) {
            let seen = job.tree.root_at(target).map_or_else(|| "none".to_owned(), |root| root.to_base64());
            let expected = self.target.head.root.to_base64();
            return Err(self.source_error(format!(
                "expected its entries to make the signed root {expected} at tree size {target}, computed {seen}"
            )));
        }
        match self.also.iter().find(|head| !job.tree.holds(head)) {
            Some(other) => {
                let a = self.layout.dir().display().to_string();
                Err(CopyError::Fork { a, b: self.from.to_owned(), size: other.head.size.min(target) })
            }
            None => Ok(job.counts),
        }
    }

    fn read_back(&self) -> Result<(), CopyError> {
        let origin = origin_hash(self.target.head.origin.as_str());
        let tree = Rehash::watching([self.target.head.size]);
        let tree = rehash_journal(&self.layout.journal_building(), origin, None, tree, &|_, _| ())?;
        Ok(tree.check(self.target)?)
    }

    fn source_error(&self, detail: String) -> CopyError {
        CopyError::Source { from: self.from.to_owned(), detail }
    }
}

/// A journal while it is written.
struct Job {
    writer: JournalWriter,
    tree: Rehash,
    counts: Counts,
    target: TreeSize,
}

impl Job {
    /// Takes a batch of the own journal if its entries make its root.
    fn keep(&mut self, record: &Record) -> Result<(), CopyError> {
        let entries = record.entries();
        if self.tree.growth(&entries).edge.root() != record.root {
            return Ok(());
        }
        self.append(&entries)?;
        self.counts.kept += entries.len() as u64;
        Ok(())
    }

    /// Appends entries. Signed heads end where batches do, so a batch that passes the target is divided.
    fn append(&mut self, entries: &[&[u8]]) -> Result<(), CopyError> {
        let left = self.target.get().saturating_sub(self.tree.edge().size().get());
        let cut = usize::try_from(left).map_or(entries.len(), |left| left.min(entries.len()));
        for some in [&entries[..cut], &entries[cut..]] {
            if !some.is_empty() {
                let growth = self.tree.growth(some);
                self.tree.grow(some, &growth);
                self.writer.append(some, growth)?;
            }
        }
        Ok(())
    }
}
