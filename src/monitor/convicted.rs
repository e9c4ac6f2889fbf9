//! What is told of a fork: when it is found, and where nobody knows that it was.

use super::event::{Code, Event};
use super::follow::Follower;
use crate::proof::fork::ProvenFork;

/// A fork is named by its file, whoever shows it, and whenever. `shown` says how it became known.
pub(super) fn fork_event(fork: &ProvenFork, now: u64, shown: &str) -> Event {
    let (name, small, large) = (fork.file_name(), fork.smaller(), fork.larger());
    let message = format!(
        "{} signed two histories: a head of size {} with root {}, and one of size {} with root {} that does not continue it; {shown}",
        fork.origin(),
        small.size,
        small.root.to_base64(),
        large.size,
        large.root.to_base64(),
    );
    Event::new(Code::Fork, Some(fork.origin().as_str()), &[&name], now, message)
        .with("smaller", small.size.get())
        .with("larger", large.size.get())
        .with("file", name)
}

impl Follower {
    /// Forks of this log that there is evidence of. The desk tells those that it does not know: its alerts may
    /// be lost, and somebody may have put back evidence alone.
    pub(super) fn forks_in_evidence(&self) -> Vec<Event> {
        let (rules, dir) = (&self.tools.rules, &self.tools.evidence);
        let forks = match dir.forks_of(&rules.origin, &rules.keys) {
            Ok(forks) => forks,
            Err(e) => {
                let dir = dir.path().display();
                tracing::error!(%dir, error = %e, "the evidence can't be read: forks in it that nobody was told of are not told");
                return Vec::new();
            }
        };
        let now = self.now();
        let event = |(path, fork): (std::path::PathBuf, Option<ProvenFork>)| {
            let file = path.display().to_string();
            let Some(fork) = fork else {
                tracing::warn!(
                    file,
                    "the log's keys did not sign what this file says: it is no evidence, and is passed over"
                );
                return None;
            };
            let event = fork_event(&fork, now, "the evidence of it lies there since before this start");
            Some(event.with("found_in", "evidence").with("evidence", file))
        };
        forks.into_iter().filter_map(event).collect()
    }
}
