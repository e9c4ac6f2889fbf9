//! Counts the outcomes of requests, for `/metrics`: in a fixed table, so that counting needs no lock, and
//! outcomes that never happened are shown with a zero.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use super::exposition::Family;

/// A status, and the code that tells the outcome from others with that status.
pub type Outcome = (StatusCode, &'static str);

/// A counter for each outcome that a route may have.
#[derive(Debug)]
pub struct Outcomes(Vec<(Outcome, AtomicU64)>);

impl Outcomes {
    /// A counter for each outcome in `tables`, in the order of their statuses.
    pub fn new(tables: &[&[Outcome]]) -> Self {
        let mut all = tables.concat();
        all.sort_unstable();
        all.dedup();
        Self(all.into_iter().map(|outcome| (outcome, AtomicU64::new(0))).collect())
    }

    /// Counts one outcome; one that has no counter is not counted.
    pub fn count(&self, outcome: Outcome) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds a sample for each outcome.
    pub fn show(&self, mut family: Family<'_>) {
        for ((status, code), count) in &self.0 {
            let labels = [("status", status.as_str()), ("code", code)];
            family.with(&labels, count.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exposition::Exposition;

    #[test]
    fn each_outcome_is_counted_and_the_others_are_zero() {
        let conflict = (StatusCode::CONFLICT, "conflict");
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "too-large");
        let outcomes = Outcomes::new(&[&[conflict, (StatusCode::OK, "ok")], &[too_large, conflict]]);
        for outcome in [(StatusCode::OK, "ok"), (StatusCode::OK, "ok"), (StatusCode::OK, "conflict")] {
            outcomes.count(outcome);
        }
        let mut figures = Exposition::default();
        outcomes.show(figures.counter("a_total", "A."));
        let samples: Vec<&str> = figures.text().lines().skip(2).collect();
        assert_eq!(samples.len(), 3, "each once: {samples:?}");
        assert_eq!(samples[0], "a_total{status=\"200\",code=\"ok\"} 2");
        assert!(samples.contains(&"a_total{status=\"409\",code=\"conflict\"} 0"));
        assert!(samples.contains(&"a_total{status=\"413\",code=\"too-large\"} 0"), "of the second table");
    }
}
