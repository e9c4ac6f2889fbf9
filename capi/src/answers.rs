//! A log's answers so far, and the next thing to fetch.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use treehead::endpoint::WithdrawalLog;
use treehead::format::FormatError;
use treehead::merkle::{HASH_BYTES, Hash, TILE_WIDTH, Tile, TileReader, TreeSize, hashes_from_bytes};
use treehead::note::MAX_NOTE_BYTES;
use treehead::proof::MAX_PROOF_FILE_BYTES;
use treehead::release::{Found, FoundPage, MAX_PAGE_BYTES};

use crate::verdict::No;

/// Something to fetch.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Checkpoint,
    /// A tile, and the one that is asked for: the full one, where the log dropped the partial one.
    Tile {
        wanted: Tile,
        asked: Tile,
    },
    /// A page of a search, by its path.
    Page(String),
    /// The proof file of a withdrawal.
    Withdrawal(Hash),
    /// The proof file of a withdrawn entry, which the log need not have.
    Withdrawn(Hash),
}

/// The answers of a log. Of proof files, only the last one of each kind is kept: the search has used those before it.
#[derive(Default)]
pub(crate) struct Answers {
    tiles: Vec<(Tile, Vec<Hash>)>,
    /// By path. `None` if the log has no search.
    pages: Vec<(String, Option<FoundPage>)>,
    withdrawal: Option<(Hash, Vec<u8>)>,
    withdrawn: Option<(Hash, Option<Vec<u8>>)>,
}

/// The files that the answers lack.
pub(crate) enum Missing {
    One(Request),
    Tiles(Vec<Tile>),
    /// Nothing, but the log's pages do not go on.
    Next(FormatError),
}

impl Request {
    pub fn path(&self) -> String {
        match self {
            Self::Checkpoint => "checkpoint".into(),
            Self::Tile { asked, .. } => asked.to_string(),
            Self::Page(path) => path.clone(),
            Self::Withdrawal(leaf) | Self::Withdrawn(leaf) => alloc::format!("proof/leaf/{}", leaf.to_hex()),
        }
    }

    /// Most bytes of the answer. One hash more than the tile has, so that a tile that is too long is noticed.
    pub const fn most(&self) -> usize {
        match self {
            Self::Checkpoint => MAX_NOTE_BYTES,
            Self::Tile { asked, .. } => (asked.width() + 1) * HASH_BYTES,
            Self::Page(_) => MAX_PAGE_BYTES,
            Self::Withdrawal(_) | Self::Withdrawn(_) => MAX_PROOF_FILE_BYTES,
        }
    }

    pub fn failed(&self, why: &str) -> No {
        let path = self.path();
        let what = path.split_once('?').map_or(&*path, |(path, _)| path);
        No::could_not_tell(alloc::format!("the log's {what}: {why}"))
    }

    /// The body of an answer that is one.
    pub fn body<'a>(&self, http_status: i32, body: &'a [u8]) -> Result<&'a [u8], No> {
        match http_status {
            200 if body.len() <= self.most() => Ok(body),
            200 => Err(self.failed("longer than it can be")),
            0 => Err(self.failed("no answer")),
            other => Err(self.failed(&alloc::format!("status {other}"))),
        }
    }
}

impl Answers {
    /// Takes an answer. Returns what to ask for instead.
    pub fn take(
        &mut self,
        request: &Request,
        http_status: i32,
        body: &[u8],
        tree: TreeSize,
    ) -> Result<Option<Request>, No> {
        let answered = request.body(http_status, body);
        match request {
            Request::Checkpoint => {}
            Request::Tile { wanted, asked } => {
                if matches!(http_status, 404 | 410)
                    && !asked.is_full()
                    && let Some(full) = Tile::new(asked.id, TILE_WIDTH)
                {
                    return Ok(Some(Request::Tile { wanted: *wanted, asked: full }));
                }
                let (body, width) = (answered?, asked.width());
                let mut hashes = hashes_from_bytes(body, width).ok_or_else(|| {
                    request.failed(&alloc::format!("{} bytes, not {width} hashes", body.len()))
                })?;
                hashes.truncate(wanted.width());
                self.tiles.push((*wanted, hashes));
            }
            // Static files, or other software.
            Request::Page(path) if matches!(http_status, 404 | 405 | 410 | 501) => {
                self.pages.push((path.clone(), None));
            }
            Request::Page(path) => {
                let page = FoundPage::parse(answered?, tree);
                let page = page.map_err(|e| request.failed(&e.to_string()))?;
                self.pages.push((path.clone(), Some(page)));
            }
            Request::Withdrawal(leaf) => self.withdrawal = Some((*leaf, answered?.to_vec())),
            Request::Withdrawn(leaf) => self.withdrawn = Some((*leaf, answered.ok().map(<[u8]>::to_vec))),
        }
        Ok(None)
    }
}

impl TileReader for Answers {
    type Error = Missing;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Missing> {
        let (mut read, mut missing) = (Vec::new(), Vec::new());
        for tile in tiles {
            match self.tiles.iter().find(|(here, _)| here == tile) {
                Some((_, hashes)) => read.push(hashes.clone()),
                None => missing.push(*tile),
            }
        }
        if missing.is_empty() { Ok(read) } else { Err(Missing::Tiles(missing)) }
    }
}

impl WithdrawalLog for Answers {
    fn found(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        _: TreeSize,
    ) -> Result<Option<Found>, Missing> {
        let found = Found::gather(before, |before| {
            let path = FoundPage::path(terms, before);
            let page = self.pages.iter().find(|(of, _)| *of == path).map(|(_, page)| page.clone());
            page.ok_or(Missing::One(Request::Page(path)))
        })?;
        found.map_err(Missing::Next)
    }

    fn withdrawal(&self, leaf: &Hash) -> Result<Vec<u8>, Missing> {
        let of = self.withdrawal.as_ref().filter(|(of, _)| of == leaf);
        of.map(|(_, proof)| proof.clone()).ok_or(Missing::One(Request::Withdrawal(*leaf)))
    }

    fn withdrawn(&self, leaf: &Hash) -> Result<Option<Vec<u8>>, Missing> {
        let of = self.withdrawn.as_ref().filter(|(of, _)| of == leaf);
        of.map(|(_, proof)| proof.clone()).ok_or(Missing::One(Request::Withdrawn(*leaf)))
    }
}

impl Missing {
    /// The requests for it, each once.
    pub fn requests(self) -> Vec<Request> {
        match self {
            Self::One(request) => alloc::vec![request],
            Self::Tiles(mut tiles) => {
                tiles.sort_unstable();
                tiles.dedup();
                tiles.into_iter().map(|wanted| Request::Tile { wanted, asked: wanted }).collect()
            }
            Self::Next(_) => Vec::new(),
        }
    }
}
