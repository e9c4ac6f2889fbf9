//! `publishers.toml` as a watched file: logs and monitors read it the same way.

use std::sync::Arc;

use super::watched_file::{FileKind, Loss, Update};
use crate::release::{LostKey, MAX_PUBLISHERS_BYTES, Publishers};

/// A key that the file no longer lists counts as revoked until the next start: an accident with the file frees no
/// name and no sequence number, and is reported.
pub static PUBLISHERS_FILE: FileKind<Publishers> = FileKind {
    what: "a publishers file",
    limit: MAX_PUBLISHERS_BYTES,
    parse: Publishers::parse,
    succeed: |base, new| {
        let all = !new.has_usable_key();
        let (current, lost) = new.after(base);
        let current = Arc::new(current);
        let loss = (!lost.is_empty()).then(|| Loss { words: describe(&lost, all), all });
        Update { base: current.clone(), current, lost: loss }
    },
};

fn describe(lost: &[LostKey], all: bool) -> String {
    let keys: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let nobody = if all { "; nobody may publish now" } else { "" };
    format!(
        "it no longer lists: {}{nobody}. What is gone counts as revoked until the next start; put it back, and set `not_after` or `revoked` instead of removing a key",
        keys.join(", ")
    )
}
