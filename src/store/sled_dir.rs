//! sled's directory: opening it whatever state it is in, and knowing when not to believe it.
//!
//! Nothing that sled writes is durable before the system gets round to it. A killed process loses
//! none of what it wrote, a power cut any part of it, and not necessarily the last. So while sled is
//! open, a file beside it names the boot of the machine: found after another boot, it says that sled
//! has to be made anew from the journal. Closing syncs sled's files and takes the mark away.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StoreError;
use crate::disk::{DiskIo, read_plain};

/// How long opening waits for those who read: each is done with what it reads within milliseconds.
const READERS_LEAVE: Duration = Duration::from_secs(10);
/// Names the boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Where the system doesn't say: never the same boot as another.
const UNKNOWN_BOOT: &str = "unknown";

/// The directory, and the mark beside it.
#[derive(Clone)]
pub struct SledDir {
    path: PathBuf,
    mark: PathBuf,
    io: Arc<dyn DiskIo>,
}

/// An open database and its two trees.
pub struct Opened {
    pub db: sled::Db,
    pub tree: sled::Tree,
    pub index: sled::Tree,
}

impl SledDir {
    /// sled in `path`, with its mark beside it.
    pub fn new(path: PathBuf, mark: PathBuf, io: Arc<dyn DiskIo>) -> Self {
        Self { path, mark, io }
    }

    /// Opens sled, after throwing away what a power cut may have taken pieces of.
    pub fn open(&self, cache_bytes: u64) -> Result<Opened, StoreError> {
        if self.was_cut_off()? {
            tracing::warn!("the machine went down while the log ran: making the tree anew from the journal");
            // A crash in here leaves the mark, and so does this again.
            self.discard()?;
        }
        self.mark()?;
        self.open_marked(cache_bytes, two_trees)
    }

    /// The same, for whoever needs no trees but sled's own.
    pub fn open_plain(&self, cache_bytes: u64) -> Result<sled::Db, StoreError> {
        if self.was_cut_off()? {
            tracing::warn!("the machine went down while sled was open: making it anew from the journal");
            self.discard()?;
        }
        self.mark()?;
        self.open_marked(cache_bytes, |db| Ok(db.clone()))
    }

    /// Opens what was open when the machine went down, for a last look before it is thrown away; `None`
    /// where there is nothing of the kind. It may lack anything, and stays marked.
    pub fn open_cut_off(&self, cache_bytes: u64) -> Result<Option<sled::Db>, StoreError> {
        if !self.was_cut_off()? || !self.path.exists() {
            return Ok(None);
        }
        self.open_marked(cache_bytes, |db| Ok(db.clone())).map(Some)
    }

    /// Opens sled for reading; what a power cut may have taken pieces of is an error.
    pub fn open_sound(&self, cache_bytes: u64) -> Result<Opened, StoreError> {
        if self.was_cut_off()? {
            let detail = "the machine went down while the log ran, and sled may lack anything".to_owned();
            return Err(StoreError::TreeDamaged { detail });
        }
        self.mark()?;
        self.open_marked(cache_bytes, two_trees)
    }

    /// Whether it was open when the machine went down.
    fn was_cut_off(&self) -> Result<bool, StoreError> {
        match read_plain(&self.mark) {
            Ok(mark) => Ok(mark == UNKNOWN_BOOT.as_bytes() || mark != boot().as_bytes()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(StoreError::io("read", &self.mark)(e)),
        }
    }

    /// Durable before sled writes anything.
    fn mark(&self) -> Result<(), StoreError> {
        let boot = boot();
        if read_plain(&self.mark).is_ok_and(|mark| mark == boot.as_bytes()) {
            return Ok(());
        }
        let io = &self.io;
        let file = io.create(&self.mark).map_err(StoreError::io("create", &self.mark))?;
        io.write_at(&file, &self.mark, boot.as_bytes(), 0).map_err(StoreError::io("write", &self.mark))?;
        io.sync_all(&file, &self.mark).map_err(StoreError::io("fsync", &self.mark))?;
        self.sync_parent()
    }

    /// Opens sled; it may panic on files that it did not expect.
    fn open_marked<T>(
        &self,
        cache_bytes: u64,
        trees: impl Fn(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let open = || {
            let config = sled::Config::new().path(&self.path).cache_capacity(cache_bytes);
            // Durability is the journal's part: sled's own flushes only bound how far it is behind.
            let db = config.mode(sled::Mode::HighThroughput).flush_every_ms(Some(1_000)).open()?;
            trees(&db)
        };
        let deadline = Instant::now() + READERS_LEAVE;
        loop {
            match catch_unwind(AssertUnwindSafe(open)) {
                // The directory is ours, so whoever holds sled is a reader that came before a reload,
                // and leaves when it has its answer.
                Ok(Err(e)) if is_held(&e) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(Err(e)) if is_held(&e) => {
                    let source = std::io::Error::new(std::io::ErrorKind::ResourceBusy, e.to_string());
                    return Err(StoreError::io("lock", &self.path)(source));
                }
                Ok(opened) => return Ok(opened?),
                Err(_) => {
                    let detail = "sled panicked while it opened".to_owned();
                    return Err(StoreError::TreeDamaged { detail });
                }
            }
        }
    }

    /// Makes everything durable that was written, and takes the mark away: the next opening believes
    /// sled on any boot. Nothing may be written to sled afterwards.
    pub fn close(&self, db: &sled::Db) -> Result<(), StoreError> {
        db.flush()?;
        sync_files(&self.path)?;
        // A crash before this is done leaves the mark: at worst the tree is made anew.
        self.io.remove(&self.mark).map_err(StoreError::io("remove", &self.mark))?;
        self.sync_parent()
    }

    /// Throws a closed sled away. A mark comes first: a power cut may leave some of the files. One of
    /// another boot stays as it is, for it says the same.
    pub fn discard_marked(&self) -> Result<(), StoreError> {
        if !self.was_cut_off()? {
            self.mark()?;
        }
        self.discard()
    }

    /// Throws sled away, under its mark.
    pub fn discard(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.path)(e))
            }
            _ => Ok(()),
        }
    }

    fn sync_parent(&self) -> Result<(), StoreError> {
        let parent = self.mark.parent().unwrap_or(Path::new("."));
        self.io.sync_dir(parent).map_err(StoreError::io("fsync", parent))
    }
}

fn two_trees(db: &sled::Db) -> sled::Result<Opened> {
    Ok(Opened { db: db.clone(), tree: db.open_tree("tree")?, index: db.open_tree("index")? })
}

fn boot() -> String {
    fs::read_to_string(BOOT_ID).map_or_else(|_| UNKNOWN_BOOT.to_owned(), |id| id.trim().to_owned())
}

/// sled's own flush is no fsync.
fn sync_files(dir: &Path) -> Result<(), StoreError> {
    for item in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = item.map_err(StoreError::io("list", dir))?.path();
        if path.is_dir() {
            sync_files(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(StoreError::io("fsync", &path))?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("fsync", dir))
}

/// sled has no kind of its own for this.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock"))
}
