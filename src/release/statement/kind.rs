//! Kinds of statements, which publishers have rights to, and the predicate types behind them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{Kind, MAX_TEXT_BYTES, release, withdrawal};

/// Predicate types that begin so are this program's own. Unknown ones are refused, because a misspelt one must not pass for
/// an attestation of any type.
const OURS: &str = "urn:treehead:";
const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// The kind of a statement. Publishers have rights for each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementKind {
    /// A release, of this kind.
    Release(Kind),
    /// A withdrawal.
    Withdrawal,
    /// SLSA provenance.
    Provenance,
    /// A SLSA verification summary.
    VerificationSummary,
    /// A review.
    Review,
    /// The disclosure of a finding of a review.
    Disclosure,
    /// A list of components: SPDX or `CycloneDX`.
    Sbom,
    /// Statements about vulnerabilities: `OpenVEX`.
    Vex,
    /// The result of tests.
    TestResult,
    /// A statement that was signed for another system, carried by a publisher of this log.
    Imported,
    /// An attestation of another predicate type.
    Other(Box<str>),
}

/// See [`StatementKind::listable`].
static LISTABLE: [StatementKind; 12] = [
    StatementKind::Release(Kind::Build),
    StatementKind::Release(Kind::Update),
    StatementKind::Release(Kind::DetectionRules),
    StatementKind::Release(Kind::Trust),
    StatementKind::Provenance,
    StatementKind::VerificationSummary,
    StatementKind::Review,
    StatementKind::Disclosure,
    StatementKind::Sbom,
    StatementKind::Vex,
    StatementKind::TestResult,
    StatementKind::Imported,
];

impl StatementKind {
    /// The kinds of release.
    pub const RELEASES: [Self; 4] = [
        Self::Release(Kind::Build),
        Self::Release(Kind::Update),
        Self::Release(Kind::DetectionRules),
        Self::Release(Kind::Trust),
    ];

    /// The kinds with a short name that a publisher can have a right to. Withdrawals are not among them: a publisher that
    /// may release a package may withdraw what it released.
    #[must_use]
    pub fn listable() -> &'static [Self] {
        &LISTABLE
    }

    /// The name in configuration and searches; of another predicate type, its URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Release(kind) => kind.as_str(),
            Self::Withdrawal => "withdrawal",
            Self::Provenance => "provenance",
            Self::VerificationSummary => "verification-summary",
            Self::Review => "review",
            Self::Disclosure => "disclosure",
            Self::Sbom => "sbom",
            Self::Vex => "vex",
            Self::TestResult => "test-result",
            Self::Imported => "imported",
            Self::Other(predicate_type) => predicate_type,
        }
    }

    /// Parses a right: the name of one of the [`listable`](Self::listable) kinds, or a predicate type. A predicate type
    /// is always [`Other`](Self::Other), and covers only statements of that very type, even where a kind has a name.
    #[must_use]
    pub fn parse_right(text: &str) -> Option<Self> {
        let named = LISTABLE.iter().find(|kind| kind.as_str() == text);
        // Releases and withdrawals have rights of their own, which their predicate types don't tell apart.
        let grantable = text != release::PREDICATE_TYPE && text != withdrawal::PREDICATE_TYPE;
        named.cloned().or_else(|| {
            (grantable && is_predicate_type(text)).then(|| Self::Other(text.to_owned().into_boxed_str()))
        })
    }

    /// The rights that there are, for error texts: each name, and `the URI of a predicate type`.
    #[must_use]
    pub fn rights() -> String {
        let names: Vec<&str> = LISTABLE.iter().map(Self::as_str).collect();
        names.join(", ") + " or the URI of a predicate type"
    }

    /// The kind of an attestation of this predicate type, which is none of those that have a parser of their own.
    pub(super) fn of_type(predicate_type: &str) -> Self {
        let versions = |base: &str| {
            let rest = predicate_type.strip_prefix(base);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("/v"))
        };
        match predicate_type {
            TEST_RESULT => Self::TestResult,
            _ if versions("https://spdx.dev/Document") || versions("https://cyclonedx.org/bom") => Self::Sbom,
            _ if versions("https://openvex.dev/ns") => Self::Vex,
            other => Self::Other(other.to_owned().into_boxed_str()),
        }
    }
}

/// Tells whether a statement may have this predicate type: printable ASCII without spaces and quotes, with a `:` or `/`, as
/// every URI has; in-toto calls it a `TypeURI`. Unknown types below `urn:treehead:` are none.
pub(super) fn is_predicate_type(text: &str) -> bool {
    let ours = text.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS));
    let known = super::OUR_TYPES.contains(&text);
    (1..=MAX_TEXT_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`'))
        && text.contains([':', '/'])
        && (known || !ours)
}

impl From<Kind> for StatementKind {
    fn from(kind: Kind) -> Self {
        Self::Release(kind)
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
