//! Why `treehead verify` ends without a verdict. A fork is remembered before it is told: whoever runs the
//! command again without the network, or the next day, has to hear the same.

use std::path::Path;

use super::exit::Failure;
use super::memory::Memory;
use super::output::say;
use crate::client::ClientError;

/// What [`Failure`] does not say: whether it is about the log itself.
pub enum Refused {
    /// The log signed two histories.
    Fork {
        /// The log.
        origin: String,
        /// Name of the file that proves it, if one was written.
        evidence: Option<String>,
        failure: Failure,
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

    /// What is told, after the memory in `state` has learnt of it. Nobody may hold the memory open here.
    pub fn told(self, state: Option<&Path>) -> Failure {
        match self {
            Self::Fork { origin, evidence, failure } => {
                // The fork is what matters; that it will be forgotten is said as well.
                if let Err(e) = remember(state, &origin, evidence) {
                    say(&format!("the fork could not be remembered: {}", e.message()));
                }
                failure
            }
            Self::Other(failure) => failure,
        }
    }
}

fn remember(state: Option<&Path>, origin: &str, evidence: Option<String>) -> Result<(), Failure> {
    let mut memory = Memory::open(state)?;
    memory.state.fork(origin, evidence);
    memory.save()
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
