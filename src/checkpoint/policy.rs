//! Policies, which say what logs and witnesses to trust: c2sp.org/tlog-policy.
//!
//! ```text
//! log <vkey> [<url>]
//! origin <text>                      if the origin of the log above is not its key's name: see below
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>...
//! quorum <name>|none                 exactly once
//! ```
//!
//! Items are separated by spaces and tabs; empty lines and lines that begin with `#` are ignored.
//! Names are opaque octets.
//!
//! The specification says that the key's name "MUST correspond to the log's origin line". For a log whose key has
//! another name, such as `go.sum database tree` with the key `sum.golang.org+...`, an origin line follows each of its
//! log lines. This is an extension of ours: other readers reject it, as they would reject that log's checkpoints. In
//! the origin, `%` and two hex digits stand for a byte: for spaces at either end, for U+007F, which no policy may
//! contain, and for `%` itself.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::checkpoint::cosignature;
use crate::checkpoint::{Checkpoint, LogKey, LogSigned, Origin, SignsFor};
use crate::format::{error_codes, names};
use crate::note::{KeyId, KeyName, Note, NoteKey, NoteSignature};

pub use describe::{is_reserved, log_lines};
pub use parse::PolicyLimits;

mod describe;
mod parse;
mod quorums;

/// Largest policy file, in bytes: 256 ML-DSA-44 keys with URLs fit.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;
/// Most logs, most witnesses and most groups. The specification recommends at least 32.
pub const MAX_POLICY_ITEMS: usize = 256;

/// A log that the policy trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its identity: the key's name, unless an origin line gives another.
    pub origin: Origin,
    /// Its key.
    pub key: NoteKey,
    /// Its URL, if the policy gives one.
    pub url: Option<String>,
}

impl SignsFor for PolicyLog {
    fn origin(&self) -> &str {
        self.origin.as_str()
    }

    fn key(&self) -> &NoteKey {
        &self.key
    }
}

/// A witness that the policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the policy: octets that mean nothing elsewhere.
    pub name: Vec<u8>,
    /// Its key.
    pub key: NoteKey,
    /// Its submission prefix (a URL), if the policy gives one.
    pub url: Option<String>,
}

/// A witness or a group, by its index in [`Policy::witnesses`] or [`Policy::groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: Vec<u8>,
    /// Number of members that must have cosigned, 1 to `members.len()`.
    threshold: usize,
    /// Each is defined on an earlier line, so a group only refers back.
    members: Vec<Member>,
}

/// The quorum rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quorum {
    /// `quorum none`: the log's signature is enough.
    NotRequired,
    Of(Member),
}

/// The trusted logs, the known witnesses, and the quorum of them that a checkpoint needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A checkpoint that the log signed and that does not satisfy the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// A cosignature names a known witness's key, but is not valid.
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
        /// The quorum rule, in words.
        expected: String,
        /// The witnesses that cosigned. A cosigner with several keys is listed once.
        seen: String,
        /// The witnesses in the quorum rule that did not cosign with any of their keys.
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
    /// The name to show to people: the witness's, or that of the group of all keys of one cosigner.
    pub cosigner: String,
    /// Time of the cosignature by the witness's clock: POSIX time in seconds.
    pub time: u64,
}

/// Something that a trusted log signed and a quorum of witnesses cosigned. Only [`Policy::check`]
/// makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned<T> {
    inner: T,
    note: Note,
    cosignatures: Vec<WitnessedBy>,
    /// The witness's index in the policy and the time of each cosignature.
    times: Vec<(usize, u64)>,
    /// Positions in the note of the verified signature lines, the log's and the witnesses'.
    verified: Vec<usize>,
}

impl<T> Cosigned<T> {
    /// The signed value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.inner
    }

    /// The note that carries it.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The note with only the verified signature lines, each once, without those that strangers added.
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

    /// The times of all verified cosignatures; a witness may have made several.
    pub fn times(&self) -> impl Iterator<Item = u64> {
        self.times.iter().map(|(_, time)| *time)
    }

    /// The latest verified cosignature of each witness.
    #[must_use]
    pub fn cosignatures(&self) -> &[WitnessedBy] {
        &self.cosignatures
    }
}

names! {
    /// The signer of a signature line.
    LineSigner {
        /// The log that the head is of.
        Log => "log",
        /// A witness in the policy.
        Witness => "witness",
        /// Nobody in the policy: nothing is known about the line.
        Unknown => "unknown",
    }
}

/// A signature line of a head that a trusted log signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureLine<'a> {
    /// The line.
    pub line: &'a NoteSignature,
    /// Whose key it names.
    pub signer: LineSigner,
    /// Set if the signature is valid; a line by an unknown key can't be verified.
    pub is_verified: bool,
}

impl<'a> SignatureLine<'a> {
    const fn unknown(line: &'a NoteSignature) -> Self {
        Self { line, signer: LineSigner::Unknown, is_verified: false }
    }
}

impl Policy {
    /// The trusted logs.
    #[must_use]
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The trusted logs' keys, for [`checkpoint::open`](crate::checkpoint::open).
    #[must_use]
    pub fn log_keys(&self) -> Vec<LogKey> {
        self.logs.iter().map(|log| LogKey::new(log.origin.clone(), log.key.clone())).collect()
    }

    /// The known witnesses, in the order of the file.
    #[must_use]
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Verifies the cosignatures by known witnesses and checks the quorum.
    ///
    /// # Errors
    /// [`QuorumError`].
    pub fn check(&self, signed: &LogSigned<Checkpoint>) -> Result<Cosigned<Checkpoint>, QuorumError> {
        self.check_owned(signed.clone())
    }

    /// Like [`check`](Self::check), without a copy of the note.
    pub(crate) fn check_owned(
        &self,
        signed: LogSigned<Checkpoint>,
    ) -> Result<Cosigned<Checkpoint>, QuorumError> {
        let mut times: Vec<(usize, u64)> = Vec::new();
        let mut verified = signed.verified_lines();
        for (place, line) in self.cosignature_lines(&signed) {
            verified.push(place);
            // A witness counts once, but all its times are kept: a cosignature from the future must not hide one that
            // is fresh.
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
        let (inner, note) = signed.into_parts();
        Ok(Cosigned { inner, note, cosignatures, times, verified })
    }

    /// The known witnesses that cosigned a head, whether they are a quorum or not. Ignores invalid cosignatures, so
    /// that an added signature cannot spoil evidence.
    #[must_use]
    pub fn witnesses_of(&self, signed: &LogSigned<Checkpoint>) -> Vec<WitnessedBy> {
        let times: Vec<(usize, u64)> =
            self.cosignature_lines(signed).filter_map(|(_, line)| line.ok()).collect();
        self.latest_of_each(&times)
    }

    /// Verifies each signature line that names a known witness. Yields the line's position, and the witness's index and
    /// time, or its key if the signature is not valid.
    fn cosignature_lines<'a>(
        &'a self,
        signed: &'a LogSigned<Checkpoint>,
    ) -> impl Iterator<Item = (usize, Result<(usize, u64), &'a NoteKey>)> {
        let note = signed.note();
        note.signatures().iter().enumerate().filter_map(|(line, signature)| {
            let at = self.witnesses.iter().position(|w| signature.names(&w.key))?;
            let key = &self.witnesses[at].key;
            let head = (note.text(), Some(signed.get()));
            let time = cosignature::verify_head(key, head, signature.bytes());
            Some((line, time.map(|time| (at, time)).ok_or(key)))
        })
    }

    /// All signature lines of a head, with what the policy knows about each.
    #[must_use]
    pub fn signature_lines<'a>(&'a self, signed: &'a LogSigned<Checkpoint>) -> Vec<SignatureLine<'a>> {
        let mut lines: Vec<SignatureLine<'a>> =
            signed.note().signatures().iter().map(SignatureLine::unknown).collect();
        for (at, line) in self.cosignature_lines(signed) {
            (lines[at].signer, lines[at].is_verified) = (LineSigner::Witness, line.is_ok());
        }
        for at in signed.verified_lines() {
            (lines[at].signer, lines[at].is_verified) = (LineSigner::Log, true);
        }
        lines
    }

    /// The latest time of each witness, in the order of the file.
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

    /// The witnesses that the quorum rule refers to, in the order of the file. A policy may define others.
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

    /// Tells whether the witnesses that have a URL are a quorum: only those can be asked.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        self.quorum_reached(&self.witnesses.iter().map(|witness| witness.url.is_some()).collect::<Vec<_>>())
    }

    /// Tells whether the witnesses marked in `seen` (in the order of [`witnesses`](Self::witnesses)) are a quorum.
    fn quorum_reached(&self, seen: &[bool]) -> bool {
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        let holds = |member: &Member, groups: &[bool]| match *member {
            Member::Witness(at) => seen[at],
            Member::Group(at) => groups[at],
        };
        // Members are defined before their group, so one pass in file order is enough.
        for group in &self.groups {
            let count = group.members.iter().filter(|member| holds(member, &groups)).count();
            groups.push(count >= group.threshold);
        }
        match &self.quorum {
            Quorum::NotRequired => true,
            Quorum::Of(member) => holds(member, &groups),
        }
    }

    /// Tells whether the witnesses at these indices would be a quorum.
    #[cfg(all(feature = "server", feature = "client"))]
    pub(crate) fn is_quorum_of(&self, place: impl Fn(usize) -> bool) -> bool {
        self.quorum_reached(&(0..self.witnesses.len()).map(place).collect::<Vec<_>>())
    }

    /// Tells whether the witnesses that cosigned at a time in `oldest..=latest` are a quorum by themselves. So a single
    /// witness with a wrong clock can neither refresh a stale head nor spoil a good one.
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
