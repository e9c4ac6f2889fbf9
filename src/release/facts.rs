//! What the log's indexes hold of an entry: its payload, the sequence numbers it claims, and how it is
//! found.
//!
//! Both are functions of the entry and the publishers file alone, so that indexes can be rebuilt
//! from the journal. That is why keys are revoked in that file and never removed from it: claims
//! are kept under their publisher's name.

use super::{Envelope, Publishers, Statement};
use crate::format::FormatError;
use crate::merkle::Hash;

/// A sequence number that a statement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Hash of publisher, package, channel and sequence.
    pub key: Hash,
    /// [`Release::content`](super::Release::content): whoever claims the key again has to state the same.
    pub content: Hash,
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
/// hash. Two values may share one, so whoever reads rows compares the entry itself.
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
        let mut claims = Vec::new();
        if let Some(release) = statement.as_release() {
            let (content, package) = (release.content(), release.purl.package());
            claims.extend(signers.iter().map(|signer| {
                let key = format!("{signer}\0{package}\0{}\0{}", release.channel, release.sequence);
                Claim { key: Hash::digest(key.as_bytes()), content }
            }));
        }
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
        Self { payload: Some(Hash::digest(envelope.payload())), claims, terms }
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
