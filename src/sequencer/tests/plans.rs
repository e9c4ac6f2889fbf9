//! Tests of the plan of a batch.

use super::*;

/// A log's entries, as plain maps.
#[derive(Default)]
struct Had {
    leaves: HashMap<Hash, LeafIndex>,
    payloads: HashMap<Hash, Stored>,
    claims: HashMap<Hash, (Stored, Hash)>,
    fails: bool,
}

impl Had {
    fn of(entries: &[&str]) -> (Self, RightEdge) {
        let mut had = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let index = LeafIndex::new(at as u64).unwrap();
            let stored = Stored { index, leaf: Hash::leaf(entry.as_bytes()) };
            had.leaves.entry(stored.leaf).or_insert(index);
            let facts = facts_of(entry.as_bytes());
            facts.payload.map(|payload| had.payloads.entry(payload).or_insert(stored));
            for claim in facts.claims {
                had.claims.entry(claim.key).or_insert((stored, claim.content));
            }
        }
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry.as_bytes())).collect();
        (had, RightEdge::default().grow(&leaves).edge)
    }
}

impl Known for Had {
    fn leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        let find = |leaf| self.leaves.get(leaf).copied();
        if self.fails { Err(StoreError::Injected("look-up")) } else { Ok(leaves.iter().map(find).collect()) }
    }

    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        Ok(self.payloads.get(payload).copied())
    }

    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        Ok(self.claims.get(key).copied())
    }
}

#[test]
fn a_plan_appends_what_is_new_in_order() {
    let (had, edge) = Had::of(&["old 0", "old 1", "old 2"]);
    let submissions = vec![candidates(&["a", "b"]), Vec::new(), candidates(&["c"])];
    let plan = plan(&edge, submissions, &had).unwrap();
    assert_eq!(plan.results, [vec![fresh(3), fresh(4)], vec![], vec![fresh(5)]]);
    let batch = plan.batch.unwrap();
    let expected = batch_of(&edge, ["a", "b", "c"].map(|e| e.as_bytes().to_vec()).to_vec());
    assert_eq!((batch.first.get(), &batch.entries), (3, &expected.entries));
    assert_eq!((&batch.leaf_hashes, &batch.facts), (&expected.leaf_hashes, &expected.facts));
    assert_eq!(batch.growth.edge, expected.growth.edge);
}

#[test]
fn a_duplicate_gets_its_first_index_and_no_second_leaf() {
    let (had, edge) = Had::of(&["old 0", "old 1"]);
    // In the log, within a submission, and across the submissions of one batch.
    let submissions =
        vec![candidates(&["a", "old 1", "a"]), candidates(&["old 0"]), candidates(&["b", "a", "b"])];
    let plan = plan(&edge, submissions, &had).unwrap();
    let expected = [
        vec![fresh(2), duplicate(1), duplicate(2)],
        vec![duplicate(0)],
        vec![fresh(3), duplicate(2), duplicate(3)],
    ];
    assert_eq!(plan.results, expected);
    assert_eq!(plan.batch.unwrap().entries, [b"a", b"b"]);
}

#[test]
fn nothing_new_is_no_batch() {
    let (had, edge) = Had::of(&["old claim:k:x"]);
    let submissions = vec![candidates(&["old claim:k:x"]), candidates(&["new claim:k:y"]), Vec::new()];
    let plan = plan(&edge, submissions, &had).unwrap();
    assert!(plan.batch.is_none());
    assert_eq!(plan.results, [vec![duplicate(0)], vec![Err(SubmitError::SequenceTaken)], vec![]]);
}

#[test]
fn a_sequence_number_is_taken_once() {
    let cases: [(&[&str], _); 5] = [
        // Against the log.
        (&["new claim:k:y", "other"], vec![Err(SubmitError::SequenceTaken), fresh(1)]),
        // Within the batch; the first entry stands.
        (&["a claim:n:1", "b claim:n:2", "c"], vec![fresh(1), Err(SubmitError::SequenceTaken), fresh(2)]),
        // One of several claims is enough for a refusal.
        (&["a claim:free:1 claim:k:y"], vec![Err(SubmitError::SequenceTaken)]),
        // A refused entry takes no sequence number.
        (&["a claim:free:1 claim:k:y", "b claim:free:2"], vec![Err(SubmitError::SequenceTaken), fresh(1)]),
        // A duplicate is answered as one, although its own number is taken.
        (&["old claim:k:x", "a claim:n:1", "a claim:n:1"], vec![duplicate(0), fresh(1), duplicate(1)]),
    ];
    check_plans(&["old claim:k:x"], &cases);
}

/// Plans each list against a log of `old` entries, in one submission and one by one.
fn check_plans(old: &[&str], cases: &[(&[&str], Vec<Result<Sequenced, SubmitError>>)]) {
    let (had, edge) = Had::of(old);
    for (entries, expected) in cases {
        let planned = plan(&edge, vec![candidates(entries)], &had).unwrap();
        assert_eq!(planned.results, std::slice::from_ref(expected), "{entries:?}");
        let one_by_one = entries.iter().map(|entry| candidates(&[entry])).collect();
        let planned = plan(&edge, one_by_one, &had).unwrap();
        assert_eq!(planned.results.concat(), *expected, "{entries:?} in submissions of their own");
        let appended = planned.batch.as_ref().map_or(0, |batch| batch.entries.len());
        assert_eq!(appended, expected.iter().flatten().filter(|s| !s.duplicate).count());
        let submissions = planned.into_submissions();
        let planned: Vec<_> = entries.iter().map(|entry| candidates(&[entry])).collect();
        assert_eq!(format!("{submissions:?}"), format!("{planned:?}"), "it can be planned anew");
    }
}

#[test]
fn a_payload_gets_one_leaf_under_whatever_signatures() {
    let cases: [(&[&str], _); 4] = [
        // Against the log, which may have several leaves of one payload: the first counts.
        (&["signed anew payload:p"], vec![same_as(1, "first payload:p")]),
        // Within the batch.
        (
            &["a payload:q", "b payload:q", "a payload:q"],
            vec![fresh(3), same_as(3, "a payload:q"), duplicate(3)],
        ),
        // The payload says more than the claims, so it comes first: no conflict with later entries of the log.
        (&["c payload:p claim:k:y"], vec![same_as(1, "first payload:p")]),
        // Entries of an opaque log have no payload, and don't count as equal for that.
        (&["a", "b"], vec![fresh(3), fresh(4)]),
    ];
    check_plans(&["opaque claim:k:x", "first payload:p", "second payload:p"], &cases);
}

#[test]
fn a_claim_gets_one_leaf_however_it_is_spelled() {
    let old = "old payload:o claim:k:x";
    let cases: [(&[&str], _); 6] = [
        (&["respelled payload:p claim:k:x"], vec![same_as(0, old)]),
        // Within the batch.
        (
            &["a payload:a claim:n:1", "b payload:b claim:n:1"],
            vec![fresh(2), same_as(2, "a payload:a claim:n:1")],
        ),
        // An entry that repeats another's claim and adds one is new.
        (&["both payload:p claim:k:x claim:other:x"], vec![fresh(2)]),
        // All of its claims were made before, at different leaves: the first leaf counts.
        (&["both payload:p claim:rival:x claim:k:x"], vec![same_as(0, old)]),
        // One of the claims was made with other content.
        (&["both payload:p claim:k:x claim:rival:y"], vec![Err(SubmitError::SequenceTaken)]),
        // An entry that is no release claims nothing, so no claim makes it a repeat.
        (&["payload:p", "payload:q"], vec![fresh(2), fresh(3)]),
    ];
    check_plans(&[old, "by a rival payload:r claim:rival:x"], &cases);
}

#[test]
fn a_duplicate_is_no_conflict_even_where_the_log_has_one() {
    // A log with once laxer rules may hold two claims of one number: both are duplicates.
    let (had, edge) = Had::of(&["x claim:k:x", "y claim:k:y"]);
    let plan = plan(&edge, vec![candidates(&["y claim:k:y", "x claim:k:x"])], &had).unwrap();
    assert_eq!(plan.results, [[duplicate(1), duplicate(0)]]);
}

#[test]
fn a_look_up_that_fails_plans_nothing() {
    let (had, edge) = Had::of(&[]);
    let failing = Had { fails: true, ..had };
    assert!(plan(&edge, vec![candidates(&["a"])], &failing).is_err());
}
