//! Proofs, with their parameters in the path, so that no cache can mix them up. Inclusion and consistency proofs
//! depend on their path alone, because no size above the published one is answered; proof files depend on the
//! published checkpoint.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::submit::PROOF_MEDIA_TYPE;
use super::{Log, Problem};
use crate::format::{FormatError, quote};
use crate::http::cache;
use crate::http::json::Json;
use crate::http::problem::blocking;
use crate::merkle::{Hash, LeafIndex, Tile, TileId, TreeSize, prove_consistency, prove_inclusion, read_root};
use crate::store::StoreError;

#[derive(Serialize)]
pub struct InclusionAnswer {
    leaf_index: u64,
    tree_size: u64,
    leaf_hash: String,
    root_hash: String,
    hashes: Vec<String>,
}

#[derive(Serialize)]
pub struct ConsistencyAnswer {
    old_size: u64,
    old_root: String,
    new_size: u64,
    new_root: String,
    hashes: Vec<String>,
}

pub async fn inclusion(
    State(log): State<Log>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path((size, index)) = path?;
    let size = published_size(&log, &size)?;
    let index = LeafIndex::parse(&index).ok_or_else(|| malformed("a leaf index", &index))?;
    if !size.contains(index) {
        let detail = format!("a tree of size {size} ends before leaf index {index}");
        return Err(Problem::NotFound { what: "the leaf", detail });
    }
    let answer = blocking(move || {
        let reader = log.reader().as_ref();
        let root = published_root(&log, size)?;
        let id = TileId::Hashes { level: 0, index: index.get() / 256 };
        let tile = Tile::new(id, index.get() % 256 + 1).expect("1 to 256");
        let leaf = *reader.tiles(&[tile])?[0].last().expect("at least one hash");
        let proof = prove_inclusion(reader, index, &leaf, size, &root)?.map_err(inconsistent)?;
        Ok::<_, StoreError>(immutable(InclusionAnswer {
            leaf_index: index.get(),
            tree_size: size.get(),
            leaf_hash: leaf.to_base64(),
            root_hash: root.to_base64(),
            hashes: proof.iter().map(Hash::to_base64).collect(),
        }))
    });
    Ok(answer.await??)
}

pub async fn consistency(
    State(log): State<Log>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path((old, new)) = path?;
    let new = published_size(&log, &new)?;
    let old = published_size(&log, &old)?;
    if old > new {
        let seen = format!("{old} to {new}");
        return Err(FormatError::malformed(
            "a consistency proof",
            "the old size to be at most the new one",
            seen,
        )
        .into());
    }
    let answer = blocking(move || {
        let reader = log.reader().as_ref();
        let (old_root, new_root) = (published_root(&log, old)?, published_root(&log, new)?);
        let proof = prove_consistency(reader, (old, &old_root), (new, &new_root))?.map_err(inconsistent)?;
        Ok::<_, StoreError>(immutable(ConsistencyAnswer {
            old_size: old.get(),
            old_root: old_root.to_base64(),
            new_size: new.get(),
            new_root: new_root.to_base64(),
            hashes: proof.iter().map(Hash::to_base64).collect(),
        }))
    });
    Ok(answer.await??)
}

pub async fn leaf(
    State(log): State<Log>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(hash) = path?;
    let hash = Hash::from_hex(&hash)?;
    let answer = blocking(move || {
        let head = log.published();
        let not_found = || {
            let detail =
                format!("no entry of the published tree of size {} has this leaf hash", head.checkpoint.size);
            Problem::NotFound { what: "the leaf", detail }
        };
        let index = log.reader().find_leaf(&hash)?.filter(|index| head.checkpoint.size.contains(*index));
        let proof = log.proof_file(index.ok_or_else(not_found)?, &head)?;
        Ok::<_, Problem>(cache::answer(PROOF_MEDIA_TYPE, cache::NEVER, proof.to_string()))
    });
    answer.await?
}

fn immutable<T>(proof: T) -> ([(HeaderName, &'static str); 1], Json<T>) {
    ([(header::CACHE_CONTROL, cache::FOREVER)], Json(proof))
}

/// Root of an earlier tree, after proving that it is a prefix of the signed one.
fn published_root(log: &Log, size: TreeSize) -> Result<Hash, StoreError> {
    let (reader, signed) = (log.reader().as_ref(), log.published().checkpoint);
    if size == signed.size {
        return Ok(signed.root);
    }
    let root = read_root(reader, size)?.root();
    prove_consistency(reader, (size, &root), (signed.size, &signed.root))?.map_err(inconsistent)?;
    Ok(root)
}

fn inconsistent(error: crate::merkle::ProofError) -> StoreError {
    StoreError::TreeDamaged { detail: error.to_string() }
}

fn malformed(what: &'static str, seen: &str) -> FormatError {
    FormatError::malformed(what, "a decimal below 2^63 without leading zeros", quote(seen))
}

/// Parses a tree size of the path that is not above the published one.
fn published_size(log: &Log, text: &str) -> Result<TreeSize, Problem> {
    let size = TreeSize::parse(text).ok_or_else(|| malformed("a tree size", text))?;
    let published = log.published().checkpoint.size;
    if size > published {
        let detail = format!("the published tree size is {published}, asked for {size}");
        return Err(Problem::NotFound { what: "the tree size", detail });
    }
    Ok(size)
}
