//! Settings of long tests, from the environment.

use std::time::SystemTime;

/// A number from the environment, or the default.
pub fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}"))
}

/// The seed to repeat.
pub fn seed() -> Option<u64> {
    std::env::var("TREEHEAD_TEST_SEED").ok()?.parse().ok()
}

/// A random seed.
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("a date")
}
