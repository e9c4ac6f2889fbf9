//! `treehead export`: the log as plain files, c2sp.org/tlog-tiles.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::config::Config;
use super::exit::{CliResult, Failure};
use super::{files, output};
use crate::checkpoint::{self, Checkpoint, origin_hash};
use crate::disk::read_plain;
use crate::endpoint::Refusal;
use crate::merkle::{Hash, PartialTiles, RightEdge, TILE_WIDTH, Tile, TileId, TreeSize, hashes_to_bytes};
use crate::proof::bundle;
use crate::store::journal::Scan;
use crate::store::{Layout, SignedHead, StoreError, read_signed};

/// Write a log as a static tlog-tiles tree that any web server or CDN can serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead export mylog /var/www/log

Works while the log is served. Run again, it adds what is new; the checkpoint is written last.")]
pub struct Export {
    /// Directory of the log
    pub dir: PathBuf,
    /// Directory to write the tree to
    pub out: PathBuf,
}

pub fn run(args: &Export, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    check_place(&args.out)?;
    let layout = Layout::new(&args.dir);
    let SignedHead { head, note } = newest_head(&config, &layout)?;
    check_out(&args.out.join("checkpoint"), &head, &config)?;
    let mut tree = TreeWriter::new(&args.out, head.size);
    let mut scan = Scan::new(&layout.journal(), origin_hash(config.origin.as_str()), None)?;
    let bar = output::progress("exporting", head.size.get(), "entries");
    while tree.edge.size() < head.size {
        let Some(record) = scan.next_record()? else {
            return Err(StoreError::JournalShort { signed: head.size, seen: tree.edge.size() }.into());
        };
        let left = usize::try_from(head.size.get() - tree.edge.size().get()).unwrap_or(usize::MAX);
        let entries = record.entries();
        tree.append(&entries[..entries.len().min(left)])?;
        // Tree heads end where batches do, so clients with a head of this size ask for these.
        tree.write_partial()?;
        bar.set_position(tree.edge.size().get());
    }
    bar.finish_and_clear();
    let root = tree.edge.root();
    if root != head.root {
        let (expected, seen) = (head.root.to_base64(), root.to_base64());
        return Err(StoreError::JournalForked { size: head.size, expected, seen }.into());
    }
    fs::create_dir_all(&args.out).map_err(|e| Failure::io("create", &args.out, &e))?;
    // Last: whoever reads it finds every tile that it promises.
    files::replace(&args.out.join("checkpoint"), &note)?;
    let (written, kept, out) = (tree.written, tree.kept, args.out.display());
    output::result(
        json,
        &json!({ "ok": true, "tree_size": head.size.get(), "written": written, "kept": kept }),
        &format!(
            "{out} holds the log up to tree size {}: {written} files written, {kept} there already\n",
            head.size
        ),
    )
}

/// The head that may be shown: the last one with a quorum where the log has witnesses, unless its settings
/// say that it publishes without.
fn newest_head(config: &Config, layout: &Layout) -> Result<SignedHead, Failure> {
    let signed_head = || -> Result<SignedHead, Failure> {
        let path = layout.checkpoint();
        Ok(read_signed(&path, &config.vkey()?)?.ok_or(StoreError::CheckpointMissing { path })?)
    };
    let Some(policy) = config.witnesses()? else { return signed_head() };
    let path = layout.witnessed();
    let witnessed = read_signed(&path, &config.vkey()?)?;
    if config.options.publish_unwitnessed {
        let bare = signed_head()?;
        // With its cosignatures, if they are on the newest head.
        return Ok(witnessed.filter(|witnessed| witnessed.head.size >= bare.head.size).unwrap_or(bare));
    }
    let Some(head) = witnessed else {
        let message = format!(
            "no tree head of this log has reached its quorum of witnesses yet: expected {}",
            policy.quorum_in_words()
        );
        return Err(Failure::refused("no-quorum", message, "Serve it until its witnesses have cosigned."));
    };
    let signed = checkpoint::open(&head.note, &config.vkeys()?).map_err(Refusal::Checkpoint)?;
    match policy.check(&signed) {
        Ok(_) => Ok(head),
        Err(e) => Err(Failure::refused(
            "no-quorum",
            format!("{}: {e}", path.display()),
            "Serve it until the witnesses that treehead.toml names have cosigned.",
        )),
    }
}

/// Files of this program's other directories, which must not be published and which an export would damage.
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
fn check_place(out: &Path) -> CliResult {
    let refused = |what: &str| {
        let message =
            format!("{} is {what}: expected a new or empty directory, or an earlier export", out.display());
        Err(Failure::refused("not-an-export", message, "Nothing was changed; choose another directory."))
    };
    if let Some((_, what)) = OTHERS.iter().find(|(name, _)| out.join(name).exists()) {
        return refused(what);
    }
    let occupied = match fs::read_dir(out) {
        Ok(mut items) => items.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Failure::io("list", out, &e)),
    };
    // A first export that was cut short has tiles, and no checkpoint yet.
    if occupied && !out.join("checkpoint").exists() && !out.join("tile").is_dir() {
        return refused("a directory with other files in it");
    }
    Ok(())
}

/// A tree head that was exported before must not go back: whoever reads it would see the log shrink.
fn check_out(path: &Path, head: &Checkpoint, config: &Config) -> CliResult {
    let there = match read_plain(path) {
        Ok(there) => there,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::io("read", path, &e)),
    };
    let there = checkpoint::open(&there, &[config.vkey()?]).map_err(|e| {
        let message = format!("{} is not a checkpoint of {}: {e}", path.display(), config.origin);
        Failure::refused("not-an-export", message, "Nothing was changed; choose another directory.")
    })?;
    let there = there.get();
    if there.size <= head.size {
        return Ok(());
    }
    let message = format!("{} has tree size {}, this log only {}", path.display(), there.size, head.size);
    Err(Failure::refused(
        "export-newer",
        message,
        "This log's directory is older than its export: find out why first.",
    ))
}

struct TreeWriter<'a> {
    out: &'a Path,
    /// Size of the tree that is exported.
    end: TreeSize,
    edge: RightEdge,
    partial: PartialTiles,
    /// The bundle that is not full yet, and how many entries it has.
    bundle: (Vec<u8>, u64),
    /// The partial tiles that were written last, at most one of each level.
    last: Vec<Tile>,
    written: u64,
    kept: u64,
}

impl<'a> TreeWriter<'a> {
    fn new(out: &'a Path, end: TreeSize) -> Self {
        let (edge, partial) = (RightEdge::default(), PartialTiles::default());
        Self { out, end, edge, partial, bundle: (Vec::new(), 0), last: Vec::new(), written: 0, kept: 0 }
    }

    fn append(&mut self, entries: &[&[u8]]) -> CliResult {
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
            Ok::<(), Failure>(())
        };
        self.partial.grow(&growth, collect)?;
        for (tile, bytes) in full {
            self.write(tile, &bytes)?;
        }
        self.edge = growth.edge;
        Ok(())
    }

    fn write_bundle(&mut self, index: u64) -> CliResult {
        let (bytes, width) = std::mem::take(&mut self.bundle);
        self.write(Tile::new(TileId::Entries { index }, width).expect("1 to 256 entries"), &bytes)
    }

    /// Writes the partial tiles and the partial bundle of this size, as far as the exported tree has no full
    /// ones of them: c2sp.org/tlog-tiles, "Logs MUST serve partial tiles corresponding to tree sizes for which
    /// a checkpoint was produced, but MAY delete any partial tile once the corresponding full tile is available".
    fn write_partial(&mut self) -> CliResult {
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

    /// Tiles never change: one that is there already has to be the same.
    fn write(&mut self, tile: Tile, bytes: &[u8]) -> CliResult {
        let path = self.out.join(tile.to_string());
        match read_plain(&path) {
            Ok(there) if there == bytes => {
                self.kept += 1;
                if tile.is_full() {
                    // Clients with an older head had it since the previous export.
                    remove_partial(&path);
                }
                return Ok(());
            }
            Ok(_) => {
                return Err(Failure::refused(
                    "export-differs",
                    format!("{} is there already, with other content", path.display()),
                    "It is another log's, or damaged: export to an empty directory and compare.",
                ));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::io("read", &path, &e)),
        }
        let dir = path.parent().unwrap_or(self.out);
        fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e))?;
        files::replace(&path, bytes)?;
        self.written += 1;
        Ok(())
    }
}

/// Removes the partial tiles of a full one; what else lies there stays.
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
