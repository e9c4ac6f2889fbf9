//! Whom to trust: c2sp.org/tlog-policy.
//!
//! ```text
//! log <vkey> [<url>]
//! origin <text>                      where the log of the line before is not named as its key: see below
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>...
//! quorum <name>|none                 exactly once
//! ```
//!
//! Items are separated by spaces and tabs; empty lines and lines that begin with `#` are ignored.
//! Names are opaque octets.
//!
//! The specification says that the key's name "MUST correspond to the log's origin line", and has no place
//! for a log where it does not. Such a log, as `go.sum database tree` with the key `sum.golang.org+...`, has
//! an origin line behind each of its log lines: our own addition, which other readers refuse, as they would
//! refuse that log's checkpoints. `%` and two hex digits stand for a byte: for spaces at the ends, for
//! U+007F, which no policy may hold, and for `%` itself.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::checkpoint::cosignature;
use crate::checkpoint::{Checkpoint, LogKey, LogSigned, Origin};
use crate::format::error_codes;
use crate::note::{KeyId, KeyName, Note, NoteKey};

pub use describe::is_reserved;
pub use origin_line::log_lines;
pub use parse::PolicyLimits;

mod describe;
mod origin_line;
mod parse;
mod quorums;

/// Largest policy file: 256 ML-DSA-44 keys with URLs fit.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;
/// Most logs, witnesses or groups, each. The specification recommends at least 32.
pub const MAX_POLICY_ITEMS: usize = 256;

/// A log that the policy trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its identity: the key's name, unless an origin line says another.
    pub origin: Origin,
    /// Its key.
    pub key: NoteKey,
    /// Where it is served, if the policy says.
    pub url: Option<String>,
}

/// A witness that the policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the policy, octets, with no meaning elsewhere.
    pub name: Vec<u8>,
    /// Its key.
    pub key: NoteKey,
    /// Its submission prefix, if the policy says.
    pub url: Option<String>,
}

/// A witness or a group, by its place in the list of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: Vec<u8>,
    /// How many members have to have witnessed, 1 to `members.len()`.
    threshold: usize,
    /// Each defined on an earlier line, so a group only ever refers back.
    members: Vec<Member>,
}

/// Which witnesses are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quorum {
    /// `quorum none`: the log alone is believed.
    NotRequired,
    Of(Member),
}

/// Trusted logs, known witnesses, and which of them are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// Why a checkpoint that the log signed does not satisfy the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// A witness that the policy knows is named, but did not make the cosignature.
    #[error("the cosignature by {name}+{id} is not valid: the checkpoint or the cosignature was changed")]
    BadCosignature {
        /// The key's name.
        name: KeyName,
        /// The key's ID.
        id: KeyId,
    },
    /// Too few witnesses.
    #[error(
        "the witness quorum is not reached: expected {expected}, saw cosignatures by {seen}; missing {missing}"
    )]
    NotReached {
        /// The quorum in words.
        expected: String,
        /// The witnesses that did cosign. One with several keys, any of which will do, has one name.
        seen: String,
        /// The witnesses that the quorum counts and that did not cosign with any of their keys.
        missing: String,
    },
}

error_codes! { QuorumCode of QuorumError {
    Self::BadCosignature { .. } => BadCosignature = 310, "cosignature";
    Self::NotReached { .. } => NotReached = 311, "no-quorum";
}}

/// A cosignature that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessedBy {
    /// The witness's name in the policy.
    pub witness: String,
    /// Whom to name for people: the same, or the group of all keys of one cosigner.
    pub cosigner: String,
    /// When it cosigned, as a POSIX time in seconds, by its own clock.
    pub time: u64,
}

/// Something that a trusted log signed and a quorum of witnesses cosigned. Only [`Policy::check`]
/// makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned<T> {
    inner: T,
    note: Note,
    cosignatures: Vec<WitnessedBy>,
    /// Time of each cosignature, after the witness's place in the policy that was checked.
    times: Vec<(usize, u64)>,
    /// The signature lines that were verified, by their places in the note: the log's and witnesses'.
    verified: Vec<usize>,
}

impl<T> Cosigned<T> {
    /// What was signed.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.inner
    }

    /// The note that carries it.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The note with only the signature lines that were verified, each once: what strangers added is not
    /// worth keeping.
    #[must_use]
    pub fn verified_note(&self) -> Note {
        let mut note = Note::unsigned(self.note.text().to_owned());
        for line in self.verified.iter().map(|at| &self.note.signatures()[*at]) {
            if !note.signatures().contains(line) {
                note.push(line.clone());
            }
        }
        note
    }

    /// The times of all verified cosignatures: a witness may have several.
    pub fn times(&self) -> impl Iterator<Item = u64> {
        self.times.iter().map(|(_, time)| *time)
    }

    /// The verified cosignatures, the latest of each witness.
    #[must_use]
    pub fn cosignatures(&self) -> &[WitnessedBy] {
        &self.cosignatures
    }
}

impl Policy {
    /// The trusted logs.
    #[must_use]
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// Their keys, as [`checkpoint::open`](crate::checkpoint::open) takes them.
    #[must_use]
    pub fn log_keys(&self) -> Vec<LogKey> {
        self.logs.iter().map(|log| LogKey::new(&log.origin, log.key.clone())).collect()
    }

    /// The witnesses it knows.
    #[must_use]
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Verifies the cosignatures by known witnesses and checks the quorum.
    ///
    /// # Errors
    /// [`QuorumError`].
    pub fn check(&self, signed: &LogSigned<Checkpoint>) -> Result<Cosigned<Checkpoint>, QuorumError> {
        let note = signed.note();
        let mut times: Vec<(usize, u64)> = Vec::new();
        let mut verified = signed.verified_lines();
        for (place, line) in self.cosignature_lines(note) {
            verified.push(place);
            // A witness counts once, and each of its cosignatures may be the one that is fresh: one from
            // the future hides no good one.
            times.push(
                line.map_err(|key| QuorumError::BadCosignature { name: key.name().clone(), id: key.id() })?,
            );
        }
        let cosignatures = self.latest_of_each(&times);
        let mut seen = vec![false; self.witnesses.len()];
        times.iter().for_each(|(at, _)| seen[*at] = true);
        if !self.quorum_reached(&seen) {
            let (seen, missing) = self.seen_and_missing(&seen);
            return Err(QuorumError::NotReached { expected: self.quorum_in_words(), seen, missing });
        }
        Ok(Cosigned { inner: signed.get().clone(), note: note.clone(), cosignatures, times, verified })
    }

    /// The witnesses it knows that cosigned a head, whether they are enough or not: a line that is named a
    /// witness's and is not counts as none, so that nobody spoils evidence with it.
    #[must_use]
    pub fn witnesses_of(&self, signed: &LogSigned<Checkpoint>) -> Vec<WitnessedBy> {
        let times: Vec<(usize, u64)> =
            self.cosignature_lines(signed.note()).filter_map(|(_, line)| line.ok()).collect();
        self.latest_of_each(&times)
    }

    /// The place of each line that names a witness it knows, with the witness's place and time, or the key
    /// that the line is not by.
    fn cosignature_lines<'a>(
        &'a self,
        note: &'a Note,
    ) -> impl Iterator<Item = (usize, Result<(usize, u64), &'a NoteKey>)> {
        note.signatures().iter().enumerate().filter_map(|(line, signature)| {
            let at = self.witnesses.iter().position(|w| signature.names(&w.key))?;
            let key = &self.witnesses[at].key;
            let time = cosignature::verify(key, note.text(), signature.bytes());
            Some((line, time.map(|time| (at, time)).ok_or(key)))
        })
    }

    /// Each witness once, in the order of the file.
    fn latest_of_each(&self, times: &[(usize, u64)]) -> Vec<WitnessedBy> {
        let mut latest: Vec<Option<u64>> = vec![None; self.witnesses.len()];
        times.iter().for_each(|(at, time)| latest[*at] = latest[*at].max(Some(*time)));
        let witnessed = |(at, time): (usize, Option<u64>)| {
            Some(WitnessedBy { witness: self.name_of(at), cosigner: self.cosigner_name(at), time: time? })
        };
        latest.into_iter().enumerate().filter_map(witnessed).collect()
    }

    fn name_of(&self, witness: usize) -> String {
        String::from_utf8_lossy(&self.witnesses[witness].name).into_owned()
    }

    /// The witnesses that the quorum rule refers to, in the order of the file: a policy may know others.
    fn counted(&self) -> impl Iterator<Item = usize> + '_ {
        let mut counted = vec![false; self.witnesses.len()];
        let mut open: Vec<Member> = match self.quorum {
            Quorum::NotRequired => Vec::new(),
            Quorum::Of(member) => vec![member],
        };
        while let Some(member) = open.pop() {
            match member {
                Member::Witness(at) => counted[at] = true,
                Member::Group(at) => open.extend(&self.groups[at].members),
            }
        }
        (0..counted.len()).filter(move |at| counted[*at])
    }

    /// Whether the witnesses that have a URL are a quorum: only they can be asked.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        self.quorum_reached(&self.witnesses.iter().map(|witness| witness.url.is_some()).collect::<Vec<_>>())
    }

    /// Whether the witnesses marked in `seen` (in the order of [`witnesses`](Self::witnesses)) are
    /// a quorum.
    fn quorum_reached(&self, seen: &[bool]) -> bool {
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        let holds = |member: &Member, groups: &[bool]| match *member {
            Member::Witness(at) => seen[at],
            Member::Group(at) => groups[at],
        };
        // Members are always defined before their group, so one pass in file order is enough.
        for group in &self.groups {
            let count = group.members.iter().filter(|member| holds(member, &groups)).count();
            groups.push(count >= group.threshold);
        }
        match &self.quorum {
            Quorum::NotRequired => true,
            Quorum::Of(member) => holds(member, &groups),
        }
    }

    /// Whether the witnesses at these places of the list would be a quorum.
    #[cfg(all(feature = "server", feature = "client"))]
    pub(crate) fn is_quorum_of(&self, place: impl Fn(usize) -> bool) -> bool {
        self.quorum_reached(&(0..self.witnesses.len()).map(place).collect::<Vec<_>>())
    }

    /// Whether the witnesses that cosigned from `oldest` to `latest` are a quorum by themselves. A
    /// single witness with a wrong clock can then neither refresh a stale head nor spoil a good one.
    #[must_use]
    pub fn quorum_between(&self, head: &Cosigned<Checkpoint>, oldest: u64, latest: u64) -> bool {
        let mut seen = vec![false; self.witnesses.len()];
        for (place, time) in &head.times {
            seen[*place] |= (oldest..=latest).contains(time);
        }
        self.quorum_reached(&seen)
    }
}

#[cfg(test)]
mod tests;
