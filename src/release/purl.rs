//! Package URLs, in their one canonical spelling.
//!
//! ```text
//! pkg:<type>/[<namespace>/]<name>@<version>[?<key>=<value>[&...]][#<subpath>]
//! ```
//!
//! Letters, digits and `.-_~:` stand for themselves; everything else is percent-encoded with
//! upper-case digits, so that one package has one name.

use std::fmt;

use crate::format::{FormatError, cap, quote};

/// Longest purl: far beyond any real one, and small beside an entry.
const MAX_PURL_BYTES: usize = 1_024;

/// A package URL with a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Purl {
    text: String,
    /// Where the version begins and ends in `text`, without its `@`.
    version: std::ops::Range<usize>,
}

impl Purl {
    const WHAT: &str = "a purl";

    /// Reads a purl.
    ///
    /// # Errors
    /// [`FormatError`] without a version, or for another spelling than the canonical one.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        cap(Self::WHAT, text.len(), MAX_PURL_BYTES)?;
        let wrong = |expected: &str| FormatError::malformed(Self::WHAT, expected, quote(text));
        let rest = text.strip_prefix("pkg:").ok_or_else(|| wrong("pkg:<type>/<name>@<version>"))?;
        let (rest, subpath) = rest.split_once('#').map_or((rest, None), |(rest, s)| (rest, Some(s)));
        let (path, qualifiers) = rest.split_once('?').map_or((rest, None), |(rest, q)| (rest, Some(q)));
        let (path, version) =
            path.split_once('@').ok_or_else(|| wrong("a version: pkg:<type>/<name>@<version>"))?;
        if version.is_empty() || !is_encoded(version) {
            return Err(wrong("a version that is not empty, percent-encoded where needed (+ is %2B)"));
        }
        let (kind, names) = path.split_once('/').ok_or_else(|| wrong("pkg:<type>/<name>@<version>"))?;
        let is_type = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !kind.starts_with(|c: char| c.is_ascii_lowercase()) || !kind.bytes().all(is_type) {
            return Err(wrong("a lower-case package type"));
        }
        let encoded_segments = |text: &str| text.split('/').all(|s| !s.is_empty() && is_encoded(s));
        if !encoded_segments(names) || subpath.is_some_and(|s| !encoded_segments(s)) {
            return Err(wrong("names that are not empty, percent-encoded where needed (+ is %2B)"));
        }
        if qualifiers.is_some_and(|q| !are_qualifiers(q)) {
            return Err(wrong("qualifiers key=value with lower-case keys, sorted, each once"));
        }
        let start = "pkg:".len() + path.len() + 1;
        Ok(Self { text: text.to_owned(), version: start..start + version.len() })
    }

    /// The whole purl.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version, as it stands in the purl.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.text[self.version.clone()]
    }

    /// The package: the purl without its version and subpath.
    #[must_use]
    pub fn package(&self) -> String {
        let tail = self.text[self.version.end..].split('#').next().unwrap_or_default();
        format!("{}{tail}", self.name())
    }

    /// Type, namespace and name: the package without its qualifiers.
    fn name(&self) -> &str {
        &self.text[..self.version.start - 1]
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':')
}

/// Plain characters, and percent-encodings of others with upper-case digits.
fn is_encoded(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_plain(byte) {
                return false;
            }
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return false };
        let digit = |b: u8| (b as char).to_digit(16).filter(|_| !b.is_ascii_lowercase());
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        let decoded = u8::try_from(high * 16 + low).expect("two hex digits");
        if is_plain(decoded) {
            return false;
        }
    }
    true
}

fn are_qualifiers(text: &str) -> bool {
    let pairs: Option<Vec<(&str, &str)>> = text.split('&').map(|pair| pair.split_once('=')).collect();
    let is_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    pairs.is_some_and(|pairs| {
        pairs.iter().all(|(key, value)| {
            let key_ok = key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(is_key);
            // A slash stands for itself in here, so its encoding would be a second spelling.
            key_ok && !value.is_empty() && !value.contains("%2F") && value.split('/').all(is_encoded)
        }) && pairs.windows(2).all(|pair| pair[0].0 < pair[1].0)
    })
}

/// The packages a publisher may speak for: one package, or with a final `*` all that begin so.
///
/// Without qualifiers a pattern covers a package whatever its qualifiers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurlPattern(String);

impl PurlPattern {
    /// Reads a pattern such as `pkg:deb/debian/*` or `pkg:generic/example/scanner`.
    ///
    /// # Errors
    /// [`FormatError`] unless it begins with `pkg:<type>/`, has no version, and at most one `*`,
    /// at its end.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let wrong = || {
            let expected = "pkg:<type>/<name> without a version, or pkg:<type>/<prefix>*";
            FormatError::malformed("a purl pattern", expected, quote(text))
        };
        cap("a purl pattern", text.len(), MAX_PURL_BYTES)?;
        let stem = text.strip_suffix('*').unwrap_or(text);
        // A version and a last letter make any sound pattern a purl, so the one parser judges both.
        let (path, qualifiers) = stem.split_once('?').map_or((stem, ""), |(p, q)| (p, q));
        let last = if stem.len() < text.len() { "x" } else { "" };
        let example = match qualifiers {
            "" => format!("{path}{last}@1"),
            q => format!("{path}@1?{q}{last}"),
        };
        if stem.contains(['*', '@', '#']) || Purl::parse(&example).is_err() {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
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

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_versions() {
        for (text, package, version) in [
            ("pkg:generic/example/scanner@4.2.0", "pkg:generic/example/scanner", "4.2.0"),
            (
                "pkg:deb/debian/libstdc%2B%2B6@1:12.2~rc1?arch=amd64",
                "pkg:deb/debian/libstdc%2B%2B6?arch=amd64",
                "1:12.2~rc1",
            ),
            ("pkg:npm/%40angular/core@17.0.0#src/x", "pkg:npm/%40angular/core", "17.0.0"),
            ("pkg:deb/debian/a@1?arch=all&distro=bookworm", "pkg:deb/debian/a?arch=all&distro=bookworm", "1"),
        ] {
            let purl = Purl::parse(text).unwrap();
            assert_eq!((purl.package().as_str(), purl.version()), (package, version));
            assert_eq!(purl.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "pkg:",
            "example",
            "pkg:generic",
            "pkg:generic/",
            "pkg:generic/a",
            "pkg:generic/a@",
            "pkg:/a@1",
            "pkg:Generic/a@1",
            "pkg:generic//a@1",
            "pkg:generic/a b@1",
            "pkg:generic/a+b@1",
            "pkg:generic/a%2b@1",
            "pkg:generic/%61@1",
            "pkg:generic/a%@1",
            "pkg:generic/a%2@1",
            "pkg:generic/a@1@2",
            "pkg:generic/a@1+2",
            "pkg:generic/a@1?",
            "pkg:generic/a@1?arch",
            "pkg:generic/a@1?arch=",
            "pkg:generic/a@1?b=1&a=1",
            "pkg:generic/a@1?a=1&a=2",
            "pkg:generic/a@1?a=b%2Fc",
            "pkg:generic/a@1?Arch=x",
            "pkg:generic/a@1#",
            "pkg:generic/é@1",
        ] {
            assert!(Purl::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Purl::parse("pkg:generic/a").unwrap_err().to_string().contains("a version"));
        assert!(Purl::parse(&format!("pkg:generic/{}@1", "a".repeat(1_024))).is_err());
    }

    #[test]
    fn patterns_cover_what_they_say() {
        let covers = |pattern, purl| PurlPattern::parse(pattern).unwrap().covers(&Purl::parse(purl).unwrap());
        assert!(covers("pkg:deb/debian/*", "pkg:deb/debian/bash@5?arch=amd64"));
        assert!(covers("pkg:deb/debian/bash", "pkg:deb/debian/bash@5?arch=amd64"));
        assert!(covers("pkg:deb/debian/bash?arch=amd64", "pkg:deb/debian/bash@5?arch=amd64"));
        assert!(!covers("pkg:deb/debian/bash?arch=arm64", "pkg:deb/debian/bash@5?arch=amd64"));
        assert!(!covers("pkg:deb/debian/bash", "pkg:deb/debian/bash-doc@5"));
        assert!(!covers("pkg:deb/debian/*", "pkg:deb/debianish/bash@5"));
        for bad in ["", "*", "pkg:*", "deb/*", "pkg:deb/*/bash", "pkg:deb/a@1", "pkg:deb/a**", "pkg:deb/a b*"]
        {
            assert!(PurlPattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
