//! Salted commitments to findings.
//!
//! ```text
//! commitment = SHA-256( "treehead finding v1" LF  salt  length  finding )
//! salt       = 32 bytes from the operating system's random source, a new one for each finding
//! length     = of the finding in bytes, as 8 bytes, big endian
//! finding    = UTF-8, 1 to 8,192 bytes
//! ```
//!
//! It binds: nobody finds two findings with one commitment. It hides: without the salt, nobody can tell a guess from the
//! finding. All parts before the finding have a fixed length, so each input is read in one way.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use crate::format::{FormatError, cap, quote};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json};

/// First bytes of what is hashed.
const DOMAIN: &[u8] = b"treehead finding v1\n";
/// Longest finding, in bytes. Longer ones belong in the report.
pub const MAX_FINDING_BYTES: usize = 8_192;

/// A commitment to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commitment(Hash);

impl Commitment {
    /// Parses 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`FormatError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, FormatError> {
        Hash::from_hex(text).map(Self)
    }

    /// The commitment in hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.to_hex()
    }
}

/// The finding and the salt that open a commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    finding: String,
    salt: [u8; 32],
}

impl core::fmt::Debug for Opening {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Opening {
    /// A finding and its salt, which must come from the operating system's random source.
    ///
    /// # Errors
    /// [`FormatError`] for a finding that is empty, longer than [`MAX_FINDING_BYTES`], or has control characters other than
    /// line feeds and tabs.
    pub fn new(finding: String, salt: [u8; 32]) -> Result<Self, FormatError> {
        cap("a finding", finding.len(), MAX_FINDING_BYTES)?;
        let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
        if finding.trim().is_empty() || finding.chars().any(bad) {
            let expected = "text without control characters, not empty";
            return Err(FormatError::malformed("a finding", expected, quote(&finding)));
        }
        Ok(Self { finding, salt })
    }

    /// Parses a file of openings, which is private to the reviewer, or to whoever was shown one:
    /// `{"findings":[{"commitment":"<hex>","finding":"...","salt":"<hex>"}, ...]}`.
    ///
    /// # Errors
    /// [`FormatError`] for anything else, and for a finding that does not open its commitment.
    pub fn parse_file(bytes: &[u8]) -> Result<Vec<Self>, FormatError> {
        const WHAT: &str = "a file of findings";
        let mut file = Fields::new(WHAT, "", Json::parse(WHAT, bytes)?)?;
        let read = |item| {
            let mut item = Fields::new(WHAT, "findings[]", item)?;
            let salt = Hash::from_hex(&item.text("salt")?)?;
            let opening = Self::new(item.string("finding")?, *salt.as_bytes())?;
            let commitment = item.text("commitment")?;
            if commitment != opening.commitment().to_hex() {
                return Err(item.wrong("commitment", "to be that of the finding", &quote(&commitment)));
            }
            item.nothing_else().map(|()| opening)
        };
        let openings = file.array("findings")?.into_iter().map(read).collect::<Result<_, _>>()?;
        file.nothing_else().map(|()| openings)
    }

    /// Writes a file of openings.
    #[must_use]
    pub fn to_file(openings: &[Self]) -> Vec<u8> {
        let item = |opening: &Self| {
            Json::object([
                ("commitment", Json::string(&opening.commitment().to_hex())),
                ("finding", Json::string(&opening.finding)),
                ("salt", Json::string(&Hash::from_bytes(opening.salt).to_hex())),
            ])
        };
        let mut file =
            Json::object([("findings", Json::Array(openings.iter().map(item).collect()))]).to_canonical();
        file.push(b'\n');
        file
    }

    /// The finding.
    #[must_use]
    pub fn finding(&self) -> &str {
        &self.finding
    }

    /// The salt.
    #[must_use]
    pub const fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The commitment that it opens.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.salt);
        hash.update((self.finding.len() as u64).to_be_bytes());
        hash.update(self.finding.as_bytes());
        Commitment(Hash::from_bytes(hash.finalize().into()))
    }
}
