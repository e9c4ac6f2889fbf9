//! Chooses what is told of events, and writes it: to the output, to the outbox and into `conditions.json`, in this order.
//!
//! The output gets every event, and sinks no more than they can use. A condition is told once until it ends. Of many
//! facts of one log and code that are found together, sinks get the first [`MAX_OF_A_KIND`] and one event for the others:
//! a log can cause any number of them, and a sink may take a second for each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use super::DeliveryError;
use super::dispatch::{Dispatch, DispatchState};
use super::open_conditions::{CONDITIONS, Condition};
use super::outbox::{Outbox, Record};
use super::settings::{DeliverySettings, SinkSettings};
use crate::disk::{is_full, replace};
use crate::monitor::event::{Code, Event, EventId, Severity, Span, add_field, cut, retold};
use crate::release::{Timestamp, format_time};

/// Most keys that are remembered of calls that failed.
const MAX_PRINTED: usize = 100_000;
/// Most facts of one log and code that sinks get one by one.
pub const MAX_OF_A_KIND: usize = 100;

/// One event on its way to the output, the outbox and the open conditions.
pub struct Item {
    /// For the outbox, which numbers it.
    pub record: Record,
    pub log: Option<String>,
    pub audience: Audience,
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The output, and each sink whose filter passes it.
    All,
    /// The output: sinks get the event that sums up the others of its kind.
    Output,
    /// No sink: it was reported before, and only its details changed.
    Nobody,
}

/// The change that an item makes to the open conditions.
pub enum Change {
    None,
    Open(Box<Condition>),
    /// The evidence of an open fork was written to this path.
    Evidence(EventId, String),
    End(EventId),
}

impl Item {
    fn plain(event: &Event, audience: Audience, time: Timestamp) -> Self {
        let record = Record {
            number: 0,
            time,
            severity: event.severity,
            code: event.code.as_str().to_owned(),
            key: event.id.to_string(),
            line: event.to_line(),
        };
        Self { record, log: event.origin.clone(), audience, change: Change::None }
    }

    /// Opens a condition, which may have ended `before`.
    fn opening(event: &Event, before: Option<&Condition>, now: Timestamp) -> Self {
        let mut item = Self::plain(event, Audience::All, now);
        // One that begins again in the same second has a time of its own nevertheless.
        let since = before.map_or(now, |before| now.max(before.since.saturating_add(1)));
        if before.is_some() {
            let Record { key, line, .. } = &mut item.record;
            *key = format!("{}-again-{since}", event.id);
            *line = retold(&add_field(line, "again", true), key, &event.id.to_string());
        }
        item.change = Change::Open(Box::new(Condition {
            id: event.id,
            code: item.record.code.clone(),
            log: event.origin.clone(),
            about: text_of(event, "about"),
            message: cut(&event.message),
            since,
            evidence: text_of(event, "evidence"),
            ended: None,
        }));
        item
    }

    fn ending(condition: &Condition, message: &str, time: Timestamp) -> Self {
        let Condition { id, code, log, since, .. } = condition;
        let (key, severity) = (format!("{id}-ended-{since}"), Severity::Alert);
        let mut line = String::from("{}");
        let mut add = |name: &str, value: &str| line = add_field(&line, name, value);
        add("id", &key);
        add("alert", &id.to_string());
        add("time", &format_time(time));
        add("event", "ended");
        add("of", code);
        add("severity", severity.as_str());
        log.iter().for_each(|log| add("log", log));
        add("message", &cut(message));
        add("since", &format_time(*since));
        let record = Record { number: 0, time, severity, code: code.clone(), key, line };
        Self { record, log: log.clone(), audience: Audience::All, change: Change::End(*id) }
    }

    pub const fn is_printed(&self) -> bool {
        !matches!(self.audience, Audience::Nobody)
    }

    /// Whether it alerts somebody; an end does not.
    pub fn is_alert(&self) -> bool {
        let is_end = matches!(self.change, Change::End(_));
        self.record.severity == Severity::Alert && self.is_printed() && !is_end
    }

    /// Whether it begins or ends a condition: the outbox reserves room for these.
    pub const fn is_of_condition(&self) -> bool {
        !matches!(self.change, Change::None)
    }

    /// Whether any sink accepts it.
    fn is_wanted(&self, settings: &DeliverySettings) -> bool {
        let passes = |sink: &SinkSettings| sink.filter.passes(&self.record.code, self.record.severity);
        self.audience == Audience::All && settings.sinks.iter().any(passes)
    }
}

fn text_of(event: &Event, field: &str) -> Option<String> {
    event.data.get(field)?.as_str().map(ToOwned::to_owned)
}

/// Chooses what is told of these events.
pub fn of_events<'a>(dispatch: &Dispatch, events: &'a [Event]) -> Vec<Item> {
    let now = dispatch.now();
    let known: Vec<Option<Condition>> = dispatch.state.with(|state| {
        let of_condition = |event: &Event| event.code.span() == Span::Condition;
        let known = |event| of_condition(event).then(|| state.conditions.get(event.id).cloned()).flatten();
        events.iter().map(known).collect()
    });
    let (mut seen, mut sums) = (BTreeSet::new(), Sums::default());
    let choose = |(event, known): (&'a Event, Option<Condition>)| {
        if event.severity != Severity::Alert {
            return Some(Item::plain(event, Audience::All, now));
        }
        if !seen.insert(event.id) {
            return None;
        }
        match (event.code.span(), known) {
            (Span::Fact, _) => Some(Item::plain(event, sums.audience_of(event), now)),
            (Span::Condition, Some(open)) if open.is_open() => {
                let path = text_of(event, "evidence").filter(|_| open.evidence.is_none())?;
                let change = Change::Evidence(event.id, path);
                Some(Item { change, ..Item::plain(event, Audience::Nobody, now) })
            }
            (Span::Condition, ended) => Some(Item::opening(event, ended.as_ref(), now)),
        }
    };
    let mut items: Vec<Item> = events.iter().zip(known).filter_map(choose).collect();
    items.extend(sums.into_events(now).iter().map(|event| Item::plain(event, Audience::All, now)));
    items
}

/// Chooses what is told of the end of a condition: nothing unless it is open.
pub fn of_end(dispatch: &Dispatch, id: EventId, message: &str) -> Option<Item> {
    let open = dispatch.state.with(|state| state.conditions.get_open(id).cloned());
    open.map(|condition| Item::ending(&condition, message, dispatch.now()))
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

/// Writes items in the order in which they are told.
pub struct Writer {
    dispatch: Arc<Dispatch>,
    out: Box<dyn Write + Send>,
    /// Whether the output ends in the middle of a line.
    torn: bool,
    /// Keys that were printed by calls that failed later: their events come again.
    printed: BTreeSet<String>,
    outbox: Outbox,
    /// Whether `conditions.json` is behind the open conditions in memory.
    conditions_moved: bool,
}

impl Writer {
    pub fn new(dispatch: Arc<Dispatch>, out: Box<dyn Write + Send>, outbox: Outbox) -> Self {
        Self { dispatch, out, torn: false, printed: BTreeSet::new(), outbox, conditions_moved: false }
    }

    /// Prints the items, but for those that a call that failed has printed already.
    pub fn print(&mut self, items: &[Item]) -> Result<(), DeliveryError> {
        let mut text = String::new();
        for item in items.iter().filter(|item| item.is_printed() && !self.printed.contains(&item.record.key))
        {
            text += &item.record.line;
            text.push('\n');
        }
        let written = self.write(text.as_bytes());
        written.map_err(|e| if is_full(&e) { DeliveryError::OutputFull(e) } else { DeliveryError::Output(e) })
    }

    /// Writes whole lines. If the disk was full in the middle of one, the next begin on a line of their own.
    fn write(&mut self, mut text: &[u8]) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
            self.torn = false;
        }
        while !text.is_empty() {
            match self.out.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = text[count - 1] != b'\n';
                    text = &text[count..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.flush()
    }

    /// Remembers that these were printed by a call that fails.
    pub fn failed(&mut self, items: &[Item]) {
        if self.printed.len() < MAX_PRINTED {
            self.printed.extend(items.iter().map(|item| item.record.key.clone()));
        }
    }

    /// Forgets that they were printed: the call has succeeded.
    pub fn done(&mut self, items: &[Item]) {
        if !self.printed.is_empty() {
            for item in items {
                self.printed.remove(&item.record.key);
            }
        }
    }

    /// Takes as many items as there is room for, and returns how many: they are durable in the outbox and in
    /// `conditions.json` then.
    pub fn take(&mut self, items: &[Item]) -> Result<usize, DeliveryError> {
        let count = self.put(items)?;
        self.note(&items[..count])?;
        Ok(count)
    }

    /// Puts as many items into the outbox as there is room for, durably, and returns how many.
    fn put(&mut self, items: &[Item]) -> Result<usize, DeliveryError> {
        let (mut next, mut bytes) = self.dispatch.state.with(|state| (state.queue.next, state.queue.bytes()));
        let (mut records, mut count) = (Vec::new(), 0);
        for item in items {
            if item.is_wanted(&self.dispatch.settings) {
                bytes += item.record.line.len();
                // One that is larger than the outbox may be goes in alone.
                let alone = bytes == item.record.line.len();
                if bytes > self.dispatch.settings.room(item.is_of_condition()) && !alone {
                    break;
                }
                records.push(Arc::new(Record { number: next, ..item.record.clone() }));
                next += 1;
            }
            count += 1;
        }
        if !records.is_empty() {
            let appended = self.append(&records);
            self.dispatch.judge("outbox", &appended);
            appended?;
            let queue =
                |state: &mut DispatchState| records.into_iter().for_each(|record| state.queue.push(record));
            self.dispatch.state.change(queue);
        }
        Ok(count)
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DeliveryError> {
        let live = self.dispatch.state.with(|state| state.queue.bytes()) as u64;
        if self.outbox.is_due(live, self.dispatch.settings.outbox_file_bytes) {
            let (live, next) = self.dispatch.state.with(|state| (state.queue.all(), state.queue.next));
            self.outbox.renew(&live, next)?;
        }
        Ok(self.outbox.append(records)?)
    }

    /// Notes what was told, durably. In memory it stays noted even if the file can't be written: the next call
    /// tries that again, and nothing is told twice meanwhile.
    fn note(&mut self, items: &[Item]) -> Result<(), DeliveryError> {
        let now = self.dispatch.now();
        self.conditions_moved |= items.iter().any(Item::is_of_condition);
        self.dispatch.state.with(|state| {
            for item in items {
                if item.is_alert() {
                    let kind = (item.log.clone(), item.record.code.clone());
                    *state.alerts_told.entry(kind).or_default() += 1;
                }
                match &item.change {
                    Change::None => {}
                    // Another caller may have opened it while this one waited for room.
                    Change::Open(condition) if state.conditions.get_open(condition.id).is_some() => {}
                    Change::Open(condition) => state.conditions.put(condition.as_ref().clone()),
                    Change::Evidence(id, path) => state.conditions.set_evidence(*id, path),
                    Change::End(id) => state.conditions.end(*id, now),
                }
            }
        });
        self.save_conditions()
    }

    fn save_conditions(&mut self) -> Result<(), DeliveryError> {
        if !self.conditions_moved {
            return Ok(());
        }
        let bytes = self.dispatch.state.with(|state| state.conditions.encode());
        // A crash in here leaves the old file or the new one. With the old one, what opened since then is in the
        // outbox already, and is told once more when the caller comes again.
        let saved = replace(self.dispatch.io.as_ref(), &self.dispatch.dir.join(CONDITIONS), &bytes);
        self.dispatch.judge("open conditions", &saved);
        saved?;
        self.conditions_moved = false;
        Ok(())
    }
}
