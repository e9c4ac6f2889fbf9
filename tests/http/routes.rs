//! Rules for all routes: methods, unknown routes, health.

use treehead::checkpoint::Checkpoint;
use treehead::merkle::Hash;
use treehead::proof::ProofFile;

use crate::common::http::{exchange, request};
use crate::common::log::{ORIGIN, Served, never_publishing, numbered};
use crate::common::releases::{scanner, signed, vendor_toml};

/// Each route once, with a valid path for a log of three entries.
const GET_ROUTES: [&str; 11] = [
    "/checkpoint",
    "/tile/0/000.p/3",
    "/tile/entries/000.p/3",
    "/proof/inclusion/3/0",
    "/proof/consistency/1/3",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/",
    "/explorer/app.js",
    "/proof/leaf/0d1d1b1cc20b4a6b5c4a3fdd3ae9f2ad4d4e1a2b3c4d5e6f708192a3b4c5d6e7",
];

#[test]
fn a_method_that_a_route_does_not_have_is_a_problem_that_names_those_it_has() {
    let log = Served::opaque();
    log.add_all(&numbered(3));
    for path in GET_ROUTES.iter().chain(&["/releases"]) {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let reply = exchange(log.address, &request(method, path, &[], b""));
            assert!(reply.problem(405, "wrong-method").contains(method), "{path}");
            assert_eq!(reply.header("allow"), Some("GET,HEAD"), "RFC 9110 section 15.5.6, {path}");
        }
    }
    for path in ["/add", "/add-batch"] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let reply = exchange(log.address, &request(method, path, &[], b""));
            assert_eq!(reply.header("allow"), Some("POST"), "{path}");
            if method != "HEAD" {
                reply.problem(405, "wrong-method");
            }
        }
    }
    assert_eq!(log.tree_size(), 3);
}

#[test]
fn what_is_no_route_is_a_problem_that_quotes_it_harmlessly() {
    let log = Served::opaque();
    for path in [
        "/nothing",
        "/add/",
        "/checkpoint/",
        "//checkpoint",
        "/tile",
        "/tile/0",
        "/proof",
        "/proof/leaf",
        "/proof/inclusion/1",
        "/proof/inclusion/1/2/3",
        "/releases/x",
        "/..%2fcheckpoint",
        "/%1b[31m",
    ] {
        for method in ["GET", "POST"] {
            let detail = exchange(log.address, &request(method, path, &[], b"")).problem(404, "no-route");
            assert!(detail.contains("docs/http.md") && !detail.contains('\u{1b}'), "{detail}");
        }
    }
    let long = format!("/{}", "x".repeat(4_000));
    assert!(log.get(&long).problem(404, "no-route").len() < 200, "long paths are cut short");
}

#[test]
fn head_answers_like_get_without_a_body() {
    let log = Served::opaque();
    log.add_all(&numbered(3));
    for path in &GET_ROUTES[..10] {
        let (get, head) = (log.get(path), exchange(log.address, &request("HEAD", path, &[], b"")));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("cache-control"), get.header("cache-control"));
    }
}

#[test]
fn each_answer_says_what_caches_may_do_with_it() {
    let log = Served::release(&vendor_toml());
    log.add_all(&[signed(&scanner(1), 1), signed(&scanner(2), 1)]);
    let leaf = Hash::leaf(&signed(&scanner(1), 1)).to_hex();
    let immutable = "public, max-age=31536000, immutable";
    for (path, rule) in [
        ("/checkpoint", "no-cache"),
        ("/tile/0/000.p/2", immutable),
        ("/tile/entries/000.p/2", immutable),
        ("/proof/inclusion/2/0", immutable),
        ("/proof/consistency/1/2", immutable),
        (&format!("/proof/leaf/{leaf}"), "no-store"),
        ("/releases", "no-store"),
        ("/releases?kind=build", "no-store"),
        ("/sequence?publisher=vendor&package=pkg:generic/example/scanner&channel=stable", "no-store"),
        ("/healthz", "no-store"),
        ("/metrics", "no-store"),
        ("/openapi.json", "no-cache"),
    ] {
        let reply = log.get(path);
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some(rule)), "{path}");
    }
    // A 404 may become a 200 soon, so caches must not keep it.
    for path in ["/proof/inclusion/3/0", "/proof/consistency/1/3", "/tile/0/000.p/3", "/nothing"] {
        let reply = log.get(path);
        assert_eq!((reply.status, reply.header("cache-control")), (404, Some("no-store")), "{path}");
    }
    let added = log.post("/add", &signed(&scanner(3), 1));
    assert_eq!((added.status, added.header("cache-control")), (200, Some("no-store")));
}

#[test]
fn pages_of_any_site_may_read_what_is_public() {
    let log = Served::release(&vendor_toml());
    log.add_all(&[signed(&scanner(1), 1)]);
    let leaf = Hash::leaf(&signed(&scanner(1), 1)).to_hex();
    for path in [
        "/checkpoint",
        "/tile/0/000.p/1",
        "/tile/0/000.p/9",
        "/tile/entries/000.p/1",
        "/proof/inclusion/1/0",
        "/proof/inclusion/9/0",
        "/proof/consistency/1/1",
        &format!("/proof/leaf/{leaf}"),
        "/releases",
        "/releases?limit=x",
        "/sequence?publisher=vendor&package=pkg:generic/example/scanner&channel=stable",
        "/healthz",
        "/openapi.json",
    ] {
        let reply = log.get(path);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(reply.header("access-control-expose-headers"), Some("etag, retry-after"), "{path}");
    }
    let added = log.post("/add", &signed(&scanner(2), 1));
    for reply in [added, log.get("/metrics"), log.get("/nothing")] {
        assert_eq!(reply.header("access-control-allow-origin"), None, "{reply}");
    }
}

#[test]
fn what_answers_a_question_about_today_says_for_which_tree() {
    let log = Served::release(&vendor_toml());
    for size in 1..=3 {
        log.post("/add", &signed(&scanner(size), 1));
        assert_eq!(log.get("/releases").json()["tree_size"], size);
        assert_eq!(log.get("/releases?version=9").json()["tree_size"], size, "also where nothing was found");
        assert_eq!(log.get("/healthz").json()["published_size"], size);
        let leaf = Hash::leaf(&signed(&scanner(1), 1)).to_hex();
        let proof = ProofFile::parse(&log.get(&format!("/proof/leaf/{leaf}")).body).unwrap();
        let head = Checkpoint::parse(proof.checkpoint.text()).unwrap();
        assert_eq!(head.size.get(), size);
        let detail = log.get(&format!("/proof/leaf/{}", "00".repeat(32))).problem(404, "not-found");
        assert!(detail.contains(&format!("the published tree of size {size}")), "{detail}");
    }
}

#[test]
fn health_tells_what_is_durable_and_what_is_published() {
    let log = Served::opaque_with(never_publishing());
    assert_eq!(log.post("/add?wait=sequenced", b"an entry").text(), "0");
    let reply = log.get("/healthz");
    let health = reply.json();
    assert_eq!((&health["status"], &health["profile"]), (&"ok".into(), &"opaque".into()));
    assert_eq!(health["origin"], ORIGIN);
    assert_eq!((&health["tree_size"], &health["published_size"]), (&1.into(), &0.into()));
    assert!(health["published_seconds_ago"].as_u64().is_some_and(|seconds| seconds < 60), "{health}");
    assert_eq!(health.get("faults"), None);
}
