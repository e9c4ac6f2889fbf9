//! The semantics of [`Objects`], tested on the store in memory. The probe tests them on real stores.

use super::memory::{Fault, MemoryObjects};
use crate::bucket::{BucketError, Creation, Headers, Objects, Operation, Replacement};

#[test]
fn the_memory_has_the_conditions_of_s3() {
    let store = MemoryObjects::default();
    let plain = Headers::default();
    let Creation::Created(first) = store.create("a/b", b"one", &plain).unwrap() else {
        panic!("it was empty")
    };
    assert_eq!(store.create("a/b", b"two", &plain).unwrap(), Creation::Exists);
    assert_eq!(store.replace("a/c", b"two", &first, &plain).unwrap(), Replacement::Missing);
    let Replacement::Replaced(second) = store.replace("a/b", b"two", &first, &plain).unwrap() else {
        panic!("the tag was right")
    };
    assert_eq!(store.replace("a/b", b"three", &first, &plain).unwrap(), Replacement::Stale);
    let read = store.get("a/b", 3).unwrap().unwrap();
    assert_eq!((read.bytes.as_slice(), read.tag), (&b"two"[..], second));
    assert!(matches!(store.get("a/b", 2), Err(BucketError::TooLarge { .. })));
    assert_eq!(store.get_range("a/b", 1, 9).unwrap().unwrap().bytes, b"wo");
    assert_eq!(store.get_range("a/b", 9, 9).unwrap().unwrap().bytes, b"");
    for key in ["a/a", "b", "a/c"] {
        store.put(key, b"x", &plain).unwrap();
    }
    let keys = |prefix: &str, after: &str, limit| {
        let list = store.list(prefix, after, limit).unwrap();
        (list.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), list.more)
    };
    assert_eq!(keys("a/", "", 2), (vec!["a/a".to_owned(), "a/b".to_owned()], true));
    assert_eq!(keys("a/", "a/b", 2), (vec!["a/c".to_owned()], false));
    assert_eq!(keys("", "a/c", 2), (vec!["b".to_owned()], false));
    store.delete("a/b").unwrap();
    store.delete("a/b").unwrap();
    assert_eq!(store.get("a/b", 9).unwrap(), None);
}

#[test]
fn faults_come_before_or_after_the_write() {
    let store = MemoryObjects::default();
    let plain = Headers::default();
    store.inject(Operation::Create, "a", Fault::Failed);
    store.inject(Operation::Create, "a", Fault::FailedButPersisted);
    store.inject(Operation::Get, "", Fault::FailedButPersisted);
    store.inject(Operation::Put, "", Fault::Busy);
    assert!(store.create("a", b"1", &plain).unwrap_err().may_be_done());
    assert_eq!(store.bytes("a"), None);
    assert!(store.create("a", b"1", &plain).unwrap_err().may_be_done());
    assert_eq!(store.bytes("a").as_deref(), Some(&b"1"[..]));
    assert!(!store.get("a", 9).unwrap_err().may_be_done());
    assert!(matches!(store.put("b", b"", &plain), Err(BucketError::Busy { .. })));
    assert_eq!(store.pending_faults(), 0);
    assert_eq!(store.requests().of(Operation::Create).unclear, 2);
}
