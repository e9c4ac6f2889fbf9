//! The conclusions from a log's answers.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use treehead::checkpoint::policy::Cosigned;
use treehead::checkpoint::{Checkpoint, LogSigned, Origin};
use treehead::endpoint::{
    CompareError, EndpointState, History, SearchError, Trust, TwoHistories, VerdictCode, Withdrawals,
    compare_history,
};
use treehead::merkle::{Hash, TreeSize};

use crate::answers::{Answers, Missing};
use crate::fail::{Fail, th_status};
use crate::verdict::No;
use crate::verify::Session;

/// Everything that a log answered in one check.
pub(crate) struct News {
    pub latest: Cosigned<Checkpoint>,
    /// Heads that are proven to be prefixes of it.
    pub compared: Vec<(TreeSize, Hash)>,
    /// What the log says about withdrawals of the release; not asked for if it is refused anyway.
    pub withdrawals: Result<Withdrawals, No>,
}

impl News {
    pub fn teach(&self, session: &mut Session<'_>) {
        session.state.confirm(&self.latest, &self.compared);
        // Also for refusals: a withdrawal holds offline from then on.
        if let Ok(learnt) = &self.withdrawals {
            learnt.newer.iter().for_each(|head| session.state.see(head));
            learnt.proven.iter().for_each(|withdrawal| session.state.withdraw(withdrawal));
        }
        session.has_learnt = true;
    }

    /// The heads that are new.
    pub fn heads(&self) -> impl Iterator<Item = &Cosigned<Checkpoint>> {
        [&self.latest].into_iter().chain(self.withdrawals.iter().flat_map(|learnt| &learnt.newer))
    }
}

/// The reason that the log's answers are not all there, or prove nothing.
pub(crate) enum Stop {
    Missing(Missing),
    No(No),
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<No> for Stop {
    fn from(no: No) -> Self {
        Self::No(no)
    }
}

impl Stop {
    pub fn of(error: SearchError<Missing>, origin: &Origin) -> Self {
        Self::No(match error {
            SearchError::Log(Missing::Next(error)) => No::could_not_tell(error.to_string()),
            SearchError::Log(missing) => return Self::Missing(missing),
            SearchError::Compare(error) => uncompared(error),
            SearchError::Forked(fork) => forked(origin, TwoHistories::Proven(*fork)),
            SearchError::AnotherProof { what, expected, seen } => No::could_not_tell(alloc::format!(
                "the log answered with the proof of another {what}: expected {expected}, saw {seen}"
            )),
        })
    }
}

pub(crate) fn forked(origin: &Origin, fork: TwoHistories) -> No {
    No::Forked { origin: origin.to_string(), fork, evidence_name: None }
}

fn uncompared(error: CompareError) -> No {
    match error {
        CompareError::NoFork(e) => {
            No::Other(Fail::coded(th_status::TH_COULD_NOT_TELL, VerdictCode::NoFork, e.to_string()))
        }
        CompareError::Tiles(e) => {
            No::could_not_tell(alloc::format!("the log's tiles do not lead to its newest head: {e}"))
        }
    }
}

/// Compares the newest head with all that were seen.
pub(crate) fn compare(
    trust: Trust<'_>,
    latest: &LogSigned<Checkpoint>,
    (answers, before): (&Answers, &EndpointState),
    seen: Option<&LogSigned<Checkpoint>>,
) -> Result<Vec<(TreeSize, Hash)>, Stop> {
    let seen = seen.map_or(&[][..], core::slice::from_ref);
    let head = latest.get();
    match compare_history(answers, &trust.policy.log_keys(), latest, before, seen)? {
        Ok(History::Continues(compared)) => Ok(compared),
        Ok(History::Forked(fork)) => Err(forked(&head.origin, fork).into()),
        Ok(History::RolledBack { shown, .. }) => Err(No::Other(Fail::coded(
            th_status::TH_REFUSED,
            VerdictCode::LogRolledBack,
            alloc::format!(
                "the log serves an older head than one it signed: expected at least size {}, saw {}",
                shown.size,
                head.size
            ),
        ))
        .into()),
        Err(error) => Err(uncompared(error).into()),
    }
}
