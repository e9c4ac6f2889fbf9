//! The checkpoint, tiles and entry bundles: c2sp.org/tlog-tiles.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;

use super::log::in_turn;
use super::{Log, Problem};
use crate::http::cache;
use crate::merkle::{Tile, hashes_to_bytes};
use crate::store::StoreError;

/// Media type of tiles and bundles.
const BYTES: &str = "application/octet-stream";

pub async fn checkpoint(State(log): State<Log>) -> Result<Response, Problem> {
    let note = log.published().note;
    if note.is_empty() {
        return Err(Problem::NothingPublished);
    }
    Ok(cache::answer(cache::TEXT, cache::REVALIDATE, note.to_vec()))
}

pub async fn tile(State(log): State<Log>, uri: Uri) -> Result<Response, Problem> {
    hashes(&log, Tile::parse(uri.path().trim_start_matches('/'))?)
}

/// The answer to a request for a tile of hashes.
pub fn hashes(log: &Log, tile: Tile) -> Result<Response, Problem> {
    check_published(log, tile)?;
    let read = || Ok::<_, StoreError>(hashes_to_bytes(&log.reader().tiles(&[tile])?.remove(0)).into());
    Ok(cache::answer(BYTES, cache::FOREVER, log.inner.tiles.get(tile, read)?))
}

pub async fn bundle(State(log): State<Log>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let tile = Tile::parse(uri.path().trim_start_matches('/'))?;
    check_published(&log, tile)?;
    let turns = log.inner.reads.clone();
    // Reads, hashes and compresses up to 16 MiB: not on a thread that serves others, and only a few at once.
    let work = move || {
        let bytes = log.reader().bundle(tile.id.index(), tile.width())?;
        Ok::<_, StoreError>(log.inner.gzip.answer(&headers, BYTES, bytes))
    };
    let mut answer = in_turn(&turns, work).await??;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache::FOREVER));
    Ok(answer)
}

/// Fails unless the published tree has the tile: nothing that is not signed is shown.
fn check_published(log: &Log, tile: Tile) -> Result<(), Problem> {
    let size = log.sequencer().published_size();
    let available = tile.id.width_in(size);
    if tile.width() as u64 <= available {
        return Ok(());
    }
    let detail = format!("at tree size {size} it is {available} wide; fetch the checkpoint first");
    Err(Problem::NotFound { what: "the tile", detail })
}
