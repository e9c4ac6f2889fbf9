//! Chooses what is told of events: every event on the output, and to sinks no more than they can use.
//!
//! A condition is told once until it ends. Of many facts of one log and code that are found together, sinks get the
//! first [`MAX_OF_A_KIND`] and one event for the others: a log can cause any number of them, and a sink may take a
//! second for each.

use std::collections::{BTreeMap, BTreeSet};

use super::dispatch::Dispatch;
use super::open_conditions::Condition;
use super::outbox::Record;
use crate::monitor::event::{Code, Event, EventId, Severity, Span, add_field, cut, retold};
use crate::release::{Timestamp, format_time};

/// Most facts of one log and code that sinks get one by one.
pub const MAX_OF_A_KIND: usize = 100;

/// One event on its way to the output, the outbox and the open conditions.
pub struct Item {
    /// The `id` in the line.
    pub key: String,
    pub code: String,
    pub log: Option<String>,
    severity: Severity,
    pub line: String,
    pub audience: Audience,
    pub change: Change,
}

/// Where an item goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// To the output, and to each sink whose filter passes it.
    All,
    /// To the output: sinks get the event that sums up the others of its kind.
    Output,
    /// Nowhere: it was told before, and something more is known of it.
    Nobody,
}

/// What an item changes of the open conditions.
pub enum Change {
    None,
    Open(Box<Condition>),
    /// The evidence of an open fork was written to this path.
    Evidence(EventId, String),
    End(EventId),
}

impl Item {
    fn plain(event: &Event, audience: Audience) -> Self {
        Self {
            key: event.id.to_string(),
            code: event.code.as_str().to_owned(),
            log: event.origin.clone(),
            severity: event.severity,
            line: event.to_line(),
            audience,
            change: Change::None,
        }
    }

    /// Opens a condition, which may have ended `before`.
    fn opening(event: &Event, before: Option<&Condition>, now: Timestamp) -> Self {
        let mut item = Self::plain(event, Audience::All);
        // One that begins again in the same second has a time of its own nevertheless.
        let since = before.map_or(now, |before| now.max(before.since + 1));
        if before.is_some() {
            item.key = format!("{}-again-{since}", event.id);
            let line = add_field(&item.line, "again", true);
            item.line = retold(&line, &item.key, &event.id.to_string());
        }
        item.change = Change::Open(Box::new(Condition {
            id: event.id,
            code: item.code.clone(),
            log: event.origin.clone(),
            about: text_of(event, "about"),
            message: cut(&event.message),
            since,
            evidence: text_of(event, "evidence"),
            ended: None,
        }));
        item
    }

    fn of_evidence(event: &Event, path: String) -> Self {
        let change = Change::Evidence(event.id, path);
        Self { change, ..Self::plain(event, Audience::Nobody) }
    }

    /// The end of an open condition.
    fn ending(condition: &Condition, message: &str, now: Timestamp) -> Self {
        let Condition { id, code, log, since, .. } = condition;
        let key = format!("{id}-ended-{since}");
        let mut line = String::from("{}");
        let mut add = |name: &str, value: &str| line = add_field(&line, name, value);
        add("id", &key);
        add("alert", &id.to_string());
        add("time", &format_time(now));
        add("event", "ended");
        add("of", code);
        add("severity", Severity::Alert.as_str());
        log.iter().for_each(|log| add("log", log));
        add("message", &cut(message));
        add("since", &format_time(*since));
        let (code, log, change) = (code.clone(), log.clone(), Change::End(*id));
        Self { key, code, log, severity: Severity::Alert, line, audience: Audience::All, change }
    }

    /// Whether it is told to the output.
    pub const fn is_printed(&self) -> bool {
        !matches!(self.audience, Audience::Nobody)
    }

    /// Whether somebody is alerted by it: not by an end.
    pub fn is_alert(&self) -> bool {
        let is_end = matches!(self.change, Change::End(_));
        self.severity == Severity::Alert && self.is_printed() && !is_end
    }

    /// Whether it opens or ends a condition: there is room kept for these.
    pub const fn is_of_condition(&self) -> bool {
        !matches!(self.change, Change::None)
    }

    /// The record for the outbox, without its number, if any sink wants it.
    pub fn record(&self, dispatch: &Dispatch) -> Option<Record> {
        let mut sinks = dispatch.settings.sinks.iter();
        let is_wanted =
            self.audience == Audience::All && sinks.any(|sink| sink.filter.passes(&self.code, self.severity));
        is_wanted.then(|| Record {
            number: 0,
            time: dispatch.now(),
            severity: self.severity,
            code: self.code.clone(),
            key: self.key.clone(),
            line: self.line.clone(),
        })
    }
}

fn text_of(event: &Event, field: &str) -> Option<String> {
    event.data.get(field)?.as_str().map(ToOwned::to_owned)
}

/// Chooses what is told of these events.
pub fn of_events<'a>(dispatch: &Dispatch, events: &'a [Event]) -> Vec<Item> {
    let now = dispatch.now();
    let known: Vec<Option<Condition>> = {
        let state = dispatch.lock();
        let of_condition = |event: &Event| event.code.span() == Span::Condition;
        let known = |event| of_condition(event).then(|| state.conditions.get(event.id).cloned()).flatten();
        events.iter().map(known).collect()
    };
    let (mut seen, mut sums) = (BTreeSet::new(), Sums::default());
    let choose = |(event, known): (&'a Event, Option<Condition>)| {
        if event.severity != Severity::Alert {
            return Some(Item::plain(event, Audience::All));
        }
        if !seen.insert(event.id) {
            return None;
        }
        match (event.code.span(), known) {
            (Span::Fact, _) => Some(Item::plain(event, sums.audience_of(event))),
            (Span::Condition, Some(open)) if open.is_open() => {
                let path = text_of(event, "evidence").filter(|_| open.evidence.is_none())?;
                Some(Item::of_evidence(event, path))
            }
            (Span::Condition, ended) => Some(Item::opening(event, ended.as_ref(), now)),
        }
    };
    let mut items: Vec<Item> = events.iter().zip(known).filter_map(choose).collect();
    items.extend(sums.into_events(now).iter().map(|event| Item::plain(event, Audience::All)));
    items
}

/// Chooses what is told of the end of a condition: nothing unless it is open.
pub fn of_end(dispatch: &Dispatch, id: EventId, message: &str) -> Option<Item> {
    let now = dispatch.now();
    let state = dispatch.lock();
    state.conditions.get_open(id).map(|condition| Item::ending(condition, message, now))
}

/// Facts that are found together, by log and code.
#[derive(Default)]
struct Sums<'a>(BTreeMap<(Option<&'a str>, Code), Kind<'a>>);

#[derive(Default)]
struct Kind<'a> {
    met: usize,
    more: u64,
    /// The first and the last of those that sinks don't get one by one.
    ends: Option<(&'a Event, &'a Event)>,
}

impl<'a> Sums<'a> {
    /// Counts a fact, and says who is told of it.
    fn audience_of(&mut self, event: &'a Event) -> Audience {
        let kind = self.0.entry((event.origin.as_deref(), event.code)).or_default();
        kind.met += 1;
        if kind.met <= MAX_OF_A_KIND {
            return Audience::All;
        }
        kind.more += 1;
        kind.ends = Some((kind.ends.map_or(event, |(first, _)| first), event));
        Audience::Output
    }

    /// One event for the rest of each kind. The same facts have the same event, with one id.
    fn into_events(self, now: Timestamp) -> Vec<Event> {
        let sum = |((origin, code), kind): ((Option<&str>, Code), Kind<'_>)| {
            let ((first, last), more) = (kind.ends?, kind.more);
            let ids = [first.id.to_string(), last.id.to_string(), more.to_string()];
            let subject = ["more", &ids[0], &ids[1], &ids[2]];
            let message =
                format!("and {more} more of this kind in this batch; each of them is on the standard output");
            let mut event = Event::new(code, origin, &subject, now, message).with("more", more);
            for (name, end) in [("first_index", first), ("last_index", last)] {
                if let Some(index) = end.data.get("index") {
                    event = event.with(name, index.clone());
                }
            }
            Some(event)
        };
        self.0.into_iter().filter_map(sum).collect()
    }
}
