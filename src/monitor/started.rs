//! The events when a log begins to be followed: above all `started`, which lists what is not checked.

use super::entries::LogEntries;
use super::event::{Code, Event};
use super::evidence::forks_on_disk;
use super::log::Tools;
use super::settings::{LogSettings, Start};
use super::state::Looked;
use crate::merkle::TreeSize;
use crate::release::Profile;

/// The events at the start. A monitor that looks once, again and again, says only what is not checked.
///
/// Begins the comparison with the manifest, except if the cursor is yet to move to the log's head, past entries that are
/// not known.
pub fn started_events(tools: &Tools, entries: &mut LogEntries, is_new: bool, once: bool) -> Vec<Event> {
    let settings = tools.settings();
    let moves_to_head = is_new && settings.start == Start::Head;
    let skipped = if moves_to_head { 0 } else { entries.begin_comparison() };
    let cursor = entries.cursor();
    let unchecked = unchecked(settings, entries, is_new, skipped);
    let mut events = Vec::new();
    if !once || is_new || !unchecked.is_empty() {
        let from = match (is_new, settings.start) {
            (true, Start::Beginning) => "from its beginning".to_owned(),
            (true, Start::Head) => "from its head".to_owned(),
            (false, _) => format!("from entry {cursor}"),
        };
        let mut message = format!("{} is followed {from}", tools.origin());
        if !unchecked.is_empty() {
            message += &format!("; not checked: {}", unchecked.join("; "));
        }
        let event = tools.event(Code::Started, &[&tools.now(), &cursor], message);
        events.push(event.with("size", cursor.get()).with("not_checked", unchecked));
    }
    events.extend(forks_on_disk(tools));
    events
}

/// The parts of a log that are not checked. `skipped` is the number of releases in the manifest that are not looked for.
fn unchecked(settings: &LogSettings, entries: &LogEntries, is_new: bool, skipped: usize) -> Vec<String> {
    let (from, size) = (entries.state.start, entries.cursor());
    let mut unchecked = Vec::new();
    if is_new {
        unchecked.push(match settings.start {
            Start::Beginning => "nothing is known of this log: whether it showed other heads before today, to anybody, is not checked".to_owned(),
            Start::Head => "nothing is known of this log, and its entries up to its present head are never looked at, as the settings say".to_owned(),
        });
    } else if from > TreeSize::ZERO {
        unchecked.push(format!("the entries below {from} were never looked at"));
    }
    if settings.profile == Profile::Release && settings.publishers.is_none() {
        unchecked
            .push("no publishers file is given: the signatures of statements are not checked".to_owned());
    }
    // The settings may ask for more than they did when the entries were passed.
    if from < size && settings.profile == Profile::Release {
        match (entries.state.looked, &settings.publishers) {
            (Looked::Hashed, _) => unchecked.push(format!(
                "of the entries below {size} some were re-hashed and not read, as the settings were then"
            )),
            (Looked::Read, Some(_)) => unchecked.push(format!(
                "of the entries below {size} some had their signatures not checked, for want of a publishers file then"
            )),
            _ => {}
        }
    }
    if skipped > 0 {
        unchecked.push(format!(
            "the {skipped} releases that the manifest lists by now are not looked for: the entries below {size} were passed without it"
        ));
    }
    unchecked
}
