//! Tells forks: when one is found, when its evidence lies there and nobody was told, and when that was taken away.

use super::event::{Code, Event};
use super::follow::{Follower, Trouble};
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
    /// Ends the forks of this log whose evidence somebody took out of its directory.
    pub(super) fn end_forks(&self) -> Result<(), Trouble> {
        let dir = &self.tools.evidence;
        match dir.names() {
            Ok(names) => {
                Ok(self.tools.delivery.end_forks_without(self.tools.rules.origin.as_str(), &names)?)
            }
            Err(e) => {
                let dir = dir.path().display();
                tracing::error!(%dir, error = %e, "the evidence can't be read: forks stay open");
                Ok(())
            }
        }
    }

    /// An event for each fork of this log in the evidence. The delivery tells those that are not open:
    /// `conditions.json` may be lost, and somebody may have put back evidence alone.
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
