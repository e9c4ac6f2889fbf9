use std::convert::Infallible;

use proptest::prelude::*;

use super::tile::hashes_from_bytes;
use super::*;
use crate::format::FormatError;

/// Serves tiles from a plain list of leaf hashes, by definition.
pub(crate) struct Definition<'a>(pub(crate) &'a [Hash]);

impl TileReader for Definition<'_> {
    type Error = Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Infallible> {
        let hashes = |tile: &Tile| {
            let span = 256_usize.pow(tile.id.level().into());
            let first = usize::try_from(tile.id.index()).unwrap() * 256;
            (first..first + tile.width())
                .map(|i| reference::root(&self.0[i * span..(i + 1) * span]))
                .collect()
        };
        Ok(tiles.iter().map(hashes).collect())
    }
}

pub(super) fn size(n: usize) -> TreeSize {
    TreeSize::new(n as u64).unwrap()
}

pub(super) fn index(n: usize) -> LeafIndex {
    LeafIndex::new(n as u64).unwrap()
}

/// The eight-leaf tree that RFC 6962 implementations have shared since Certificate Transparency.
const RFC_LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const RFC_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn known_answers_of_the_eight_leaf_tree() {
    let leaves: Vec<Hash> = RFC_LEAVES.iter().map(|l| Hash::leaf(&hex::decode(l).unwrap())).collect();
    for (n, root) in RFC_ROOTS.iter().enumerate() {
        assert_eq!(reference::root(&leaves[..=n]).to_hex(), *root);
        assert_eq!(RightEdge::default().grow(&leaves[..=n]).edge.root().to_hex(), *root);
    }
    assert_eq!(RightEdge::default().root(), Hash::EMPTY_ROOT);
    assert_eq!(Hash::digest(b""), Hash::EMPTY_ROOT);
}

#[test]
fn every_inclusion_proof_up_to_300_leaves() {
    let leaves = reference::leaves(300);
    for n in 1..=leaves.len() {
        let tree = &leaves[..n];
        let root = reference::root(tree);
        for (i, leaf) in tree.iter().enumerate() {
            let proof = Plan::inclusion(index(i), size(n)).unwrap().fetch(&Definition(tree)).unwrap();
            assert_eq!(proof, reference::path(i, tree), "{i} of {n}");
            assert_eq!(verify_inclusion(index(i), size(n), leaf, &proof, &root), Ok(()));
        }
        let past = Plan::inclusion(index(n), size(n));
        assert_eq!(past, Err(ProofError::IndexOutOfRange { index: index(n), size: size(n) }));
    }
}

#[test]
fn every_consistency_proof_up_to_300_leaves() {
    let leaves = reference::leaves(300);
    let roots: Vec<Hash> = (0..=300).map(|n| reference::root(&leaves[..n])).collect();
    for new in 0..=leaves.len() {
        for old in 0..=new {
            let proof =
                Plan::consistency(size(old), size(new)).unwrap().fetch(&Definition(&leaves[..new])).unwrap();
            if old > 0 {
                assert_eq!(proof, reference::proof(old, &leaves[..new]), "{old} to {new}");
            }
            let (from, to) = ((size(old), &roots[old]), (size(new), &roots[new]));
            assert_eq!(verify_consistency(from, to, &proof), Ok(()));
            if old < new {
                let reversed = Err(ProofError::SizesReversed { old: size(new), new: size(old) });
                assert_eq!(verify_consistency(to, from, &proof), reversed);
                let other = Hash::leaf(b"another history");
                assert!(verify_consistency((size(old), &other), to, &proof).is_err(), "{old} to {new}");
                assert!(old == 0 || verify_consistency(from, (size(new), &other), &proof).is_err());
            }
        }
    }
}

/// Changes one of the hashes that are read, counted over the tiles of one call.
struct Lie<'a>(Definition<'a>, usize);

impl TileReader for Lie<'_> {
    type Error = Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Infallible> {
        let mut read = self.0.read_tiles(tiles)?;
        if let Some(hash) = read.iter_mut().flatten().nth(self.1) {
            *hash = Hash::leaf(b"a lie");
        }
        Ok(read)
    }
}

#[test]
fn every_prefix_of_a_tree_up_to_40_leaves() {
    let leaves = reference::leaves(40);
    let roots: Vec<Hash> = (0..=40).map(|n| reference::root(&leaves[..n])).collect();
    for large in 0..=leaves.len() {
        let tree = Definition(&leaves[..large]);
        let to = (size(large), &roots[large]);
        for (small, root) in roots.iter().enumerate().take(large + 1) {
            let proof = if small == 0 { Vec::new() } else { reference::proof(small, &leaves[..large]) };
            let expected = Prefix { root: *root, proof };
            assert_eq!(prove_prefix(&tree, size(small), to), Ok(Ok(expected.clone())), "{small} of {large}");
            // A lie about any hash that counts is detected; a lie about another changes nothing.
            let mut caught = 0;
            for at in 0..large {
                match prove_prefix(&Lie(Definition(&leaves[..large]), at), size(small), to).unwrap() {
                    Err(ProofError::RootMismatch { .. }) => caught += 1,
                    other => assert_eq!(other, Ok(expected.clone()), "hash {at}, {small} of {large}"),
                }
            }
            let all = if small == 0 { 0 } else { large };
            assert_eq!(caught, all, "each leaf is part of the peaks or of the proof: {small} of {large}");
            let other = Hash::leaf(b"another history");
            let against = prove_prefix(&tree, size(small), (size(large), &other)).unwrap();
            // Every tree extends the empty one.
            assert_eq!(against.is_ok(), small == 0 && large > 0, "{small} of {large}");
        }
        let reversed = Err(ProofError::SizesReversed { old: size(large + 1), new: size(large) });
        assert_eq!(prove_prefix(&tree, size(large + 1), to).unwrap(), reversed);
    }
}

#[test]
fn prefixes_of_a_tree_with_many_tiles() {
    let leaves = reference::leaves(1_000);
    let root = reference::root(&leaves);
    for small in [1, 255, 256, 257, 511, 512, 513, 768, 999, 1_000] {
        let prefix = prove_prefix(&Definition(&leaves), size(small), (size(1_000), &root)).unwrap().unwrap();
        let proof = reference::proof(small, &leaves);
        assert_eq!(prefix, Prefix { root: reference::root(&leaves[..small]), proof }, "{small}");
    }
}

#[test]
fn growing_agrees_with_the_definition() {
    let leaves = reference::leaves(1_400);
    for batch in [1, 2, 3, 5, 8, 64, 255, 256, 257, 700] {
        let (mut edge, mut extended) = (RightEdge::default(), RightEdge::default());
        let mut tiles: Vec<Vec<Hash>> = vec![Vec::new(); 8];
        for chunk in leaves.chunks(batch) {
            let growth = edge.grow(chunk);
            for run in growth.tiles {
                let level = &mut tiles[usize::from(run.level)];
                assert_eq!(run.first, level.len() as u64, "runs follow each other");
                level.extend(run.hashes);
            }
            edge = growth.edge;
            extended.extend(chunk);
            assert_eq!(extended, edge, "the same edge without the tiles");
            let n = usize::try_from(edge.size().get()).unwrap();
            assert_eq!(edge.root(), reference::root(&leaves[..n]), "{n} in batches of {batch}");
            let read = read_root(&Definition(&leaves[..n]), edge.size()).unwrap();
            assert_eq!(read, edge, "the edge read from tiles is the edge that grew");
        }
        assert_eq!(tiles[0], leaves);
        let level_1: Vec<Hash> = leaves.chunks_exact(256).map(reference::root).collect();
        assert_eq!(tiles[1], level_1);
        assert!(tiles[2..].iter().all(Vec::is_empty));
    }
    assert_eq!(RightEdge::default().grow(&[]).edge, RightEdge::default());
}

#[test]
fn a_second_tile_level_grows_at_65536_leaves() {
    let leaves = reference::leaves(65_536 + 300);
    let growth = RightEdge::default().grow(&leaves[..65_000]).edge.grow(&leaves[65_000..]);
    let level_2: Vec<&TileHashes> = growth.tiles.iter().filter(|t| t.level == 2).collect();
    assert_eq!(level_2.len(), 1);
    assert_eq!((level_2[0].first, level_2[0].hashes.clone()), (0, vec![reference::root(&leaves[..65_536])]));
    assert_eq!(growth.edge.root(), reference::root(&leaves));
}

#[test]
fn proofs_of_the_wrong_shape_are_refused() {
    let leaves = reference::leaves(11);
    let root = reference::root(&leaves);
    let proof = reference::path(6, &leaves);
    let check = |proof: &[Hash]| verify_inclusion(index(6), size(11), &leaves[6], proof, &root);
    assert_eq!(check(&proof), Ok(()));
    let wrong_length = |seen| Err(ProofError::WrongLength { expected: 4, seen });
    assert_eq!(check(&proof[..3]), wrong_length(3), "too short");
    assert_eq!(check(&proof[1..]), wrong_length(3), "leaf's sibling missing");
    assert_eq!(check(&[]), wrong_length(0));
    assert_eq!(check(&[proof.clone(), vec![root]].concat()), wrong_length(5), "too long");
    let reordered: Vec<Hash> = proof.iter().rev().copied().collect();
    assert!(matches!(check(&reordered), Err(ProofError::RootMismatch { .. })));
    for at in 0..proof.len() * HASH_BYTES {
        let mut bytes: Vec<u8> = proof.iter().flat_map(|h| *h.as_bytes()).collect();
        bytes[at] ^= 1;
        let flipped = hashes_from_bytes(&bytes, proof.len()).unwrap();
        assert!(matches!(check(&flipped), Err(ProofError::RootMismatch { .. })), "byte {at}");
    }
}

#[test]
fn sizes_near_two_to_the_63() {
    assert_eq!(TreeSize::parse("9223372036854775807"), TreeSize::new(MAX_TREE_SIZE));
    assert_eq!(TreeSize::parse("9223372036854775808"), None);
    assert_eq!(TreeSize::new(MAX_TREE_SIZE + 1), None);
    assert_eq!(LeafIndex::new(MAX_TREE_SIZE), None);
    let (largest, last) = (TreeSize::new(MAX_TREE_SIZE).unwrap(), LeafIndex::new(MAX_TREE_SIZE - 1).unwrap());
    // Synthetic but complete: a proof computed upwards from made-up siblings.
    for (at, hashes) in [(last, 62), (LeafIndex::new(0).unwrap(), 63), (LeafIndex::new(1 << 62).unwrap(), 63)]
    {
        let plan = Plan::inclusion(at, largest).unwrap();
        let nodes: Vec<Hash> = plan.nodes().map(|n: Node| Hash::leaf(format!("{n:?}").as_bytes())).collect();
        let proof = plan.fold(&nodes);
        assert_eq!(proof.len(), hashes, "{at}");
        let leaf = Hash::leaf(b"leaf");
        let Err(ProofError::RootMismatch { seen, .. }) =
            verify_inclusion(at, largest, &leaf, &proof, &Hash::EMPTY_ROOT)
        else {
            panic!("the made-up root can't match")
        };
        assert_eq!(verify_inclusion(at, largest, &leaf, &proof, &seen), Ok(()));
    }
    let previous = TreeSize::new(MAX_TREE_SIZE - 1).unwrap();
    let plan = Plan::consistency(previous, largest).unwrap();
    let proof = plan.fold(&vec![Hash::EMPTY_ROOT; plan.nodes().count()]);
    assert!(matches!(
        verify_consistency((previous, &Hash::EMPTY_ROOT), (largest, &Hash::EMPTY_ROOT), &proof),
        Err(ProofError::RootMismatch { .. })
    ));
}

#[test]
fn tile_paths_of_the_specification() {
    let path = |id, width| Tile::new(id, width).unwrap().to_string();
    assert_eq!(path(TileId::Hashes { level: 0, index: 1_234_067 }, 256), "tile/0/x001/x234/067");
    assert_eq!(path(TileId::Entries { index: 5 }, 112), "tile/entries/005.p/112");
    assert_eq!(path(TileId::Hashes { level: 63, index: 0 }, 1), "tile/63/000.p/1");

    // "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0
    // tile of width 112, one full level 1 tile, one partial level 1 tile of width 17, and one
    // partial level 2 tile of width 1"
    let tiles: Vec<Tile> = tiles_of(size(70_000)).collect();
    let at =
        |level| tiles.iter().filter(move |t| matches!(t.id, TileId::Hashes { level: l, .. } if l == level));
    assert_eq!(at(0).filter(|t| t.is_full()).count(), 273);
    let partial = |level| at(level).filter(|t| !t.is_full()).map(|t| t.width()).collect::<Vec<_>>();
    assert_eq!((partial(0), partial(1), partial(2)), (vec![112], vec![17], vec![1]));
    assert_eq!(at(1).filter(|t| t.is_full()).count(), 1);
    assert_eq!(tiles.iter().filter(|t| matches!(t.id, TileId::Entries { .. })).count(), 274);
    // "a tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile
    // of width 1"
    let tiles: Vec<String> = tiles_of(size(256)).map(|t| t.to_string()).collect();
    assert_eq!(tiles, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
}

#[test]
fn tile_paths_have_one_spelling() {
    for bad in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/00/000",
        "tile/+1/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1234",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/x000/001",
        "tile/0/X001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000/",
        "/tile/0/000",
        "tile//000",
        "tile/data/000",
        "tile/entries/",
        "tile/entries/000.p/+1",
        "tile/0/٠٠٠",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p/1.p/1",
    ] {
        assert!(matches!(Tile::parse(bad), Err(FormatError::Malformed { .. })), "{bad:?}");
    }
    let long = format!("tile/0/{}000", "x001/".repeat(1_000));
    assert!(Tile::parse(&long).is_err());
}

#[test]
fn a_manifest_proves_some_of_its_files() {
    let files: Vec<(String, Hash)> =
        (0..37).map(|i| (format!("bin/tool-{i:02}"), Hash::digest(format!("{i}").as_bytes()))).collect();
    let manifest = Manifest::new(files.clone()).unwrap();
    let leaves: Vec<Hash> = files.iter().map(|(p, d)| manifest_leaf(p, d)).collect();
    assert_eq!(manifest.root(), reference::root(&leaves), "RFC 6962 over the lines");
    for wanted in [vec![0], vec![36], vec![3, 4, 20], (0..37).collect::<Vec<usize>>()] {
        let proof = manifest.prove(&wanted).unwrap();
        let chosen: Vec<Hash> = wanted.iter().map(|i| leaves[*i]).collect();
        assert_eq!(proof.verify(&chosen, &manifest.root()), Ok(()));
        let mut swapped = chosen.clone();
        swapped[0] = Hash::leaf(b"another file");
        assert!(matches!(proof.verify(&swapped, &manifest.root()), Err(ProofError::RootMismatch { .. })));
    }
}

#[test]
fn multi_proofs_are_strict_where_rs_merkle_is_not() {
    let files = (0..10).map(|i| (format!("{i}"), Hash::digest(&[i]))).collect::<Vec<_>>();
    let leaves: Vec<Hash> = files.iter().map(|(p, d)| manifest_leaf(p, d)).collect();
    let manifest = Manifest::new(files).unwrap();
    let root = manifest.root();
    let good = manifest.prove(&[2, 7]).unwrap();
    let both = [leaves[2], leaves[7]];
    assert_eq!(good.verify(&both, &root), Ok(()));

    let with = |change: fn(&mut MultiProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof
    };
    let refused = |proof: MultiProof, leaves: &[Hash]| proof.verify(leaves, &root).unwrap_err();
    let three = [leaves[2], leaves[7], leaves[7]];
    assert_eq!(
        refused(with(|p| p.indices = vec![2, 7, 7]), &three),
        ProofError::IndicesNotIncreasing { at: 2 }
    );
    assert_eq!(refused(with(|p| p.indices = vec![7, 2]), &both), ProofError::IndicesNotIncreasing { at: 1 });
    assert!(matches!(refused(with(|p| p.indices = vec![2, 10]), &both), ProofError::IndexOutOfRange { .. }));
    assert!(matches!(refused(with(|p| p.total = 0), &both), ProofError::IndexOutOfRange { .. }));
    assert!(matches!(refused(with(|p| p.total = usize::MAX), &both), ProofError::TooManyIndices { .. }));
    assert!(matches!(refused(with(|p| p.indices.clear()), &[]), ProofError::TooManyIndices { seen: 0, .. }));
    assert!(matches!(
        refused(with(|p| p.hashes.push(Hash::EMPTY_ROOT)), &both),
        ProofError::WrongLength { .. }
    ));
    assert!(matches!(
        refused(with(|p| p.hashes.truncate(p.hashes.len() - 1)), &both),
        ProofError::WrongLength { .. }
    ));
    assert!(matches!(refused(good.clone(), &both[..1]), ProofError::WrongLength { .. }));
    assert!(matches!(refused(with(|p| p.hashes.reverse()), &both), ProofError::RootMismatch { .. }));
    let many: Vec<usize> = (0..=MAX_MULTI_PROOF).collect();
    assert!(matches!(manifest.prove(&many), Err(ProofError::TooManyIndices { seen: 1_001, .. })));

    for files in [vec![], vec![("a", 1), ("a", 2)], vec![("", 1)], vec![("a\0b", 1)]] {
        let files = files.into_iter().map(|(p, d)| (p.to_owned(), Hash::digest(&[d]))).collect();
        assert!(Manifest::new(files).is_err());
    }
}

proptest! {
    #[test]
    fn random_proofs_beyond_300(n in 301_usize..5_000, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let leaves = reference::leaves(n);
        let root = reference::root(&leaves);
        let i = a.index(n);
        let proof = Plan::inclusion(index(i), size(n)).unwrap().fetch(&Definition(&leaves)).unwrap();
        prop_assert_eq!(&proof, &reference::path(i, &leaves));
        prop_assert_eq!(verify_inclusion(index(i), size(n), &leaves[i], &proof, &root), Ok(()));
        let old = b.index(n) + 1;
        let proof = Plan::consistency(size(old), size(n)).unwrap().fetch(&Definition(&leaves)).unwrap();
        prop_assert_eq!(&proof, &reference::proof(old, &leaves));
        let old_root = reference::root(&leaves[..old]);
        prop_assert_eq!(verify_consistency((size(old), &old_root), (size(n), &root), &proof), Ok(()));
    }

    #[test]
    fn multi_proofs_of_any_leaves(total in 1_usize..200, picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        let files: Vec<(String, Hash)> = (0..total).map(|i| (format!("{i:04}"), Hash::digest(&i.to_be_bytes()))).collect();
        let leaves: Vec<Hash> = files.iter().map(|(p, d)| manifest_leaf(p, d)).collect();
        let manifest = Manifest::new(files).unwrap();
        let wanted: std::collections::BTreeSet<usize> = picks.iter().map(|p| p.index(total)).collect();
        let wanted: Vec<usize> = wanted.into_iter().collect();
        let chosen: Vec<Hash> = wanted.iter().map(|i| leaves[*i]).collect();
        prop_assert_eq!(manifest.prove(&wanted).unwrap().verify(&chosen, &manifest.root()), Ok(()));
    }

    #[test]
    fn verifiers_are_total(i in any::<u64>(), n in any::<u64>(), m in any::<u64>(), count in 0_usize..70) {
        let proof = vec![Hash::EMPTY_ROOT; count];
        if let (Some(at), Some(of)) = (LeafIndex::new(i), TreeSize::new(n)) {
            prop_assert!(verify_inclusion(at, of, &Hash::EMPTY_ROOT, &proof, &Hash::leaf(b"x")).is_err());
        }
        if let (Some(old), Some(new)) = (TreeSize::new(m), TreeSize::new(n)) {
            let other = Hash::leaf(b"x");
            prop_assert!(verify_consistency((old, &other), (new, &Hash::EMPTY_ROOT), &proof).is_err());
        }
    }

    #[test]
    fn tile_paths_print_as_they_parse(level in 0_u8..64, index in 0..=MAX_TREE_SIZE / TILE_WIDTH, width in 1_u64..=256, entries: bool) {
        let id = if entries { TileId::Entries { index } } else { TileId::Hashes { level, index } };
        let tile = Tile::new(id, width).unwrap();
        prop_assert_eq!(Tile::parse(&tile.to_string()), Ok(tile));
    }

    #[test]
    fn tile_paths_survive_noise(text in "(tile/)?(entries|[0-9]{0,3})/[x0-9/.p]{0,30}|.{0,40}") {
        if let Ok(tile) = Tile::parse(&text) {
            prop_assert_eq!(tile.to_string(), text);
        }
    }
}
