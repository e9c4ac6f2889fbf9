use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::disk::RealDisk;
use crate::release::Claim;
use run::RunFacts;
use sealer::IndexWriter;

fn options(dir: &Path) -> IndexOptions {
    // Few pointers a run, so that a small log has many.
    let (dir, io) = (dir.to_owned(), Arc::new(RealDisk));
    IndexOptions { dir, io, filter_bytes: u64::MAX, seal_pointers: 100 }
}

/// An index, and the tree of the leaves that were pushed.
struct Rig {
    writer: IndexWriter,
    edge: RightEdge,
}

impl Rig {
    fn open(dir: &Path) -> Self {
        Self::with(options(dir))
    }

    /// Opens an index. Its leaves are those of [`push`](Self::push).
    fn with(options: IndexOptions) -> Self {
        let (writer, indexed) = IndexWriter::open(options).unwrap();
        let leaves: Vec<Hash> = (0..indexed.size.get()).map(hash).collect();
        let edge = RightEdge::default().grow(&leaves).edge;
        assert_eq!(edge.root(), indexed.root);
        Self { writer, edge }
    }

    fn len(&self) -> u64 {
        self.edge.size().get()
    }

    fn push(&mut self, count: u64) {
        let leaves = self.len()..self.len() + count;
        self.push_facts(
            &leaves.clone().map(hash).collect::<Vec<_>>(),
            &leaves.map(facts).collect::<Vec<_>>(),
        );
    }

    fn push_facts(&mut self, leaf_hashes: &[Hash], facts: &[Facts]) {
        let first = self.edge.size().next_index();
        self.edge = self.edge.grow(leaf_hashes).edge;
        let rows = IndexRows { first, leaf_hashes, facts, edge: &self.edge, bytes: 100 };
        self.writer.push(rows).unwrap();
    }

    fn check(&self) {
        check(self.writer.index(), self.len());
    }
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
    let dir = TempDir::new().unwrap();
    let mut count = 0;
    for batches in [1, 3, 40, 0, 25] {
        let mut rig = Rig::open(dir.path());
        assert!(rig.len() <= count);
        // Rows that were not sealed are pushed again, as at a start.
        if rig.len() < count {
            rig.push(count - rig.len());
        }
        rig.check();
        for size in (1..60).cycle().step_by(7).take(batches) {
            rig.push(size);
        }
        rig.check();
        count = rig.len();
    }
    let rig = Rig::open(dir.path());
    let levels: Vec<u8> = rig.writer.index().state().runs.iter().map(|run| run.facts.level).collect();
    assert!(levels.is_sorted_by(|a, b| a >= b) && levels[0] > 0, "{levels:?}");
}

/// The sum over everything that is sealed.
fn sealed(dir: &Path) -> PointerSum {
    let mut expected = PointerSum::default();
    (0..indexed(dir).unwrap().size.get()).for_each(|n| expected.add_leaf(leaf(n), &hash(n), &facts(n)));
    expected
}

#[test]
fn the_sum_is_of_what_was_sealed_and_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut rig = Rig::open(dir.path());
    (0..100).for_each(|_| rig.push(20));
    drop(rig);
    let expected = sealed(dir.path());
    assert!(indexed(dir.path()).unwrap().size.get() > 1_800);
    assert_eq!(sum_up(dir.path()).unwrap(), expected);
    for item in fs::read_dir(dir.path()).unwrap() {
        let path = item.unwrap().path();
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(sum_up(dir.path()).map_or(true, |sum| sum != expected), "{} gone", path.display());
        for at in (0..whole.len()).step_by(whole.len() / 30) {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, other).unwrap();
            let unnoticed = sum_up(dir.path()).is_ok_and(|sum| sum == expected);
            assert!(!unnoticed, "{} changed at {at}", path.display());
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(sum_up(dir.path()).unwrap(), expected);
}

#[test]
fn a_page_elsewhere_in_its_file_or_of_another_run_is_an_error() {
    let dir = TempDir::new().unwrap();
    let mut rig = Rig::open(dir.path());
    (0..160).for_each(|_| rig.push(25));
    drop(rig);
    let manifest = Manifest::read(dir.path()).unwrap();
    let run = manifest.runs[0];
    assert!(run.pointers > 3 * 255);
    let path = dir.path().join(run.file_name());
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    other.copy_within(4_096..8_192, 0);
    fs::write(&path, other).unwrap();
    assert!(sum_up(dir.path()).is_err());
    let again = dir.path().join(run::file_name(1_000));
    fs::write(&again, &whole).unwrap();
    fs::write(&path, whole).unwrap();
    assert!(
        Run::open(dir.path(), run::RunFacts { id: 1_000, ..run }).unwrap().read().any(|read| read.is_err())
    );
    assert!(Run::open(dir.path(), run).unwrap().read().all(|read| read.is_ok()));
}

#[test]
fn what_a_crash_left_of_a_run_is_removed_and_written_again() {
    let dir = TempDir::new().unwrap();
    let mut rig = Rig::open(dir.path());
    (0..30).for_each(|_| rig.push(20));
    drop(rig);
    let names = || {
        let mut names = crate::disk::list_dir(dir.path()).unwrap();
        names.sort();
        names
    };
    let before = names();
    let next = Manifest::read(dir.path()).unwrap().next;
    for id in [next, next + 1, 1_000] {
        let mut torn = run::RunWriter::new(&RealDisk, dir.path(), id, 600, 1_000).unwrap();
        (0..300).for_each(|n| torn.push(Wanted::hash(LEAF, &hash(0)).at(n)).unwrap());
        drop(torn);
    }
    fs::write(dir.path().join("manifest.new"), b"half").unwrap();
    let mut rig = Rig::open(dir.path());
    assert_eq!(names(), before);
    (0..30).for_each(|_| rig.push(20));
    rig.check();
}

#[test]
fn an_index_of_another_version_is_removed_and_made_anew() {
    let dir = TempDir::new().unwrap();
    let mut rig = Rig::open(dir.path());
    (0..30).for_each(|_| rig.push(20));
    drop(rig);
    let mut manifest = fs::read(dir.path().join("manifest")).unwrap();
    manifest[1] = b'2';
    fs::write(dir.path().join("manifest"), manifest).unwrap();
    let mut rig = Rig::open(dir.path());
    assert_eq!(rig.len(), 0, "all of it is to be pushed again");
    (0..30).for_each(|_| rig.push(20));
    rig.check();
    drop(rig);
    assert_eq!(sum_up(dir.path()).unwrap(), sealed(dir.path()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + Manifest::read(dir.path()).unwrap().runs.len());
}

#[test]
fn with_little_memory_everything_is_found_too() {
    for filter_bytes in [0, 64, 1_000] {
        let dir = TempDir::new().unwrap();
        for _ in 0..2 {
            let mut rig = Rig::with(IndexOptions { filter_bytes, ..options(dir.path()) });
            (0..60).for_each(|_| rig.push(20));
            rig.check();
            drop(rig);
            let runs = Manifest::read(dir.path()).unwrap().open(dir.path()).unwrap();
            let taken: usize = runs.iter().map(Run::filter_bytes).sum();
            assert!(taken as u64 <= filter_bytes, "{taken} of {filter_bytes}");
            assert_eq!(sum_up(dir.path()).unwrap(), sealed(dir.path()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Compares with the simple way: all pointers in a list.
    #[test]
    fn an_index_answers_like_a_list(
        leaves in prop::collection::vec((0_u64..40, prop::collection::btree_set(0_u64..5, 0..3)), 1..400),
        batch in 1_usize..50,
        seal_pointers in 1_usize..200,
        filter_bytes in prop::sample::select(vec![0, 300, 2_000, u64::MAX]),
    ) {
        let dir = TempDir::new().unwrap();
        let mut rig = Rig::with(IndexOptions { filter_bytes, seal_pointers, ..options(dir.path()) });
        let leaves: Vec<(Hash, Facts)> = leaves
            .into_iter()
            .map(|(n, terms)| (hash(n), Facts { terms: terms.into_iter().map(term).collect(), ..Facts::default() }))
            .collect();
        for chunk in leaves.chunks(batch) {
            let (leaf_hashes, facts): (Vec<Hash>, Vec<Facts>) = chunk.iter().cloned().unzip();
            rig.push_facts(&leaf_hashes, &facts);
        }
        for n in 0..45 {
            let expected: Vec<_> = (0..).map(leaf).zip(&leaves).filter(|(_, (h, _))| *h == hash(n)).map(|(at, _)| at).collect();
            prop_assert_eq!(rig.writer.index().find(Wanted::hash(LEAF, &hash(n))).unwrap(), expected);
        }
        for n in 0..6 {
            let has = |facts: &Facts| facts.terms.contains(&term(n));
            let expected: Vec<_> = (0..).map(leaf).zip(&leaves).filter(|(_, (_, f))| has(f)).map(|(at, _)| at).collect();
            let page = rig.writer.index().search(&term(n), None, 7).unwrap();
            prop_assert_eq!(page.leaves, expected.iter().rev().take(7).copied().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_run_of_any_length_in_a_manifest_is_compared_with_its_file_first() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(run::file_name(7)), [0; 256]).unwrap();
    // So many pages and their fences have 256 bytes, modulo 2^64.
    let pages = 0x000f_f00f_f00f_f010_u64;
    assert_eq!(pages.wrapping_mul(4_096 + 16), 256);
    for pointers in [u64::MAX, pages * 255, 255] {
        let facts = RunFacts { id: 7, level: 0, pointers, keys: u64::MAX, blocks: 0, crc: 0 };
        let opened = run::Run::open(dir.path(), facts);
        assert!(matches!(opened, Err(StoreError::TreeDamaged { .. })), "{pointers}");
    }
    assert_eq!(filter::Filter::new(u64::MAX, 1_024).bytes(), 0, "too few bits for each key");
}
