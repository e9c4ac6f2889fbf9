//! What a log can do wrong, and when.

use std::time::Duration;

/// How an answer says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A `Content-Length` that is never reached.
    Length,
    /// Chunks without a last one.
    Chunked,
    /// It ends with the connection.
    Close,
}

/// What a log can do wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Lie {
    /// A hash of each tile is another one.
    WrongTile,
    /// An entry of each bundle is another one: its hash is in no tile.
    WrongBundle,
    /// A byte less than a tile has.
    TruncatedTile,
    /// A byte less than a bundle has.
    TruncatedBundle,
    /// A hash more than a tile has.
    ExtraHash,
    /// An entry more than a bundle has.
    ExtraEntry,
    /// Partial tiles and bundles are gone, with this status. Full ones are there, where the tree has them.
    PartialGone(u16),

    /// The head over the first so many entries.
    Shrunk(usize),
    /// The same out of a cache: who asks with a query gets the newest.
    Cached(usize),
    /// The same out of a cache that says so, and has one answer for every query.
    Aged(usize),
    /// Everything of another branch, of this name.
    Branch(&'static str),
    /// Another root under the log's own signature line.
    WrongSignature,
    /// The head of a log of another name, with its signature.
    OtherOrigin,
    /// No cosignatures.
    NoQuorum,
    /// This text for a head.
    Says(String),
    /// Cosignatures of this time, in seconds since 1970.
    Stale(u64),

    /// Nothing wrong, but in chunks: nobody knows the length before the end.
    Chunked,
    /// A body that never ends.
    Endless(Framing),
    /// A byte, then a pause, and so on.
    Drip(Duration),
    /// This status, with a problem document.
    Status(u16),
    /// This status, with `Retry-After` in seconds.
    Busy(u16, u64),
    /// A redirect to this address; to itself where there is none.
    Redirect(Option<String>),
    /// A few megabytes of gzip that stand for four gigabytes.
    GzipBomb,
    /// A page for people.
    Html,
    /// The connection ends before anything is answered.
    CloseAtOnce,
    /// The connection ends in the middle of the body.
    CloseHalfway,
    /// Status 200, and nothing.
    Empty,
    /// A header without end.
    HeaderFlood,
    /// What is no HTTP at all.
    Noise,
}

impl Lie {
    /// Whether it is about what is asked for.
    pub fn is_about(&self, path: &str) -> bool {
        match self {
            Self::WrongTile | Self::TruncatedTile | Self::ExtraHash => {
                path.starts_with("tile/") && !path.starts_with("tile/entries/")
            }
            Self::WrongBundle | Self::TruncatedBundle | Self::ExtraEntry => path.starts_with("tile/entries/"),
            Self::PartialGone(_) => path.contains(".p/"),
            Self::Cached(_) => path == "checkpoint",
            Self::Shrunk(_)
            | Self::Aged(_)
            | Self::WrongSignature
            | Self::OtherOrigin
            | Self::NoQuorum
            | Self::Says(_)
            | Self::Stale(_) => path.split('?').next() == Some("checkpoint"),
            _ => true,
        }
    }
}

/// Which requests are lied to, of those that a lie is about.
#[derive(Debug, Clone)]
pub struct Only {
    path: String,
    skip: usize,
    times: usize,
}

impl Only {
    /// Those for paths that begin so, without a leading slash.
    pub fn path(path: &str) -> Self {
        Self { path: path.to_owned(), skip: 0, times: usize::MAX }
    }

    /// All of them.
    pub fn any() -> Self {
        Self::path("")
    }

    /// The first so many.
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// None of the first so many.
    pub const fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Whether this request is one; counts it if so.
    pub fn hits(&mut self, path: &str) -> bool {
        if !path.starts_with(&self.path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let hit = self.times > 0;
        self.times = self.times.saturating_sub(1);
        hit
    }
}
