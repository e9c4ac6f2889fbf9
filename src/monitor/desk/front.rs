//! The one who writes: to the output, to the outbox, and into the book.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use super::DeskError;
use super::acks::{Reader, Said};
use super::book::{self, BOOK, Entry};
use super::outbox::{Outbox, Record};
use super::silence::Subject;
use super::state::Shared;
use crate::monitor::event::{Event, EventId, Severity, Span, add_field, cut};
use crate::release::format_time;
use crate::store::replace_file;

/// Most keys that are remembered of calls that failed.
const MAX_PRINTED: usize = 100_000;

pub struct Front {
    shared: Arc<Shared>,
    out: Box<dyn Write + Send>,
    /// What was printed by calls that failed later: they come again.
    printed: HashSet<String>,
    outbox: Outbox,
    acks: Reader,
    /// Whether the book's file is behind the book.
    book_moved: bool,
}

/// Something to be told.
pub struct Item {
    key: String,
    code: String,
    severity: Severity,
    line: String,
    /// Whether a silence keeps it from sinks.
    silenced: bool,
    then: Then,
}

/// What the book says of it afterwards.
enum Then {
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
    fn record(&self, shared: &Shared) -> Option<Record> {
        let passes = |code: &str| {
            let mut sinks = shared.settings.sinks.iter();
            sinks.any(|sink| sink.filter.passes(code, self.severity))
        };
        (!self.silenced && passes(&self.code)).then(|| Record {
            number: 0,
            time: shared.now(),
            severity: self.severity,
            code: self.code.clone(),
            key: self.key.clone(),
            line: self.line.clone(),
        })
    }
}

impl Front {
    pub fn new(shared: Arc<Shared>, out: Box<dyn Write + Send>, outbox: Outbox) -> Self {
        let (printed, acks) = (HashSet::new(), Reader::default());
        Self { shared, out, printed, outbox, acks, book_moved: false }
    }

    /// What is to be told of these events: alerts only that are not open already.
    pub fn sort(&self, events: &[Event]) -> Vec<Item> {
        let now = self.shared.now();
        // Before the lock: sinks need it, and there may be very many.
        let lines: Vec<String> = events.iter().map(Event::to_line).collect();
        let mut raised = HashSet::new();
        let state = self.shared.lock();
        let item = |(event, line): (&Event, String)| {
            let id = event.id.to_string();
            let (code, log) = (event.code.as_str(), event.origin.as_deref());
            let purl = event.data.get("purl").and_then(|purl| purl.as_str());
            let silenced = state.silences.cover(Subject { code, log, purl }, now);
            let severity = event.severity;
            let mut item = Item {
                key: id.clone(),
                code: code.to_owned(),
                severity,
                line,
                silenced,
                then: Then::Nothing,
            };
            if severity != Severity::Alert {
                return Some(item);
            }
            let old = state.book.get(&id);
            if old.is_some_and(|old| old.ended.is_none()) || !raised.insert(event.id) {
                return None;
            }
            // Raised in the same second, it is another time nevertheless.
            let time = old.map_or(now, |old| now.max(old.raised + 1));
            if old.is_some() {
                item.key = format!("{id}-again-{time}");
                item.line = add_field(&item.line, "again", true);
            }
            item.then = Then::Raise(Box::new(Entry {
                number: 0,
                id,
                code: code.to_owned(),
                severity,
                condition: event.code.span() == Span::Condition,
                log: log.map(ToOwned::to_owned),
                about: event.data.get("about").and_then(|about| about.as_str()).map(ToOwned::to_owned),
                purl: purl.map(ToOwned::to_owned),
                message: cut(&event.message),
                raised: time,
                told: (!silenced).then_some(now),
                acknowledged: None,
                ended: None,
                line: item.line.clone(),
            }));
            Some(item)
        };
        events.iter().zip(lines).filter_map(item).collect()
    }

    /// What is to be told of the end of a condition; none where it is not open.
    pub fn ended(&self, id: &EventId, message: &str) -> Option<Item> {
        let (id, now) = (id.to_string(), self.shared.now());
        let state = self.shared.lock();
        let entry = state.book.get(&id).filter(|entry| entry.condition && entry.ended.is_none())?;
        let severity = entry.severity;
        let mut line = String::from("{}");
        let mut add = |name: &str, value: &str| line = add_field(&line, name, value);
        add("id", &id);
        add("time", &format_time(now));
        add("event", "ended");
        add("of", &entry.code);
        add("severity", severity.as_str());
        entry.log.iter().for_each(|log| add("log", log));
        add("message", &cut(message));
        add("since", &format_time(entry.raised));
        let key = format!("{id}-ended-{}", entry.raised);
        // Who was told that it began waits for its end, silence or not; who was not has nothing to hear.
        let silenced = entry.told.is_none();
        Some(Item { key, code: entry.code.clone(), severity, line, silenced, then: Then::End(id) })
    }

    /// Alerts that are due to be told again.
    fn reminders(&self) -> Vec<Item> {
        let (now, remind_after) = (self.shared.now(), self.shared.settings.remind_after);
        let (pressing, silences) = {
            let state = self.shared.lock();
            (state.book.pressing(), state.silences.clone())
        };
        let due = book::due(pressing, now, remind_after, |entry| silences.cover_alert(entry, now));
        let item = |entry: Arc<Entry>| Item {
            key: format!("{}-reminder-{now}", entry.id),
            code: entry.code.clone(),
            severity: entry.severity,
            line: add_field(&entry.line, "reminder", true),
            silenced: false,
            then: Then::Reminded(entry.id.clone()),
        };
        due.into_iter().map(item).collect()
    }

    /// Writes to the output what a call that failed has not written already.
    pub fn print(&mut self, items: &[Item]) -> Result<(), DeskError> {
        let mut text = String::new();
        for item in items.iter().filter(|item| !self.printed.contains(&item.key)) {
            if item.silenced {
                text += &add_field(&item.line, "silenced", true);
            } else {
                text += &item.line;
            }
            text.push('\n');
        }
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(DeskError::Output)?;
        Ok(())
    }

    /// Remembers that these were printed: the call that printed them fails, and comes again.
    pub fn failed(&mut self, items: &[Item]) {
        if self.printed.len() < MAX_PRINTED {
            self.printed.extend(items.iter().map(|item| item.key.clone()));
        }
    }

    /// Forgets it again.
    pub fn done(&mut self, items: &[Item]) {
        if !self.printed.is_empty() {
            for item in items {
                self.printed.remove(&item.key);
            }
        }
    }

    /// Puts as many items into the outbox as there is room for, durably, and says how many. With none, nothing
    /// is written.
    pub fn put(&mut self, items: &[Item]) -> Result<usize, DeskError> {
        let (mut next, mut bytes) = {
            let state = self.shared.lock();
            (state.queue.next, state.queue.bytes())
        };
        let (mut records, mut count) = (Vec::new(), 0);
        for item in items {
            if let Some(record) = item.record(&self.shared) {
                bytes += record.line.len();
                // One that is larger than the outbox may be goes in alone.
                let alone = bytes == record.line.len();
                if bytes > self.shared.settings.outbox_bytes && !alone {
                    break;
                }
                records.push(Arc::new(Record { number: next, ..record }));
                next += 1;
            }
            count += 1;
        }
        if !records.is_empty() {
            let appended = self.append(&records);
            self.shared.judge("outbox", &appended);
            appended?;
            let mut state = self.shared.lock();
            records.into_iter().for_each(|record| state.queue.push(record));
            self.shared.wake.notify_all();
        }
        Ok(count)
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DeskError> {
        let live_bytes = self.shared.lock().queue.bytes() as u64;
        if self.outbox.is_due(live_bytes, self.shared.settings.outbox_file_bytes) {
            let (live, next) = {
                let state = self.shared.lock();
                (state.queue.all(), state.queue.next)
            };
            self.outbox.renew(&live, next)?;
        }
        Ok(self.outbox.append(records)?)
    }

    /// Writes into the book what was told, durably. In memory it stays even where the file can't be written:
    /// the next call tries that again, and nothing is told twice meanwhile.
    pub fn note(&mut self, items: &[Item]) -> Result<(), DeskError> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        for item in items {
            self.book_moved |= !matches!(item.then, Then::Nothing);
            match &item.then {
                Then::Nothing => {}
                Then::Raise(entry) => state.book.put(entry.as_ref().clone()),
                Then::Reminded(id) => state.book.change(id, |entry| entry.told = Some(now)),
                Then::End(id) => state.book.change(id, |entry| entry.ended = Some(now)),
            }
        }
        let dropped = state.book.trim();
        drop(state);
        if let Some(first) = dropped.first() {
            let (count, id) = (dropped.len(), &first.id);
            tracing::warn!(
                count,
                first = id,
                "the book of alerts is full: the oldest open ones are not told again"
            );
        }
        self.save_book()
    }

    fn save_book(&mut self) -> Result<(), DeskError> {
        if !self.book_moved {
            return Ok(());
        }
        // Out of the lock: it is megabytes, and sinks need the lock.
        let alerts = self.shared.lock().book.all();
        let bytes = book::encode(&alerts);
        // A crash in here leaves the old book or the new one: see there. With the old one, what was raised since
        // then is in the outbox already, and raised once more when the caller comes again.
        let saved = replace_file(self.shared.io.as_ref(), &self.shared.dir.join(BOOK), &bytes);
        self.shared.judge("book of alerts", &saved);
        saved?;
        self.book_moved = false;
        Ok(())
    }

    /// Takes up what people said.
    pub fn hear(&mut self) -> Result<(), DeskError> {
        let news = self.acks.read_new(&self.shared.dir);
        self.shared.judge("acks.jsonl", &news.as_ref().map(drop));
        let news = news?;
        if news.unknown > 0 {
            tracing::warn!(
                lines = news.unknown,
                "acks.jsonl has lines that are none of ours: they count for nothing"
            );
        }
        let now = self.shared.now();
        let mut state = self.shared.lock();
        if news.anew {
            state.silences = super::acks::Silences::default();
        }
        for said in &news.said {
            state.silences.hear(said);
            if let Said::Acknowledge { id, raised, time } = said {
                self.book_moved |= state.book.acknowledge(id, *raised, *time);
            }
        }
        state.silences.expire(now);
        let silences = state.silences.said(now);
        drop(state);
        self.save_book()?;
        if self.acks.is_long() {
            let renewed = self.acks.renew(self.shared.io.as_ref(), &self.shared.dir, &silences);
            self.shared.judge("acks.jsonl", &renewed);
            renewed?;
        }
        Ok(())
    }

    /// Tells again what is due, as far as there is room.
    pub fn remind(&mut self) -> Result<(), DeskError> {
        let mut items = self.reminders();
        if items.is_empty() {
            return Ok(());
        }
        let count = self.put(&items)?;
        items.truncate(count);
        self.print(&items)?;
        self.note(&items)
    }
}
