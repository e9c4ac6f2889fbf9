//! Events that a monitor tells, each as one line of JSON.
//!
//! ```text
//! {"id":"<32 hex>","time":"2026-01-31T12:00:00Z","event":"fork","severity":"alert","log":"log.example/a",
//!  "message":"...","advice":"...",<what belongs to the code, flat>}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::format::{FormatError, hex_decode, quote, shown, to_json};
use crate::release::{Timestamp, format_time};

/// Longest line of an event, in bytes: purls and names fit many times. The data of a longer one are left out.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// Most characters of a message or of advice: part of them may come from a log. Both fit into a line, whatever
/// they are.
const MAX_TEXT_CHARS: usize = 750;
/// Most characters of a log's name.
const MAX_NAME_CHARS: usize = 256;
/// Fields that are not the code's own.
const RESERVED: [&str; 12] =
    ["id", "time", "event", "severity", "log", "message", "advice", "again", "of", "since", "cut", "alert"];

/// Fields that the codes have of their own. [`Event::with`] takes others as well, and templates know these.
pub const DATA_FIELDS: [&str; 46] = [
    "about",
    "again",
    "artifacts",
    "audience",
    "build_type",
    "builder",
    "channel",
    "cut",
    "digests",
    "evidence",
    "file",
    "first_index",
    "found_in",
    "highest",
    "index",
    "kind",
    "larger",
    "last_index",
    "leaf_hash",
    "lie",
    "line",
    "more",
    "not_checked",
    "of",
    "peer",
    "previous",
    "publisher",
    "purl",
    "reason",
    "resource",
    "result",
    "root",
    "seconds",
    "sequence",
    "signatures",
    "signers",
    "size",
    "smaller",
    "source",
    "url",
    "verifier",
    "watches",
    "why",
    "withdrawal",
    "withdraws",
    "witness",
];

/// Urgency of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It should happen.
    Info,
    /// It is about something that somebody watches.
    Watch,
    /// Somebody has to look at it.
    Alert,
}

impl Severity {
    /// The severity with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Info, Self::Watch, Self::Alert].into_iter().find(|severity| severity.as_str() == name)
    }

    /// Its name on the wire and in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Watch => "watch",
            Self::Alert => "alert",
        }
    }
}

/// The duration of what an event reports.
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
    Started, Head, HeadStale, Release, Withdrawal, Provenance, VerificationSummary,
    Review, Disclosure, Imported, Attestation, Entry,
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
const TABLE: [Row; 34] = [
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
    info(Code::Review, "review"),
    info(Code::Disclosure, "disclosure"),
    info(Code::Imported, "imported"),
    info(Code::Attestation, "attestation"),
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

    /// The default advice.
    #[must_use]
    pub const fn advice(self) -> Option<&'static str> {
        self.row().advice
    }
}

/// Id of an event: the same thing seen twice has one id, so that receivers can drop a repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of an event of this code and log; `subject` has the fields that distinguish it from others of that
    /// kind, such as an index, or a package and a sequence number.
    #[must_use]
    pub fn of(code: Code, origin: Option<&str>, subject: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        let fields = [code.as_str(), origin.unwrap_or_default()];
        for field in fields.iter().chain(subject) {
            // Each field with its length, so that no two lists of fields look alike.
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field.as_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Self(*digest.first_chunk().expect("a digest is longer"))
    }

    /// Reads 32 hex digits.
    ///
    /// # Errors
    /// [`FormatError`] for anything else, upper-case digits included.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let wrong = || FormatError::malformed("an event's id", "32 lower-case hex digits", quote(text));
        hex_decode(text).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::encode(self.0).fmt(f)
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that the monitor found.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Identical for identical findings.
    pub id: EventId,
    /// Its kind.
    pub code: Code,
    /// Its code's, unless somebody watches what it is about.
    pub severity: Severity,
    /// The log that it is about.
    pub origin: Option<String>,
    /// Unix seconds when the monitor found it.
    pub time: Timestamp,
    /// For people.
    pub message: String,
    /// The advice for people; by default that of the code.
    pub advice: Option<String>,
    /// Fields of the code's own: `index`, `purl` and so on, none with a name of the fields above.
    pub data: Map<String, Value>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    time: String,
    event: &'a str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
    #[serde(flatten)]
    data: &'a Map<String, Value>,
}

impl Event {
    /// An event with its code's severity and advice. `subject` is what [`EventId::of`] takes.
    pub fn new(
        code: Code,
        origin: Option<&str>,
        subject: &[&str],
        time: Timestamp,
        message: impl Into<String>,
    ) -> Self {
        Self {
            id: EventId::of(code, origin, subject),
            code,
            severity: code.severity(),
            origin: origin.map(ToOwned::to_owned),
            time,
            message: message.into(),
            advice: code.advice().map(ToOwned::to_owned),
            data: Map::new(),
        }
    }

    /// Adds a field.
    ///
    /// # Panics
    /// If every event has a field of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        assert!(!RESERVED.contains(&name), "{name} is no field of a code's own");
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// Raises its severity for people who watch what it is about; `names` are the watches in the settings. An
    /// alert stays an alert.
    #[must_use]
    pub fn watched(mut self, names: &[String]) -> Self {
        self.severity = self.severity.max(Severity::Watch);
        self.with("watches", names)
    }

    /// Replaces the advice of its code.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// One JSON object without a newline, of at most [`MAX_LINE_BYTES`].
    ///
    /// # Panics
    /// If a field of the data has a name that every event has.
    #[must_use]
    pub fn to_line(&self) -> String {
        assert!(self.data.keys().all(|name| !RESERVED.contains(&name.as_str())), "{:?}", self.data.keys());
        let line = self.line_with(&self.data);
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        let shorter = self.line_with(&Map::from_iter([("cut".to_owned(), Value::Bool(true))]));
        assert!(shorter.len() <= MAX_LINE_BYTES, "texts are cut, and names are short: {shorter}");
        shorter
    }

    fn line_with(&self, data: &Map<String, Value>) -> String {
        let (message, advice) = (cut(&self.message), self.advice.as_deref().map(cut));
        let log = self.origin.as_deref().map(|origin| cut_to(origin, MAX_NAME_CHARS));
        let line = Line {
            id: self.id.to_string(),
            time: format_time(self.time),
            event: self.code.as_str(),
            severity: self.severity,
            log: log.as_deref(),
            message: &message,
            advice: advice.as_deref(),
            data,
        };
        to_json(&line)
    }
}

/// Text for people of bounded length, without what could drive a terminal.
pub(super) fn cut(text: &str) -> String {
    cut_to(text, MAX_TEXT_CHARS)
}

fn cut_to(text: &str, chars: usize) -> String {
    // Escaped first: an escaped character is up to ten, and lines are of bounded length.
    let text = shown(&text.chars().take(chars + 1).collect::<String>());
    let mut head: String = text.chars().take(chars).collect();
    if text.chars().nth(chars).is_some() {
        head.push('…');
    }
    head
}

/// A line with one more field at its end.
pub(super) fn add_field(line: &str, name: &str, value: impl Into<Value>) -> String {
    let open = line.strip_suffix('}').expect("a JSON object");
    let comma = if open == "{" { "" } else { "," };
    format!("{open}{comma}\"{name}\":{}}}", to_json(&value.into()))
}

/// The line of an event that is told again under another id: `alert` is its first one.
pub(super) fn retold(line: &str, id: &str, alert: &str) -> String {
    let (_, rest) =
        line.strip_prefix("{\"id\":\"").and_then(|rest| rest.split_once('"')).expect("lines begin with ids");
    add_field(&format!("{{\"id\":\"{id}\"{rest}"), "alert", alert)
}

#[cfg(test)]
mod tests;
