//! What a witness has seen of the log, beside what the log has: the check against a fork after a restore.

use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{TreeSize, read_root};
use crate::note::{Note, NoteKey};
use crate::store::{StoreError, StoreReader};

/// A witness's last head, compared with the log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSeen {
    /// A part of the log's tree, of this size.
    Ours(TreeSize),
    /// The log signed it, at this size, and does not have it any more, or has something else: in words, with
    /// what to do.
    NotOurs(TreeSize, String),
}

/// Compares. A head that the log did not sign is nobody's evidence: then the error says so.
pub fn compare(
    witness: &str,
    note: Note,
    log: &[NoteKey],
    reader: &dyn StoreReader,
) -> Result<Result<LastSeen, String>, StoreError> {
    let signed = match checkpoint::open_note(note, log) {
        Ok(signed) => signed,
        Err(e) => return Ok(Err(format!("it shows a tree head that this log did not sign: {e}"))),
    };
    let Checkpoint { size, root, .. } = signed.get();
    // A store that is being reloaded has no size, and nothing was lost.
    let ours = reader.applied()?;
    if *size > ours {
        let lost = size.get() - ours.get();
        return Ok(Ok(LastSeen::NotOurs(
            *size,
            format!(
                "the log was rolled back: witness {witness} has cosigned its tree head at size {size}, which this log signed, \
             and this copy ends at {ours}: {lost} entries were lost, as where an older copy was restored. \
             Don't let it sign: that would fork the log. Stop it and run `treehead repair DIR --from SOURCE`, \
             where SOURCE is a newer backup, an export, or the address of a mirror that has tree size {size} or more"
            ),
        )));
    }
    let seen = read_root(reader, *size)?.root();
    if seen == *root {
        return Ok(Ok(LastSeen::Ours(*size)));
    }
    let (expected, seen) = (root.to_base64(), seen.to_base64());
    Ok(Ok(LastSeen::NotOurs(
        *size,
        format!(
            "the log has forked: witness {witness} has cosigned its tree head at size {size} with root {expected}, \
         which this log signed, and this copy makes root {seen} of as many entries: others were appended after an older \
         copy was restored. Don't let it sign. Stop it, keep this directory as it is, and run \
         `treehead restore` and `treehead repair DIR --from SOURCE` in a new one, where SOURCE has the head that the witness has"
        ),
    )))
}
