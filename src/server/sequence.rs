//! `GET /sequence`: the highest sequence number of a publisher, package and channel.

use axum::extract::State;
use axum::http::Uri;
use serde::{Deserialize, Serialize};

use super::search::{parse_package, parse_query};
use super::{Log, Problem};
use crate::format::quote;
use crate::http::json::Json;
use crate::http::problem::blocking;
use crate::release::{Claim, Publishers, Track};
use crate::store::{StoreError, StoreReader, Stored};

/// Most numbers that are looked up: the index knows a track by seven bytes of its hash, which two tracks may share.
const MAX_TRIES: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceQuery {
    publisher: String,
    package: String,
    channel: String,
}

#[derive(Serialize)]
pub struct SequenceAnswer {
    publisher: String,
    package: String,
    channel: String,
    /// Size of the tree that was searched: all durable entries, published or not.
    tree_size: u64,
    /// The highest number; null if there is no release yet.
    highest: Option<u64>,
    /// Leaf index of the release with that number.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

pub async fn sequence(State(log): State<Log>, uri: Uri) -> Result<Json<SequenceAnswer>, Problem> {
    let expected =
        "publisher (its name, or the hex keyid of one of its keys), package and channel, each once";
    let query: SequenceQuery = parse_query(&log, &uri, ("a sequence number", "a query"), expected)?;
    let package = parse_package(&query.package)?;
    let publisher = name_of(&log.publishers(), &query.publisher)?;
    let answer = blocking(move || {
        // Read before the look-up: entries that arrive in between may be missing from it.
        let tree_size = log.reader().applied()?.get();
        let found = highest(log.reader().as_ref(), &publisher, &package, &query.channel)?;
        let (highest, index) = found.map(|(number, stored)| (number, stored.index.get())).unzip();
        Ok::<_, Problem>(SequenceAnswer {
            publisher,
            package,
            channel: query.channel,
            tree_size,
            highest,
            index,
        })
    });
    Ok(Json(answer.await??))
}

/// Resolves a publisher's name or keyid: a publisher knows its key, but perhaps not its name in the log.
fn name_of(publishers: &Publishers, text: &str) -> Result<String, Problem> {
    publishers.name_of(text).map(ToOwned::to_owned).ok_or_else(|| {
        let detail = format!("no publisher has the name or the keyid {}", quote(text));
        Problem::NotFound { what: "the publisher", detail }
    })
}

fn highest(
    reader: &dyn StoreReader,
    publisher: &str,
    package: &str,
    channel: &str,
) -> Result<Option<(u64, Stored)>, Problem> {
    let track = Track::new(publisher, package, channel);
    let release = |number| {
        let found = reader.find_claim(&Claim::key(publisher, package, channel, number))?;
        Ok(found.map(|(stored, _)| stored))
    };
    highest_of(|below| reader.highest(&track, below), release)
}

/// The highest number in the index that a release really has. `next` returns the highest number below another.
fn highest_of(
    next: impl Fn(u64) -> Result<Option<u64>, StoreError>,
    release: impl Fn(u64) -> Result<Option<Stored>, StoreError>,
) -> Result<Option<(u64, Stored)>, Problem> {
    let mut below = u64::MAX;
    for _ in 0..MAX_TRIES {
        let Some(number) = next(below)? else { return Ok(None) };
        if let Some(stored) = release(number)? {
            return Ok(Some((number, stored)));
        }
        below = number;
    }
    Err(Problem::SequenceUnknown { tries: MAX_TRIES })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Hash, LeafIndex};

    /// Searches an index with these numbers, of which all but the lowest belong to another track.
    fn found(numbers: u64) -> Result<Option<u64>, Problem> {
        let stored = Stored { index: LeafIndex::new(7).unwrap(), leaf: Hash::digest(b"x") };
        let next = |below: u64| Ok(below.min(numbers + 1).checked_sub(1).filter(|number| *number > 0));
        let release = |number| Ok((number == 1).then_some(stored));
        highest_of(next, release).map(|found| found.map(|(number, _)| number))
    }

    #[test]
    fn numbers_of_another_track_are_skipped_and_too_many_of_them_are_an_error() {
        assert_eq!(found(0).unwrap(), None);
        assert_eq!(found(8).unwrap(), Some(1));
        let refused = found(9).unwrap_err();
        assert_eq!(refused.code(), "sequence-unknown");
        assert!(refused.to_string().contains("could not tell"), "{refused}");
    }
}
