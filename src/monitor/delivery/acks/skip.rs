//! What people say to an event that a sink never takes. Nothing is dropped by itself: somebody has to say so.

use std::path::Path;

use serde::Serialize;

use super::file::{self, Said};
use super::{AckError, DeliveryError};
use crate::format::quote;
use crate::monitor::delivery::outbox::{self, OUTBOX};
use crate::monitor::delivery::positions;
use crate::release::Timestamp;

/// An event that a sink gives up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The sink.
    pub sink: String,
    /// The event's id.
    pub id: String,
    /// Its code; for what ended, that of its beginning.
    pub code: String,
    /// The event.
    #[serde(skip)]
    pub line: String,
}

/// Has a sink give up the event that it waits for, which it then never gets; the next ones come. Durable when it
/// returns; a monitor that runs takes it up within a second. Where the sink has taken it by then, nothing is given
/// up.
///
/// # Errors
/// [`AckError`].
pub fn skip(dir: &Path, sink: &str, now: Timestamp) -> Result<Skipped, AckError> {
    let lock = file::lock(dir).map_err(DeliveryError::from)?;
    let known = positions::read(dir)?.unwrap_or_default();
    let Some(position) = known.get(sink) else {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(AckError::NoSink { name: quote(sink), known });
    };
    let records = outbox::read(&dir.join(OUTBOX))?.map(|scan| scan.records).unwrap_or_default();
    let record = records.into_iter().find(|record| record.number == *position);
    let record = record.ok_or_else(|| AckError::NothingWaits(sink.to_owned()))?;
    let (number, id) = (record.number, record.key.clone());
    file::say(dir, &lock, &[Said::Skip { sink: sink.to_owned(), number, id, time: now }])?;
    Ok(Skipped { sink: sink.to_owned(), id: record.key, code: record.code, line: record.line })
}
