//! Latencies in fixed memory: a log-linear histogram.
//!
//! ```text
//! bucket   0..64     one nanosecond each
//! bucket  64..128    one nanosecond each     values  64..128
//! bucket 128..192    two nanoseconds each    values 128..256
//! ...                64 buckets for each doubling, up to 2^64 ns
//! ```
//!
//! A bucket is at most 1/64 as wide as the least value in it, and a quantile is told as the largest
//! value of its bucket: it is never below the exact one, and at most 1.6 % above it.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// log2 of the buckets for each doubling.
const SUB_BITS: u32 = 6;
/// Buckets for each doubling.
const SUB: usize = 1 << SUB_BITS;
/// Buckets in all: the values below 64, and 58 doublings above.
const BUCKETS: usize = (u64::BITS - SUB_BITS + 1) as usize * SUB;

/// Counts of latencies, 30 KiB whatever is recorded.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a latency.
    pub fn record(&mut self, latency: Duration) {
        // 584 years, for what would not fit.
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Latencies recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The latency that `per_mille` of 1,000 recorded ones do not exceed; zero where there are none.
    /// At most 1.6 % above the exact one, and never below it.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let product = u128::from(self.count) * u128::from(per_mille.min(1_000));
        let rank = product.div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return Duration::from_nanos(last_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// The usual quantiles.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies {
            count: self.count,
            p50: self.quantile(500),
            p90: self.quantile(900),
            p99: self.quantile(990),
            p999: self.quantile(999),
            max: Duration::from_nanos(self.max),
        }
    }
}

/// Quantiles of a [`Histogram`]; as JSON in milliseconds.
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

fn bucket_of(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let within = usize::try_from(value >> doublings).expect("below 128");
    doublings as usize * SUB + within
}

/// The largest value of a bucket.
const fn last_of(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    let doublings = bucket / SUB - 1;
    let first = (bucket - doublings * SUB) as u64;
    (first << doublings) + ((1 << doublings) - 1)
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
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            let last = last_of(bucket);
            assert_eq!((bucket_of(last), bucket_of(last + 1)), (bucket, bucket + 1), "{last}");
        }
        assert_eq!(last_of(BUCKETS - 1), u64::MAX);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_recorded_is_zero_and_one_is_itself() {
        assert_eq!(of(&[]).latencies(), Latencies::default());
        let one = Duration::from_nanos(12_345_678);
        let same = Latencies { count: 1, p50: one, p90: one, p99: one, p999: one, max: one };
        assert_eq!(of(&[12_345_678]).latencies(), same, "no quantile is above the largest value");
        assert_eq!(Histogram::default().buckets.len() * 8, 30_208, "bytes, as the documentation says");
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
            prop_assert!(seen >= exact && (seen - exact) * 64 <= exact, "exact {exact}, seen {seen}");
        }
    }
}
