//! Figures of a delivery, for `/metrics` and `/healthz`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dispatch::{Dispatch, Progress};
use super::settings::SinkSettings;

/// Figures of a delivery since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// In the order of the settings.
    pub sinks: Vec<SinkFigures>,
    /// Open conditions by log and code.
    pub open_by_log: BTreeMap<(Option<String>, String), u64>,
    /// Alerts that were told since the start, by log and code: facts, and conditions that began.
    pub alerts_told: BTreeMap<(Option<String>, String), u64>,
    /// Bytes of events that wait for a sink.
    pub outbox_bytes: usize,
    /// Callers of [`Delivery::tell`](super::Delivery::tell) that wait for room in the outbox.
    pub waiting: usize,
    /// Faults of the delivery's own files; those of sinks are with these.
    pub faults: Vec<String>,
}

/// Figures of a sink since its start; `/healthz` shows those that are everybody's business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SinkFigures {
    /// Its name in the settings.
    pub name: String,
    /// Events that wait for it.
    pub undelivered: usize,
    /// Unix seconds when the oldest of them was put into the outbox.
    #[serde(skip)]
    pub oldest: Option<u64>,
    /// Events that it took.
    #[serde(skip)]
    pub delivered: u64,
    /// Tries that failed.
    #[serde(skip)]
    pub failures: u64,
    /// Why the last try failed, until one succeeds. For the operator only: a command's words may hold secrets.
    #[serde(skip)]
    pub fault: Option<String>,
    /// Code of that failure, for everybody.
    #[serde(rename = "fault", skip_serializing_if = "Option::is_none")]
    pub fault_code: Option<&'static str>,
}

impl Dispatch {
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let mut open_by_log = BTreeMap::new();
        for condition in state.conditions.open() {
            *open_by_log.entry((condition.log.clone(), condition.code.clone())).or_default() += 1;
        }
        let sink = |(settings, progress): (&SinkSettings, &Progress)| {
            let mut waiting = state
                .queue
                .behind(progress.position)
                .filter(|record| settings.filter.passes(&record.code, record.severity));
            let oldest = waiting.next().map(|record| record.time);
            SinkFigures {
                name: settings.name.clone(),
                undelivered: usize::from(oldest.is_some()) + waiting.count(),
                oldest,
                delivered: progress.delivered,
                failures: progress.failures,
                fault: progress.fault.clone(),
                fault_code: progress.fault_code,
            }
        };
        Figures {
            sinks: self.settings.sinks.iter().zip(&state.sinks).map(sink).collect(),
            open_by_log,
            alerts_told: state.alerts_told.clone(),
            outbox_bytes: state.queue.bytes(),
            waiting: state.waiting,
            faults: state.faults.values().cloned().collect(),
        }
    }
}
