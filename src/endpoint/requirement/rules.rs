//! `RULES.toml` of `treehead trust make --require`: the gate as people write it.
//!
//! ```toml
//! [[require]]
//! purls = ["pkg:generic/example/*"]
//! kinds = ["build", "update"]                # optional: all kinds of release
//! attestation = "verification-summary"
//! from = ["rebuilder-a", "rebuilder-b", "rebuilder-c"]
//! at_least = 2                               # optional: all of them
//! result = "PASSED"                          # what it has to say; the default
//! levels = ["SLSA_BUILD_LEVEL_3"]            # optional, as policy = "https://...", builder = "https://..."
//! max_age = "90d"                            # optional
//! ```

use serde::Deserialize;

use super::{Conditions, Requirement};
use crate::format::{FormatError, TomlFile, TomlPlace, cap, cap_count, parse_seconds, quote};
use crate::release::{Kind, Publishers, PurlPattern, StatementKind};

/// Largest file of rules, in bytes.
pub const MAX_RULES_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    require: Vec<RequirementText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementText {
    purls: Vec<String>,
    #[serde(default)]
    kinds: Vec<String>,
    attestation: String,
    from: Vec<String>,
    at_least: Option<u64>,
    builder: Option<String>,
    policy: Option<String>,
    result: Option<String>,
    #[serde(default)]
    levels: Vec<String>,
    max_age: Option<String>,
}

/// Reads the rules for a trust file with these publishers.
///
/// # Errors
/// [`FormatError`] that names line and key, for rules that have no meaning or can't be met.
pub fn parse_rules(bytes: &[u8], publishers: &Publishers) -> Result<Vec<Requirement>, FormatError> {
    const WHAT: &str = "a file of rules";
    cap(WHAT, bytes.len(), MAX_RULES_BYTES)?;
    let (toml, file): (_, FileText) = TomlFile::read(WHAT, "the keys in docs/endpoints.md", bytes)?;
    cap_count(WHAT, "rules", file.require.len(), super::MAX_REQUIREMENTS)?;
    let read = |(at, text): (usize, RequirementText)| text.read(&toml.root().item("require", at), publishers);
    file.require.into_iter().enumerate().map(read).collect()
}

impl RequirementText {
    fn read(self, place: &TomlPlace<'_>, publishers: &Publishers) -> Result<Requirement, FormatError> {
        let purl = |(at, text): (usize, &String)| {
            PurlPattern::parse(text).map_err(|e| place.item("purls", at).wrong(e))
        };
        let kind = |(at, text): (usize, &String)| {
            let wrong =
                || place.item("kinds", at).malformed("build, update, detection-rules or trust", quote(text));
            Kind::parse(text).ok_or_else(wrong)
        };
        let attestation = StatementKind::parse_right(&self.attestation).ok_or_else(|| {
            place.key("attestation").malformed("a kind of attestation", quote(&self.attestation))
        })?;
        let max_age = self.max_age.map(|age| {
            let wrong = || place.key("max_age").malformed("a time, as in 24h or 90d", quote(&age));
            parse_seconds(&age).filter(|age| (1..1 << 53).contains(age)).ok_or_else(wrong)
        });
        let is_other = matches!(attestation, StatementKind::Other(_));
        let default = super::results(&attestation).first().filter(|_| !is_other);
        let requirement = Requirement {
            purls: self.purls.iter().enumerate().map(purl).collect::<Result<_, _>>()?,
            kinds: self.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?,
            attestation,
            at_least: self.at_least.unwrap_or(self.from.len() as u64),
            from: self.from,
            says: Conditions {
                builder: self.builder,
                policy: self.policy,
                result: self.result.or(default.map(|result| (*result).to_owned())),
                levels: self.levels,
                max_age: max_age.transpose()?,
            },
        };
        requirement
            .check(publishers)
            .map_err(|wrong| place.key(wrong.key).malformed(wrong.expected, wrong.seen))?;
        Ok(requirement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::{publisher_signer, publisher_toml};

    const RULES: &str = "\
[[require]]
purls = [\"pkg:generic/example/*\"]
kinds = [\"build\", \"update\"]
attestation = \"verification-summary\"
from = [\"a\", \"b\"]
at_least = 1
levels = [\"SLSA_BUILD_LEVEL_3\"]
policy = \"https://example.com/policy\"
max_age = \"90d\"

[[require]]
purls = [\"pkg:generic/example/scanner\"]
attestation = \"provenance\"
from = [\"a\", \"b\"]
builder = \"https://example.com/builder\"
";

    fn parse(text: &str) -> Result<Vec<Requirement>, FormatError> {
        let of = |name, seed| {
            let kinds = ["verification-summary", "provenance"];
            publisher_toml(name, &[&publisher_signer(seed)], &["pkg:generic/example/*"], &kinds)
        };
        parse_rules(text.as_bytes(), &Publishers::parse((of("a", 1) + &of("b", 2)).as_bytes()).unwrap())
    }

    #[test]
    fn rules_have_defaults() {
        let rules = parse(RULES).unwrap();
        let [summary, provenance] = rules.as_slice() else { panic!("two rules") };
        assert_eq!((summary.at_least, provenance.at_least), (1, 2), "all of them, if it is not said");
        assert_eq!((summary.kinds.len(), provenance.kinds.len()), (2, 0));
        assert_eq!(summary.says.result.as_deref(), Some("PASSED"), "nobody asks for a failed check");
        assert_eq!(summary.says.max_age, Some(90 * 24 * 3_600));
        assert_eq!(summary.says.levels, ["SLSA_BUILD_LEVEL_3"]);
        assert_eq!(provenance.says.builder.as_deref(), Some("https://example.com/builder"));
        assert_eq!(provenance.says.result, None);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_named_by_line_and_key() {
        for (from, to, says) in [
            ("at_least = 1", "at_least = 3", "at line 6, `at_least` of require 1: expected 1 to 2"),
            ("at_least = 1", "atleast = 1", "at line 6, `atleast`"),
            ("[\"build\", \"update\"]", "[\"build\", \"provenance\"]", "at line 3, `kinds` of require 1"),
            ("\"verification-summary\"", "\"release\"", "at line 4, `attestation` of require 1"),
            ("[\"a\", \"b\"]\nat", "[\"a\", \"c\"]\nat", "at line 5, `from` of require 1"),
            ("\"90d\"", "\"soon\"", "at line 9, `max_age` of require 1"),
            ("\"90d\"", "\"0s\"", "at line 9, `max_age` of require 1"),
            (
                "levels = ",
                "result = \"FAILED\"\nlevels = ",
                "`result` of require 1: expected the result PASSED",
            ),
            (
                "builder = ",
                "policy = ",
                "at line 15, `policy` of require 2: expected no policy of a provenance",
            ),
            ("/scanner", "/scanner@1", "at line 12, `purls` of require 2"),
        ] {
            let wrong = RULES.replacen(from, to, 1);
            assert_ne!(wrong, RULES, "{from}");
            let error = parse(&wrong).expect_err(&wrong).to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
        assert!(
            parse("").unwrap_err().to_string().contains("require"),
            "a file without rules asks for nothing"
        );
    }
}
