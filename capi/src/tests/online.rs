//! Verdicts that ask a log.

use std::ptr::null_mut;

use treehead::merkle::Hash;

use super::log::{Log, Search, fetch, leaves, own_proof};
use super::{NOW, fixture, question, trust, verdict};
use crate::*;

#[test]
fn a_log_that_grew_is_followed_and_one_that_forked_is_convicted() {
    let trust = trust(&fixture("witnessed.trust"));
    let mut small = Log::grown(&leaves(), 7);
    let proof = own_proof(&small, 2);
    let question = question(&proof);
    let mut verdict = verdict();
    let mut memory = null_mut();
    unsafe {
        assert_eq!(th_memory_new(&raw mut memory), th_status::TH_OK);
        let ask = |log: &mut Log, verdict: &mut th_verdict| {
            th_verify_online(trust, memory, &raw const question, Some(fetch), (&raw mut *log).cast(), verdict)
        };
        assert_eq!(ask(&mut small, &mut verdict), th_status::TH_OK);
        let search =
            "releases?limit=100&withdraws=39abc3fc22bdda303eb3321daf32a8ae8aac157473541b95e127f7d5373e5289";
        assert_eq!(small.requests, ["checkpoint", search], "the same head needs no tiles");
        assert_eq!(verdict.asked_for_withdrawals, 0, "the log has no search");
        // It grew: the tile proves it. A partial tile that is gone is asked for in full.
        let mut large = Log::grown(&leaves(), 200);
        assert_eq!(ask(&mut large, &mut verdict), th_status::TH_OK);
        assert_eq!(large.requests, ["checkpoint", "tile/0/000.p/200", search]);
        assert_eq!((verdict.asked_the_log, verdict.tree_size, verdict.cosigned), (1, 7, NOW - 30));
        let mut full = Log::grown(&leaves(), 256);
        let leaf = full.leaves.pop().unwrap();
        full.sign();
        full.leaves.push(leaf);
        full.requests.clear();
        let gone = |log: &mut Log, verdict: &mut th_verdict| {
            // The partial tile is gone.
            let mut check = null_mut();
            assert_eq!(
                th_check_new(trust, memory, &raw const question, &raw mut check, null_mut()),
                th_status::TH_OK
            );
            while th_check_requests(check) > 0 {
                let mut buffer = [0_u8; 128];
                let mut path = th_text { data: buffer.as_mut_ptr().cast(), capacity: 128, length: 0 };
                let mut most = 0;
                assert_eq!(th_check_request(check, 0, &raw mut path, &raw mut most), th_status::TH_OK);
                let name = std::str::from_utf8(&buffer[..path.length]).unwrap().to_owned();
                let (status, body) = if name.contains(".p/") { (404, Vec::new()) } else { log.get(&name) };
                assert!(body.len() <= most);
                assert_eq!(th_check_answer(check, 0, status, body.as_ptr(), body.len()), th_status::TH_OK);
            }
            let status = th_check_finish(check, memory, verdict);
            th_check_free(check);
            status
        };
        assert_eq!(gone(&mut full, &mut verdict), th_status::TH_OK);
        assert_eq!(full.requests, ["checkpoint", "tile/0/000", search]);
        // Wrong tiles prove nothing.
        let mut lying = Log::grown(&leaves(), 220);
        lying.leaves[100] = Hash::leaf(b"another");
        assert_eq!(ask(&mut lying, &mut verdict), th_status::TH_COULD_NOT_TELL);
        // It shrank.
        let mut shrunk = Log::grown(&leaves(), 199);
        assert_eq!(ask(&mut shrunk, &mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 629);
        // It forked, before the release or after it; the evidence holds.
        let mut forked = Log::grown(&leaves(), 230);
        forked.leaves[210] = Hash::leaf(b"another");
        forked.leaves[3] = Hash::leaf(b"another");
        forked.sign();
        assert_eq!(ask(&mut forked, &mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 627);
        let evidence =
            std::slice::from_raw_parts(th_blob_data(verdict.evidence), th_blob_length(verdict.evidence));
        let evidence = treehead::proof::fork::ForkEvidence::parse(evidence).unwrap();
        evidence.judge(&[forked.signer.public().clone()]).unwrap();
        th_verdict_clear(&raw mut verdict);
        // It stays refused, offline too, and by name from the memory's bytes.
        let mut blob = null_mut();
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_OK);
        let mut again = null_mut();
        let status =
            th_memory_from_bytes(th_blob_data(blob), th_blob_length(blob), &raw mut again, null_mut());
        assert_eq!(status, th_status::TH_OK);
        assert_eq!(th_verify(trust, again, &raw const question, &raw mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 627);
        th_verdict_clear(&raw mut verdict);
        th_blob_free(blob);
        th_memory_free(again);
        th_memory_free(memory);
        th_trust_free(trust);
    }
}

/// The verdict of a log about the fixtures' release, and the message.
fn online(log: &mut Log, memory: *mut th_memory) -> (th_status, u32, i32, String) {
    let trust = trust(&fixture("witnessed.trust"));
    let proof = own_proof(log, 2);
    let (question, mut verdict, mut buffer) = (question(&proof), verdict(), [0_u8; 512]);
    verdict.message = th_text { data: buffer.as_mut_ptr().cast(), capacity: buffer.len(), length: 0 };
    log.requests.clear();
    let status = unsafe {
        th_verify_online(
            trust,
            memory,
            &raw const question,
            Some(fetch),
            (&raw mut *log).cast(),
            &raw mut verdict,
        )
    };
    unsafe { th_trust_free(trust) };
    let message = std::ffi::CStr::from_bytes_until_nul(&buffer).unwrap().to_str().unwrap().to_owned();
    (status, verdict.reason, verdict.asked_for_withdrawals, message)
}

#[test]
fn a_withdrawn_release_is_refused_and_the_memory_knows_it() {
    let withdrawal = fixture("withdrawal.json");
    let mut memory = null_mut();
    unsafe {
        assert_eq!(th_memory_new(&raw mut memory), th_status::TH_OK);
        // Nothing is withdrawn: by the leaf, by the signer under its name and its key, and of the package.
        let mut log = Log::with_entries(&[]);
        let (status, _, asked, message) = online(&mut log, memory);
        assert_eq!((status, asked), (th_status::TH_OK, 1), "{message}");
        assert_eq!(log.requests.len(), 5, "{:?}", log.requests);
        let mut log = Log::with_entries(std::slice::from_ref(&withdrawal));
        let (status, reason, asked, message) = online(&mut log, memory);
        assert_eq!((status, asked), (th_status::TH_REFUSED, 0), "{message}");
        assert_eq!(reason, u32::from(treehead::endpoint::VerdictCode::Withdrawn.number()), "{message}");
        assert!(message.contains("it crashes on start"), "{message}");
        assert_eq!(log.requests.len(), 5, "the head, a tile, a search, two proofs: {:?}", log.requests);
        // Without the network, from the memory's bytes too.
        let (mut blob, mut again, mut verdict) = (null_mut(), null_mut(), verdict());
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_OK);
        let status =
            th_memory_from_bytes(th_blob_data(blob), th_blob_length(blob), &raw mut again, null_mut());
        assert_eq!(status, th_status::TH_OK);
        let (trust, proof) = (trust(&fixture("witnessed.trust")), own_proof(&log, 2));
        let question = question(&proof);
        assert_eq!(th_verify(trust, again, &raw const question, &raw mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, reason);
        th_blob_free(blob);
        th_memory_free(again);
        th_memory_free(memory);
        th_trust_free(trust);
    }
}

#[test]
fn a_log_that_leaves_doubt_about_withdrawals_is_no_verdict() {
    let (withdrawal, nothing) = (fixture("withdrawal.json"), null_mut());
    let of = |search: Search, entries: &[Vec<u8>]| {
        let mut log = Log::with_entries(entries);
        log.search = search;
        let (status, reason, asked, message) = online(&mut log, nothing);
        assert_eq!((status, reason, asked), (th_status::TH_COULD_NOT_TELL, 634, 0), "{message}");
        message
    };
    let bad = |text: &str| of(Search::Answers(200, text.to_owned()), &[]);
    assert!(of(Search::Answers(500, String::new()), &[]).contains("the log's releases: status 500"));
    assert!(of(Search::Answers(0, String::new()), &[]).contains("no answer"));
    assert!(bad("<html>").contains("strict JSON"));
    assert!(bad("[]").contains("an object"));
    assert!(bad(r#"{"tree_size":6,"releases":[]}"#).contains("an old answer"));
    let row = r#"{"index":1,"leaf_hash":"00","kind":"withdrawal"}"#;
    assert!(bad(&format!(r#"{{"tree_size":7,"releases":[{row}]}}"#)).contains("hex"));
    let rows = vec![row; 101].join(",");
    assert!(bad(&format!(r#"{{"tree_size":7,"releases":[{rows}]}}"#)).contains("at most 100 rows, saw 101"));
    // A search that does not go on, and one that does not end.
    assert!(bad(r#"{"tree_size":7,"releases":[],"next":9}"#).contains("before leaf 9"));
    assert!(of(Search::Endless(1_000), &[]).contains("did not end: 0 statements in 20 pages"));
    // It finds a withdrawal, but does not show it, or shows another entry.
    let missing = format!(
        r#"{{"tree_size":7,"releases":[{{"index":3,"leaf_hash":"{}","kind":"withdrawal"}}]}}"#,
        Hash::leaf(&withdrawal).to_hex()
    );
    assert!(bad(&missing).contains("proof/leaf/") && bad(&missing).contains("status 404"));
    // More than one run checks: here of statements that are none.
    let many: Vec<Vec<u8>> = (0..201).map(|n| format!("statement {n}").into_bytes()).collect();
    let message = of(Search::Finds((0..201).collect()), &many);
    assert!(message.contains("200 new ones, out of 201 statements"), "{message}");
    // One fewer is checked, and all are ignored.
    let mut log = Log::with_entries(&many[1..]);
    let (status, _, asked, message) = online(&mut log, nothing);
    assert_eq!((status, asked), (th_status::TH_OK, 1), "{message}");
}
