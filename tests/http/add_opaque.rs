//! `POST /add` to an opaque log: any bytes are an entry.

use std::io::Write as _;
use std::time::Duration;

use treehead::merkle::{Hash, LeafIndex, verify_inclusion};
use treehead::proof::ProofFile;

use crate::common::http::{Reply, connect, exchange, read_reply, request};
use crate::common::log::{Served, eventually, never_publishing, vkey};

fn add(log: &Served, query: &str, accept: &str, body: &[u8]) -> Reply {
    exchange(log.address, &request("POST", &format!("/add{query}"), &[("Accept", accept)], body))
}

#[test]
fn an_entry_gets_its_index_in_the_form_that_was_asked_for() {
    let log = Served::opaque();
    let reply = log.post("/add", b"zero");
    assert_eq!((reply.status, reply.text()), (200, "0"), "without Accept: a decimal, nothing else");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    for (index, accept) in
        ["text/plain", "*/*", "text/*", "TEXT/PLAIN", "image/png, text/plain;q=0.5", "application/xml , */*"]
            .iter()
            .enumerate()
    {
        let reply = add(&log, "", accept, accept.as_bytes());
        assert_eq!((reply.status, reply.text()), (200, (index + 1).to_string().as_str()), "{accept}");
    }
    let json = add(&log, "", "application/json", b"seven").json();
    assert_eq!(json["index"], 7);
    assert_eq!(json["leaf_hash"], Hash::leaf(b"seven").to_hex());
    assert_eq!(json["duplicate"], false);
    assert!(json["tree_size"].as_u64().is_some_and(|size| size >= 8), "a published tree that has it: {json}");
    assert_eq!(json.get("error"), None);
}

#[test]
fn a_proof_that_is_asked_for_by_accept_verifies_with_the_log_s_key_alone() {
    let log = Served::opaque();
    for (index, entry) in ["one", "two", "three"].iter().enumerate() {
        let reply = add(&log, "", "text/x-tlog-proof", entry.as_bytes());
        assert_eq!(reply.header("content-type"), Some("text/x-tlog-proof; charset=utf-8"));
        let proof = ProofFile::parse(&reply.body).expect("a proof file");
        assert_eq!(proof.to_string().as_bytes(), reply.body);
        assert_eq!(proof.extra.as_deref(), Some(entry.as_bytes()));
        assert_eq!(Some(proof.index), LeafIndex::new(index as u64));
        let note = proof.checkpoint.to_string();
        let head = treehead::checkpoint::open(note.as_bytes(), &[vkey()]).expect("signed by the log");
        let (size, root) = (head.get().size, head.get().root);
        verify_inclusion(proof.index, size, &Hash::leaf(entry.as_bytes()), &proof.proof, &root).unwrap();
    }
}

#[test]
fn a_proof_waits_for_publication_whatever_state_was_asked_for() {
    let log = Served::opaque();
    let reply = add(&log, "?wait=sequenced", "text/x-tlog-proof", b"an entry");
    let proof = ProofFile::parse(&reply.body).expect("a proof file");
    assert!(treehead::checkpoint::Checkpoint::parse(proof.checkpoint.text()).unwrap().size.get() >= 1);
}

#[test]
fn a_duplicate_gets_its_first_index_and_appends_nothing() {
    let log = Served::opaque();
    for entry in [b"a".as_slice(), b"b", b"c"] {
        assert_eq!(log.post("/add", entry).status, 200);
    }
    let head = log.head();
    for _ in 0..3 {
        assert_eq!(log.post("/add", b"b").text(), "1");
    }
    let json = log.post_json("/add", b"b");
    assert_eq!((&json["index"], &json["duplicate"]), (&1.into(), &true.into()));
    let proof = ProofFile::parse(&add(&log, "", "text/x-tlog-proof", b"b").body).expect("a proof file");
    assert_eq!(proof.index.get(), 1);
    assert_eq!(log.head(), head, "not even a new checkpoint");
}

#[test]
fn an_entry_may_have_65535_bytes_and_not_one_more() {
    let log = Served::opaque();
    assert_eq!(log.post("/add", &[0xff; 65_535]).text(), "0", "as many as a bundle's length can say");
    let detail = log.post("/add", &[0xff; 65_536]).problem(413, "too-large");
    assert!(detail.contains("65535 bytes, saw 65536"), "{detail}");
    let detail = log.post("/add", b"").problem(400, "malformed");
    assert!(detail.contains("expected a body, saw none"), "{detail}");
    assert_eq!(log.tree_size(), 1);
    assert_eq!(log.get("/tile/entries/000.p/1").body, [vec![0xff; 2], vec![0xff; 65_535]].concat());
}

#[test]
fn an_encoded_body_is_refused_rather_than_logged_as_it_is() {
    let log = Served::opaque();
    for encoding in ["gzip", "identity", "br, gzip"] {
        let bytes = request("POST", "/add", &[("Content-Encoding", encoding)], b"\x1f\x8b");
        let detail = exchange(log.address, &bytes).problem(415, "encoded");
        assert!(detail.contains(encoding), "{detail}");
    }
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn an_answer_that_is_not_on_offer_is_406_before_anything_is_appended() {
    let log = Served::opaque();
    for accept in ["application/xml", "image/*", "", "text", "application/*"] {
        let detail = add(&log, "", accept, b"an entry").problem(406, "not-acceptable");
        assert!(detail.contains("text/plain, application/json, text/x-tlog-proof"), "{detail}");
    }
    assert_eq!(log.tree_size(), 0);
}

#[test]
fn the_state_to_wait_for_is_one_of_two_and_given_once() {
    let log = Served::opaque();
    for (index, query) in ["", "?", "?wait=sequenced", "?wait=published"].iter().enumerate() {
        let reply = log.post(&format!("/add{query}"), format!("with {query}").as_bytes());
        assert_eq!((reply.status, reply.text()), (200, index.to_string().as_str()), "{query}");
    }
    for query in [
        "?wait=",
        "?wait",
        "?wait=witnessed",
        "?wait=Published",
        "?wait=published%20",
        "?wait=sequenced&wait=sequenced",
        "?wait=sequenced&wait=published",
        "?wat=published",
        "?wait=published&also=this",
        "?%ff",
    ] {
        for route in ["/add", "/add-batch"] {
            let detail = log.post(&format!("{route}{query}"), b"\0\x05entry").problem(400, "malformed");
            assert!(detail.contains("?wait=sequenced or ?wait=published"), "{query}: {detail}");
        }
    }
    assert_eq!(log.tree_size(), 4);
}

#[test]
fn sequenced_is_answered_before_publication_and_published_is_not() {
    let log = Served::opaque_with(never_publishing());
    let json = log.post_json("/add?wait=sequenced", b"an entry");
    assert_eq!((&json["index"], json.get("tree_size")), (&0.into(), None), "{json}");
    assert_eq!(log.head().size.get(), 0);
    // This request waits for a publication that never comes, so it has no answer yet.
    let mut stream = connect(log.address);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(&request("POST", "/add?wait=published", &[], b"two")).unwrap();
    let early = read_reply(&mut stream, false);
    assert!(early.is_err(), "{early:?}");
    eventually("it is sequenced all the same", || log.tree_size() == 2);
}
