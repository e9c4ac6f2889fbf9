//! The sequence number of a new release: the given one, the next one, or the time.
//!
//! A signed statement can't be taken back, and the log that reports the highest number may lie: a number near
//! the maximum would close the channel for ever. So the highest number only counts if the log shows its
//! release, signed with this very key.

use std::cmp::Ordering;

use super::{ClientError, HighestSequence, LogClient, ProblemCode, Remark};
use crate::merkle::LeafIndex;
use crate::release::{Envelope, Release, Timestamp, format_time};

/// The way to choose a release's sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// This number.
    Number(u64),
    /// One more than the highest.
    Next,
    /// The time in UTC, as in 20261128103001.
    Time,
}

/// A release that can't get a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberingError {
    /// The release with the highest number is not signed by this key, so the log may have made it up.
    #[error(
        "the highest sequence number is {number}, says the log, but leaf {index} is no release of this package and channel with that number that this key signed: expected one, since nobody can take back a number that the log made up"
    )]
    AnotherKey {
        /// The highest number.
        number: u64,
        /// The leaf that has it.
        index: LeafIndex,
    },
    /// The highest number is the time: the next second has another one.
    #[error("somebody else took this second's number")]
    ThisSecond,
    /// The highest number is above the time.
    #[error("expected a highest sequence number below the time, {now}, saw {highest}")]
    AfterNow {
        /// The time as a number.
        now: u64,
        /// The highest number.
        highest: u64,
    },
}

/// The release with the highest number of its publisher, package and channel.
#[derive(Debug, Clone)]
pub struct LatestRelease {
    /// Its sequence number.
    pub number: u64,
    /// Its leaf index.
    pub index: LeafIndex,
    /// Its content, if this key signed it.
    own: Option<Release>,
}

impl LatestRelease {
    /// Reads the entry with the highest number, which is untrusted until its signature is checked: `is_own` tells whether
    /// one of the publisher's own keys made one.
    #[must_use]
    pub fn read(
        highest: HighestSequence,
        entry: &[u8],
        next: &Release,
        is_own: impl FnOnce(&Envelope) -> bool,
    ) -> Self {
        let HighestSequence { sequence: number, index } = highest;
        let envelope = Envelope::parse_entry(entry).ok().filter(is_own);
        let stated = envelope.and_then(|envelope| Release::parse(envelope.payload()).ok());
        let own = stated.filter(|own| {
            (own.purl.package(), &own.channel, own.sequence) == (next.purl.package(), &next.channel, number)
        });
        Self { number, index, own }
    }

    /// Returns true if it is this release, apart from the number: the command was run before.
    fn is(&self, release: &Release) -> bool {
        let numbered = Release { sequence: self.number, ..release.clone() };
        self.own.as_ref().is_some_and(|own| own.content() == numbered.content())
    }

    /// The objection that the log or an endpoint would have to a release that follows this one.
    #[must_use]
    pub fn objection(&self, release: &Release) -> Option<Remark> {
        let (number, highest) = (release.sequence, self.number);
        let (code, detail) = match number.cmp(&highest) {
            Ordering::Greater => return None,
            Ordering::Equal if self.is(release) => (
                "duplicate",
                format!("the log has this release, as leaf {}: nothing would be added", self.index),
            ),
            Ordering::Equal => (
                "sequence-taken",
                format!("{number} is taken, by leaf {}: the log would refuse it", self.index),
            ),
            Ordering::Less => (
                "sequence-below-highest",
                format!(
                    "{number} is below {highest}, the highest: endpoints that saw that one would refuse this as a rollback"
                ),
            ),
        };
        Some(Remark { code: code.to_owned(), detail })
    }
}

impl Numbering {
    /// Chooses the number of a release after the latest one; the latest one's if that is this release.
    ///
    /// # Errors
    /// [`NumberingError`].
    pub fn choose(
        self,
        latest: Option<&LatestRelease>,
        release: &Release,
        now: Timestamp,
    ) -> Result<u64, NumberingError> {
        match (self, latest) {
            (Self::Number(number), _) => Ok(number),
            (_, Some(latest)) if latest.is(release) => Ok(latest.number),
            (Self::Next, None) => Ok(1),
            (Self::Next, Some(LatestRelease { number, index, own: None })) => {
                Err(NumberingError::AnotherKey { number: *number, index: *index })
            }
            (Self::Next, Some(latest)) => Ok(latest.number.saturating_add(1)),
            (Self::Time, latest) => {
                let now = time_as_number(now);
                match latest.map(|latest| latest.number) {
                    Some(highest) if highest == now => Err(NumberingError::ThisSecond),
                    Some(highest) if highest > now => Err(NumberingError::AfterNow { now, highest }),
                    _ => Ok(now),
                }
            }
        }
    }
}

/// Year, month, day, hour, minute and second in UTC, one after the other.
fn time_as_number(time: Timestamp) -> u64 {
    let text = format_time(time);
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

impl ClientError {
    /// Returns true if the log refused a release because its sequence number is taken.
    #[must_use]
    pub fn is_sequence_taken(&self) -> bool {
        matches!(self, Self::Status { code: Some(ProblemCode::SequenceTaken), .. })
    }
}

impl LogClient {
    /// Fetches the entry at an index; `None` while it is not published. The entry is not proven.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn published_entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, ClientError> {
        let size = self.unverified_checkpoint()?.size;
        self.entry(index, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::sample_release;

    const NOW: Timestamp = 1_795_861_801;

    fn latest(number: u64, own: Option<Release>) -> LatestRelease {
        LatestRelease { number, index: LeafIndex::new(7).unwrap(), own }
    }

    #[test]
    fn the_next_number_follows_what_this_key_signed_and_nothing_else() {
        let (release, other) = (sample_release(b"x"), sample_release(b"y"));
        assert_eq!(Numbering::Next.choose(None, &release, NOW).unwrap(), 1);
        let own = Release { sequence: 41, ..other };
        assert_eq!(Numbering::Next.choose(Some(&latest(41, Some(own))), &release, NOW).unwrap(), 42);
        // The command was run before.
        let same = Release { sequence: 41, ..release.clone() };
        for numbering in [Numbering::Next, Numbering::Time] {
            let again = numbering.choose(Some(&latest(41, Some(same.clone()))), &release, NOW);
            assert_eq!(again.unwrap(), 41, "{numbering:?}");
        }
        // The publisher signs no number after one that the log made up.
        let made_up = latest((1 << 53) - 2, None);
        let error = Numbering::Next.choose(Some(&made_up), &release, NOW).unwrap_err();
        assert!(error.to_string().contains("that this key signed"), "{error:?}");
        assert_eq!(Numbering::Number(7).choose(Some(&made_up), &release, NOW).unwrap(), 7);
    }

    #[test]
    fn the_time_is_a_number_that_reads_as_one_and_only_grows() {
        assert_eq!(time_as_number(NOW), 20_261_128_103_001);
        let choose = |highest: Option<u64>| {
            let latest = highest.map(|number| latest(number, None));
            Numbering::Time.choose(latest.as_ref(), &sample_release(b"x"), NOW)
        };
        let now = time_as_number(NOW);
        assert_eq!((choose(None), choose(Some(now - 1))), (Ok(now), Ok(now)));
        assert_eq!(choose(Some(now)), Err(NumberingError::ThisSecond));
        let highest = now + 1;
        assert_eq!(choose(Some(highest)), Err(NumberingError::AfterNow { now, highest }));
    }
}
