//! Asking a log: how long a command waits for the answer, and what it prints meanwhile.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;

use super::exit::Failure;
use super::values::parse_duration;
use crate::client::LogClient;
use crate::threads;

/// Seconds of waiting after which a message says so; the last interval repeats.
const TOLD_AFTER: [u64; 4] = [2, 5, 15, 30];

/// How long a command waits.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Patience {
    /// How long to wait for the log's answer, as in 30s or 5m. Until then, transient errors are retried: a
    /// refused or broken connection, an unknown host name, a log that is busy, restarting or short of witnesses
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_timeout)]
    pub timeout: Duration,
}

pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        0 => Err("expected at least 1s".to_owned()),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// A log to ask, and a thread that reports long waits.
pub struct Connection {
    client: LogClient,
    waiting: Arc<Waiting>,
    teller: Option<JoinHandle<()>>,
}

/// The answer that the command waits for.
struct Waiting {
    url: String,
    within: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Requests under way, and what the last of them asks for.
    under_way: usize,
    what: &'static str,
    /// When the first began, or when the last answer came.
    since: Option<Instant>,
    /// How many messages were printed since then.
    told: usize,
    /// Why the last try failed.
    why: Option<String>,
    /// The connection is closed: the thread ends.
    over: bool,
}

impl Connection {
    /// Prepares a connection; sends nothing yet. `say` prints the messages.
    pub fn open(url: &str, patience: Patience, say: impl Fn(&str) + Send + 'static) -> Result<Self, Failure> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let waiting = Arc::new(Waiting { url: url.to_owned(), within: patience.timeout, state, changed });
        let heard = waiting.clone();
        let client = LogClient::builder()
            .within(patience.timeout)
            .on_pause(move |error, _| heard.state().why = Some(error.to_string()))
            .build(url)?;
        let tells = waiting.clone();
        let teller = Some(threads::start("messages", move || tells.tell(say))?);
        Ok(Self { client, waiting, teller })
    }

    /// Asks the log to do `what`, as in `publish the release`.
    pub fn ask<T, E>(
        &self,
        what: &'static str,
        ask: impl FnOnce(&LogClient) -> Result<T, E>,
    ) -> Result<T, E> {
        self.waiting.change(1, what);
        let answer = ask(&self.client);
        self.waiting.change(-1, what);
        answer
    }

    /// The longest wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.waiting.within
    }

    /// The log's URL prefix, without a final slash.
    pub fn url(&self) -> &str {
        self.client.prefix()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.waiting.state().over = true;
        self.waiting.changed.notify_all();
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

impl Waiting {
    /// Locks the state, which stays valid even if a thread panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request began, or its answer came: either way the time counts from now, unless other requests are
    /// already waiting.
    fn change(&self, by: isize, what: &'static str) {
        let mut state = self.state();
        if by < 0 || state.under_way == 0 {
            (state.since, state.told, state.why) = (Some(Instant::now()), 0, None);
        }
        state.under_way = state.under_way.saturating_add_signed(by);
        state.what = what;
        drop(state);
        self.changed.notify_all();
    }

    fn tell(&self, say: impl Fn(&str)) {
        let mut state = self.state();
        while !state.over {
            let since = state.since.filter(|_| state.under_way > 0);
            let Some(due) = since.map(|since| since + told_after(state.told)) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = state.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let (seconds, most) = (told_after(state.told).as_secs(), self.within.as_secs());
                let (url, what) = (&self.url, state.what);
                say(&format!("waiting for {url} to {what}, for {seconds} s of at most {most} s{why}"));
                state.told += 1;
            } else {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// When the n-th message is due, counted from 0.
fn told_after(told: usize) -> Duration {
    let last = TOLD_AFTER[TOLD_AFTER.len() - 1];
    let beyond = (told + 1).saturating_sub(TOLD_AFTER.len()) as u64;
    Duration::from_secs(TOLD_AFTER.get(told).copied().unwrap_or(last) + beyond * last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_less_and_less_often_but_always_again() {
        let seconds: Vec<_> = (0..7).map(|told| told_after(told).as_secs()).collect();
        assert_eq!(seconds, [2, 5, 15, 30, 60, 90, 120]);
    }

    #[test]
    fn a_timeout_is_a_time_and_not_none() {
        assert_eq!(parse_timeout("90s"), Ok(Duration::from_secs(90)));
        assert!(parse_timeout("0s").unwrap_err().contains("at least 1s"));
        assert!(parse_timeout("5").is_err());
    }
}
