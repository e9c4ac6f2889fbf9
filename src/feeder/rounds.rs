//! Gathers the cosignatures on each head until a quorum has signed it. Pure.

use std::collections::VecDeque;

use crate::checkpoint::policy::Policy;
use crate::note::{Note, NoteKey, NoteSignature};
use crate::store::SignedHead;

/// Number of heads for which late cosignatures still count: more than the requests that slow witnesses can have under
/// way.
const MOST_ROUNDS: usize = 16;

/// One head, and the cosignatures on it so far.
#[derive(Debug)]
struct Round {
    number: u64,
    head: SignedHead,
    /// By place in the policy's list, which is the order in which they are written.
    cosignatures: Vec<(usize, NoteSignature)>,
}

/// The heads that were sent to the witnesses last, oldest first.
#[derive(Debug, Default)]
pub struct Rounds {
    rounds: VecDeque<Round>,
    /// Tree size of the largest head that had its quorum.
    reached: Option<u64>,
}

impl Rounds {
    /// The newest head. Its number distinguishes it from an earlier request for the same head.
    pub fn newest(&self) -> Option<(u64, &SignedHead)> {
        self.rounds.back().map(|round| (round.number, &round.head))
    }

    /// Starts to gather cosignatures on a head. Returns its number.
    pub fn begin(&mut self, head: &SignedHead) -> u64 {
        let number = self.newest().map_or(1, |(number, _)| number + 1);
        if self.rounds.len() == MOST_ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(Round { number, head: head.clone(), cosignatures: Vec::new() });
        number
    }

    /// Adds verified cosignatures to a round. Returns its head with all of its cosignatures, if a quorum has signed it
    /// and no larger head has reached a quorum.
    pub fn add(
        &mut self,
        number: u64,
        cosignatures: Vec<(usize, NoteSignature)>,
        policy: &Policy,
        log: &[NoteKey],
    ) -> Option<SignedHead> {
        let round = self.rounds.iter_mut().find(|round| round.number == number)?;
        for (place, cosignature) in cosignatures {
            // A witness that is asked again signs the present time: its later cosignature counts.
            round.cosignatures.retain(|(at, _)| *at != place);
            round.cosignatures.push((place, cosignature));
        }
        round.cosignatures.sort_by_key(|(place, _)| *place);
        let size = round.head.head.size.get();
        if self.reached.is_some_and(|reached| reached > size) {
            return None;
        }
        // Each cosignature was verified when it came.
        if !policy.is_quorum_of(|place| round.cosignatures.iter().any(|(at, _)| *at == place)) {
            return None;
        }
        // A head that a repair restored carries cosignatures already.
        let mut note = Note::parse(&round.head.note).expect("the log made it").signed_only_by(log);
        round.cosignatures.iter().for_each(|(_, cosignature)| note.push(cosignature.clone()));
        self.reached = Some(size);
        Some(SignedHead { head: round.head.head.clone(), note: note.to_string().into_bytes() })
    }
}
