//! Directories whose lock lingers.

use std::time::{Duration, Instant};

/// Opens something that nothing in this process uses any more, and tries again for this long if it is locked. Its lock
/// may linger: a child process of another test holds copies of all open files until it executes its program.
pub fn once_unlocked<T, E>(
    patience: Duration,
    is_locked: impl Fn(&E) -> bool,
    mut open: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    loop {
        match open() {
            Err(e) if is_locked(&e) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}
