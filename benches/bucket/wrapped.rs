//! A store that can delay requests and record the lengths of the objects that a log writes.

use std::sync::Mutex;
use std::time::Duration;

use treehead::bucket::{
    BucketError, Creation, Headers, Listing, Object, Objects, Replacement, Requests, S3, Tag, TagStyle,
};

/// The lengths of the objects that a log has written.
#[derive(Default)]
pub struct Written {
    pub batches: Vec<usize>,
    /// Tiles and bundles, full and partial.
    pub tiles: Vec<usize>,
}

/// A client of S3 that delays, drops or records requests.
pub struct Wrapped {
    store: S3,
    /// Added to each request. Concurrent requests wait in parallel.
    pub delay: Duration,
    /// True to drop tiles and bundles instead of writing them.
    pub drops_tiles: bool,
    /// Records the lengths of written batches and tiles, if set.
    pub kept: Option<Mutex<Written>>,
}

impl Wrapped {
    pub fn new(store: S3) -> Self {
        Self { store, delay: Duration::ZERO, drops_tiles: false, kept: None }
    }

    /// Takes the objects written since the last call.
    pub fn taken(&self) -> Written {
        let kept = self.kept.as_ref().map(|kept| std::mem::take(&mut *kept.lock().expect("no panic")));
        kept.unwrap_or_default()
    }

    fn keep(&self, list: fn(&mut Written) -> &mut Vec<usize>, bytes: &[u8]) {
        if let Some(kept) = &self.kept {
            list(&mut kept.lock().expect("no panic")).push(bytes.len());
        }
    }

    fn wait(&self) {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }
}

impl Objects for Wrapped {
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError> {
        self.wait();
        self.store.get(key, limit)
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        self.wait();
        self.store.get_range(key, offset, length)
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        self.wait();
        let created = self.store.create(key, bytes, headers);
        if key.starts_with("batch/") {
            self.keep(|written| &mut written.batches, bytes);
        }
        created
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        self.wait();
        self.store.replace(key, bytes, tag, headers)
    }

    fn put(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Tag, BucketError> {
        if self.drops_tiles && key.starts_with("tile/") {
            return Ok(Tag::parse("dropped").expect("a tag"));
        }
        self.wait();
        if key.starts_with("tile/") {
            self.keep(|written| &mut written.tiles, bytes);
        }
        self.store.put(key, bytes, headers)
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        self.wait();
        self.store.list(prefix, after, limit)
    }

    fn delete(&self, key: &str) -> Result<(), BucketError> {
        self.wait();
        self.store.delete(key)
    }

    fn requests(&self) -> &Requests {
        self.store.requests()
    }

    fn use_tag_style(&self, style: TagStyle) {
        self.store.use_tag_style(style);
    }

    fn name(&self) -> String {
        self.store.name()
    }
}
