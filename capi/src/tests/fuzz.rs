//! Wrong inputs, through the functions of C.

use std::ptr::{null, null_mut};

use super::*;

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Calls everything that reads bytes from outside, and counts the statuses.
fn feed(trust: *mut th_trust, input: &[u8], counts: &mut std::collections::BTreeMap<i32, u64>) {
    unsafe {
        let mut count = |status: th_status| *counts.entry(status as i32).or_default() += 1;
        let mut buffer = [0x55_u8; 96];
        let text = |buffer: &mut [u8]| th_text {
            data: buffer.as_mut_ptr().cast(),
            capacity: buffer.len() - 1,
            length: 0,
        };
        let mut question = question(input);
        question.flags = TH_WANT_JSON;
        let mut verdict = verdict();
        verdict.message = text(&mut buffer);
        count(th_verify(trust, null_mut(), &raw const question, &raw mut verdict));
        assert_eq!(buffer[95], 0x55, "nothing is written beyond a text");
        assert!(
            std::ffi::CStr::from_bytes_until_nul(&buffer).unwrap().to_str().is_ok(),
            "cut at a character"
        );
        let json = std::slice::from_raw_parts(th_blob_data(verdict.json), th_blob_length(verdict.json));
        assert!(json.starts_with(b"{\"ok\":") && json.ends_with(b"}"));
        th_verdict_clear(&raw mut verdict);
        let mut made = null_mut();
        let status = th_trust_from_bytes(input.as_ptr(), input.len(), &raw mut made, &mut text(&mut buffer));
        count(status);
        if status == th_status::TH_OK {
            th_trust_free(made);
        }
        let status = th_trust_from_parts(
            input.as_ptr(),
            input.len(),
            null(),
            0,
            &raw mut made,
            &mut text(&mut buffer),
        );
        count(status);
        if status == th_status::TH_OK {
            th_trust_free(made);
        }
        // As the new file, and as a proof of it.
        let (current, new) = replaceable();
        for (new, proof) in [(input, input), (new, input)] {
            let proofs = [bytes(proof), bytes(proof)];
            let (new, length, mut reason) = (new.as_ptr(), new.len(), 7);
            let status = th_trust_succeed(
                current,
                new,
                length,
                proofs.as_ptr(),
                2,
                &raw mut made,
                &raw mut reason,
                &mut text(&mut buffer),
            );
            count(status);
            assert_eq!(status == th_status::TH_OK, reason == 0);
            if status == th_status::TH_OK {
                th_trust_free(made);
            }
        }
        let mut memory = null_mut();
        let status =
            th_memory_from_bytes(input.as_ptr(), input.len(), &raw mut memory, &mut text(&mut buffer));
        count(status);
        if status == th_status::TH_OK {
            th_memory_free(memory);
        }
        let proof = fixture_cached();
        let question = self::question(proof);
        let mut check = null_mut();
        count(th_check_new(trust, null_mut(), &raw const question, &raw mut check, null_mut()));
        count(th_check_answer(check, 0, 200, input.as_ptr(), input.len()));
        while th_check_requests(check) > 0 {
            count(th_check_answer(check, 0, 200, input.as_ptr(), input.len()));
        }
        count(th_check_finish(check, null_mut(), &raw mut verdict));
        th_verdict_clear(&raw mut verdict);
        th_check_free(check);
        // After the head, the answer to the search; after that, the proof of what it found.
        let found = format!(
            r#"{{"tree_size":5,"releases":[{{"index":4,"leaf_hash":"{}","kind":"withdrawal"}}]}}"#,
            Hash::leaf(b"something").to_hex()
        );
        for answers in [&[head_cached()][..], &[head_cached(), found.as_bytes()]] {
            count(th_check_new(trust, null_mut(), &raw const question, &raw mut check, null_mut()));
            let mut answers = answers.iter();
            while th_check_requests(check) > 0 {
                let answer = answers.next().copied().unwrap_or(input);
                count(th_check_answer(check, 0, 200, answer.as_ptr(), answer.len()));
            }
            count(th_check_finish(check, null_mut(), &raw mut verdict));
            th_verdict_clear(&raw mut verdict);
            th_check_free(check);
        }
    }
}

fn head_cached() -> &'static [u8] {
    static HEAD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    HEAD.get_or_init(|| fixture("checkpoint"))
}

/// A trust that can be replaced, and the file that replaces it. It is never freed.
fn replaceable() -> (*const th_trust, &'static [u8]) {
    static MADE: std::sync::OnceLock<(usize, Vec<u8>)> = std::sync::OnceLock::new();
    let (current, new) =
        MADE.get_or_init(|| (trust(&fixture("1.trust")).expose_provenance(), fixture("2.trust")));
    (std::ptr::with_exposed_provenance(*current), new)
}

fn fixture_cached() -> &'static [u8] {
    static PROOF: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PROOF.get_or_init(|| fixture("scanner.sh.tlog-proof"))
}

/// The fixtures' bytes, and a memory's.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut paths: Vec<PathBuf> = ["verify", "evidence"]
        .iter()
        .flat_map(|name| std::fs::read_dir(folder.join(name)).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "md"))
        .collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    unsafe {
        let (trust, proof) = (trust(&fixture("witnessed.trust")), fixture("scanner.sh.tlog-proof"));
        let (mut memory, mut blob, mut verdict) = (null_mut(), null_mut(), verdict());
        th_memory_new(&raw mut memory);
        let question = question(&proof);
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_OK);
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_OK);
        seeds.push(std::slice::from_raw_parts(th_blob_data(blob), th_blob_length(blob)).to_vec());
        th_blob_free(blob);
        th_memory_free(memory);
        th_trust_free(trust);
    }
    seeds
}

/// Every byte of every fixture is flipped once, and then many are cut and spliced. Nothing panics, and nothing that was
/// changed is accepted as what it was. `TREEHEAD_FUZZ_ROUNDS=1000000` does more.
#[test]
fn no_input_panics() {
    let trust = trust(&fixture("witnessed.trust"));
    let (seeds, mut counts) = (seeds(), std::collections::BTreeMap::new());
    let mut flips = 0_u64;
    for seed in &seeds {
        // A flip in each byte of small files; of large ones, mostly keys and signatures, in every seventh.
        for at in (0..seed.len()).step_by(if seed.len() > 4_096 { 7 } else { 1 }) {
            let mut bytes = seed.clone();
            bytes[at] ^= 1 << (at % 8);
            feed(trust, &bytes, &mut counts);
            flips += 1;
        }
    }
    let rounds: u64 = std::env::var("TREEHEAD_FUZZ_ROUNDS").map_or(3_000, |rounds| rounds.parse().unwrap());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        let (one, other) = (&seeds[dice.throw(seeds.len())], &seeds[dice.throw(seeds.len())]);
        let (from, to) = (dice.throw(one.len() + 1), dice.throw(one.len() + 1));
        let (start, length) = (dice.throw(other.len() + 1), dice.throw(200));
        let piece = &other[start..(start + length).min(other.len())];
        let mut bytes = [&one[..from.min(to)], piece, &one[from.max(to).min(one.len())..]].concat();
        for _ in 0..dice.throw(4) {
            let length = bytes.len();
            if length > 0 {
                bytes[dice.throw(length)] = u8::try_from(dice.throw(256)).unwrap();
            }
        }
        feed(trust, &bytes, &mut counts);
    }
    unsafe { th_trust_free(trust) };
    println!("{flips} flips, {rounds} splices, through 7 sequences of calls each; statuses: {counts:?}");
    assert!(counts[&(th_status::TH_REFUSED as i32)] > 1_000);
    assert!(!counts.contains_key(&(th_status::TH_INVALID_ARGUMENT as i32)), "{counts:?}");
}
