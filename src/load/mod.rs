//! The load generator: appends to a log, measures, and checks that the log has what it acknowledged.
//!
//! ```text
//! run     head before -> append -> head after, indices, leaves       what `treehead load` does
//! append  entries -> pace -> writers -> measured, acknowledgements   any server that takes a POST
//! ```
//!
//! One thread sends all requests, over one HTTP/1.1 connection for each writer: the generator shares the machine with
//! the log that it measures. It reports for which share of the time that thread was at work, since a generator that is
//! always busy measures itself.
//!
//! With a rate, each request has a time to be sent at, and its latency counts from that time, even if every writer was
//! still waiting for another answer. So a stall counts for all requests that fell into it, not only for those that were
//! under way (no coordinated omission). The timer is accurate to a millisecond, which is part of such latencies.
//! Without a rate each writer waits for its answer before it sends again, and latency counts from when the request was
//! sent.
//!
//! Quantiles (p50, p90, p99, p99.9) come from an HDR histogram with two significant digits: each is at most 1 % above
//! the exact value and never below it. The maximum is exact.

mod acks;
mod append;
mod check;
mod connection;
mod drive;
mod entries;
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

/// Most bytes of bodies in memory at once: each writer has one.
const MAX_BODIES_BYTES: usize = 1 << 30;
/// About the length of a signed statement.
const STATEMENT_BYTES: usize = 1_024;

/// The entries to append, the log, the rate and the duration.
#[derive(Clone)]
pub struct Plan {
    /// The log, or another server.
    pub target: Target,
    /// Path and query below the target's prefix, as in `/add?wait=published`.
    pub path: String,
    /// The entries to append.
    pub entries: Entries,
    /// Entries in a request. With 1 a request's body is the entry; with more it is an entry bundle.
    pub batch: usize,
    /// Connections, each with one request under way; at least 1.
    pub writers: usize,
    /// Entries a second in all; `None` for as fast as the answers come.
    pub rate: Option<u32>,
    /// Time for sending requests. The run then waits for the answers that are under way.
    pub duration: Duration,
    /// The form of the answers.
    pub answers: Answers,
    /// The longest pause after a 429, whatever `Retry-After` asks for.
    pub patience: Duration,
}

/// A run without a summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The address is malformed.
    #[error("not the address of a log: expected http://HOST[:PORT][/PREFIX], saw {0}")]
    Address(String),
    /// The address is an https one: that would measure encryption, not the log.
    #[error("load speaks http:// only, saw {0}: point it at the log itself, behind the proxy that does TLS")]
    Https(String),
    /// A number of the plan is out of range.
    #[error("{0}")]
    Plan(String),
    /// The statement can't be signed.
    #[error(transparent)]
    Statement(#[from] FormatError),
    /// The log accepts signed statements only.
    #[error(
        "the log takes signed release statements only: give --key FILE and --purl PURL of a publisher that it knows, or use a log of the opaque profile"
    )]
    NeedsKey,
    /// The connections could not be made.
    #[error("could not connect to {url}: {detail}; is the log running, and the address right?")]
    Connect {
        /// The log.
        url: String,
        /// The system's error.
        detail: String,
    },
    /// The process or the system is out of file descriptors.
    #[error(
        "out of file descriptors after {open} of {wanted} connections: raise the limit in this shell, as in `ulimit -n {}`, or use fewer writers",
        wanted + 64
    )]
    OutOfFiles {
        /// Connections made.
        open: usize,
        /// Connections needed.
        wanted: usize,
    },
    /// The system refuses a thread, a timer or randomness.
    #[error("{0}")]
    System(String),
    /// The log refuses everything, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log's head before the run could not be fetched, or failed to authenticate.
    #[error(transparent)]
    Head(#[from] CheckError),
}

impl Plan {
    /// Random entries of 1 KiB, by 64 writers as fast as they get answers, for ten seconds.
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
            patience: drive::PATIENCE,
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

    /// Rejects a plan that needs too much memory before the run starts: later the system would kill the process without
    /// a message.
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

/// The result of [`append()`].
#[derive(Debug)]
pub struct Appended {
    /// The measurements.
    pub measured: Measured,
    /// The acknowledgements, for [`check()`].
    pub acks: Acks,
    /// The fault of the first malformed answer with status 200.
    pub malformed: Option<FormatError>,
}

/// Appends until the time is over or `stop` is ready, and checks nothing. Calls `watch` four times a second.
///
/// # Errors
/// [`LoadError`] if the connections can't be made, or everything is refused.
pub fn append(
    plan: &Plan,
    stop: impl Future<Output = ()>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Appended, LoadError> {
    plan.validate()?;
    let job = Rc::new(append::Append::prepare(plan)?);
    let mut measured = drive::drive(job.clone(), plan, stop, watch)?;
    measured.signing_waits = job.waits();
    let malformed = job.malformed.take();
    let acks = job.acks.replace(Acks::new(0, 0));
    Ok(Appended { measured, acks, malformed })
}

/// Appends to a log, then checks that the log has everything it acknowledged.
///
/// # Errors
/// [`LoadError`] if there is nothing to sum up. The summary has what the check found.
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
    let Appended { measured, mut acks, malformed } = append(plan, stop, watch)?;
    let check = match malformed {
        Some(wrong) => Err(CheckError::Broken { code: "answer-malformed", message: wrong.to_string() }),
        None => check(&client, checks, &before, &mut acks),
    };
    let (after, check) = match check {
        Ok((head, checked)) => (Some(head.size), Ok(checked)),
        Err(error) => (checks.trust.head(&client).ok().map(|head| head.size), Err(error)),
    };
    let remembered = (acks.sorted().len() as u64, acks.sampled_since().map(|since| since.as_secs_f64()));
    Ok(Summary { measured, before: before.size, after, remembered, check })
}

/// Returns true if the log says that it accepts statements only. Logs other than treehead's do not say.
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
