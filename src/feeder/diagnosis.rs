//! Diagnosis of the log itself from the answers of all its witnesses: it may have been rolled back, or its
//! machine's clock may be wrong. Pure.

use crate::endpoint::FUTURE_ALLOWANCE_SECONDS;
use crate::merkle::TreeSize;

/// Signs in a witness's last answers that either the witness or this log is at fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Symptoms {
    /// The tree size, larger than this log's, that the witness claims to have cosigned, without proof.
    pub ahead: Option<TreeSize>,
    /// The witness's clock minus this machine's, in seconds, at its last cosignature.
    pub skew: Option<i64>,
}

impl Symptoms {
    /// Returns true if the witness's clock and this machine's differ by more than endpoints tolerate.
    pub fn clocks_differ(&self) -> bool {
        self.skew.is_some_and(|skew| skew.unsigned_abs() > FUTURE_ALLOWANCE_SECONDS)
    }
}

/// A witness's clock at `time` minus this machine's at `now`, in seconds. `None` for time zero, which no clock shows.
pub fn skew(time: u64, now: u64) -> Option<i64> {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    (time != 0).then(|| signed(time).saturating_sub(signed(now)))
}

/// The error of this machine's clock in seconds, if at least two witnesses reported the time, and all that did agree
/// with each other but not with this machine. A single witness may be wrong itself.
pub fn own_clock_error(symptoms: impl Iterator<Item = Symptoms>) -> Option<i64> {
    let timed: Vec<Symptoms> = symptoms.filter(|symptoms| symptoms.skew.is_some()).collect();
    let skews: Vec<i64> = timed.iter().filter_map(|symptoms| symptoms.skew).collect();
    let (least, most) = (*skews.iter().min()?, *skews.iter().max()?);
    let agree = most.abs_diff(least) <= FUTURE_ALLOWANCE_SECONDS;
    (timed.len() >= 2 && agree && timed.iter().all(Symptoms::clocks_differ)).then_some(least.saturating_neg())
}

/// Describes an error of this machine's clock, with advice.
pub fn describe_clock(off: i64) -> String {
    let direction = if off < 0 { "behind" } else { "ahead" };
    format!(
        "this machine's clock is wrong: all witnesses that answered agree that it is {} s {direction}. \
         Set it, and keep it set (NTP); until then no cosignature counts, and nothing new is published",
        off.unsigned_abs()
    )
}

/// Describes a possible rollback, with advice: which witnesses claim to have cosigned which tree size, and what this
/// copy has.
pub fn describe_rollback(claims: &[(&str, TreeSize)], ours: TreeSize, signs: bool) -> String {
    let who: Vec<String> = claims.iter().map(|(name, size)| format!("{name} (tree size {size})")).collect();
    let largest = claims.iter().map(|(_, size)| *size).max().unwrap_or_default();
    let meanwhile = if signs { "" } else { " Meanwhile it signs nothing." };
    format!(
        "this log may have been rolled back: {} answered that they have cosigned more than the {ours} entries \
         that this copy has. They show no tree head that the log signed, so nothing is proven, and they may be \
         wrong.{meanwhile} If an older copy was restored, stop the log, and repair it from a newer \
         backup, an export or a mirror that has tree size {largest} or more",
        who.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn off(skews: &[Option<i64>]) -> Option<i64> {
        own_clock_error(skews.iter().map(|skew| Symptoms { skew: *skew, ..Symptoms::default() }))
    }

    #[test]
    fn witnesses_that_agree_with_each_other_and_not_with_us_are_right() {
        assert_eq!(off(&[Some(DAY), Some(DAY + 2)]), Some(-DAY), "this machine is a day behind");
        assert_eq!(off(&[Some(-DAY), None, Some(5 - DAY)]), Some(DAY));
        for fine in [
            &[][..],
            &[None, None],
            // One alone may be wrong itself.
            &[Some(DAY)],
            &[Some(DAY), None],
            // Somebody agrees with this machine.
            &[Some(DAY), Some(DAY), Some(0)],
            &[Some(0), Some(1)],
            // They don't agree with each other.
            &[Some(DAY), Some(-DAY)],
            &[Some(DAY), Some(2 * DAY)],
            &[Some(i64::MIN), Some(i64::MAX)],
        ] {
            assert_eq!(off(fine), None, "{fine:?}");
        }
    }

    #[test]
    fn a_time_that_was_left_out_is_no_clock_s() {
        assert_eq!(skew(0, 1_700_000_000), None);
        assert_eq!(skew(1_700_000_007, 1_700_000_000), Some(7));
        assert_eq!(skew(1, 1_700_000_000), Some(-1_699_999_999));
        assert_eq!(skew(u64::MAX, 0), Some(i64::MAX));
    }
}
