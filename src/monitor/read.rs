//! Entries as a monitor reads them: parsed, and their signatures checked where it knows the publishers.

use std::num::NonZero;
use std::thread;

use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::{Envelope, Publishers, Statement, StatementError, Timestamp, check_log};

/// An entry.
#[derive(Debug)]
pub enum Reading {
    /// A statement.
    Statement {
        /// What is stated.
        statement: Statement,
        /// Hash of the payload: whoever signs it, it is the same statement.
        payload: Hash,
        /// Who signed it: names of publishers, or hex keyids where they are not known. Those who may state it come
        /// first.
        signers: Vec<String>,
        /// How many of the signers may state it; all, where that is not known.
        speakers: usize,
        /// Whether the signatures were checked.
        checked: bool,
        /// A key that was not valid at any time at which the entry can have been added.
        outside_validity: Option<StatementError>,
    },
    /// A statement that nobody who may has signed.
    Untrusted {
        /// What is wrong.
        why: StatementError,
        /// Hash of the payload.
        payload: Hash,
        /// What is stated, where that can be read.
        statement: Option<Statement>,
    },
    /// No statement of a kind that is known.
    Unreadable(FormatError),
}

/// When entries were added, at the earliest and at the latest.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// Not before this second.
    pub from: Timestamp,
    /// Not after this second.
    pub to: Timestamp,
}

/// Reads an entry of the log with this origin.
pub fn read(entry: &[u8], log: &str, publishers: Option<&Publishers>, interval: Interval) -> Reading {
    let envelope = match Envelope::parse_entry(entry) {
        Ok(envelope) => envelope,
        Err(e) => return Reading::Unreadable(e),
    };
    let payload = Hash::digest(envelope.payload());
    let Some(publishers) = publishers else {
        let signers: Vec<String> = envelope.signatures().iter().map(|(keyid, _)| keyid.to_hex()).collect();
        return match Statement::parse(envelope.payload()) {
            Ok(statement) => match check_log(&statement, log) {
                Ok(()) => {
                    let (speakers, checked) = (signers.len(), false);
                    Reading::Statement {
                        statement,
                        payload,
                        signers,
                        speakers,
                        checked,
                        outside_validity: None,
                    }
                }
                Err(why) => Reading::Untrusted { why, payload, statement: Some(statement) },
            },
            Err(e) => Reading::Unreadable(e),
        };
    };
    match publishers.verify(&envelope, log) {
        Ok(verified) => {
            let mut signers = verified.publishers().to_vec();
            let speakers = signers.len();
            signers.extend(
                verified.signers().iter().filter(|name| !verified.publishers().contains(name)).cloned(),
            );
            let outside_validity = publishers.outside_validity(&envelope, interval.from, interval.to);
            Reading::Statement {
                statement: verified.into_statement(),
                payload,
                signers,
                speakers,
                checked: true,
                outside_validity,
            }
        }
        Err(StatementError::Statement(e)) => Reading::Unreadable(e),
        Err(why) => Reading::Untrusted { why, payload, statement: Statement::parse(envelope.payload()).ok() },
    }
}

/// Reads many, on all processors: a signature costs as much as hashing forty entries.
pub fn read_all(
    entries: &[&[u8]],
    log: &str,
    publishers: Option<&Publishers>,
    interval: Interval,
) -> Vec<Reading> {
    /// Fewer are not worth a thread.
    const FEW: usize = 64;
    let read = |entry: &&[u8]| read(entry, log, publishers, interval);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    if entries.len() <= FEW || threads == 1 {
        return entries.iter().map(read).collect();
    }
    let each = entries.len().div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = entries
            .chunks(each)
            .map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<Reading>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("reading does not panic")).collect()
    })
}
