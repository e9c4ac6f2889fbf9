//! The faults of a log, and when it shows them.

use std::time::Duration;

/// The way in which an answer says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A `Content-Length` that is never reached.
    Length,
    /// Chunks without a last one.
    Chunked,
    /// The connection ends it.
    Close,
}

/// A fault of a log.
#[derive(Debug, Clone, PartialEq)]
pub enum Lie {
    /// One hash of each tile is wrong.
    WrongTile,
    /// One entry of each bundle is wrong: its hash is in no tile.
    WrongBundle,
    /// Tiles lack a byte.
    TruncatedTile,
    /// Bundles lack a byte.
    TruncatedBundle,
    /// Tiles have an extra hash.
    ExtraHash,
    /// Bundles have an extra entry.
    ExtraEntry,
    /// Partial tiles and bundles fail with this status. Full ones are served, if the tree has them.
    PartialGone(u16),

    /// The head over this many first entries.
    Shrunk(usize),
    /// The same, from a cache: a request with a query gets the newest head.
    Cached(usize),
    /// The same, from a cache that says so, and ignores queries.
    Aged(usize),
    /// Everything from the branch with this name.
    Branch(&'static str),
    /// Another root under the log's own signature line.
    WrongSignature,
    /// The head of a log of another name, with its signature.
    OtherOrigin,
    /// No cosignatures.
    NoQuorum,
    /// This text as the head.
    Says(String),
    /// Cosignatures of this time, in seconds since 1970.
    Stale(u64),

    /// No fault, but chunked: the length is unknown before the end.
    Chunked,
    /// A body that never ends.
    Endless(Framing),
    /// A byte, then a pause, and so on.
    Drip(Duration),
    /// This status, with a problem document.
    Status(u16),
    /// This status, with `Retry-After` in seconds.
    Busy(u16, u64),
    /// A redirect to this address, or to itself.
    Redirect(Option<String>),
    /// A few megabytes of gzip that expand to four gigabytes.
    GzipBomb,
    /// An HTML page.
    Html,
    /// The connection ends before the answer.
    CloseAtOnce,
    /// The connection ends in the middle of the body.
    CloseHalfway,
    /// Status 200 with an empty body.
    Empty,
    /// An endless header.
    HeaderFlood,
    /// No HTTP at all.
    Noise,
}

impl Lie {
    /// Whether the lie is about this path.
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

/// A selection of the requests that a lie applies to.
#[derive(Debug, Clone)]
pub struct Only {
    path: String,
    skip: usize,
    times: usize,
}

impl Only {
    /// The requests for paths with this prefix, without a leading slash.
    pub fn path(path: &str) -> Self {
        Self { path: path.to_owned(), skip: 0, times: usize::MAX }
    }

    /// All requests.
    pub fn any() -> Self {
        Self::path("")
    }

    /// The first `count` requests.
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// All but the first `count` requests.
    pub const fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Whether the lie applies to this request. Counts it if so.
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
