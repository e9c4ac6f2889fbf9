//! The findings of a probe, as text and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bucket::{BucketError, TagStyle};
use crate::format::names;

names! {
    /// A check of one promise of a store.
    Check {
        /// The store refuses the second of two creations of an object.
        CreateTwice => "create-twice",
        /// The current tag replaces an object, and an older tag does not.
        Tags => "tags",
        /// The store refuses to replace a missing object.
        ReplaceMissing => "replace-missing",
        /// A read returns the last write at once, for new and for replaced objects.
        ReadAfterWrite => "read-after-write",
        /// A list shows written objects at once, in order and in pages.
        ListAfterWrite => "list-after-write",
        /// A deleted object is gone at once.
        ReadAfterDelete => "read-after-delete",
        /// Of many concurrent creations of an object, one succeeds, and its bytes stay.
        CreateRace => "create-race",
        /// Of many concurrent replacements of an object, one succeeds, and its bytes stay.
        ReplaceRace => "replace-race",
    }
}

names! {
    /// The outcome of a check.
    Verdict {
        /// The store kept the promise.
        Right => "right",
        /// The store broke the promise.
        Lies => "lies",
        /// The check did not complete.
        Unknown => "could-not-tell",
        /// The check was skipped, and a log does not need it.
        Skipped => "skipped",
    }
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// Its outcome.
    pub verdict: Verdict,
    /// Description of the observation.
    pub seen: String,
    /// Duration of the check.
    pub time: Duration,
}

/// All findings of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub(super) store: String,
    pub(super) style: Option<TagStyle>,
    pub(super) all: Vec<Finding>,
    pub(super) is_clean: bool,
    pub(super) time: Duration,
}

/// The properties of a store that a client needs to use its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The form of tags in `If-Match`.
    pub tag_style: TagStyle,
}

impl Findings {
    /// The store's address.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The findings, in order of the checks.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    /// The form of tags that the store accepts; `None` if no tag worked.
    #[must_use]
    pub const fn tag_style(&self) -> Option<TagStyle> {
        self.style
    }

    /// True if the probe has deleted everything that it wrote.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Duration of the probe.
    #[must_use]
    pub const fn time(&self) -> Duration {
        self.time
    }

    /// The worst verdict: a broken promise, or else a check that did not complete.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.all.iter().any(|finding| finding.verdict == verdict);
        if has(Verdict::Lies) {
            Verdict::Lies
        } else if has(Verdict::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Right
        }
    }

    /// The properties of a store that passed every check.
    ///
    /// # Errors
    /// [`BucketError::Lies`] if the store broke a promise, [`BucketError::Untested`] if a check did not complete.
    pub fn conditions(&self) -> Result<Conditions, BucketError> {
        let store = self.store.clone();
        match (self.verdict(), self.style) {
            (Verdict::Right, Some(tag_style)) => Ok(Conditions { tag_style }),
            (Verdict::Lies, _) => Err(BucketError::Lies { store, findings: self.of(Verdict::Lies) }),
            _ => Err(BucketError::Untested { store, findings: self.of(Verdict::Unknown) }),
        }
    }

    /// The findings with one verdict, as text.
    fn of(&self, verdict: Verdict) -> String {
        let found = self.all.iter().filter(|finding| finding.verdict == verdict);
        found.map(|finding| format!("{}: {}", finding.check, finding.seen)).collect::<Vec<_>>().join("; ")
    }

    /// A line for each finding.
    #[must_use]
    pub fn in_words(&self) -> String {
        let line = |finding: &Finding| {
            let verdict = match finding.verdict {
                Verdict::Right => "right",
                Verdict::Lies => "LIES",
                Verdict::Unknown => "could not tell",
                Verdict::Skipped => "skipped",
            };
            format!("{verdict:<15} {:<18} {}\n", finding.check, finding.seen)
        };
        self.all.iter().map(line).collect()
    }

    /// The findings as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "check": finding.check.as_str(),
                "verdict": finding.verdict.as_str(),
                "seen": finding.seen,
                "ms": millis(finding.time),
            })
        };
        json!({
            "ok": self.verdict() == Verdict::Right,
            "store": self.store,
            "verdict": self.verdict().as_str(),
            "tag_style": self.style.map(TagStyle::as_str),
            "findings": self.all.iter().map(finding).collect::<Vec<_>>(),
            "cleaned": self.is_clean,
            "ms": millis(self.time),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
