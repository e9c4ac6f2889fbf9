//! The gate of a trust file: what else has to be proven about a release before anything of it is installed.
//!
//! ```text
//! {"at_least":2,                                    1 to the number of publishers in `from`
//!  "attestation":"verification-summary",            a right of publishers, but not to releases
//!  "builder":"https://...",                         optional, provenance: runDetails.builder.id
//!  "from":["rebuilder-a","rebuilder-b"],            publishers of the file, each with the right to the kind
//!  "kinds":["build","update"],                      optional: the kinds of release; otherwise all of them
//!  "levels":["SLSA_BUILD_LEVEL_3"],                 optional, verification-summary: at least these verifiedLevels
//!  "max_age":7776000,                               optional, verification-summary, review: seconds since its own time
//!  "policy":"https://...",                          optional, verification-summary: policy.uri
//!  "purls":["pkg:generic/example/*"],               the packages that it is about
//!  "result":"PASSED"}                               verification-summary, review, test-result: the result
//! ```
//!
//! A release that several requirements cover has to meet all of them. [`Requirement::is_about`] and
//! `attestations` say what counts.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{FormatError, cap_count, names, quote, shown};
use crate::release::{
    Fields, Json, Kind, Publishers, PurlPattern, Release, Statement, StatementKind, Timestamp,
    VerificationResult,
};

#[cfg(feature = "client")]
mod rules;

#[cfg(feature = "client")]
pub use rules::{MAX_RULES_BYTES, parse_rules};

/// Most requirements in a trust file, and most texts in each list of one.
pub const MAX_REQUIREMENTS: usize = 256;

/// An attestation that releases of some packages need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The packages that it is about, at least one pattern.
    pub purls: Vec<PurlPattern>,
    /// The kinds of release that it is about. Empty: all of them.
    pub kinds: Vec<Kind>,
    /// The kind of attestation.
    pub attestation: StatementKind,
    /// The publishers whose attestations count, by name.
    pub from: Vec<String>,
    /// The number of different publishers that it takes.
    pub at_least: u64,
    /// The statement that each of them has to make.
    pub says: Conditions,
}

/// Conditions on the content of an attestation. `None` and an empty list ask for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// URI of the builder, for provenance. Only statements about this builder are looked at.
    pub builder: Option<String>,
    /// URI of the policy, for verification summaries. Only statements about this policy are looked at.
    pub policy: Option<String>,
    /// The result: `PASSED` also if it is `None`. A review may also be asked for `PASSED_WITH_FINDINGS`, and a test result
    /// for `WARNED`; `PASSED` is enough then, too.
    pub result: Option<String>,
    /// Levels, for verification summaries. `SLSA_BUILD_LEVEL_3` also asks for any higher level of its track.
    pub levels: Vec<String>,
    /// Most seconds since the time that the attestation states.
    pub max_age: Option<u64>,
}

impl Requirement {
    const WHAT: &str = "a gate's requirement";

    /// Tells whether a release needs it.
    #[must_use]
    pub fn is_about(&self, release: &Release) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&release.kind))
            && self.purls.iter().any(|pattern| pattern.covers(&release.purl))
    }

    /// The requirement in a sentence without its packages: `verification-summary by 2 of (a, b, c), result PASSED`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = super::attestations::wanted(&self.attestation, self.at_least, &self.from);
        let Conditions { builder, policy, result, levels, max_age } = &self.says;
        let levels = (!levels.is_empty()).then(|| levels.join(" "));
        let max_age = max_age.map(|age| format!("{age} s"));
        for (key, text) in [
            ("result", result),
            ("levels", &levels),
            ("policy", policy),
            ("builder", builder),
            ("no older than", &max_age),
        ] {
            if let Some(text) = text {
                words += &format!(", {key} {}", shown(text));
            }
        }
        words
    }

    /// Checks the gate of a trust file with these publishers: each requirement has one meaning, and could be met.
    pub(super) fn check_all(gate: &[Self], publishers: &Publishers) -> Result<(), FormatError> {
        cap_count("the gate of a trust file", "requirements", gate.len(), MAX_REQUIREMENTS)?;
        gate.iter().try_for_each(|requirement| {
            requirement.check(publishers).map_err(|wrong| {
                FormatError::malformed(Self::WHAT, format!("in {} {}", wrong.key, wrong.expected), wrong.seen)
            })
        })
    }

    /// Checks what the shape does not determine.
    fn check(&self, publishers: &Publishers) -> Result<(), Wrong> {
        let Self { purls, kinds, attestation, from, at_least, says } = self;
        let wrong = |key, expected: String, seen: String| Err(Wrong { key, expected, seen });
        for (key, count) in [("purls", purls.len()), ("from", from.len()), ("levels", says.levels.len())] {
            if count > MAX_REQUIREMENTS || (count == 0 && key != "levels") {
                return wrong(key, format!("1 to {MAX_REQUIREMENTS} {key}"), format!("{count}"));
            }
        }
        if is_release(attestation) {
            let expected = "a kind of attestation, as in verification-summary";
            return wrong("attestation", expected.to_owned(), quote(attestation.as_str()));
        }
        if let Some(kind) = twice(kinds) {
            return wrong("kinds", "each kind once".to_owned(), format!("{kind} twice"));
        }
        if let Some(name) = twice(from) {
            return wrong("from", "each publisher once".to_owned(), format!("{} twice", quote(name)));
        }
        for name in from {
            match publishers.list().iter().find(|publisher| publisher.name == *name) {
                None => {
                    return wrong("from", "names of the file's publishers".to_owned(), quote(name));
                }
                Some(publisher) if !publisher.kinds.iter().any(|right| may_cover(right, attestation)) => {
                    let expected = format!("publishers with the right to {attestation}");
                    return wrong("from", expected, format!("{} without it", quote(name)));
                }
                Some(_) => {}
            }
        }
        if !(1..=from.len() as u64).contains(at_least) {
            let expected = format!("1 to {}, the number of publishers", from.len());
            return wrong("at_least", expected, format!("{at_least}"));
        }
        says.check(attestation)
    }

    pub(super) fn parse(at: usize, json: Json<'_>) -> Result<Self, FormatError> {
        let mut fields = Fields::new(Self::WHAT, format!("gate {}", at + 1), json)?;
        let purls = fields.strings("purls")?;
        let kinds = optional_strings(&mut fields, "kinds")?;
        let wrong_kind = "to be kinds out of build, update, detection-rules, trust";
        let kinds = kinds.iter().map(|kind| Kind::parse(kind).ok_or(kind)).collect::<Result<_, _>>();
        let kinds = kinds.map_err(|kind| fields.wrong("kinds", wrong_kind, &quote(kind)))?;
        let attestation = fields.text("attestation")?;
        let attestation = StatementKind::parse_right(&attestation).ok_or_else(|| {
            fields.wrong("attestation", "to be a kind of attestation", &quote(&attestation))
        })?;
        let max_age = match fields.optional("max_age") {
            None => None,
            Some(Json::Integer(age)) if age > 0 => Some(age.unsigned_abs()),
            Some(_) => return Err(fields.wrong("max_age", "to be a number of seconds", "something else")),
        };
        let requirement = Self {
            purls: purls.iter().map(|text| PurlPattern::parse(text)).collect::<Result<_, _>>()?,
            kinds,
            attestation,
            from: fields.strings("from")?,
            at_least: fields.integer("at_least")?,
            says: Conditions {
                builder: fields.optional_string("builder")?,
                policy: fields.optional_string("policy")?,
                result: fields.optional_string("result")?,
                levels: optional_strings(&mut fields, "levels")?,
                max_age,
            },
        };
        fields.nothing_else()?;
        Ok(requirement)
    }

    pub(super) fn to_json(&self) -> Json<'static> {
        let Self { purls, kinds, attestation, from, at_least, says } = self;
        let list = |items: Vec<&str>| Json::Array(items.into_iter().map(Json::string).collect());
        let texts = |items: &[String]| list(items.iter().map(String::as_str).collect());
        let mut fields = vec![
            ("at_least", Json::unsigned(*at_least)),
            ("attestation", Json::string(attestation.as_str())),
            ("from", texts(from)),
            ("purls", list(purls.iter().map(PurlPattern::as_str).collect())),
        ];
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        fields.extend((!kinds.is_empty()).then(|| ("kinds", list(kinds))));
        for (key, text) in [("builder", &says.builder), ("policy", &says.policy), ("result", &says.result)] {
            fields.extend(text.as_deref().map(|text| (key, Json::string(text))));
        }
        fields.extend((!says.levels.is_empty()).then(|| ("levels", texts(&says.levels))));
        fields.extend(says.max_age.map(|age| ("max_age", Json::unsigned(age))));
        Json::object(fields)
    }
}

/// The first item that a list has twice.
pub(super) fn twice<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}

/// A condition that has no meaning, and its key.
struct Wrong {
    key: &'static str,
    expected: String,
    seen: String,
}

/// Tells whether a right is one to releases, or to withdraw them.
const fn is_release(kind: &StatementKind) -> bool {
    matches!(kind, StatementKind::Release(_) | StatementKind::Withdrawal)
}

/// Tells whether a publisher with this right may be able to make the attestation. A predicate type is no kind, and some
/// kinds have several predicate types, so only two different names say that it can't.
fn may_cover(right: &StatementKind, attestation: &StatementKind) -> bool {
    let is_type = |kind: &StatementKind| matches!(kind, StatementKind::Other(_));
    right == attestation || (!is_release(right) && (is_type(right) != is_type(attestation)))
}

/// The results of a kind of attestation that a gate can ask for, the best one first. A worse one also takes a better one.
const fn results(kind: &StatementKind) -> &'static [&'static str] {
    match kind {
        StatementKind::VerificationSummary => &["PASSED"],
        StatementKind::Review => &["PASSED", "PASSED_WITH_FINDINGS"],
        StatementKind::TestResult => &["PASSED", "WARNED"],
        StatementKind::Other(_) => &["PASSED", "PASSED_WITH_FINDINGS", "WARNED"],
        _ => &[],
    }
}

impl Conditions {
    /// Checks that an attestation of this kind can say all of it. An attestation of another predicate type may say anything
    /// of it.
    fn check(&self, kind: &StatementKind) -> Result<(), Wrong> {
        let Self { builder, policy, result, levels, max_age } = self;
        let is_other = matches!(kind, StatementKind::Other(_));
        let is_summary = is_other || *kind == StatementKind::VerificationSummary;
        let is_provenance = is_other || *kind == StatementKind::Provenance;
        let results = results(kind);
        for (key, is_set, can_say) in [
            ("builder", builder.is_some(), is_provenance),
            ("policy", policy.is_some(), is_summary),
            ("result", result.is_some(), !results.is_empty()),
            ("levels", !levels.is_empty(), is_summary),
            ("max_age", max_age.is_some(), is_summary || *kind == StatementKind::Review),
        ] {
            if is_set && !can_say {
                return Err(Wrong { key, expected: format!("no {key} of a {kind}"), seen: "one".to_owned() });
            }
        }
        let is_known =
            result.as_deref().map_or(is_other || results.is_empty(), |result| results.contains(&result));
        if !is_known {
            let seen = result.as_deref().map_or_else(|| "none".to_owned(), quote);
            let expected = format!("the result {}", results.join(" or "));
            return Err(Wrong { key: "result", expected, seen });
        }
        for (key, text) in [("builder", builder), ("policy", policy)] {
            if text.as_deref() == Some("") {
                return Err(Wrong { key, expected: format!("a {key}"), seen: quote("") });
            }
        }
        Ok(())
    }

    /// Tells whether the statement is about the builder and the policy that are asked for: of several statements of one
    /// publisher that are, the last one counts.
    pub(super) fn selects(&self, statement: &Statement) -> bool {
        let (builder, policy) = match statement {
            Statement::Provenance(provenance) => (Some(&provenance.builder), None),
            Statement::Summary(summary) => (None, Some(&summary.policy)),
            _ => (None, None),
        };
        let is = |wanted: &Option<String>, seen: Option<&String>| wanted.is_none() || wanted.as_ref() == seen;
        is(&self.builder, builder) && is(&self.policy, policy)
    }

    /// The first condition that the statement does not meet at the time `now`. A time after `latest` is not believed.
    /// Whatever a gate asks for, a check that failed never counts.
    pub(super) fn unmet(&self, statement: &Statement, now: Timestamp, latest: Timestamp) -> Option<Unmet> {
        const PASSED: &str = VerificationResult::Passed.as_str();
        let levels: &[String] = match statement {
            Statement::Summary(summary) => &summary.levels,
            _ => &[],
        };
        let has = |wanted: &String| levels.iter().any(|level| reaches(level, wanted));
        let wanted = self.result.as_deref();
        let is_good = match statement.result() {
            Some(result) => result == PASSED || wanted == Some(result),
            None => wanted.is_none(),
        };
        let time = statement.stated_time();
        let is_old = |most| time.is_none_or(|time| time < now.saturating_sub(most));
        if !is_good {
            Some(Unmet::Result)
        } else if !self.levels.iter().all(has) {
            Some(Unmet::Level)
        } else if time.is_some_and(|time| time > latest) {
            Some(Unmet::Future)
        } else if self.max_age.is_some_and(is_old) {
            Some(Unmet::Age)
        } else {
            None
        }
    }
}

names! {
    /// A condition that an attestation does not meet.
    Unmet {
        /// It has another result.
        Result => "another result",
        /// It lacks a level.
        Level => "too low a level",
        /// It is older than allowed.
        Age => "too old",
        /// Its time is in the future.
        Future => "from the future",
    }
}

/// Tells whether a level is the wanted one, or a higher one of its track: `SLSA_<track>_LEVEL_<n>`.
fn reaches(level: &str, wanted: &str) -> bool {
    let numbered = |text| {
        let (track, number) = str::rsplit_once(text, "_LEVEL_")?;
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        Some((track, number.parse::<u32>().ok().filter(|_| is_plain && track.starts_with("SLSA_"))?))
    };
    level == wanted
        || matches!((numbered(level), numbered(wanted)), (Some((a, m)), Some((b, n))) if a == b && m >= n)
}

/// A list of strings that is left out if it is empty.
fn optional_strings(fields: &mut Fields<'_>, key: &str) -> Result<Vec<String>, FormatError> {
    if !fields.has(key) {
        return Ok(Vec::new());
    }
    let strings = fields.strings(key)?;
    if strings.is_empty() {
        return Err(fields.wrong(key, "to have an item or not to be there", "none"));
    }
    Ok(strings)
}

#[cfg(test)]
mod tests;
