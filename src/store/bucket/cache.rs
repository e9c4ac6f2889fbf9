//! The local cache of full bundles: a bounded number of files of bounded size.
//!
//! ```text
//! bundles/<slot>.bundle     bundle index u64 || CRC-32 of the bytes u32 || bytes
//! ```
//!
//! A bundle's index determines its slot, where it replaces the previous bundle. The cache is neither durable nor
//! trusted: a bundle that fails its check is read from the bucket again.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of files.
const SLOTS: u64 = 4_096;
const HEAD_BYTES: usize = 12;

/// A cache of full bundles in files.
pub struct BundleCache {
    dir: PathBuf,
    /// Size of the largest bundle that the cache keeps.
    most_bytes: usize,
    writes: AtomicU64,
}

impl BundleCache {
    /// A cache in `dir` of at most `total_bytes`. Zero disables it.
    pub fn new(dir: PathBuf, total_bytes: u64) -> Self {
        let most_bytes = usize::try_from(total_bytes / SLOTS).unwrap_or(usize::MAX);
        Self { dir, most_bytes, writes: AtomicU64::new(0) }
    }

    /// The bytes of a bundle.
    pub fn get(&self, index: u64) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.path(index)).ok()?;
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        (*head == head_of(index, body)).then(|| drop(bytes.drain(..HEAD_BYTES)))?;
        Some(bytes)
    }

    /// Stores a bundle. A failure is harmless.
    pub fn put(&self, index: u64, body: &[u8]) {
        if body.len() > self.most_bytes {
            return;
        }
        let _ = fs::create_dir_all(&self.dir);
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.join(format!("{number}.new"));
        // A crash here leaves a temporary file, which a later write with the same number overwrites.
        let bytes = [head_of(index, body).as_slice(), body].concat();
        let kept = fs::write(&new, bytes).and_then(|()| fs::rename(&new, self.path(index)));
        if kept.is_err() {
            let _ = fs::remove_file(&new);
        }
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{:04}.bundle", index % SLOTS))
    }
}

fn head_of(index: u64, body: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&index.to_be_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(body).to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_kept_until_another_one_takes_its_slot() {
        let dir = tempfile::tempdir().unwrap();
        let cache = BundleCache::new(dir.path().join("bundles"), 100 * SLOTS);
        assert_eq!(cache.get(7), None);
        cache.put(7, b"seven");
        cache.put(8, &[8; 101]);
        assert_eq!((cache.get(7), cache.get(8)), (Some(b"seven".to_vec()), None));
        let path = cache.path(7);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            fs::write(&path, other).unwrap();
            assert_eq!(cache.get(7), None, "{at}");
        }
        cache.put(7 + SLOTS, b"later");
        assert_eq!((cache.get(7), cache.get(7 + SLOTS)), (None, Some(b"later".to_vec())));
        assert_eq!(fs::read_dir(dir.path().join("bundles")).unwrap().count(), 1);
        let none = BundleCache::new(dir.path().join("none"), 0);
        none.put(1, b"x");
        assert_eq!(none.get(1), None);
    }
}
