//! `GET /releases`: finds releases and other statements by package, version, beginning of a name, digest, publisher,
//! channel, kind and withdrawn release.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::intersection::{Intersection, Step};
use super::log::in_turn;
use super::{Log, Problem, Profile};
use crate::format::{FormatError, base64_encode, quote, to_json};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::release::{
    EntryValues, Facts, PackageUrl, Publishers, Purl, Resource, SearchField, Shown, Signer, Statement,
    Subject, Term,
};
use crate::store::{StoreError, StoreReader};

/// Most releases on a page.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;
/// Most entries that are read for one page. After that, and after [`MAX_STEPS`], the client goes on with `next`.
const MAX_LOOKED_AT: usize = 1_000;
/// Most look-ups in the index for one page: common values that rarely occur together take many.
const MAX_STEPS: usize = 4_000;
/// Bytes of entries after which a page ends.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Most names that are looked up for one beginning. If more names begin so, the search reads all entries instead, which are
/// many then.
const MAX_NAMES: usize = 256;
/// Most withdrawals that are shown with a release, newest first.
const MAX_WITHDRAWALS: usize = 4;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    package: Option<String>,
    version: Option<String>,
    name: Option<String>,
    digest: Option<String>,
    publisher: Option<String>,
    channel: Option<String>,
    kind: Option<String>,
    withdraws: Option<String>,
    entries: Option<String>,
    size: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// A statement as search shows it: what the entry says. The client has not verified it; the proof file lets it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseRow {
    /// Leaf index.
    pub index: u64,
    /// Leaf hash in hex.
    pub leaf_hash: String,
    /// Names of the signers.
    pub publishers: Vec<String>,
    /// The first package URL with a version that the statement names; releases and withdrawals always have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// `build`, `update`, `detection-rules` or `trust` for a release; `withdrawal`, `provenance`, `verification-summary`,
    /// `review`, `disclosure`, `sbom`, `vex`, `test-result` or `imported` for other statements; of any other, its predicate
    /// type.
    pub kind: String,
    /// The predicate type of an attestation; of an imported statement, that of what it carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// A release's channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// A release's sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// A release's withdrawals, newest first, at most four.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<WithdrawnRow>,
    /// Leaf index of the release that a withdrawal withdraws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdraws: Option<u64>,
    /// The reason of a withdrawal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The builder that a provenance statement names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// The verifier that a verification summary names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// Leaf index of the review that a disclosure belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<u64>,
    /// The reviewer that a review names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    /// The party that a finding was shown to; missing if it was shown to everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The signer that an imported statement names, which nobody checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// `PASSED` or `FAILED` for a verification summary, also `PASSED_WITH_FINDINGS` for a review and `WARNED` for a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The artifacts that have a SHA-256.
    pub artifacts: Vec<ArtifactRow>,
    /// Path of the proof file, below the log's URL prefix.
    pub proof: String,
    /// The entry in base64, if the client asked for entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// A withdrawal, shown with the release that it withdraws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnRow {
    /// Leaf index of the withdrawal.
    pub index: u64,
    /// The reason.
    pub reason: String,
    /// Names of the signers of the withdrawal.
    pub publishers: Vec<String>,
}

/// An artifact as search shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// File name; empty if the statement gives none.
    pub name: String,
    /// SHA-256 in hex.
    pub sha256: String,
}

#[derive(Serialize)]
pub struct SearchAnswer {
    /// Size of the tree that was searched: the answer is as old as that tree.
    tree_size: u64,
    releases: Vec<ReleaseRow>,
    /// Value of `before` for the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

struct Search {
    filters: Vec<(SearchField, String)>,
    /// Size of the tree to search; the published one's if it is not said.
    size: Option<TreeSize>,
    before: Option<LeafIndex>,
    limit: usize,
    /// True if rows include their entries.
    entries: bool,
}

pub async fn releases(State(log): State<Log>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let expected = "package, version, name, digest, publisher, channel, kind, withdraws, entries, size, before or limit, each once";
    let query: SearchQuery = parse_query(&log, &uri, ("search", "a search"), expected)?;
    let mut search = Search::parse(query)?;
    let turns = log.inner.searches.clone();
    let answer = in_turn(&turns, move || {
        let published = log.published().checkpoint.size;
        let size = search.size.unwrap_or(published);
        if size > published {
            let detail = format!("the published tree size is {published}, asked for {size}");
            return Err(Problem::NotFound { what: "the tree size", detail });
        }
        let publishers = log.publishers();
        search.name_publisher(&publishers);
        let page = search.run(log.reader().as_ref(), size, &publishers)?;
        Ok::<_, Problem>(log.inner.gzip.answer(&headers, "application/json", to_json(&page).into_bytes()))
    });
    answer.await?
}

/// Parses the query of a route that only a log of releases has. Errors name the subject `what` and the `query`.
pub(super) fn parse_query<Q: DeserializeOwned>(
    log: &Log,
    uri: &Uri,
    (what, query): (&'static str, &'static str),
    expected: &str,
) -> Result<Q, Problem> {
    if log.profile() == Profile::Opaque {
        let detail = "it was made with profile = \"opaque\", so nothing is known of its entries".to_owned();
        return Err(Problem::NotFound { what, detail });
    }
    let parsed = Query::try_from_uri(uri);
    let Query(parsed) = parsed.map_err(|e| FormatError::malformed(query, expected, quote(&e.to_string())))?;
    Ok(parsed)
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
        let entries = match query.entries.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(
                    FormatError::malformed("entries of a search", "true or false", quote(other)).into()
                );
            }
        };
        let size = match query.size {
            None => None,
            Some(text) => Some(TreeSize::parse(&text).ok_or_else(|| {
                FormatError::malformed(
                    "a tree size",
                    "a decimal below 2^63 without leading zeros",
                    quote(&text),
                )
            })?),
        };
        // Packages and versions are indexed in their canonical spelling; clients may ask in any.
        let package = query.package.as_deref().map(parse_package).transpose()?;
        let version = query.version.as_deref().map(Purl::parse_version).transpose()?;
        let name = query.name.as_deref().map(PackageUrl::name_prefix).transpose()?;
        // The most selective first, which sets the pace of the search.
        let filters = [
            (SearchField::Withdraws, query.withdraws),
            (SearchField::Digest, digest),
            (SearchField::Package, package),
            (SearchField::Version, version),
            (SearchField::Name, name),
            (SearchField::Publisher, query.publisher),
            (SearchField::Channel, query.channel),
            (SearchField::Kind, query.kind),
        ];
        let filters = filters.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        Ok(Self { filters, size, before, limit: limit.clamp(1, MAX_PAGE), entries })
    }

    /// Replaces a keyid by its publisher's name: a publisher knows its key, but perhaps not its name in the log. Keys
    /// that are no longer registered are indexed by their keyid.
    fn name_publisher(&mut self, publishers: &Publishers) {
        for (field, value) in &mut self.filters {
            if *field == SearchField::Publisher
                && let Some(name) = publishers.name_of(value)
            {
                *value = name.to_owned();
            }
        }
    }

    /// Reads the leaves that all filters point at, newest first.
    fn run(
        &self,
        reader: &dyn StoreReader,
        size: TreeSize,
        publishers: &Publishers,
    ) -> Result<SearchAnswer, Problem> {
        let end = size.next_index();
        let mut before = self.before.map_or(end, |before| before.min(end));
        let (mut releases, mut looked_at, mut held) = (Vec::new(), 0, 0);
        let withdrawals = Withdrawals { reader, end, publishers };
        let search = |term: &Term, before, limit| reader.search(term, Some(before), limit);
        let mut leaves = Intersection::new(search, self.terms(reader)?, MAX_STEPS);
        let next = loop {
            let index = match leaves.next_before(before)? {
                Step::End => break None,
                Step::Paused(before) => break Some(before),
                Step::Found(index)
                    if releases.len() == self.limit
                        || looked_at == MAX_LOOKED_AT
                        || held >= MAX_PAGE_BYTES =>
                {
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
                if self.entries {
                    held += entry.len();
                    row.entry = Some(base64_encode(&entry));
                }
                releases.push(row);
            }
        };
        Ok(SearchAnswer { tree_size: size.get(), releases, next: next.map(LeafIndex::get) })
    }

    /// The terms of each filter that the index can answer.
    fn terms(&self, reader: &dyn StoreReader) -> Result<Vec<Vec<Term>>, StoreError> {
        let mut terms = Vec::new();
        for (field, value) in &self.filters {
            match field {
                SearchField::Name => terms.extend(reader.names(value, MAX_NAMES)?),
                _ => terms.push(vec![Term::new(*field, value)]),
            }
        }
        Ok(terms)
    }

    fn matches(&self, values: &EntryValues) -> bool {
        self.filters.iter().all(|(field, value)| values.matches(*field, value))
    }
}

/// Parses the package that a client asks for.
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
    /// End of the published tree.
    end: LeafIndex,
    publishers: &'a Publishers,
}

impl Withdrawals<'_> {
    /// The withdrawals of a release. The log checked leaf and publisher when it admitted them.
    fn of(&self, release: LeafIndex, leaf_hash: &str) -> Result<Vec<WithdrawnRow>, StoreError> {
        let term = Term::new(SearchField::Withdraws, leaf_hash);
        let found = self.reader.search(&term, Some(self.end), MAX_WITHDRAWALS)?;
        let mut rows = Vec::new();
        for index in found.leaves {
            let Some(values) = Facts::values(&self.reader.entry(index)?, self.publishers) else { continue };
            // The index keeps a part of the hash, and another one may begin alike.
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
        attestation => attestation_row(attestation, row),
    }
}

fn attestation_row(statement: &Statement, row: ReleaseRow) -> ReleaseRow {
    let row = ReleaseRow {
        artifacts: described(statement.resources()),
        predicate_type: statement.predicate_type().map(ToOwned::to_owned),
        result: statement.result().map(ToOwned::to_owned),
        ..row
    };
    match statement {
        Statement::Provenance(provenance) => ReleaseRow { builder: Some(provenance.builder.clone()), ..row },
        Statement::Summary(summary) => ReleaseRow { verifier: Some(summary.verifier.clone()), ..row },
        Statement::Review(review) => ReleaseRow { reviewer: Some(review.reviewer.clone()), ..row },
        Statement::Disclosure(disclosure) => {
            let to = if let Shown::To(to) = &disclosure.shown { Some(to.clone()) } else { None };
            ReleaseRow { review: Some(disclosure.index.get()), to, ..row }
        }
        Statement::Imported(imported) => {
            let (Signer::Certificate { identity: signer, .. } | Signer::Key(signer)) = &imported.signer;
            let predicate_type = Some(imported.predicate_type.clone());
            ReleaseRow { signer: Some(signer.clone()), predicate_type, ..row }
        }
        _ => row,
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
