//! `treehead fsck URL`: every bundle and every tile that a log serves, from outside.

use std::path::Path;

use super::exit::{CliResult, Failure};
use super::fsck::Fsck;
use super::fsck::tell;
use super::{files, fsck_evidence, output};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::client::{ClientError, EntryStream, LogClient, RemoteTiles, StreamOptions};
use crate::disk::evidence_dir::EvidenceDir;
use crate::merkle::{Hash, PartialTiles, RightEdge, Tile, TileReader as _, TreeSize};

/// Tiles that are compared together.
const TOGETHER: usize = 64;
/// Requests for them at once: as many as for bundles.
const AT_ONCE: usize = 4;

pub fn check(args: &Fsck, policy: &Path, json: bool) -> CliResult {
    let policy = files::parse(policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
    let keys = policy.log_keys();
    let kept = args.since.as_deref().map(|path| fsck_evidence::read_kept(path, &keys)).transpose()?;
    let client = LogClient::new(&args.log)?;
    let signed = client.checkpoint(&keys)?;
    // First: a log that forked is not worth hours of hashing.
    if let Some(kept) = kept {
        let evidence = EvidenceDir::new(&args.evidence);
        fsck_evidence::check_served(&client, &kept, &signed, &keys, &evidence)?;
    }
    let head = policy.check(&signed).map_err(crate::endpoint::Refusal::Quorum)?;
    let head = head.get();
    let bar = output::progress("re-hashing", head.size.get(), "entries");
    let mut tiles = Comparison { remote: RemoteTiles(&client), waiting: Vec::new(), count: 0 };
    let (mut edge, mut partial) = (RightEdge::default(), PartialTiles::default());
    for bundle in EntryStream::new(&client, TreeSize::ZERO..head.size, &StreamOptions::default()) {
        let bundle = bundle.map_err(|error| tiles.first_wrong_or(error))?;
        let growth = edge.grow(&bundle.leaf_hashes);
        partial.grow(&growth, |id, hashes| tiles.add(Tile::new(id, 256).expect("256 is a width"), hashes))?;
        edge = growth.edge;
        bar.inc(bundle.len() as u64);
    }
    for (tile, hashes) in partial.tiles(head.size) {
        tiles.add(tile, hashes)?;
    }
    tiles.compare()?;
    bar.finish_and_clear();
    if edge.root() != head.root {
        let (size, expected, seen) = (head.size, head.root, edge.root());
        return Err(ClientError::Entries { size, expected, seen }.into());
    }
    tell(json, Some(head), head.size.get(), tiles.count, "")
}

/// Tiles that entries make, with those that the log serves.
struct Comparison<'a> {
    remote: RemoteTiles<'a>,
    /// In the order in which the entries completed them.
    waiting: Vec<(Tile, Vec<Hash>)>,
    count: u64,
}

impl Comparison<'_> {
    fn add(&mut self, tile: Tile, hashes: &[Hash]) -> CliResult {
        self.count += 1;
        self.waiting.push((tile, hashes.to_vec()));
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.compare() }
    }

    /// Compares those that wait, several at once; of several that are wrong the first is named.
    fn compare(&mut self) -> CliResult {
        let waiting = std::mem::take(&mut self.waiting);
        let remote = &self.remote;
        let part = |tiles: &[(Tile, Vec<Hash>)]| {
            tiles.iter().try_for_each(|(tile, hashes)| compare(remote, *tile, hashes))
        };
        std::thread::scope(|scope| {
            let parts = waiting.chunks(waiting.len().div_ceil(AT_ONCE).max(1));
            let parts: Vec<_> = parts.map(|tiles| scope.spawn(move || part(tiles))).collect();
            let results =
                parts.into_iter().map(|part| part.join().expect("a comparison that does not panic"));
            // All of them are waited for.
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Where a bundle failed: what is wrong before it is said instead.
    fn first_wrong_or(&mut self, error: ClientError) -> Failure {
        self.compare().err().unwrap_or_else(|| Failure::served(error))
    }
}

fn compare(remote: &RemoteTiles<'_>, tile: Tile, expected: &[Hash]) -> CliResult {
    let seen = remote.read_tiles(&[tile]).map_err(Failure::served)?.remove(0);
    match seen.iter().zip(expected).position(|(seen, expected)| seen != expected) {
        None => Ok(()),
        Some(at) => {
            let (expected, seen) = (expected[at].to_base64(), seen[at].to_base64());
            let message = format!("{tile}, hash {at}: its entries make {expected}, the log serves {seen}");
            Err(Failure::refused(
                "tile-mismatch",
                message,
                "The log is damaged or lies; tell its operator and your peers.",
            ))
        }
    }
}
