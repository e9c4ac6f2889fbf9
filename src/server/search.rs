//! `GET /releases`: finding releases, and what was stated about them, by package, version, digest,
//! publisher, kind and the release that is withdrawn.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::intersection::{Intersection, Step};
use super::{Log, Problem, Profile};
use crate::format::{FormatError, quote, to_json};
use crate::http::problem::blocking;
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::release::{
    EntryValues, Facts, PackageUrl, Publishers, Purl, Resource, SearchField, Statement, Subject, Term,
};
use crate::store::{StoreError, StoreReader};

/// Most releases on a page.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;
/// Most entries that are read for one page. Then, as after [`MAX_STEPS`], the search goes on with `next` rather
/// than holding the server.
const MAX_LOOKED_AT: usize = 1_000;
/// Most look-ups in the index for one page: common values that rarely meet take many.
const MAX_STEPS: usize = 4_000;
/// Most withdrawals that are shown with a release, the newest: one says it all.
const MAX_WITHDRAWALS: usize = 4;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    package: Option<String>,
    version: Option<String>,
    digest: Option<String>,
    publisher: Option<String>,
    kind: Option<String>,
    withdraws: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// A statement as search shows it: what the entry says. Not verified by the client yet; the proof is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseRow {
    /// Place in the log.
    pub index: u64,
    /// Hex leaf hash.
    pub leaf_hash: String,
    /// Names of the signers.
    pub publishers: Vec<String>,
    /// Package and version, where they are named, the first of several; always of releases and withdrawals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// `build`, `update` or `detection-rules` of a release; else `withdrawal`, `provenance` or
    /// `verification-summary`.
    pub kind: String,
    /// A release's channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// A release's sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// A release's newest withdrawals, newest first: a few of them, where there are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<WithdrawnRow>,
    /// Place of the release that a withdrawal withdraws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdraws: Option<u64>,
    /// Why a withdrawal was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who built what provenance is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Who made a verification that a summary is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// `PASSED` or `FAILED`, of a verification summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The artifacts that have a SHA-256.
    pub artifacts: Vec<ArtifactRow>,
    /// Path of its proof file.
    pub proof: String,
}

/// A withdrawal, beside the release that it withdraws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnRow {
    /// Place of the withdrawal in the log.
    pub index: u64,
    /// Why.
    pub reason: String,
    /// Names of the signers of the withdrawal.
    pub publishers: Vec<String>,
}

/// An artifact as search shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// File name; empty where the statement gives it none.
    pub name: String,
    /// Hex SHA-256.
    pub sha256: String,
}

#[derive(Serialize)]
pub struct Page {
    /// Entries that were searched: an answer is as old as the tree that it was made at.
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

pub async fn releases(State(log): State<Log>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    if log.profile() == Profile::Opaque {
        let detail = "it was made with profile = \"opaque\", so nothing is known of its entries".to_owned();
        return Err(Problem::NotFound { what: "search", detail });
    }
    let Query(query) = Query::<SearchQuery>::try_from_uri(&uri).map_err(|e| {
        let expected = "package, version, digest, publisher, kind, withdraws, before or limit, each once";
        FormatError::malformed("a search", expected, quote(&e.to_string()))
    })?;
    let mut search = Search::parse(query)?;
    let compressor = log.gzip().asked_for(&headers);
    // It goes with the search, whether anybody still waits for what it finds or not.
    let turn = log.search_turn().await;
    let answer = blocking(move || {
        let _turn = turn;
        let size = log.published().checkpoint.size;
        let publishers = log.publishers().current();
        search.name_publisher(&publishers);
        let page = search.run(log.reader().as_ref(), size, &publishers)?;
        Ok::<_, Problem>(compressor.answer("application/json", to_json(&page).into_bytes()))
    });
    answer.await?
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
        if let Some(leaf) = &query.withdraws {
            Hash::from_hex(leaf)?;
        }
        // Packages and versions are indexed in their canonical spelling, and may be asked for in any.
        let package = query.package.as_deref().map(parse_package).transpose()?;
        let version = query.version.as_deref().map(Purl::parse_version).transpose()?;
        let given = |field: SearchField| match field {
            SearchField::Digest => digest.clone(),
            SearchField::Package => package.clone(),
            SearchField::Version => version.clone(),
            SearchField::Publisher => query.publisher.clone(),
            SearchField::Kind => query.kind.clone(),
            SearchField::Withdraws => query.withdraws.clone(),
        };
        let filters = SearchField::ALL.into_iter().filter_map(|field| Some((field, given(field)?))).collect();
        Ok(Self { filters, before, limit: limit.clamp(1, MAX_PAGE) })
    }

    /// A publisher knows its key, but perhaps not its name in the log. Keys that are not registered any more are
    /// indexed by their keyid.
    fn name_publisher(&mut self, publishers: &Publishers) {
        for (field, value) in &mut self.filters {
            if *field == SearchField::Publisher
                && let Some(name) = publishers.name_of(value)
            {
                *value = name.to_owned();
            }
        }
    }

    /// Walks over the leaves that all filters point at, newest first.
    fn run(
        &self,
        reader: &dyn StoreReader,
        size: TreeSize,
        publishers: &Publishers,
    ) -> Result<Page, Problem> {
        let end = size.next_index();
        let mut before = self.before.map_or(end, |before| before.min(end));
        let (mut releases, mut looked_at) = (Vec::new(), 0);
        let withdrawals = Withdrawals { reader, end, publishers };
        let terms = self.filters.iter().map(|(field, value)| Term::new(*field, value));
        let search = |term: &Term, before, limit| reader.search(term, Some(before), limit);
        let mut leaves = Intersection::new(search, terms, MAX_STEPS);
        let next = loop {
            let index = match leaves.next_before(before)? {
                Step::End => break None,
                Step::Paused(before) => break Some(before),
                Step::Found(index) if releases.len() == self.limit || looked_at == MAX_LOOKED_AT => {
                    break Some(index.plus(1));
                }
                Step::Found(index) => index,
            };
            (before, looked_at) = (index, looked_at + 1);
            let entry = reader.entry(index)?;
            if let Some(values) = Facts::values(&entry, publishers).filter(|values| self.matches(values)) {
                let mut row = row(index, &entry, &values);
                if values.statement.as_release().is_some() {
                    row.withdrawn = withdrawals.of(index, &row.leaf_hash)?;
                }
                releases.push(row);
            }
        };
        Ok(Page { tree_size: size.get(), releases, next: next.map(LeafIndex::get) })
    }

    fn matches(&self, values: &EntryValues) -> bool {
        self.filters.iter().all(|(field, value)| values.matches(*field, value))
    }
}

/// Reads what is asked for as a package.
pub(super) fn parse_package(text: &str) -> Result<String, FormatError> {
    let url = PackageUrl::parse_logged(text)?;
    if url.as_str() == url.package() {
        return Ok(url.package());
    }
    let expected = "a package: a purl without version and subpath (the version goes into `version`)";
    Err(FormatError::malformed("a search", expected, quote(text)))
}

/// Finds the withdrawals of releases.
struct Withdrawals<'a> {
    reader: &'a dyn StoreReader,
    /// Where the published tree ends.
    end: LeafIndex,
    publishers: &'a Publishers,
}

impl Withdrawals<'_> {
    /// One look into the index, and as many entries as are shown: that the log has admitted them
    /// says that the leaf and its publisher are the right ones.
    fn of(&self, release: LeafIndex, leaf_hash: &str) -> Result<Vec<WithdrawnRow>, StoreError> {
        let term = Term::new(SearchField::Withdraws, leaf_hash);
        let found = self.reader.search(&term, Some(self.end), MAX_WITHDRAWALS)?;
        let mut rows = Vec::new();
        for index in found.leaves {
            let Some(values) = Facts::values(&self.reader.entry(index)?, self.publishers) else { continue };
            // The term is a hint: another hash may begin alike.
            let Statement::Withdrawal(withdrawal) = values.statement else { continue };
            if withdrawal.index == release && withdrawal.leaf.to_hex() == leaf_hash {
                rows.push(WithdrawnRow {
                    index: index.get(),
                    reason: withdrawal.reason,
                    publishers: values.signers,
                });
            }
        }
        Ok(rows)
    }
}

fn row(index: LeafIndex, entry: &[u8], values: &EntryValues) -> ReleaseRow {
    let (statement, leaf_hash) = (&values.statement, Hash::leaf(entry).to_hex());
    let row = ReleaseRow {
        index: index.get(),
        proof: format!("/proof/leaf/{leaf_hash}"),
        leaf_hash,
        publishers: values.signers.clone(),
        purl: statement.purl().map(ToString::to_string),
        kind: statement.kind().to_string(),
        ..ReleaseRow::default()
    };
    match statement {
        Statement::Release(release) => ReleaseRow {
            channel: Some(release.channel.clone()),
            sequence: Some(release.sequence),
            artifacts: named(&release.subjects),
            ..row
        },
        Statement::Withdrawal(withdrawal) => ReleaseRow {
            withdraws: Some(withdrawal.index.get()),
            reason: Some(withdrawal.reason.clone()),
            artifacts: named(&withdrawal.subjects),
            ..row
        },
        Statement::Provenance(provenance) => ReleaseRow {
            builder: Some(provenance.builder.clone()),
            artifacts: described(&provenance.subjects),
            ..row
        },
        Statement::Summary(summary) => ReleaseRow {
            verifier: Some(summary.verifier.clone()),
            result: Some(summary.result.as_str().to_owned()),
            artifacts: described(&summary.subjects),
            ..row
        },
    }
}

fn named(subjects: &[Subject]) -> Vec<ArtifactRow> {
    let artifact =
        |subject: &Subject| ArtifactRow { name: subject.name.clone(), sha256: subject.sha256.to_hex() };
    subjects.iter().map(artifact).collect()
}

fn described(subjects: &[Resource]) -> Vec<ArtifactRow> {
    let artifact = |subject: &Resource| {
        let name = subject.name.clone().or_else(|| subject.uri.clone()).unwrap_or_default();
        subject.sha256().map(|sha256| ArtifactRow { name, sha256: sha256.to_hex() })
    };
    subjects.iter().filter_map(artifact).collect()
}
