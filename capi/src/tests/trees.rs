//! Heads, trees, comparisons and descriptions, with wrong inputs: every byte flipped, null pointers, bad lengths and huge
//! counts.

use std::collections::BTreeMap;
use std::ptr::{null, null_mut};

use treehead::merkle::{Hash, LeafIndex, Plan, RightEdge, Tile, TileReader, TreeSize, hashes_to_bytes};

use super::{fixture, trust};
use crate::*;

use th_status::{TH_COULD_NOT_TELL, TH_INVALID_ARGUMENT, TH_MALFORMED, TH_OK, TH_REFUSED, TH_TOO_SMALL};

/// How often each status was returned.
#[derive(Debug, Default)]
struct Counts(BTreeMap<i32, u64>);

impl Counts {
    fn add(&mut self, status: th_status) -> th_status {
        *self.0.entry(status as i32).or_default() += 1;
        status
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Each copy of `bytes` with one bit flipped, and the place of the byte.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(move |bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        (bit / 8, changed)
    })
}

fn text(buffer: &mut [u8]) -> th_text {
    th_text { data: buffer.as_mut_ptr().cast(), capacity: buffer.len(), length: 0 }
}

fn head() -> th_head {
    // SAFETY: zeroes are a head.
    let mut head: th_head = unsafe { std::mem::zeroed() };
    head.struct_size = size_of::<th_head>();
    head
}

/// Leaves, as the only tile of their tree.
struct Leaves(Vec<Hash>);

impl TileReader for Leaves {
    type Error = std::convert::Infallible;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Self::Error> {
        Ok(tiles.iter().map(|tile| self.0[..tile.width()].to_vec()).collect())
    }
}

impl Leaves {
    fn of(count: usize) -> Self {
        Self((0..count).map(|n| Hash::leaf(format!("leaf {n}").as_bytes())).collect())
    }

    fn root(&self, count: usize) -> Hash {
        RightEdge::default().grow(&self.0[..count]).edge.root()
    }

    fn bytes(&self) -> Vec<u8> {
        hashes_to_bytes(&self.0)
    }
}

fn size(count: usize) -> TreeSize {
    TreeSize::new(count as u64).unwrap()
}

#[test]
fn every_flipped_bit_of_a_head_is_noticed() {
    let (trust, note) = (trust(&fixture("witnessed.trust")), fixture("checkpoint"));
    let mut counts = Counts::default();
    unsafe {
        let mut given = head();
        assert_eq!(th_checkpoint_open(trust, note.as_ptr(), note.len(), &raw mut given), TH_OK);
        assert_eq!((given.is_signed, given.size, given.reason), (1, 5, 0));
        for (at, changed) in flips(&note) {
            let mut buffers = [[0x55_u8; 40]; 5];
            let mut out = head();
            let [message, origin, witnesses, quorum, missing] = &mut buffers;
            (out.message, out.origin, out.witnesses) = (text(message), text(origin), text(witnesses));
            (out.quorum, out.missing) = (text(quorum), text(missing));
            let status = counts.add(th_checkpoint_open(trust, changed.as_ptr(), changed.len(), &raw mut out));
            assert!(matches!(status, TH_REFUSED | TH_MALFORMED), "{at}: {status:?}");
            assert!(out.is_signed == 0 || (out.root == given.root && out.size == 5), "{at}");
            let mut json = null_mut();
            for with in [null(), trust.cast_const()] {
                let status =
                    th_checkpoint_json(with, changed.as_ptr(), changed.len(), &raw mut json, null_mut());
                if counts.add(status) == TH_OK {
                    th_blob_free(json);
                }
            }
        }
        let mut out = head();
        for length in 0..note.len() {
            let status = counts.add(th_checkpoint_open(trust, note.as_ptr(), length, &raw mut out));
            assert!(status != TH_OK, "the first {length} bytes");
        }
        // What the caller does wrong.
        let (data, length) = (note.as_ptr(), note.len());
        let mut json = null_mut();
        for status in [
            th_checkpoint_open(null(), data, length, &raw mut out),
            th_checkpoint_open(trust, null(), length, &raw mut out),
            th_checkpoint_open(trust, data, usize::MAX, &raw mut out),
            th_checkpoint_open(trust, data, length, null_mut()),
            th_checkpoint_json(trust, null(), 1, &raw mut json, null_mut()),
            th_checkpoint_json(trust, data, isize::MAX as usize + 1, &raw mut json, null_mut()),
            th_checkpoint_json(trust, data, length, null_mut(), null_mut()),
            th_trust_json(null(), &raw mut json),
            th_trust_json(trust, null_mut()),
        ] {
            assert_eq!(counts.add(status), TH_INVALID_ARGUMENT);
        }
        out.struct_size = 8;
        assert_eq!(th_checkpoint_open(trust, data, length, &raw mut out), TH_INVALID_ARGUMENT);
        out = head();
        out.origin.capacity = 1;
        assert_eq!(th_checkpoint_open(trust, data, length, &raw mut out), TH_INVALID_ARGUMENT);
        th_trust_free(trust);
    }
    println!("heads: {} calls, {:?}", counts.total(), counts.0);
}

#[test]
fn every_flipped_bit_of_a_proof_is_noticed() {
    let mut counts = Counts::default();
    let refused = |status: th_status, what: &str| assert_eq!(status, TH_REFUSED, "{what}");
    for count in [1, 2, 3, 5, 8, 13, 200, 256] {
        let leaves = Leaves::of(count);
        let root = *leaves.root(count).as_bytes();
        for index in [0, count / 2, count - 1] {
            let leaf_index = LeafIndex::new(index as u64).unwrap();
            let Ok(proof) = Plan::inclusion(leaf_index, size(count)).unwrap().fetch(&leaves);
            let (proof, leaf) = (hashes_to_bytes(&proof), *leaves.0[index].as_bytes());
            let mut check = |leaf: &[u8], proof: &[u8], root: &[u8]| {
                let (at, size, hashes) = (index as u64, count as u64, proof.len() / 32);
                counts.add(unsafe {
                    th_inclusion_check(at, size, leaf.as_ptr(), proof.as_ptr(), hashes, root.as_ptr())
                })
            };
            assert_eq!(check(&leaf, &proof, &root), TH_OK);
            flips(&leaf).for_each(|(_, leaf)| refused(check(&leaf, &proof, &root), "leaf"));
            flips(&proof).for_each(|(_, proof)| refused(check(&leaf, &proof, &root), "proof"));
            flips(&root).for_each(|(_, root)| refused(check(&leaf, &proof, &root), "root"));
            refused(check(&leaf, &[&proof[..], &root].concat(), &root), "a hash too many");
            if !proof.is_empty() {
                refused(check(&leaf, &proof[32..], &root), "a hash too few");
            }
        }
        for old in [1, count / 2, count.saturating_sub(1)].into_iter().filter(|old| (1..count).contains(old))
        {
            let old_root = *leaves.root(old).as_bytes();
            let (proof, mut proofs) = (prefix(&leaves, old, count), Counts::default());
            let mut check = |old_root: &[u8], proof: &[u8], root: &[u8]| {
                let (from, to, hashes) = (old as u64, count as u64, proof.len() / 32);
                let (old_root, root) = (old_root.as_ptr(), root.as_ptr());
                proofs.add(unsafe { th_consistency_check(from, old_root, to, root, proof.as_ptr(), hashes) })
            };
            assert_eq!(check(&old_root, &proof, &root), TH_OK);
            flips(&old_root).for_each(|(_, old_root)| refused(check(&old_root, &proof, &root), "old root"));
            flips(&proof).for_each(|(_, proof)| refused(check(&old_root, &proof, &root), "proof"));
            flips(&root).for_each(|(_, root)| refused(check(&old_root, &proof, &root), "root"));
            for (status, number) in proofs.0 {
                *counts.0.entry(status).or_default() += number;
            }
        }
    }
    println!("proofs: {} calls, {:?}", counts.total(), counts.0);
}

/// A consistency proof, by the functions of C.
fn prefix(leaves: &Leaves, old: usize, count: usize) -> Vec<u8> {
    unsafe {
        let (mut plan, mut proof, mut length, mut root) = (null_mut(), [0_u8; 64 * 32], 0, [0_u8; 32]);
        assert_eq!(th_plan_prefix(old as u64, count as u64, &raw mut plan), TH_OK);
        assert_eq!(th_plan_tiles(plan), 1);
        let tile = leaves.bytes();
        assert_eq!(th_plan_put(plan, 0, tile.as_ptr(), tile.len()), TH_OK);
        let whole = leaves.root(count);
        let root_at = whole.as_bytes().as_ptr();
        let status =
            th_plan_prove_prefix(plan, root_at, root.as_mut_ptr(), proof.as_mut_ptr(), 64, &raw mut length);
        assert_eq!(status, TH_OK);
        assert_eq!(root, *leaves.root(old).as_bytes());
        th_plan_free(plan);
        proof[..length * 32].to_vec()
    }
}

#[test]
fn every_flipped_bit_of_a_tile_or_a_bundle_is_noticed() {
    let mut counts = Counts::default();
    let (leaves, count, index) = (Leaves::of(40), 40, 17);
    let (tile, root) = (leaves.bytes(), leaves.root(count));
    let (root, leaf) = (root.as_bytes().as_ptr(), leaves.0[index].as_bytes().as_ptr());
    unsafe {
        let mut plan = null_mut();
        assert_eq!(th_plan_inclusion(index as u64, count as u64, &raw mut plan), TH_OK);
        let mut proof = [0_u8; 64 * 32];
        let mut length = 0;
        let mut prove = |tile: &[u8]| {
            assert_eq!(th_plan_put(plan, 0, tile.as_ptr(), tile.len()), TH_OK);
            let status = th_plan_prove_inclusion(plan, leaf, root, proof.as_mut_ptr(), 64, &raw mut length);
            counts.add(status)
        };
        for (at, tile) in flips(&tile) {
            // The leaf's own hash is given, so the one in the tile is no input.
            let expected = if at / 32 == index { TH_OK } else { TH_REFUSED };
            assert_eq!(prove(&tile), expected, "byte {at}");
        }
        assert_eq!(prove(&tile), TH_OK);
        for length in (0..tile.len()).chain([tile.len() + 32, 256 * 32 + 1]) {
            let tile = vec![0; length];
            let status = counts.add(th_plan_put(plan, 0, tile.as_ptr(), tile.len()));
            assert_eq!(status, TH_MALFORMED, "{length} bytes");
        }
        th_plan_free(plan);
        // A bundle of 40 entries: each flip changes a hash, or is malformed.
        let entries = (0..count).map(|n| format!("leaf {n}"));
        let bundle: Vec<u8> = entries
            .flat_map(|entry| {
                [&u16::try_from(entry.len()).unwrap().to_be_bytes()[..], entry.as_bytes()].concat()
            })
            .collect();
        let mut hashes = vec![0_u8; 256 * 32];
        let mut split = |bundle: &[u8], counts: &mut Counts| {
            let (mut found, room) = (0, hashes.as_mut_ptr());
            let status = th_bundle_hashes(bundle.as_ptr(), bundle.len(), room, 256, &raw mut found);
            (counts.add(status) == TH_OK).then(|| hashes[..found * 32].to_vec())
        };
        assert_eq!(split(&bundle, &mut counts), Some(tile.clone()));
        flips(&bundle)
            .for_each(|(at, bundle)| assert_ne!(split(&bundle, &mut counts), Some(tile.clone()), "{at}"));
        (0..bundle.len())
            .for_each(|length| assert_ne!(split(&bundle[..length], &mut counts), Some(tile.clone())));
        // More entries than a bundle has.
        assert_eq!(split(&vec![0; 257 * 2], &mut counts), None);
        let mut found = 0;
        let status = th_bundle_hashes(bundle.as_ptr(), bundle.len(), null_mut(), 39, &raw mut found);
        assert_eq!((status, found), (TH_TOO_SMALL, 40));
    }
    println!("tiles and bundles: {} calls, {:?}", counts.total(), counts.0);
}

#[test]
fn null_pointers_bad_lengths_and_huge_counts_of_trees_are_errors() {
    let (hash, mut out, mut count) = ([7_u8; 32], [0_u8; 32], 0_usize);
    let (h, o) = (hash.as_ptr(), out.as_mut_ptr());
    let (mut plan, mut made, mut short) = (null_mut(), null_mut(), [0_u8; 4]);
    let huge = [usize::MAX, usize::MAX / 32, usize::MAX / 32 + 1, isize::MAX as usize / 32 + 1];
    let mut tried = 0;
    let mut bad = |status: th_status| {
        tried += 1;
        assert_eq!(status, TH_INVALID_ARGUMENT, "call {tried}");
    };
    unsafe {
        for many in huge {
            bad(th_tree_root(h, many, o));
            bad(th_inclusion_check(0, 1, h, h, many, h));
            bad(th_consistency_check(1, h, 2, h, h, many));
        }
        for length in [usize::MAX, isize::MAX as usize + 1] {
            bad(th_leaf_hash(h, length, o));
            bad(th_bundle_hashes(h, length, o, 1, &raw mut count));
            bad(th_shown(h, length, null_mut()));
            bad(th_proof_json(h, length, &raw mut made, null_mut(), null_mut()));
            bad(th_entry_json(null(), null(), 0, h, length, &raw mut made));
            bad(th_entry_json(null(), h, length, h, 1, &raw mut made));
        }
        bad(th_leaf_hash(null(), 1, o));
        bad(th_leaf_hash(h, 1, null_mut()));
        bad(th_bundle_hashes(null(), 1, o, 1, &raw mut count));
        bad(th_bundle_hashes(h, 0, o, 1, null_mut()));
        bad(th_tree_root(null(), 1, o));
        bad(th_tree_root(h, 1, null_mut()));
        bad(th_node_hash(null(), h, o));
        bad(th_node_hash(h, null(), o));
        bad(th_node_hash(h, h, null_mut()));
        bad(th_inclusion_check(0, 1, null(), h, 0, h));
        bad(th_inclusion_check(0, 2, h, null(), 1, h));
        bad(th_inclusion_check(0, 1, h, h, 0, null()));
        bad(th_consistency_check(1, null(), 2, h, h, 1));
        bad(th_consistency_check(1, h, 2, null(), h, 1));
        bad(th_consistency_check(1, h, 2, h, null(), 1));
        for large in [1 << 63, u64::MAX] {
            bad(th_inclusion_check(0, large, h, h, 1, h));
            bad(th_inclusion_check(large, 5, h, h, 1, h));
            bad(th_consistency_check(large, h, 5, h, h, 1));
            bad(th_consistency_check(1, h, large, h, h, 1));
            bad(th_plan_inclusion(large, 5, &raw mut plan));
            bad(th_plan_inclusion(0, large, &raw mut plan));
            bad(th_plan_prefix(large, 5, &raw mut plan));
            bad(th_plan_prefix(1, large, &raw mut plan));
            bad(th_tile_path(0, 0, large, null_mut(), null_mut()));
        }
        for level in [-2, 64, i32::MIN, i32::MAX] {
            bad(th_tile_path(level, 0, 5, null_mut(), null_mut()));
        }
        bad(th_plan_inclusion(5, 5, &raw mut plan));
        bad(th_plan_inclusion(0, 0, &raw mut plan));
        bad(th_plan_prefix(6, 5, &raw mut plan));
        bad(th_plan_inclusion(0, 5, null_mut()));
        bad(th_plan_tile(null(), 0, null_mut(), null_mut()));
        bad(th_plan_put(null_mut(), 0, h, 32));
        assert_eq!(th_plan_tiles(null()), 0);
        assert_eq!(th_plan_inclusion(2, 5, &raw mut plan), TH_OK);
        bad(th_plan_tile(plan, 1, null_mut(), null_mut()));
        bad(th_plan_tile(plan, usize::MAX, null_mut(), null_mut()));
        bad(th_plan_put(plan, 1, h, 32));
        bad(th_plan_put(plan, 0, null(), 160));
        bad(th_plan_put(plan, 0, h, usize::MAX));
        bad(th_plan_prove_prefix(plan, h, o, null_mut(), 0, null_mut()));
        let tile = Leaves::of(5);
        let (bytes, root) = (tile.bytes(), tile.root(5));
        let (leaf, root) = (tile.0[2].as_bytes().as_ptr(), root.as_bytes().as_ptr());
        let status = th_plan_prove_inclusion(plan, leaf, root, null_mut(), 0, null_mut());
        assert_eq!(status, TH_COULD_NOT_TELL, "the tile is missing");
        assert_eq!(th_plan_put(plan, 0, bytes.as_ptr(), bytes.len()), TH_OK);
        bad(th_plan_prove_inclusion(plan, null(), root, null_mut(), 0, null_mut()));
        bad(th_plan_prove_inclusion(plan, leaf, null(), null_mut(), 0, null_mut()));
        bad(th_plan_prove_inclusion(null(), leaf, root, null_mut(), 0, null_mut()));
        bad(th_plan_prove_inclusion(plan, leaf, root, null_mut(), 3, null_mut()));
        let status = th_plan_prove_inclusion(plan, leaf, root, o, 1, &raw mut count);
        assert_eq!((status, count), (TH_TOO_SMALL, 3));
        let status = th_plan_prove_inclusion(plan, leaf, root, null_mut(), 0, &raw mut count);
        assert_eq!((status, count), (TH_OK, 3), "nobody wants the hashes");
        let mut path = text(&mut short);
        assert_eq!(th_plan_tile(plan, 0, &raw mut path, &raw mut count), TH_OK);
        assert_eq!((&short, count), (b"til\0", 5));
        th_plan_free(plan);
        th_plan_free(null_mut());
    }
    println!("trees: {tried} wrong calls");
}

/// The heads in a file of fixtures/evidence.
fn heads_in(file: &str) -> [Vec<u8>; 2] {
    let text = String::from_utf8(fixture(&format!("../evidence/{file}.tlog-fork"))).unwrap();
    let parts: Vec<&str> = text.trim_end().split("\n\n").collect();
    [format!("{}\n\n{}\n", parts[1], parts[2]), format!("{}\n\n{}\n", parts[3], parts[4])]
        .map(String::into_bytes)
}

#[test]
fn every_flipped_bit_of_two_heads_or_their_tile_is_noticed() {
    let trust = trust(&fixture("witnessed.trust"));
    let history = |name: &str| {
        let entry = |at: usize| if at == 0 { "entry 0".to_owned() } else { format!("entry {at} of {name}") };
        Leaves((0..5).map(|at| Hash::leaf(entry(at).as_bytes())).collect())
    };
    let others = history("what others were shown").bytes();
    let mut counts = Counts::default();
    unsafe {
        let mut plan = null_mut();
        assert_eq!(th_plan_prefix(3, 5, &raw mut plan), TH_OK);
        let mut compare = |one: &[u8], other: &[u8], tile: &[u8]| {
            assert_eq!(th_plan_put(plan, 0, tile.as_ptr(), tile.len()), TH_OK);
            let (mut evidence, mut buffer) = (null_mut(), [0_u8; 96]);
            let mut name = text(&mut buffer);
            let (data, more) = ((one.as_ptr(), one.len()), (other.as_ptr(), other.len()));
            let status = th_heads_compare(
                trust,
                data.0,
                data.1,
                more.0,
                more.1,
                plan,
                &raw mut evidence,
                &raw mut name,
                null_mut(),
            );
            // Evidence convinces others too.
            if !evidence.is_null() {
                assert_eq!(status, TH_REFUSED);
                let (data, length) = (th_blob_data(evidence), th_blob_length(evidence));
                assert_eq!(th_evidence_check(trust, data, length, null_mut(), null_mut()), TH_OK);
                th_blob_free(evidence);
                counts.add(status);
                return (status, true);
            }
            (counts.add(status), false)
        };
        for (file, is_fork) in [("grown", false), ("unequal", true), ("same-size", true)] {
            let [one, other] = heads_in(file);
            let expected = if is_fork { (TH_REFUSED, true) } else { (TH_OK, false) };
            assert_eq!(compare(&one, &other, &others), expected, "{file}");
            assert_eq!(compare(&other, &one, &others), expected, "{file}");
            // A line of a witness proves nothing here; everything else is the log's.
            let in_witness = |note: &[u8], at: usize| {
                let text = String::from_utf8_lossy(note);
                text.rfind("\u{2014} witness").is_some_and(|line| at >= line)
            };
            for (at, changed) in flips(&one) {
                let seen = compare(&changed, &other, &others);
                assert!(in_witness(&one, at) || (seen != expected && !seen.1), "{file}, byte {at}: {seen:?}");
            }
            for (at, changed) in flips(&other) {
                let seen = compare(&one, &changed, &others);
                assert!(
                    in_witness(&other, at) || (seen != expected && !seen.1),
                    "{file}, byte {at}: {seen:?}"
                );
            }
            if file != "same-size" {
                for (at, tile) in flips(&others) {
                    assert_eq!(compare(&one, &other, &tile), (TH_COULD_NOT_TELL, false), "{file}, byte {at}");
                }
            }
        }
        // What the caller does wrong.
        let [one, other] = heads_in("grown");
        let (o, ol, t, tl) = (one.as_ptr(), one.len(), other.as_ptr(), other.len());
        let (mut evidence, mut smaller) = (null_mut(), null_mut());
        let e = &raw mut evidence;
        assert_eq!(th_plan_prefix(2, 5, &raw mut smaller), TH_OK);
        for status in [
            th_heads_compare(null(), o, ol, t, tl, plan, e, null_mut(), null_mut()),
            th_heads_compare(trust, null(), ol, t, tl, plan, e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, null(), tl, plan, e, null_mut(), null_mut()),
            th_heads_compare(trust, o, usize::MAX, t, tl, plan, e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, t, usize::MAX, plan, e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, t, tl, null(), e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, t, tl, smaller, e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, t, tl, trust.cast(), e, null_mut(), null_mut()),
            th_heads_compare(trust, o, ol, t, tl, plan, null_mut(), null_mut(), null_mut()),
            th_evidence_check(null(), o, ol, null_mut(), null_mut()),
            th_evidence_check(trust, null(), ol, null_mut(), null_mut()),
            th_evidence_check(trust, o, usize::MAX, null_mut(), null_mut()),
        ] {
            assert_eq!(counts.add(status), TH_INVALID_ARGUMENT);
        }
        th_plan_free(smaller);
        th_plan_free(plan);
        th_trust_free(trust);
    }
    println!("comparisons: {} calls, {:?}", counts.total(), counts.0);
}

#[test]
fn descriptions_of_flipped_bytes_are_json_or_errors() {
    let trust = trust(&fixture("witnessed.trust"));
    let mut counts = Counts::default();
    let is_json = |blob: *mut th_blob| unsafe {
        let text = std::slice::from_raw_parts(th_blob_data(blob), th_blob_length(blob));
        serde_json::from_slice::<serde::de::IgnoredAny>(text).expect("JSON");
        th_blob_free(blob);
    };
    let origin = b"log.example.com/releases";
    let describe = |bytes: &[u8], counts: &mut Counts| unsafe {
        let (data, length) = (bytes.as_ptr(), bytes.len());
        let (mut json, mut entry, mut shown) = (null_mut(), null_mut(), [0x55_u8; 64]);
        let status = th_proof_json(data, length, &raw mut json, &raw mut entry, null_mut());
        if counts.add(status) == TH_OK {
            is_json(json);
            th_blob_free(entry);
        }
        for (trust, origin_length) in [(null(), 0), (trust.cast_const(), origin.len())] {
            let status = th_entry_json(trust, origin.as_ptr(), origin_length, data, length, &raw mut json);
            assert_eq!(counts.add(status), TH_OK, "anything may be an entry");
            is_json(json);
        }
        if counts.add(th_evidence_check(trust, data, length, &raw mut json, null_mut())) == TH_OK {
            is_json(json);
        }
        let mut out = text(&mut shown[..63]);
        assert_eq!(counts.add(th_shown(data, length, &raw mut out)), TH_OK);
        assert_eq!(shown[63], 0x55);
        assert!(std::ffi::CStr::from_bytes_until_nul(&shown).unwrap().to_str().is_ok());
    };
    for name in [
        "entry.json",
        "withdrawal.json",
        "provenance.json",
        "summary.json",
        "scanner.sh.tlog-proof",
        "gated.tlog-bundle",
        "../evidence/unequal.tlog-fork",
        "../evidence/same-size.tlog-fork",
    ] {
        let bytes = fixture(name);
        describe(&bytes, &mut counts);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            describe(&changed, &mut counts);
            describe(&bytes[..at], &mut counts);
        }
    }
    unsafe { th_trust_free(trust) };
    println!("descriptions: {} calls, {:?}", counts.total(), counts.0);
}
