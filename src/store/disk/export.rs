//! The log as plain files, c2sp.org/tlog-tiles, for any web server or CDN.

use std::fs;
use std::path::{Path, PathBuf};

use super::journal::Scan;
use super::{Layout, check_holds};
use crate::checkpoint::policy::{Policy, QuorumError};
use crate::checkpoint::{self, CheckpointError, origin_hash};
use crate::disk::{DiskError, RealDisk, list_dir, read_if_exists, replace};
use crate::merkle::{Hash, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes};
use crate::note::NoteKey;
use crate::proof::bundle;
use crate::store::{SignedHead, StoreError, read_signed};

/// Why a log could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log's own files can't be read, or do not check.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The export can't be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No head of the log has reached its quorum of witnesses.
    #[error("no tree head of this log has reached its quorum of witnesses yet: expected {expected}")]
    NeverWitnessed {
        /// The quorum, in words.
        expected: String,
    },
    /// The witnesses of the log's last published head are no quorum.
    #[error("{}: {source}", path.display())]
    NoQuorum {
        /// The file of the head.
        path: PathBuf,
        /// Expected and seen.
        source: QuorumError,
    },
    /// The log's last published head is not signed by the log.
    #[error(transparent)]
    Head(CheckpointError),
    /// The directory holds something other than an export.
    #[error("{} is {what}: expected a new or empty directory, or an earlier export", path.display())]
    NotAnExport {
        /// The directory.
        path: PathBuf,
        /// The kind of directory that it seems to be.
        what: &'static str,
    },
    /// The directory holds the export of another log.
    #[error("{} is not a checkpoint of {origin}: {source}", path.display())]
    OtherLog {
        /// The exported checkpoint.
        path: PathBuf,
        /// The log's origin.
        origin: String,
        /// Why it is not one of this log.
        source: Box<CheckpointError>,
    },
    /// The export is newer than the log.
    #[error("{} has tree size {there}, this log only {here}", path.display())]
    Newer {
        /// The exported checkpoint.
        path: PathBuf,
        /// Its tree size.
        there: TreeSize,
        /// The log's tree size.
        here: TreeSize,
    },
    /// A tile was exported before, with other content.
    #[error("{} is there already, with other content", path.display())]
    Differs {
        /// The tile.
        path: PathBuf,
    },
}

/// An export of the log in a directory, also while it is served.
pub struct Export<'a> {
    /// The log's directory.
    pub dir: &'a Path,
    /// The log's public keys, Ed25519 first.
    pub keys: &'a [NoteKey],
    /// The witnesses of the log, if it has any.
    pub witnesses: Option<&'a Policy>,
    /// Whether the log publishes heads without its quorum of witnesses.
    pub publish_unwitnessed: bool,
    /// The directory to write.
    pub out: &'a Path,
    /// Told how many entries of how many are written.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Tree size of the exported head.
    pub size: TreeSize,
    /// Files written.
    pub written: u64,
    /// Files that were there already.
    pub kept: u64,
}

impl Export<'_> {
    /// Writes every tile of the newest head that may be shown, and then that head.
    ///
    /// # Errors
    /// [`ExportError`]; what was exported before is as it was.
    pub fn run(&self) -> Result<Exported, ExportError> {
        check_place(self.out)?;
        let layout = Layout::new(self.dir);
        let SignedHead { head, note } = self.newest_head(&layout)?;
        self.check_out(head.size)?;
        let mut tree = TreeWriter::new(self.out, head.size);
        let mut scan = Scan::new(&layout.journal(), origin_hash(self.key().name().as_str()), None)?;
        while tree.edge.size() < head.size {
            let Some(record) = scan.next_record()? else { break };
            let left = usize::try_from(head.size.get() - tree.edge.size().get()).unwrap_or(usize::MAX);
            let entries = record.entries();
            tree.append(&entries[..entries.len().min(left)])?;
            // Tree heads end where batches do, so clients with a head of this size ask for these.
            tree.write_partial()?;
            (self.progress)(tree.edge.size().get(), head.size.get());
        }
        check_holds(&head, tree.edge.size(), || Ok(tree.edge.root()))?;
        fs::create_dir_all(self.out).map_err(DiskError::io("create", self.out))?;
        // Last: whoever reads the checkpoint finds every tile that it promises.
        replace(&RealDisk, &self.out.join("checkpoint"), &note)?;
        Ok(Exported { size: head.size, written: tree.written, kept: tree.kept })
    }

    fn key(&self) -> &NoteKey {
        &self.keys[0]
    }

    fn newest_head(&self, layout: &Layout) -> Result<SignedHead, ExportError> {
        shown_head(layout, self.keys, self.witnesses, self.publish_unwitnessed)
    }

    /// Refuses to replace a head by a smaller one: readers would see the log shrink.
    fn check_out(&self, size: TreeSize) -> Result<(), ExportError> {
        let path = self.out.join("checkpoint");
        let Some(there) = read_if_exists(&path)? else { return Ok(()) };
        let there = match checkpoint::open(&there, &self.keys[..1]) {
            Ok(there) => there.get().size,
            Err(source) => {
                let (origin, source) = (self.key().name().to_string(), Box::new(source));
                return Err(ExportError::OtherLog { path, origin, source });
            }
        };
        if there <= size { Ok(()) } else { Err(ExportError::Newer { path, there, here: size }) }
    }
}

/// Reads the head that may be shown: the last one with a quorum where the log has witnesses, unless it publishes without.
pub fn shown_head(
    layout: &Layout,
    keys: &[NoteKey],
    witnesses: Option<&Policy>,
    publish_unwitnessed: bool,
) -> Result<SignedHead, ExportError> {
    let key = &keys[0];
    let signed_head = || {
        let path = layout.checkpoint();
        read_signed(&path, key)?.ok_or(StoreError::CheckpointMissing { path })
    };
    let Some(policy) = witnesses else { return Ok(signed_head()?) };
    let path = layout.witnessed();
    let witnessed = read_signed(&path, key)?;
    if publish_unwitnessed {
        let bare = signed_head()?;
        // With its cosignatures, if they are on the newest head.
        return Ok(witnessed.filter(|witnessed| witnessed.head.size >= bare.head.size).unwrap_or(bare));
    }
    let Some(head) = witnessed else {
        return Err(ExportError::NeverWitnessed { expected: policy.quorum_in_words() });
    };
    let signed = checkpoint::open(&head.note, keys).map_err(ExportError::Head)?;
    match policy.check(&signed) {
        Ok(_) => Ok(head),
        Err(source) => Err(ExportError::NoQuorum { path, source }),
    }
}

/// Files of other directories of this program, which must not be published and which an export would damage.
const OTHERS: [(&str, &str); 7] = [
    ("backup", "a backup of a log"),
    ("treehead.toml", "the directory of a log"),
    ("journal", "the directory of a log"),
    ("log.key", "the directory of a log"),
    ("treehead-witness.toml", "the directory of a witness"),
    ("monitor.toml", "the directory of a monitor"),
    ("state.json", "what an endpoint remembers"),
];

/// Refuses any directory that is not new, empty or an earlier export.
fn check_place(out: &Path) -> Result<(), ExportError> {
    let refused = |what| Err(ExportError::NotAnExport { path: out.to_owned(), what });
    if let Some((_, what)) = OTHERS.iter().find(|(name, _)| out.join(name).exists()) {
        return refused(what);
    }
    // A first export that was cut short has tiles, and no checkpoint yet.
    if !list_dir(out)?.is_empty() && !out.join("checkpoint").exists() && !out.join("tile").is_dir() {
        return refused("a directory with other files in it");
    }
    Ok(())
}

struct TreeWriter<'a> {
    out: &'a Path,
    /// Size of the exported tree.
    end: TreeSize,
    edge: RightEdge,
    partial: PartialTiles,
    /// The bundle that is not full yet, and its number of entries.
    bundle: (Vec<u8>, u64),
    /// The partial tiles that were written last, at most one for each level.
    last: Vec<Tile>,
    written: u64,
    kept: u64,
}

impl<'a> TreeWriter<'a> {
    fn new(out: &'a Path, end: TreeSize) -> Self {
        let (edge, partial) = (RightEdge::default(), PartialTiles::default());
        Self { out, end, edge, partial, bundle: (Vec::new(), 0), last: Vec::new(), written: 0, kept: 0 }
    }

    fn append(&mut self, entries: &[&[u8]]) -> Result<(), ExportError> {
        let first = self.edge.size().get();
        for (index, entry) in (first..).zip(entries) {
            bundle::push(&mut self.bundle.0, entry).expect("read from a bundle");
            self.bundle.1 += 1;
            if self.bundle.1 == TILE_WIDTH {
                self.write_bundle(index / TILE_WIDTH)?;
            }
        }
        let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let growth = self.edge.grow(&leaf_hashes);
        let mut full = Vec::new();
        let collect = |id, hashes: &[Hash]| {
            full.push((Tile::new(id, TILE_WIDTH).expect("256 is a width"), hashes_to_bytes(hashes)));
            Ok::<(), ExportError>(())
        };
        self.partial.grow(&growth, collect)?;
        for (tile, bytes) in full {
            self.write(tile, &bytes)?;
        }
        self.edge = growth.edge;
        Ok(())
    }

    fn write_bundle(&mut self, index: u64) -> Result<(), ExportError> {
        let (bytes, width) = std::mem::take(&mut self.bundle);
        self.write(Tile::new(TileId::Entries { index }, width).expect("1 to 256 entries"), &bytes)
    }

    /// Writes the partial tiles and the partial bundle of this size, as far as the exported tree has no full
    /// ones of them: c2sp.org/tlog-tiles, "Logs MUST serve partial tiles corresponding to tree sizes for
    /// which a checkpoint was produced, but MAY delete any partial tile once the corresponding full tile is
    /// available".
    fn write_partial(&mut self) -> Result<(), ExportError> {
        let size = self.edge.size();
        let is_full = |id| Tile::in_tree(id, self.end).is_none_or(Tile::is_full);
        let partial: Vec<(Tile, Vec<u8>)> = self
            .partial
            .tiles(size)
            .filter(|(tile, _)| !is_full(tile.id) && !self.last.contains(tile))
            .map(|(tile, hashes)| (tile, hashes_to_bytes(hashes)))
            .collect();
        let bundle = Tile::in_tree(TileId::Entries { index: size.get() / TILE_WIDTH }, size);
        let bundle = bundle.filter(|tile| !is_full(tile.id));
        for (tile, bytes) in partial {
            self.write(tile, &bytes)?;
            self.last.retain(|last| last.id != tile.id);
            self.last.push(tile);
        }
        if let Some(tile) = bundle {
            let bytes = std::mem::take(&mut self.bundle.0);
            self.write(tile, &bytes)?;
            self.bundle.0 = bytes;
        }
        Ok(())
    }

    /// Writes a tile unless it is there. Tiles never change: one that is there has to be the same.
    fn write(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.out.join(tile.to_string());
        if let Some(there) = read_if_exists(&path)? {
            if there != bytes {
                return Err(ExportError::Differs { path });
            }
            self.kept += 1;
            if tile.is_full() {
                // Clients with an older head had it since the previous export.
                remove_partial(&path);
            }
            return Ok(());
        }
        let dir = path.parent().unwrap_or(self.out);
        fs::create_dir_all(dir).map_err(DiskError::io("create", dir))?;
        replace(&RealDisk, &path, bytes)?;
        self.written += 1;
        Ok(())
    }
}

/// Removes the partial tiles of a full one, and no other file.
fn remove_partial(full: &Path) {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    let Ok(items) = fs::read_dir(&name) else { return };
    let is_width = |name: &std::ffi::OsStr| {
        name.to_str().and_then(|name| name.parse::<u8>().ok()).is_some_and(|width| width > 0)
    };
    // The next export removes it if this one can't.
    items
        .flatten()
        .filter(|item| is_width(&item.file_name()))
        .for_each(|item| drop(fs::remove_file(item.path())));
    let _ = fs::remove_dir(&name);
}
