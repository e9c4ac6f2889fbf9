//! `GET /releases`: finding releases by package, version, digest, publisher and kind.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use serde::{Deserialize, Serialize};

use super::read::blocking;
use super::{Log, Problem, Profile};
use crate::format::{FormatError, quote};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::release::{EntryValues, Facts, Publishers, SearchField, Term};
use crate::store::{EntryReader, StoreReader};

/// Most releases on a page.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;
/// Most entries looked at for one page: a search for common values of two fields that rarely meet
/// goes on with `next` rather than holding the server.
const MAX_LOOKED_AT: usize = 1_000;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    package: Option<String>,
    version: Option<String>,
    digest: Option<String>,
    publisher: Option<String>,
    kind: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// A release as search shows it: what the entry says. Not verified by the client yet; the proof is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRow {
    /// Place in the log.
    pub index: u64,
    /// Hex leaf hash.
    pub leaf_hash: String,
    /// Names of the signers.
    pub publishers: Vec<String>,
    /// Package and version.
    pub purl: String,
    /// `build`, `update` or `detection-rules`.
    pub kind: String,
    /// The channel.
    pub channel: String,
    /// The sequence number.
    pub sequence: u64,
    /// The artifacts.
    pub artifacts: Vec<ArtifactRow>,
    /// Path of its proof file.
    pub proof: String,
}

/// An artifact as search shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// File name.
    pub name: String,
    /// Hex SHA-256.
    pub sha256: String,
}

#[derive(Serialize)]
pub struct Page {
    tree_size: u64,
    releases: Vec<ReleaseRow>,
    /// Value of `before` for the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

struct Search {
    filters: Vec<(SearchField, String)>,
    before: Option<LeafIndex>,
    limit: usize,
}

pub async fn releases(State(log): State<Log>, uri: Uri) -> Result<Json<Page>, Problem> {
    if log.profile() == Profile::Opaque {
        let detail = "it was made with profile = \"opaque\", so nothing is known of its entries".to_owned();
        return Err(Problem::NotFound { what: "search", detail });
    }
    let Query(query) = Query::<SearchQuery>::try_from_uri(&uri).map_err(|e| {
        let expected = "package, version, digest, publisher, kind, before or limit, each once";
        FormatError::malformed("a search", expected, quote(&e.to_string()))
    })?;
    let search = Search::parse(query)?;
    let turns = log.clone();
    let _turn = turns.search_turn().await;
    blocking(move || {
        let size = log.published().checkpoint.size;
        let publishers = log.publishers().current();
        search.run(log.reader().as_ref(), size, &publishers).map(Json)
    })
    .await
}

impl Search {
    fn parse(query: SearchQuery) -> Result<Self, Problem> {
        let number = |text: Option<String>, what: &'static str| match text {
            None => Ok(None),
            Some(text) => {
                let wrong = || FormatError::malformed(what, "a decimal without leading zeros", quote(&text));
                LeafIndex::parse(&text).map(Some).ok_or_else(wrong)
            }
        };
        let limit = number(query.limit, "the limit of a search")?;
        let limit = limit.map_or(DEFAULT_PAGE, |limit| usize::try_from(limit.get()).unwrap_or(MAX_PAGE));
        let before = number(query.before, "the place before which a search looks")?;
        let digest = query.digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned());
        if let Some(digest) = &digest {
            Hash::from_hex(digest)?;
        }
        let given = |field: SearchField| match field {
            SearchField::Digest => digest.clone(),
            SearchField::Package => query.package.clone(),
            SearchField::Version => query.version.clone(),
            SearchField::Publisher => query.publisher.clone(),
            SearchField::Kind => query.kind.clone(),
        };
        let filters = SearchField::ALL.into_iter().filter_map(|field| Some((field, given(field)?))).collect();
        Ok(Self { filters, before, limit: limit.clamp(1, MAX_PAGE) })
    }

    /// Walks the rows of the most selective filter, newest first, and keeps what matches all.
    fn run(
        &self,
        reader: &dyn StoreReader,
        size: TreeSize,
        publishers: &Publishers,
    ) -> Result<Page, Problem> {
        let end = size.next_index();
        let mut before = Some(self.before.map_or(end, |before| before.min(end)));
        let (mut releases, mut looked_at, mut entries) = (Vec::new(), 0, EntryReader::new(reader));
        while let Some(end) = before.filter(|_| releases.len() < self.limit && looked_at < MAX_LOOKED_AT) {
            let (leaves, more) = self.candidates(reader, end)?;
            before = if more { leaves.last().copied() } else { None };
            for index in leaves {
                looked_at += 1;
                if releases.len() == self.limit {
                    before = Some(index.plus(1));
                    break;
                }
                let entry = entries.read(index)?;
                if let Some(values) = Facts::values(entry, publishers).filter(|values| self.matches(values)) {
                    releases.push(row(index, entry, &values));
                }
            }
        }
        let next = before.map(LeafIndex::get).filter(|next| *next > 0);
        Ok(Page { tree_size: size.get(), releases, next })
    }

    fn candidates(
        &self,
        reader: &dyn StoreReader,
        before: LeafIndex,
    ) -> Result<(Vec<LeafIndex>, bool), Problem> {
        if let Some((field, value)) = self.filters.first() {
            let page = reader.search(&Term::new(*field, value), Some(before), self.limit)?;
            return Ok((page.leaves, page.more));
        }
        let first = before.get().saturating_sub(self.limit as u64);
        let leaves: Vec<LeafIndex> = (first..before.get()).rev().filter_map(LeafIndex::new).collect();
        Ok((leaves, first > 0))
    }

    fn matches(&self, values: &EntryValues) -> bool {
        self.filters.iter().all(|(field, value)| values.matches(*field, value))
    }
}

fn row(index: LeafIndex, entry: &[u8], values: &EntryValues) -> ReleaseRow {
    let (release, leaf_hash) = (&values.release, Hash::leaf(entry).to_hex());
    let artifact = |subject: &crate::release::Subject| ArtifactRow {
        name: subject.name.clone(),
        sha256: subject.sha256.to_hex(),
    };
    ReleaseRow {
        index: index.get(),
        proof: format!("/proof/leaf/{leaf_hash}"),
        leaf_hash,
        publishers: values.signers.clone(),
        purl: release.purl.to_string(),
        kind: release.kind.to_string(),
        channel: release.channel.clone(),
        sequence: release.sequence,
        artifacts: release.subjects.iter().map(artifact).collect(),
    }
}
