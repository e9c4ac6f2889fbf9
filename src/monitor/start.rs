//! What is told when a log begins to be followed: above all what is not checked.

use super::event::{Code, Event};
use super::follow::{Follower, Trouble};
use super::rules::{Rules, Start};
use super::state::Looked;
use crate::merkle::TreeSize;
use crate::release::Profile;

impl Follower {
    /// Tells it once, and with it the forks that the evidence shows. Whoever looks once, again and again, is told
    /// of what is not checked, and of nothing else.
    pub(super) fn tell_start(&mut self, looks_once: bool) -> Result<(), Trouble> {
        if self.is_started {
            return Ok(());
        }
        // A start at the head skips entries that are not known yet.
        let skips = self.is_new && self.tools.rules.start == Start::Head;
        let compared = self.state.compares;
        let skipped = if skips { 0 } else { self.begin_comparison() };
        let unchecked = self.unchecked(skipped);
        let mut events = Vec::new();
        if !looks_once || self.is_new || !unchecked.is_empty() {
            events.push(self.started(unchecked));
        }
        events.extend(self.forks_in_evidence());
        if let Err(error) = self.tools.delivery.tell(&events) {
            // It begins once more, so that what is skipped is told the next time.
            self.state.compares = compared;
            return Err(error.into());
        }
        self.is_started = true;
        Ok(())
    }

    fn started(&self, unchecked: Vec<String>) -> Event {
        let (now, size, origin) = (self.now(), self.state.edge.size(), &self.tools.rules.origin);
        let from = match (self.is_new, self.tools.rules.start) {
            (true, Start::Beginning) => "from its beginning".to_owned(),
            (true, Start::Head) => "from its head".to_owned(),
            (false, _) => format!("from entry {size}"),
        };
        let not = if unchecked.is_empty() {
            String::new()
        } else {
            format!("; not checked: {}", unchecked.join("; "))
        };
        let event = Event::new(
            Code::Started,
            Some(origin.as_str()),
            &[&now.to_string(), &size.to_string()],
            now,
            format!("{origin} is followed {from}{not}"),
        );
        event.with("size", size.get()).with("not_checked", unchecked)
    }

    fn unchecked(&self, skipped: usize) -> Vec<String> {
        let Rules { start, profile, publishers, .. } = self.tools.rules.as_ref();
        let (from, size) = (self.state.start, self.state.edge.size());
        let mut unchecked = Vec::new();
        if self.is_new {
            unchecked.push(match start {
                Start::Beginning => "nothing is known of this log: whether it showed other heads before today, to anybody, is not checked".to_owned(),
                Start::Head => "nothing is known of this log, and its entries up to its present head are never looked at, as the settings say".to_owned(),
            });
        } else if from > TreeSize::ZERO {
            unchecked.push(format!("the entries below {from} were never looked at"));
        }
        if *profile == Profile::Release && publishers.is_none() {
            unchecked
                .push("no publishers file is given: the signatures of statements are not checked".to_owned());
        }
        // The settings may ask for more than they did when those were passed.
        if from < size && *profile == Profile::Release {
            match (self.state.looked, publishers) {
                (Looked::Hashed, _) => unchecked.push(format!(
                    "of the entries below {size} some were re-hashed and not read, as the settings were then"
                )),
                (Looked::Read, Some(_)) => unchecked.push(format!(
                    "of the entries below {size} some had their signatures not checked, for want of a publishers file then"
                )),
                _ => {}
            }
        }
        if skipped > 0 {
            unchecked.push(format!(
                "the {skipped} releases that the manifest lists by now are not looked for: the entries below {size} were passed without it"
            ));
        }
        unchecked
    }

    /// Begins the comparison with the manifest, if there is one and it has not begun. Where entries were passed
    /// already, what is listed by now counts as seen: how many releases that are.
    pub(super) fn begin_comparison(&mut self) -> usize {
        let Some(expect) = &self.tools.rules.expect else { return 0 };
        if std::mem::replace(&mut self.state.compares, true) || self.state.edge.size() == TreeSize::ZERO {
            return 0;
        }
        self.state.comparison.begin_late(&expect.manifest())
    }
}
