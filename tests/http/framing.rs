//! Requests with contradictory or unsupported framing.

use crate::common::framing::{nothing_is_smuggled, only_chunked_is_understood, with_codings};
use crate::common::http::exchange;
use crate::common::log::Served;

#[test]
fn only_chunked_bodies_are_understood() {
    let log = Served::opaque();
    only_chunked_is_understood(log.address, "/add");
    only_chunked_is_understood(log.address, "/add-batch");
    assert_eq!(log.tree_size(), 0);
    for codings in [&["chunked"][..], &["Chunked"], &[" \tCHUNKED "]] {
        assert_eq!(exchange(log.address, &with_codings("/add", codings)).text(), "0");
    }
    assert_eq!(log.get("/tile/entries/000.p/1").body, b"\0\x05entry");
}

#[test]
fn nothing_is_smuggled_behind_a_request_that_ends_in_two_places() {
    let log = Served::opaque();
    nothing_is_smuggled(log.address, "/add");
    // By RFC 9112 section 6.3, chunks override a length; that body was `entry`.
    assert_eq!(log.tree_size(), 1);
    assert_eq!(log.get("/tile/entries/000.p/1").body, b"\0\x05entry");
}
