//! Agents: the connections of a client, set up for one kind of address.

use std::time::Duration;

use ureq::Agent;
use ureq::unversioned::transport::DefaultConnector;

use super::ClientError;
use super::addresses::Addresses;
use super::certificates::tls_for;
use super::proxy::proxy_for;
use crate::format::quote;

/// Connections that are kept for the next request: as many as a stream of entries has workers at most.
const IDLE_CONNECTIONS: usize = 16;
/// The client's `User-Agent`.
pub(crate) const NAME: &str = concat!("treehead/", env!("CARGO_PKG_VERSION"));

/// A URL prefix without its final slash.
pub(super) fn check_prefix(prefix: &str) -> Result<String, ClientError> {
    let rest = prefix.strip_prefix("http://").or_else(|| prefix.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#', ' '])) {
        return Err(ClientError::Address(quote(prefix)));
    }
    Ok(prefix.trim_end_matches('/').to_owned())
}

/// Returns true for an `http` or `https` URL without query.
#[cfg(feature = "cli")]
pub(crate) fn is_address(prefix: &str) -> bool {
    check_prefix(prefix).is_ok()
}

/// An agent for requests to addresses that begin with `url`. It keeps its connections, follows no redirects,
/// and passes refusals to its caller.
///
/// # Errors
/// [`ClientError::Proxy`], [`ClientError::NoCertificates`].
pub(crate) fn agent(
    url: &str,
    timeout: Duration,
    connect_timeout: Duration,
    name: &str,
) -> Result<Agent, ClientError> {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .timeout_connect(Some(connect_timeout))
        .http_status_as_error(false)
        // The configured address identifies the log, so an answer from elsewhere is not from it.
        .max_redirects(0)
        .proxy(proxy_for(url)?)
        .tls_config(tls_for(url)?)
        .max_idle_connections(IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .user_agent(name)
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), Addresses::default()))
}
