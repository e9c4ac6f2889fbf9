//! What is to be told, and to whom: chosen by what the book says of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::acks::Silences;
use super::book::{self, Entry};
use super::outbox::Record;
use super::rank::Rank;
use super::silence::Subject;
use super::state::{Shared, State};
use super::sums::{Sum, Sums};
use crate::monitor::event::{Code, Event, EventId, Severity, Span, add_field, cut, retold};
use crate::release::{Timestamp, format_time};

/// Something to be told.
pub struct Item {
    /// Its id: what the line says, and sinks get with it.
    pub key: String,
    code: String,
    severity: Severity,
    pub line: String,
    pub reach: Reach,
    pub rank: Rank,
    pub then: Then,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The output, and sinks that want it.
    Sinks,
    /// The output alone: sinks get the sum.
    Output,
    /// The output alone: a silence keeps it from sinks.
    Silenced,
}

/// What the book says of it afterwards.
pub enum Then {
    Nothing,
    Raise(Box<Entry>),
    Reminded(String),
    End(String),
}

impl Item {
    /// Bytes that it takes of the outbox.
    pub fn bytes(&self) -> usize {
        self.line.len()
    }

    /// The record that sinks get, if any of them wants it.
    pub fn record(&self, shared: &Shared) -> Option<Record> {
        let passes = |code: &str| {
            let mut sinks = shared.settings.sinks.iter();
            sinks.any(|sink| sink.filter.passes(code, self.severity))
        };
        (self.reach == Reach::Sinks && passes(&self.code)).then(|| Record {
            number: 0,
            time: shared.now(),
            severity: self.severity,
            code: self.code.clone(),
            key: self.key.clone(),
            line: self.line.clone(),
        })
    }

    /// One that changes nothing in the book.
    fn plain(event: &Event, reach: Reach) -> Self {
        Self {
            key: event.id.to_string(),
            code: event.code.as_str().to_owned(),
            severity: event.severity,
            line: event.to_line(),
            reach,
            rank: Rank::Common,
            then: Then::Nothing,
        }
    }

    /// One that raises an alert, once more where there is an old one.
    fn raising(event: &Event, old: Option<Known>, silenced: bool, now: Timestamp) -> Self {
        let reach = if silenced { Reach::Silenced } else { Reach::Sinks };
        let mut item = Self::plain(event, reach);
        let mut line = item.line.clone();
        item.rank = Rank::of(&item.code);
        // Raised in the same second, it is another time nevertheless.
        let time = old.map_or(now, |old| now.max(old.raised + 1));
        if old.is_some() {
            item.key = format!("{}-again-{time}", event.id);
            line = add_field(&line, "again", true);
            item.line = retold(&line, &item.key, &event.id.to_string());
        }
        item.then = Then::Raise(Box::new(Entry {
            number: 0,
            id: event.id.to_string(),
            code: item.code.clone(),
            severity: event.severity,
            condition: event.code.span() == Span::Condition,
            log: event.origin.clone(),
            about: text_of(event, "about").map(ToOwned::to_owned),
            purl: text_of(event, "purl").map(ToOwned::to_owned),
            message: cut(&event.message),
            raised: time,
            told: (!silenced).then_some(now),
            acknowledged: None,
            ended: None,
            line,
        }));
        item
    }
}

fn text_of<'a>(event: &'a Event, field: &str) -> Option<&'a str> {
    event.data.get(field).and_then(|text| text.as_str())
}

fn covers(silences: &Silences, event: &Event, now: Timestamp) -> bool {
    let (code, log) = (event.code.as_str(), event.origin.as_deref());
    silences.cover(Subject { code, log, purl: text_of(event, "purl") }, now)
}

/// What the book says of an alert that is seen again.
#[derive(Clone, Copy)]
struct Known {
    raised: Timestamp,
    is_over: bool,
}

fn known(state: &State, event: &Event) -> Option<Known> {
    // Only alerts are in the book.
    let entry = (event.severity == Severity::Alert).then(|| state.book.get(&event.id.to_string()))??;
    Some(Known { raised: entry.raised, is_over: entry.ended.is_some() })
}

/// What is to be told of these events: alerts only that are not open already.
pub fn of_events(shared: &Shared, events: &[Event]) -> Vec<Item> {
    let now = shared.now();
    // The lock is held for no more: sinks need it, and there may be very many.
    let (known, silences): (Vec<Option<Known>>, Silences) = {
        let state = shared.lock();
        (events.iter().map(|event| known(&state, event)).collect(), state.silences.clone())
    };
    let (mut seen, mut sums) = (HashSet::new(), Sums::default());
    let items = events.iter().zip(known).filter_map(|(event, old)| {
        let silenced = covers(&silences, event, now);
        let silently = |reach| if silenced { Reach::Silenced } else { reach };
        if event.severity != Severity::Alert {
            return Some(Item::plain(event, silently(Reach::Sinks)));
        }
        if !seen.insert(event.id) {
            return None;
        }
        // Of a condition somebody waits for its end. Counted before the book is asked: who comes again with the
        // same events is to get the same sum.
        let early = event.code.span() == Span::Condition || sums.is_early(event, silenced);
        if old.is_some_and(|old| !old.is_over) {
            return None;
        }
        if early {
            return Some(Item::raising(event, old, silenced, now));
        }
        sums.add(event, silenced);
        Some(Item::plain(event, silently(Reach::Output)))
    });
    let mut items: Vec<Item> = items.collect();
    items.extend(sums.of_each(now).into_iter().filter_map(|sum| of_sum(shared, &sum, now)));
    items
}

/// What is to be told of the rest of a kind, unless it was told before.
fn of_sum(shared: &Shared, sum: &Sum<'_>, now: Timestamp) -> Option<Item> {
    let old = known(&shared.lock(), &sum.event);
    if old.is_some_and(|old| !old.is_over) {
        return None;
    }
    let mut item = Item::raising(&sum.event, old, sum.silenced, now);
    if let (Then::Raise(entry), true) = (&mut item.then, sum.silenced) {
        // It is silent as long as the first that it stands for would be.
        entry.purl = text_of(sum.first, "purl").map(ToOwned::to_owned);
    }
    Some(item)
}

/// That a sink gave up this record: the same event, however often that is read.
pub fn skipped(sink: &str, record: &Record, now: Timestamp) -> Event {
    let Record { number, code, key, .. } = record;
    let message = format!("{sink} was told to give up an event of code {code} that it did not take: {key}");
    Event::new(Code::EventSkipped, None, &[sink, &number.to_string()], now, message)
        .with("sink", sink)
        .with("skipped", key.as_str())
        .with("code", code.as_str())
}

/// What is to be told of the end of a condition; none where it is not open.
pub fn of_end(shared: &Shared, id: &EventId, message: &str) -> Option<Item> {
    let (id, now) = (id.to_string(), shared.now());
    let state = shared.lock();
    let entry = state.book.get(&id).filter(|entry| entry.condition && entry.ended.is_none())?;
    let severity = entry.severity;
    let key = format!("{id}-ended-{}", entry.raised);
    let mut line = String::from("{}");
    let mut add = |name: &str, value: &str| line = add_field(&line, name, value);
    add("id", &key);
    add("alert", &id);
    add("time", &format_time(now));
    add("event", "ended");
    add("of", &entry.code);
    add("severity", severity.as_str());
    entry.log.iter().for_each(|log| add("log", log));
    add("message", &cut(message));
    add("since", &format_time(entry.raised));
    // Who was told that it began waits for its end, silence or not; who was not has nothing to hear.
    let reach = if entry.told.is_some() { Reach::Sinks } else { Reach::Silenced };
    let rank = Rank::of(&entry.code);
    Some(Item { key, code: entry.code.clone(), severity, line, reach, rank, then: Then::End(id) })
}

/// Alerts that are due to be told again.
pub fn reminders(shared: &Shared) -> Vec<Item> {
    let (now, remind_after) = (shared.now(), shared.settings.remind_after);
    let (pressing, silences) = {
        let state = shared.lock();
        (state.book.pressing(), state.silences.clone())
    };
    let due = book::due(pressing, now, remind_after, |entry| silences.cover_alert(entry, now));
    let item = |entry: Arc<Entry>| {
        let key = format!("{}-reminder-{now}", entry.id);
        Item {
            code: entry.code.clone(),
            severity: entry.severity,
            line: retold(&add_field(&entry.line, "reminder", true), &key, &entry.id),
            key,
            reach: Reach::Sinks,
            // It was told once: what is new goes first.
            rank: Rank::Common,
            then: Then::Reminded(entry.id.clone()),
        }
    };
    due.into_iter().map(item).collect()
}
