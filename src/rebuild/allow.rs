//! The list of allowed differences, as people write it.
//!
//! ```toml
//! [[allow]]
//! reason = "the PE checksum, which covers the signature"
//! offset = 216                 # where the range begins in the artifact; or from_end = N, N bytes before its end
//! length = 4
//!
//! [[allow]]
//! reason = "the vendor's Authenticode signature"
//! from_end = 9216
//! length = 9216
//! rebuilt_length = 0           # optional: the length of the range in the rebuilt file; otherwise the same
//!
//! [[allow]]
//! reason = "the vendor's signature of the manifest"
//! file = "META-INF/VENDOR.RSA" # in a folder; a range may follow, otherwise the whole file may differ
//! only_in = "artifact"         # optional: the file is in one of the folders alone, artifact or rebuilt
//! ```
//!
//! Ranges of one file follow each other without overlap. What lies between them has to be the same, at offsets that are
//! shifted by the lengths of the ranges before it.

use serde::Deserialize;

use super::content::Part;
use crate::format::{FormatError, TomlFile, TomlPlace, cap, cap_count, is_hidden, quote};
use crate::merkle::Hash;
use crate::release::check_path;

use super::place::Side;

/// Largest list, in bytes.
pub const MAX_ALLOW_BYTES: usize = 64 * 1024;
/// Most rules of a list.
pub const MAX_RULES: usize = 64;
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

const WHAT: &str = "a list of allowed differences";

/// The differences between an artifact and a rebuilt one that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    rules: Vec<Rule>,
    sha256: Hash,
}

/// An allowed difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Why it is allowed, in words: 1 to [`MAX_REASON_BYTES`] bytes on one line.
    pub reason: String,
    /// The path of the file, if folders are compared.
    pub file: Option<String>,
    /// The bytes or the file that may differ.
    pub allowed: Allowed,
}

/// The bytes or the file that may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A range of the file.
    Range(Range),
    /// The whole content of a file that both folders have.
    Content,
    /// A file that only one of the folders has.
    OnlyIn(Side),
}

/// A byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its beginning in the artifact.
    pub start: Start,
    /// Its length in the artifact, in bytes.
    pub length: u64,
    /// Its length in the rebuilt file, in bytes. Not 0 if `length` is.
    pub rebuilt_length: u64,
}

/// The beginning of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This many bytes after the beginning of the artifact.
    Offset(u64),
    /// This many bytes before its end.
    FromEnd(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    allow: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    reason: String,
    file: Option<String>,
    offset: Option<u64>,
    from_end: Option<u64>,
    length: Option<u64>,
    rebuilt_length: Option<u64>,
    only_in: Option<String>,
}

impl Default for AllowList {
    /// The list that allows nothing. Its digest is that of no bytes.
    fn default() -> Self {
        Self { rules: Vec::new(), sha256: Hash::digest(b"") }
    }
}

impl AllowList {
    /// Parses a list.
    ///
    /// # Errors
    /// [`FormatError`] that names line and key.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(WHAT, bytes.len(), MAX_ALLOW_BYTES)?;
        let (toml, file): (_, FileText) = TomlFile::read(WHAT, "the keys in docs/rebuilds.md", bytes)?;
        cap_count(WHAT, "rules", file.allow.len(), MAX_RULES)?;
        let mut rules: Vec<Rule> = Vec::new();
        for (at, text) in file.allow.into_iter().enumerate() {
            let place = toml.root().item("allow", at);
            let rule = text.read(&place)?;
            let is_whole = |rule: &Rule| !matches!(rule.allowed, Allowed::Range(_));
            let other = rules.iter().position(|other| {
                other.file.is_some() && other.file == rule.file && (is_whole(other) || is_whole(&rule))
            });
            if let (Some(other), Some(file)) = (other, &rule.file) {
                let seen = format!("{} in rule {} as well", quote(file), other + 1);
                return Err(place.key("file").malformed("one rule for a whole file", seen));
            }
            rules.push(rule);
        }
        Ok(Self { rules, sha256: Hash::digest(bytes) })
    }

    /// The rules, in the order of the list.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// SHA-256 of the list's bytes.
    #[must_use]
    pub const fn sha256(&self) -> &Hash {
        &self.sha256
    }

    /// The rules about a file, or about the one that is compared, each with its place in the list.
    pub(super) fn about<'a>(&'a self, file: Option<&'a str>) -> impl Iterator<Item = (usize, &'a Rule)> {
        self.rules.iter().enumerate().filter(move |(_, rule)| rule.file.as_deref() == file)
    }
}

impl RuleText {
    fn read(self, place: &TomlPlace<'_>) -> Result<Rule, FormatError> {
        let Self { reason, file, offset, from_end, length, rebuilt_length, only_in } = self;
        if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES || reason.chars().any(is_hidden) {
            let expected = format!("1 to {MAX_REASON_BYTES} bytes of text on one line");
            return Err(place.key("reason").malformed(expected, quote(&reason)));
        }
        if let Some(file) = &file {
            check_path(file).map_err(|e| place.key("file").wrong(e))?;
        }
        let start = match (offset, from_end) {
            (Some(offset), None) => Some(Start::Offset(offset)),
            (None, Some(from_end)) => Some(Start::FromEnd(from_end)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(place.key("from_end").malformed("offset or from_end", "both"));
            }
        };
        let allowed = match (start, length, &file) {
            (Some(start), Some(length), _) => {
                let rebuilt_length = rebuilt_length.unwrap_or(length);
                if length == 0 && rebuilt_length == 0 {
                    return Err(place.key("length").malformed("a range of at least one byte", "0"));
                }
                if only_in.is_some() {
                    return Err(place.key("only_in").malformed("a rule for a whole file", "a range"));
                }
                Allowed::Range(Range { start, length, rebuilt_length })
            }
            (Some(_), None, _) => return Err(place.malformed("the length of the range", "none")),
            (None, Some(_), _) => return Err(place.key("length").malformed("offset or from_end", "neither")),
            (None, None, _) if rebuilt_length.is_some() => {
                return Err(place
                    .key("rebuilt_length")
                    .malformed("offset or from_end, and length", "neither"));
            }
            (None, None, None) => {
                return Err(place.malformed("a range, or a file of a folder", "neither"));
            }
            (None, None, Some(_)) => match only_in.as_deref() {
                None => Allowed::Content,
                Some(side) => Allowed::OnlyIn(
                    Side::parse(side)
                        .ok_or_else(|| place.key("only_in").malformed("artifact or rebuilt", quote(side)))?,
                ),
            },
        };
        Ok(Rule { reason, file, allowed })
    }
}

/// Splits a file of `length` bytes into what has to be the same and what may differ. Ranges come with their rules.
///
/// # Errors
/// The rule that does not fit, and why.
pub(super) fn parts(ranges: &[(usize, Range)], length: u64) -> Result<Vec<Part>, (usize, String)> {
    let mut placed = Vec::with_capacity(ranges.len());
    for (rule, range) in ranges {
        let start = match range.start {
            Start::Offset(offset) => Some(offset),
            Start::FromEnd(before) => length.checked_sub(before),
        };
        let end = start.and_then(|start| start.checked_add(range.length)).filter(|end| *end <= length);
        let (Some(start), Some(end)) = (start, end) else {
            return Err((*rule, format!("expected a range within its {length} bytes, saw {range}")));
        };
        placed.push((start, end, *rule, range.rebuilt_length));
    }
    placed.sort_unstable();
    let (mut parts, mut at) = (Vec::new(), 0);
    let mut last: Option<(u64, usize)> = None;
    for (start, end, rule, rebuilt) in placed {
        if let Some((_, other)) = last.filter(|(other, _)| start < at || start == *other) {
            let seen = format!("saw that of rule {}", rule.min(other) + 1);
            return Err((rule.max(other), format!("expected ranges that do not overlap, {seen}")));
        }
        if start > at {
            parts.push(Part::Same(start - at));
        }
        parts.push(Part::Allowed { rule, artifact: end - start, rebuilt });
        (at, last) = (end, Some((start, rule)));
    }
    if at < length {
        parts.push(Part::Same(length - at));
    }
    Ok(parts)
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.start {
            Start::Offset(offset) => write!(f, "{} bytes at {offset}", self.length),
            Start::FromEnd(before) => write!(f, "{} bytes, {before} bytes before the end", self.length),
        }
    }
}
