//! Through the functions of C: a growing log and a forked one, and many wrong inputs.

mod fuzz;
mod log;
mod online;
mod trees;

use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use treehead::merkle::Hash;

use crate::*;

const NOW: u64 = 1_770_000_060;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/verify").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn bytes(of: &[u8]) -> th_bytes {
    th_bytes { data: of.as_ptr(), length: of.len() }
}

fn question(proof: &[u8]) -> th_question {
    // SAFETY: zeroes are a question.
    let mut question: th_question = unsafe { std::mem::zeroed() };
    question.struct_size = size_of::<th_question>();
    question.sha256 = *Hash::digest(&fixture("scanner.sh")).as_bytes();
    question.proof = bytes(proof);
    question.now = NOW;
    question
}

fn verdict() -> th_verdict {
    // SAFETY: zeroes are a verdict.
    let mut verdict: th_verdict = unsafe { std::mem::zeroed() };
    verdict.struct_size = size_of::<th_verdict>();
    verdict
}

fn trust(file: &[u8]) -> *mut th_trust {
    let mut trust = null_mut();
    let status = unsafe { th_trust_from_bytes(file.as_ptr(), file.len(), &raw mut trust, null_mut()) };
    assert_eq!(status, th_status::TH_OK);
    trust
}

#[test]
fn a_memory_that_is_in_use_turns_others_away_and_a_freed_object_is_noticed() {
    use crate::object::Handle as _;
    unsafe {
        let mut memory = null_mut();
        assert_eq!(th_memory_new(&raw mut memory), th_status::TH_OK);
        let held = th_memory::lock(memory).unwrap();
        let mut blob = null_mut();
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_BUSY);
        let (trust, proof) = (trust(&fixture("witnessed.trust")), fixture("scanner.sh.tlog-proof"));
        let (question, mut verdict) = (question(&proof), verdict());
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_BUSY);
        drop(held);
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_OK);
        th_trust_free(trust);
        th_memory_free(memory);
        assert_eq!(th_memory_to_bytes(null_mut(), null_mut()), th_status::TH_INVALID_ARGUMENT);
    }
}

#[test]
fn bundles_are_taken_like_proof_files_and_the_gate_of_a_trust_file_is_applied() {
    use treehead::proof::{ProofBundle, ProofFile};
    let file = ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    let bundle = ProofBundle::join(&[file]).unwrap().to_string();
    let plain = fixture("witnessed.trust");
    let gate = r#""gate":[{"at_least":1,"attestation":"provenance","from":["vendor"],"purls":["pkg:generic/example/*"]}],"number""#;
    let gated = String::from_utf8(plain.clone()).unwrap().replacen("\"number\"", gate, 1);
    let gated = gated.replacen("\"build\",\"update\"", "\"build\",\"update\",\"provenance\"", 1);
    unsafe {
        let (plain, gated) = (trust(&plain), trust(gated.as_bytes()));
        let (asked, mut first, mut second) = (question(bundle.as_bytes()), verdict(), verdict());
        let questions = [&raw const asked, &raw const asked];
        let verdicts = [&raw mut first, &raw mut second];
        let many = |trust| th_verify_many(trust, null_mut(), questions.as_ptr(), verdicts.as_ptr(), 2);
        assert_eq!(many(plain), th_status::TH_OK);
        assert_eq!((first.index, second.index), (2, 2));
        assert_eq!(many(gated), th_status::TH_REFUSED);
        assert_eq!((first.reason, second.reason), (635, 635));
        let proof = fixture("scanner.sh.tlog-proof");
        let asked = question(&proof);
        assert_eq!(th_verify(gated, null_mut(), &raw const asked, &raw mut first), th_status::TH_REFUSED);
        assert_eq!(first.reason, 635);
        // What was read is what is written.
        let mut blob = null_mut();
        assert_eq!(th_trust_to_bytes(gated, &raw mut blob), th_status::TH_OK);
        th_blob_free(blob);
        th_trust_free(plain);
        th_trust_free(gated);
    }
}
