//! The explorer at `/`: a page that checks the log in the reader's browser. docs/explorer.md describes it.
//!
//! Its files are plain ES modules and CSS, embedded as they are. The policy of the page lets it load and ask nothing but
//! this server, and another log if its address names one.

#[cfg(feature = "cli")]
mod export;
mod trust;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{HINTS, Log, Problem};
use crate::format::{FormatError, quote};
use crate::http::{cache, gzip};
use crate::merkle::Hash;

#[cfg(feature = "cli")]
pub(crate) use export::{export, parse_other};
pub(crate) use trust::{own_policy, trust_file};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page. Its references begin with `./`, the log's URL prefix.
const PAGE: &str = include_str!("index.html");

/// Name, media type and content of each file below `explorer/`.
const FILES: [(&str, &str, &[u8]); 21] = [
    ("app.js", SCRIPT, include_bytes!("app.js")),
    ("dom.js", SCRIPT, include_bytes!("dom.js")),
    ("draw.js", SCRIPT, include_bytes!("draw.js")),
    ("head.js", SCRIPT, include_bytes!("head.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("icon.svg")),
    ("leaf.js", SCRIPT, include_bytes!("leaf.js")),
    ("log.js", SCRIPT, include_bytes!("log.js")),
    ("memory.js", SCRIPT, include_bytes!("memory.js")),
    ("overview.js", SCRIPT, include_bytes!("overview.js")),
    ("package.js", SCRIPT, include_bytes!("package.js")),
    ("proofs.js", SCRIPT, include_bytes!("proofs.js")),
    ("releases.js", SCRIPT, include_bytes!("releases.js")),
    ("review.js", SCRIPT, include_bytes!("review.js")),
    ("rows.js", SCRIPT, include_bytes!("rows.js")),
    ("style.css", STYLE, include_bytes!("style.css")),
    ("treehead.js", SCRIPT, include_bytes!("../../../wasm/treehead.js")),
    ("treehead.wasm", "application/wasm", include_bytes!("../../../wasm/treehead.wasm")),
    ("trust.js", SCRIPT, include_bytes!("trust.js")),
    ("verify.js", SCRIPT, include_bytes!("verify.js")),
    ("views.css", STYLE, include_bytes!("views.css")),
    ("words.js", SCRIPT, include_bytes!("words.js")),
];

/// Name of the file that says what the log says of its keys, witnesses and publishers.
const TRUST: &str = "endpoint.trust";

/// The parameters of the page.
#[derive(Debug, Deserialize)]
struct PageQuery {
    /// Another log to look at.
    log: Option<String>,
}

pub async fn page(
    OriginalUri(original): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expected = "log, the address of another log";
    let query = Query::<PageQuery>::try_from_uri(&uri);
    let Query(query) =
        query.map_err(|e| FormatError::malformed("a query", expected, quote(&e.to_string())))?;
    let other = query.log.as_deref().map(origin_of).transpose()?;
    let html = PAGE.replace("\"./", &format!("\"{}", prefix(original.path())));
    let mut answer = with_tag(&headers, HTML, html.into_bytes().into(), None);
    let policy = content_policy(other.as_slice(), "; frame-ancestors 'none'");
    let policy = HeaderValue::from_str(&policy).expect("an origin of plain characters");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(answer)
}

pub async fn file(
    State(log): State<Log>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if name == TRUST {
        let file = trust_file(log.policy(), &log.publishers())?;
        return Ok(with_tag(&headers, "application/json", file.into(), None));
    }
    let at = FILES.iter().position(|(known, ..)| *known == name);
    let at = at.ok_or_else(|| Problem::Request(HINTS.no_route(&uri)))?;
    let (_, media_type, content) = FILES[at];
    Ok(with_tag(&headers, media_type, Bytes::from_static(content), COMPRESSED[at].as_deref()))
}

/// The files as gzip, where that is shorter.
static COMPRESSED: LazyLock<Vec<Option<Vec<u8>>>> =
    LazyLock::new(|| FILES.iter().map(|(.., content)| gzip::compress(content)).collect());

/// An answer that a browser keeps, and asks about before it uses it again.
fn with_tag(
    asked: &HeaderMap,
    media_type: &'static str,
    content: Bytes,
    gzipped: Option<&'static [u8]>,
) -> Response {
    let tag = format!("\"{}\"", &Hash::digest(&content).to_hex()[..32]);
    let has_it = |seen: &HeaderValue| {
        seen.to_str().is_ok_and(|seen| seen.split(", ").any(|one| one.trim_start_matches("W/") == tag))
    };
    let is_known = asked.get_all(header::IF_NONE_MATCH).iter().any(has_it);
    let gzipped = gzipped.filter(|_| gzip::is_accepted(asked));
    let mut answer = match (is_known, gzipped) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Some(gzipped)) => cache::answer(media_type, cache::REVALIDATE, gzipped),
        (false, None) => cache::answer(media_type, cache::REVALIDATE, content),
    };
    let headers = answer.headers_mut();
    if gzipped.is_some() && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let tag = HeaderValue::from_str(&tag).expect("hex");
    for (name, value) in [
        (header::CACHE_CONTROL, HeaderValue::from_static(cache::REVALIDATE)),
        (header::ETAG, tag),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A picture that is opened on its own runs nothing either.
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
    ] {
        headers.insert(name, value);
    }
    answer
}

/// The content security policy of the page, which may ask these origins besides its own.
fn content_policy(others: &[String], more: &str) -> String {
    let others: String = others.iter().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'{others}; base-uri 'none'; form-action 'none'{more}"
    )
}

/// The origin of a log's address: scheme, host and port.
fn origin_of(address: &str) -> Result<String, FormatError> {
    let wrong = || {
        let expected = "an address that begins with https:// or http://, without a user";
        FormatError::malformed("the address of a log", expected, quote(address))
    };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_');
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(host)) if host.as_str().bytes().all(is_plain) => {
            Ok(format!("{scheme}://{host}"))
        }
        _ => Err(wrong()),
    }
}

/// The log's URL prefix, relative to the page. In another program's application the page may be at `/log`, and its files
/// below `/log/`.
fn prefix(path: &str) -> String {
    let (_, last) = path.rsplit_once('/').unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    if last.is_empty() || !last.bytes().all(is_plain) { "./".to_owned() } else { format!("./{last}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_may_ask_the_log_that_its_address_names_and_no_other() {
        for (address, expected) in [
            ("https://log.example.com", "https://log.example.com"),
            ("https://log.example.com:8443/releases/?x#y", "https://log.example.com:8443"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/a", "http://[::1]:8080"),
        ] {
            assert_eq!(origin_of(address).unwrap(), expected);
        }
        for address in [
            "",
            "log.example.com",
            "/log",
            "ftp://a",
            "javascript:alert(1)",
            "https://a b",
            "https://user@a",
            "https://a;script-src *",
            "https://a,b",
            "https://*",
            "https://a'b",
            "https:///x",
        ] {
            assert!(origin_of(address).is_err(), "{address}");
        }
        let policy = content_policy(&["https://a".to_owned()], "");
        assert!(policy.contains("connect-src 'self' https://a;") && !policy.contains("unsafe-inline"));
    }

    #[test]
    fn references_lead_below_the_prefix_wherever_the_page_is() {
        for (path, expected) in
            [("/", "./"), ("/log", "./log/"), ("/a/b", "./b/"), ("/a/", "./"), ("/\"x", "./")]
        {
            assert_eq!(prefix(path), expected, "{path}");
        }
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let has = |name: &str| FILES.iter().any(|(known, ..)| *known == name);
        for (name, media_type, content) in FILES.iter().filter(|(_, media_type, _)| *media_type == SCRIPT) {
            let text = std::str::from_utf8(content).unwrap();
            for imported in text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(has(imported), "{name} ({media_type}) imports {imported}");
            }
        }
        for named in PAGE.split("./explorer/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(has(named), "the page names {named}");
        }
        for inline in ["<style", "style=", "onclick", "javascript:"] {
            assert!(!PAGE.contains(inline), "{inline} would need unsafe-inline");
        }
    }
}
