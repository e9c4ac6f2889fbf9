//! Appending: `POST /add`, or `POST /add-batch` with many entries.

use std::cell::RefCell;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, HeaderValue};
use hyper::{Request, Uri};

use super::acks::{Acks, MAX_REMEMBERED};
use super::connection::Answer;
use super::entries::{Entries, Source, random};
use super::measure::Measured;
use super::{LoadError, Plan};
use crate::format::{FormatError, quote_bytes};
use crate::merkle::{Hash, LeafIndex};
use crate::proof::bundle;

/// The form of answers with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Decimal indices, one a line, which are remembered and checked.
    Indices,
    /// Anything: each entry counts as acknowledged, and nothing is remembered. For measuring a server that does
    /// nothing.
    Anything,
    /// The proof file of each entry, counted like `Anything`. For measuring how long a proof takes.
    Proofs,
}

/// The entries and requests of a run, and what the log answered.
pub struct Append {
    source: Source,
    batch: usize,
    uri: Uri,
    host: HeaderValue,
    answers: Answers,
    pub acks: RefCell<Acks>,
    /// The fault of the first malformed answer with status 200.
    pub malformed: RefCell<Option<FormatError>>,
}

impl Append {
    /// Signs statements ahead, if the entries are statements.
    pub fn prepare(plan: &Plan) -> Result<Self, LoadError> {
        Ok(Self {
            source: Source::prepare(&plan.entries, plan.rate, plan.duration)?,
            batch: plan.batch,
            uri: plan.target.uri(&plan.path)?,
            host: plan.target.host().clone(),
            answers: plan.answers,
            acks: RefCell::new(Acks::new(MAX_REMEMBERED, random()?)),
            malformed: RefCell::default(),
        })
    }

    /// Number of entries that were not signed yet when they were due.
    pub fn waits(&self) -> u64 {
        self.source.waits()
    }

    /// The next request.
    pub async fn next(&self) -> Asked {
        if self.batch == 1 {
            let entry = self.source.next().await;
            return Asked { body: entry.clone(), entries: vec![entry] };
        }
        let (mut entries, mut body) = (Vec::with_capacity(self.batch), Vec::new());
        for _ in 0..self.batch {
            let entry = self.source.next().await;
            if entries.is_empty() {
                // The others are about as long.
                body.reserve(self.batch * (bundle::LENGTH_BYTES + entry.len()));
            }
            bundle::push(&mut body, &entry).expect("entries are made to fit");
            entries.push(entry);
        }
        // Slices of the body that is sent: a batch is in memory once.
        let body = Bytes::from(body);
        let mut end = 0;
        for entry in &mut entries {
            let start = end + bundle::LENGTH_BYTES;
            end = start + entry.len();
            *entry = body.slice(start..end);
        }
        Asked { entries, body }
    }

    pub fn request(&self, ask: &Asked) -> Request<Full<Bytes>> {
        let accept = if self.answers == Answers::Proofs { "text/x-tlog-proof" } else { "text/plain" };
        let request = Request::post(self.uri.clone())
            .header(HOST, &self.host)
            .header(ACCEPT, HeaderValue::from_static(accept));
        request.body(Full::new(ask.body.clone())).expect("a request of parts that were parsed")
    }

    /// Counts an answer with status 200 that came `elapsed` after the start.
    pub fn answered(&self, ask: &Asked, answer: &Answer, elapsed: Duration, measured: &mut Measured) {
        let count = |measured: &mut Measured, entry: &Bytes| {
            measured.entries += 1;
            measured.bytes += entry.len() as u64;
        };
        if self.answers != Answers::Indices {
            return ask.entries.iter().for_each(|entry| count(measured, entry));
        }
        let lines = match parse(&answer.body, ask.entries.len()) {
            Ok(lines) => lines,
            Err(wrong) => {
                measured.errors.count(Some(answer.status), Some("malformed-answer"));
                self.malformed.borrow_mut().get_or_insert(wrong);
                return;
            }
        };
        let mut acks = self.acks.borrow_mut();
        for (entry, line) in ask.entries.iter().zip(lines) {
            match line {
                Line::Index(index) => {
                    count(measured, entry);
                    acks.push(index, elapsed, || Hash::leaf(entry));
                }
                Line::Refused(code) => measured.errors.count(None, Some(code)),
            }
        }
    }
}

/// The entries of a request, and its body.
pub struct Asked {
    entries: Vec<Bytes>,
    body: Bytes,
}

/// The answer for one entry.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Index(LeafIndex),
    Refused(&'a str),
}

/// ```text
/// (<decimal index> | error <code>) newline ...      one for each entry; the last newline may miss
/// ```
fn parse(body: &[u8], entries: usize) -> Result<Vec<Line<'_>>, FormatError> {
    let wrong =
        |expected: String| FormatError::malformed("the answer to an append", expected, quote_bytes(body));
    let text = std::str::from_utf8(body).map_err(|_| wrong("text".to_owned()))?;
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    if lines.len() != entries {
        return Err(wrong(format!("{entries} lines, one for each entry")));
    }
    let parse = |line: &&'_ str| LeafIndex::parse(line).map(Line::Index);
    let read = |line| match parse(&line) {
        Some(index) => Ok(index),
        None => line
            .strip_prefix("error ")
            .map(Line::Refused)
            .ok_or_else(|| wrong("a decimal leaf index, or `error <code>`, for each entry".to_owned())),
    };
    lines.into_iter().map(read).collect()
}

/// Length of a request's body in bytes, if the length of the entries is known beforehand.
pub fn body_bytes(entries: &Entries, batch: usize) -> Option<usize> {
    match entries {
        Entries::Random(size) => Some(batch * (bundle::LENGTH_BYTES + size)),
        Entries::Signed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_indices_or_errors() {
        let index = |n| Line::Index(LeafIndex::new(n).unwrap());
        assert_eq!(parse(b"17", 1).unwrap(), [index(17)]);
        assert_eq!(
            parse(b"0\nerror sequence-taken\n2\n", 3).unwrap(),
            [index(0), Line::Refused("sequence-taken"), index(2)]
        );
        for (bad, entries) in [
            (&b""[..], 1),
            (b"1\n2", 1),
            (b"1", 2),
            (b"01", 1),
            (b"-1", 1),
            (b"{\"index\":1}", 1),
            (b"\xff", 1),
            (b"1\n\n", 1),
        ] {
            assert!(parse(bad, entries).is_err(), "{bad:?}");
        }
    }
}
