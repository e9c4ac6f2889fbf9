//! Writes what is told: to the output, to the outbox and into `conditions.json`, in this order.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use super::DeliveryError;
use super::dispatch::Dispatch;
use super::item::{Change, Item};
use super::open_conditions::CONDITIONS;
use super::outbox::{Outbox, Record};
use crate::disk::{is_full, replace};

/// Most keys that are remembered of calls that failed.
const MAX_PRINTED: usize = 100_000;

pub struct Writer {
    dispatch: Arc<Dispatch>,
    out: Box<dyn Write + Send>,
    /// Whether the output ends within a line.
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
        for item in items.iter().filter(|item| item.is_printed() && !self.printed.contains(&item.key)) {
            text += &item.line;
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
            self.printed.extend(items.iter().map(|item| item.key.clone()));
        }
    }

    /// Forgets that they were printed: the call has succeeded.
    pub fn done(&mut self, items: &[Item]) {
        if !self.printed.is_empty() {
            for item in items {
                self.printed.remove(&item.key);
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
        let (mut next, mut bytes) = {
            let state = self.dispatch.lock();
            (state.queue.next, state.queue.bytes())
        };
        let (mut records, mut count) = (Vec::new(), 0);
        for item in items {
            if let Some(record) = item.record(&self.dispatch) {
                bytes += record.line.len();
                // One that is larger than the outbox may be goes in alone.
                let alone = bytes == record.line.len();
                if bytes > self.dispatch.settings.room_for(item) && !alone {
                    break;
                }
                records.push(Arc::new(Record { number: next, ..record }));
                next += 1;
            }
            count += 1;
        }
        if !records.is_empty() {
            let appended = self.append(&records);
            self.dispatch.judge("outbox", &appended);
            appended?;
            let mut state = self.dispatch.lock();
            records.into_iter().for_each(|record| state.queue.push(record));
            self.dispatch.wake.notify_all();
        }
        Ok(count)
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<(), DeliveryError> {
        let live_bytes = self.dispatch.lock().queue.bytes() as u64;
        if self.outbox.is_due(live_bytes, self.dispatch.settings.outbox_file_bytes) {
            let (live, next) = {
                let state = self.dispatch.lock();
                (state.queue.all(), state.queue.next)
            };
            self.outbox.renew(&live, next)?;
        }
        Ok(self.outbox.append(records)?)
    }

    /// Notes what was told, durably. In memory it stays noted even if the file can't be written: the next call
    /// tries that again, and nothing is told twice meanwhile.
    fn note(&mut self, items: &[Item]) -> Result<(), DeliveryError> {
        let now = self.dispatch.now();
        let mut state = self.dispatch.lock();
        for item in items {
            if item.is_alert() {
                *state.alerts_told.entry((item.log.clone(), item.code.clone())).or_default() += 1;
            }
            self.conditions_moved |= item.is_of_condition();
            match &item.change {
                Change::None => {}
                // Another caller may have opened it while this one waited for room.
                Change::Open(condition) if state.conditions.get_open(condition.id).is_some() => {}
                Change::Open(condition) => state.conditions.put(condition.as_ref().clone()),
                Change::Evidence(id, path) => state.conditions.set_evidence(*id, path),
                Change::End(id) => state.conditions.end(*id, now),
            }
        }
        drop(state);
        self.save_conditions()
    }

    fn save_conditions(&mut self) -> Result<(), DeliveryError> {
        if !self.conditions_moved {
            return Ok(());
        }
        let bytes = self.dispatch.lock().conditions.encode();
        // A crash in here leaves the old file or the new one. With the old one, what opened since then is in the
        // outbox already, and is told once more when the caller comes again.
        let saved = replace(self.dispatch.io.as_ref(), &self.dispatch.dir.join(CONDITIONS), &bytes);
        self.dispatch.judge("open conditions", &saved);
        saved?;
        self.conditions_moved = false;
        Ok(())
    }
}
