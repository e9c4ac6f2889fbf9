//! Latencies of a run, counted in fixed memory by an HDR histogram.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Significant decimal digits of a quantile: a bucket is less than 1 % as wide as the values in it.
const DIGITS: u8 = 2;

/// Counts of latencies from 0 to 2^64 - 1 ns (584 years), in some 60 KiB however many are recorded.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    /// The longest latency in nanoseconds; the counts know only its bucket.
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = hdrhistogram::Histogram::new_with_bounds(1, u64::MAX, DIGITS).expect("valid bounds");
        Self { counts, max: 0 }
    }
}

impl Histogram {
    /// Counts a latency; one over 584 years counts as 584 years.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts.saturating_record(nanos);
        self.max = self.max.max(nanos);
    }

    /// Number of latencies recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The latency that `per_mille` of 1,000 recorded ones do not exceed; zero if none were recorded. At most
    /// 1 % above the exact value, and never below it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rank below 2^52 is exact")]
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let count = self.count();
        if count == 0 {
            return Duration::ZERO;
        }
        let product = u128::from(count) * u128::from(per_mille.min(1_000));
        let rank = u64::try_from(product.div_ceil(1_000).max(1)).expect("at most the count");
        // Half a rank below, so that rounding cannot select the next one.
        let quantile = (rank as f64 - 0.5) / count as f64;
        Duration::from_nanos(self.counts.value_at_quantile(quantile).min(self.max))
    }

    /// The usual quantiles.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies {
            count: self.count(),
            p50: self.quantile(500),
            p90: self.quantile(900),
            p99: self.quantile(990),
            p999: self.quantile(999),
            max: Duration::from_nanos(self.max),
        }
    }
}

/// Quantiles of a [`Histogram`], each at most 1 % above the exact value; as JSON in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Latencies {
    /// Latencies recorded.
    pub count: u64,
    /// Half are at most this.
    #[serde(rename = "p50_ms", serialize_with = "milliseconds")]
    pub p50: Duration,
    /// 90 % are at most this.
    #[serde(rename = "p90_ms", serialize_with = "milliseconds")]
    pub p90: Duration,
    /// 99 % are at most this.
    #[serde(rename = "p99_ms", serialize_with = "milliseconds")]
    pub p99: Duration,
    /// 99.9 % are at most this.
    #[serde(rename = "p999_ms", serialize_with = "milliseconds")]
    pub p999: Duration,
    /// The longest, exactly.
    #[serde(rename = "max_ms", serialize_with = "milliseconds")]
    pub max: Duration,
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|nanos| histogram.record(Duration::from_nanos(*nanos)));
        histogram
    }

    #[test]
    fn nothing_recorded_is_zero_and_one_is_itself() {
        assert_eq!(of(&[]).latencies(), Latencies::default());
        let one = Duration::from_nanos(12_345_678);
        let same = Latencies { count: 1, p50: one, p90: one, p99: one, p999: one, max: one };
        assert_eq!(of(&[12_345_678]).latencies(), same, "no quantile is above the largest value");
        assert_eq!(
            Histogram::default().counts.distinct_values() * 8,
            59_392,
            "bytes, as the documentation says"
        );
    }

    #[test]
    fn as_json_it_is_in_milliseconds() {
        let json = serde_json::to_value(of(&[1_500_000]).latencies()).unwrap();
        assert_eq!(json["p999_ms"], 1.5);
        assert_eq!(json["count"], 1);
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            values in prop::collection::vec(prop_oneof![0..300_u64, 0..10_000_000_000_u64, any::<u64>()], 1..400),
            per_mille in 0..=1_000_u64,
        ) {
            let seen = of(&values).quantile(per_mille).as_nanos();
            let mut sorted = values;
            sorted.sort_unstable();
            let rank = (sorted.len() as u64 * per_mille).div_ceil(1_000).max(1);
            let exact = u128::from(sorted[usize::try_from(rank - 1).unwrap()]);
            prop_assert!(seen >= exact && (seen - exact) * 100 <= exact, "exact {exact}, seen {seen}");
        }
    }
}
