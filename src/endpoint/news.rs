//! Everything that a log answered in one check.

use super::check_error::CheckError;
use super::inquiry::Inquiry;
use super::open::Endpoint;
use super::remote_log::RemoteLog;
use super::{EndpointState, Refusal, VerifiedRelease, Withdrawals};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::merkle::{Hash, TreeSize};

/// The answers of a log in one check.
pub(super) struct News {
    pub latest: Cosigned<Checkpoint>,
    /// Heads that are proven to be prefixes of it.
    compared: Vec<(TreeSize, Hash)>,
    /// The answer about each release that was asked about, by its leaf hash.
    withdrawals: Vec<(Hash, Result<Withdrawals, CheckError>)>,
}

impl News {
    /// Compares all heads with the newest one, and asks for withdrawals of the releases in `about`. `seen` are the
    /// heads of the proof files.
    pub fn ask(
        endpoint: &Endpoint,
        log: &dyn RemoteLog,
        latest: &LogSigned<Checkpoint>,
        state: &EndpointState,
        (seen, about): (&[LogSigned<Checkpoint>], &[VerifiedRelease]),
    ) -> Result<Self, CheckError> {
        let inquiry = Inquiry::new(endpoint, log, latest);
        // Before the quorum: a head that too few witnesses cosigned still convicts the log that signed it.
        let compared = inquiry.heads(state, seen)?;
        let cosigned = endpoint.trust().policy.check(latest).map_err(Refusal::Quorum)?;
        let (mut state, mut withdrawals) = (state.clone(), Vec::new());
        for about in about {
            let learnt = inquiry.withdrawals(&state, about);
            if let Err(fork) = &learnt
                && fork.is_fork()
            {
                return Err(fork.clone());
            }
            // Do not ask again for withdrawals that an earlier release's answer held.
            let proven = learnt.iter().flat_map(|learnt| &learnt.proven);
            proven.for_each(|withdrawal| state.withdraw(withdrawal));
            withdrawals.push((*about.leaf(), learnt));
        }
        Ok(Self { latest: cosigned, compared, withdrawals })
    }

    /// Remembers all of it.
    pub fn teach(&self, state: &mut EndpointState) {
        state.confirm(&self.latest, &self.compared);
        self.learnt().flat_map(|learnt| &learnt.newer).for_each(|head| state.see(head));
        self.learnt().flat_map(|learnt| &learnt.proven).for_each(|withdrawal| state.withdraw(withdrawal));
    }

    fn learnt(&self) -> impl Iterator<Item = &Withdrawals> {
        self.withdrawals.iter().filter_map(|(_, learnt)| learnt.as_ref().ok())
    }

    fn of(&self, leaf: &Hash) -> Option<&Result<Withdrawals, CheckError>> {
        self.withdrawals.iter().find(|(of, _)| of == leaf).map(|(_, learnt)| learnt)
    }

    /// The heads that are new.
    pub fn heads(&self) -> impl Iterator<Item = &Cosigned<Checkpoint>> {
        [&self.latest].into_iter().chain(self.learnt().flat_map(|learnt| &learnt.newer))
    }

    /// Returns true if the log was asked for withdrawals of the release with this leaf hash, and answered.
    pub fn asked_for_withdrawals(&self, leaf: &Hash) -> bool {
        matches!(self.of(leaf), Some(Ok(learnt)) if learnt.asked)
    }

    /// Checks that the log's answers leave no doubt about the release with this leaf hash.
    pub fn check(&self, leaf: &Hash) -> Result<(), CheckError> {
        match self.of(leaf) {
            Some(Ok(Withdrawals { doubt: None, .. })) => Ok(()),
            Some(Ok(Withdrawals { doubt: Some(doubt), .. })) => Err(doubt.clone().into()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(CheckError::NotAsked { origin: self.latest.get().origin.clone() }),
        }
    }
}
