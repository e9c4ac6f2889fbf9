//! Codes of events. Names are stable: other people's programs depend on them.

use super::Severity;

/// How long what an event tells of lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// It happened, and stays true.
    Fact,
    /// It lasts until its end is told.
    Condition,
}

/// Kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table below says it")]
#[rustfmt::skip]
pub enum Code {
    Started, Head, HeadStale, Release, Withdrawal, Provenance, VerificationSummary, Entry,
    Fork, LogShrunk, UnexpectedRelease, MissingRelease, SequenceGap, SequenceRepeated, SequenceRegressed,
    VersionChanged, WithdrawnBefore,
    LimitedAudience, KeyOutsideValidity, UntrustedStatement, UnreadableEntry, Withdrawn, FalseWithdrawal,
    LogStalled, NoQuorum, WitnessMissing, LogMisbehaves, LogUnreachable, PeerMisbehaves, HeadAhead,
}

struct Row {
    code: Code,
    name: &'static str,
    severity: Severity,
    span: Span,
    advice: Option<&'static str>,
}

const fn info(code: Code, name: &'static str) -> Row {
    Row { code, name, severity: Severity::Info, span: Span::Fact, advice: None }
}

const fn fact(code: Code, name: &'static str, advice: &'static str) -> Row {
    Row { code, name, severity: Severity::Alert, span: Span::Fact, advice: Some(advice) }
}

const fn condition(code: Code, name: &'static str, advice: &'static str) -> Row {
    Row { code, name, severity: Severity::Alert, span: Span::Condition, advice: Some(advice) }
}

/// In the order of the enum. To add a code, add it to both.
#[rustfmt::skip]
const TABLE: [Row; 30] = [
    // The monitor began to follow a log.
    info(Code::Started, "started"),
    // A log grew to a head that checks.
    info(Code::Head, "head"),
    // A cache before the log showed a head that is older than one that it had shown.
    info(Code::HeadStale, "head-stale"),
    // Entries by what they say; `entry` is any other that can be read.
    info(Code::Release, "release"),
    info(Code::Withdrawal, "withdrawal"),
    info(Code::Provenance, "provenance"),
    info(Code::VerificationSummary, "verification-summary"),
    info(Code::Entry, "entry"),
    // It ends when its evidence is taken out of the directory.
    condition(Code::Fork, "fork",
        "The log signed two histories. Install nothing that rests on it, keep the evidence, and show it to the witnesses and to everyone who trusts the log."),
    condition(Code::LogShrunk, "log-shrunk",
        "The log shows a smaller head than one that it signed before. Ask its operator whether an old copy was restored; until it has caught up, take it for a fork."),
    fact(Code::UnexpectedRelease, "unexpected-release",
        "Ask your release team whether it made this. If nobody did, the publisher's key is in other hands: revoke it and withdraw the release."),
    condition(Code::MissingRelease, "missing-release",
        "Something was released that the log does not have: publish it, or find out who distributes it."),
    fact(Code::SequenceGap, "sequence-gap",
        "A number was left out: ask the publisher whether a release was kept from the log."),
    fact(Code::SequenceRepeated, "sequence-repeated",
        "Two releases claim one number: ask the publisher which is the real one, and the operator why the log took both."),
    fact(Code::SequenceRegressed, "sequence-regressed",
        "A release goes back behind one that is in the log: endpoints refuse it. Ask the publisher for a new number."),
    fact(Code::VersionChanged, "version-changed",
        "Two releases of one version have different content: ask the publisher which is the real one, and why the other has no version of its own."),
    fact(Code::WithdrawnBefore, "withdrawn-before",
        "A withdrawn release was published again: ask the publisher. Endpoints that know the withdrawal refuse it."),
    fact(Code::LimitedAudience, "limited-audience",
        "A release is meant for a few only: ask the publisher why the others should not have it."),
    fact(Code::KeyOutsideValidity, "key-outside-validity",
        "A key signed at a time at which it should not have: ask the publisher, and revoke the key if it can't say why."),
    fact(Code::UntrustedStatement, "untrusted-statement",
        "The log took a statement that its publisher had no right to make, or that publishers.toml does not know yet: compare yours with the log's."),
    fact(Code::UnreadableEntry, "unreadable-entry",
        "The log took an entry that is no statement: ask its operator what it admits."),
    fact(Code::Withdrawn, "withdrawn",
        "The publisher takes a release back: stop distributing it, and replace it where it is installed."),
    fact(Code::FalseWithdrawal, "false-withdrawal",
        "A release was withdrawn by somebody who did not publish it, or that is not in the log: ask who signed this."),
    condition(Code::LogStalled, "log-stalled",
        "The log shows no newer head: ask its operator. Endpoints with --max-age will refuse its proofs."),
    condition(Code::NoQuorum, "no-quorum",
        "The head has too few cosignatures: ask the operators of the log and of the witnesses that are missing."),
    condition(Code::WitnessMissing, "witness-missing",
        "This witness no longer cosigns: ask its operator before the quorum is at risk."),
    condition(Code::LogMisbehaves, "log-misbehaves",
        "What the log serves is not what it signed: tell its operator, and compare with other monitors."),
    condition(Code::LogUnreachable, "log-unreachable",
        "Is the address right, and the network up? If others reach it, somebody may keep you from it."),
    condition(Code::PeerMisbehaves, "peer-misbehaves",
        "Another monitor says what can't be so: tell its operator, or take it off the list."),
    condition(Code::HeadAhead, "head-ahead",
        "Somebody holds a head that the log signed and does not show you: it may show you less than others. Compare with other monitors."),
];

impl Code {
    /// All codes, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.code)
    }

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name on the wire and in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The code with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|code| code.as_str() == name)
    }

    /// Severity, unless somebody watches what the event is about.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.row().severity
    }

    /// Whether an event of this code lasts until its end is told.
    #[must_use]
    pub const fn span(self) -> Span {
        self.row().span
    }

    /// What to do next, unless something better is known.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        self.row().advice
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_its_row_and_a_name_of_its_own() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, at, "{}", row.name);
            assert_eq!(Code::parse(row.name), Some(row.code));
            assert_eq!(row.severity == Severity::Alert, row.advice.is_some(), "{}", row.name);
        }
        let names: BTreeSet<&str> = Code::all().map(Code::as_str).collect();
        assert_eq!(names.len(), TABLE.len());
        for word in ["info", "watch", "alert", "ended", "forks", "Fork", ""] {
            assert_eq!(Code::parse(word), None, "{word}");
        }
        let fit = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(names.iter().all(|name| fit(name)), "{names:?}");
    }
}
