//! Exports a log to a bucket. The store or a CDN serves it to readers; nobody appends to the log there.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::layout::{self, BATCHES, HEAD, HeadKind, IMMUTABLE, INDEX, LEASE, ORIGIN, PROFILE, TILES};
use super::parallel;
use crate::bucket::{BucketError, Creation, Headers, MAX_LISTED, Objects, Replacement};
use crate::merkle::Tile;
use crate::note::MAX_NOTE_BYTES;
use crate::store::{ExportError, ExportPlace};

/// Most attempts at a conditional request.
const MAX_ATTEMPTS: u32 = 7;
/// Longest pause that a store may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Size limit of a file beside the tree.
const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Prefix of the [probe](crate::bucket::probe)'s objects, which may remain in the bucket.
const PROBE: &str = "probe/";

/// An export below a bucket's prefix. Every write of the tree is conditional, so concurrent exports can't harm each
/// other.
///
/// Partial tiles carry no expiry tag, so that an export which nobody repeats stays complete.
pub struct ExportBucket {
    objects: Arc<dyn Objects>,
    threads: usize,
    /// Pause after the first attempt at a write. It doubles with each attempt.
    pub(super) pause: Duration,
}

impl ExportBucket {
    /// An export to `objects`, below a prefix that the caller has [probed](crate::bucket::probe), with this number of
    /// concurrent requests.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, threads: usize) -> Self {
        Self { objects, threads, pause: Duration::from_millis(100) }
    }

    /// Creates a tile. Returns false if the same tile was there already.
    fn create(&self, tile: Tile, bytes: &[u8]) -> Result<bool, ExportError> {
        let key = layout::tile(tile);
        let differs = || ExportError::Differs { file: self.name_of(&key) };
        let hidden = || BucketError::Unavailable {
            url: self.name_of(&key),
            detail: "it exists, but can't be read".to_owned(),
            retry_after: None,
        };
        let mut attempts = self.attempts();
        loop {
            match self.objects.create(&key, bytes, &IMMUTABLE) {
                Ok(Creation::Created(_)) => return Ok(true),
                // An earlier export or an earlier attempt has created it.
                Ok(Creation::Exists) => match self.objects.get(&key, bytes.len()) {
                    Ok(Some(there)) if there.bytes == bytes => return Ok(attempts.failed > 0),
                    Ok(Some(_)) | Err(BucketError::TooLarge { .. }) => return Err(differs()),
                    Ok(None) => attempts.pause(hidden())?,
                    Err(error) => return Err(error.into()),
                },
                Err(error) => attempts.pause(error)?,
            }
        }
    }

    fn attempts(&self) -> Attempts {
        Attempts { failed: 0, pause: self.pause }
    }
}

/// The attempts at one write.
struct Attempts {
    failed: u32,
    /// The pause after the next failure.
    pause: Duration,
}

impl Attempts {
    /// Waits before the next attempt. Returns the error if no attempt is left or none can help.
    fn pause(&mut self, error: BucketError) -> Result<(), BucketError> {
        self.failed += 1;
        if self.failed >= MAX_ATTEMPTS || !error.is_temporary() {
            return Err(error);
        }
        thread::sleep(error.retry_after().unwrap_or(self.pause).min(LONGEST_PAUSE));
        self.pause *= 2;
        Ok(())
    }
}

impl ExportPlace for ExportBucket {
    fn check(&self) -> Result<(), ExportError> {
        let refused =
            |what| Err(ExportError::NotAnExport { place: self.objects.name(), what, kind: "prefix" });
        let listing = self.objects.list("", "", MAX_LISTED)?;
        let keys = || listing.objects.iter().map(|listed| &*listed.key).filter(|key| !key.starts_with(PROBE));
        let of_log = [LEASE, PROFILE, ORIGIN, HeadKind::Signed.as_str()];
        let is_log = |key: &str| key.starts_with(BATCHES) || key.starts_with(INDEX) || of_log.contains(&key);
        let has_batches = || Ok::<_, BucketError>(!self.objects.list(BATCHES, "", 1)?.objects.is_empty());
        if keys().any(is_log) || listing.more && has_batches()? {
            return refused("the bucket of a log");
        }
        // An interrupted first export has tiles but no checkpoint.
        let mut is_export = keys().any(|key| key.starts_with(TILES) || key == HeadKind::Published.as_str());
        if !is_export && listing.more {
            is_export = self.checkpoint()?.is_some();
        }
        if keys().next().is_some() && !is_export {
            return refused("a prefix with other objects below it");
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, ExportError> {
        let there = self.objects.get(HeadKind::Published.as_str(), MAX_NOTE_BYTES)?;
        Ok(there.map(|there| there.bytes))
    }

    fn compares_all(&self) -> bool {
        false
    }

    fn write(&self, tiles: &[(Tile, Vec<u8>)]) -> Result<u64, ExportError> {
        let created = parallel::map(tiles, self.threads, |(tile, bytes)| self.create(*tile, bytes))?;
        Ok(created.into_iter().map(u64::from).sum())
    }

    fn replace_checkpoint(&self, old: Option<&[u8]>, new: &[u8]) -> Result<bool, ExportError> {
        let key = HeadKind::Published.as_str();
        let mut attempts = self.attempts();
        loop {
            let there = self.objects.get(key, MAX_NOTE_BYTES)?;
            let done = match (&there, old) {
                // This is also the outcome of an attempt whose answer was lost.
                (Some(there), _) if there.bytes == new => return Ok(true),
                (Some(there), Some(old)) if there.bytes == old => {
                    let replaced = self.objects.replace(key, new, &there.tag, &HEAD);
                    replaced.map(|replaced| matches!(replaced, Replacement::Replaced(_)))
                }
                (None, None) => {
                    let created = self.objects.create(key, new, &HEAD);
                    created.map(|created| matches!(created, Creation::Created(_)))
                }
                _ => return Ok(false),
            };
            match done {
                Ok(true) => return Ok(true),
                // Another export has written a checkpoint since the read, or an earlier attempt succeeded.
                Ok(false) => {
                    let there = self.objects.get(key, MAX_NOTE_BYTES)?;
                    return Ok(there.is_some_and(|there| there.bytes == new));
                }
                Err(error) => attempts.pause(error)?,
            }
        }
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, ExportError> {
        Ok(self.objects.get_range(name, 0, MAX_FILE_BYTES)?.map(|there| there.bytes))
    }

    fn write_file(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let headers =
            Headers { content_type: media_type, cache_control: Some("no-cache"), ..Headers::default() };
        self.objects.put(name, bytes, &headers)?;
        Ok(())
    }

    fn name_of(&self, file: &str) -> String {
        format!("{file} in {}", self.objects.name())
    }
}
