//! Makes entries that no log has yet: random bytes, or signed statements.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::LoadError;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::{Envelope, Release};
use crate::threads;

/// Shortest random entry in bytes: a random number for the run, and a counter.
pub const MIN_RANDOM_BYTES: usize = 16;
/// Most statements that are signed ahead: some 64 MiB.
const SIGNED_AHEAD: usize = 65_536;
/// Number of statements that a run without a rate signs ahead for each of its seconds: more than a log that checks them
/// on two cores accepts.
const SIGNED_AHEAD_PER_SECOND: u64 = 32_768;

/// The entries of a run.
#[derive(Clone)]
pub enum Entries {
    /// Unique random bytes, this many each; at least [`MIN_RANDOM_BYTES`].
    Random(usize),
    /// Statements like this one, each with an artifact and a sequence number of its own.
    ///
    /// Sequence numbers begin at the microseconds since 1970: a later run begins above an earlier
    /// one of less than a million statements a second. Two runs at once need two channels.
    ///
    /// Signing costs more than sending. So up to 65,536 statements are signed on all cores before the clock starts. Only
    /// if a run may need more, one thread goes on signing, on a core that the log may need. The run counts the entries
    /// for which it had to wait.
    Signed(Arc<Statement>),
}

/// A statement, and the keys that sign it.
pub struct Statement {
    /// Signs a payload with the publisher's keys.
    pub sign: Box<dyn Fn(Vec<u8>) -> Result<Envelope, FormatError> + Send + Sync>,
    /// The release. Each entry has other digests and another sequence number.
    pub release: Release,
}

/// Hands out the entries of one run.
pub enum Source {
    Random { size: usize, run: u64, made: Cell<u64> },
    Signed { signed: Mutex<Receiver<Bytes>>, signing: Signing, waits: Cell<u64> },
}

impl Source {
    /// Signs statements ahead, up to as many as a run of `duration` at `rate` needs.
    pub fn prepare(entries: &Entries, rate: Option<u32>, duration: Duration) -> Result<Self, LoadError> {
        match entries {
            Entries::Random(size) => Ok(Self::Random { size: *size, run: random()?, made: Cell::new(0) }),
            Entries::Signed(statement) => {
                let per_second = rate.map_or(SIGNED_AHEAD_PER_SECOND, u64::from);
                let needed = per_second.saturating_mul(duration.as_secs() + 1);
                let ahead = usize::try_from(needed).map_or(SIGNED_AHEAD, |needed| needed.min(SIGNED_AHEAD));
                // With all entries signed before the clock starts, nobody signs while it runs.
                let until = (rate.is_some() || needed <= ahead as u64).then_some(needed);
                let signing = Signing::new(statement.clone(), until);
                let signed = Mutex::new(sign_ahead(&signing, ahead)?);
                Ok(Self::Signed { signed, signing, waits: Cell::new(0) })
            }
        }
    }

    /// The next entry.
    pub async fn next(&self) -> Bytes {
        match self {
            Self::Random { size, run, made } => {
                let count = made.replace(made.get() + 1);
                random_entry(*size, *run, count).into()
            }
            Self::Signed { signed, signing, waits } => {
                let mut signed = signed.lock().await;
                if let Ok(entry) = signed.try_recv() {
                    return entry;
                }
                waits.set(waits.get() + 1);
                match signed.recv().await {
                    Some(entry) => entry,
                    None => signing.next(),
                }
            }
        }
    }

    /// Number of entries that were not signed yet when they were due.
    pub fn waits(&self) -> u64 {
        match self {
            Self::Random { .. } => 0,
            Self::Signed { waits, .. } => waits.get(),
        }
    }
}

/// A number from the system's random source.
pub fn random() -> Result<u64, LoadError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|e| LoadError::System(format!("the system has no randomness: {e}")))?;
    Ok(u64::from_be_bytes(bytes))
}

/// `run || count || noise`: unique by its first sixteen bytes, and incompressible.
fn random_entry(size: usize, run: u64, count: u64) -> Vec<u8> {
    let mut entry = Vec::with_capacity(size + 8);
    entry.extend_from_slice(&run.to_be_bytes());
    entry.extend_from_slice(&count.to_be_bytes());
    let mut noise = Noise(run ^ count);
    while entry.len() < size {
        entry.extend_from_slice(&noise.next().to_be_bytes());
    }
    entry.truncate(size);
    entry
}

/// The generator `SplitMix64`: a nanosecond for eight bytes, good enough for values that only have to differ.
#[derive(Debug)]
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Signs statements with consecutive sequence numbers.
#[derive(Clone)]
pub struct Signing {
    statement: Arc<Statement>,
    sequence: Arc<AtomicU64>,
    /// The sequence number at which signing ahead ends.
    until: u64,
}

impl Signing {
    fn new(statement: Arc<Statement>, needed: Option<u64>) -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let first = u64::try_from(micros).expect("microseconds fit for 500,000 years");
        let until = needed.map_or(u64::MAX, |needed| first.saturating_add(needed));
        Self { statement, sequence: Arc::new(first.into()), until }
    }

    fn next(&self) -> Bytes {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        sign(&self.statement, sequence).expect("one like it was signed before")
    }

    /// Signs until the queue is closed or nothing more is needed. All threads but the `first` end when the queue is
    /// full.
    fn fill(&self, queue: &Sender<Bytes>, first: bool) {
        while (first || queue.capacity() > 0) && self.sequence.load(Ordering::Relaxed) < self.until {
            if queue.blocking_send(self.next()).is_err() {
                break;
            }
        }
    }
}

/// Signs `ahead` statements on all cores; then one thread goes on as the queue empties.
fn sign_ahead(signing: &Signing, ahead: usize) -> Result<Receiver<Bytes>, LoadError> {
    // Fails on a malformed statement before any thread starts.
    sign(&signing.statement, signing.sequence.load(Ordering::Relaxed))?;
    let (queue, signed) = channel(ahead);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    for first in (0..cores).map(|core| core == 0) {
        let (signing, queue) = (signing.clone(), queue.clone());
        let started = threads::start("sign", move || signing.fill(&queue, first));
        // Fewer are slower.
        if let Err(error) = started
            && first
        {
            return Err(LoadError::System(error.to_string()));
        }
    }
    drop(queue);
    while signed.len() < ahead {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(signed)
}

fn sign(statement: &Statement, sequence: u64) -> Result<Bytes, FormatError> {
    let mut release = statement.release.clone();
    release.sequence = sequence;
    for subject in &mut release.subjects {
        subject.sha256 = Hash::digest(format!("{} {sequence}", subject.name).as_bytes());
    }
    Ok((statement.sign)(release.to_payload()?)?.to_entry().into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::release::{Kind, PublisherSigner, Purl, Subject};

    #[test]
    fn random_entries_are_as_long_as_asked_and_all_different() {
        for size in [MIN_RANDOM_BYTES, 17, 1_024, 65_535] {
            let entries: HashSet<Vec<u8>> = (0..50).map(|count| random_entry(size, 7, count)).collect();
            assert_eq!(entries.len(), 50);
            assert!(entries.iter().all(|entry| entry.len() == size));
        }
        assert_ne!(random_entry(16, 7, 0), random_entry(16, 8, 0), "another run, other entries");
    }

    #[tokio::test]
    async fn statements_are_signed_ahead_and_further_ones_on_demand() {
        let release = Release {
            subjects: vec![Subject { name: "load.bin".to_owned(), sha256: Hash::EMPTY_ROOT }],
            purl: Purl::parse("pkg:generic/example/load@1").unwrap(),
            kind: Kind::Build,
            channel: "load".to_owned(),
            sequence: 0,
            source: None,
            manifest: None,
            audience: None,
            location: None,
            log: None,
        };
        let signer = PublisherSigner::from_seed(&[1; 32]);
        let sign = Box::new(move |payload| Envelope::sign(payload, &[&signer]));
        let statement = Statement { sign, release };
        let entries = Entries::Signed(Arc::new(statement));
        let source = Source::prepare(&entries, Some(5), Duration::from_secs(1)).unwrap();
        let Source::Signed { signed, waits, .. } = &source else { panic!("statements") };
        assert_eq!(signed.lock().await.len(), 10);
        let (mut sequences, mut artifacts) = (HashSet::new(), HashSet::new());
        for _ in 0..100 {
            let envelope = Envelope::parse_entry(&source.next().await).unwrap();
            let release = Release::parse(envelope.payload()).unwrap();
            artifacts.insert(release.subjects[0].sha256);
            sequences.insert(release.sequence);
        }
        assert_eq!((sequences.len(), artifacts.len()), (100, 100));
        assert!((85..=90).contains(&waits.get()), "{}", waits.get());
    }
}
