//! Forks: the events about them, and the files that prove them.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::error::FollowError;
use super::event::{Code, Event};
use super::inbox::PUSHED;
use super::log::Tools;
use crate::checkpoint::Checkpoint;
use crate::proof::fork::ProvenFork;

/// The source of a head that the log itself showed this monitor.
pub const ITSELF: &str = "the log itself";

pub fn in_words(source: &str) -> &str {
    if source == PUSHED { "somebody who pushed it" } else { source }
}

/// The event of a fork. The name of its file identifies it, whoever shows it, and whenever.
fn fork_event(tools: &Tools, fork: &ProvenFork, shown: &str) -> Event {
    let (name, small, large) = (fork.file_name(), fork.smaller(), fork.larger());
    let message = format!(
        "{} signed two histories: a head of size {} with root {}, and one of size {} with root {} that does not continue it; {shown}",
        fork.origin(),
        small.size,
        small.root.to_base64(),
        large.size,
        large.root.to_base64(),
    );
    let event = tools.event(Code::Fork, &[&name], message);
    event.with("smaller", small.size.get()).with("larger", large.size.get()).with("file", name)
}

/// Writes the evidence of a fork, unless there is some of the head `theirs` already, and reports the fork. Returns
/// whether the evidence is on the disk; if not, the caller tries again.
pub fn convict(
    tools: &Tools,
    fork: &ProvenFork,
    theirs: &Checkpoint,
    source: &str,
) -> Result<bool, FollowError> {
    let known = tools.monitor.evidence().fork_of(theirs, &tools.settings().keys).ok().flatten();
    let fork = known.as_ref().unwrap_or(fork);
    let shown = format!("shown by {}", in_words(source));
    let event = |shown: &str| {
        let found_in = if source == ITSELF { "log" } else { "gossip" };
        fork_event(tools, fork, shown).with("source", source).with("found_in", found_in)
    };
    let (event, is_kept) = match tools.monitor.evidence().keep(fork) {
        Ok(kept) => {
            let file = kept.path.display().to_string();
            if kept.new {
                tools.log.report(|status| status.forks += 1);
                tracing::error!(file, "a log signed two histories: keep this file");
            }
            (event(&shown).with("evidence", file), true)
        }
        // One proof is enough to convict the log. Without one the room may be taken by other logs' forks, or by other
        // files of this user.
        Err(e)
            if e.kind() == ErrorKind::QuotaExceeded && tools.monitor.evidence().has_any_of(fork.origin()) =>
        {
            return Ok(true);
        }
        Err(e) => {
            tracing::error!(file = fork.file_name(), error = %e, "a log signed two histories, and the evidence can't be written; it is tried again");
            (event(&format!("{shown}; the evidence could not be written yet: {e}")), false)
        }
    };
    tools.delivery.tell(&[event])?;
    Ok(is_kept)
}

/// Ends the conditions of forks whose evidence somebody took out of its directory.
pub fn end_forks_without_evidence(tools: &Tools) -> Result<(), FollowError> {
    let dir = tools.monitor.evidence();
    match dir.names() {
        Ok(names) => Ok(tools.delivery.end_forks_without(tools.origin(), &names)?),
        Err(e) => {
            let dir = dir.path().display();
            tracing::error!(%dir, error = %e, "the evidence can't be read: forks stay open");
            Ok(())
        }
    }
}

/// The events of all forks of this log that there is evidence of. The delivery reports those that are not open:
/// `conditions.json` may be lost, and somebody may have put back evidence alone.
pub fn forks_on_disk(tools: &Tools) -> Vec<Event> {
    let (settings, dir) = (tools.settings(), tools.monitor.evidence());
    let forks = match dir.forks_of(&settings.origin, &settings.keys) {
        Ok(forks) => forks,
        Err(e) => {
            let dir = dir.path().display();
            tracing::error!(%dir, error = %e, "the evidence can't be read: forks in it that nobody was told of are not told");
            return Vec::new();
        }
    };
    let event = |(path, fork): (PathBuf, Option<ProvenFork>)| {
        let file = path.display().to_string();
        let Some(fork) = fork else {
            tracing::warn!(
                file,
                "the log's keys did not sign what this file says: it is no evidence, and is passed over"
            );
            return None;
        };
        let event = fork_event(tools, &fork, "the evidence of it lies there since before this start");
        Some(event.with("found_in", "evidence").with("evidence", file))
    };
    forks.into_iter().filter_map(event).collect()
}
