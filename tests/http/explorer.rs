//! The explorer's page and files: headers, and what the page may load and ask.

use treehead::endpoint::TrustFile;

use crate::common::http::{Reply, exchange, get, request};
use crate::common::log::{ORIGIN, Served, numbered};
use crate::common::releases::vendor_toml;

/// The files that the page and its modules name.
fn named(text: &str, before: &str) -> Vec<String> {
    let names = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
    names.map(ToOwned::to_owned).collect()
}

fn asked(log: &Served, path: &str, headers: &[(&str, &str)]) -> Reply {
    exchange(log.address, &request("GET", path, headers, b""))
}

#[test]
fn the_page_may_load_and_ask_only_its_own_log() {
    let log = Served::opaque();
    let page = log.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert_eq!(
        policy,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    // Nothing inline, and nothing from elsewhere.
    let html = page.text();
    for inline in ["<style", " style=", " onclick", "<script>", "javascript:", "https://log.example.com/log"]
    {
        assert!(!html.contains(inline), "{inline}");
    }
    assert!(named(html, "src=\"").iter().all(|name| name.starts_with("./explorer/")), "{html}");
}

#[test]
fn every_file_that_is_named_is_there() {
    let log = Served::opaque();
    let (mut files, mut seen) = (named(log.get("/").text(), "\"./explorer/"), Vec::new());
    assert!(files.len() > 3);
    files.push("treehead.wasm".to_owned());
    while let Some(name) = files.pop() {
        if seen.contains(&name) {
            continue;
        }
        let reply = log.get(&format!("/explorer/{name}"));
        assert_eq!(reply.status, 200, "{name}");
        let media_type = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "wasm" => "application/wasm",
            other => panic!("{other}"),
        };
        assert_eq!(reply.header("content-type"), Some(media_type), "{name}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        if media_type == "text/javascript; charset=utf-8" {
            files.extend(named(reply.text(), "from \"./"));
        }
        seen.push(name);
    }
    assert!(seen.len() > 15, "{seen:?}");
    for path in ["/explorer/nothing.js", "/explorer/mod.rs", "/explorer/..%2fcheckpoint", "/explorer/"] {
        log.get(path).problem(404, "no-route");
    }
}

#[test]
fn a_browser_keeps_files_and_asks_before_it_uses_them_again() {
    let log = Served::opaque();
    for path in ["/", "/explorer/app.js", "/explorer/treehead.wasm", "/explorer/endpoint.trust"] {
        let reply = log.get(path);
        let tag = reply.header("etag").unwrap();
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-cache")), "{path}");
        for tags in [tag.to_owned(), format!("\"x\", {tag}"), format!("W/{tag}")] {
            let again = asked(&log, path, &[("If-None-Match", &tags)]);
            assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
        }
        assert_eq!(asked(&log, path, &[("If-None-Match", "\"x\"")]).status, 200);
    }
    let whole = log.get("/explorer/app.js");
    let zipped = asked(&log, "/explorer/app.js", &[("Accept-Encoding", "gzip")]);
    assert_eq!(
        (zipped.header("content-encoding"), zipped.header("vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*zipped.body), &mut text).unwrap();
    assert_eq!(text, whole.text());
}

#[test]
fn the_page_may_ask_the_log_that_its_address_names() {
    let log = Served::opaque();
    for (query, origin) in [
        ("log=https://log.example.com/a/b/", "https://log.example.com"),
        ("log=http%3A%2F%2F127.0.0.1%3A8080", "http://127.0.0.1:8080"),
    ] {
        let page = log.get(&format!("/?{query}"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("; connect-src 'self' {origin}; ")), "{policy}");
    }
    for query in [
        "log=x",
        "log=",
        "log=ftp://a/",
        "log=https://a%3B%20script-src%20*",
        "log=https://u@a/",
        "log=a&log=b",
    ] {
        log.get(&format!("/?{query}")).problem(400, "malformed");
    }
    // Other parameters are for the page.
    assert_eq!(log.get("/?again").status, 200);
}

#[test]
fn the_log_says_whose_it_is() {
    let log = Served::release(&vendor_toml());
    let reply = log.get("/explorer/endpoint.trust");
    let file = TrustFile::parse(&reply.body).unwrap();
    let trust = file.trust();
    assert_eq!(trust.publishers.list()[0].name, "vendor");
    assert_eq!(trust.policy.log_keys()[0].log().to_string(), ORIGIN);
    // Pages of other sites that are pointed at this log read it, too.
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(log.get("/").header("access-control-allow-origin"), None);
    let log = Served::opaque();
    log.add_all(&numbered(1));
    let file = TrustFile::parse(&log.get("/explorer/endpoint.trust").body).unwrap();
    assert!(file.trust().publishers.list().is_empty());
}

#[test]
fn in_another_application_the_page_finds_its_files() {
    crate::embedded::with_application(true, |address| {
        http_add(address);
        let page = get(address, "/log");
        assert_eq!(page.status, 200, "{page}");
        for name in named(page.text(), "\"./log/explorer/") {
            assert_eq!(get(address, &format!("/log/explorer/{name}")).status, 200, "{name}");
        }
        assert!(page.text().contains("\"./log/checkpoint\"") && !page.text().contains("\"./explorer"));
    });
}

fn http_add(address: std::net::SocketAddr) {
    assert_eq!(crate::common::http::post(address, "/log/add", b"an entry").text(), "0");
}
