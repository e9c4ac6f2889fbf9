//! Locks on small files that several commands change.

use std::fs::File;
use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::disk::{LockWait, wait_for_lock};

/// Waits for a lock that other processes may hold; dropping the returned file unlocks it.
pub fn lock(path: &Path) -> Result<File, Failure> {
    let on_wait = |path: &Path| say(&format!("waiting for {}, which another treehead holds", path.display()));
    wait_for_lock(path, LockWait::default(), on_wait).map_err(Failure::from)
}
