//! sled's directory: opens it in whatever state it is, and knows when not to believe it.
//!
//! Nothing that sled writes is durable before the system writes it out. A killed process loses none of it, a
//! power cut any part of it, and not necessarily the last. So while sled is open, a file beside it names the
//! boot of the machine: found after another boot, the file says that sled has to be rebuilt from the journal.
//! Closing syncs sled's files and removes the mark.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{DiskError, DiskIo, RealDisk, read_if_exists, read_plain, remove_dir, sync_parent, write_new};
use crate::threads::{self, ThreadError};

/// How long opening waits for readers: each is done within milliseconds.
const READERS_LEAVE: Duration = Duration::from_secs(10);
/// The threads that sled starts for its files. It goes on with fewer, unless it has none.
const SLED_THREADS: usize = 8;
/// Set once this process has opened sled.
static HAS_POOL: AtomicBool = AtomicBool::new(false);
/// Names the boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// If the system does not name it: never the same boot as another.
const UNKNOWN_BOOT: &str = "unknown";

/// Why sled could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SledError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system has no more threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// sled's files do not check.
    #[error("sled does not check: {0}")]
    Damaged(String),
}

impl From<sled::Error> for SledError {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            // The system's doing, not sled's: its files are whole, and stay.
            sled::Error::Io(source)
                if matches!(
                    source.kind(),
                    StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem
                ) =>
            {
                DiskError::io("open or write", "sled")(source).into()
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// The disk of those who use sled.
pub trait SledIo: DiskIo {
    /// Every write of rows to sled goes through here; tests make it fail.
    ///
    /// # Errors
    /// Those of `write`.
    fn write_rows(&self, write: &mut dyn FnMut() -> Result<(), SledError>) -> Result<(), SledError> {
        write()
    }
}

impl SledIo for RealDisk {}

/// The directory, and the mark beside it.
#[derive(Clone)]
pub struct SledDir {
    path: PathBuf,
    mark: PathBuf,
    io: Arc<dyn DiskIo>,
}

impl SledDir {
    /// sled in `path`, with its mark beside it.
    #[must_use]
    pub fn new(path: PathBuf, mark: PathBuf, io: Arc<dyn DiskIo>) -> Self {
        Self { path, mark, io }
    }

    /// Opens sled and its `trees`, after removing what a power cut may have damaged.
    ///
    /// # Errors
    /// [`SledError::Damaged`] if sled has to be [discarded](Self::discard).
    pub fn open<T>(
        &self,
        cache_bytes: u64,
        trees: impl Fn(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, SledError> {
        if self.was_cut_off()? {
            tracing::warn!("the machine went down while sled was open: rebuilding it from the journal");
            // A crash in here leaves the mark, and the next opening does the same.
            self.discard()?;
        }
        self.mark()?;
        self.open_marked(cache_bytes, trees)
    }

    /// Opens what was open when the machine went down, for a last look before it is discarded; `None` if
    /// nothing was. It may lack anything, and stays marked.
    ///
    /// # Errors
    /// [`SledError`].
    pub fn open_cut_off(&self, cache_bytes: u64) -> Result<Option<sled::Db>, SledError> {
        if !self.was_cut_off()? || !self.path.exists() {
            return Ok(None);
        }
        self.open_marked(cache_bytes, |db| Ok(db.clone())).map(Some)
    }

    /// Opens sled and its `trees` for reading.
    ///
    /// # Errors
    /// [`SledError::Damaged`] also if a power cut may have damaged sled.
    pub fn open_sound<T>(
        &self,
        cache_bytes: u64,
        trees: impl Fn(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, SledError> {
        if self.was_cut_off()? {
            let detail = "the machine went down while the log ran, and sled may lack anything";
            return Err(SledError::Damaged(detail.to_owned()));
        }
        self.mark()?;
        self.open_marked(cache_bytes, trees)
    }

    /// Whether sled was open when the machine went down.
    fn was_cut_off(&self) -> Result<bool, DiskError> {
        let mark = read_if_exists(&self.mark)?;
        Ok(mark.is_some_and(|mark| mark == UNKNOWN_BOOT.as_bytes() || mark != boot().as_bytes()))
    }

    /// Durable before sled writes anything.
    fn mark(&self) -> Result<(), DiskError> {
        let boot = boot();
        if read_plain(&self.mark).is_ok_and(|mark| mark == boot.as_bytes()) {
            return Ok(());
        }
        write_new(self.io.as_ref(), &self.mark, boot.as_bytes())?;
        sync_parent(self.io.as_ref(), &self.mark)
    }

    /// Opens sled; it may panic on files that it did not expect.
    fn open_marked<T>(
        &self,
        cache_bytes: u64,
        trees: impl Fn(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, SledError> {
        // Without any of its threads, sled waits for its first write for ever. Its pool stays for as long as the process, so a
        // server at its limit of threads can open sled again with a thread that flushes.
        let wanted = if HAS_POOL.load(Ordering::Relaxed) { 1 } else { SLED_THREADS };
        threads::check("sled", wanted)?;
        let open = || {
            let config = sled::Config::new().path(&self.path).cache_capacity(cache_bytes);
            // Durability is the journal's part: sled's own flushes only bound how far it is behind.
            let db = config.mode(sled::Mode::HighThroughput).flush_every_ms(Some(1_000)).open()?;
            trees(&db)
        };
        let deadline = Instant::now() + READERS_LEAVE;
        loop {
            match catch_unwind(AssertUnwindSafe(open)) {
                // The directory is ours, so a reader that came before a reload holds sled, and leaves when it
                // has its answer.
                Ok(Err(e)) if is_held(&e) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(Err(e)) if is_held(&e) => {
                    let source = io::Error::new(io::ErrorKind::ResourceBusy, e.to_string());
                    return Err(DiskError::io("lock", &self.path)(source).into());
                }
                Ok(opened) => {
                    let opened = opened?;
                    HAS_POOL.store(true, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(_) => return Err(SledError::Damaged("sled panicked while it opened".to_owned())),
            }
        }
    }

    /// Makes everything durable that was written, and removes the mark: the next opening believes sled on any
    /// boot. Nothing may be written to sled afterwards.
    ///
    /// # Errors
    /// [`SledError`]; the mark may stay.
    pub fn close(&self, db: &sled::Db) -> Result<(), SledError> {
        db.flush()?;
        sync_files(&self.path)?;
        // A crash before this is done leaves the mark: at worst sled is rebuilt.
        self.io.remove(&self.mark).map_err(DiskError::io("remove", &self.mark))?;
        Ok(sync_parent(self.io.as_ref(), &self.mark)?)
    }

    /// Removes a closed sled. The mark is written first: a power cut may leave some of the files. The mark of
    /// another boot stays: it says the same.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn discard_marked(&self) -> Result<(), DiskError> {
        if !self.was_cut_off()? {
            self.mark()?;
        }
        self.discard()
    }

    /// Removes sled, under its mark.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn discard(&self) -> Result<(), DiskError> {
        remove_dir(&self.path)
    }
}

fn boot() -> String {
    fs::read_to_string(BOOT_ID).map_or_else(|_| UNKNOWN_BOOT.to_owned(), |id| id.trim().to_owned())
}

/// sled's own flush is no fsync.
fn sync_files(dir: &Path) -> Result<(), DiskError> {
    for item in fs::read_dir(dir).map_err(DiskError::io("list", dir))? {
        let path = item.map_err(DiskError::io("list", dir))?.path();
        if path.is_dir() {
            sync_files(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(DiskError::io("fsync", &path))?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::io("fsync", dir))
}

/// sled has no kind of its own for this.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().starts_with("could not acquire lock"))
}
