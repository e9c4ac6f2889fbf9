//! A log that is mounted in another program's axum application.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::sync::oneshot;
use treehead::merkle::{Hash, LeafIndex, TreeSize, verify_inclusion};
use treehead::server::{self, Profile};

use crate::common::http::{self, exchange, request};
use crate::common::log::{open, quick};

/// Runs `test` against an application that has a page of its own and a log below `/log`.
pub fn with_application(named_peers: bool, test: impl FnOnce(SocketAddr) + Send + 'static) {
    let temp = tempfile::tempdir().unwrap();
    let log = open(temp.path(), Profile::Opaque, quick()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let application = Router::new()
            .route("/", get(|| async { "the application's own page" }))
            .nest("/log", server::router(log.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(async move {
            if named_peers {
                let service = application.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).with_graceful_shutdown(stopped).await
            } else {
                axum::serve(listener, application).with_graceful_shutdown(stopped).await
            }
        });
        tokio::task::spawn_blocking(move || test(address)).await.unwrap();
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
        log.shut_down().await.unwrap();
    });
    drop((runtime, log));
    // Everything is durable, and the store is free again.
    let log = open(temp.path(), Profile::Opaque, quick()).unwrap();
    assert!(log.sequencer().reader().size() >= TreeSize::new(1).unwrap());
}

#[test]
fn an_embedded_log_appends_and_is_read_like_one_that_is_served_alone() {
    for named_peers in [true, false] {
        with_application(named_peers, |address| {
            assert_eq!(http::get(address, "/").text(), "the application's own page");
            assert_eq!(http::post(address, "/log/add", b"first").text(), "0");
            assert_eq!(http::post(address, "/log/add", b"second").text(), "1");
            assert_eq!(http::post(address, "/log/add", b"first").text(), "0", "a duplicate");
            let checkpoint = http::get(address, "/log/checkpoint");
            assert!(checkpoint.text().contains("\n2\n"), "{checkpoint}");
            assert_eq!(checkpoint.header("cache-control"), Some("no-cache"));
            let tile = http::get(address, "/log/tile/0/000.p/2");
            assert_eq!(
                tile.body,
                [*Hash::leaf(b"first").as_bytes(), *Hash::leaf(b"second").as_bytes()].concat()
            );
            assert_eq!(http::get(address, "/log/tile/entries/000.p/2").body, b"\0\x05first\0\x06second");
            proves_inclusion(address);
            assert_eq!(http::get(address, "/log/healthz").json()["tree_size"], 2);
            assert!(http::get(address, "/log/metrics").text().contains("\ntreehead_log_tree_size 2\n"));
        });
    }
}

fn proves_inclusion(address: SocketAddr) {
    let proof = http::get(address, "/log/proof/inclusion/2/1").json();
    let hash = |value: &serde_json::Value| Hash::from_base64(value.as_str().unwrap()).unwrap();
    let hashes: Vec<Hash> = proof["hashes"].as_array().unwrap().iter().map(hash).collect();
    let (index, size) = (LeafIndex::new(1).unwrap(), TreeSize::new(2).unwrap());
    let root = hash(&proof["root_hash"]);
    verify_inclusion(index, size, &Hash::leaf(b"second"), &hashes, &root).unwrap();
}

#[test]
fn an_embedded_log_refuses_what_one_that_is_served_alone_refuses() {
    with_application(true, |address| {
        http::post(address, "/log/add", b"an entry");
        http::get(address, "/log/nothing").problem(404, "no-route");
        http::get(address, "/log/add").problem(405, "wrong-method");
        http::get(address, "/log/tile/0/000.p/9").problem(404, "not-found");
        http::post(address, "/log/add", &[0; 70_000]).problem(413, "too-large");
        http::post(address, "/log/add", b"").problem(400, "malformed");
        let gzipped = request("POST", "/log/add", &[("Content-Encoding", "gzip")], b"x");
        exchange(address, &gzipped).problem(415, "encoded");
        assert_eq!(http::get(address, "/nothing").status, 404, "the application's own answer");
        assert!(http::get(address, "/nothing").body.is_empty());
    });
}
