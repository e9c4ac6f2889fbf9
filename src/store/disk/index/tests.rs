use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::release::Claim;
use run::RunId;
use sealer::IndexWriter;

fn memory() -> sled::Tree {
    sled::Config::new().temporary(true).open().unwrap().open_tree("index").unwrap()
}

fn hash(n: u64) -> Hash {
    Hash::digest(&n.to_be_bytes())
}

fn leaf(n: u64) -> LeafIndex {
    LeafIndex::new(n).unwrap()
}

/// Each leaf has its own hash and claim, and shares a term with every seventh.
fn facts(n: u64) -> Facts {
    let claim = Claim { key: hash(n + 1_000_000), content: hash(n) };
    Facts {
        payload: Some(hash(n + 2_000_000)),
        claims: vec![claim],
        terms: vec![term(n % 7)],
        ..Facts::default()
    }
}

fn term(n: u64) -> Term {
    Term([b'k', 0, 0, 0, 0, 0, 0, u8::try_from(n).unwrap(), 0])
}

fn push(writer: &mut IndexWriter, first: u64, count: u64) {
    let leaves = first..first + count;
    let leaf_hashes: Vec<Hash> = leaves.clone().map(hash).collect();
    let facts: Vec<Facts> = leaves.map(facts).collect();
    writer
        .push(IndexRows { first: leaf(first), leaf_hashes: &leaf_hashes, facts: &facts, bytes: 100 })
        .unwrap();
}

fn check(index: &Index, count: u64) {
    for n in 0..count {
        assert_eq!(index.find(Wanted::hash(LEAF, &hash(n))).unwrap(), [leaf(n)], "leaf {n} of {count}");
        assert_eq!(
            index.find(Wanted::hash(CLAIM, &hash(n + 1_000_000))).unwrap(),
            [leaf(n)],
            "claim {n} of {count}"
        );
        assert_eq!(
            index.find(Wanted::hash(PAYLOAD, &hash(n + 2_000_000))).unwrap(),
            [leaf(n)],
            "payload {n} of {count}"
        );
    }
    for n in count..count + 50 {
        assert_eq!(index.find(Wanted::hash(LEAF, &hash(n))).unwrap(), [], "leaf {n} of {count}");
    }
    for n in 0..7 {
        let all: Vec<u64> = (0..count).rev().filter(|leaf| leaf % 7 == n).collect();
        for (before, limit) in [(u64::MAX >> 2, 5), (count / 2, 3), (count / 2, 1_000), (1, 4), (0, 4)] {
            let expected: Vec<u64> = all.iter().copied().filter(|leaf| *leaf < before).collect();
            let page = index.search(&term(n), Some(leaf(before)), limit).unwrap();
            let seen: Vec<u64> = page.leaves.iter().map(|leaf| leaf.get()).collect();
            assert_eq!(seen, expected[..expected.len().min(limit)], "term {n} below {before} of {count}");
            assert_eq!(page.more, expected.len() > limit);
        }
    }
}

#[test]
fn everything_is_found_at_every_stage_and_after_each_restart() {
    let tree = memory();
    let mut count = 0;
    for batches in [1, 3, 40, 0, 25] {
        let (mut writer, indexed) = IndexWriter::open(tree.clone()).unwrap();
        let indexed = indexed.get();
        assert!(indexed <= count);
        // Rows that were not sealed are pushed again, as at a start.
        if indexed < count {
            push(&mut writer, indexed, count - indexed);
        }
        check(writer.index(), count);
        for size in (1..60).cycle().step_by(7).take(batches) {
            push(&mut writer, count, size);
            count += size;
        }
        check(writer.index(), count);
    }
    let (writer, _) = IndexWriter::open(tree.clone()).unwrap();
    let levels: Vec<u8> = writer.index().state().runs.iter().map(|run| run.level).collect();
    assert!(levels.is_sorted_by(|a, b| a >= b) && levels[0] > 0, "{levels:?}");
}

#[test]
fn the_sum_is_of_what_was_sealed_and_misses_nothing() {
    let tree = memory();
    let (mut writer, _) = IndexWriter::open(tree.clone()).unwrap();
    for n in 0..100 {
        push(&mut writer, n * 20, 20);
    }
    drop(writer);
    let mut expected = PointerSum::default();
    let indexed = indexed(&tree).unwrap().get();
    assert!(indexed > 1_800);
    (0..indexed).for_each(|n| expected.add_leaf(leaf(n), &hash(n), &facts(n)));
    assert_eq!(sum_up(&tree).unwrap(), expected);
    for key in tree.scan_prefix(b"r").keys().step_by(5).chain(tree.scan_prefix(b"f").keys()) {
        let key = key.unwrap();
        let row = tree.remove(&key).unwrap().unwrap();
        assert!(sum_up(&tree).map_or(true, |sum| sum != expected), "row {key:?} gone");
        for at in [0, row.len() / 2, row.len() - 1] {
            let mut other = row.to_vec();
            other[at] ^= 1;
            tree.insert(&key, other).unwrap();
            let unnoticed = sum_up(&tree).is_ok_and(|sum| sum == expected);
            // False positives of a filter cost time, and nothing else.
            assert!(!unnoticed || key[0] == b'f', "row {key:?} changed at {at}");
        }
        tree.insert(&key, row).unwrap();
    }
    assert_eq!(sum_up(&tree).unwrap(), expected);
}

#[test]
fn what_a_crash_left_of_a_run_is_removed_and_written_again() {
    let tree = memory();
    let (mut writer, _) = IndexWriter::open(tree.clone()).unwrap();
    for n in 0..30 {
        push(&mut writer, n * 20, 20);
    }
    drop(writer);
    // The old manifest, and rows of runs that it does not list, or lists as unwanted.
    let manifest = Manifest::read(&tree).unwrap();
    let before: BTreeMap<_, _> = tree.iter().map(Result::unwrap).collect();
    for id in [manifest.next, manifest.next + 1, 1_000] {
        let mut torn = run::RunWriter::new(&tree, id, 600);
        (0..300).for_each(|n| torn.push(Wanted::hash(LEAF, &hash(0)).at(n)).unwrap());
        torn.finish(0).unwrap();
    }
    check(IndexWriter::open(tree.clone()).unwrap().0.index(), manifest.indexed.get());
    assert_eq!(tree.iter().map(Result::unwrap).collect::<BTreeMap<_, _>>(), before);
}

#[test]
fn an_index_of_an_earlier_version_is_removed_and_made_anew() {
    let tree = memory();
    let (mut writer, _) = IndexWriter::open(tree.clone()).unwrap();
    (0..30).for_each(|n| push(&mut writer, n * 20, 20));
    drop(writer);
    let manifest = tree.remove(b"m2").unwrap().unwrap();
    tree.insert(b"m", manifest).unwrap();
    let (mut writer, indexed) = IndexWriter::open(tree.clone()).unwrap();
    assert_eq!(indexed.get(), 0, "all of it is to be pushed again");
    (0..30).for_each(|n| push(&mut writer, n * 20, 20));
    check(writer.index(), 600);
    drop(writer);
    assert_eq!(tree.get(b"m").unwrap(), None);
    let mut expected = PointerSum::default();
    let sealed = super::indexed(&tree).unwrap().get();
    (0..sealed).for_each(|n| expected.add_leaf(leaf(n), &hash(n), &facts(n)));
    assert_eq!(sum_up(&tree).unwrap(), expected);
    // Every remaining row is named by the manifest.
    let runs: Vec<RunId> = Manifest::read(&tree).unwrap().runs.into_iter().map(|(id, ..)| id).collect();
    for key in tree.scan_prefix(b"r").keys().chain(tree.scan_prefix(b"f").keys()) {
        let id = u64::from_be_bytes(key.unwrap()[1..9].try_into().unwrap());
        assert!(runs.contains(&id), "run {id} is none of {runs:?}");
    }
}

#[test]
fn rows_that_do_not_parse_are_errors() {
    let tree = memory();
    let (mut writer, _) = IndexWriter::open(tree.clone()).unwrap();
    push(&mut writer, 0, 60);
    drop(writer);
    let page = tree.scan_prefix(b"r").keys().next().unwrap().unwrap();
    let whole = tree.get(&page).unwrap().unwrap();
    for bytes in [&b""[..], b"x", &whole[1..]] {
        tree.insert(&page, bytes).unwrap();
        let (writer, _) = IndexWriter::open(tree.clone()).unwrap();
        let failed = (0..60).any(|n| writer.index().find(Wanted::hash(LEAF, &hash(n))).is_err());
        assert!(failed && sum_up(&tree).is_err());
    }
    tree.insert(&page, whole).unwrap();
    tree.insert(b"m2", b"no manifest").unwrap();
    assert!(IndexWriter::open(tree.clone()).is_err() && indexed(&tree).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Compares with the simple way: all pointers in a list.
    #[test]
    fn an_index_answers_like_a_list(
        leaves in prop::collection::vec((0_u64..40, prop::collection::btree_set(0_u64..5, 0..3)), 1..400),
        batch in 1_usize..50,
    ) {
        let (mut writer, _) = IndexWriter::open(memory()).unwrap();
        let leaves: Vec<(Hash, Facts)> = leaves
            .into_iter()
            .map(|(n, terms)| (hash(n), Facts { terms: terms.into_iter().map(term).collect(), ..Facts::default() }))
            .collect();
        for (at, chunk) in leaves.chunks(batch).enumerate() {
            let (leaf_hashes, facts): (Vec<Hash>, Vec<Facts>) = chunk.iter().cloned().unzip();
            let first = leaf((at * batch) as u64);
            writer.push(IndexRows { first, leaf_hashes: &leaf_hashes, facts: &facts, bytes: 1 }).unwrap();
        }
        for n in 0..45 {
            let expected: Vec<_> = (0..).map(leaf).zip(&leaves).filter(|(_, (h, _))| *h == hash(n)).map(|(at, _)| at).collect();
            prop_assert_eq!(writer.index().find(Wanted::hash(LEAF, &hash(n))).unwrap(), expected);
        }
        for n in 0..6 {
            let has = |facts: &Facts| facts.terms.contains(&term(n));
            let expected: Vec<_> = (0..).map(leaf).zip(&leaves).filter(|(_, (_, f))| has(f)).map(|(at, _)| at).collect();
            let page = writer.index().search(&term(n), None, 7).unwrap();
            prop_assert_eq!(page.leaves, expected.iter().rev().take(7).copied().collect::<Vec<_>>());
        }
    }
}
