//! `GET /metrics` for Prometheus. docs/http.md lists the metrics.

#[cfg(feature = "bucket")]
use std::time::Instant;

use axum::extract::State;

use super::Log;
#[cfg(feature = "bucket")]
use crate::bucket::{Counts, LATENCY_BOUNDS_MS, Operation, Requests};
use crate::http::exposition::Exposition;
use crate::sequencer::{CosignerStatus, Figures, Published, Role, Trouble};
#[cfg(feature = "bucket")]
use crate::store::bucket::LeaseState;

pub async fn metrics(State(log): State<Log>) -> Exposition {
    let (published, figures) = (log.published(), log.sequencer().figures());
    let troubles = log.sequencer().faults();
    let mut out = Exposition::default();
    let labels = [("origin", log.origin().as_str()), ("profile", log.profile().as_str())];
    out.gauge("treehead_log_info", "Always 1; the labels say which log this is.").with(&labels, 1_u64);
    tree(&mut out, &log, &published, &figures);
    submissions(&mut out, &log, &figures);
    #[cfg(feature = "bucket")]
    if let Some(objects) = log.objects() {
        requests(&mut out, objects.requests());
    }
    #[cfg(feature = "bucket")]
    if let Some(state) = log.lease() {
        lease(&mut out, &state);
    }
    let mut faults = out.gauge("treehead_log_fault", "Whether this kind of fault lasts, as in /healthz.");
    for kind in Trouble::ALL {
        faults.with(&[("kind", kind.as_str())], troubles.contains_key(&kind));
    }
    faults.with(&[("kind", "publishers")], log.publishers_fault().is_some());
    out.gauge("treehead_log_warnings", "Warnings in /healthz.").is(log.warnings().len());
    let may_sign = figures.may_sign;
    out.gauge("treehead_log_may_sign", "Whether the log takes entries and signs tree heads.").is(may_sign);
    let status = log.sequencer().cosigners().map(|cosigners| cosigners.status());
    out.gauge("treehead_log_witnesses", "Witnesses that are asked.").is(status.as_ref().map_or(0, Vec::len));
    if let Some(status) = status {
        // The published head may have reached its quorum long ago.
        let quorum = published.witnessed && may_sign && !troubles.contains_key(&Trouble::Quorum);
        out.gauge("treehead_log_quorum_reached", "Whether a quorum of witnesses cosigns in time.").is(quorum);
        heads_of_a_witnessed_log(&mut out, &published, &figures);
        witnesses(&mut out, &status);
    }
    out
}

fn tree(out: &mut Exposition, log: &Log, published: &Published, figures: &Figures) {
    let (durable, shown) = (log.reader().size().get(), published.checkpoint.size.get());
    out.gauge("treehead_log_tree_size", "Entries that are durable and in the tree.").is(durable);
    let index = log.reader().index_use();
    out.gauge("treehead_log_index_runs", "Files of the index that a look-up may have to read.")
        .is(index.runs);
    out.gauge("treehead_log_index_memory_bytes", "Memory that the index takes for these files.")
        .is(index.memory);
    out.gauge("treehead_log_signed_size", "Entries under the last tree head that was signed.")
        .is(figures.signed_size);
    out.gauge("treehead_log_published_size", "Entries under the tree head that everyone sees.").is(shown);
    out.gauge(
        "treehead_log_published_age_seconds",
        "Seconds since this process last published a tree head, or since it started.",
    )
    .is(published.at.elapsed().as_secs());
    out.gauge("treehead_log_holder", "Whether this server appends, rather than stand by for another one.")
        .is(figures.role != Role::Standby);
    out.counter("treehead_log_heads_published_total", "Tree heads that were published.")
        .is(figures.published);
}

/// Requests to the object store, by operation, as the store bills them.
#[cfg(feature = "bucket")]
fn requests(out: &mut Exposition, requests: &Requests) {
    let mut show = |name, help, figure: fn(Counts) -> u64| {
        let mut family = out.counter(name, help);
        for operation in Operation::ALL {
            family.with(&[("operation", operation.as_str())], figure(requests.of(operation)));
        }
    };
    show("treehead_store_requests_total", "Requests to the object store, including retries.", |c| c.requests);
    show("treehead_store_errors_total", "Requests that failed.", |c| c.errors);
    show("treehead_store_unclear_total", "Failed writes that may have taken effect.", |c| c.unclear);
    show("treehead_store_sent_bytes_total", "Bytes of the bodies sent.", |c| c.sent);
    show("treehead_store_received_bytes_total", "Bytes of the bodies received.", |c| c.received);
    show("treehead_store_milliseconds_total", "Time until the answers were complete.", |c| {
        u64::try_from(c.time.as_millis()).unwrap_or(u64::MAX)
    });
    let mut classes = out.counter(
        "treehead_store_requests_within_total",
        "Requests that took at most `ms` milliseconds, including those of all smaller bounds.",
    );
    for operation in Operation::ALL {
        let mut within = 0;
        for (at, count) in requests.of(operation).classes.into_iter().enumerate() {
            within += count;
            let bound = LATENCY_BOUNDS_MS.get(at).map_or("+Inf".to_owned(), u64::to_string);
            classes.with(&[("operation", operation.as_str()), ("ms", &bound)], within);
        }
    }
}

/// The lease, by this server's own clock.
#[cfg(feature = "bucket")]
fn lease(out: &mut Exposition, state: &LeaseState) {
    let left = state.held_until.map(|until| until.saturating_duration_since(Instant::now()).as_millis());
    out.gauge(
        "treehead_lease_left_milliseconds",
        "Time until this server's lease expires unless renewed; 0 if it does not hold the lease.",
    )
    .is(left.unwrap_or_default());
    out.gauge("treehead_lease_term", "Number of the current holder, which grows by one with each takeover.")
        .is(state.term);
    out.counter("treehead_lease_errors_total", "Failed requests for the lease.").is(state.errors);
    out.gauge("treehead_lease_failing", "Whether the last request for the lease failed.")
        .is(state.error.is_some());
}

fn submissions(out: &mut Exposition, log: &Log, figures: &Figures) {
    out.gauge("treehead_log_pool_entries", "Entries that wait to be sequenced.").is(figures.waiting);
    out.gauge("treehead_log_pool_max_entries", "Entries that may wait; further ones are refused.")
        .is(figures.most_waiting);
    out.counter("treehead_log_entries_appended_total", "Entries that were appended, without duplicates.")
        .is(figures.appended);
    log.inner.refusals.show(out.counter(
        "treehead_log_submissions_refused_total",
        "Requests to /add and /add-batch that were answered with an error.",
    ));
}

fn heads_of_a_witnessed_log(out: &mut Exposition, published: &Published, figures: &Figures) {
    out.gauge("treehead_log_published_witnessed", "Whether the published tree head has its quorum.")
        .is(published.witnessed);
    out.counter(
        "treehead_log_heads_published_unwitnessed_total",
        "Tree heads that were published without a quorum of witnesses.",
    )
    .is(figures.published_unwitnessed);
}

fn witnesses(out: &mut Exposition, witnesses: &[CosignerStatus]) {
    let mut show = |name, help, value: fn(&CosignerStatus) -> Option<u64>| {
        let mut family = out.gauge(name, help);
        for witness in witnesses {
            // Two witnesses may have one name, and Prometheus rejects an answer with a sample twice.
            let labels = [("witness", witness.name.as_str()), ("url", witness.url.as_str())];
            if let Some(value) = value(witness) {
                family.with(&labels, value);
            }
        }
    };
    show("treehead_log_witness_up", "Whether the witness did as it was last asked.", |witness| {
        Some(witness.fault.is_none().into())
    });
    show("treehead_log_witness_cosigned_size", "Entries under the head that it cosigned last.", |witness| {
        witness.cosigned_size
    });
    show(
        "treehead_log_witness_cosigned_age_seconds",
        "Seconds since it cosigned for this process.",
        |witness| witness.cosigned_seconds_ago,
    );
}
