//! The contract of an object store with conditional writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::BucketError;
use super::requests::Requests;
use crate::format::{FormatError, names, quote};
use crate::merkle::Hash;

/// Longest key including its prefix, in bytes: the limit of S3.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Most keys that one request can list: the limit of S3.
pub const MAX_LISTED: usize = 1_000;

/// An object store with conditional writes: S3, or memory in tests. Keys are relative to the store's prefix and must
/// pass [`check_key`].
///
/// Reads, listings, unconditional writes and deletions are repeatable, so implementations retry them until their time
/// limit. **Conditional writes are sent once.** If such a write fails and [`may be done`](BucketError::may_be_done),
/// the caller must read the object and compare the bytes before it writes again.
pub trait Objects: Send + Sync {
    /// Reads an object; `None` if it does not exist.
    ///
    /// # Errors
    /// [`BucketError::TooLarge`] if it has more than `limit` bytes, and errors of the store or the network.
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError>;

    /// Reads at most `length` bytes from `offset` on; `None` if the object does not exist. Returns fewer bytes at the
    /// object's end and none past it. Objects with a `Content-Encoding` can't be read in part.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError>;

    /// Creates an object unless the key is taken (`If-None-Match: *`).
    ///
    /// # Errors
    /// [`BucketError::Unclear`] if the object may have been created; any other error means that it was not.
    fn create(&self, key: &str, bytes: &[u8], headers: &Headers) -> Result<Creation, BucketError>;

    /// Replaces an object if it still has this tag (`If-Match`).
    ///
    /// # Errors
    /// [`BucketError::Unclear`] if the object may have been replaced; any other error means that it was not.
    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers,
    ) -> Result<Replacement, BucketError>;

    /// Writes an object unconditionally. Only for objects whose bytes are the same each time they are written.
    ///
    /// # Errors
    /// The store's or the network's last error, once the time for retries is over.
    fn put(&self, key: &str, bytes: &[u8], headers: &Headers) -> Result<Tag, BucketError>;

    /// Lists at most `limit` keys (1 to [`MAX_LISTED`]) that begin with `prefix` and sort after `after`, in byte order.
    /// `prefix` and `after` may be empty.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError>;

    /// Deletes an object if it exists.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn delete(&self, key: &str) -> Result<(), BucketError>;

    /// Counters of the requests so far.
    fn requests(&self) -> &Requests;

    /// Sets the form of tags in `If-Match`, which the probe finds out.
    fn use_tag_style(&self, _style: TagStyle) {}

    /// A client for the same store whose requests take at most `limit`, including retries, for answers that are useless
    /// later. `None` if requests of this store never wait.
    fn within(&self, _limit: Duration) -> Option<Arc<dyn Objects>> {
        None
    }

    /// The store's address, for messages.
    fn name(&self) -> String;
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The bytes, decompressed if they were stored with `Content-Encoding: gzip`.
    pub bytes: Vec<u8>,
    /// The tag of this version.
    pub tag: Tag,
}

/// The entity tag of an object's version: opaque, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Parses the value of an `ETag` header, with or without quotes.
    ///
    /// # Errors
    /// [`FormatError`] unless it has 1 to 256 printable ASCII characters other than quotes.
    pub fn parse(header: &str) -> Result<Self, FormatError> {
        let bare = header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(header);
        let is_tag =
            (1..=256).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        if !is_tag {
            let expected = "1 to 256 printable ASCII characters in quotes";
            return Err(FormatError::malformed("an entity tag", expected, quote(header)));
        }
        Ok(Self(bare.to_owned()))
    }

    /// The value of an `If-Match` header.
    #[must_use]
    pub fn header(&self, style: TagStyle) -> String {
        match style {
            TagStyle::Quoted => format!("\"{}\"", self.0),
            TagStyle::Bare => self.0.clone(),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

names! {
    /// The form of tags in `If-Match` that a store accepts.
    TagStyle {
        /// In quotes, as in RFC 9110 section 8.8.3.
        Quoted => "quoted",
        /// Without quotes, as Ceph wants them.
        Bare => "bare",
    }
}

/// The outcome of [`Objects::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// The object was created.
    Created(Tag),
    /// The key was taken; the existing object is unchanged.
    Exists,
}

/// The outcome of [`Objects::replace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// The object was replaced. The tag belongs to the new version.
    Replaced(Tag),
    /// The object has another tag, and is unchanged.
    Stale,
    /// The object does not exist.
    Missing,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects, in order of their keys.
    pub objects: Vec<Listed>,
    /// True if further objects follow.
    pub more: bool,
}

impl Listing {
    /// Refuses keys that were not asked for: a list that begins again and again would never end.
    pub(super) fn check(self, prefix: &str, after: &str) -> Result<Self, FormatError> {
        let wrong =
            self.objects.iter().find(|listed| !listed.key.starts_with(prefix) || *listed.key <= *after);
        wrong.map_or(Ok(()), |listed| {
            let expected = format!("keys that begin with {} and come after {}", quote(prefix), quote(after));
            Err(FormatError::malformed("a list of objects", expected, quote(&listed.key)))
        })?;
        Ok(self)
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key, relative to the store's prefix.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The headers of a write. The store keeps all but the hash with the object, and sends them with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    /// `Content-Type`.
    pub content_type: &'a str,
    /// `Cache-Control`.
    pub cache_control: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// S3 object tags, which a bucket's rules can match: `key=value`, joined by `&`.
    pub tagging: Option<&'a str>,
    /// SHA-256 of the bytes, if the caller has it: signing the request need not compute it. A store refuses another one's.
    pub sha256: Option<Hash>,
}

impl Default for Headers<'_> {
    fn default() -> Self {
        let content_type = "application/octet-stream";
        Self { content_type, cache_control: None, content_encoding: None, tagging: None, sha256: None }
    }
}

/// Checks a key: 1 to [`MAX_KEY_BYTES`] bytes of ASCII letters, digits and `!-_.*'()=+@~/`, without empty segments, `.` and
/// `..`. No store or proxy rewrites such a key.
///
/// # Errors
/// [`FormatError`] for any other key.
pub fn check_key(key: &str) -> Result<(), FormatError> {
    if is_path(key) {
        return Ok(());
    }
    let expected = "segments of letters, digits and !-_.*'()=+@~, joined by single slashes";
    Err(FormatError::malformed("a key", expected, quote(key)))
}

/// Returns true for a path that no URL library, proxy or store rewrites.
pub(super) fn is_path(text: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()=+@~".contains(&b);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_safe);
    text.len() <= MAX_KEY_BYTES && text.split('/').all(is_segment)
}
