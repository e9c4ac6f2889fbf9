//! Load: drives a log with appends, measures, and checks that what it was told is in the log.
//!
//! ```text
//! run     head before -> append -> head after, indices, leaves       what `treehead load` does
//! append  entries -> pace -> writers -> measured, acknowledgements   any server that takes a POST
//! fetch   paths -> connections -> measured                           any server
//! ```
//!
//! All requests are sent from one thread, over one HTTP/1.1 connection for each writer: it shares
//! the machine with the log that it measures. It says for how much of the time that thread was at
//! work, since a generator that is always busy measures itself.
//!
//! With a rate, requests have a time to be sent at, and latency counts from that time on, also where
//! every writer was still waiting for another answer. So a stall is seen by all requests that fell
//! into it, not only by those that were under way (no coordinated omission). The timer is good to a
//! millisecond, which is a part of such latencies. Without a rate each writer waits for its answer
//! before it sends again, and latency counts from when the request was sent.

mod acks;
mod append;
mod check;
mod connection;
mod drive;
mod entries;
mod fetch;
mod latencies;
mod measure;
mod pace;
mod summary;
mod target;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

pub use acks::{Ack, Acks, MAX_REMEMBERED};
pub use append::Answers;
pub use check::{CheckError, Checked, Checks, SAMPLE, Trust, check};
pub use entries::{Entries, MIN_RANDOM_BYTES, Statement};
pub use fetch::{Fetches, fetch};
pub use latencies::{Histogram, Latencies};
pub use measure::{ErrorKind, Errors, Measured, Progress};
pub use summary::Summary;
pub use target::Target;

use rustix::process::{Resource, getrlimit};

use crate::client::{ClientError, LogClient, MAX_BATCH_BODY_BYTES, MAX_BATCH_ENTRIES};
use crate::format::FormatError;
use crate::release::MAX_ENTRY_BYTES;

/// Largest answer of `/healthz` that is read.
const MAX_HEALTH_BYTES: usize = 64 * 1024;

/// Most bytes of bodies that are under way at once: each writer has one in memory.
const MAX_BODIES_BYTES: usize = 1 << 30;
/// About as much as a signed statement has.
const STATEMENT_BYTES: usize = 1_024;

/// What to append, where, how fast and for how long.
#[derive(Clone)]
pub struct Plan {
    /// The log, or another server.
    pub target: Target,
    /// Path and query below the target's prefix, as in `/add?wait=published`.
    pub path: String,
    /// What is appended.
    pub entries: Entries,
    /// Entries in a request. With 1 a request's body is the entry; with more it is an entry bundle.
    pub batch: usize,
    /// Connections, each with one request under way; at least 1.
    pub writers: usize,
    /// Entries a second in all; as fast as answers come where there is none.
    pub rate: Option<u32>,
    /// How long requests are sent. Answers that are under way then are waited for.
    pub duration: Duration,
    /// What to make of the answers.
    pub answers: Answers,
    /// Longest rest after a 429, whatever `Retry-After` asks for.
    pub patience: Duration,
}

/// Why there is nothing to summarise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The address is not one.
    #[error("not the address of a log: expected http://HOST[:PORT][/PREFIX], saw {0}")]
    Address(String),
    /// Encryption would be measured, not the log.
    #[error("load speaks http:// only, saw {0}: point it at the log itself, behind the proxy that does TLS")]
    Https(String),
    /// A number of the plan can't be.
    #[error("{0}")]
    Plan(String),
    /// The statement can't be signed.
    #[error(transparent)]
    Statement(#[from] FormatError),
    /// The log takes other entries.
    #[error(
        "the log takes signed release statements only: give --key FILE and --purl PURL of a publisher that it knows, or use a log of the opaque profile"
    )]
    NeedsKey,
    /// No connection.
    #[error("could not connect to {url}: {detail}; is the log running, and the address right?")]
    Connect {
        /// The log.
        url: String,
        /// What went wrong.
        detail: String,
    },
    /// Too few file descriptors.
    #[error(
        "out of file descriptors after {open} of {wanted} connections: raise the limit in this shell, as in `ulimit -n {}`, or use fewer writers",
        wanted + 64
    )]
    OutOfFiles {
        /// Connections that could be made.
        open: usize,
        /// Connections that were to be made.
        wanted: usize,
    },
    /// The system has no thread, timer or randomness to give.
    #[error("{0}")]
    System(String),
    /// The log refuses everything, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no head to begin with.
    #[error(transparent)]
    Head(#[from] CheckError),
}

impl Plan {
    /// As fast as 64 writers get answers, for ten seconds, with random entries of 1 KiB.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            path: "/add?wait=published".to_owned(),
            entries: Entries::Random(1_024),
            batch: 1,
            writers: 64,
            rate: None,
            duration: Duration::from_secs(10),
            answers: Answers::Indices,
            patience: drive::LAST_PAUSE,
        }
    }

    fn validate(&self) -> Result<(), LoadError> {
        let wrong =
            |expected: String, seen: usize| Err(LoadError::Plan(format!("expected {expected}, saw {seen}")));
        if self.writers == 0 {
            return wrong("at least one writer".to_owned(), 0);
        }
        if !(1..=MAX_BATCH_ENTRIES).contains(&self.batch) {
            return wrong(format!("1 to {MAX_BATCH_ENTRIES} entries a batch"), self.batch);
        }
        if self.rate == Some(0) {
            return wrong("a rate of at least one entry a second".to_owned(), 0);
        }
        if let Entries::Random(size) = self.entries
            && !(MIN_RANDOM_BYTES..=MAX_ENTRY_BYTES).contains(&size)
        {
            return wrong(format!("entries of {MIN_RANDOM_BYTES} to {MAX_ENTRY_BYTES} bytes"), size);
        }
        match append::body_bytes(&self.entries, self.batch) {
            Some(bytes) if self.batch > 1 && bytes > MAX_BATCH_BODY_BYTES => wrong(
                format!("batches of at most {MAX_BATCH_BODY_BYTES} bytes: fewer or smaller entries"),
                bytes,
            ),
            _ => self.check_memory(getrlimit(Resource::As).current),
        }
    }

    /// Where memory ends, a process ends without a word: what is too much is refused before it begins.
    fn check_memory(&self, address_space: Option<u64>) -> Result<(), LoadError> {
        let limit = address_space.and_then(|limit| usize::try_from(limit / 4).ok());
        let limit = limit.map_or(MAX_BODIES_BYTES, |limit| limit.min(MAX_BODIES_BYTES));
        let body = append::body_bytes(&self.entries, self.batch).unwrap_or(self.batch * STATEMENT_BYTES);
        let seen = body.saturating_mul(self.writers);
        if seen <= limit {
            return Ok(());
        }
        Err(LoadError::Plan(format!(
            "expected the request bodies of all writers together to take at most {limit} bytes (a GiB, or a quarter of `ulimit -v`), saw {seen}: use fewer writers, or smaller batches or entries"
        )))
    }
}

/// What [`append()`] came to.
#[derive(Debug)]
pub struct Appended {
    /// What was measured.
    pub measured: Measured,
    /// What was acknowledged, to be given to [`check()`].
    pub acks: Acks,
    /// Entries that were not signed yet when they were to be sent.
    pub signing_waits: u64,
    /// The first answer with status 200 that can't be read.
    pub malformed: Option<FormatError>,
}

/// Appends until the time is over or `stop` is ready, and checks nothing. Calls `watch` four times a
/// second.
///
/// # Errors
/// [`LoadError`] where there is no connection to begin with, or everything is refused.
pub fn append(
    plan: &Plan,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Appended, LoadError> {
    plan.validate()?;
    let job = Rc::new(append::Append::prepare(plan)?);
    let drive = drive::Drive {
        target: &plan.target,
        connections: plan.writers,
        duration: plan.duration,
        rate: plan.rate,
        batch: plan.batch,
        patience: plan.patience,
    };
    let measured = drive::drive(job.clone(), &drive, stop, watch)?;
    let signing_waits = job.waits();
    let malformed = job.malformed.take();
    let acks = job.acks.replace(Acks::new(0, 0));
    Ok(Appended { measured, acks, signing_waits, malformed })
}

/// Appends to a log, then checks that everything it acknowledged is in it.
///
/// # Errors
/// [`LoadError`] where there is nothing to summarise. What the check finds is in the summary.
pub fn run(
    plan: &Plan,
    checks: &Checks,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Summary, LoadError> {
    plan.validate()?;
    let client = LogClient::new(plan.target.url())?;
    let before = checks.trust.head(&client)?;
    if matches!(plan.entries, Entries::Random(_)) && is_release_log(&client) {
        return Err(LoadError::NeedsKey);
    }
    let Appended { measured, mut acks, signing_waits, malformed } = append(plan, stop, watch)?;
    let check = match malformed {
        Some(wrong) => Err(CheckError::Broken { code: "answer-malformed", message: wrong.to_string() }),
        None => check(&client, checks, &before, &mut acks),
    };
    let (after, check) = match check {
        Ok((head, checked)) => (Some(head.size), Ok(checked)),
        Err(error) => (checks.trust.head(&client).ok().map(|head| head.size), Err(error)),
    };
    let remembered = (acks.sorted().len() as u64, acks.sampled_since().map(|since| since.as_secs_f64()));
    Ok(Summary { measured, before: before.size, after, remembered, signing_waits, check })
}

/// Whether the log says that it takes statements only. Other logs than treehead's don't say.
fn is_release_log(client: &LogClient) -> bool {
    #[derive(serde::Deserialize)]
    struct Health {
        profile: String,
    }
    let health = client.get("healthz", MAX_HEALTH_BYTES).ok();
    health.and_then(|body| serde_json::from_slice(&body).ok()).is_some_and(|h: Health| h.profile == "release")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(writers: usize, batch: usize, size: usize) -> Plan {
        let target = Target::parse("http://127.0.0.1:1").unwrap();
        Plan { writers, batch, entries: Entries::Random(size), ..Plan::new(target) }
    }

    #[test]
    fn bodies_of_all_writers_together_have_to_fit_into_memory() {
        assert!(plan(4_000, 1, 65_535).check_memory(None).is_ok());
        assert!(plan(128, 4_096, 2_000).check_memory(None).is_ok());
        let Err(LoadError::Plan(why)) = plan(256, 4_096, 2_000).check_memory(None) else { panic!("two GiB") };
        assert!(why.contains("at most 1073741824 bytes") && why.contains("saw 2099249152"), "{why}");
        let small = Some(400_000 << 10);
        assert!(plan(16, 4_096, 1_024).check_memory(small).is_ok());
        let Err(LoadError::Plan(why)) = plan(64, 4_096, 1_024).check_memory(small) else {
            panic!("256 MiB of 400")
        };
        assert!(why.contains("a quarter of `ulimit -v`"), "{why}");
        assert!(plan(usize::MAX, 4_096, 1_024).check_memory(None).is_err());
    }
}
