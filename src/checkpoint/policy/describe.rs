//! Describes a policy: in words for people, and as the lines of a policy file.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Group, Member, Policy, PolicyLog, Quorum};
use crate::checkpoint::{LogKey, SignsFor as _};

/// Keywords of policy files. The specification reserves `none` alone, so the others are read as names; Go's reader
/// rejects all of them as names, so none of them is written as one.
const RESERVED: [&[u8]; 7] = [b"none", b"all", b"any", b"log", b"witness", b"group", b"quorum"];

/// Tells whether a word is a keyword of policy files to any reader, and so no good name for a witness.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name.as_bytes())
}

impl Group {
    /// Tells whether the group is one cosigner with several keys: any of them will do, and all have the same name.
    fn is_one_cosigner(&self, policy: &Policy) -> bool {
        let name = |member: &Member| match *member {
            Member::Witness(at) => Some(policy.witnesses[at].key.name()),
            Member::Group(_) => None,
        };
        let first = name(&self.members[0]);
        // A single member's own name says more than the group's.
        self.members.len() > 1
            && self.threshold == 1
            && first.is_some()
            && self.members.iter().all(|member| name(member) == first)
    }
}

impl Policy {
    /// The quorum rule in words, for people. A cosigner with several keys has the name of its group.
    #[must_use]
    pub fn quorum_in_words(&self) -> String {
        match self.quorum {
            Quorum::NotRequired => "no witnesses".to_owned(),
            Quorum::Of(member) => self.in_words(member),
        }
    }

    fn in_words(&self, member: Member) -> String {
        match member {
            Member::Group(at) if !self.groups[at].is_one_cosigner(self) => {
                let group = &self.groups[at];
                let members: Vec<String> = group.members.iter().map(|m| self.in_words(*m)).collect();
                format!("{} of ({})", group.threshold, members.join(", "))
            }
            one => String::from_utf8_lossy(self.octets(one)).into_owned(),
        }
    }

    /// The group of a witness that is a cosigner with several keys, or the witness itself.
    fn cosigner(&self, witness: usize) -> Member {
        let member = Member::Witness(witness);
        // If the quorum is this very key, the cosigner's other keys do not help.
        let group = (self.quorum != Quorum::Of(member))
            .then(|| self.groups.iter().position(|group| group.members.contains(&member)))
            .flatten();
        match group {
            Some(at) if self.groups[at].is_one_cosigner(self) => Member::Group(at),
            _ => member,
        }
    }

    pub(super) fn cosigner_name(&self, witness: usize) -> String {
        self.in_words(self.cosigner(witness))
    }

    fn names(&self, cosigners: &[Member]) -> String {
        cosigners.iter().map(|cosigner| self.in_words(*cosigner)).collect::<Vec<_>>().join(", ")
    }

    /// The names of the cosigners marked in `seen`, and of those in the quorum rule that are missing, each once.
    pub(super) fn seen_and_missing(&self, seen: &[bool]) -> (String, String) {
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for cosigner in (0..seen.len()).filter(|at| seen[*at]).map(|at| self.cosigner(at)) {
            if !here.contains(&cosigner) {
                here.push(cosigner);
            }
        }
        for cosigner in self.counted().filter(|at| !seen[*at]).map(|at| self.cosigner(at)) {
            if !here.contains(&cosigner) && !missing.contains(&cosigner) {
                missing.push(cosigner);
            }
        }
        let seen = if here.is_empty() { "nobody".to_owned() } else { self.names(&here) };
        (seen, self.names(&missing))
    }

    /// The witness, group and quorum lines of an equivalent policy file. Names are kept octet for octet, except those
    /// that other readers reserve: names "have no meaning outside of the policy file". URLs are written if `urls` is
    /// set: endpoints need none, but those who ask the witnesses do.
    #[must_use]
    pub fn rule_lines(&self, urls: bool) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut line = |items: &[&[u8]]| {
            lines.extend_from_slice(&items.join(&b' '));
            lines.push(b'\n');
        };
        // All witnesses may come before all groups: a group only refers back.
        for (at, witness) in self.witnesses.iter().enumerate() {
            let (name, key) = (self.written(Member::Witness(at)), witness.key.to_string());
            let mut items = vec![b"witness".as_slice(), &name, key.as_bytes()];
            items.extend(witness.url.as_deref().filter(|_| urls).map(str::as_bytes));
            line(&items);
        }
        for (at, group) in self.groups.iter().enumerate() {
            let threshold = match group.threshold {
                1 => "any".to_owned(),
                count => count.to_string(),
            };
            let name = self.written(Member::Group(at));
            let members: Vec<_> = group.members.iter().map(|member| self.written(*member)).collect();
            let mut items = vec![b"group".as_slice(), &name, threshold.as_bytes()];
            items.extend(members.iter().map(AsRef::as_ref));
            line(&items);
        }
        let quorum = match self.quorum {
            Quorum::NotRequired => Cow::Borrowed(b"none".as_slice()),
            Quorum::Of(member) => self.written(member),
        };
        line(&[b"quorum", &quorum]);
        lines
    }

    /// The lines of an equivalent policy file, with what an endpoint needs: logs with their addresses, witnesses without
    /// theirs, groups, quorum.
    #[must_use]
    pub fn endpoint_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for PolicyLog { origin, key, url } in &self.logs {
            let text = log_lines(&LogKey::new(origin.clone(), key.clone()));
            let (log, rest) = text.split_once('\n').unwrap_or((&text, ""));
            lines.extend_from_slice(log.as_bytes());
            if let Some(url) = url {
                lines.push(b' ');
                lines.extend_from_slice(url.as_bytes());
            }
            lines.push(b'\n');
            lines.extend_from_slice(rest.as_bytes());
        }
        lines.extend(self.rule_lines(false));
        lines
    }

    /// The member's name in a written policy: changed if other readers reserve it.
    fn written(&self, member: Member) -> Cow<'_, [u8]> {
        let mut name = Cow::Borrowed(self.octets(member));
        if RESERVED.contains(&name.as_ref()) {
            let taken = |name: &[u8]| {
                self.witnesses.iter().any(|w| w.name == name) || self.groups.iter().any(|g| g.name == name)
            };
            while taken(&name) {
                name.to_mut().push(b'_');
            }
        }
        name
    }

    /// The member's name in the policy.
    fn octets(&self, member: Member) -> &[u8] {
        match member {
            Member::Witness(at) => &self.witnesses[at].name,
            Member::Group(at) => &self.groups[at].name,
        }
    }
}

/// The lines of a policy that trust a log's key: the log line, and an origin line if the key has another name.
#[must_use]
pub fn log_lines(log: &LogKey) -> String {
    let mut lines = format!("log {}\n", log.key());
    if log.log() != log.key().name() {
        lines += &format!("origin {}\n", escaped(log.origin()));
    }
    lines
}

fn escaped(origin: &str) -> String {
    let last = origin.len() - 1;
    let escape = |(at, char): (usize, char)| match char {
        '%' | '\u{7f}' => format!("%{:02x}", u32::from(char)),
        ' ' if at == 0 || at == last => "%20".to_owned(),
        other => other.to_string(),
    };
    origin.char_indices().map(escape).collect()
}
