//! How often each outcome of a request came up: a fixed table, so that counting needs no lock, and so that
//! what never happened is there with a zero.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use super::exposition::Family;

/// A status and the code that tells it from others of that status.
pub type Outcome = (StatusCode, &'static str);

/// A counter for each outcome of a table.
#[derive(Debug)]
pub struct Outcomes {
    table: &'static [Outcome],
    counts: Vec<AtomicU64>,
}

impl Outcomes {
    pub fn new(table: &'static [Outcome]) -> Self {
        Self { table, counts: table.iter().map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one. What is not in the table is not worth a panic; tests keep the tables whole.
    pub fn count(&self, outcome: Outcome) {
        if let Some(at) = self.table.iter().position(|known| *known == outcome) {
            self.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A sample for each.
    pub fn show(&self, mut family: Family<'_>) {
        for ((status, code), count) in self.table.iter().zip(&self.counts) {
            let labels = [("status", status.as_str()), ("code", code)];
            family.with(&labels, count.load(Ordering::Relaxed));
        }
    }
}

/// The outcomes that a table of errors can have, read from its source: each status there is followed by its
/// code.
#[cfg(test)]
pub fn outcomes_in(source: &str) -> Vec<(String, String)> {
    let table = source.split("fn table(").nth(1).and_then(|rest| rest.split("\n    }\n").next());
    let outcome = |text: &str| {
        let status = text.split(',').next().expect("a status").to_owned();
        (status, text.split('"').nth(1).expect("a code").to_owned())
    };
    table.expect("a table").split("StatusCode::").skip(1).map(outcome).collect()
}

/// Checks that a table has all outcomes of that source but for these codes, each once.
#[cfg(test)]
pub fn assert_whole(table: &[Outcome], source: &str, but: &[&str]) {
    let name = |status: StatusCode| {
        status.canonical_reason().expect("a known status").to_uppercase().replace(' ', "_")
    };
    let mut listed: Vec<_> = table.iter().map(|(status, code)| (name(*status), (*code).to_owned())).collect();
    let mut expected = outcomes_in(source);
    expected.retain(|(_, code)| !but.contains(&code.as_str()));
    listed.sort();
    expected.sort();
    expected.dedup();
    assert!(expected.len() >= 10, "the table was found: {expected:?}");
    assert_eq!(listed, expected);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exposition::Exposition;

    #[test]
    fn each_outcome_is_counted_and_the_others_are_zero() {
        static TABLE: [Outcome; 2] = [(StatusCode::OK, "ok"), (StatusCode::CONFLICT, "conflict")];
        let outcomes = Outcomes::new(&TABLE);
        for outcome in [(StatusCode::OK, "ok"), (StatusCode::OK, "ok"), (StatusCode::OK, "conflict")] {
            outcomes.count(outcome);
        }
        let mut figures = Exposition::default();
        outcomes.show(figures.counter("a_total", "A."));
        assert!(figures.text().ends_with(
            "\na_total{status=\"200\",code=\"ok\"} 2\na_total{status=\"409\",code=\"conflict\"} 0\n"
        ));
    }
}
