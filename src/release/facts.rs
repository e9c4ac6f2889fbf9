//! What the log's indexes record about an entry: its payload, the sequence numbers it claims, its search terms,
//! and the facts that warnings need.
//!
//! All of it is a function of the entry and the publishers file alone, so that indexes can be rebuilt
//! from the journal. That is why keys are revoked in that file and never removed from it: claims
//! are kept under their publisher's name.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Envelope, Kind, Publishers, Release, Statement, Subject};
use crate::format::FormatError;
use crate::merkle::Hash;

/// A sequence number that a statement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Hash of publisher, package, channel and sequence.
    pub key: Hash,
    /// [`Release::content`](super::Release::content): another claim to the key must state the same.
    pub content: Hash,
}

impl Claim {
    /// [`key`](Self::key) of a publisher's release of a package, a canonical purl without version.
    #[must_use]
    pub fn key(publisher: &str, package: &str, channel: &str, sequence: u64) -> Hash {
        Hash::digest(format!("{publisher}\0{package}\0{channel}\0{sequence}").as_bytes())
    }
}

/// Publisher, package and channel, within which sequence numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track(pub Hash);

impl Track {
    /// The track of a publisher, a package (a canonical purl without version) and a channel.
    #[must_use]
    pub fn new(publisher: &str, package: &str, channel: &str) -> Self {
        Self(Hash::digest(format!("{publisher}\0{package}\0{channel}").as_bytes()))
    }
}

/// What one of the signers released: identity and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// Publisher, purl with version and qualifiers, kind and channel, hashed: what should have the same bytes whenever it
    /// is released again. None for detection rules, which change under one version.
    pub thing: Option<Hash>,
    /// [`Release::bytes`].
    pub bytes: Hash,
    /// The key for finding a withdrawal of these artifacts by this publisher.
    pub withdrawal: Hash,
}

impl Edition {
    /// That of a release by a publisher.
    #[must_use]
    pub fn new(publisher: &str, release: &Release) -> Self {
        let Release { kind, channel, subjects, .. } = release;
        let (package, version) = (release.purl.package(), release.purl.version());
        let thing = format!("{publisher}\0{package}\0{version}\0{kind}\0{channel}");
        Self {
            thing: (*kind != Kind::DetectionRules).then(|| Hash::digest(thing.as_bytes())),
            bytes: release.bytes(),
            withdrawal: withdrawal_key(publisher, subjects),
        }
    }
}

/// Publisher and artifacts, hashed.
fn withdrawal_key(publisher: &str, subjects: &[Subject]) -> Hash {
    Hash::digest(format!("{publisher}\0{}", Subject::digest_of_all(subjects).to_hex()).as_bytes())
}

/// What a statement can be searched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SearchField {
    /// The purl without version and subpath.
    Package,
    /// The version.
    Version,
    /// Hex SHA-256 of an artifact, or a manifest's root.
    Digest,
    /// Name of a publisher.
    Publisher,
    /// Name of a kind.
    Kind,
    /// Hex leaf hash of the release that is withdrawn.
    Withdraws,
}

impl SearchField {
    /// All of them, the most selective first.
    pub const ALL: [Self; 6] =
        [Self::Withdraws, Self::Digest, Self::Package, Self::Version, Self::Publisher, Self::Kind];

    /// The name in queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Version => "version",
            Self::Digest => "digest",
            Self::Publisher => "publisher",
            Self::Kind => "kind",
            Self::Withdraws => "withdraws",
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Package => b'p',
            Self::Version => b'v',
            Self::Digest => b'd',
            Self::Publisher => b'n',
            Self::Kind => b'k',
            Self::Withdraws => b'w',
        }
    }
}

/// A value of a field, as the index keys it: the field's tag, then eight bytes of the value's
/// hash. Two values may share one, so readers of rows compare the entry itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub [u8; 9]);

impl Term {
    /// The term for a value.
    #[must_use]
    pub fn new(field: SearchField, value: &str) -> Self {
        let hash = Hash::digest(value.as_bytes());
        let mut term = [field.tag(); 9];
        term[1..].copy_from_slice(&hash.as_bytes()[..8]);
        Self(term)
    }
}

/// What the indexes hold of an entry. Empty for entries of an opaque log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// SHA-256 of the payload: a log has one leaf for each.
    pub payload: Option<Hash>,
    /// Sequence numbers taken, one for each signer.
    pub claims: Vec<Claim>,
    /// How it is found, each once.
    pub terms: Vec<Term>,
    /// The number that a release has in the track of each signer.
    pub numbers: Vec<(Track, u64)>,
    /// What each signer of a release released.
    pub editions: Vec<Edition>,
    /// [`Edition::withdrawal`] of what each signer of a withdrawal withdraws.
    pub withdrawals: Vec<Hash>,
}

impl Facts {
    /// Reads them off an entry that was admitted before; signatures are not checked again.
    ///
    /// # Errors
    /// [`FormatError`] where the entry is no statement of a known kind.
    pub fn of_entry(entry: &[u8], publishers: &Publishers) -> Result<Self, FormatError> {
        let envelope = Envelope::parse_entry(entry)?;
        let statement = Statement::parse(envelope.payload())?;
        Ok(Self::of(&envelope, &statement, publishers))
    }

    /// Reads them off a statement. Releases alone claim sequence numbers.
    #[must_use]
    pub fn of(envelope: &Envelope, statement: &Statement, publishers: &Publishers) -> Self {
        let mut signers = publishers.signer_names(envelope);
        signers.sort();
        signers.dedup();
        let (mut claims, mut numbers, mut editions) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(release) = statement.as_release() {
            let (content, package) = (release.content(), release.purl.package());
            claims.extend(signers.iter().map(|signer| {
                let key = Claim::key(signer, &package, &release.channel, release.sequence);
                Claim { key, content }
            }));
            let track = |signer: &String| Track::new(signer, &package, &release.channel);
            numbers.extend(signers.iter().map(|signer| (track(signer), release.sequence)));
            editions.extend(signers.iter().map(|signer| Edition::new(signer, release)));
        }
        let withdrawals = statement.as_withdrawal().map_or_else(Vec::new, |withdrawal| {
            signers.iter().map(|signer| withdrawal_key(signer, &withdrawal.subjects)).collect()
        });
        let mut terms = vec![Term::new(SearchField::Kind, statement.kind().as_str())];
        for purl in statement.purls() {
            terms.push(Term::new(SearchField::Package, &purl.package()));
            terms.push(Term::new(SearchField::Version, purl.version()));
        }
        if let Some(withdrawal) = statement.as_withdrawal() {
            terms.push(Term::new(SearchField::Withdraws, &withdrawal.leaf.to_hex()));
        }
        terms.extend(signers.iter().map(|signer| Term::new(SearchField::Publisher, signer)));
        terms.extend(statement.digests().map(|digest| Term::new(SearchField::Digest, &digest.to_hex())));
        terms.sort_unstable();
        terms.dedup();
        let payload = Some(Hash::digest(envelope.payload()));
        Self { payload, claims, terms, numbers, editions, withdrawals }
    }

    /// The bytes that were released as this [thing](Edition::thing).
    #[must_use]
    pub fn edition(&self, thing: &Hash) -> Option<Hash> {
        self.editions.iter().find(|edition| edition.thing == Some(*thing)).map(|edition| edition.bytes)
    }

    /// Whether an entry matches a search exactly: the values of each field it can be found by.
    #[must_use]
    pub fn values(entry: &[u8], publishers: &Publishers) -> Option<EntryValues> {
        let envelope = Envelope::parse_entry(entry).ok()?;
        let statement = Statement::parse(envelope.payload()).ok()?;
        Some(EntryValues { signers: publishers.signer_names(&envelope), statement })
    }
}

/// An entry as a search result sees it.
#[derive(Debug, Clone)]
pub struct EntryValues {
    /// Names of the signers, or keyids of keys that are no longer registered.
    pub signers: Vec<String>,
    /// What is stated.
    pub statement: Statement,
}

impl EntryValues {
    /// Whether the entry has this value in this field.
    #[must_use]
    pub fn matches(&self, field: SearchField, value: &str) -> bool {
        let (statement, purls) = (&self.statement, self.statement.purls());
        match field {
            SearchField::Package => purls.iter().any(|purl| purl.package() == value),
            SearchField::Version => purls.iter().any(|purl| purl.version() == value),
            SearchField::Kind => statement.kind().as_str() == value,
            SearchField::Publisher => self.signers.iter().any(|signer| signer == value),
            SearchField::Digest => statement.digests().any(|digest| digest.to_hex() == value),
            SearchField::Withdraws => {
                statement.as_withdrawal().is_some_and(|withdrawal| withdrawal.leaf.to_hex() == value)
            }
        }
    }
}
