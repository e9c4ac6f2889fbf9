//! Requests to one log: capped, timed, with its errors read.

use std::io::Read as _;
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;
use ureq::http::Response;

use super::ClientError;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::format::{FormatError, quote, quote_bytes};
use crate::note::{MAX_NOTE_BYTES, NoteKey};

/// How long a request may take, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: u64 = 64 * 1024;
/// Tries of a request that may be sent again, the first one included.
const TRIES: u32 = 6;
/// First pause between tries where the log names none; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A connection to a log. Clones share its connections.
#[derive(Debug, Clone)]
pub struct LogClient {
    agent: Agent,
    prefix: String,
}

#[derive(Deserialize)]
struct ProblemText {
    code: Option<String>,
    detail: Option<String>,
    entry: Option<usize>,
}

impl LogClient {
    /// A client for the log at a URL prefix.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless it is an `http` or `https` URL without query.
    pub fn new(prefix: &str) -> Result<Self, ClientError> {
        Ok(Self { prefix: check_prefix(prefix)?, agent: agent(TIMEOUT, CONNECT_TIMEOUT) })
    }

    /// The log's URL prefix, without a final slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// URL of a path below the prefix.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}/{}", self.prefix, path.trim_start_matches('/'))
    }

    /// Fetches at most `limit` bytes. Tries again where that may help.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, path: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = self.url(path);
        with_retries(|| read(&url, limit, self.agent.get(&url).call()))
    }

    /// Posts a body and reads at most `limit` bytes of the answer. Tries again where that may help:
    /// an entry sent twice is in the log once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post(&self, path: &str, accept: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = self.url(path);
        with_retries(|| read(&url, limit, self.agent.post(&url).header("Accept", accept).send(body)))
    }

    /// Fetches the checkpoint, and checks that one of `logs` signed it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn checkpoint(&self, logs: &[NoteKey]) -> Result<LogSigned<Checkpoint>, ClientError> {
        Ok(checkpoint::open(&self.get("checkpoint", MAX_NOTE_BYTES)?, logs)?)
    }
}

/// A URL prefix without its final slash.
pub(super) fn check_prefix(prefix: &str) -> Result<String, ClientError> {
    let rest = prefix.strip_prefix("http://").or_else(|| prefix.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#', ' '])) {
        return Err(ClientError::Address(quote(prefix)));
    }
    Ok(prefix.trim_end_matches('/').to_owned())
}

pub(super) fn agent(timeout: Duration, connect_timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_connect(Some(connect_timeout))
        .http_status_as_error(false)
        // An address is an identity to whoever configured it.
        .max_redirects(0)
        .user_agent(concat!("treehead/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

fn with_retries<T>(mut attempt: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        let error = match attempt() {
            // Only a busy log is asked again: one that does not answer is a question for people.
            Err(e @ ClientError::Status { .. }) if e.is_temporary() => e,
            other => return other,
        };
        let named = match &error {
            ClientError::Status { retry_after: Some(seconds), .. } => Duration::from_secs((*seconds).min(30)),
            _ => Duration::ZERO,
        };
        std::thread::sleep(pause.max(named));
        pause *= 2;
    }
    attempt()
}

/// Reads an answer of at most `limit` bytes.
pub(super) fn read(
    url: &str,
    limit: usize,
    response: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<Vec<u8>, ClientError> {
    let network = |e: ureq::Error| ClientError::Network { url: url.to_owned(), detail: e.to_string() };
    let mut response = response.map_err(network)?;
    let status = response.status();
    if !status.is_success() {
        let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = read_capped(&mut response, MAX_ERROR_BYTES).unwrap_or_default();
        let problem: Option<ProblemText> = serde_json::from_slice(&body).ok();
        let (code, detail, entry) = problem.map_or((None, None, None), |p| (p.code, p.detail, p.entry));
        return Err(ClientError::Status {
            url: url.to_owned(),
            status: status.as_u16(),
            code: code.filter(|code| is_code(code)),
            detail: detail.map_or_else(|| quote_bytes(&body), |detail| printable(&detail)),
            retry_after,
            entry,
        });
    }
    // One byte more than allowed tells a body that is too large from one that just fits.
    match read_capped(&mut response, limit as u64 + 1) {
        Ok(body) if body.len() <= limit => Ok(body),
        Ok(_) => Err(ClientError::Malformed {
            url: url.to_owned(),
            source: FormatError::TooLarge { what: "the answer", limit, unit: "bytes", seen: limit + 1 },
        }),
        Err(e) => Err(ClientError::Network { url: url.to_owned(), detail: e.to_string() }),
    }
}

/// Reads at most `limit` bytes as they come out of the decoder: a few bytes of gzip can stand for
/// gigabytes, so what counts is not what came over the wire.
pub(super) fn read_capped(response: &mut Response<ureq::Body>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    response.body_mut().as_reader().take(limit).read_to_end(&mut body)?;
    Ok(body)
}

/// Codes go into other machines' reports: only what can be one is passed on.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// Foreign text for people, without what could drive their terminal.
pub(crate) fn printable(text: &str) -> String {
    let head = text.chars().take(2_000);
    head.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
