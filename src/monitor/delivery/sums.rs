//! Of very many facts of one kind that are delivered together, the first are told one by one, the rest in one.

use std::collections::BTreeMap;

use crate::monitor::event::{Code, Event};
use crate::release::Timestamp;

/// Most facts of one log and code that are told one by one of those that are delivered together. One log can
/// cause any number of them; nobody reads more, and a sink may take a second for each.
pub const MAX_OF_A_KIND: usize = 100;

/// Facts of one log and code, and whether a silence covers them.
type Name<'a> = (Option<&'a str>, Code, bool);

#[derive(Default)]
pub struct Sums<'a>(BTreeMap<Name<'a>, Kind<'a>>);

#[derive(Default)]
struct Kind<'a> {
    met: usize,
    more: u64,
    /// The first and the last that are not told one by one.
    ends: Option<(&'a Event, &'a Event)>,
}

/// What stands for the rest of a kind.
pub struct Sum<'a> {
    pub event: Event,
    pub silenced: bool,
    /// The first that it stands for.
    pub first: &'a Event,
}

impl<'a> Sums<'a> {
    fn kind(&mut self, event: &'a Event, silenced: bool) -> &mut Kind<'a> {
        self.0.entry((event.origin.as_deref(), event.code, silenced)).or_default()
    }

    /// Whether this one is among the first of its kind. Each is asked about once.
    pub fn is_early(&mut self, event: &'a Event, silenced: bool) -> bool {
        let kind = self.kind(event, silenced);
        kind.met += 1;
        kind.met <= MAX_OF_A_KIND
    }

    /// Counts one that is not told by itself.
    pub fn add(&mut self, event: &'a Event, silenced: bool) {
        let kind = self.kind(event, silenced);
        kind.more += 1;
        kind.ends = Some((kind.ends.map_or(event, |(first, _)| first), event));
    }

    /// One for each kind that has more. The same facts have the same sum, with one id.
    pub fn of_each(self, now: Timestamp) -> Vec<Sum<'a>> {
        let sum = |((origin, code, silenced), kind): (Name<'a>, Kind<'a>)| {
            let (first, last) = kind.ends?;
            let ids = [first.id.to_string(), last.id.to_string(), kind.more.to_string()];
            let subject = ["more", &ids[0], &ids[1], &ids[2]];
            let more = kind.more;
            let message =
                format!("and {more} more of this kind in this batch; each of them is on the standard output");
            let mut event = Event::new(code, origin, &subject, now, message).with("more", more);
            for (name, end) in [("first_index", first), ("last_index", last)] {
                if let Some(index) = end.data.get("index") {
                    event = event.with(name, index.clone());
                }
            }
            Some(Sum { event, silenced, first })
        };
        self.0.into_iter().filter_map(sum).collect()
    }
}
