//! `GET /metrics`: the monitor's metrics for Prometheus. docs/monitor.md lists them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delivery::Figures;
use super::event::{Code, Severity, Span};
use super::inbox::{HeadSource, HeadVerdict};
use super::log::{FollowedLog, LogProgress};
use crate::disk::evidence_dir::EvidenceDir;
use crate::http::exposition::Exposition;
use crate::http::outcomes::Outcomes;

/// The metrics at this time, seconds since 1970.
pub fn metrics_of(
    followed: &[Arc<FollowedLog>],
    figures: &Figures,
    evidence: &EvidenceDir,
    outcomes: &Outcomes,
    now: u64,
) -> Exposition {
    let known: Vec<(&str, LogProgress, BTreeMap<String, HeadSource>)> =
        followed.iter().map(|log| (log.origin(), log.progress(), log.inbox.sources())).collect();
    let mut out = Exposition::default();
    logs(&mut out, &known, now);
    peers(&mut out, &known);
    alerts(&mut out, followed, figures);
    evidence_files(&mut out, followed, evidence);
    sinks(&mut out, figures, now);
    outcomes.show(out.counter(
        "treehead_monitor_gossip_total",
        "Heads and evidence that were pushed to /gossip and /evidence, by how that was answered.",
    ));
    out
}

fn logs(out: &mut Exposition, known: &[(&str, LogProgress, BTreeMap<String, HeadSource>)], now: u64) {
    let mut show = |name, help, value: &dyn Fn(&LogProgress) -> Option<u64>| {
        let mut family = out.gauge(name, help);
        for (origin, progress, _) in known {
            if let Some(value) = value(progress) {
                family.with(&[("origin", origin)], value);
            }
        }
    };
    show(
        "treehead_monitor_log_verified_size",
        "Entries that were re-hashed, or skipped at the start.",
        &|p| Some(p.cursor.get()),
    );
    show("treehead_monitor_log_signed_size", "Entries under the newest head that the log showed.", &|p| {
        Some(p.target.get())
    });
    show("treehead_monitor_log_answered_age_seconds", "Seconds since the log answered.", &|p| {
        Some(now.saturating_sub(p.asked?))
    });
    show("treehead_monitor_log_alive_age_seconds", "Seconds since the log grew or was cosigned.", &|p| {
        Some(now.saturating_sub(p.alive))
    });
    show(
        "treehead_monitor_log_fault",
        "Whether the log could not be followed when it was last asked.",
        &|p| Some(p.fault.is_some().into()),
    );
    let mut entries = out.counter(
        "treehead_monitor_entries_total",
        "Entries that were fetched and re-hashed since the start.",
    );
    known.iter().for_each(|(origin, progress, _)| entries.with(&[("origin", origin)], progress.entries));
    let mut forks = out.counter("treehead_monitor_forks_total", "Forks that were proven since the start.");
    known.iter().for_each(|(origin, progress, _)| forks.with(&[("origin", origin)], progress.forks));
    let mut witnesses =
        out.gauge("treehead_monitor_witness_age_seconds", "Seconds since the last cosignature of a witness.");
    for (origin, progress, _) in known {
        for (name, time) in &progress.witnesses {
            witnesses.with(&[("origin", origin), ("witness", name)], now.saturating_sub(*time));
        }
    }
}

fn peers(out: &mut Exposition, known: &[(&str, LogProgress, BTreeMap<String, HeadSource>)]) {
    let mut sizes =
        out.gauge("treehead_monitor_peer_size", "Entries under the newest head that a peer showed.");
    for (origin, _, sources) in known {
        for (name, source) in sources {
            if let Some(newest) = source.heads.iter().map(|seen| seen.size.get()).max() {
                sizes.with(&[("origin", origin), ("peer", name)], newest);
            }
        }
    }
    let mut heads = out
        .gauge("treehead_monitor_peer_heads", "Heads of a peer that are remembered, by what became of them.");
    for (origin, _, sources) in known {
        for (name, source) in sources {
            for verdict in [HeadVerdict::Pending, HeadVerdict::Consistent, HeadVerdict::Forked] {
                let count = source.heads.iter().filter(|seen| seen.verdict == verdict).count();
                let labels = [("origin", *origin), ("peer", name.as_str()), ("verdict", verdict.as_str())];
                heads.with(&labels, count);
            }
        }
    }
    let mut faults = out.gauge("treehead_monitor_peer_fault", "Whether a peer did not answer as it should.");
    for (origin, _, sources) in known {
        for (name, source) in sources {
            faults.with(&[("origin", origin), ("peer", name)], source.fault.is_some());
        }
    }
}

/// Each code has a row for each followed log: a rule about a row that is missing never fires, and nobody notices.
fn alerts(out: &mut Exposition, followed: &[Arc<FollowedLog>], figures: &Figures) {
    let zeros = |is_listed: fn(Code) -> bool| {
        let codes = Code::all().filter(move |code| code.severity() == Severity::Alert && is_listed(*code));
        codes.flat_map(|code| followed.iter().map(move |log| ((log.origin(), code.as_str()), 0_u64)))
    };
    let mut open: BTreeMap<_, u64> = zeros(|code| code.span() == Span::Condition).collect();
    for ((origin, code), count) in &figures.open_by_log {
        *open.entry((origin.as_deref().unwrap_or_default(), code)).or_default() += *count as u64;
    }
    let mut told: BTreeMap<_, u64> = zeros(|_| true).collect();
    for ((origin, code), count) in &figures.alerts_told {
        *told.entry((origin.as_deref().unwrap_or_default(), code)).or_default() += count;
    }
    let mut family = out.gauge("treehead_monitor_open_alerts", "Open conditions, by log and code.");
    open.iter()
        .for_each(|((origin, code), count)| family.with(&[("origin", origin), ("code", code)], *count));
    let mut family = out
        .counter("treehead_monitor_alerts_total", "Alerts that were told since the start, by log and code.");
    told.iter()
        .for_each(|((origin, code), count)| family.with(&[("origin", origin), ("code", code)], *count));
}

fn evidence_files(out: &mut Exposition, followed: &[Arc<FollowedLog>], evidence: &EvidenceDir) {
    let mut files = out.gauge(
        "treehead_monitor_evidence_files",
        "Files in the directory evidence, by the log that they are about.",
    );
    for log in followed {
        if let Ok(count) = evidence.count_of(&log.settings.origin) {
            files.with(&[("origin", log.origin())], count);
        }
    }
}

fn sinks(out: &mut Exposition, figures: &Figures, now: u64) {
    out.gauge("treehead_monitor_outbox_bytes", "Bytes of events that wait to be delivered.")
        .is(figures.outbox_bytes);
    out.gauge("treehead_monitor_outbox_waiting", "Logs that wait until the outbox has room.")
        .is(figures.waiting);
    let mut undelivered = out.gauge("treehead_monitor_sink_undelivered", "Events that wait for a sink.");
    figures.sinks.iter().for_each(|sink| undelivered.with(&[("sink", &sink.name)], sink.undelivered));
    let mut age =
        out.gauge("treehead_monitor_sink_oldest_age_seconds", "Age of the oldest event that waits.");
    for sink in &figures.sinks {
        age.with(&[("sink", &sink.name)], sink.oldest.map_or(0, |oldest| now.saturating_sub(oldest)));
    }
    let mut delivered = out.counter("treehead_monitor_sink_delivered_total", "Events that a sink took.");
    figures.sinks.iter().for_each(|sink| delivered.with(&[("sink", &sink.name)], sink.delivered));
    let mut failures = out.counter("treehead_monitor_sink_failures_total", "Tries to deliver that failed.");
    figures.sinks.iter().for_each(|sink| failures.with(&[("sink", &sink.name)], sink.failures));
}
