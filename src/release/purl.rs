//! Package URLs, as the standard (package-url/purl-spec, ECMA-427) defines them.
//!
//! ```text
//! pkg:<type>/[<namespace>/]<name>[@<version>][?<key>=<value>[&...]][#<subpath>]
//! ```
//!
//! Parses every spelling that the standard allows, and keeps, compares and prints the canonical one: letters, digits and
//! `.-_~:` stand for themselves, everything else is percent-encoded with upper-case digits, and qualifiers are sorted by
//! key. So one package has one name. docs/publishers.md lists the points in which we are stricter than the standard.

mod parts;
mod types;

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::ops::{Deref, Range};

use crate::format::{FormatError, cap, checked_text, quote};
use parts::{Fault, Parts};

/// Longest purl, in bytes: far longer than any real one, and short compared with an entry.
const MAX_PURL_BYTES: usize = 1_024;

/// A package URL, with or without a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageUrl {
    /// In the canonical spelling.
    text: String,
    /// End of type, namespace and name in `text`.
    name: usize,
    /// Range of the version in `text`, without its `@`.
    version: Option<Range<usize>>,
}

impl PackageUrl {
    const WHAT: &str = "a purl";

    /// Parses a package URL in any spelling that the standard allows.
    ///
    /// # Errors
    /// [`FormatError`] for anything that the standard rejects, and for `.`, `..`, an encoded slash or a control
    /// character in a segment.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let url = Self::parse_logged(text)?;
        url.check_type()?;
        Ok(url)
    }

    /// Parses a package URL from a log or from an endpoint's memory, without the rules of its [type](Self::check_type),
    /// which older versions did not check.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), except for the rules of its type.
    pub fn parse_logged(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_PURL_BYTES)?;
        if let Some(plain) = Self::plain(text) {
            return Ok(plain);
        }
        Self::of(&Self::read(text).map_err(|fault| wrong(text, fault.expected()))?)
    }

    /// The package URL of a text that is canonical as it stands: of a type without rules, with a version, and with nothing
    /// that is or could be percent-encoded. `None` for any other, which may be a package URL all the same.
    fn plain(text: &str) -> Option<Self> {
        let names = text.strip_prefix("pkg:")?;
        let (kind, path) = names.split_once('/')?;
        let is_type = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !kind.starts_with(|c: char| c.is_ascii_lowercase()) || !kind.bytes().all(is_type) {
            return None;
        }
        let (path, version) = path.split_once('@')?;
        let is_plain = |part: &str| {
            let dots = matches!(part, "" | "." | "..");
            !dots && part.bytes().all(parts::is_plain)
        };
        if types::has_rules(kind) || !is_plain(version) || !path.split('/').all(is_plain) {
            return None;
        }
        let name = text.len() - version.len() - 1;
        Some(Self { text: text.to_owned(), name, version: Some(name + 1..text.len()) })
    }

    /// Checks the rules of its type, such as the required namespace in `pkg:deb/debian/bash`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check_type(&self) -> Result<(), FormatError> {
        let kind = self.text.strip_prefix("pkg:").and_then(|names| names.split('/').next());
        if kind.is_some_and(|kind| !types::has_rules(kind)) {
            return Ok(());
        }
        let parts = Self::read(&self.text).map_err(|fault| wrong(&self.text, fault.expected()))?;
        types::check(&parts).map_err(|expected| wrong(&self.text, &expected))
    }

    /// Parses it without checking the required parts of its type: a pattern may end before them.
    fn read(text: &str) -> Result<Parts, Fault> {
        let mut parts = Parts::read(text)?;
        types::normalize(&mut parts);
        Ok(parts)
    }

    fn of(parts: &Parts) -> Result<Self, FormatError> {
        let mut canonical = parts.name();
        let name = canonical.len();
        let version = parts.version().map(|version| {
            canonical += "@";
            let start = canonical.len();
            canonical += &version;
            start..canonical.len()
        });
        canonical += &parts.tail();
        // Percent-encoding may have made it longer than the limit.
        cap(Self::WHAT, canonical.len(), MAX_PURL_BYTES)?;
        Ok(Self { text: canonical, name, version })
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version, as in the canonical spelling.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.clone().map(|version| &self.text[version])
    }

    /// The package: the purl without version and subpath.
    #[must_use]
    pub fn package(&self) -> String {
        let end = self.version.as_ref().map_or(self.name, |version| version.end);
        let qualifiers = self.text[end..].split('#').next().unwrap_or_default();
        [self.name(), qualifiers].concat()
    }

    /// Namespace and name, with slashes between them, as in the canonical spelling.
    #[must_use]
    pub fn path(&self) -> &str {
        self.name().split_once('/').map_or("", |(_, path)| path)
    }

    /// Spells the beginning of a package's name, perhaps with segments of its namespace before it, as [`path`](Self::path)
    /// does: `@angular/co` becomes `%40angular/co`.
    ///
    /// # Errors
    /// [`FormatError`] if it is empty or too long.
    pub fn name_prefix(text: &str) -> Result<String, FormatError> {
        let what = "the beginning of a name";
        cap(what, text.len(), MAX_PURL_BYTES)?;
        if text.is_empty() {
            return Err(FormatError::malformed(what, "at least one character", quote(text)));
        }
        Ok(parts::encode_path(text))
    }

    /// Type, namespace and name: the package without its qualifiers.
    pub(crate) fn name(&self) -> &str {
        &self.text[..self.name]
    }
}

impl fmt::Display for PackageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn wrong(text: &str, expected: &str) -> FormatError {
    FormatError::malformed(PackageUrl::WHAT, expected, quote(text))
}

/// A package URL with a version, which names a release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Purl(PackageUrl);

impl Purl {
    /// Parses a purl.
    ///
    /// # Errors
    /// As [`PackageUrl::parse`], and if there is no version.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let purl = Self::parse_logged(text)?;
        purl.check_type()?;
        Ok(purl)
    }

    /// Parses the purl of a logged entry.
    ///
    /// # Errors
    /// As [`PackageUrl::parse_logged`], and if there is no version.
    pub fn parse_logged(text: &str) -> Result<Self, FormatError> {
        let url = PackageUrl::parse_logged(text)?;
        match url.version {
            Some(_) => Ok(Self(url)),
            None => Err(wrong(text, "a version: pkg:<type>/<name>@<version>")),
        }
    }

    /// The version, as in the canonical spelling.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.version().expect("a purl has a version")
    }

    /// Tells whether both name the same package and version, whatever their qualifiers and subpaths are.
    #[must_use]
    pub fn is_same_release(&self, other: &Self) -> bool {
        self.name() == other.name() && self.version() == other.version()
    }

    /// Converts a version in any spelling to the canonical one: `1.0+2` to `1.0%2B2`.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a version.
    pub fn parse_version(text: &str) -> Result<String, FormatError> {
        cap("a version", text.len(), MAX_PURL_BYTES)?;
        Parts::read_version(text)
            .map_err(|expected| FormatError::malformed("a version", expected, quote(text)))
    }
}

impl Deref for Purl {
    type Target = PackageUrl;

    fn deref(&self) -> &PackageUrl {
        &self.0
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pattern of packages: a single package or, with a final `*`, all packages with a prefix.
///
/// A pattern without qualifiers covers a package with any qualifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurlPattern(String);

checked_text!(PurlPattern);

impl PurlPattern {
    const WHAT: &str = "a purl pattern";

    /// Parses a pattern such as `pkg:deb/debian/*` or `pkg:generic/example/scanner`, in any spelling that a purl may have.
    ///
    /// # Errors
    /// [`FormatError`] unless it is a purl without version and subpath, or a prefix of one before a final `*`.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_PURL_BYTES)?;
        let wrong = |why: &str| {
            let expected = format!("pkg:<type>/<name> without a version, or pkg:<type>/<prefix>*{why}");
            FormatError::malformed(Self::WHAT, expected, quote(text))
        };
        let stem = text.strip_suffix('*');
        // A prefix of a purl becomes a purl with one more letter. No type changes this one.
        let example = stem.map_or_else(|| text.to_owned(), |stem| format!("{stem}x"));
        let parts = PackageUrl::read(&example).map_err(|fault| match fault {
            Fault::Shape => wrong(""),
            Fault::Part(expected) => wrong(&format!(", with {expected}")),
        })?;
        let PackageUrl { text: canonical, version, .. } = PackageUrl::of(&parts)?;
        if version.is_some() || example.contains(['*', '#']) {
            return Err(wrong(""));
        }
        if stem.is_none() {
            return Ok(Self(canonical));
        }
        // The qualifier that ends in `*` must be the last one in the canonical order, too.
        let prefix = canonical.strip_suffix('x').filter(|_| Parts::are_in_order(&example));
        prefix
            .map(|prefix| Self(format!("{prefix}*")))
            .ok_or_else(|| wrong(", with qualifiers in the order of their keys"))
    }

    /// Tells whether the pattern covers the package.
    #[must_use]
    pub fn covers(&self, purl: &Purl) -> bool {
        let package = if self.0.contains('?') { purl.package() } else { purl.name().to_owned() };
        match self.0.strip_suffix('*') {
            Some(prefix) => package.starts_with(prefix),
            None => package == self.0,
        }
    }
}

#[cfg(test)]
mod tests;
