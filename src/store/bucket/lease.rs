//! The lease, which decides which of a log's servers tries to append.
//!
//! The lease is an object in the bucket. Its holder rewrites it three times per lease length. A server that has seen it
//! unchanged for its whole length, by the server's own monotonic clock, may take it by compare-and-swap. The lease
//! holds no time of day, and servers never compare clocks.
//!
//! ```text
//! {"holder":"<writer id>","address":"https://...","term":7,"renewal":12,"seconds":3}
//! ```
//!
//! `term` counts holders and `renewal` counts the writes of the current holder, so no two versions have the same bytes.
//! `seconds` is 0 if the holder has released the lease; another server may then take it at once. `address` is absent if
//! the holder takes no entries from clients of other servers.
//!
//! The lease is only advice. Clocks stop, processes pause and requests arrive late, so two servers may both believe
//! that they hold it, and one may carry on after it has lost it. The conditional creation of each batch in the
//! [chain](super::chain) keeps that safe.

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

/// A parsed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The process that holds it.
    pub holder: WriterId,
    /// The URL at which the holder accepts entries.
    pub address: Option<String>,
    /// Number of the holder, one more than its predecessor's.
    pub term: u64,
    /// How many times this holder has written the lease.
    pub renewal: u64,
    /// How long an unchanged lease remains valid; 0 if the holder has released it.
    pub seconds: u32,
}

impl LeaseRecord {
    const WHAT: &str = "a lease";

    /// Parses the object.
    ///
    /// # Errors
    /// [`FormatError`] if the object differs from the JSON in the module's documentation.
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
    /// `None` if the object can't be parsed. Its holder is unknown, and it expires like any other lease.
    pub record: Option<LeaseRecord>,
    /// For this process's lease, the time before the write was sent. For another's, the time after the first answer
    /// with this version. Both err on the safe side: this process drops its own lease early and takes another's late.
    pub since: Instant,
}

/// The next step for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// This process holds the lease until the given time.
    Hold(Instant),
    /// Another process holds the lease. This process may take it at the given time if it has not changed by then.
    Wait(Instant),
    /// Nobody holds the lease.
    Take,
}

/// Decides what `me` may do with an observed lease; `None` if there is none. A lease that can't be parsed lasts
/// `length`.
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

/// One process's view of the lease. It has no thread: the caller calls [`step`](Self::step), which takes or renews the
/// lease when that is due.
pub struct Lease {
    me: WriterId,
    address: Option<String>,
    length: Duration,
    /// The version that was read or written last. The next write replaces the version with this tag.
    seen: Option<(Observed, Tag)>,
    /// The last unconfirmed write, and the time at which it was first sent.
    unclear: Option<(Vec<u8>, Instant)>,
    /// False after an unclear or refused write, until the lease is read.
    is_known: bool,
}

impl Lease {
    /// A view of a lease of `seconds`, 1 to [`MAX_SECONDS`]. `address` is the URL at which this process accepts
    /// entries.
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

    /// The decision about the last observed version, without a request to the bucket.
    #[must_use]
    pub fn decision(&self, now: Instant) -> Decision {
        decide(self.seen.as_ref().map(|(observed, _)| observed), self.me, self.length, now)
    }

    /// The address of the holder, if another process holds the lease and has stated its address.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        let record = self.record()?;
        record.address.as_deref().filter(|_| record.holder != self.me && record.seconds > 0)
    }

    /// The number of the current holder.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.record().map_or(0, |record| record.term)
    }

    /// The time at which the caller should next call [`step`](Self::step), to renew this process's lease or to look at
    /// another's.
    #[must_use]
    pub fn due(&self, now: Instant) -> Instant {
        match self.decision(now) {
            Decision::Take => now,
            // Two thirds of the length before the lease expires, or at once if that time has passed.
            Decision::Hold(until) => until.checked_sub(self.length / 3 * 2).unwrap_or(now),
            // At least three times per length, to notice a release.
            Decision::Wait(until) => until.min(now + self.length / 3),
        }
    }

    /// If `wanted`, takes the lease if nobody holds it, or renews it if this process holds it and a third of its length
    /// has passed. Otherwise, releases it. `now` reads the monotonic clock.
    ///
    /// # Errors
    /// The bucket's errors. The write may have succeeded anyway; the next step reads before it writes.
    pub fn step(
        &mut self,
        objects: &dyn Objects,
        wanted: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Decision, BucketError> {
        // 1. LOOK, unless this process knows that it holds the lease.
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
            // 2. WRITE the next version, which replaces the one that was seen. A crash leaves either version; the other
            // servers wait until it expires.
            let record = self.next_record(at);
            self.write(objects, &record, at)?;
            // 3. LOOK, if another server was faster.
            if !self.is_known {
                self.look(objects, &now)?;
            }
        }
        Ok(self.decision(now()))
    }

    /// Releases the lease if this process holds it, so that the next holder need not wait.
    ///
    /// # Errors
    /// The bucket's errors. The lease then expires by itself.
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
        let read = match objects.get(LEASE, MAX_LEASE_BYTES) {
            // Read only its beginning, which gives the tag. It expires like any other lease that can't be parsed.
            Err(BucketError::TooLarge { .. }) => objects.get_range(LEASE, 0, 1),
            read => read,
        };
        let object = match read {
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
            // If a version of this process arrives so late that its send time is no longer known, treat it as
            // another's.
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
                // The same bytes may have been sent before, also by a proxy that repeated this request.
                let earlier = self.unclear.take().filter(|(sent, _)| *sent == bytes);
                self.unclear = earlier.or(Some((bytes, at)));
                refused.map(drop)
            }
        }
    }
}
