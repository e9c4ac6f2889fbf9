//! Telling a monitor which head one was shown.

use std::time::Duration;

use super::ClientError;
use super::agent::{NAME, agent, check_prefix};
use super::response::read;
use crate::note::Note;

/// Time limit of a report: a verdict waits no longer for a monitor.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Most of an answer that is read: nothing depends on it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// `POST /gossip` of the monitor at a URL prefix, once. The body is the note.
///
/// # Errors
/// [`ClientError`]; anything but 200 to 299 is none of the monitor's yes.
pub fn report(prefix: &str, head: &Note) -> Result<(), ClientError> {
    let url = format!("{}/gossip", check_prefix(prefix)?);
    let agent = agent(&url, TIMEOUT, CONNECT_TIMEOUT, NAME)?;
    let request = agent.post(&url).header("Content-Type", "text/plain; charset=utf-8");
    read(&url, MAX_ANSWER_BYTES, request.send(head.to_string().as_bytes())).map(drop)
}
