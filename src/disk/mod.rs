//! Durable files: each step by which they change, one process per directory, files replaced at once, evidence
//! that is never overwritten.

mod error;
pub mod evidence_dir;
mod io;
pub mod journal;
mod lock;
mod plain_file;
mod replace;
#[cfg(feature = "server")]
mod sled_dir;
mod slots;

pub use error::{DiskError, is_full, retried, run_again};
pub use io::{DiskIo, RealDisk, check_written};
pub use lock::{DirLock, LockWait};
pub use plain_file::{check_plain, open_own, open_plain, read_plain};
pub use replace::{
    list_dir, read_if_exists, remove_dir, replace, replace_keeping_mode, replace_secret, sync_parent,
    write_new,
};
#[cfg(feature = "server")]
pub use sled_dir::{SledDir, SledError, SledIo};
pub use slots::{SlotFile, note_of, read_note, torn_slot};
