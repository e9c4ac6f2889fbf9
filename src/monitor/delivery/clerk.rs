//! The thread that does what nobody waits for: positions, acknowledgements, reminders.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::front::Front;
use super::state::Shared;

/// Between two writes of the positions: of a sink that takes hundreds of events a second, a few more come
/// again after a crash.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// Works until the desk is closed.
pub fn run(shared: &Shared, front: &Arc<Mutex<Front>>) {
    let mut looked = Instant::now();
    while wait(shared, looked + shared.settings.tick) {
        let moved = shared.lock().moved;
        // What fails is told, and tried again.
        if moved {
            let _ = shared.save_positions();
        }
        if looked.elapsed() >= shared.settings.tick {
            looked = Instant::now();
            // Whoever has it may be waiting for a reader of the output: closing waits for nobody's reader.
            if let Ok(mut front) = front.try_lock() {
                let _ = front.hear();
                let _ = front.remind();
            }
        }
        if moved && !shared.rest(SAVE_PAUSE.min(shared.settings.tick)) {
            break;
        }
    }
}

/// Waits for something to do; false where the desk is being closed.
fn wait(shared: &Shared, until: Instant) -> bool {
    let mut state = shared.lock();
    while !state.stopped && !state.moved {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        state = shared.wake.wait_timeout(state, left).expect("no panic while it is held").0;
    }
    !state.stopped
}
