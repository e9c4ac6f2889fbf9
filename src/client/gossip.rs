//! Sends a monitor the head that an endpoint was shown.

use std::time::Duration;

use super::ClientError;
use super::agent::{NAME, agent, check_prefix};
use super::response::read;
use crate::note::Note;

/// Time limit of a report: verdicts do not wait longer for a monitor.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes to read of an answer: nothing depends on it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// `POST /gossip` of the monitor at a URL prefix, once. The body is the note.
///
/// # Errors
/// [`ClientError`]; also for any status but 200 to 299.
pub fn report(prefix: &str, head: &Note) -> Result<(), ClientError> {
    let url = format!("{}/gossip", check_prefix(prefix)?);
    let agent = agent(&url, TIMEOUT, CONNECT_TIMEOUT, NAME)?;
    let request = agent.post(&url).header("Content-Type", "text/plain; charset=utf-8");
    read(&url, MAX_ANSWER_BYTES, request.send(head.to_string().as_bytes())).map(drop)
}
