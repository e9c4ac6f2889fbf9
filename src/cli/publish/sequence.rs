//! `--sequence`: asks the log for the latest release, and appends under the chosen number.

use std::thread;
use std::time::{Duration, Instant};

use super::target::sign;
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::client::{Appended, ClientError, HighestSequence, LatestRelease, Numbering, NumberingError, Wait};
use crate::clock;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Envelope, Release};
use crate::signing::Signers;

/// Number of times that others may take the number first before the command gives up.
const MAX_TRIES: usize = 16;
/// Pause between two looks at whether a leaf is published, or another second has come.
const PAUSE: Duration = Duration::from_millis(200);

/// Signs the release under its number, and appends it. If somebody else takes the number first, tries the next
/// one. Returns the entry, too.
pub fn append(
    log: &Connection,
    numbering: Numbering,
    release: &mut Release,
    signers: &Signers,
    wait: Wait,
) -> Result<(Vec<u8>, Appended), Failure> {
    for _ in 0..MAX_TRIES {
        release.sequence = match numbering {
            Numbering::Number(number) => number,
            _ => choose(
                numbering,
                latest(log, release, &signers.keyid(), |own| signers.has_signed(own))?.as_ref(),
                release,
            )?,
        };
        let entry = sign(release, signers)?;
        match log.ask(waits_for(wait), |client| client.append(&entry, wait)) {
            Err(error) if error.is_sequence_taken() && !matches!(numbering, Numbering::Number(_)) => {}
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

/// Chooses the number of a release after the latest one. For the time, waits until a second has none.
pub fn choose(
    numbering: Numbering,
    latest: Option<&LatestRelease>,
    release: &Release,
) -> Result<u64, Failure> {
    let mut chosen = numbering.choose(latest, release, clock::now());
    while chosen == Err(NumberingError::ThisSecond) {
        thread::sleep(PAUSE);
        chosen = numbering.choose(latest, release, clock::now());
    }
    chosen.map_err(|error| match &error {
        NumberingError::AnotherKey { number, .. } => Failure::CouldNotTell(format!(
            "{error}; nothing was sent: give the number yourself, as in --sequence {}",
            number.saturating_add(1)
        )),
        _ => Failure::Usage(format!(
            "--sequence time: {error}; nothing was sent: correct this machine's clock if it is behind, or use --sequence auto"
        )),
    })
}

/// Asks for the latest release of the key's publisher, and what it states if one of the publisher's own keys signed it.
pub fn latest(
    log: &Connection,
    release: &Release,
    keyid: &Hash,
    is_own: impl FnOnce(&Envelope) -> bool,
) -> Result<Option<LatestRelease>, Failure> {
    let (keyid, package) = (keyid.to_hex(), release.purl.package());
    let highest = log.ask("tell the highest sequence number", |client| {
        client.highest_sequence(&keyid, &package, &release.channel)
    });
    let highest: Option<HighestSequence> = highest.map_err(|e| match &e {
        ClientError::Status { status: 404, .. } => Failure::from(e)
            .and("so the highest sequence number is unknown: give one with --sequence N; nothing was sent"),
        _ => Failure::from(e).and("nothing was sent"),
    })?;
    let Some(highest) = highest else { return Ok(None) };
    let entry = entry_at(log, highest.index)?;
    Ok(Some(LatestRelease::read(highest, &entry, release, is_own)))
}

/// Waits until the entry at an index is published, and fetches it. It is untrusted until its signature is checked.
fn entry_at(log: &Connection, index: LeafIndex) -> Result<Vec<u8>, Failure> {
    let deadline = Instant::now() + log.timeout();
    loop {
        match log.ask("show the latest release", |client| client.published_entry(index))? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_told_with_what_to_do() {
        let release = crate::release::tests::sample_release(b"x");
        let highest = HighestSequence { sequence: u64::MAX, index: LeafIndex::new(7).unwrap() };
        let latest = LatestRelease::read(highest, b"", &release, |_| true);
        let failure = choose(Numbering::Time, Some(&latest), &release).unwrap_err();
        assert!(failure.message().contains("use --sequence auto"), "{failure:?}");
    }
}
