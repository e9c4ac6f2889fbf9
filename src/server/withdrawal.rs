//! Admits a withdrawal only if the release that it names is in this log, by the same publisher.

use super::{Log, Problem};
use crate::release::{Publishers, VerifiedStatement};

/// Compares a withdrawal with the entry that it withdraws. Reads the store: not for threads that serve others.
///
/// An applied entry is durable and stays, published or not. An entry that is still on its way, such as one of the
/// same batch, has no index that a withdrawal could name.
pub fn check(log: &Log, publishers: &Publishers, verified: &VerifiedStatement) -> Result<(), Problem> {
    let Some(withdrawal) = verified.statement().as_withdrawal() else { return Ok(()) };
    let (index, size) = (withdrawal.index, log.reader().applied()?);
    if !size.contains(index) {
        return Err(Problem::WithdrawalUnknownLeaf { index, size });
    }
    Ok(publishers.check_withdrawal(verified, index, &log.reader().entry(index)?)?)
}
