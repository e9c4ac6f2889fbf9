//! Reads the heads of a bucket that may have lost them, and rewrites them.

use super::{ATTEMPTS, BucketRepair, bucket};
use crate::bucket::{BucketError, Creation, Objects, Replacement, Tag};
use crate::checkpoint;
use crate::merkle::TreeSize;
use crate::note::{MAX_NOTE_BYTES, NoteKey};
use crate::store::bucket::layout::{self, HeadKind};
use crate::store::bucket::{ChainError, HEAD_BYTES};
use crate::store::{CopyError, SignedHead, StoreError};

/// The object under a head's key.
enum OwnHead {
    Missing,
    /// Not a head that the log signed.
    Damaged(Tag),
    Signed(SignedHead, Tag),
}

/// The heads in the bucket.
pub(super) struct OwnHeads([OwnHead; HeadKind::ALL.len()]);

impl OwnHeads {
    pub fn read(objects: &dyn Objects, key: &NoteKey) -> Result<Self, CopyError> {
        let read = |kind: HeadKind| {
            let object = match objects.get(kind.as_str(), MAX_NOTE_BYTES) {
                // Read only its beginning, which is no note either but gives the tag.
                Err(BucketError::TooLarge { .. }) => objects.get_range(kind.as_str(), 0, HEAD_BYTES),
                object => object,
            };
            let Some(object) = object.map_err(bucket)? else { return Ok(OwnHead::Missing) };
            let signed = checkpoint::open(&object.bytes, std::slice::from_ref(key));
            Ok::<_, CopyError>(match signed {
                Ok(signed) => {
                    OwnHead::Signed(SignedHead { head: signed.get().clone(), note: object.bytes }, object.tag)
                }
                Err(_) => OwnHead::Damaged(object.tag),
            })
        };
        let [published, signed] = HeadKind::ALL;
        Ok(Self([read(published)?, read(signed)?]))
    }

    /// The heads that the log signed.
    pub fn signed(&self) -> impl Iterator<Item = &SignedHead> {
        self.0.iter().filter_map(|own| match own {
            OwnHead::Signed(head, _) => Some(head),
            _ => None,
        })
    }

    /// A damaged head, if there is one.
    pub fn damaged(&self) -> Option<HeadKind> {
        let is_damaged = |kind: &HeadKind| matches!(self.0[*kind as usize], OwnHead::Damaged(_));
        HeadKind::ALL.into_iter().find(is_damaged)
    }

    /// True if the bucket has the last head that the log signed.
    pub fn is_complete(&self, has_witnesses: bool) -> bool {
        let kind = if has_witnesses { HeadKind::Signed } else { HeadKind::Published };
        matches!(self.0[kind as usize], OwnHead::Signed(..)) && self.damaged().is_none()
    }

    /// All heads that the bucket should have, including unchanged ones.
    pub fn after(&self, repair: &BucketRepair<'_>, target: &SignedHead) -> Vec<(HeadKind, SignedHead)> {
        let signed_kind = if repair.has_witnesses { HeadKind::Signed } else { HeadKind::Published };
        let each = HeadKind::ALL.into_iter().filter_map(|kind| {
            let new = if kind == signed_kind {
                Some(target)
            } else if kind == HeadKind::Published {
                repair.heads.witnessed.as_ref()
            } else {
                None
            };
            let head = match &self.0[kind as usize] {
                OwnHead::Signed(own, _) => {
                    Some(new.filter(|new| new.head.size > own.head.size).unwrap_or(own))
                }
                // A log that no longer has witnesses still reads this head.
                OwnHead::Damaged(_) if kind == HeadKind::Signed => Some(target),
                OwnHead::Damaged(_) | OwnHead::Missing => new,
            };
            Some((kind, head?.clone()))
        });
        each.collect()
    }

    /// Writes the heads that differ from those in the bucket. Returns their kinds.
    pub fn write(
        &self,
        repair: &BucketRepair<'_>,
        heads: &[(HeadKind, SignedHead)],
    ) -> Result<Vec<HeadKind>, CopyError> {
        let published = &self.0[HeadKind::Published as usize];
        if matches!(published, OwnHead::Damaged(_))
            && !heads.iter().any(|(kind, _)| *kind == HeadKind::Published)
        {
            let key = HeadKind::Published.as_str().to_owned();
            let detail = "no source has a head with a quorum of witnesses to replace it; give a source that has one (a mirror's URL, a backup)".to_owned();
            return Err(StoreError::from(ChainError::HeadDamaged { key, detail }).into());
        }
        let mut written = Vec::new();
        // Write the signed head first, so that the published one is never larger.
        for (kind, head) in heads.iter().rev() {
            let tag = match &self.0[*kind as usize] {
                OwnHead::Signed(own, _) if own == head => continue,
                OwnHead::Signed(_, tag) | OwnHead::Damaged(tag) => Some(tag),
                OwnHead::Missing => None,
            };
            write(repair.objects.as_ref(), *kind, &head.note, tag)?;
            written.push(*kind);
        }
        Ok(written)
    }
}

/// Writes a head: replaces the version with this tag, or creates the object.
fn write(objects: &dyn Objects, kind: HeadKind, note: &[u8], tag: Option<&Tag>) -> Result<(), CopyError> {
    let (key, mut detail) = (kind.as_str().to_owned(), String::new());
    for _ in 0..ATTEMPTS {
        let replaced = match tag {
            Some(tag) => objects.replace(&key, note, tag, &layout::HEAD),
            None => objects.create(&key, note, &layout::HEAD).map(|created| match created {
                Creation::Created(tag) => Replacement::Replaced(tag),
                Creation::Exists => Replacement::Stale,
            }),
        };
        let is_stale = match replaced {
            Ok(Replacement::Replaced(_)) => return Ok(()),
            Ok(Replacement::Stale | Replacement::Missing) => true,
            Err(error) if error.may_be_done() => {
                detail = error.to_string();
                false
            }
            Err(error) => return Err(bucket(error)),
        };
        let seen = objects.get(&key, MAX_NOTE_BYTES).map_err(bucket)?;
        if seen.is_some_and(|seen| seen.bytes == note) {
            return Ok(());
        }
        if is_stale {
            let detail = format!(
                "another process wrote {key} meanwhile: stop the log's servers, and run the command again"
            );
            return Err(StoreError::Overtaken { detail }.into());
        }
    }
    Err(StoreError::from(ChainError::Unclear { key, detail }).into())
}

/// The sizes of these heads.
pub(super) fn sizes(heads: &[SignedHead]) -> impl Iterator<Item = TreeSize> {
    heads.iter().map(|head| head.head.size)
}
