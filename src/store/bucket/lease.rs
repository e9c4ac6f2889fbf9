//! The lease: which of a log's servers tries to append.
//!
//! It is an object that its holder rewrites every third of its length. Whoever has seen it unchanged for its length, by
//! the own monotonic clock, may take it, by compare-and-swap. No time of day is ever written or compared.
//!
//! ```text
//! {"holder":"<writer id>","address":"https://...","term":7,"renewal":12,"seconds":3}
//! ```
//!
//! `term` counts holders, `renewal` the times that this one has written it, so no two versions have the same bytes. With
//! `seconds` 0 the lease is given up, and may be taken at once. `address` is left out if the holder takes no entries of
//! others.
//!
//! The lease is advice. Clocks stop, processes pause, requests come late: two servers may believe that they hold it, and
//! one may go on after it has lost it. The condition on each batch's key decides, in the [chain](super::chain).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::batch_object::WriterId;
use super::layout::{JSON, LEASE};
use crate::bucket::{BucketError, Creation, Object, Objects, Replacement, Tag};
use crate::format::{FormatError, cap, quote, to_json, utf8};

/// The longest lease.
pub const MAX_SECONDS: u32 = 300;
/// Length of the largest lease object.
pub const MAX_LEASE_BYTES: usize = 4 * 1024;
/// Length of the longest address.
const MAX_ADDRESS_BYTES: usize = 2 * 1024;

/// The content of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseJson {
    holder: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    term: u64,
    renewal: u64,
    seconds: u32,
}

/// A lease as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The process that holds it.
    pub holder: WriterId,
    /// The URL at which the holder takes entries.
    pub address: Option<String>,
    /// Number of the holder: one more than that of the one before.
    pub term: u64,
    /// The times that this holder has written the lease.
    pub renewal: u64,
    /// The time for which an unchanged lease is the holder's; 0 if it gave the lease up.
    pub seconds: u32,
}

impl LeaseRecord {
    const WHAT: &str = "a lease";

    /// Parses the object.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the JSON drawn above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |expected: String, seen: String| FormatError::malformed(Self::WHAT, expected, seen);
        cap(Self::WHAT, bytes.len(), MAX_LEASE_BYTES)?;
        let text = utf8(Self::WHAT, bytes)?;
        let json: LeaseJson = serde_json::from_str(text)
            .map_err(|e| wrong("JSON with holder, term, renewal and seconds".to_owned(), e.to_string()))?;
        let holder = WriterId::parse(&json.holder)
            .ok_or_else(|| wrong("a holder of 32 lower-case hex digits".to_owned(), quote(&json.holder)))?;
        if json.seconds > MAX_SECONDS {
            return Err(wrong(format!("at most {MAX_SECONDS} seconds"), json.seconds.to_string()));
        }
        let is_text = |address: &String| {
            (1..=MAX_ADDRESS_BYTES).contains(&address.len()) && address.bytes().all(|b| b.is_ascii_graphic())
        };
        if let Some(address) = json.address.as_ref().filter(|address| !is_text(address)) {
            let expected = format!("an address of 1 to {MAX_ADDRESS_BYTES} printable ASCII characters");
            return Err(wrong(expected, quote(address)));
        }
        let LeaseJson { address, term, renewal, seconds, .. } = json;
        Ok(Self { holder, address, term, renewal, seconds })
    }

    /// The object's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let holder = self.holder.to_string();
        let Self { address, term, renewal, seconds, .. } = self.clone();
        (to_json(&LeaseJson { holder, address, term, renewal, seconds }) + "\n").into_bytes()
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// A version of the lease that a process has read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// `None` if it can't be parsed: nobody knows whose it is, and it runs out like any other.
    pub record: Option<LeaseRecord>,
    /// For its own lease, the time before the write was sent; for another's, the time after the first answer that had this
    /// version. Both make this process believe in its own lease for too short a time, and in another's for too long.
    pub since: Instant,
}

/// The next step for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This process holds it, until the given time.
    Hold(Instant),
    /// Another process holds it. It may be taken at the given time, unless it has changed by then.
    Wait(Instant),
    /// Nobody holds it.
    Take,
}

/// Decides about a lease that `me` has observed, `None` if there is none. A lease that can't be parsed lasts `length`.
#[must_use]
pub fn decide(observed: Option<&Observed>, me: WriterId, length: Duration, now: Instant) -> Decision {
    let Some(Observed { record, since }) = observed else { return Decision::Take };
    let until = *since + record.as_ref().map_or(length, LeaseRecord::length);
    match record {
        _ if until <= now => Decision::Take,
        Some(record) if record.holder == me => Decision::Hold(until),
        _ => Decision::Wait(until),
    }
}

/// One process's view of the lease, and its attempts to get and keep it. No thread: [`step`](Self::step) does what is due.
pub struct Lease {
    me: WriterId,
    address: Option<String>,
    length: Duration,
    /// The version that was read or written last. Its tag is what the next write replaces.
    seen: Option<(Observed, Tag)>,
    /// The last write that no answer called done, and when it was first sent.
    unclear: Option<(Vec<u8>, Instant)>,
    /// Unset after an unclear or refused write, until the lease is read.
    is_known: bool,
}

impl Lease {
    /// A view of a lease of `seconds`, 1 to [`MAX_SECONDS`]. `address` is where this process takes entries.
    #[must_use]
    pub fn new(me: WriterId, address: Option<String>, seconds: u32) -> Self {
        let length = Duration::from_secs(seconds.clamp(1, MAX_SECONDS).into());
        Self { me, address, length, seen: None, unclear: None, is_known: false }
    }

    /// The lease's length.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// The lease as this process knows it, without asking the bucket.
    #[must_use]
    pub fn decision(&self, now: Instant) -> Decision {
        decide(self.seen.as_ref().map(|(observed, _)| observed), self.me, self.length, now)
    }

    /// The address of the process that holds the lease, if it is another one and said so.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        let record = self.record()?;
        record.address.as_deref().filter(|_| record.holder != self.me && record.seconds > 0)
    }

    /// The number of the present holder.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.record().map_or(0, |record| record.term)
    }

    /// When [`step`](Self::step) has something to do: to renew the own lease, or to look at another's.
    #[must_use]
    pub fn due(&self, now: Instant) -> Instant {
        match self.decision(now) {
            Decision::Take => now,
            // Two thirds before it runs out; at once, if it is as old as that.
            Decision::Hold(until) => until.checked_sub(self.length / 3 * 2).unwrap_or(now),
            // At least thrice in its length, to see that it was given up.
            Decision::Wait(until) => until.min(now + self.length / 3),
        }
    }

    /// Renews the lease if it is this process's and a third of it has passed; looks at it, and takes it if nobody holds it.
    /// All of that only if `wanted`; otherwise gives it up. `now` reads the monotonic clock.
    ///
    /// # Errors
    /// The bucket's. A write may have been done all the same; the next step reads before it writes.
    pub fn step(
        &mut self,
        objects: &dyn Objects,
        wanted: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Decision, BucketError> {
        // 1. LOOK, unless it is known to be this process's.
        if !self.is_known || !matches!(self.decision(now()), Decision::Hold(_)) {
            self.look(objects, &now)?;
        }
        let at = now();
        if !wanted {
            self.release(objects, at)?;
            return Ok(self.decision(now()));
        }
        let is_due = match self.decision(at) {
            Decision::Take => true,
            Decision::Hold(_) => self.due(at) <= at,
            Decision::Wait(_) => false,
        };
        if is_due {
            // 2. WRITE the next version in the place of the one that was seen. A crash leaves one or the other; the
            // others wait until it has run out.
            let record = self.next_record(at);
            self.write(objects, &record, at)?;
            // 3. LOOK, if somebody was quicker.
            if !self.is_known {
                self.look(objects, &now)?;
            }
        }
        Ok(self.decision(now()))
    }

    /// Gives the lease up, if it is this process's, so that another need not wait.
    ///
    /// # Errors
    /// The bucket's. Then it runs out.
    pub fn release(&mut self, objects: &dyn Objects, now: Instant) -> Result<(), BucketError> {
        if !matches!(self.decision(now), Decision::Hold(_)) {
            return Ok(());
        }
        let record = LeaseRecord { seconds: 0, ..self.next_record(now) };
        self.write(objects, &record, now)
    }

    fn record(&self) -> Option<&LeaseRecord> {
        self.seen.as_ref().and_then(|(observed, _)| observed.record.as_ref())
    }

    /// The version that this process writes next.
    fn next_record(&self, now: Instant) -> LeaseRecord {
        let (term, renewal) = match (self.record(), self.decision(now)) {
            (Some(own), Decision::Hold(_)) => (own.term, own.renewal.saturating_add(1)),
            (last, _) => (last.map_or(1, |last| last.term.saturating_add(1)), 0),
        };
        let seconds = u32::try_from(self.length.as_secs()).expect("at most MAX_SECONDS");
        LeaseRecord { holder: self.me, address: self.address.clone(), term, renewal, seconds }
    }

    fn look(&mut self, objects: &dyn Objects, now: impl Fn() -> Instant) -> Result<(), BucketError> {
        let object = match objects.get(LEASE, MAX_LEASE_BYTES) {
            Ok(object) => object,
            Err(error) => {
                self.is_known = false;
                return Err(error);
            }
        };
        self.is_known = true;
        let Some(Object { bytes, tag }) = object else {
            self.seen = None;
            return Ok(());
        };
        if self.seen.as_ref().is_none_or(|(_, seen)| *seen != tag) {
            let sent = self.unclear.take().filter(|(sent, _)| *sent == bytes).map(|(_, at)| at);
            // A version of this process that came so late that nobody knows when it was sent runs out like another's.
            let record = LeaseRecord::parse(&bytes).ok();
            let record = record.filter(|record| record.holder != self.me || sent.is_some());
            self.seen = Some((Observed { record, since: sent.unwrap_or_else(now) }, tag));
        }
        Ok(())
    }

    fn write(&mut self, objects: &dyn Objects, record: &LeaseRecord, at: Instant) -> Result<(), BucketError> {
        self.is_known = false;
        let bytes = record.to_bytes();
        let written = match &self.seen {
            Some((_, tag)) => objects.replace(LEASE, &bytes, tag, &JSON),
            None => objects.create(LEASE, &bytes, &JSON).map(|created| match created {
                Creation::Created(tag) => Replacement::Replaced(tag),
                Creation::Exists => Replacement::Stale,
            }),
        };
        match written {
            Ok(Replacement::Replaced(tag)) => {
                self.seen = Some((Observed { record: Some(record.clone()), since: at }, tag));
                self.is_known = true;
                Ok(())
            }
            refused => {
                // The same bytes may have been sent before, also by a proxy that sent this request twice.
                let earlier = self.unclear.take().filter(|(sent, _)| *sent == bytes);
                self.unclear = earlier.or(Some((bytes, at)));
                refused.map(drop)
            }
        }
    }
}
