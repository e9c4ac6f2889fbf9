//! What a monitor tells: one event, one line of JSON.
//!
//! ```text
//! {"id":"<32 hex>","time":"2026-01-31T12:00:00Z","event":"fork","severity":"alert","log":"log.example/a",
//!  "message":"...","advice":"...",<what belongs to the code, flat>}
//! ```

mod code;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::format::{FormatError, hex_decode, quote, shown, to_json};
use crate::release::{Timestamp, format_time};

pub use code::{Code, Span};

/// Longest line of an event, in bytes: purls and names fit many times, and ten thousand alerts fit into
/// memory. Of a longer one the data are left out.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// Most characters of a message or of advice: part of them may come from a log. Both fit into a line, whatever
/// they are.
const MAX_TEXT_CHARS: usize = 750;
/// Most characters of a log's name.
const MAX_NAME_CHARS: usize = 256;
/// Fields that are not the code's own.
const RESERVED: [&str; 14] = [
    "id", "time", "event", "severity", "log", "message", "advice", "silenced", "reminder", "again", "of",
    "since", "cut", "alert",
];

/// How much somebody wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It happened, as it should.
    Info,
    /// It happened to what somebody watches.
    Watch,
    /// Somebody has to look at it.
    Alert,
}

impl Severity {
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

/// Names what was seen: the same thing seen twice has one id, so that who is told twice can drop a repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of what `subject` says under this code and log: the fields that tell it from other things of
    /// that kind, as an index, or a package and a sequence number. Times do not belong in there.
    #[must_use]
    pub fn of(code: Code, origin: Option<&str>, subject: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        let fields = [code.as_str(), origin.unwrap_or_default()];
        for field in fields.iter().chain(subject) {
            // With its length: two fields are never taken for one.
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

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that the monitor noticed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same for the same thing, whenever it is seen.
    pub id: EventId,
    /// What it is.
    pub code: Code,
    /// Its code's, unless somebody watches what it is about.
    pub severity: Severity,
    /// The log that it is about.
    pub origin: Option<String>,
    /// Unix seconds when the monitor noticed.
    pub time: Timestamp,
    /// For people.
    pub message: String,
    /// What to do next, for people; its code's, unless something better is known.
    pub advice: Option<String>,
    /// What belongs to the code: `index`, `purl` and so on, flat, none of the names above.
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

    /// The same with one more field.
    ///
    /// # Panics
    /// If the name is one that each event has.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        assert!(!RESERVED.contains(&name), "{name} is no field of a code's own");
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// The same for people who watch what it is about, under these names of their settings. An alert stays
    /// one.
    #[must_use]
    pub fn watched(mut self, names: &[String]) -> Self {
        self.severity = self.severity.max(Severity::Watch);
        self.with("watches", names)
    }

    /// The same with better advice than its code's.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// One JSON object without a newline, of at most [`MAX_LINE_BYTES`].
    ///
    /// # Panics
    /// If the data have a field that each event has.
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

/// The line of an alert as it is told later, under an id of its own: who drops what has an id that was seen
/// before drops no reminder.
pub(super) fn retold(line: &str, id: &str, alert: &str) -> String {
    let (_, rest) =
        line.strip_prefix("{\"id\":\"").and_then(|rest| rest.split_once('"')).expect("lines begin with ids");
    add_field(&format!("{{\"id\":\"{id}\"{rest}"), "alert", alert)
}

#[cfg(test)]
mod tests;
