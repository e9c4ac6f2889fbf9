//! Sources of entries for `treehead repair`: another journal, an export, or a log's address.

use std::path::Path;

use super::exit::Failure;
use crate::client::{EntryReader, LogClient};
use crate::merkle::{LeafIndex, TreeSize};
use crate::note::NoteKey;
use crate::store::{CopyError, EntrySource, ExportSource, JournalSource, Layout, SignedHead, read_signed};

/// A source of entries, and its last head.
pub struct Source {
    pub head: Option<SignedHead>,
    pub entries: Box<dyn EntrySource>,
}

/// Opens a source of whatever kind `from` names.
pub fn open(from: &str, key: &NoteKey) -> Result<Source, Failure> {
    if from.starts_with("http://") || from.starts_with("https://") {
        let client = LogClient::new(from)?;
        let signed = client.checkpoint(std::slice::from_ref(key))?;
        let head = SignedHead { head: signed.get().clone(), note: signed.note().to_string().into_bytes() };
        let entries = Remote { size: head.head.size, reader: EntryReader::new(client, head.head.size) };
        return Ok(Source { head: Some(head), entries: Box::new(entries) });
    }
    let dir = Path::new(from);
    let layout = Layout::new(dir);
    let head = read_signed(&layout.checkpoint(), key).map_err(|e| refused(from, &e.to_string()))?;
    if layout.journal().is_dir() {
        let entries = JournalSource::new(&layout.journal())?;
        return Ok(Source { head, entries: Box::new(entries) });
    }
    match head {
        Some(head) if dir.join("tile").is_dir() || head.head.size == TreeSize::ZERO => {
            let entries = ExportSource::new(dir, head.head.size);
            Ok(Source { head: Some(head), entries: Box::new(entries) })
        }
        _ => Err(Failure::Usage(format!(
            "--from {from}: expected a backup, a copy of the log's directory, an export or an address, saw none of them"
        ))),
    }
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
