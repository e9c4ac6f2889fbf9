//! `--batch`: lines on standard input, as they come.

use std::io::{self, BufRead as _, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Map, Value};

use super::exit::{self, CliResult, Failure};
use super::output;
use crate::endpoint::MAX_BATCH_LINE_BYTES;
use crate::format::FormatError;
use crate::threads::{self, ThreadError};

/// Most lines to judge at once.
const MOST: usize = 128;
/// How long to wait for a further line before those that came are judged. Whoever writes them all at once has them
/// judged at once; whoever waits for an answer gets it.
const PAUSE: Duration = Duration::from_millis(1);

/// A line that is not empty.
pub struct Line {
    /// Its number, counted from 1.
    pub number: usize,
    /// Its text. Of a line that is too long, one byte more than allowed.
    pub text: Vec<u8>,
}

/// The lines of standard input, in groups that came together. A thread reads them, so that no answer waits for a further
/// line.
pub struct Lines(Receiver<io::Result<Line>>);

impl Lines {
    pub fn read() -> Result<Self, ThreadError> {
        let (send, receive) = sync_channel(MOST);
        threads::start("input", move || {
            for number in 1.. {
                let line = match next() {
                    Ok(None) => break,
                    Ok(Some(text)) if text.is_empty() => continue,
                    Ok(Some(text)) => Ok(Line { number, text }),
                    Err(e) => Err(e),
                };
                let is_last = line.is_err();
                // The receiver may be gone; then nobody waits for an answer.
                if send.send(line).is_err() || is_last {
                    break;
                }
            }
        })?;
        Ok(Self(receive))
    }

    /// Waits for a line, and takes all that came with it. `None` at the end.
    pub fn group(&self) -> Result<Option<Vec<Line>>, Failure> {
        let Ok(first) = self.0.recv() else { return Ok(None) };
        let mut group = vec![first];
        while group.len() < MOST {
            match self.0.recv_timeout(PAUSE) {
                Ok(line) => group.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let unread = |e| Failure::CouldNotTell(format!("could not read standard input: {e}"));
        group.into_iter().collect::<io::Result<_>>().map(Some).map_err(unread)
    }
}

/// The next line of standard input, without white space around it; `None` at the end.
fn next() -> io::Result<Option<Vec<u8>>> {
    let mut input = io::stdin().lock();
    let (mut line, limit) = (Vec::new(), MAX_BATCH_LINE_BYTES as u64 + 1);
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_BATCH_LINE_BYTES && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
        return Ok(Some(line));
    }
    Ok(Some(line.trim_ascii().to_vec()))
}

/// A verdict on its way out.
pub struct Answer {
    /// Number of the line.
    pub line: usize,
    /// The `id` of the line.
    pub id: Option<Value>,
    /// The object of `--json`.
    pub object: Value,
    /// The failure, if it is one.
    pub failure: Option<Failure>,
}

impl Answer {
    /// The answer to a line that could not be read.
    pub fn malformed(line: usize, id: Option<Value>, error: &FormatError) -> Self {
        let failure = Failure::Usage(format!("line {line}: {error}"));
        Self { line, id, object: exit::object(&failure, Map::new()), failure: Some(failure) }
    }

    /// Prints the object with the line, its `id`, and the exit code that this verdict alone would have.
    fn print(&self) -> CliResult {
        let mut object = self.object.clone();
        object["line"] = self.line.into();
        object["exit"] = self.failure.as_ref().map_or(0, Failure::exit_code).into();
        self.id.iter().for_each(|id| object["id"] = id.clone());
        output::result(true, &object, "")
    }
}

/// Answers all lines of standard input, in order. Returns the worst failure of all.
pub fn answer_all(mut answer: impl FnMut(Vec<Line>) -> Vec<Answer>) -> CliResult {
    let (lines, mut worst) = (Lines::read()?, Ok(()));
    while let Some(group) = lines.group()? {
        let answers = answer(group);
        answers.iter().try_for_each(Answer::print)?;
        let failures = answers.into_iter().filter_map(|answer| answer.failure);
        worst = Failure::worst(worst.err().into_iter().chain(failures).collect::<Vec<_>>().iter());
    }
    worst
}
