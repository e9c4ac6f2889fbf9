//! Releases of many files: hashing a folder into its manifest, beside the bare SHA-256 of the same files; parsing it,
//! applying a delta, and verifying multi-proofs, beside their leaf and node hashes; and how large the proofs are.
//!
//! Run with `cargo bench --no-default-features --features client --bench manifests`.

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use treehead::endpoint::{compare_folder, manifest_of_folder};
use treehead::merkle::{Hash, MAX_MULTI_PROOF, manifest_leaf};
use treehead::proof::FilesProof;
use treehead::release::{FileManifest, ManifestDelta};

/// Files of the folder, and bytes of each: a detection rule.
const FILES: usize = 10_000;
const FILE_BYTES: usize = 4_096;
/// Random choices whose proofs are measured.
const CHOICES: usize = 200;
/// The goal for the multi-proof of 10 of 10,000 files.
const GOAL: f64 = 3.1;

fn main() {
    folder();
    sizes();
    times();
}

/// The median of some runs.
fn median(runs: usize, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn folder() {
    let dir = tempfile::tempdir().expect("a directory");
    let paths: Vec<PathBuf> = (0..FILES).map(|at| write(dir.path(), at)).collect();
    let bare = median(5, || {
        for path in &paths {
            black_box(Hash::digest(&fs::read(path).expect("it is there")));
        }
    });
    let made = median(5, || drop(black_box(manifest_of_folder(dir.path()).expect("a manifest"))));
    let manifest = manifest_of_folder(dir.path()).expect("a manifest");
    let compared = median(5, || {
        assert!(compare_folder(dir.path(), &manifest).expect("it can be read").is_empty());
    });
    println!("a folder of {FILES} files of {FILE_BYTES} bytes, in the page cache:");
    println!("  read and hashed by one thread      {:8.1} ms", milliseconds(bare));
    println!("  its manifest, by all processors    {:8.1} ms", milliseconds(made));
    println!("  compared with its manifest         {:8.1} ms", milliseconds(compared));
    println!("  the manifest                       {:8} bytes", manifest.to_string().len());
}

fn write(dir: &Path, at: usize) -> PathBuf {
    let path = dir.join(name(at));
    fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
    let content: Vec<u8> =
        (0..FILE_BYTES).map(|byte| u8::try_from((at ^ byte) % 251).expect("small")).collect();
    fs::write(&path, content).expect("it can be written");
    path
}

fn name(at: usize) -> String {
    format!("rules/{:02}/rule-{at:06}.yar", at % 100)
}

fn manifest(files: usize) -> FileManifest {
    let file = |at: usize| (name(at), Hash::digest(&at.to_be_bytes()));
    FileManifest::new((0..files).map(file).collect()).expect("a manifest")
}

/// A generator that gives everybody the same choices: xorshift64.
struct Dice(u64);

impl Dice {
    fn choose(&mut self, count: usize, of: usize) -> BTreeSet<usize> {
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chosen.insert(usize::try_from(self.0 % of as u64).expect("below it"));
        }
        chosen
    }
}

fn prove(manifest: &FileManifest, chosen: &BTreeSet<usize>) -> FilesProof {
    FilesProof::new(manifest, chosen.iter().map(|at| manifest.files()[*at].0.as_str())).expect("a proof")
}

/// Bytes of a multi-proof in its file: the number of files, the indices, the hashes.
fn multi_proof_bytes(proof: &FilesProof) -> usize {
    let digits = |number: usize| number.to_string().len() + 1;
    let part = |part: &treehead::merkle::MultiProof| {
        part.indices.iter().map(|index| digits(*index)).sum::<usize>() + 32 * part.hashes.len()
    };
    "files ".len() + digits(proof.total()) + proof.parts().map(|(_, multi)| part(multi)).sum::<usize>()
}

#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn sizes() {
    println!(
        "\nrandom files of a manifest, {CHOICES} choices each (bytes of the multi-proof; of the whole file):"
    );
    println!("  of      files     mean   largest   whole file");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for of in [10_000, 100_000] {
        let manifest = manifest(of);
        for count in [1, 10, 100, MAX_MULTI_PROOF] {
            let choices = if count == MAX_MULTI_PROOF { CHOICES / 10 } else { CHOICES };
            let proofs: Vec<FilesProof> =
                (0..choices).map(|_| prove(&manifest, &dice.choose(count, of))).collect();
            let bytes: Vec<usize> = proofs.iter().map(multi_proof_bytes).collect();
            let mean = bytes.iter().sum::<usize>() as f64 / choices as f64;
            let whole = proofs.iter().map(|proof| proof.to_bytes().len()).sum::<usize>() / choices;
            println!("  {of:<7} {count:>5} {mean:>8.0} {:>9} {whole:>12}", bytes.iter().max().expect("one"));
            if (of, count) == (10_000, 10) {
                let kilobytes = mean / 1e3;
                println!("          (goal: at most {GOAL} kB in the mean; {kilobytes:.2} kB)");
            }
        }
    }
}

fn times() {
    let (old, mut dice) = (manifest(FILES), Dice(1));
    let mut files = old.files().to_vec();
    dice.choose(100, FILES).iter().for_each(|at| files[*at].1 = Hash::digest(b"changed"));
    let new = FileManifest::new(files).expect("a manifest");
    let (text, delta) = (old.to_string(), ManifestDelta::between(&old, &new));
    let parsed = median(15, || drop(black_box(FileManifest::parse(black_box(text.as_bytes())))));
    let applied = median(15, || drop(black_box(delta.apply(black_box(&old)))));
    println!("\na manifest of {FILES} files:");
    println!("  parsed                             {:8.2} ms", milliseconds(parsed));
    println!(
        "  a delta of 100 changes applied     {:8.2} ms, {} bytes",
        milliseconds(applied),
        delta.to_string().len()
    );
    let root = old.reference().root;
    for count in [1, 10, 100, MAX_MULTI_PROOF] {
        let bytes = prove(&old, &dice.choose(count, FILES)).to_bytes();
        let verified = median(51, || {
            let proof = FilesProof::parse(black_box(&bytes)).expect("a proof");
            for (files, multi) in proof.parts() {
                let leaves: Vec<Hash> =
                    files.iter().map(|(path, digest)| manifest_leaf(path, digest)).collect();
                multi.verify(&leaves, &root).expect("it holds");
            }
        });
        let hashes = (bytes.len() / 64 + count) * 2;
        let bare = median(51, || {
            for _ in 0..hashes {
                black_box(Hash::node(black_box(&root), black_box(&root)));
            }
        });
        println!(
            "  a proof of {count:>4} files verified      {:8.3} ms ({hashes} bare node hashes: {:.3} ms)",
            milliseconds(verified),
            milliseconds(bare)
        );
    }
}
