//! `GET /metrics` for Prometheus. docs/witness.md lists the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::extract::State;

use super::{Head, Witness};
use crate::checkpoint::Origin;
use crate::http::exposition::Exposition;

/// Most logs with series of their own, the first by origin: scrapers would not keep more.
const MAX_SHOWN: usize = 1_000;

/// A log that is listed or was cosigned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct KnownLog {
    /// Whether the witness still cosigns for it.
    listed: bool,
    /// The head that was cosigned last, if any.
    head: Option<Head>,
}

pub async fn metrics(State(witness): State<Witness>) -> Exposition {
    let shared = &witness.inner;
    let mut known: BTreeMap<Origin, KnownLog> = BTreeMap::new();
    for key in shared.logs.current().keys() {
        known.entry(key.log().clone()).or_default().listed = true;
    }
    for (origin, head) in shared.ledger.heads() {
        known.entry(origin).or_default().head = Some(head);
    }
    let mut out = Exposition::default();
    out.gauge("treehead_witness_info", "Always 1; the label says which witness this is.")
        .with(&[("name", witness.name().as_str())], true);
    let mut faults = out.gauge("treehead_witness_fault", "Whether this kind of fault lasts, as in /healthz.");
    faults.with(&[("kind", "storage")], !shared.ledger.faults().is_empty());
    faults.with(&[("kind", "logs-policy")], shared.logs.fault().is_some());
    let requests = "Requests to /add-checkpoint and /sign-subtree, by how they were answered.";
    shared.outcomes.show(out.counter("treehead_witness_requests_total", requests));
    out.counter("treehead_witness_forks_seen_total", "Requests that showed a second history of a log.")
        .is(shared.forks.load(Ordering::Relaxed));
    out.gauge("treehead_witness_evidence_files", "Forks that are proven in the witness's directory.")
        .is(shared.evidence.count());
    logs(&mut out, &known, (shared.clock)());
    out
}

fn logs(out: &mut Exposition, known: &BTreeMap<Origin, KnownLog>, now: u64) {
    out.gauge("treehead_witness_logs", "Logs that are listed, or of which a head was cosigned.")
        .is(known.len());
    out.gauge("treehead_witness_logs_shown", "Logs among them that have series here.")
        .is(known.len().min(MAX_SHOWN));
    let mut show = |name, help, value: &dyn Fn(&KnownLog) -> Option<u64>| {
        let mut family = out.gauge(name, help);
        for (origin, log) in known.iter().take(MAX_SHOWN) {
            if let Some(value) = value(log) {
                family.with(&[("origin", origin.as_str())], value);
            }
        }
    };
    show("treehead_witness_log_listed", "Whether the log is in logs.policy.", &|log| Some(log.listed.into()));
    show("treehead_witness_log_size", "Entries under the head that was cosigned last.", &|log| {
        Some(log.head?.size.get())
    });
    show("treehead_witness_log_cosigned_age_seconds", "Seconds since a head was cosigned.", &|log| {
        Some(now.saturating_sub(log.head?.time))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_logs_the_first_are_shown_and_all_are_counted() {
        let name = |at: usize| Origin::new(&format!("log.example/{at:05}")).unwrap();
        let listed = KnownLog { listed: true, head: None };
        for (count, shown) in [(0, 0), (1, 1), (1_000, 1_000), (1_001, 1_000), (5_000, 1_000)] {
            let known: BTreeMap<Origin, KnownLog> = (0..count).map(|at| (name(at), listed)).collect();
            let mut out = Exposition::default();
            logs(&mut out, &known, 0);
            let text = out.text();
            assert!(text.contains(&format!("\ntreehead_witness_logs {count}\n")), "{text}");
            assert!(text.contains(&format!("\ntreehead_witness_logs_shown {shown}\n")), "{text}");
            let series: Vec<&str> =
                text.lines().filter(|line| line.starts_with("treehead_witness_log_")).collect();
            let expected: Vec<String> = (0..shown)
                .map(|at| format!("treehead_witness_log_listed{{origin=\"log.example/{at:05}\"}} 1"))
                .collect();
            assert_eq!(series, expected, "a log that was never cosigned has no size");
        }
    }
}
