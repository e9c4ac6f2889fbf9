//! What everyone may read: c2sp.org/tlog-tiles.

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Log, Problem, cache};
use crate::merkle::{Tile, hashes_to_bytes};

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
    Ok(immutable(hashes_to_bytes(&hashes)))
}

pub async fn bundle(State(log): State<Log>, uri: Uri) -> Result<Response, Problem> {
    let tile = published_tile(&log, &uri)?;
    // Reads and hashes up to 16 MiB: not on a thread that others wait for.
    let bytes = blocking(move || log.reader().bundle(tile.id.index(), tile.width())).await?;
    Ok(immutable(bytes))
}

fn immutable(bytes: Vec<u8>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, cache::FOR_EVER)];
    (headers, bytes).into_response()
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
