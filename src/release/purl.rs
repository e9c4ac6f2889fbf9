//! Package URLs, as the standard (package-url/purl-spec, ECMA-427) defines them.
//!
//! ```text
//! pkg:<type>/[<namespace>/]<name>[@<version>][?<key>=<value>[&...]][#<subpath>]
//! ```
//!
//! Accepts every spelling that the standard allows. Keeps, compares and writes the canonical one: letters,
//! digits and `.-_~:` stand for themselves, everything else is percent-encoded with upper-case digits, and
//! qualifiers are sorted by key. So one package has one name. docs/publishers.md lists where we are stricter
//! than the standard.

mod parts;
mod types;

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

use crate::format::{FormatError, cap, quote};
use parts::Parts;

/// Longest purl: far beyond any real one, and small beside an entry.
const MAX_PURL_BYTES: usize = 1_024;

/// A package URL, with a version or without.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageUrl {
    /// In the canonical spelling.
    text: String,
    /// Where type, namespace and name end in `text`.
    name: usize,
    /// Where the version is in `text`, without its `@`.
    version: Option<Range<usize>>,
}

impl PackageUrl {
    const WHAT: &str = "a purl";

    /// Reads a package URL in any spelling that the standard allows.
    ///
    /// # Errors
    /// [`FormatError`] for anything that the standard rejects, and for `.`, `..`, an encoded slash or a control
    /// character in a segment.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let url = Self::parse_logged(text)?;
        url.check_type()?;
        Ok(url)
    }

    /// Reads what a log or a memory may hold already: without what its [type](Self::check_type) requires, which older
    /// versions did not ask for.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), but for the rules of its type.
    pub fn parse_logged(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_PURL_BYTES)?;
        Self::of(&Self::read(text).map_err(|expected| wrong(text, expected))?)
    }

    /// Checks what its type requires, such as the namespace in `pkg:deb/debian/bash`.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check_type(&self) -> Result<(), FormatError> {
        let parts = Self::read(&self.text).map_err(|expected| wrong(&self.text, expected))?;
        types::check(&parts).map_err(|expected| wrong(&self.text, &expected))
    }

    /// Reads it without the rules of its type: a pattern may stop before the required parts.
    fn read(text: &str) -> Result<Parts, &'static str> {
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
        // Escapes make it longer, but nobody needs a longer one.
        cap(Self::WHAT, canonical.len(), MAX_PURL_BYTES)?;
        Ok(Self { text: canonical, name, version })
    }

    /// The whole of it, in the canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version, as it stands in the canonical spelling.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.clone().map(|version| &self.text[version])
    }

    /// The package: without version and subpath.
    #[must_use]
    pub fn package(&self) -> String {
        let end = self.version.as_ref().map_or(self.name, |version| version.end);
        let qualifiers = self.text[end..].split('#').next().unwrap_or_default();
        format!("{}{qualifiers}", self.name())
    }

    /// Type, namespace and name: the package without its qualifiers.
    fn name(&self) -> &str {
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
    /// Reads a purl.
    ///
    /// # Errors
    /// As [`PackageUrl::parse`], and without a version.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let purl = Self::parse_logged(text)?;
        purl.check_type()?;
        Ok(purl)
    }

    /// Checks what its type requires.
    ///
    /// # Errors
    /// As [`PackageUrl::check_type`].
    pub fn check_type(&self) -> Result<(), FormatError> {
        self.0.check_type()
    }

    /// Reads the purl of an entry that a log holds already.
    ///
    /// # Errors
    /// As [`PackageUrl::parse_logged`], and without a version.
    pub fn parse_logged(text: &str) -> Result<Self, FormatError> {
        let url = PackageUrl::parse_logged(text)?;
        match url.version {
            Some(_) => Ok(Self(url)),
            None => Err(wrong(text, "a version: pkg:<type>/<name>@<version>")),
        }
    }

    /// The whole purl, in the canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The version, as it stands in the canonical spelling.
    ///
    /// # Panics
    /// Never: a purl has one.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.version().expect("a purl has a version")
    }

    /// A version as it stands in the canonical spelling, read from any: `1.0+2` is `1.0%2B2`.
    ///
    /// # Errors
    /// [`FormatError`] for anything but a version.
    pub fn parse_version(text: &str) -> Result<String, FormatError> {
        cap("a version", text.len(), MAX_PURL_BYTES)?;
        Parts::read_version(text)
            .map_err(|expected| FormatError::malformed("a version", expected, quote(text)))
    }

    /// The package: the purl without its version and subpath.
    #[must_use]
    pub fn package(&self) -> String {
        self.0.package()
    }

    /// Type, namespace and name: the package without its qualifiers.
    fn name(&self) -> &str {
        self.0.name()
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The packages a publisher may speak for: one package, or with a final `*` all that begin so.
///
/// Without qualifiers a pattern covers a package whatever its qualifiers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurlPattern(String);

impl PurlPattern {
    const WHAT: &str = "a purl pattern";

    /// Reads a pattern such as `pkg:deb/debian/*` or `pkg:generic/example/scanner`, in any spelling that a purl may
    /// have. It is kept in the canonical one.
    ///
    /// # Errors
    /// [`FormatError`] unless it is a purl without version and subpath, or the beginning of one before a final `*`.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_PURL_BYTES)?;
        let wrong = |why: &str| {
            let expected = format!("pkg:<type>/<name> without a version, or pkg:<type>/<prefix>*{why}");
            FormatError::malformed(Self::WHAT, expected, quote(text))
        };
        let stem = text.strip_suffix('*');
        // With a last letter, which no type changes, the beginning of a purl is one.
        let example = stem.map_or_else(|| text.to_owned(), |stem| format!("{stem}x"));
        let parts = PackageUrl::read(&example).map_err(|why| {
            if why.starts_with("pkg:") { wrong("") } else { wrong(&format!(", with {why}")) }
        })?;
        let PackageUrl { text: canonical, version, .. } = PackageUrl::of(&parts)?;
        if version.is_some() || example.contains(['*', '#']) {
            return Err(wrong(""));
        }
        if stem.is_none() {
            return Ok(Self(canonical));
        }
        // What the open value belongs to has to be the last in order, too.
        let prefix = canonical.strip_suffix('x').filter(|_| Parts::are_in_order(&example));
        prefix
            .map(|prefix| Self(format!("{prefix}*")))
            .ok_or_else(|| wrong(", with qualifiers in the order of their keys"))
    }

    /// Whether the package is covered.
    #[must_use]
    pub fn covers(&self, purl: &Purl) -> bool {
        let package = if self.0.contains('?') { purl.package() } else { purl.name().to_owned() };
        match self.0.strip_suffix('*') {
            Some(prefix) => package.starts_with(prefix),
            None => package == self.0,
        }
    }

    /// The pattern, in the canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
