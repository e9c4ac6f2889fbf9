//! Which sequence number a release gets: the one that is given, the next one, or the time.
//!
//! A signed statement can't be taken back, and the log that reports the highest number may lie: a number near
//! the maximum would close the channel for ever. So the highest number only counts if the log shows its
//! release, signed with this very key.

use std::cmp::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::sign;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::client::{Appended, ClientError, HighestSequence, LogClient, RemoteTiles, Wait, Warning};
use crate::clock;
use crate::merkle::{LeafIndex, TILE_WIDTH, Tile, TileId};
use crate::release::{Envelope, PublisherSigner, Release, Timestamp, format_time};

/// How often others may take the number first before the command gives up.
const MAX_TRIES: usize = 16;
/// Between two looks at whether a leaf is published.
const PAUSE: Duration = Duration::from_millis(200);

/// `--sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// This one.
    Number(u64),
    /// One more than the highest.
    Auto,
    /// The time in UTC, as in 20261128103001.
    Time,
}

/// Reads a number, `auto` or `time`.
pub fn parse(text: &str) -> Result<Sequence, String> {
    match text {
        "auto" => Ok(Sequence::Auto),
        "time" => Ok(Sequence::Time),
        number => {
            number.parse().map(Sequence::Number).map_err(|_| "expected a number, auto or time".to_owned())
        }
    }
}

/// The release with the highest number of its publisher, package and channel.
pub struct Latest {
    pub number: u64,
    pub index: LeafIndex,
    /// What it states, where this key signed that.
    own: Option<Release>,
}

impl Latest {
    /// Whether it is this very release, but for the number: the command was run before.
    fn is(&self, release: &Release) -> bool {
        let numbered = Release { sequence: self.number, ..release.clone() };
        self.own.as_ref().is_some_and(|own| own.content() == numbered.content())
    }

    /// What is odd about a release that follows this one.
    pub fn objection(&self, release: &Release) -> Option<Warning> {
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
        Some(Warning { code: code.to_owned(), detail })
    }

    fn of_another_key(&self) -> Failure {
        let Self { number, index, .. } = self;
        Failure::CouldNotTell(format!(
            "the highest sequence number is {number}, says the log, but leaf {index} is no release of this package and channel with that number that this key signed: expected one, since nobody can take back a number that the log made up; nothing was sent: give the number yourself, as in --sequence {}",
            number.saturating_add(1)
        ))
    }
}

/// Signs the release under its number, and appends it. If somebody else takes the number first, tries the next
/// one. Also returns the entry.
pub fn append(
    log: &Connection,
    sequence: Sequence,
    release: &mut Release,
    signer: &PublisherSigner,
    wait: Wait,
) -> Result<(Vec<u8>, Appended), Failure> {
    for _ in 0..MAX_TRIES {
        release.sequence = match sequence {
            Sequence::Number(number) => number,
            _ => choose(sequence, latest(log, release, signer)?.as_ref(), release)?,
        };
        let entry = sign(release, signer)?;
        match log.ask(waits_for(wait), |client| client.append(&entry, wait)) {
            Err(error) if is_taken(&error) && !matches!(sequence, Sequence::Number(_)) => {}
            answer => return answer.map(|appended| (entry, appended)).map_err(Failure::append),
        }
    }
    Err(Failure::CouldNotTell(format!(
        "others took {MAX_TRIES} sequence numbers of {} in channel {} before this release could; nothing was appended: run the command again",
        release.purl.package(),
        release.channel
    )))
}

const fn waits_for(wait: Wait) -> &'static str {
    match wait {
        Wait::Sequenced => "append the release",
        Wait::Published => "publish the release",
        Wait::Witnessed => "publish the release with its witnesses' cosignatures",
    }
}

fn is_taken(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { code: Some(code), .. } if code == "sequence-taken")
}

/// The number of a release after the latest one; the latest one's where that is this release.
pub fn choose(sequence: Sequence, latest: Option<&Latest>, release: &Release) -> Result<u64, Failure> {
    match (sequence, latest) {
        (Sequence::Number(number), _) => Ok(number),
        (_, Some(latest)) if latest.is(release) => Ok(latest.number),
        (Sequence::Auto, None) => Ok(1),
        (Sequence::Auto, Some(latest)) if latest.own.is_none() => Err(latest.of_another_key()),
        (Sequence::Auto, Some(latest)) => Ok(latest.number.saturating_add(1)),
        (Sequence::Time, latest) => at_the_time(latest.map(|latest| latest.number)),
    }
}

fn at_the_time(highest: Option<u64>) -> Result<u64, Failure> {
    let mut now = time_as_number(clock::now());
    // Somebody else was quicker within this second.
    while Some(now) == highest {
        thread::sleep(PAUSE);
        now = time_as_number(clock::now());
    }
    match highest {
        Some(highest) if highest > now => Err(Failure::Usage(format!(
            "--sequence time: expected a highest sequence number below the time, {now}, saw {highest}; nothing was sent: correct this machine's clock if it is behind, or use --sequence auto"
        ))),
        _ => Ok(now),
    }
}

/// Year, month, day, hour, minute and second in UTC, one after the other.
fn time_as_number(time: Timestamp) -> u64 {
    let text = format_time(time);
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Asks for the latest release, and what it states.
pub fn latest(
    log: &Connection,
    release: &Release,
    signer: &PublisherSigner,
) -> Result<Option<Latest>, Failure> {
    let (keyid, package) = (signer.keyid().to_hex(), release.purl.package());
    let highest = log.ask("tell the highest sequence number", |client| {
        client.highest_sequence(&keyid, &package, &release.channel)
    });
    let highest = highest.map_err(|e| match &e {
        ClientError::Status { status: 404, .. } => Failure::from(e)
            .and("so the highest sequence number is unknown: give one with --sequence N; nothing was sent"),
        _ => Failure::from(e).and("nothing was sent"),
    })?;
    let Some(HighestSequence { sequence: number, index }) = highest else { return Ok(None) };
    let entry = entry_at(log, index)?;
    let envelope = Envelope::parse_entry(&entry).ok().filter(|envelope| signer.has_signed(envelope));
    let stated = envelope.and_then(|envelope| Release::parse(envelope.payload()).ok());
    let own = stated.filter(|own| {
        (own.purl.package(), &own.channel, own.sequence) == (package, &release.channel, number)
    });
    Ok(Some(Latest { number, index, own }))
}

/// The entry at an index, as soon as it is published. It is untrusted until its signature is checked.
fn entry_at(log: &Connection, index: LeafIndex) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + log.timeout();
    loop {
        let entry = log.ask("show the latest release", |client| published(client, index))?;
        match entry {
            Some(entry) => return Ok(entry),
            None if Instant::now() >= deadline => {
                return Err(Failure::CouldNotTell(format!(
                    "the latest release, leaf {index}, was not published within {} s; nothing was sent: run the command again",
                    log.timeout().as_secs()
                )));
            }
            None => thread::sleep(PAUSE),
        }
    }
}

fn published(client: &LogClient, index: LeafIndex) -> Result<Option<Vec<u8>>, ClientError> {
    let size = client.unverified_checkpoint()?.size;
    let place = usize::try_from(index.get() % TILE_WIDTH).expect("below 256");
    let bundle = Tile::in_tree(TileId::Entries { index: index.get() / TILE_WIDTH }, size);
    let bundle = bundle.filter(|bundle| bundle.width() > place);
    bundle.map(|bundle| Ok(RemoteTiles(client).entries(bundle)?.swap_remove(place))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::sample_release;

    fn latest(number: u64, own: Option<Release>) -> Latest {
        Latest { number, index: LeafIndex::new(7).unwrap(), own }
    }

    #[test]
    fn numbers_are_read_and_words_for_them() {
        assert_eq!(parse("42"), Ok(Sequence::Number(42)));
        assert_eq!((parse("auto"), parse("time")), (Ok(Sequence::Auto), Ok(Sequence::Time)));
        for bad in ["", "next", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(parse(bad), Err("expected a number, auto or time".to_owned()), "{bad}");
        }
    }

    #[test]
    fn the_next_number_follows_what_this_key_signed_and_nothing_else() {
        let (release, other) = (sample_release(b"x"), sample_release(b"y"));
        assert_eq!(choose(Sequence::Auto, None, &release).unwrap(), 1);
        let own = Release { sequence: 41, ..other };
        assert_eq!(choose(Sequence::Auto, Some(&latest(41, Some(own))), &release).unwrap(), 42);
        // Run again: it is there already.
        let same = Release { sequence: 41, ..release.clone() };
        for sequence in [Sequence::Auto, Sequence::Time] {
            let again = choose(sequence, Some(&latest(41, Some(same.clone()))), &release);
            assert_eq!(again.unwrap(), 41, "{sequence:?}");
        }
        // A log that makes a number up has nobody sign the one after it.
        let made_up = latest((1 << 53) - 2, None);
        let failure = choose(Sequence::Auto, Some(&made_up), &release).unwrap_err();
        assert!(failure.message().contains("that this key signed"), "{failure:?}");
        assert_eq!(choose(Sequence::Number(7), Some(&made_up), &release).unwrap(), 7);
    }

    #[test]
    fn the_time_is_a_number_that_reads_as_one_and_only_grows() {
        assert_eq!(time_as_number(1_795_861_801), 20_261_128_103_001);
        let now = time_as_number(clock::now());
        let next = at_the_time(Some(now)).unwrap();
        assert!(next > now && at_the_time(None).unwrap() >= next);
        let failure = at_the_time(Some(now + 10_000_000_000)).unwrap_err();
        assert!(failure.message().contains("use --sequence auto"), "{failure:?}");
    }
}
