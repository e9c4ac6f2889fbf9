//! What the answers of all witnesses together suggest about the log itself: that it may have been rolled back, or
//! that its machine's clock is wrong. Pure.

use crate::endpoint::FUTURE_ALLOWANCE_SECONDS;
use crate::merkle::TreeSize;

/// The last answer of a witness that may be this log's fault as well as its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    /// It says that it has cosigned this tree size, which is more than this log has, and proves nothing.
    pub ahead: Option<TreeSize>,
    /// Its clock less this machine's, in seconds, at its last cosignature.
    pub skew: Option<i64>,
}

impl Said {
    /// Whether its clock and this machine's differ by more than endpoints tolerate.
    pub fn is_off(&self) -> bool {
        self.skew.is_some_and(|skew| skew.unsigned_abs() > FUTURE_ALLOWANCE_SECONDS)
    }
}

/// Its clock at `time` minus this machine's at `now`. `None` for time zero, which no clock shows.
pub fn skew(time: u64, now: u64) -> Option<i64> {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    (time != 0).then(|| signed(time).saturating_sub(signed(now)))
}

/// By how many seconds this machine's clock is wrong, if at least two witnesses reported the time, and all that
/// did agree with each other but not with this machine. A single one may be wrong itself.
pub fn own_clock_is_off(said: impl Iterator<Item = Said>) -> Option<i64> {
    let told: Vec<Said> = said.filter(|said| said.skew.is_some()).collect();
    let skews: Vec<i64> = told.iter().filter_map(|said| said.skew).collect();
    let (least, most) = (*skews.iter().min()?, *skews.iter().max()?);
    let agree = most.abs_diff(least) <= FUTURE_ALLOWANCE_SECONDS;
    (told.len() >= 2 && agree && told.iter().all(Said::is_off)).then_some(least.saturating_neg())
}

/// The sentence for a log whose own clock is wrong.
pub fn clock_in_words(off: i64) -> String {
    let direction = if off < 0 { "behind" } else { "ahead" };
    format!(
        "this machine's clock is wrong: all witnesses that answered agree that it is {} s {direction}. \
         Set it, and keep it set (NTP); until then no cosignature counts, and nothing new is published",
        off.unsigned_abs()
    )
}

/// The sentence for a log that may have been rolled back: who says that they have cosigned which size, and
/// what this copy has.
pub fn rollback_in_words(claims: &[(&str, TreeSize)], ours: TreeSize, signs: bool) -> String {
    let who: Vec<String> = claims.iter().map(|(name, size)| format!("{name} (tree size {size})")).collect();
    let largest = claims.iter().map(|(_, size)| *size).max().unwrap_or_default();
    let meanwhile = if signs { "" } else { " Meanwhile it signs nothing." };
    format!(
        "this log may have been rolled back: {} answered that they have cosigned more than the {ours} entries \
         that this copy has. They show no tree head that the log signed, so nothing is proven, and they may be \
         wrong.{meanwhile} If an older copy was restored, stop the log and run `treehead repair DIR --from \
         SOURCE`, where SOURCE is a newer backup, an export, or the address of a mirror that has tree size \
         {largest} or more",
        who.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn off(skews: &[Option<i64>]) -> Option<i64> {
        own_clock_is_off(skews.iter().map(|skew| Said { skew: *skew, ..Said::default() }))
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
