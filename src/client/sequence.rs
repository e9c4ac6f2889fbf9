//! The number to continue from: `GET /sequence`, which treehead logs have, but others may lack.

use serde::Deserialize;

use super::{ClientError, LogClient};
use crate::format::{FormatError, push_percent_encoded};
use crate::merkle::LeafIndex;

/// Largest answer, which repeats the question.
const MAX_SEQUENCE_BYTES: usize = 16 * 1024;

/// The highest sequence number of a publisher, package and channel, as a log reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HighestSequence {
    /// The number.
    pub sequence: u64,
    /// The leaf that has it.
    pub index: LeafIndex,
}

#[derive(Deserialize)]
struct SequenceText {
    /// Null if there is none; required.
    #[serde(deserialize_with = "Option::deserialize")]
    highest: Option<u64>,
    index: Option<LeafIndex>,
}

impl LogClient {
    /// The highest sequence number that a publisher used for a package in a channel, as far as the log has made it
    /// durable; `None` if there is no release yet. The publisher is a name, or the hex keyid of one of its keys; the
    /// package is a purl without version. Another publisher's process may take the next number first: then the log
    /// answers 409 `sequence-taken`, and the caller asks again.
    ///
    /// # Errors
    /// [`ClientError`]; 404 `not-found` if the log does not know the publisher, `no-route` from a log of an older
    /// version.
    pub fn highest_sequence(
        &self,
        publisher: &str,
        package: &str,
        channel: &str,
    ) -> Result<Option<HighestSequence>, ClientError> {
        let mut path = String::from("sequence");
        for (before, value) in [("?publisher=", publisher), ("&package=", package), ("&channel=", channel)] {
            path += before;
            push_percent_encoded(&mut path, value);
        }
        let body = self.get_fresh(&path, MAX_SEQUENCE_BYTES)?.body;
        let malformed = |seen: String| {
            let expected = "a JSON object with highest, a number or null, and the index of its entry";
            let source = FormatError::malformed("the answer about a sequence number", expected, seen);
            self.malformed("sequence")(source)
        };
        let SequenceText { highest, index } =
            serde_json::from_slice(&body).map_err(|e| malformed(e.to_string()))?;
        let Some(sequence) = highest else { return Ok(None) };
        let index = index.ok_or_else(|| malformed("no index".to_owned()))?;
        Ok(Some(HighestSequence { sequence, index }))
    }
}
