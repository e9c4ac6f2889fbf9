//! Follows a standby's refusal to the server that appends.
//!
//! If several servers serve one log, a standby refuses entries with 503 `standby` and names the URL of the server that
//! appends. Nothing signs that URL. Without TLS, an attacker on the network can therefore redirect an entry, as it can
//! any request. The client never follows from `https` to `http`, and follows only once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;

use super::agent::agent;
use super::{ClientError, ProblemCode};

/// Makes agents for the servers that append, and keeps the last one.
#[derive(Debug)]
pub(super) struct Holders {
    timeout: Duration,
    connect_timeout: Duration,
    /// The `User-Agent`.
    name: String,
    last: Mutex<Option<(String, Agent)>>,
}

impl Holders {
    /// Makes agents with these time limits and this `User-Agent`.
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

/// The URL that a refusal by the server at `asked` names, without its final slash.
pub(super) fn holder_of(refused: &ClientError, asked: &str) -> Option<String> {
    let ClientError::Status { code: Some(ProblemCode::Standby { holder: Some(holder) }), .. } = refused
    else {
        return None;
    };
    let holder = holder.trim_end_matches('/');
    let is_safe = holder.starts_with("https://") || !asked.starts_with("https://");
    (is_safe && holder != asked).then(|| holder.to_owned())
}

/// The error of an attempt in which the standby refused and the holder failed. A holder that does not answer is about
/// to be replaced, so the attempt counts as refused by the standby.
pub(super) fn follow_up(refused: ClientError, error: ClientError) -> ClientError {
    let is_answer = !matches!(
        error,
        ClientError::Network { .. } | ClientError::Proxy { .. } | ClientError::NoCertificates { .. }
    );
    match refused {
        ClientError::Status { url, status, code, detail, retry_after, entry } if !is_answer => {
            // An entry that was sent without an answer may be in the log.
            let detail =
                format!("{detail}; the server that it named may have the entry, and failed: {error}");
            ClientError::Status { url, status, code, detail, retry_after, entry }
        }
        _ => error,
    }
}
