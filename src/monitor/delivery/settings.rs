//! Settings of a delivery: its sinks, and the bounds of the outbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::sink::Sink;
use crate::clock::Clock;
use crate::format::{FormatError, cap_count, quote};
use crate::monitor::event::{Code, Severity};

/// Longest name of a sink: it is a label in metrics.
const MAX_NAME_BYTES: usize = 64;
/// Most sinks: each has a thread.
pub const MAX_SINKS: usize = 32;

/// Settings of a [`Delivery`](super::Delivery).
pub struct DeliverySettings {
    /// The receivers besides the output. Their names are unique.
    pub sinks: Vec<SinkSettings>,
    /// Most bytes of events that wait for a sink. With more, [`tell`](super::Delivery::tell) waits.
    pub outbox_bytes: usize,
    /// Bytes beyond that for conditions that begin or end: a log that causes very many facts does not hold up a
    /// fork of another log.
    pub outbox_reserve: usize,
    /// Size in bytes below which the outbox is not written anew.
    pub outbox_file_bytes: u64,
    /// The time of day, for events and signatures.
    pub clock: Clock,
    /// Shortest time between two writes of the positions.
    pub save_interval: Duration,
    /// Pause after the first failure of a sink; it doubles with each further one.
    pub first_pause: Duration,
    /// Longest pause between two tries.
    pub longest_pause: Duration,
    /// How long [`stop`](super::Delivery::stop) waits for a sink.
    pub stop_patience: Duration,
}

impl DeliverySettings {
    /// Settings without sinks.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            sinks: Vec::new(),
            outbox_bytes: 4 * 1024 * 1024,
            outbox_reserve: 1024 * 1024,
            outbox_file_bytes: 4 * 1024 * 1024,
            clock,
            save_interval: Duration::from_millis(100),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            // A command is killed after five, and should not be left behind.
            stop_patience: Duration::from_secs(6),
        }
    }

    /// Bytes of events that may wait once an item is in the outbox, which may be of a condition.
    pub(super) const fn room(&self, is_of_condition: bool) -> usize {
        let reserve = if is_of_condition { self.outbox_reserve } else { 0 };
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

/// A receiver of events.
#[derive(Clone)]
pub struct SinkSettings {
    pub(super) name: String,
    pub(super) filter: Filter,
    pub(super) sink: Arc<dyn Sink>,
}

impl SinkSettings {
    /// Any sink. Undelivered events are kept under its name: another name is another sink.
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
}

/// Selects the events that a sink gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    severities: BTreeSet<Severity>,
    codes: BTreeSet<Code>,
}

impl Default for Filter {
    /// Watched events and alerts.
    fn default() -> Self {
        Self { severities: [Severity::Watch, Severity::Alert].into(), codes: BTreeSet::new() }
    }
}

impl Filter {
    /// Reads codes (`fork`) and severities (`alert`): an event passes if its code or severity is among them.
    ///
    /// # Errors
    /// [`FormatError`] for an empty list, and for other words.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, FormatError> {
        const WHAT: &str = "a list of events";
        let mut filter = Self { severities: BTreeSet::new(), codes: BTreeSet::new() };
        for word in words.iter().map(AsRef::as_ref) {
            if let Some(severity) = Severity::parse(word) {
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
