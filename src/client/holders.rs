//! The way from a server that stands by to the one that appends.
//!
//! Where several servers serve one log, a server that stands by refuses entries with 503 `standby`, and names the URL of
//! the one that appends. Nothing signs that URL. So an entry may be sent where anybody on the way wants it to be, as without
//! TLS any request may, but never from `https` to `http`, and not from there on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;

use super::agent::agent;
use super::{ClientError, ProblemCode};

/// Agents for the servers that append, of which the last one is kept.
#[derive(Debug)]
pub(super) struct Holders {
    timeout: Duration,
    connect_timeout: Duration,
    /// The `User-Agent`.
    name: String,
    last: Mutex<Option<(String, Agent)>>,
}

impl Holders {
    /// Agents with these time limits and this `User-Agent`.
    pub const fn new(timeout: Duration, connect_timeout: Duration, name: String) -> Self {
        Self { timeout, connect_timeout, name, last: Mutex::new(None) }
    }

    /// The agent for a server's URL.
    pub fn agent(&self, holder: &str) -> Result<Agent, ClientError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = last.as_ref().filter(|(url, _)| url == holder) {
            return Ok(agent.clone());
        }
        let agent = agent(holder, self.timeout, self.connect_timeout, &self.name)?;
        *last = Some((holder.to_owned(), agent.clone()));
        Ok(agent)
    }
}

/// The URL to which a refusal by the server at `asked` leads, without its final slash.
pub(super) fn holder_of(refused: &ClientError, asked: &str) -> Option<String> {
    let ClientError::Status { code: Some(ProblemCode::Standby { holder: Some(holder) }), .. } = refused
    else {
        return None;
    };
    let holder = holder.trim_end_matches('/');
    let is_safe = holder.starts_with("https://") || !asked.starts_with("https://");
    (is_safe && holder != asked).then(|| holder.to_owned())
}

/// The error of a try whose first server refused, and whose second failed. A server that appends and does not answer is
/// about to be replaced, so the try counts as refused by the one that stands by.
pub(super) fn follow_up(refused: ClientError, error: ClientError) -> ClientError {
    let is_answer = !matches!(
        error,
        ClientError::Network { .. } | ClientError::Proxy { .. } | ClientError::NoCertificates { .. }
    );
    match refused {
        ClientError::Status { url, status, code, detail, retry_after, entry } if !is_answer => {
            // What was sent without an answer may be in the log.
            let detail =
                format!("{detail}; the server that it named may have the entry, and failed: {error}");
            ClientError::Status { url, status, code, detail, retry_after, entry }
        }
        _ => error,
    }
}
