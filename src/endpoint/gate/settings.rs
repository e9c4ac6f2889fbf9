//! `gate.toml`: what a gate trusts, where it finds proofs, and its rules.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::{OwnedPins, POLICY_FILE, PUBLISHERS_FILE, STATE_DIR};
use super::rules::{PurlTemplate, Rule, Unlogged};
use crate::format::{FormatError, TomlFile, TomlPlace, cap, parse_seconds, quote};
use crate::release::Kind;

/// Largest settings file, in bytes.
pub const MAX_GATE_BYTES: usize = 256 * 1024;

/// The settings of a [`Gate`](super::Gate).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSettings {
    /// The trust file; one that the memory learned counts if it is as new. `None`: the policy and the publishers file instead.
    pub trust: Option<PathBuf>,
    /// The policy file.
    pub policy: PathBuf,
    /// The publishers file.
    pub publishers: PathBuf,
    /// The directory of the memory.
    pub state: PathBuf,
    /// Folders of proof files.
    pub proofs: Vec<PathBuf>,
    /// Set if logs are asked for proofs that are not at hand.
    pub fetch: bool,
    /// The address of the log, instead of those in the policy.
    pub log: Option<String>,
    /// Set if logs are also asked about artifacts whose proof is at hand.
    pub online: bool,
    /// Most seconds since a quorum cosigned the tree head.
    pub max_age: Option<u64>,
    /// The rules, of which the first that covers a package counts.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsText {
    trust: Option<String>,
    policy: Option<String>,
    publishers: Option<String>,
    state: Option<String>,
    #[serde(default)]
    proofs: Vec<String>,
    #[serde(default)]
    fetch: bool,
    log: Option<String>,
    #[serde(default)]
    online: bool,
    max_age: Option<String>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    packages: Vec<String>,
    unlogged: String,
    purl: Option<String>,
    publisher: Option<String>,
    channel: Option<String>,
    kind: Option<String>,
    audience: Option<String>,
    min_sequence: Option<u64>,
}

impl GateSettings {
    const WHAT: &str = "a gate's settings file";

    /// Parses settings. Paths in them are relative to `dir`, the directory of the file.
    ///
    /// # Errors
    /// [`FormatError`] that names line and key.
    pub fn parse(bytes: &[u8], dir: &Path) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_GATE_BYTES)?;
        let (file, text): (_, SettingsText) =
            TomlFile::read(Self::WHAT, "the keys in docs/installers.md", bytes)?;
        let root = file.root();
        let path = |key: &'static str, path: Option<String>, default: &str| match path {
            Some(path) if path.is_empty() => Err(root.key(key).malformed("a path", "an empty one")),
            path => Ok(dir.join(path.as_deref().unwrap_or(default))),
        };
        let folders = text.proofs.into_iter().map(|folder| path("proofs", Some(folder), ""));
        let max_age = text.max_age.map(|age| {
            let wrong = || root.key("max_age").malformed("a time, as in 24h or 7d", quote(&age));
            parse_seconds(&age).ok_or_else(wrong)
        });
        if text.log.is_some() && !text.fetch && !text.online {
            return Err(root.key("log").malformed("fetch or online, if there is a log to ask", "neither"));
        }
        if text.trust.is_some() && (text.policy.is_some() || text.publishers.is_some()) {
            let expected = "a trust file alone, or a policy and a publishers file";
            return Err(root.key("trust").malformed(expected, "both"));
        }
        let rules = text.rules.into_iter().enumerate();
        Ok(Self {
            proofs: folders.collect::<Result<_, _>>()?,
            trust: text.trust.map(|trust| path("trust", Some(trust), "")).transpose()?,
            policy: path("policy", text.policy, POLICY_FILE)?,
            publishers: path("publishers", text.publishers, PUBLISHERS_FILE)?,
            state: path("state", text.state, STATE_DIR)?,
            fetch: text.fetch,
            log: text.log,
            online: text.online,
            max_age: max_age.transpose()?,
            rules: rules.map(|(at, rule)| rule.read(&root.item("rule", at))).collect::<Result<_, _>>()?,
        })
    }

    /// The rule for a package of this name. `None`: it has to be proven, and nothing else is known.
    pub(super) fn rule(&self, package: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers(package))
    }
}

impl RuleText {
    fn read(self, place: &TomlPlace<'_>) -> Result<Rule, FormatError> {
        if self.packages.is_empty() || self.packages.iter().any(String::is_empty) {
            return Err(place
                .key("packages")
                .malformed("names of packages, or patterns with *", "an empty one"));
        }
        let unlogged = Unlogged::parse(&self.unlogged);
        let unlogged = unlogged
            .ok_or_else(|| place.key("unlogged").malformed("require, warn or skip", quote(&self.unlogged)))?;
        let texts =
            [("publisher", &self.publisher), ("channel", &self.channel), ("audience", &self.audience)];
        if let Some((key, _)) = texts.iter().find(|(_, text)| text.as_deref() == Some("")) {
            return Err(place.key(key).malformed(format!("a {key}"), "an empty one"));
        }
        let kind = |kind: String| {
            let wrong =
                || place.key("kind").malformed("build, update, detection-rules or trust", quote(&kind));
            Kind::parse(&kind).ok_or_else(wrong)
        };
        let purl = self.purl.map(|purl| PurlTemplate::parse(&purl)).transpose();
        let pins = OwnedPins {
            package: None,
            channel: self.channel,
            kind: self.kind.map(kind).transpose()?,
            publisher: self.publisher,
            min_sequence: self.min_sequence,
            audience: self.audience,
            name: None,
        };
        let purl = purl.map_err(|error| place.key("purl").wrong(error))?;
        if unlogged == Unlogged::Skip && (purl.is_some() || pins != OwnedPins::default()) {
            let seen = "a rule that skips its packages and says which release is wanted";
            return Err(place.key("unlogged").malformed("require or warn", seen));
        }
        Ok(Rule { packages: self.packages, unlogged, purl, pins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GateSettings, String> {
        GateSettings::parse(text.as_bytes(), Path::new("/etc/treehead")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_requires_a_proof_of_everything() {
        let settings = parse("").unwrap();
        assert_eq!(settings.policy, Path::new("/etc/treehead/endpoint.policy"));
        assert_eq!(settings.publishers, Path::new("/etc/treehead/publishers.toml"));
        assert_eq!(settings.state, Path::new("/etc/treehead/state"));
        assert!(!settings.fetch && !settings.online && settings.rule("anything").is_none());
    }

    #[test]
    fn the_first_rule_that_covers_a_package_counts() {
        let settings = parse(
            "state = '/var/lib/treehead'\nproofs = ['proofs', '/usr/share/proofs']\nfetch = true\nmax_age = '7d'\n\
             [[rule]]\npackages = ['agent*']\nunlogged = 'require'\npurl = 'pkg:deb/acme/{package}'\nkind = 'update'\n\
             [[rule]]\npackages = ['lib*', 'agentx']\nunlogged = 'skip'\n\
             [[rule]]\npackages = ['*']\nunlogged = 'warn'\n",
        )
        .unwrap();
        let rule = |package| settings.rule(package).map(|rule| rule.unlogged);
        assert_eq!(
            ["agentx", "libc6", "bash"].map(rule),
            [Some(Unlogged::Require), Some(Unlogged::Skip), Some(Unlogged::Warn)]
        );
        assert_eq!(settings.proofs, ["/etc/treehead/proofs", "/usr/share/proofs"].map(PathBuf::from));
        assert_eq!((settings.max_age, settings.state), (Some(604_800), "/var/lib/treehead".into()));
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let rule = "[[rule]]\npackages = ['a']\nunlogged = 'require'\n";
        for (text, says) in [
            ("polcy = 'x'", "polcy"),
            ("policy = ''", "at line 1, `policy`"),
            ("max_age = '24'", "`max_age`: expected a time"),
            ("log = 'http://x'", "`log`"),
            ("trust = 'x'\npolicy = 'y'", "`trust`: expected a trust file alone"),
            ("trust = 'x'\npublishers = 'y'", "`trust`: expected a trust file alone"),
            ("trust = ''", "at line 1, `trust`"),
            ("[[rule]]\npackages = ['a']\n", "unlogged"),
            ("[[rule]]\npackages = []\nunlogged = 'warn'\n", "at line 2, `packages` of rule 1"),
            (&rule.replace("require", "maybe"), "at line 3, `unlogged` of rule 1"),
            (&format!("{rule}kind = 'virus'"), "at line 4, `kind` of rule 1"),
            (&format!("{rule}channel = ''"), "at line 4, `channel` of rule 1"),
            (&format!("{rule}purl = 'pkg:deb/{{x}}'"), "at line 4, `purl` of rule 1"),
            (&format!("{rule}channel = 'beta'").replace("require", "skip"), "skips its packages"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
