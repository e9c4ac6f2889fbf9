//! Agents: the connections of a client, set up for one kind of address.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::Certificate;
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
pub(crate) fn is_address(prefix: &str) -> bool {
    check_prefix(prefix).is_ok()
}

/// Settings of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions<'a> {
    /// Time limit of a request.
    pub timeout: Duration,
    /// Time limit of a connection attempt.
    pub connect_timeout: Duration,
    /// The `User-Agent`.
    pub name: &'a str,
    /// Connections that are kept for the next request.
    pub idle_connections: usize,
    /// Connections that were idle for longer are closed: the other side may be about to close them, too. `None` for
    /// ureq's 15 s.
    pub idle_age: Option<Duration>,
    /// Authorities that are trusted besides the system's and those of [`trust_certificates`](super::trust_certificates).
    pub authorities: &'a [Certificate<'static>],
    /// Unset for addresses that never are behind a proxy.
    pub may_be_proxied: bool,
}

impl<'a> AgentOptions<'a> {
    /// Options with these limits and this name, and the defaults of a client for the rest.
    pub const fn new(timeout: Duration, connect_timeout: Duration, name: &'a str) -> Self {
        Self {
            timeout,
            connect_timeout,
            name,
            idle_connections: IDLE_CONNECTIONS,
            idle_age: None,
            authorities: &[],
            may_be_proxied: true,
        }
    }

    /// An agent for requests to addresses that begin with `url`. It keeps its connections, follows no redirects,
    /// and passes refusals to its caller.
    ///
    /// # Errors
    /// [`ClientError::Proxy`], [`ClientError::NoCertificates`].
    pub fn agent(&self, url: &str) -> Result<Agent, ClientError> {
        let mut config = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .timeout_connect(Some(self.connect_timeout))
            .http_status_as_error(false)
            // The configured address identifies the log, so an answer from elsewhere is not from it.
            .max_redirects(0)
            .proxy(if self.may_be_proxied { proxy_for(url)? } else { None })
            .tls_config(tls_for(url, self.authorities)?)
            .max_idle_connections(self.idle_connections)
            .max_idle_connections_per_host(self.idle_connections)
            .user_agent(self.name);
        if let Some(age) = self.idle_age {
            config = config.max_idle_age(age);
        }
        Ok(Agent::with_parts(config.build(), DefaultConnector::default(), Addresses::default()))
    }
}

/// An agent for requests to addresses that begin with `url`, with the defaults of a client.
///
/// # Errors
/// [`ClientError::Proxy`], [`ClientError::NoCertificates`].
pub(crate) fn agent(
    url: &str,
    timeout: Duration,
    connect_timeout: Duration,
    name: &str,
) -> Result<Agent, ClientError> {
    AgentOptions::new(timeout, connect_timeout, name).agent(url)
}
