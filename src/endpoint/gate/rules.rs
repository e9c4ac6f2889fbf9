//! Rules: which packages need a proof, and of which release.

use super::super::{OwnedPins, PackagePin};
use crate::format::{FormatError, push_percent_encoded, quote};

/// The treatment of a package without a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unlogged {
    /// It may not be installed.
    #[default]
    Require,
    /// It may be installed, with a warning. A proof that is there has to be good all the same.
    Warn,
    /// It may be installed; nobody looks for a proof.
    Skip,
}

impl Unlogged {
    /// Parses `require`, `warn` or `skip`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "require" => Some(Self::Require),
            "warn" => Some(Self::Warn),
            "skip" => Some(Self::Skip),
            _ => None,
        }
    }
}

/// A rule for all packages whose names match one of its patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) packages: Vec<String>,
    pub(super) unlogged: Unlogged,
    pub(super) purl: Option<PurlTemplate>,
    /// The pins, without the package.
    pub(super) pins: OwnedPins,
}

impl Rule {
    /// Reports whether the rule is for a package of this name.
    pub(super) fn covers(&self, package: &str) -> bool {
        self.packages.iter().any(|pattern| is_match(pattern, package))
    }
}

/// The name of a package and what an installer says about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    pub package: Option<&'a str>,
    pub version: Option<&'a str>,
    pub arch: Option<&'a str>,
}

/// A purl that is completed with the facts about a package: `pkg:deb/acme/{package}@{version}?arch={arch}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurlTemplate(String);

/// A fact that a template needs, and the installer did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The installer did not say it.
    #[error("the purl of the rule needs the {0}, which the installer did not say")]
    Unsaid(&'static str),
    /// The purl is malformed.
    #[error(transparent)]
    Malformed(#[from] FormatError),
}

impl PurlTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`FormatError`], if it has unknown names in braces or can never be a purl.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let template = Self(text.to_owned());
        let example = Facts { package: Some("package"), version: Some("1"), arch: Some("all") };
        match template.fill(example) {
            Ok(_) => Ok(template),
            Err(TemplateError::Malformed(error)) => Err(error),
            Err(TemplateError::Unsaid(_)) => unreachable!("everything is said"),
        }
    }

    /// Completes the purl. Facts are percent-encoded, so that none can add a part.
    pub(super) fn fill(&self, facts: Facts<'_>) -> Result<PackagePin, TemplateError> {
        let known = [("package", facts.package), ("version", facts.version), ("arch", facts.arch)];
        let (mut purl, mut rest) = (String::new(), self.0.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            purl += before;
            let named = after.split_once('}').and_then(|(name, after)| {
                known.iter().find(|(known, _)| *known == name).map(|fact| (fact, after))
            });
            let Some(((name, fact), after)) = named else {
                let expected = "{package}, {version} or {arch}";
                return Err(FormatError::malformed("the purl of a rule", expected, quote(rest)).into());
            };
            push_percent_encoded(&mut purl, fact.ok_or(TemplateError::Unsaid(name))?);
            rest = after;
        }
        Ok(PackagePin::parse(&(purl + rest))?)
    }
}

/// Reports whether a name matches a pattern, in which each `*` stands for any text.
fn is_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The first place for each part leaves the most text for the others.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, good, bad) in [
            ("agent", &["agent"][..], &["agents", "my-agent", ""][..]),
            ("agent*", &["agent", "agent-data"], &["my-agent"]),
            ("*-dbg", &["agent-dbg", "-dbg"], &["agent-dbg2", "dbg"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc", "a-c-b-c"], &["ac", "ab", "acb", "abcd"]),
            ("aa*aa", &["aaaa", "aaXaa"], &["aa", "aaa"]),
            ("*", &["", "anything/at:all"], &[]),
            ("registry.example/*", &["registry.example/a/b:5"], &["registry.example"]),
        ] {
            assert!(good.iter().all(|name| is_match(pattern, name)), "{pattern}");
            assert!(!bad.iter().any(|name| is_match(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn a_fact_adds_no_part_to_a_purl() {
        let template = PurlTemplate::parse("pkg:deb/acme/{package}@{version}?arch={arch}").unwrap();
        let fill = |package, version, arch| {
            template.fill(Facts { package, version, arch }).map(|pin| pin.to_string())
        };
        let good = fill(Some("agent"), Some("1:5.0+b1"), Some("amd64")).unwrap();
        assert_eq!(good, "pkg:deb/acme/agent@1:5.0%2Bb1?arch=amd64");
        assert_eq!(fill(Some("agent"), None, Some("amd64")), Err(TemplateError::Unsaid("version")));
        let hostile = fill(Some("agent@4?x=*"), Some("5"), Some("all#y")).unwrap();
        assert_eq!(hostile, "pkg:deb/acme/agent%404%3Fx%3D%2A@5?arch=all%23y");
        for bad in ["pkg:deb/acme/{name}", "pkg:deb/acme/{package", "{package}", "agent"] {
            assert!(PurlTemplate::parse(bad).is_err(), "{bad}");
        }
        assert!(PurlTemplate::parse("pkg:deb/acme/*").is_ok());
    }
}
