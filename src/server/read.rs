//! What everyone may read: c2sp.org/tlog-tiles.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

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
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, cache::ASK)];
    Ok((headers, note.to_vec()).into_response())
}

pub async fn tile(State(log): State<Log>, uri: Uri) -> Result<Response, Problem> {
    let tile = published_tile(&log, &uri)?;
    let hashes = log.reader().tiles(&[tile])?.remove(0);
    let headers = [(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, cache::FOR_EVER)];
    Ok((headers, hashes_to_bytes(&hashes)).into_response())
}

pub async fn bundle(State(log): State<Log>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let tile = published_tile(&log, &uri)?;
    let packer = log.gzip().asked_for(&headers);
    // Reads, hashes and packs up to 16 MiB: not on a thread that others wait for, and not for all at once. The
    // turn goes with the work, whether anybody still waits for it or not.
    let turn = log.read_turn().await;
    let work = move || {
        let _turn = turn;
        let bytes = log.reader().bundle(tile.id.index(), tile.width())?;
        Ok::<_, StoreError>(packer.pack(BYTES, bytes))
    };
    let mut answer = blocking(work).await?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache::FOR_EVER));
    Ok(answer)
}

/// The tile that a path names, if the published tree has it: nothing is shown that is not signed.
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

/// Runs what reads files or hashes much where it holds up nobody else.
pub async fn blocking<T: Send + 'static, E: Into<Problem> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        // sled may panic on files that it did not expect; that is an answer, not a dropped connection.
        Err(_) => Err(Problem::Internal),
    }
}
