//! Durable files: each step by which they change, one process per directory, evidence that is never overwritten.

pub mod evidence_dir;
mod io;
mod lock;
mod plain_file;

pub(crate) use io::check_written;
pub use io::{DiskIo, RealDisk};
pub use lock::DirLock;
pub use plain_file::{check_plain, open_own, open_plain, read_plain};
