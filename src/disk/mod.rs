//! Durable files: each step by which they change, one process per directory, evidence that is never overwritten.

pub mod evidence_dir;
#[cfg(feature = "server")]
mod io;
#[cfg(feature = "server")]
mod lock;
mod plain_file;

#[cfg(feature = "server")]
pub(crate) use io::check_written;
#[cfg(feature = "server")]
pub use io::{DiskIo, RealDisk};
#[cfg(feature = "server")]
pub use lock::DirLock;
pub use plain_file::{check_plain, open_own, open_plain, read_plain};
