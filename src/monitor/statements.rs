//! Entries, read as statements: parsed, and their signatures checked if the publishers are known.

use std::num::NonZero;

use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::{Envelope, Publishers, Statement, StatementError, Timestamp, check_log};
use crate::threads;

#[derive(Debug)]
pub enum Reading {
    /// A statement that somebody with the right to signed, or that nobody checked.
    Statement(Signed),
    /// A statement that nobody with the right to signed.
    Untrusted { why: StatementError, payload: Hash, statement: Option<Statement> },
    /// No statement of a known kind.
    Unreadable(FormatError),
}

#[derive(Debug)]
pub struct Signed {
    pub statement: Statement,
    /// Hash of the payload, which is the same whoever signs it.
    pub payload: Hash,
    /// Names of publishers, or hex keyids where they are not known. Those who may make the statement come first.
    pub signers: Vec<String>,
    /// The number of signers who may make the statement; all, if that is not known.
    pub speakers: usize,
    pub checked: bool,
    /// A key that was not valid at any time at which the entry can have been added.
    pub outside_validity: Option<StatementError>,
}

/// The time at which entries were added, between two bounds.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// Not before this second.
    pub from: Timestamp,
    /// Not after this second.
    pub to: Timestamp,
}

fn read(entry: &[u8], log: &str, publishers: Option<&Publishers>, interval: Interval) -> Reading {
    let envelope = match Envelope::parse_entry(entry) {
        Ok(envelope) => envelope,
        Err(e) => return Reading::Unreadable(e),
    };
    let payload = Hash::digest(envelope.payload());
    let signed = match publishers {
        Some(publishers) => read_checked(&envelope, payload, log, publishers, interval),
        None => read_unchecked(&envelope, payload, log),
    };
    match signed {
        Ok(signed) => Reading::Statement(signed),
        Err(StatementError::Statement(e)) => Reading::Unreadable(e),
        Err(why) => Reading::Untrusted { why, payload, statement: Statement::parse(envelope.payload()).ok() },
    }
}

fn read_checked(
    envelope: &Envelope,
    payload: Hash,
    log: &str,
    publishers: &Publishers,
    interval: Interval,
) -> Result<Signed, StatementError> {
    let verified = publishers.verify(envelope, log)?;
    let mut signers = verified.publishers().to_vec();
    let speakers = signers.len();
    let others = verified.signers().iter().filter(|name| !verified.publishers().contains(name));
    signers.extend(others.cloned());
    let outside_validity = publishers.outside_validity(envelope, interval.from, interval.to);
    let statement = verified.into_statement();
    Ok(Signed { statement, payload, signers, speakers, checked: true, outside_validity })
}

fn read_unchecked(envelope: &Envelope, payload: Hash, log: &str) -> Result<Signed, StatementError> {
    let statement = Statement::parse(envelope.payload()).map_err(StatementError::Statement)?;
    check_log(&statement, log)?;
    let signers: Vec<String> = envelope.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
    let (speakers, checked) = (signers.len(), false);
    Ok(Signed { statement, payload, signers, speakers, checked, outside_validity: None })
}

/// Reads many entries on all processors: a signature costs as much as hashing forty of them.
pub fn read_all(
    entries: &[&[u8]],
    log: &str,
    publishers: Option<&Publishers>,
    interval: Interval,
) -> Vec<Reading> {
    /// So few are not worth a thread.
    const FEW: usize = 64;
    let read = |entry: &&[u8]| read(entry, log, publishers, interval);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    if entries.len() <= FEW || threads == 1 {
        return entries.iter().map(read).collect();
    }
    let parts: Vec<&[&[u8]]> = entries.chunks(entries.len().div_ceil(threads)).collect();
    let read_part = |part: &&[&[u8]]| part.iter().map(read).collect::<Vec<Reading>>();
    threads::map(&parts, threads, read_part).into_iter().flatten().collect()
}
