//! What others see of a delivery.

use std::collections::BTreeMap;

use serde::Serialize;

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
    /// What a condition is about, beside its log: a witness, a peer, a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
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
    /// The same by log and code; no log where an alert is about none.
    pub open_by_log: BTreeMap<(Option<String>, String), usize>,
    /// Those among them that a silence covers now.
    pub silenced: usize,
    /// Bytes of events that wait for a sink.
    pub outbox_bytes: usize,
    /// What keeps the desk from working as it should; failures of sinks are with these.
    pub faults: Vec<String>,
}

/// What is known of a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkFigures {
    /// As in the settings.
    pub name: String,
    /// Events that wait for it.
    pub undelivered: usize,
    /// Unix seconds since when the oldest of them waits.
    pub oldest: Option<u64>,
    /// Events that it took since the start.
    pub delivered: u64,
    /// Tries that failed since the start.
    pub failures: u64,
    /// Why the last try failed, until one succeeds: for the operator alone, because a command's words may hold secrets.
    pub fault: Option<String>,
    /// The same as a code, for everybody.
    pub fault_code: Option<&'static str>,
}
