//! The keys of a log's objects below its prefix, and the headers stored with them.
//!
//! ```text
//! batch/<first leaf index, 20 digits>   one batch of entries: created once, never replaced, never deleted. The seal of
//! a
//!                                       log that was moved away has the key after the last batch
//! tile/...                              c2sp.org/tlog-tiles: hash tiles and entry bundles, full and partial
//! checkpoint                            the published head
//! checkpoint.signed                     the last head that the log signed, if it has witnesses
//! lease                                 names the server that appends
//! profile, origin                       the log's profile and name, written once by `init`
//! index/<SHA-256>.run, index/manifest   the index, for servers that start without a cache
//! ```

use crate::bucket::Headers;
use crate::format::names;
use crate::merkle::{Hash, LeafIndex, Tile};

/// Prefix of the keys of all batches.
pub const BATCHES: &str = "batch/";
/// Prefix of the keys of all tiles and bundles.
pub const TILES: &str = "tile/";
/// Prefix of the keys of the index.
pub const INDEX: &str = "index/";
/// Key of the lease.
pub const LEASE: &str = "lease";
/// Key of the log's profile.
pub const PROFILE: &str = "profile";
/// Key of the log's name.
pub const ORIGIN: &str = "origin";
/// Key of the list of the index's runs.
pub const INDEX_MANIFEST: &str = "index/manifest";

/// Digits of the leaf index in the key of a batch: enough for 64 bits, so that keys sort in the order of the batches.
const DIGITS: usize = 20;

/// Headers of objects that never change, so that readers may cache them forever.
pub const IMMUTABLE: Headers = Headers {
    content_type: "application/octet-stream",
    cache_control: Some("public, max-age=31536000, immutable"),
    content_encoding: None,
    tagging: None,
    sha256: None,
};

/// Headers of heads: text that a cache must revalidate on each request.
pub const HEAD: Headers = Headers {
    content_type: "text/plain; charset=utf-8",
    cache_control: Some("no-cache"),
    content_encoding: None,
    tagging: None,
    sha256: None,
};

/// Headers of the lease.
pub const JSON: Headers = Headers {
    content_type: "application/json",
    cache_control: Some("no-store"),
    content_encoding: None,
    tagging: None,
    sha256: None,
};

names! {
    /// One of the two heads.
    HeadKind {
        /// The published head. For a log with witnesses, this is the last head with a quorum.
        Published => "checkpoint",
        /// The last head that the log signed. Only a log with witnesses has this object.
        Signed => "checkpoint.signed",
    }
}

/// The key of the batch whose first entry has this index.
#[must_use]
pub fn batch(first: LeafIndex) -> String {
    format!("{BATCHES}{:0DIGITS$}", first.get())
}

/// The index of the first entry of the batch with this key; `None` for any other key.
#[must_use]
pub fn parse_batch(key: &str) -> Option<LeafIndex> {
    let digits = key.strip_prefix(BATCHES)?;
    let is_number = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number).and_then(LeafIndex::new)
}

/// The key of a tile or bundle: its path.
#[must_use]
pub fn tile(tile: Tile) -> String {
    tile.to_string()
}

/// The key of a run of the index, named after the SHA-256 of its bytes.
#[must_use]
pub fn index_run(digest: &Hash) -> String {
    format!("{INDEX}{}.run", digest.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::check_key;
    use crate::merkle::{MAX_TREE_SIZE, TileId};

    #[test]
    fn keys_of_batches_sort_as_their_indices_and_read_back() {
        let indices = [0, 1, 9, 10, 4_095, 1 << 40, MAX_TREE_SIZE - 1].map(|at| LeafIndex::new(at).unwrap());
        let keys = indices.map(batch);
        assert!(keys.is_sorted());
        assert_eq!(keys[3], "batch/00000000000000000010");
        for (key, index) in keys.iter().zip(indices) {
            assert_eq!(parse_batch(key), Some(index));
            check_key(key).unwrap();
        }
        let nine = "9".repeat(20);
        for other in ["", "1", "0000000000000000000", "000000000000000000000", "+0000000000000000001", &nine]
        {
            assert_eq!(parse_batch(&format!("batch/{other}")), None, "{other}");
        }
        // 2^63 - 1 is a valid tree size but not a valid leaf index.
        assert_eq!(parse_batch("batch/09223372036854775807"), None);
        assert_eq!(parse_batch("tile/00000000000000000001"), None);
    }

    #[test]
    fn every_key_is_one_that_stores_pass_on() {
        let partial = Tile::new(TileId::Entries { index: 1_234_567 }, 17).unwrap();
        let heads = HeadKind::ALL.map(|kind| kind.as_str().to_owned());
        let others = [LEASE, PROFILE, ORIGIN, INDEX_MANIFEST].map(str::to_owned);
        let made = [tile(partial), index_run(&Hash::digest(b"x"))];
        for key in heads.into_iter().chain(others).chain(made) {
            check_key(&key).unwrap();
        }
        assert_eq!(tile(partial), "tile/entries/x001/x234/567.p/17");
    }
}
