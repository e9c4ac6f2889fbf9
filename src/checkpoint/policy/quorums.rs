//! Finds policies that allow two quorums without a common witness, such as 1 of 3 or 2 of 4.
//!
//! A lying log can then show two histories to two honest quorums. A cosigner with several keys is one witness: it
//! remembers one history, and signs it with all its keys.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Member, Policy, Quorum};
use crate::format::SortedMap;
use crate::note::KeyName;

/// Most cosigners in several places of the rule that are tried on either side, in all combinations. If there are more,
/// each place counts as a cosigner of its own.
const MAX_TRIED: usize = 12;

/// The sides, out of two disjoint quorums, that a cosigner or a group can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sides {
    /// Only the first.
    First,
    /// Only the second.
    Second,
    /// Either of the two, but not both.
    Either,
    /// Both at the same time.
    Both,
    /// Neither.
    None,
}

impl Sides {
    /// The sides of a group with this threshold and members.
    fn of(threshold: usize, members: impl Iterator<Item = Self>) -> Self {
        let (mut first, mut second, mut either) = (0, 0, 0);
        for member in members {
            match member {
                Self::First => first += 1,
                Self::Second => second += 1,
                Self::Either => either += 1,
                Self::Both => (first, second) = (first + 1, second + 1),
                Self::None => {}
            }
        }
        let missing = |there: usize| threshold.saturating_sub(there);
        match (missing(first), missing(second)) {
            (for_first, for_second) if for_first + for_second <= either => Self::Both,
            (for_first, for_second) => match (for_first <= either, for_second <= either) {
                (true, true) => Self::Either,
                (true, false) => Self::First,
                (false, true) => Self::Second,
                (false, false) => Self::None,
            },
        }
    }
}

impl Policy {
    /// Tells whether two quorums without a common witness exist. False for `quorum none`.
    #[must_use]
    pub fn can_split(&self) -> bool {
        let Quorum::Of(quorum) = self.quorum else { return false };
        let cosigners = self.cosigners_of_groups();
        let cosigner = |member: &Member| match *member {
            Member::Witness(at) => Some(self.witnesses[at].key.name()),
            Member::Group(at) => cosigners[at],
        };
        let mut tried = self.in_several_places(quorum, cosigner);
        if tried.len() > MAX_TRIED {
            tried.clear();
        }
        (0..1_u32 << tried.len()).any(|choice| {
            let side = |name: &KeyName| match tried.iter().position(|known| *known == name) {
                None => Sides::Either,
                Some(at) if choice >> at & 1 == 1 => Sides::First,
                Some(_) => Sides::Second,
            };
            // Members are defined before their group, so one pass in file order is enough.
            let mut groups: Vec<Sides> = Vec::with_capacity(self.groups.len());
            let sides = |member: &Member, groups: &[Sides]| match (cosigner(member), *member) {
                (Some(name), _) => side(name),
                (None, Member::Group(at)) => groups[at],
                (None, Member::Witness(_)) => Sides::None,
            };
            for group in &self.groups {
                groups.push(Sides::of(group.threshold, group.members.iter().map(|m| sides(m, &groups))));
            }
            sides(&quorum, &groups) == Sides::Both
        })
    }

    /// A warning with advice, if [`can_split`](Self::can_split).
    #[must_use]
    pub fn split_warning(&self) -> Option<String> {
        self.can_split().then(|| {
            format!(
                "the quorum, {}, can be reached by two disjoint sets of witnesses: each could honestly cosign a different history of the log, and endpoints would accept both. Require more than half of the witnesses",
                self.quorum_in_words()
            )
        })
    }

    /// For each group, its cosigner if all its members are keys of one.
    fn cosigners_of_groups(&self) -> Vec<Option<&KeyName>> {
        let mut cosigners: Vec<Option<&KeyName>> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut names = group.members.iter().map(|member| match *member {
                Member::Witness(at) => Some(self.witnesses[at].key.name()),
                Member::Group(at) => cosigners[at],
            });
            let first = names.next().flatten();
            let one = names.all(|name| name == first);
            cosigners.push(first.filter(|_| one));
        }
        cosigners
    }

    /// The cosigners that the rule names more than once. A group of one cosigner's keys counts as one place.
    fn in_several_places<'a>(
        &'a self,
        quorum: Member,
        cosigner: impl Fn(&Member) -> Option<&'a KeyName>,
    ) -> Vec<&'a KeyName> {
        let mut places: SortedMap<&KeyName, usize> = SortedMap::default();
        let mut open = vec![quorum];
        while let Some(member) = open.pop() {
            match (cosigner(&member), member) {
                (Some(name), _) => *places.get_or_insert(name, 0) += 1,
                (None, Member::Group(at)) => open.extend(&self.groups[at].members),
                (None, Member::Witness(_)) => {}
            }
        }
        places.iter().filter(|(_, places)| **places > 1).map(|(name, _)| *name).collect()
    }
}
