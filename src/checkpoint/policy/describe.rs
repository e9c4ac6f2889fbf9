//! A policy told: in words for people, and as the lines that say the same.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Group, Member, Policy, Quorum};

/// Words that mean something in a policy. The specification predefines `none` alone, and we read the
/// others as names; Go's reader takes none of them for a name, so none is written.
const RESERVED: [&[u8]; 7] = [b"none", b"all", b"any", b"log", b"witness", b"group", b"quorum"];

/// Whether a word means something in a policy file, to us or to other readers: no good name for a witness.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name.as_bytes())
}

impl Group {
    /// Whether it stands for one cosigner with several keys: any of them will do, and all have its name.
    fn is_one_cosigner(&self, policy: &Policy) -> bool {
        let name = |member: &Member| match *member {
            Member::Witness(at) => Some(policy.witnesses[at].key.name()),
            Member::Group(_) => None,
        };
        let first = name(&self.members[0]);
        // Of a single member, its own name says more.
        self.members.len() > 1
            && self.threshold == 1
            && first.is_some()
            && self.members.iter().all(|member| name(member) == first)
    }
}

impl Policy {
    /// The quorum rule in words, for people. A group of all the keys of one cosigner, of which any will do,
    /// goes by its own name.
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

    /// Whom to name for a key: the cosigner that has several, or the witness.
    fn cosigner(&self, witness: usize) -> Member {
        let member = Member::Witness(witness);
        // Where the quorum is this very key, another one of the same cosigner does not help.
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

    /// Who cosigned and who is missing, each cosigner once: of the witnesses marked in `seen`, and of the
    /// others that the quorum rule refers to.
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

    /// The witness, group and quorum lines of a policy file that says the same. Names are kept octet for
    /// octet, except those that other readers reserve: names "have no meaning outside of the policy file".
    /// Endpoints need no URLs; whoever asks the witnesses does.
    #[must_use]
    pub fn rule_lines(&self, urls: bool) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut line = |items: &[&[u8]]| {
            lines.extend_from_slice(&items.join(&b' '));
            lines.push(b'\n');
        };
        // All witnesses may come before all groups: a group only ever refers back.
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

    /// Its name in a written policy: changed if other readers reserve it.
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

    /// Its name in the policy.
    fn octets(&self, member: Member) -> &[u8] {
        match member {
            Member::Witness(at) => &self.witnesses[at].name,
            Member::Group(at) => &self.groups[at].name,
        }
    }
}
