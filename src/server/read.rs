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
    let tile = published_tile(&log, &uri)?;
    let hashes = log.reader().tiles(&[tile])?.remove(0);
    Ok(cache::answer(BYTES, cache::FOREVER, hashes_to_bytes(&hashes)))
}

pub async fn bundle(State(log): State<Log>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let tile = published_tile(&log, &uri)?;
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

/// The tile that a path names, if the published tree has it: nothing that is not signed is shown.
fn published_tile(log: &Log, uri: &Uri) -> Result<Tile, Problem> {
    let tile = Tile::parse(uri.path().trim_start_matches('/'))?;
    let size = log.published().checkpoint.size;
    let available = tile.id.width_in(size);
    if tile.width() as u64 <= available {
        return Ok(tile);
    }
    let detail = format!("at tree size {size} it is {available} wide; fetch the checkpoint first");
    Err(Problem::NotFound { what: "the tile", detail })
}
