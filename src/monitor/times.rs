//! What cosignatures say of time, and which of a note's signatures were checked.

use std::collections::BTreeMap;

use crate::checkpoint::cosignature;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::note::Note;

/// How far clocks of witnesses, publishers and monitors may be apart: five minutes, as endpoints allow.
pub const CLOCK_ALLOWANCE: u64 = 300;

/// By when a quorum had cosigned a head, so that what is in it was there: the earliest time that does not rest on
/// fewer clocks than the quorum. None without cosignatures.
pub fn by_then(policy: &Policy, head: &Cosigned<Checkpoint>) -> Option<u64> {
    let mut times: Vec<u64> = head.times().filter(|time| *time > 0).collect();
    times.sort_unstable();
    times.into_iter().find(|time| policy.quorum_between(head, 1, *time))
}

/// Since when a quorum was cosigning a head, so that what is not in it came later: the latest time that does not
/// rest on fewer clocks than the quorum.
pub fn since_then(policy: &Policy, head: &Cosigned<Checkpoint>) -> Option<u64> {
    let mut times: Vec<u64> = head.times().filter(|time| *time > 0).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    times.into_iter().find(|time| policy.quorum_between(head, *time, u64::MAX))
}

/// The cosignatures on a head by witnesses of the policy that verify: the cosigner's name, and the latest
/// time. One witness with two keys has one name. Others are left out: anybody may add lines to a note.
pub fn cosigned_by(head: &LogSigned<Checkpoint>, policy: &Policy) -> BTreeMap<String, u64> {
    let mut latest = BTreeMap::new();
    for (name, time, _) in verified(head, policy) {
        let known = latest.entry(name).or_insert(time);
        *known = time.max(*known);
    }
    latest
}

/// The head with the signatures of the log and of the policy's witnesses that verify.
pub fn checked_note(head: &LogSigned<Checkpoint>, policy: &Policy) -> Note {
    let mut note = head.verified_note();
    for (_, _, line) in verified(head, policy) {
        note.push(line.clone());
    }
    note
}

fn verified<'a>(
    head: &'a LogSigned<Checkpoint>,
    policy: &'a Policy,
) -> impl Iterator<Item = (String, u64, &'a crate::note::NoteSignature)> {
    head.note().signatures().iter().filter_map(|line| {
        let witness = policy.witnesses().iter().find(|witness| line.names(&witness.key))?;
        let time = cosignature::verify(&witness.key, head.note().text(), line.bytes())?;
        Some((witness.key.name().to_string(), time, line))
    })
}
