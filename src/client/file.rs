//! Fetches a file whose digest is known: anyone may serve it.

use std::time::Duration;

use super::ClientError;
use super::agent::{NAME, agent};
use super::response::read;
use crate::format::quote;

/// Time limit of the whole download.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches at most `limit` bytes from a URL, once, and follows no redirect. The caller compares the digest.
///
/// # Errors
/// [`ClientError`]; [`ClientError::Address`] unless it is an `http` or `https` URL.
pub fn fetch_file(url: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    // Addresses are shown whole: it names no user, and holds no space or control character.
    let is_plain = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && rest.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !rest.is_some_and(is_plain) {
        return Err(ClientError::Address(quote(url)));
    }
    let agent = agent(url, TIMEOUT, CONNECT_TIMEOUT, NAME)?;
    read(url, limit, agent.get(url).header("Accept-Encoding", "identity").call())
}
