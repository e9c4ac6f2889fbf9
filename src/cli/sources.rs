//! Sources of entries for `treehead repair`: another journal, an export, a bucket, or a log's address.

use std::path::Path;
use std::sync::Arc;

use super::exit::Failure;
use super::object_store::StoreArgs;
use crate::bucket::Objects;
use crate::checkpoint::Origin;
use crate::client::{EntryReader, LogClient};
use crate::disk::read_note;
use crate::format::FormatError;
use crate::merkle::{LeafIndex, TreeSize};
use crate::note::NoteKey;
use crate::store::bucket::{BucketSource, BundleSource, heads_in};
use crate::store::{
    CopyError, EntrySource, ExportSource, JournalSource, Layout, SignedHead, StoreError, read_signed,
};

/// A source of entries, and its last heads.
pub struct Source {
    /// The last one that the log signed.
    pub head: Option<SignedHead>,
    /// A note that may have a quorum of witnesses.
    pub witnessed: Option<Vec<u8>>,
    pub entries: Box<dyn EntrySource>,
}

/// Opens a source of whatever kind `from` names.
pub fn open(from: &str, store: &StoreArgs, key: &NoteKey) -> Result<Source, Failure> {
    if from.starts_with("http://") || from.starts_with("https://") {
        let client = LogClient::new(from)?;
        let signed = client.checkpoint(std::slice::from_ref(key))?;
        let head = SignedHead { head: signed.get().clone(), note: signed.note().to_string().into_bytes() };
        let entries = Remote { size: head.head.size, reader: EntryReader::new(client, head.head.size) };
        let witnessed = Some(head.note.clone());
        return Ok(Source { head: Some(head), witnessed, entries: Box::new(entries) });
    }
    if from.starts_with("s3://") {
        let address = from.parse().map_err(|e: FormatError| Failure::Usage(format!("--from {from}: {e}")))?;
        return of_bucket(Arc::new(store.open(&address)?), key);
    }
    let dir = Path::new(from);
    let layout = Layout::new(dir);
    let head = read_signed(&layout.checkpoint(), key).map_err(|e| refused(from, &e.to_string()))?;
    let witnessed = read_note(&layout.witnessed()).map_err(StoreError::from)?;
    if layout.journal().is_dir() {
        let entries = JournalSource::new(&layout.journal())?;
        return Ok(Source { head, witnessed, entries: Box::new(entries) });
    }
    if dir.join("treehead.toml").exists() && dir.join("bundles").is_dir() {
        return Ok(Source { head, witnessed, entries: Box::new(BundleSource::of_cache(dir)) });
    }
    match head {
        Some(head) if dir.join("tile").is_dir() || head.head.size == TreeSize::ZERO => {
            let entries = ExportSource::new(dir, head.head.size);
            let witnessed = Some(head.note.clone());
            Ok(Source { head: Some(head), witnessed, entries: Box::new(entries) })
        }
        _ => Err(Failure::Usage(format!(
            "--from {from}: expected a backup, a copy of the log's directory, the directory of a server with a cache of bundles, an export or an address, saw none of them"
        ))),
    }
}

/// The log in another bucket.
fn of_bucket(objects: Arc<dyn Objects>, key: &NoteKey) -> Result<Source, Failure> {
    let origin = Origin::from(key.name().clone());
    let heads = heads_in(objects.as_ref(), key).map_err(|e| refused(&objects.name(), &e.to_string()))?;
    let witnessed = heads.first().cloned().flatten().map(|head| head.note);
    let head = heads.into_iter().flatten().max_by_key(|head| head.head.size);
    Ok(Source { head, witnessed, entries: Box::new(BucketSource::new(objects, &origin)) })
}

fn refused(from: &str, detail: &str) -> Failure {
    CopyError::Source { from: from.to_owned(), detail: detail.to_owned() }.into()
}

/// A log or mirror.
struct Remote {
    size: TreeSize,
    reader: EntryReader,
}

impl EntrySource for Remote {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let index = LeafIndex::new(first)
            .filter(|index| self.size.contains(*index))
            .ok_or_else(|| format!("expected entry {first}, saw a tree of size {}", self.size))?;
        self.reader.entries(index, most).map_err(|e| e.to_string())
    }
}
