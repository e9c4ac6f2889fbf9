//! The contract of an object store with conditional writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::BucketError;
use super::requests::Requests;
use crate::format::{FormatError, names, quote};
use crate::merkle::Hash;

/// Longest key with its prefix, in bytes: the limit of S3.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Most keys that one request lists: the limit of S3.
pub const MAX_LISTED: usize = 1_000;

/// An object store with conditional writes: S3, or a test's memory. Keys are relative to the store's prefix, and
/// [`check_key`] says which are allowed.
///
/// Reads, listings, unconditional writes and deletions are repeatable, so implementations retry them until their time
/// limit. **Conditional writes are sent once.** After an error that [`may be done`](BucketError::may_be_done), the
/// caller reads the object and compares its bytes with its own; it must not write again before that.
pub trait Objects: Send + Sync {
    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// [`BucketError::TooLarge`] for more than `limit` bytes, and whatever the store or the network says.
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError>;

    /// Reads at most `length` bytes from `offset` on; `None` if there is no such object. At the object's end there are
    /// fewer, and behind it none. Objects with a `Content-Encoding` can't be read in part.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError>;

    /// Creates an object, unless there is one with this key (`If-None-Match: *`).
    ///
    /// # Errors
    /// [`BucketError::Unclear`] if the object may have been created; other errors, if it was not.
    fn create(&self, key: &str, bytes: &[u8], headers: &Headers) -> Result<Creation, BucketError>;

    /// Replaces an object, if it still is the one with this tag (`If-Match`).
    ///
    /// # Errors
    /// [`BucketError::Unclear`] if the object may have been replaced; other errors, if it was not.
    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers,
    ) -> Result<Replacement, BucketError>;

    /// Writes an object, whatever is there. Only for objects whose bytes are the same each time they are written.
    ///
    /// # Errors
    /// Whatever the store or the network says when the time for tries is over.
    fn put(&self, key: &str, bytes: &[u8], headers: &Headers) -> Result<Tag, BucketError>;

    /// Lists at most `limit` keys (1 to [`MAX_LISTED`]) that begin with `prefix` and come after `after`, in order of
    /// their bytes. `prefix` and `after` may be empty.
    ///
    /// # Errors
    /// Whatever the store or the network says when the time for tries is over.
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError>;

    /// Deletes an object, if there is one.
    ///
    /// # Errors
    /// Whatever the store or the network says when the time for tries is over.
    fn delete(&self, key: &str) -> Result<(), BucketError>;

    /// The requests so far.
    fn requests(&self) -> &Requests;

    /// Sets how the store wants tags in `If-Match`; the probe finds out.
    fn use_tag_style(&self, _style: TagStyle) {}

    /// This store for requests whose answers are worth nothing later: none takes longer than `limit`, with all its tries.
    /// `None` if it waits for nothing.
    fn within(&self, _limit: Duration) -> Option<Arc<dyn Objects>> {
        None
    }

    /// The store's address, for messages.
    fn name(&self) -> String;
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The bytes. What was stored with `Content-Encoding: gzip` comes unpacked.
    pub bytes: Vec<u8>,
    /// The tag of this version.
    pub tag: Tag,
}

/// The entity tag of an object's version: opaque, without the quotes around it.
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
    /// The form of tags in `If-Match` that a store takes.
    TagStyle {
        /// In quotes, as RFC 9110 section 8.8.3 says.
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
    /// There was one already, which is unchanged.
    Exists,
}

/// The outcome of [`Objects::replace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// The object was replaced; the tag is that of the new version.
    Replaced(Tag),
    /// The object has another tag, and is unchanged.
    Stale,
    /// There is no such object.
    Missing,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects, in order of their keys.
    pub objects: Vec<Listed>,
    /// Set if there are more after the last one.
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
    /// Tags in the sense of S3, which rules of a bucket can name: `key=value`, joined by `&`.
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

/// Checks a key: 1 to [`MAX_KEY_BYTES`] bytes of letters, digits and `!-_.*'()=+@~/` in ASCII, without empty segments,
/// `.` or `..`. Every store and every proxy passes such keys on as they are.
///
/// # Errors
/// [`FormatError`] for any other.
pub fn check_key(key: &str) -> Result<(), FormatError> {
    if is_path(key) {
        return Ok(());
    }
    let expected = "segments of letters, digits and !-_.*'()=+@~, joined by single slashes";
    Err(FormatError::malformed("a key", expected, quote(key)))
}

/// Returns true for a path that no URL library, proxy or store writes in another way.
pub(super) fn is_path(text: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()=+@~".contains(&b);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_safe);
    text.len() <= MAX_KEY_BYTES && text.split('/').all(is_segment)
}
