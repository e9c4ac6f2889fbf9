//! Why `treehead verify` refuses an artifact, or can't tell.

use crate::cli::exit::Failure;
use crate::client::ClientError;

/// What [`Failure`] does not say: whether it is about the log itself.
#[derive(Debug, Clone)]
pub enum Refused {
    /// The log signed two histories.
    Fork {
        /// The log.
        origin: String,
        /// Name of the file that proves it, if one was written.
        evidence: Option<String>,
        failure: Box<Failure>,
    },
    Other(Failure),
}

impl Refused {
    /// Whether it is a fork, met now or before.
    pub fn is_fork(&self) -> bool {
        match self {
            Self::Fork { .. } => true,
            Self::Other(failure) => failure.is_fork(),
        }
    }

    /// The failure to report.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Fork { failure, .. } => *failure,
            Self::Other(failure) => failure,
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::Other(Failure::unsigned(error))
    }
}
