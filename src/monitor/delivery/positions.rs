//! `positions.json`: the position of each sink. It may be behind after a crash: a sink then gets some events again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DeliveryError;
use crate::disk::{DiskError, DiskIo, read_plain, replace};

/// Name of the file in the state directory.
pub const POSITIONS: &str = "positions.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    sinks: BTreeMap<String, u64>,
}

/// Number of the next record for each sink, by name.
pub type Positions = BTreeMap<String, u64>;

pub fn read(dir: &Path) -> Result<Option<Positions>, DeliveryError> {
    let path = dir.join(POSITIONS);
    let bytes = match read_plain(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DiskError::io("read", &path)(e).into()),
    };
    let damaged = |detail| DeliveryError::Damaged {
        path: path.clone(),
        detail,
        cost: "sinks then get all of the outbox again",
    };
    let text: Text = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if text.version != 1 {
        return Err(damaged(format!("expected version 1, saw {}", text.version)));
    }
    Ok(Some(text.sinks))
}

pub fn write(io: &dyn DiskIo, dir: &Path, positions: &Positions) -> Result<(), DiskError> {
    let text = Text { version: 1, sinks: positions.clone() };
    let text = serde_json::to_string(&text).expect("names and numbers have a JSON form") + "\n";
    // A crash in here leaves the old positions or the new ones: see there. With the old ones, sinks get what
    // they had since then once more.
    replace(io, &dir.join(POSITIONS), text.as_bytes())
}
