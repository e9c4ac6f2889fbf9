//! The file itself: appended to by one process, read by another.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AckError;
use crate::disk::{DiskError, DiskIo, open_own, open_plain, replace};
use crate::monitor::delivery::DeliveryError;
use crate::monitor::delivery::silence::Silence;
use crate::release::Timestamp;

/// The file, in the desk's directory.
pub const ACKS: &str = "acks.jsonl";
const LOCK: &str = "acks.lock";
/// Longer, nothing is appended: ten thousand acknowledgements, some times over.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Longer, the desk writes it anew.
const LONG_BYTES: u64 = 256 * 1024;

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "lowercase")]
pub enum Said {
    /// Of the alert that was raised at this time.
    Acknowledge {
        id: String,
        raised: Timestamp,
        time: Timestamp,
    },
    Silence {
        name: String,
        #[serde(flatten)]
        silence: Silence,
        time: Timestamp,
    },
    Unsilence {
        name: String,
        time: Timestamp,
    },
    /// A sink is to give up the event of this number in the outbox, if it has this id: an outbox that was lost
    /// has the number again.
    Skip {
        sink: String,
        number: u64,
        id: String,
        time: Timestamp,
    },
}

/// The right to write; it ends when it is dropped, or with the process.
pub struct Lock(#[expect(dead_code, reason = "it is held")] File);

/// Waits for the right to write.
pub fn lock(dir: &Path) -> Result<Lock, DiskError> {
    let path = dir.join(LOCK);
    let file = open_own(File::options().create(true).truncate(false).write(true), &path);
    let file = file.map_err(DiskError::io("open", &path))?;
    file.lock().map_err(DiskError::io("lock", &path))?;
    Ok(Lock(file))
}

/// Appends what was said, durably.
pub fn say(dir: &Path, _lock: &Lock, said: &[Said]) -> Result<(), AckError> {
    let path = dir.join(ACKS);
    let io = |doing| {
        let path = path.clone();
        move |e: io::Error| DeliveryError::from(DiskError::io(doing, &path)(e))
    };
    let mut file =
        open_own(File::options().create(true).read(true).append(true), &path).map_err(io("open"))?;
    let length = file.metadata().map_err(io("read"))?.len();
    if length > MAX_BYTES {
        return Err(AckError::Unread { path, bytes: length });
    }
    let mut text = String::new();
    // What somebody left who was killed while writing is a line of its own, which nobody understands.
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(io("read"))?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    for said in said {
        text += &serde_json::to_string(said).expect("texts and numbers have a JSON form");
        text.push('\n');
    }
    // A crash before the end of this function leaves some of the lines or none. Nobody was told that it is
    // done, and saying it again does no harm.
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    file.sync_all().map_err(io("fsync"))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("fsync"))?;
    Ok(())
}

/// What is new in the file.
pub struct News {
    pub said: Vec<Said>,
    /// Whether this is all of the file, and what was read of it before is void.
    pub anew: bool,
    /// Lines that nobody understands.
    pub unknown: usize,
}

/// Reads what others append.
#[derive(Debug, Default)]
pub struct Reader {
    /// How far it was read, whole lines only.
    offset: u64,
    /// Which file, and how long it was.
    seen: Option<(u64, u64)>,
}

impl Reader {
    /// What was said since the last time.
    pub fn read_new(&mut self, dir: &Path) -> Result<News, DiskError> {
        let path = dir.join(ACKS);
        let nothing = |anew| News { said: Vec::new(), anew, unknown: 0 };
        let stamp = match fs::metadata(&path) {
            Ok(meta) => Some((meta.ino(), meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(DiskError::io("read", &path)(e)),
        };
        if stamp == self.seen {
            return Ok(nothing(false));
        }
        let Some((inode, length)) = stamp else {
            *self = Self::default();
            return Ok(nothing(true));
        };
        let anew = self.seen.is_none_or(|(seen, _)| seen != inode) || length < self.offset;
        let offset = if anew { 0 } else { self.offset };
        let read = || {
            let mut file = open_plain(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            // One more line may be there than it may grow by.
            file.take(2 * MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(DiskError::io("read", &path))?;
        // What has no newline is still being written.
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines = bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let (said, unknown): (Vec<_>, Vec<_>) =
            lines.map(serde_json::from_slice::<Said>).partition(Result::is_ok);
        self.offset = offset + whole as u64;
        self.seen = stamp;
        Ok(News { said: said.into_iter().flatten().collect(), anew, unknown: unknown.len() })
    }

    /// Whether most of the file is of no use any more.
    pub const fn is_long(&self) -> bool {
        self.offset > LONG_BYTES
    }

    /// Writes the file anew with what is still of use, unless somebody has said something meanwhile.
    /// Everything that was read of it is durable elsewhere by now.
    pub fn renew(&mut self, io: &dyn DiskIo, dir: &Path, said: &[Said]) -> Result<(), DiskError> {
        let path = dir.join(ACKS);
        let _lock = lock(dir)?;
        let length = fs::metadata(&path).map_err(DiskError::io("read", &path))?.len();
        if length != self.offset {
            return Ok(());
        }
        let line = |said| serde_json::to_string(said).expect("texts and numbers have a JSON form") + "\n";
        let text: String = said.iter().map(line).collect();
        // A crash in here leaves the old file or the new one: see there. The old one, read once more, changes
        // nothing.
        replace(io, &path, text.as_bytes())?;
        *self = Self::default();
        Ok(())
    }
}
