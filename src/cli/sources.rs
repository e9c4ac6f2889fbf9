//! Where `treehead repair` fetches entries: another journal, an export, or a log's address.

use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::files;
use crate::client::{Bundle, EntryStream, LogClient, StreamOptions};
use crate::merkle::{LeafIndex, TILE_WIDTH, Tile, TileId, TreeSize};
use crate::note::NoteKey;
use crate::proof::bundle::{self, LENGTH_BYTES};
use crate::release::MAX_ENTRY_BYTES;
use crate::store::{CopyError, EntrySource, JournalSource, Layout, SignedHead, read_signed};

/// A source, and the last head that it has.
pub struct Source {
    pub head: Option<SignedHead>,
    pub entries: Box<dyn EntrySource>,
}

/// Finds out what kind of source it is.
pub fn open(from: &str, key: &NoteKey) -> Result<Source, Failure> {
    if from.starts_with("http://") || from.starts_with("https://") {
        let client = LogClient::new(from)?;
        let signed = client.checkpoint(std::slice::from_ref(key))?;
        let head = SignedHead { head: signed.get().clone(), note: signed.note().to_string().into_bytes() };
        let entries = Remote { size: head.head.size, client, ahead: None, last: None };
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
            let entries = Export { size: head.head.size, dir: dir.to_owned() };
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

/// c2sp.org/tlog-tiles over HTTP.
struct Remote {
    size: TreeSize,
    client: LogClient,
    /// What is fetched ahead, once somebody reads on from one bundle into the next: a gap of a few entries
    /// costs the log one request.
    ahead: Option<EntryStream>,
    last: Option<Bundle>,
}

impl Remote {
    /// The bundle that begins with an entry.
    fn bundle_from(&mut self, first: LeafIndex) -> Result<Bundle, String> {
        let follows = self.last.as_ref().is_some_and(|last| last.end().next_index() == first);
        let from = TreeSize::new(first.get()).expect("an index is a size");
        if !follows {
            self.ahead = None;
            let full = TreeSize::new((first.get() / TILE_WIDTH + 1) * TILE_WIDTH).unwrap_or(self.size);
            let options = StreamOptions { tree: self.size, ..StreamOptions::default() };
            let one = EntryStream::new(&self.client, from..full.min(self.size), &options).next();
            return one.expect("a range with an entry").map_err(|e| e.to_string());
        }
        let stream = self.ahead.get_or_insert_with(|| {
            EntryStream::new(&self.client, from..self.size, &StreamOptions::default())
        });
        stream.next().expect("the tree has the entry").map_err(|e| e.to_string())
    }
}

impl EntrySource for Remote {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let index = LeafIndex::new(first)
            .filter(|index| self.size.contains(*index))
            .ok_or_else(|| format!("expected entry {first}, saw a tree of size {}", self.size))?;
        let has = |last: &Bundle| last.first <= index && last.end().contains(index);
        let bundle = match self.last.take_if(|last| has(last)) {
            Some(bundle) => bundle,
            None => self.bundle_from(index).inspect_err(|_| self.ahead = None)?,
        };
        let skip = usize::try_from(first - bundle.first.get()).expect("at most 256");
        let entries = bundle.entries().skip(skip).take(most).map(<[u8]>::to_vec).collect();
        self.last = Some(bundle);
        Ok(entries)
    }
}

/// c2sp.org/tlog-tiles from files.
struct Export {
    size: TreeSize,
    dir: PathBuf,
}

impl EntrySource for Export {
    fn entries(&mut self, first: u64, most: usize) -> Result<Vec<Vec<u8>>, String> {
        let id = TileId::Entries { index: first / TILE_WIDTH };
        let skip = usize::try_from(first % TILE_WIDTH).expect("below 256");
        let tile = Tile::in_tree(id, self.size)
            .filter(|tile| tile.width() > skip)
            .ok_or_else(|| format!("expected entry {first}, saw a tree of size {}", self.size))?;
        let entries = read_bundle(&self.dir, tile)?;
        Ok(entries.into_iter().skip(skip).take(most).collect())
    }
}

/// A partial bundle may be gone once the full one is there.
fn read_bundle(dir: &Path, tile: Tile) -> Result<Vec<Vec<u8>>, String> {
    let full = Tile::new(tile.id, TILE_WIDTH).expect("256 is a width");
    let path = dir.join(tile.to_string());
    let path = if path.exists() { path } else { dir.join(full.to_string()) };
    let limit = 256 * (LENGTH_BYTES + MAX_ENTRY_BYTES);
    let bytes = std::fs::metadata(&path)
        .and_then(|_| {
            files::read(&path, "an entry bundle", limit).map_err(|_| std::io::ErrorKind::InvalidData.into())
        })
        .map_err(|e| format!("could not read {}: {e}", path.display()))?;
    let entries = bundle::split(&bytes, 256).map_err(|e| format!("{}: {e}", path.display()))?;
    if entries.len() < tile.width() {
        let (expected, seen) = (tile.width(), entries.len());
        return Err(format!("{}: expected {expected} entries, saw {seen}", path.display()));
    }
    Ok(entries.into_iter().take(tile.width()).map(<[u8]>::to_vec).collect())
}
