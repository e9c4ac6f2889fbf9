//! Creates a log in a bucket, and checks that a bucket has a log.

use super::layout::{self, HeadKind, ORIGIN, PROFILE};
use crate::bucket::{BucketError, Creation, Headers, Objects};
use crate::format::quote_bytes;

/// Size limit of `origin` and `profile`, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;

/// Why a bucket can't be used for a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The bucket has a log already.
    #[error(
        "there is a log in {store} already; to serve it from here, copy the keys and settings (not `sled`, `index` or `bundles`) from the directory of one of its servers; for a new log, choose another prefix"
    )]
    Taken {
        /// The bucket and the prefix.
        store: String,
    },
    /// An object contradicts the settings.
    #[error(
        "{key} in {store}: expected {expected}, as in the settings, saw {seen}; is this another log's bucket?"
    )]
    Differs {
        /// The bucket and the prefix.
        store: String,
        /// The object.
        key: &'static str,
        /// The value in the settings.
        expected: String,
        /// The object's content, quoted.
        seen: String,
    },
    /// The bucket has no log.
    #[error(
        "there is no log in {store}: expected an object `{key}`, saw none; `treehead init --store` creates a log"
    )]
    Missing {
        /// The bucket and the prefix.
        store: String,
        /// The object.
        key: &'static str,
    },
    /// The object store failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Creates a log: its name, its profile and, last, the head of the empty tree, which completes it. `signed` is that
/// head, signed by the log's keys.
///
/// # Errors
/// [`MakeError::Taken`] if the bucket has a head or a batch, [`MakeError::Differs`] if it has the remains of another
/// log's creation. After any other error, repeat the same call.
pub fn make(
    objects: &dyn Objects,
    origin: &str,
    profile: &str,
    signed: &[u8],
    has_witnesses: bool,
) -> Result<(), MakeError> {
    let taken = || MakeError::Taken { store: objects.name() };
    if !objects.list(layout::BATCHES, "", 1)?.objects.is_empty() {
        return Err(taken());
    }
    name(objects, origin, profile)?;
    // With witnesses, a published head needs a quorum, which the empty tree's head does not have yet.
    let kind = if has_witnesses { HeadKind::Signed } else { HeadKind::Published };
    // A crash before this line leaves no log; the same call completes it.
    create(objects, kind.as_str(), signed, &layout::HEAD)?;
    let head = objects.get(kind.as_str(), signed.len())?.map(|head| head.bytes);
    if head.as_deref() == Some(signed) { Ok(()) } else { Err(taken()) }
}

/// Checks that the bucket has no other log's name and profile.
///
/// # Errors
/// [`MakeError::Differs`], and the bucket's.
pub(super) fn is_free(objects: &dyn Objects, origin: &str, profile: &str) -> Result<(), MakeError> {
    texts(origin, profile).into_iter().try_for_each(|(key, text)| match expect(objects, key, &text) {
        Err(MakeError::Missing { .. }) => Ok(()),
        named => named,
    })
}

/// Writes the log's name and profile if they are missing.
///
/// # Errors
/// As [`make`].
pub(super) fn name(objects: &dyn Objects, origin: &str, profile: &str) -> Result<(), MakeError> {
    for (key, text) in texts(origin, profile) {
        match expect(objects, key, &text) {
            Err(MakeError::Missing { .. }) => {
                create(objects, key, text.as_bytes(), &TEXT)?;
                expect(objects, key, &text)?;
            }
            named => named?,
        }
    }
    Ok(())
}

/// Checks that the bucket has a log with this name and profile.
///
/// # Errors
/// [`MakeError`].
pub fn recognise(objects: &dyn Objects, origin: &str, profile: &str) -> Result<(), MakeError> {
    texts(origin, profile).into_iter().try_for_each(|(key, text)| expect(objects, key, &text))
}

const TEXT: Headers<'static> = layout::HEAD;

fn texts(origin: &str, profile: &str) -> [(&'static str, String); 2] {
    [(ORIGIN, format!("{origin}\n")), (PROFILE, format!("{profile}\n"))]
}

/// Creates an object unless it exists. The caller then reads it, also after an unclear answer.
fn create(objects: &dyn Objects, key: &str, bytes: &[u8], headers: &Headers) -> Result<(), BucketError> {
    match objects.create(key, bytes, headers) {
        Ok(Creation::Created(_) | Creation::Exists) => Ok(()),
        Err(error) if error.may_be_done() => Ok(()),
        Err(error) => Err(error),
    }
}

fn expect(objects: &dyn Objects, key: &'static str, text: &str) -> Result<(), MakeError> {
    let store = objects.name();
    let Some(object) = objects.get(key, MAX_TEXT_BYTES)? else {
        return Err(MakeError::Missing { store, key });
    };
    if object.bytes == text.as_bytes() {
        return Ok(());
    }
    let (expected, seen) = (quote_bytes(text.as_bytes()), quote_bytes(&object.bytes));
    Err(MakeError::Differs { store, key, expected, seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Operation;
    use crate::bucket::tests::memory::{Fault, MemoryObjects};

    fn make_in(objects: &MemoryObjects, origin: &str) -> Result<(), MakeError> {
        make(objects, origin, "opaque", b"the empty tree's head", false)
    }

    #[test]
    fn a_log_is_created_once_and_recognised() {
        let objects = MemoryObjects::default();
        assert!(matches!(recognise(&objects, "a.example", "opaque"), Err(MakeError::Missing { .. })));
        make_in(&objects, "a.example").unwrap();
        recognise(&objects, "a.example", "opaque").unwrap();
        assert!(matches!(
            recognise(&objects, "a.example", "release"),
            Err(MakeError::Differs { key: PROFILE, .. })
        ));
        assert!(matches!(
            recognise(&objects, "b.example", "opaque"),
            Err(MakeError::Differs { key: ORIGIN, .. })
        ));
        assert!(matches!(make_in(&objects, "b.example"), Err(MakeError::Differs { .. })));
        let other = make(&objects, "a.example", "opaque", b"signed by another key", false);
        assert!(matches!(other, Err(MakeError::Taken { .. })));
        objects.remove("checkpoint");
        objects.set("batch/00000000000000000000", b"a batch");
        assert!(matches!(make_in(&objects, "a.example"), Err(MakeError::Taken { .. })));
    }

    #[test]
    fn after_any_failure_the_same_call_completes_the_log() {
        for key in [ORIGIN, PROFILE, "checkpoint"] {
            for fault in [Fault::Failed, Fault::FailedButPersisted] {
                let objects = MemoryObjects::default();
                objects.inject(Operation::Create, key, fault);
                if let Err(error) = make_in(&objects, "a.example") {
                    assert!(!matches!(error, MakeError::Differs { .. }), "{error}");
                    make_in(&objects, "a.example").unwrap();
                }
                recognise(&objects, "a.example", "opaque").unwrap();
                assert_eq!(objects.bytes("checkpoint").unwrap(), b"the empty tree's head", "{key} {fault:?}");
            }
        }
    }
}
