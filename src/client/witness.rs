//! Asking a witness: c2sp.org/tlog-witness.

use std::time::Duration;

use ureq::Agent;

use super::ClientError;
use super::agent::{NAME, agent, check_prefix};
use super::response::{network, read, read_capped};
use crate::format::FormatError;
use crate::merkle::{Hash, TreeSize};
use crate::note::{MAX_NOTE_BYTES, Note, NoteSignature};
use crate::proof::wire::{self, AddCheckpoint, MAX_SIGNATURES_BYTES, MAX_SIZE_BYTES};

/// Time limit of a witness's answer: it checks, signs and fsyncs within milliseconds, and one that
/// takes longer than this is of no use to a head.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A witness's answer to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CosignAnswer {
    /// Its signature lines, unverified. Some may be by unknown keys.
    Cosigned(Vec<NoteSignature>),
    /// The request started from another size than this one, which the witness cosigned last.
    Conflict(TreeSize),
}

/// A connection to a witness.
#[derive(Debug, Clone)]
pub struct WitnessClient {
    agent: Agent,
    prefix: String,
}

impl WitnessClient {
    /// A client for the witness at a URL prefix, which serves for submissions and for reading.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless it is an `http` or `https` URL without query, [`ClientError::Proxy`],
    /// [`ClientError::NoCertificates`].
    pub fn new(prefix: &str) -> Result<Self, ClientError> {
        let prefix = check_prefix(prefix)?;
        Ok(Self { agent: agent(&prefix, TIMEOUT, CONNECT_TIMEOUT, NAME)?, prefix })
    }

    /// The witness's URL prefix, without a final slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `POST /add-checkpoint`, once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<CosignAnswer, ClientError> {
        let url = format!("{}/add-checkpoint", self.prefix);
        let malformed = |source: FormatError| ClientError::Malformed { url: url.clone(), source };
        let mut response = self.agent.post(&url).send(request.to_string().as_bytes());
        if let Ok(response) = &mut response
            && response.status().as_u16() == 409
        {
            // One byte more than allowed tells a body that is too large from one that just fits.
            let body = read_capped(response, MAX_SIZE_BYTES + 1).map_err(|e| network(&url, &e.into()))?;
            return wire::parse_size(&body).map(CosignAnswer::Conflict).map_err(malformed);
        }
        let body = read(&url, MAX_SIGNATURES_BYTES, response)?;
        wire::parse_signatures(&body).map(CosignAnswer::Cosigned).map_err(malformed)
    }

    /// `GET /<origin hash>/checkpoint`: the last head of a log that the witness cosigned, unverified. `None`
    /// if it has none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn last_seen(&self, origin: &impl AsRef<str>) -> Result<Option<Note>, ClientError> {
        let url = format!("{}/{}/checkpoint", self.prefix, Hash::digest(origin.as_ref().as_bytes()).to_hex());
        match read(&url, MAX_NOTE_BYTES, self.agent.get(&url).call()) {
            Ok(body) => Note::parse(&body).map(Some).map_err(|source| ClientError::Malformed { url, source }),
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
