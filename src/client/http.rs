//! Requests to one log: capped, timed, and tried again where that helps.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;

use super::ClientError;
use super::gate::{Gate, Pass};
use super::holders::{Holders, follow_up, holder_of};
use super::patience::{OnPause, Patience, Tries};
use super::response::{Admit, Fetched, read, read_admitted};
use crate::checkpoint::{self, Checkpoint, LogSigned, SignsFor};
use crate::format::FormatError;
use crate::note::MAX_NOTE_BYTES;

/// Shortest time limit of a try, even if less time is left.
const SHORTEST_TRY: Duration = Duration::from_millis(500);
/// A connection to a log. Clones share its connections.
#[derive(Debug, Clone)]
pub struct LogClient {
    pub(super) agent: Agent,
    pub(super) prefix: String,
    /// Time limit of a try.
    pub(super) timeout: Duration,
    pub(super) patience: Patience,
    pub(super) gate: Option<Gate>,
    pub(super) on_pause: Option<OnPause>,
    pub(super) holders: Arc<Holders>,
}

/// A head that was requested past caches.
#[derive(Debug)]
pub struct PastCaches {
    /// The head.
    pub head: LogSigned<Checkpoint>,
    /// Set if a cache sent the answer nevertheless, as its `Age` header says.
    pub is_cached: bool,
}

impl LogClient {
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

    /// An error for an answer at a path that can't be read.
    pub(super) fn malformed(&self, path: &str) -> impl Fn(FormatError) -> ClientError {
        let url = self.url(path);
        move |source| ClientError::Malformed { url: url.clone(), source }
    }

    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    /// Fetches at most `limit` bytes. Tries again if that may help.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, path: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = self.url(path);
        self.with_retries(|most| {
            let _pass = self.pass();
            read(&url, limit, self.agent.get(&url).config().timeout_global(Some(most)).build().call())
        })
    }

    /// Like [`get`](Self::get), but tries once, accepts gzip only if `packed` is set, and reads into the beginning of
    /// `buffer`, which only ever gets longer. Returns the body's length; `None` if `admit` refuses.
    pub(super) fn get_once(
        &self,
        path: &str,
        packed: bool,
        limit: usize,
        admit: &mut Admit<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<usize>, ClientError> {
        let url = self.url(path);
        let mut request = self.agent.get(&url);
        if !packed {
            request = request.header("Accept-Encoding", "identity");
        }
        let _pass = self.pass();
        read_admitted(&url, limit, request.call(), admit, buffer)
    }

    /// Posts a body and reads at most `limit` bytes of the answer. Tries again if that may help:
    /// an entry sent twice is in the log once.
    ///
    /// A server that stands by names the one that appends. Each try sends the body there once, and never further. What the
    /// caller checks in an answer, it checks in that one, too.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post(&self, path: &str, accept: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, ClientError> {
        let send = |agent: &Agent, url: &str, most: Duration| {
            let request = agent.post(url).header("Accept", accept);
            read(url, limit, request.config().timeout_global(Some(most)).build().send(body))
        };
        let url = self.url(path);
        self.with_retries(|most| {
            let _pass = self.pass();
            let refused = match send(&self.agent, &url, most) {
                Err(refused) => refused,
                answer => return answer,
            };
            let Some(holder) = holder_of(&refused, &self.prefix) else { return Err(refused) };
            let url = format!("{holder}/{}", path.trim_start_matches('/'));
            let answer = self.holders.agent(&holder).and_then(|agent| send(&agent, &url, most));
            answer.map_err(|error| follow_up(refused, error))
        })
    }

    /// Like [`get`](Self::get), for answers that change: asks caches on the path to revalidate.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) fn get_fresh(&self, path: &str, limit: usize) -> Result<Fetched, ClientError> {
        let url = self.url(path);
        self.with_retries(|most| {
            let _pass = self.pass();
            let request = self.agent.get(&url).header("Cache-Control", "no-cache");
            Fetched::read(&url, limit, request.config().timeout_global(Some(most)).build().call())
        })
    }

    /// Fetches the checkpoint, and checks that one of `logs` signed it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Head`] for an answer that is not such a checkpoint.
    pub fn checkpoint(&self, logs: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, ClientError> {
        self.checkpoint_at("checkpoint", logs)
    }

    /// Like [`checkpoint`](Self::checkpoint), for monitors and witnesses, which serve heads at another path.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_at(
        &self,
        path: &str,
        logs: &[impl SignsFor],
    ) -> Result<LogSigned<Checkpoint>, ClientError> {
        self.get_fresh(path, MAX_NOTE_BYTES)?.signed_head(logs)
    }

    /// Fetches the checkpoint without checking who signed it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Head`] for an answer that is not such a checkpoint.
    pub fn unverified_checkpoint(&self) -> Result<Checkpoint, ClientError> {
        let fetched = self.get_fresh("checkpoint", MAX_NOTE_BYTES)?;
        let read = checkpoint::read_unverified(&fetched.body);
        read.map(|(head, _)| head).map_err(|e| fetched.is_no_head(e.into()))
    }

    /// Like [`checkpoint`](Self::checkpoint), but tries once and bypasses caches as far as a client can: RFC 9111
    /// section
    /// 5.2.1.4 makes them revalidate, and no cache has the answer to a new query. `nonce` is a number that was not used
    /// before.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_past_caches(
        &self,
        logs: &[impl SignsFor],
        nonce: u64,
    ) -> Result<PastCaches, ClientError> {
        let url = self.url(&format!("checkpoint?past-caches={nonce}"));
        let _pass = self.pass();
        let response = self.agent.get(&url).header("Cache-Control", "no-cache").call();
        let fetched = Fetched::read(&url, MAX_NOTE_BYTES, response)?;
        Ok(PastCaches { head: fetched.signed_head(logs)?, is_cached: fetched.is_cached })
    }

    /// A pass to hold while a request is under way, if their number is limited.
    fn pass(&self) -> Option<Pass<'_>> {
        self.gate.as_ref().map(Gate::pass)
    }

    /// Repeats `attempt` as the client's patience allows, and passes it the time limit of the try.
    fn with_retries<T>(
        &self,
        mut attempt: impl FnMut(Duration) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tries = Tries::of(self.patience);
        loop {
            let most = tries.left().map_or(self.timeout, |left| left.max(SHORTEST_TRY).min(self.timeout));
            let error = match attempt(most) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match tries.after(&error) {
                Some(pause) => {
                    if let Some(on_pause) = &self.on_pause {
                        on_pause.tell(&error, pause);
                    }
                    std::thread::sleep(pause);
                }
                None => return Err(error),
            }
        }
    }
}
