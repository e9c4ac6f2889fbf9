//! Settings of a client: time limits, tries, and the contact that it names.

use std::sync::Arc;
use std::time::Duration;

use super::agent::{NAME, agent, check_prefix};
use super::gate::Gate;
use super::holders::Holders;
use super::patience::{OnPause, Patience};
use super::{ClientError, LogClient};
use crate::format::quote;

/// Time limit of a request, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a contact.
const MAX_CONTACT_BYTES: usize = 200;

/// Settings of a [`LogClient`].
#[derive(Debug, Clone)]
pub struct LogClientBuilder {
    timeout: Duration,
    connect_timeout: Duration,
    patience: Patience,
    contact: Option<String>,
    at_once: Option<usize>,
    on_pause: Option<OnPause>,
}

impl LogClient {
    /// A client for the log at a URL prefix.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless it is an `http` or `https` URL without query.
    pub fn new(prefix: &str) -> Result<Self, ClientError> {
        Self::builder().build(prefix)
    }

    /// A client with other timeouts, other patience or a contact.
    #[must_use]
    pub fn builder() -> LogClientBuilder {
        LogClientBuilder::default()
    }
}

impl Default for LogClientBuilder {
    fn default() -> Self {
        let (timeout, connect_timeout) = (TIMEOUT, CONNECT_TIMEOUT);
        let patience = Patience::default();
        Self { timeout, connect_timeout, patience, contact: None, at_once: None, on_pause: None }
    }
}

impl LogClientBuilder {
    /// Sets the time limit of one request, from the look-up of the name to the last byte: 60 s by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time limit of a connection attempt: 10 s by default.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the number of tries at a busy log, the first included: 6 by default, at least 1.
    #[must_use]
    pub const fn tries(mut self, tries: u32) -> Self {
        self.patience.tries = tries;
        self
    }

    /// Sets the first pause between tries, which doubles: 200 ms by default. A log may ask for a longer one.
    #[must_use]
    pub const fn pause(mut self, pause: Duration) -> Self {
        self.patience.pause = pause;
        self
    }

    /// Sets the longest pause that a log gets if it asks for one: 30 s by default. If it asks for more, the request
    /// fails.
    #[must_use]
    pub const fn longest_pause(mut self, pause: Duration) -> Self {
        self.patience.longest = pause;
        self
    }

    /// Sets the time limit of a request with all its tries. If set, it replaces [`tries`](Self::tries) and
    /// [`longest_pause`](Self::longest_pause): until it has passed, refused, broken or slow connections,
    /// unknown host names and busy logs are retried, with pauses that double up to 5 s, or that the log asks
    /// for.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.patience.within = Some(time);
        self
    }

    /// Limits the requests that the client and its clones have under way at once, streams of entries included, to at
    /// least one. By default there is no limit.
    #[must_use]
    pub const fn at_once(mut self, requests: usize) -> Self {
        self.at_once = Some(requests);
        self
    }

    /// Sets a function that is called before each pause between tries, to tell a waiting user.
    /// Streams of entries do not call it.
    #[must_use]
    pub fn on_pause(mut self, told: impl Fn(&ClientError, Duration) + Send + Sync + 'static) -> Self {
        self.on_pause = Some(OnPause::new(told));
        self
    }

    /// Sets a contact address for the log's operator; the `User-Agent` of each request carries it.
    #[must_use]
    pub fn contact(mut self, contact: &str) -> Self {
        self.contact = Some(contact.to_owned());
        self
    }

    /// A client for the log at a URL prefix.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless it is an `http` or `https` URL without query, [`ClientError::Contact`]
    /// for one that no header can hold, [`ClientError::Proxy`] and [`ClientError::NoCertificates`] if the
    /// environment allows no connection.
    pub fn build(&self, prefix: &str) -> Result<LogClient, ClientError> {
        let prefix = check_prefix(prefix)?;
        let mut name = NAME.to_owned();
        if let Some(contact) = &self.contact {
            let printable = contact.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            if !printable || contact.trim().is_empty() || contact.len() > MAX_CONTACT_BYTES {
                return Err(ClientError::Contact(quote(contact)));
            }
            name += &format!(" ({})", contact.trim());
        }
        let (timeout, connect_timeout, patience) = (self.timeout, self.connect_timeout, self.patience);
        let agent = agent(&prefix, timeout, connect_timeout, &name)?;
        let (gate, on_pause) = (self.at_once.map(Gate::new), self.on_pause.clone());
        let holders = Arc::new(Holders::new(timeout, connect_timeout, name));
        Ok(LogClient { agent, prefix, timeout, patience, gate, on_pause, holders })
    }
}
