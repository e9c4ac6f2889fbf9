//! The probe finds each broken promise, and reports none where a store keeps its promises.

use super::memory::{Fault, Lie, MemoryObjects};
use crate::bucket::probe::{Check, Extent, Findings, Verdict, check_store};
use crate::bucket::{BucketError, Operation, TagStyle};

const SMALL: Extent = Extent { rounds: 2, racers: 16, objects: 3 };

fn verdict(findings: &Findings, check: Check) -> Verdict {
    findings.all().iter().find(|finding| finding.check == check).expect("it ran").verdict
}

#[test]
fn a_store_that_keeps_its_promises_is_right_and_left_as_it_was() {
    let store = MemoryObjects::default();
    store.set("mine", b"x");
    let found = check_store(&store, SMALL).unwrap();
    assert_eq!(found.verdict(), Verdict::Right, "{}", found.in_words());
    assert_eq!(found.conditions().unwrap().tag_style, TagStyle::Quoted);
    assert_eq!(found.all().len(), Check::ALL.len());
    assert!(found.is_clean());
    assert_eq!(store.all().keys().collect::<Vec<_>>(), ["mine"]);
    let json = found.to_json();
    assert_eq!(
        (&json["ok"], &json["verdict"], &json["tag_style"]),
        (&true.into(), &"right".into(), &"quoted".into())
    );
}

#[test]
fn each_lie_is_found_and_named() {
    for (lie, check) in [
        (Lie::CreateOverwrites, Check::CreateTwice),
        (Lie::CreateRaces, Check::CreateRace),
        (Lie::IgnoresTags, Check::Tags),
        (Lie::NoTagFits, Check::Tags),
        (Lie::ReplaceCreates, Check::ReplaceMissing),
        (Lie::OldReads, Check::ReadAfterWrite),
        (Lie::OldLists, Check::ListAfterWrite),
        (Lie::KeepsDeleted, Check::ReadAfterDelete),
    ] {
        let store = MemoryObjects::default();
        store.lie(lie);
        let found = check_store(&store, SMALL).unwrap();
        assert_eq!(verdict(&found, check), Verdict::Lies, "{lie:?}: {}", found.in_words());
        let error = found.conditions().unwrap_err();
        assert!(matches!(error, BucketError::Lies { .. }) && !error.is_temporary(), "{error}");
        assert!(error.to_string().contains(check.as_str()), "{error}");
        assert_eq!(found.to_json()["ok"], false);
    }
}

#[test]
fn lost_answers_are_resolved_by_reading() {
    for operation in [Operation::Create, Operation::Replace] {
        for fault in [Fault::Failed, Fault::FailedButPersisted] {
            let store = MemoryObjects::default();
            (0..10).for_each(|_| store.inject(operation, "race", fault));
            store.inject(operation, "t", fault);
            store.inject(operation, "t", Fault::Busy);
            let found = check_store(&store, SMALL).unwrap();
            assert_eq!(found.verdict(), Verdict::Right, "{operation} {fault:?}: {}", found.in_words());
            assert!(
                found.in_words().contains("unclear answers, resolved by reading"),
                "{}",
                found.in_words()
            );
        }
    }
}

#[test]
fn a_network_that_repeats_requests_does_not_make_a_store_look_dishonest() {
    for operation in [Operation::Create, Operation::Replace, Operation::Put] {
        let store = MemoryObjects::default();
        (0..500).for_each(|_| store.inject(operation, "", Fault::Twice));
        let found = check_store(&store, SMALL).unwrap();
        assert_eq!(found.verdict(), Verdict::Right, "{operation}: {}", found.in_words());
    }
}

#[test]
fn an_unusable_store_is_not_called_dishonest() {
    let store = MemoryObjects::default();
    (0..10).for_each(|_| store.inject(Operation::Get, "first", Fault::Failed));
    assert!(matches!(check_store(&store, SMALL), Err(BucketError::Unavailable { .. })));
    let store = MemoryObjects::default();
    (0..100).for_each(|_| store.inject(Operation::Create, "race", Fault::Failed));
    let found = check_store(&store, SMALL).unwrap();
    assert_eq!(found.verdict(), Verdict::Unknown, "{}", found.in_words());
    assert!(matches!(found.conditions(), Err(BucketError::Untested { .. })));
}
