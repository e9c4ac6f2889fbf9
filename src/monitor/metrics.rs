//! `GET /metrics`: the monitor's metrics for Prometheus. docs/monitor.md lists them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delivery::{Figures, SinkFigures};
use super::event::{Code, Severity, Span};
use super::inbox::{HeadSource, HeadVerdict};
use super::log::{FollowedLog, LogStatus};
use crate::disk::evidence_dir::EvidenceDir;
use crate::http::exposition::{Exposition, Family};
use crate::http::outcomes::Outcomes;

/// A metric with a value for each row, computed at a time in seconds since 1970; rows without a value are left out.
struct Metric<T>(&'static str, &'static str, fn(&T, u64) -> Option<u64>);

const OF_LOGS: [Metric<LogStatus>; 7] = [
    Metric(
        "treehead_monitor_log_verified_size",
        "Entries that were re-hashed, or skipped at the start.",
        |log, _| Some(log.cursor.get()),
    ),
    Metric(
        "treehead_monitor_log_signed_size",
        "Entries under the newest head that the log showed.",
        |log, _| Some(log.target.get()),
    ),
    Metric("treehead_monitor_log_answered_age_seconds", "Seconds since the log answered.", |log, now| {
        Some(now.saturating_sub(log.asked?))
    }),
    Metric(
        "treehead_monitor_log_alive_age_seconds",
        "Seconds since the log grew or was cosigned.",
        |log, now| Some(now.saturating_sub(log.alive)),
    ),
    Metric(
        "treehead_monitor_log_fault",
        "Whether the log could not be followed when it was last asked.",
        |log, _| Some(log.fault.is_some().into()),
    ),
    Metric(
        "treehead_monitor_entries_total",
        "Entries that were fetched and re-hashed since the start.",
        |log, _| Some(log.entries),
    ),
    Metric("treehead_monitor_forks_total", "Forks that were proven since the start.", |log, _| {
        Some(log.forks)
    }),
];

const OF_SINKS: [Metric<SinkFigures>; 4] = [
    Metric("treehead_monitor_sink_undelivered", "Events that wait for a sink.", |sink, _| {
        Some(sink.undelivered as u64)
    }),
    Metric("treehead_monitor_sink_oldest_age_seconds", "Age of the oldest event that waits.", |sink, now| {
        Some(sink.oldest.map_or(0, |oldest| now.saturating_sub(oldest)))
    }),
    Metric("treehead_monitor_sink_delivered_total", "Events that a sink took.", |sink, _| {
        Some(sink.delivered)
    }),
    Metric("treehead_monitor_sink_failures_total", "Tries to deliver that failed.", |sink, _| {
        Some(sink.failures)
    }),
];

/// The metrics at this time, seconds since 1970.
pub fn metrics_of(
    followed: &[Arc<FollowedLog>],
    figures: &Figures,
    evidence: &EvidenceDir,
    outcomes: &Outcomes,
    now: u64,
) -> Exposition {
    let mut out = Exposition::default();
    let logs: Vec<(&str, LogStatus)> = followed.iter().map(|log| (log.origin(), log.status())).collect();
    show(&mut out, &OF_LOGS, "origin", &logs.iter().map(|(origin, status)| (*origin, status)), now);
    let mut ages =
        out.gauge("treehead_monitor_witness_age_seconds", "Seconds since the last cosignature of a witness.");
    for (origin, status) in &logs {
        for (name, time) in &status.witnesses {
            ages.with(&[("origin", origin), ("witness", name)], now.saturating_sub(*time));
        }
    }
    peers(&mut out, followed);
    alerts(&mut out, followed, figures);
    let mut files = out.gauge(
        "treehead_monitor_evidence_files",
        "Files in the directory evidence, by the log that they are about.",
    );
    for log in followed {
        if let Ok(count) = evidence.count_of(&log.settings.origin) {
            files.with(&[("origin", log.origin())], count);
        }
    }
    out.gauge("treehead_monitor_outbox_bytes", "Bytes of events that wait to be delivered.")
        .is(figures.outbox_bytes);
    out.gauge("treehead_monitor_outbox_waiting", "Logs that wait until the outbox has room.")
        .is(figures.waiting);
    show(&mut out, &OF_SINKS, "sink", &figures.sinks.iter().map(|sink| (sink.name.as_str(), sink)), now);
    outcomes.show(out.counter(
        "treehead_monitor_gossip_total",
        "Heads and evidence that were pushed to /gossip and /evidence, by how that was answered.",
    ));
    out
}

fn family<'a>(out: &'a mut Exposition, name: &'static str, help: &'static str) -> Family<'a> {
    if name.ends_with("_total") { out.counter(name, help) } else { out.gauge(name, help) }
}

fn show<'a, T: 'a>(
    out: &mut Exposition,
    metrics: &[Metric<T>],
    label: &str,
    rows: &(impl Iterator<Item = (&'a str, &'a T)> + Clone),
    now: u64,
) {
    for Metric(name, help, value) in metrics {
        let mut family = family(out, name, help);
        for (row, subject) in rows.clone() {
            if let Some(value) = value(subject, now) {
                family.with(&[(label, row)], value);
            }
        }
    }
}

fn peers(out: &mut Exposition, followed: &[Arc<FollowedLog>]) {
    let of_log = |log: &'_ Arc<FollowedLog>| log.inbox.with(|inbox| inbox.sources.clone());
    let sources: Vec<(&str, String, HeadSource)> = followed
        .iter()
        .flat_map(|log| of_log(log).into_iter().map(|(name, source)| (log.origin(), name, source)))
        .collect();
    let mut sizes =
        out.gauge("treehead_monitor_peer_size", "Entries under the newest head that a peer showed.");
    for (origin, name, source) in &sources {
        if let Some(newest) = source.heads.iter().map(|seen| seen.size.get()).max() {
            sizes.with(&[("origin", origin), ("peer", name)], newest);
        }
    }
    let mut heads = out
        .gauge("treehead_monitor_peer_heads", "Heads of a peer that are remembered, by what became of them.");
    for (origin, name, source) in &sources {
        for verdict in [HeadVerdict::Pending, HeadVerdict::Consistent, HeadVerdict::Forked] {
            let count = source.heads.iter().filter(|seen| seen.verdict == verdict).count();
            heads.with(&[("origin", origin), ("peer", name), ("verdict", verdict.as_str())], count);
        }
    }
    let mut faults = out.gauge("treehead_monitor_peer_fault", "Whether a peer did not answer as it should.");
    for (origin, name, source) in &sources {
        faults.with(&[("origin", origin), ("peer", name)], source.fault.is_some());
    }
}

/// Each code has a row for each followed log: a rule about a row that is missing never fires, and nobody notices.
fn alerts(out: &mut Exposition, followed: &[Arc<FollowedLog>], figures: &Figures) {
    type Counts = BTreeMap<(Option<String>, String), u64>;
    let mut show = |name, help, is_listed: fn(Code) -> bool, counts: &Counts| {
        let codes = Code::all().filter(|code| code.severity() == Severity::Alert && is_listed(*code));
        let mut rows: BTreeMap<(&str, &str), u64> = codes
            .flat_map(|code| followed.iter().map(move |log| ((log.origin(), code.as_str()), 0)))
            .collect();
        for ((origin, code), count) in counts {
            *rows.entry((origin.as_deref().unwrap_or_default(), code)).or_default() += count;
        }
        let mut family = family(out, name, help);
        for ((origin, code), count) in rows {
            family.with(&[("origin", origin), ("code", code)], count);
        }
    };
    show(
        "treehead_monitor_open_alerts",
        "Open conditions, by log and code.",
        |code| code.span() == Span::Condition,
        &figures.open_by_log,
    );
    show(
        "treehead_monitor_alerts_total",
        "Alerts that were told since the start, by log and code.",
        |_| true,
        &figures.alerts_told,
    );
}
