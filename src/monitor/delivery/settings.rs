//! What a desk is told at its start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::Command;
use super::rank::Rank;
use super::sink::Sink;
use super::webhook::{Secret, Webhook};
use crate::clock::Clock;
use crate::format::{FormatError, cap_count, quote};
use crate::monitor::event::{Code, Severity};

/// Longest name of a sink: it is a label in metrics.
const MAX_NAME_BYTES: usize = 64;
/// Most sinks: each has a thread.
pub const MAX_SINKS: usize = 32;

/// How a desk works.
pub struct DeliverySettings {
    /// Where events go besides the output. Each has a name of its own.
    pub sinks: Vec<SinkSettings>,
    /// Seconds after which an open alert that nobody acknowledged is told again; zero for never.
    pub remind_after: u64,
    /// Most bytes of events that wait for a sink. With more, [`deliver`](super::Delivery::deliver) waits.
    pub outbox_bytes: usize,
    /// Bytes beyond that: half of them for conditions, all for `fork`, `log-shrunk` and `head-ahead`, so that
    /// a log that causes very many alerts leaves room for those of the others.
    pub outbox_reserve: usize,
    /// An outbox below this size is not written anew for its length.
    pub outbox_file_bytes: u64,
    /// The time of day: for reminders, silences and signatures.
    pub clock: Clock,
    /// How often the desk looks for acknowledgements and reminders that are due.
    pub tick: Duration,
    /// First pause after a failure of a sink; it doubles with each further one.
    pub first_pause: Duration,
    /// Longest pause between two tries.
    pub longest_pause: Duration,
    /// How long [`stop`](super::Delivery::stop) waits for a sink, or for a reader of the output.
    pub stop_patience: Duration,
}

impl DeliverySettings {
    /// No sinks, reminders after a day.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            sinks: Vec::new(),
            remind_after: 24 * 3_600,
            outbox_bytes: 4 * 1024 * 1024,
            outbox_reserve: 1024 * 1024,
            outbox_file_bytes: 4 * 1024 * 1024,
            clock,
            tick: Duration::from_secs(1),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            // A command is killed after five, and should not be left behind.
            stop_patience: Duration::from_secs(6),
        }
    }

    /// Bytes of events that may wait when one of this rank has come in.
    pub(super) const fn room_for(&self, rank: Rank) -> usize {
        let reserve = match rank {
            Rank::Common => 0,
            Rank::Condition => self.outbox_reserve / 2,
            Rank::Split => self.outbox_reserve,
        };
        self.outbox_bytes.saturating_add(reserve)
    }

    /// Rejects contradictory settings.
    pub(super) fn check(&self) -> Result<(), FormatError> {
        cap_count("the list of sinks", "sinks", self.sinks.len(), MAX_SINKS)?;
        let mut names = BTreeSet::new();
        match self.sinks.iter().find(|sink| !names.insert(&sink.name)) {
            Some(twice) => Err(FormatError::malformed(
                "the list of sinks",
                "a name of its own for each",
                format!("{} twice", quote(&twice.name)),
            )),
            None => Ok(()),
        }
    }
}

/// One place where events go.
#[derive(Clone)]
pub struct SinkSettings {
    pub(super) name: String,
    pub(super) filter: Filter,
    pub(super) sink: Arc<dyn Sink>,
}

impl SinkSettings {
    /// Any sink. What is not delivered yet is kept under its name: another name is another sink.
    ///
    /// # Errors
    /// [`FormatError`] unless the name is 1 to 64 of `a-z`, `0-9` and `-`.
    pub fn new(name: &str, filter: Filter, sink: Arc<dyn Sink>) -> Result<Self, FormatError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(fits) {
            return Err(FormatError::malformed("the name of a sink", "1 to 64 of a-z, 0-9, -", quote(name)));
        }
        Ok(Self { name: name.to_owned(), filter, sink })
    }

    /// A URL that gets each event in a request of its own, signed as Standard Webhooks are.
    ///
    /// # Errors
    /// [`FormatError`] for a name that is none, or unless it is an `http` or `https` URL.
    pub fn webhook(name: &str, filter: Filter, url: &str, secret: Secret) -> Result<Self, FormatError> {
        Self::new(name, filter, Arc::new(Webhook::new(url, secret)?))
    }

    /// A program that gets each event on its standard input, a process each.
    ///
    /// # Errors
    /// [`FormatError`] for a name that is none, or without a program.
    pub fn command(name: &str, filter: Filter, argv: Vec<String>) -> Result<Self, FormatError> {
        Self::new(name, filter, Arc::new(Command::new(argv)?))
    }
}

/// Which events a sink gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    severities: BTreeSet<Severity>,
    codes: BTreeSet<Code>,
}

impl Default for Filter {
    /// What is watched, and alerts.
    fn default() -> Self {
        Self { severities: [Severity::Watch, Severity::Alert].into(), codes: BTreeSet::new() }
    }
}

impl Filter {
    /// Reads codes (`fork`) and severities (`alert`): an event passes that is one of these.
    ///
    /// # Errors
    /// [`FormatError`] for an empty list, and for what is neither.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, FormatError> {
        const WHAT: &str = "a list of events";
        const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Watch, Severity::Alert];
        let mut filter = Self { severities: BTreeSet::new(), codes: BTreeSet::new() };
        for word in words.iter().map(AsRef::as_ref) {
            if let Some(severity) = SEVERITIES.into_iter().find(|severity| severity.as_str() == word) {
                filter.severities.insert(severity);
            } else if let Some(code) = Code::parse(word) {
                filter.codes.insert(code);
            } else {
                return Err(FormatError::malformed(
                    WHAT,
                    "info, watch, alert, or a code as in fork",
                    quote(word),
                ));
            }
        }
        if words.is_empty() {
            return Err(FormatError::malformed(WHAT, "at least one code or severity", "none"));
        }
        Ok(filter)
    }

    /// Whether it lets an event of this code through.
    #[must_use]
    pub fn passes(&self, code: &str, severity: Severity) -> bool {
        self.severities.contains(&severity) || self.codes.iter().any(|known| known.as_str() == code)
    }
}
