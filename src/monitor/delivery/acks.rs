//! `acks.jsonl`: what people said to alerts, by a process of their own while the monitor runs.
//!
//! ```text
//! {"said":"acknowledge","id":"<32 hex>","raised":<unix seconds>,"time":<unix seconds>}
//! {"said":"silence","name":"<8 hex>","code":"...","log":"...","package":"...","until":<unix seconds>,...}
//! {"said":"unsilence","name":"<8 hex>","time":<unix seconds>}
//! {"said":"skip","sink":"<name>","number":<of a record in the outbox>,"id":"...","time":<unix seconds>}
//! ```
//!
//! Whoever writes holds `acks.lock`. The desk reads what is new, takes it into its book, and writes the file
//! anew when it has grown: only silences are of use for longer.

mod file;
mod skip;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::book::{self, Book, Entry};
use super::silence::{Silence, Subject};
use super::{AlertView, DeliveryError};
use crate::format::{FormatError, quote};
use crate::release::Timestamp;

pub use file::ACKS;
pub(super) use file::{Reader, Said};
pub use skip::{Skipped, skip};

/// Least digits of an id that stand for all of it.
pub const MIN_PREFIX: usize = 6;
/// Most silences at a time: each event is compared with all of them.
pub const MAX_SILENCES: usize = 1_000;
/// Seconds: one that nobody remembers must end some time.
pub const LONGEST_SILENCE: u64 = 366 * 86_400;

/// Why nothing was acknowledged or silenced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// A file of the desk's can't be read or written.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The silence can't be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Too few digits.
    #[error("{0} is no id: expected at least {MIN_PREFIX} digits of one, 0-9 and a-f")]
    NoId(String),
    /// Nothing of that id is open.
    #[error("no {what} has the id {id}; `treehead monitor ack --list` shows what there is")]
    Unknown {
        /// `alert that waits` or `silence`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// Several begin so.
    #[error("{count} begin with {id}: expected more digits")]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// How many there are.
        count: usize,
    },
    /// There is no such sink, or nobody knows how far it is.
    #[error("no sink has the name {name}: expected one of {known}")]
    NoSink {
        /// What was asked for.
        name: String,
        /// Names of those that there are.
        known: String,
    },
    /// It has everything.
    #[error("nothing waits for {0}: it has all events")]
    NothingWaits(String),
    /// There are very many already.
    #[error("there are {MAX_SILENCES} silences: end one first, with --unsilence")]
    TooManySilences,
    /// Nobody has read the file for long.
    #[error(
        "{} has {bytes} bytes that no monitor has read: start the monitor of this directory, which makes it short", path.display()
    )]
    Unread {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// A silence and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedSilence {
    /// Eight hex digits.
    pub name: String,
    /// What it covers.
    #[serde(flatten)]
    pub silence: Silence,
}

/// What people ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// What is open, the oldest first.
    pub alerts: Vec<AlertView>,
    /// What is silenced, what ends first first.
    pub silences: Vec<NamedSilence>,
}

/// The silences that are said, over ones included until they are taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silences(Vec<NamedSilence>);

impl Silences {
    /// Takes in what somebody said, where it is about silences.
    pub(super) fn hear(&mut self, said: &Said) {
        match said {
            Said::Silence { name, silence, .. } if self.0.len() < MAX_SILENCES => {
                self.0.retain(|known| known.name != *name);
                self.0.push(NamedSilence { name: name.clone(), silence: silence.clone() });
            }
            Said::Unsilence { name, .. } => self.0.retain(|known| known.name != *name),
            Said::Silence { .. } | Said::Acknowledge { .. } | Said::Skip { .. } => {}
        }
    }

    /// Whether one of them covers an event now.
    pub(super) fn cover(&self, subject: Subject<'_>, now: Timestamp) -> bool {
        self.0.iter().any(|known| known.silence.covers(subject, now))
    }

    /// The same for an alert of the book.
    pub(super) fn cover_alert(&self, entry: &Entry, now: Timestamp) -> bool {
        let subject = Subject { code: &entry.code, log: entry.log.as_deref(), purl: entry.purl.as_deref() };
        self.cover(subject, now)
    }

    /// Takes out those that are over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|known| now < known.silence.until);
    }

    /// What is said in a file that is written anew.
    pub(super) fn said(&self, now: Timestamp) -> Vec<Said> {
        let said = |known: &NamedSilence| Said::Silence {
            name: known.name.clone(),
            silence: known.silence.clone(),
            time: now,
        };
        self.0.iter().map(said).collect()
    }
}

/// The files of a delivery, as somebody reads them who is not the delivery.
struct Delivery {
    book: Book,
    silences: Silences,
}

impl Delivery {
    fn read(dir: &Path, now: Timestamp) -> Result<Self, AckError> {
        let mut delivery = Self { book: Book::read(dir)?.unwrap_or_default(), silences: Silences::default() };
        // What the monitor has not taken into its book yet counts already.
        for said in Reader::default().read_new(dir).map_err(DeliveryError::from)?.said {
            delivery.silences.hear(&said);
            if let Said::Acknowledge { id, raised, time } = &said {
                delivery.book.acknowledge(id, *raised, *time);
            }
        }
        delivery.silences.expire(now);
        Ok(delivery)
    }

    fn listing(self, now: Timestamp) -> Listing {
        let alerts = book::views(&self.book.open(), |entry| self.silences.cover_alert(entry, now));
        let mut silences = self.silences.0;
        silences.sort_by(|a, b| (a.silence.until, &a.name).cmp(&(b.silence.until, &b.name)));
        Listing { alerts, silences }
    }
}

/// What is open and what is silenced in the desk of `dir`, whether its monitor runs or not.
///
/// # Errors
/// [`AckError`].
pub fn list(dir: &Path, now: Timestamp) -> Result<Listing, AckError> {
    Ok(Delivery::read(dir, now)?.listing(now))
}

/// Says that somebody has seen these alerts, by ids or their beginnings; all of them or none. Durable when it
/// returns; a monitor that runs takes it up within a second.
///
/// # Errors
/// [`AckError`].
pub fn acknowledge<S: AsRef<str>>(dir: &Path, ids: &[S], now: Timestamp) -> Result<Vec<AlertView>, AckError> {
    let lock = file::lock(dir).map_err(DeliveryError::from)?;
    let waiting = waiting(dir, now)?;
    let mut found: Vec<AlertView> = Vec::new();
    for id in ids.iter().map(AsRef::as_ref) {
        // What was told later, as a reminder, has an id that begins with the alert's.
        let id = id.split_once('-').map_or(id, |(alert, _)| alert);
        let alert = find(&waiting, id, "alert that waits", |alert| &alert.id)?;
        if !found.contains(alert) {
            found.push(alert.clone());
        }
    }
    say_acknowledged(dir, &lock, &found, now)?;
    Ok(found)
}

/// The same for every alert that waits.
///
/// # Errors
/// [`AckError`].
pub fn acknowledge_all(dir: &Path, now: Timestamp) -> Result<Vec<AlertView>, AckError> {
    let lock = file::lock(dir).map_err(DeliveryError::from)?;
    let waiting = waiting(dir, now)?;
    say_acknowledged(dir, &lock, &waiting, now)?;
    Ok(waiting)
}

/// Has events that a silence covers printed only, until it is over. The same silence said again is the same
/// one, with its new end.
///
/// # Errors
/// [`AckError`].
pub fn silence(dir: &Path, silence: &Silence, now: Timestamp) -> Result<NamedSilence, AckError> {
    silence.check()?;
    if silence.until > now.saturating_add(LONGEST_SILENCE) {
        let days = silence.until.saturating_sub(now) / 86_400;
        return Err(
            FormatError::malformed("a silence", "an end within 366 days", format!("{days} days")).into()
        );
    }
    let lock = file::lock(dir).map_err(DeliveryError::from)?;
    let name = name_of(silence);
    let known = Delivery::read(dir, now)?.silences.0;
    if known.len() >= MAX_SILENCES && !known.iter().any(|known| known.name == name) {
        return Err(AckError::TooManySilences);
    }
    let said = Said::Silence { name: name.clone(), silence: silence.clone(), time: now };
    file::say(dir, &lock, &[said])?;
    Ok(NamedSilence { name, silence: silence.clone() })
}

/// Ends a silence before its time, by its name or the beginning of it.
///
/// # Errors
/// [`AckError`].
pub fn unsilence(dir: &Path, name: &str, now: Timestamp) -> Result<NamedSilence, AckError> {
    let lock = file::lock(dir).map_err(DeliveryError::from)?;
    let silences = Delivery::read(dir, now)?.silences.0;
    let known = find(&silences, name, "silence", |known| &known.name)?.clone();
    file::say(dir, &lock, &[Said::Unsilence { name: known.name.clone(), time: now }])?;
    Ok(known)
}

/// Alerts that nobody acknowledged.
fn waiting(dir: &Path, now: Timestamp) -> Result<Vec<AlertView>, AckError> {
    let mut alerts = list(dir, now)?.alerts;
    alerts.retain(|alert| alert.acknowledged.is_none());
    Ok(alerts)
}

fn say_acknowledged(
    dir: &Path,
    lock: &file::Lock,
    alerts: &[AlertView],
    time: Timestamp,
) -> Result<(), AckError> {
    let said = |alert: &AlertView| Said::Acknowledge { id: alert.id.clone(), raised: alert.raised, time };
    file::say(dir, lock, &alerts.iter().map(said).collect::<Vec<_>>())
}

/// The one thing whose id begins so.
fn find<'a, T>(
    all: &'a [T],
    id: &str,
    what: &'static str,
    id_of: impl Fn(&T) -> &String,
) -> Result<&'a T, AckError> {
    let is_hex = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    if id.len() < MIN_PREFIX || !id.bytes().all(is_hex) {
        return Err(AckError::NoId(quote(id)));
    }
    let found: Vec<&T> = all.iter().filter(|one| id_of(one).starts_with(id)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(AckError::Unknown { what, id: id.to_owned() }),
        _ => Err(AckError::Ambiguous { id: id.to_owned(), count: found.len() }),
    }
}

/// From what it covers.
fn name_of(silence: &Silence) -> String {
    let mut hasher = Sha256::new();
    for field in [&silence.code, &silence.log, &silence.package] {
        // A newline stands in none of them.
        hasher.update(field.as_deref().unwrap_or_default());
        hasher.update("\n");
    }
    let digest: [u8; 32] = hasher.finalize().into();
    hex::encode(&digest[..4])
}

#[cfg(test)]
mod tests;
