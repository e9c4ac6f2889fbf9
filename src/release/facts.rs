//! Facts that the log's indexes record about an entry: its payload, the sequence numbers it claims, its search terms,
//! and the facts that warnings need.
//!
//! All of it is a function of the entry and the publishers file alone, so that indexes can be rebuilt
//! from the journal. That is why keys are revoked in that file and never removed from it: claims
//! are kept under their publisher's name.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Envelope, Kind, Publishers, Release, Statement, Subject};
use crate::format::{FormatError, names};
use crate::merkle::Hash;

/// Number of terms for which there is room at once: most statements have one package, signer and artifact.
const TERMS_OF_MOST: usize = 8;

/// A publisher's claim to a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Hash of publisher, package, channel and sequence.
    pub key: Hash,
    /// [`Release::content`](super::Release::content): another claim to the key must state the same.
    pub content: Hash,
}

impl Claim {
    /// Makes a [`key`](Self::key); `package` is a canonical purl without version.
    #[must_use]
    pub fn key(publisher: &str, package: &str, channel: &str, sequence: u64) -> Hash {
        hash_joined(&[publisher, package, channel, &sequence.to_string()])
    }
}

/// A track: publisher, package and channel, hashed. Sequence numbers only grow within a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track(pub Hash);

impl Track {
    /// Makes a track; `package` is a canonical purl without version.
    #[must_use]
    pub fn new(publisher: &str, package: &str, channel: &str) -> Self {
        Self(hash_joined(&[publisher, package, channel]))
    }
}

/// A release by one signer: its identity and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// Hash of publisher, purl with version and qualifiers, kind and channel. Releases with the same value should have
    /// the same bytes. `None` for detection rules, which change without a new version.
    pub thing: Option<Hash>,
    /// [`Release::bytes`].
    pub bytes: Hash,
    /// The key for finding a withdrawal of these artifacts by this publisher.
    pub withdrawal: Hash,
}

impl Edition {
    /// The edition of a release by a publisher.
    #[must_use]
    pub fn new(publisher: &str, release: &Release) -> Self {
        let Release { kind, channel, subjects, .. } = release;
        let (package, version) = (release.purl.package(), release.purl.version());
        let thing = || hash_joined(&[publisher, &package, version, kind.as_str(), channel]);
        let artifacts = Subject::digest_of_all(subjects);
        Self {
            thing: (*kind != Kind::DetectionRules).then(thing),
            bytes: release.bytes_of(&artifacts),
            withdrawal: withdrawal_key(publisher, &artifacts),
        }
    }
}

/// Hash of publisher and [artifacts](Subject::digest_of_all).
fn withdrawal_key(publisher: &str, artifacts: &Hash) -> Hash {
    hash_joined(&[publisher, &artifacts.to_hex()])
}

/// SHA-256 of texts with a NUL between them. None of them may contain one.
pub(super) fn hash_joined(texts: &[&str]) -> Hash {
    Hash::digest(texts.join("\0").as_bytes())
}

names! {
    /// A field by which statements can be searched, with its name in queries, the most selective first. The number is
    /// the field's tag in a [`Term`].
    #[repr(u8)]
    SearchField {
        /// Hex leaf hash of the withdrawn release.
        Withdraws = b'w' => "withdraws",
        /// Hex SHA-256 of an artifact, or a manifest's root.
        Digest = b'd' => "digest",
        /// The purl without version and subpath.
        Package = b'p' => "package",
        /// The version.
        Version = b'v' => "version",
        /// Beginning of the package's name, as [`PackageUrl::name_prefix`](super::PackageUrl::name_prefix) spells it.
        Name = b'a' => "name",
        /// Name of a publisher.
        Publisher = b'n' => "publisher",
        /// A release's channel.
        Channel = b'c' => "channel",
        /// Name of a kind, or predicate type.
        Kind = b'k' => "kind",
    }
}

/// An index key for a value of a field: the field's tag, then eight bytes of the value's hash. A [name](SearchField::Name)
/// is not hashed: its first eight bytes stand for themselves, in lower case, so that names that begin alike stand side by
/// side. Two values may have the same key, so readers of rows compare the entry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub [u8; 9]);

impl Term {
    /// Makes the term for a value.
    #[must_use]
    pub fn new(field: SearchField, value: &str) -> Self {
        if field == SearchField::Name {
            return Self::name(value, 0);
        }
        // Indexes of logs that knew no other kinds of attestation have only the names of these two. What such a term finds is
        // compared with the entry.
        let value = match (field, value) {
            (SearchField::Kind, "https://slsa.dev/provenance/v1") => "provenance",
            (SearchField::Kind, "https://slsa.dev/verification_summary/v1") => "verification-summary",
            _ => value,
        };
        let hash = Hash::digest(value.as_bytes());
        let mut term = [field as u8; 9];
        term[1..].copy_from_slice(&hash.as_bytes()[..8]);
        Self(term)
    }

    /// The lowest and the highest term of names that begin with the last segment of `prefix`.
    #[must_use]
    pub fn of_names(prefix: &str) -> [Self; 2] {
        [Self::name(prefix, 0), Self::name(prefix, u8::MAX)]
    }

    /// The term for the last segment of a path, filled up with `fill`.
    fn name(path: &str, fill: u8) -> Self {
        let mut term = [fill; 9];
        term[0] = SearchField::Name as u8;
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        term[1..].iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter.to_ascii_lowercase());
        Self(term)
    }
}

/// The facts that the indexes record about an entry. Empty for entries of an opaque log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// SHA-256 of the payload: a log has one leaf for each.
    pub payload: Option<Hash>,
    /// The sequence number claimed, once for each signer.
    pub claims: Vec<Claim>,
    /// The search terms, each once.
    pub terms: Vec<Term>,
    /// A release's sequence number in the track of each signer.
    pub numbers: Vec<(Track, u64)>,
    /// The edition of each signer of a release.
    pub editions: Vec<Edition>,
    /// For each signer of a withdrawal, the [`Edition::withdrawal`] of the withdrawn release.
    pub withdrawals: Vec<Hash>,
}

impl Facts {
    /// Extracts the facts of an admitted entry; signatures are not verified again.
    ///
    /// # Errors
    /// [`FormatError`] if the entry is not a statement of a known kind.
    pub fn of_entry(entry: &[u8], publishers: &Publishers) -> Result<Self, FormatError> {
        let envelope = Envelope::parse_entry(entry)?;
        let statement = Statement::parse(envelope.payload())?;
        Ok(Self::of(&envelope, &statement, publishers))
    }

    /// Extracts the facts of a statement. Only releases claim sequence numbers.
    #[must_use]
    pub fn of(envelope: &Envelope, statement: &Statement, publishers: &Publishers) -> Self {
        let mut signers = publishers.signer_names(envelope);
        signers.sort_unstable();
        signers.dedup();
        let (mut claims, mut numbers, mut editions) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(release) = statement.as_release() {
            let (content, package) = (release.content(), release.purl.package());
            for signer in &signers {
                let key = Claim::key(signer, &package, &release.channel, release.sequence);
                claims.push(Claim { key, content });
                numbers.push((Track::new(signer, &package, &release.channel), release.sequence));
                editions.push(Edition::new(signer, release));
            }
        }
        let withdrawals = statement.as_withdrawal().map_or_else(Vec::new, |withdrawal| {
            let artifacts = Subject::digest_of_all(&withdrawal.subjects);
            signers.iter().map(|signer| withdrawal_key(signer, &artifacts)).collect()
        });
        let mut terms = Vec::with_capacity(TERMS_OF_MOST);
        search_values(statement, &signers, |field, value| terms.push(Term::new(field, value)));
        terms.sort_unstable();
        terms.dedup();
        let payload = Some(Hash::digest(envelope.payload()));
        Self { payload, claims, terms, numbers, editions, withdrawals }
    }

    /// The hash of the bytes released as this [thing](Edition::thing).
    #[must_use]
    pub fn edition(&self, thing: &Hash) -> Option<Hash> {
        self.editions.iter().find(|edition| edition.thing == Some(*thing)).map(|edition| edition.bytes)
    }

    /// The values of an entry's search fields, for an exact comparison; `None` if it is not a statement.
    #[must_use]
    pub fn values(entry: &[u8], publishers: &Publishers) -> Option<EntryValues> {
        let envelope = Envelope::parse_entry(entry).ok()?;
        let statement = Statement::parse(envelope.payload()).ok()?;
        let signers = publishers.signer_names(&envelope);
        let mut values = Vec::new();
        search_values(&statement, &signers, |field, value| values.push((field, value.to_owned())));
        Some(EntryValues { signers, statement, values })
    }
}

/// The values of an entry's search fields.
#[derive(Debug, Clone)]
pub struct EntryValues {
    /// Names of the signers, or keyids of keys that are no longer registered.
    pub signers: Vec<String>,
    /// The content of the statement.
    pub statement: Statement,
    values: Vec<(SearchField, String)>,
}

impl EntryValues {
    /// Tells whether the entry has this value in this field; of a name, whether it has one that begins so.
    #[must_use]
    pub fn matches(&self, field: SearchField, value: &str) -> bool {
        let is_it = |held: &str| match field {
            SearchField::Name => begins_with(held, value),
            _ => held == value,
        };
        self.values.iter().any(|(of, held)| *of == field && is_it(held))
    }
}

/// Tells whether the last segments of a path, as many as `prefix` has, begin with it. The case does not count.
fn begins_with(path: &str, prefix: &str) -> bool {
    let segments = prefix.matches('/').count();
    let start = path.rmatch_indices('/').nth(segments).map_or(0, |(slash, _)| slash + 1);
    path.as_bytes()[start..]
        .get(..prefix.len())
        .is_some_and(|held| held.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Calls `each` with every value of the search fields.
fn search_values(statement: &Statement, signers: &[String], mut each: impl FnMut(SearchField, &str)) {
    let kind = statement.kind();
    each(SearchField::Kind, kind.as_str());
    if let Some(predicate_type) = statement.predicate_type().filter(|of| *of != kind.as_str()) {
        each(SearchField::Kind, predicate_type);
    }
    for purl in statement.purls() {
        each(SearchField::Package, &purl.package());
        each(SearchField::Version, purl.version());
        each(SearchField::Name, purl.path());
    }
    if let Some(release) = statement.as_release() {
        each(SearchField::Channel, &release.channel);
    }
    if let Some(withdrawal) = statement.as_withdrawal() {
        each(SearchField::Withdraws, &withdrawal.leaf.to_hex());
    }
    signers.iter().for_each(|signer| each(SearchField::Publisher, signer));
    statement.digests().for_each(|digest| each(SearchField::Digest, &digest.to_hex()));
}
