//! The one who writes: to the output, to the outbox, and into the book.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use super::DeliveryError;
use super::acks::{Reader, Said};
use super::book::{self, BOOK};
use super::items::{self, Item, Reach, Then};
use super::outbox::{Outbox, Record};
use super::state::Shared;
use crate::disk::{is_full, replace};
use crate::monitor::event::add_field;

/// Most keys that are remembered of calls that failed.
const MAX_PRINTED: usize = 100_000;

pub struct Front {
    shared: Arc<Shared>,
    out: Box<dyn Write + Send>,
    /// Whether the output ends within a line.
    torn: bool,
    /// What was printed by calls that failed later: they come again.
    printed: HashSet<String>,
    outbox: Outbox,
    acks: Reader,
    /// Whether the book's file is behind the book.
    book_moved: bool,
}

impl Front {
    pub fn new(shared: Arc<Shared>, out: Box<dyn Write + Send>, outbox: Outbox) -> Self {
        let (printed, acks) = (HashSet::new(), Reader::default());
        Self { shared, out, torn: false, printed, outbox, acks, book_moved: false }
    }

    /// Writes to the output what a call that failed has not written already.
    pub fn print(&mut self, items: &[Item]) -> Result<(), DeliveryError> {
        let mut text = String::new();
        for item in items.iter().filter(|item| !self.printed.contains(&item.key)) {
            if item.reach == Reach::Silenced {
                text += &add_field(&item.line, "silenced", true);
            } else {
                text += &item.line;
            }
            text.push('\n');
        }
        let written = self.write(text.as_bytes());
        written.map_err(|e| if is_full(&e) { DeliveryError::OutputFull(e) } else { DeliveryError::Output(e) })
    }

    /// Writes whole lines. Where the disk was full in the middle of one, the next begin on a line of their own.
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

    /// Takes as many items as there is room for, and says how many: they are in the outbox and in the book then,
    /// durably.
    pub fn take(&mut self, items: &[Item]) -> Result<usize, DeliveryError> {
        let count = self.put(items)?;
        self.note(&items[..count])?;
        Ok(count)
    }

    /// Tells what is found at the start, when nobody can wait for room: sinks that have none for it get it with
    /// the reminders.
    pub fn tell_first(&mut self, mut items: Vec<Item>) -> Result<(), DeliveryError> {
        self.print(&items)?;
        let count = self.put(&items)?;
        for item in &mut items[count..] {
            if let Then::Raise(entry) = &mut item.then {
                entry.told = None;
            }
        }
        self.note(&items)
    }

    /// Puts as many items into the outbox as there is room for, durably, and says how many. With none, nothing
    /// is written.
    fn put(&mut self, items: &[Item]) -> Result<usize, DeliveryError> {
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
                if bytes > self.shared.settings.room_for(item.rank) && !alone {
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

    fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DeliveryError> {
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
    fn note(&mut self, items: &[Item]) -> Result<(), DeliveryError> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        for item in items {
            self.book_moved |= !matches!(item.then, Then::Nothing);
            match &item.then {
                Then::Nothing => {}
                // Who raised it while this waited for room may have been heard: their entry stays.
                Then::Raise(entry) if state.book.get(&entry.id).is_some_and(|old| old.ended.is_none()) => {}
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

    fn save_book(&mut self) -> Result<(), DeliveryError> {
        if !self.book_moved {
            return Ok(());
        }
        // Out of the lock: it is megabytes, and sinks need the lock.
        let alerts = self.shared.lock().book.all();
        let bytes = book::encode(&alerts);
        // A crash in here leaves the old book or the new one: see there. With the old one, what was raised since
        // then is in the outbox already, and raised once more when the caller comes again.
        let saved = replace(self.shared.io.as_ref(), &self.shared.dir.join(BOOK), &bytes);
        self.shared.judge("book of alerts", &saved);
        saved?;
        self.book_moved = false;
        Ok(())
    }

    /// Takes up what people said.
    pub fn hear(&mut self) -> Result<(), DeliveryError> {
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
        let mut skips = news.said.iter().filter_map(|said| match said {
            Said::Skip { sink, number, id, .. } => Some((sink.as_str(), *number, id.as_str())),
            _ => None,
        });
        state.silences.expire(now);
        let silences = state.silences.said(now);
        drop(state);
        skips.try_for_each(|(sink, number, id)| self.skip(sink, number, id))?;
        self.save_book()?;
        if self.acks.is_long() {
            let renewed = self.acks.renew(self.shared.io.as_ref(), &self.shared.dir, &silences);
            self.shared.judge("acks.jsonl", &renewed);
            renewed?;
        }
        Ok(())
    }

    /// Has a sink give up what it waits for, and says so. Where it took that by now, or was told before, nothing.
    fn skip(&mut self, sink: &str, number: u64, id: &str) -> Result<(), DeliveryError> {
        let Some(record) = self.shared.give_up(sink, number, id) else { return Ok(()) };
        // A crash in here has the sink give it up again, after the next start.
        let items = items::of_events(&self.shared, &[items::skipped(sink, &record, self.shared.now())]);
        self.print(&items)?;
        // Sinks that want to know get it, if there is room for it.
        self.put(&items)?;
        // Until then the file of what was said is not made short.
        Ok(self.shared.save_positions()?)
    }

    /// Tells again what is due, as far as there is room.
    pub fn remind(&mut self) -> Result<(), DeliveryError> {
        let mut items = items::reminders(&self.shared);
        if items.is_empty() {
            return Ok(());
        }
        let count = self.put(&items)?;
        items.truncate(count);
        self.print(&items)?;
        self.note(&items)
    }
}
