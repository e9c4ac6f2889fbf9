//! Whether a withdrawal is admitted: the release that it names has to be in this log, and by the
//! same publisher.

use super::{Log, Problem};
use crate::release::{Publishers, VerifiedStatement};

/// Compares a withdrawal with the entry that it withdraws. Reads the store: not for threads that
/// others wait for.
///
/// What is applied is durable and stays, published or not; what is still on its way has no index
/// that anybody could know, so neither has an entry of the same batch.
pub fn check(log: &Log, publishers: &Publishers, verified: &VerifiedStatement) -> Result<(), Problem> {
    let Some(withdrawal) = verified.statement().as_withdrawal() else { return Ok(()) };
    let (index, size) = (withdrawal.index, log.reader().applied()?);
    if !size.contains(index) {
        return Err(Problem::WithdrawalUnknownLeaf { index, size });
    }
    Ok(publishers.check_withdrawal(verified, index, &log.reader().entry(index)?)?)
}
