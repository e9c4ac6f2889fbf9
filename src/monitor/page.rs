//! `GET /`: a page for people, without scripts and without anything from elsewhere.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::delivery::Condition;
use super::inbox::{HeadSource, HeadVerdict, SourceHead};
use super::log::FollowedLog;
use crate::format::{base64_encode, shown};
use crate::release::format_time;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}\
code{font-size:13px;overflow-wrap:anywhere}.bad{color:#b00020;font-weight:600}";

/// Most conditions on the page: nobody reads more, and anybody may ask for it.
pub const MAX_CONDITIONS: usize = 100;

/// The policy of the page: a browser may load its own style, and nothing else.
pub fn content_security_policy() -> String {
    let style = base64_encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

pub fn page(logs: &[Arc<FollowedLog>], conditions: &[Condition]) -> String {
    let rows: String = conditions.iter().map(condition_row).collect();
    let conditions = if conditions.is_empty() {
        "<p>No condition is open.\n".to_owned()
    } else {
        format!("<table><tr><th>id<th>since<th>what<th>in words\n{rows}</table>\n")
    };
    let logs: String = logs.iter().map(|log| log_section(log)).collect();
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>treehead monitor</title><style>{STYLE}</style>\n<h1>treehead monitor</h1>\n\
         <h2>Open conditions</h2>\n{conditions}{logs}</html>\n"
    )
}

fn condition_row(condition: &Condition) -> String {
    format!(
        "<tr><td><code>{}</code><td>{}<td class=bad>{}<td>{}\n",
        &condition.id.to_string()[..8],
        format_time(condition.since),
        escape(&condition.code),
        escape(&condition.message)
    )
}

fn log_section(log: &FollowedLog) -> String {
    let status = log.status();
    let origin = escape(log.origin());
    let head = status.vouched.map_or_else(
        || "<p>No head is verified yet.\n".to_owned(),
        |head| {
            format!(
                "<p>Verified: size {} with root <code>{}</code> (<a href=\"/{}/checkpoint\">checkpoint</a>).\n",
                head.size,
                head.root.to_base64(),
                log.hash.to_hex()
            )
        },
    );
    let skipped = if status.start.get() > 0 {
        format!("<p>Entries below {} were never looked at.\n", status.start)
    } else {
        String::new()
    };
    let fault = status.fault.map(|fault| format!("<p class=bad>{}\n", escape(&fault))).unwrap_or_default();
    let rows: String = log
        .inbox
        .with(|inbox| inbox.sources.iter().map(|(name, source)| source_rows(name, source)).collect());
    // A log that is followed from its head has its cursor there before anything was fetched.
    let rehashed = status.cursor.get().saturating_sub(status.start.get());
    format!(
        "<h2>{origin}</h2>\n{head}<p>{rehashed} of {} entries re-hashed.\n{skipped}{fault}\
         <table><tr><th>shown by<th>size<th>root<th>last<th>compared\n{rows}</table>\n",
        status.target,
    )
}

/// The latest eight heads of a peer, and its fault.
fn source_rows(name: &str, source: &HeadSource) -> String {
    let heads = source.heads.iter().rev().take(8).map(|shown| head_row(name, shown));
    let fault = source
        .fault
        .iter()
        .map(|fault| format!("<tr><td>{}<td colspan=4 class=bad>{}\n", escape(name), escape(&fault.words)));
    heads.chain(fault).collect()
}

fn head_row(name: &str, shown: &SourceHead) -> String {
    let verdict = shown.verdict.as_str();
    let class = if shown.verdict == HeadVerdict::Forked { " class=bad" } else { "" };
    format!(
        "<tr><td>{}<td>{}<td><code>{}</code><td>{}<td{class}>{verdict}\n",
        escape(name),
        shown.size,
        shown.root.to_base64(),
        format_time(shown.last)
    )
}

/// Text from outside in HTML, in element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_becomes_markup() {
        assert_eq!(escape("<a href='x' t=\"&\">"), "&lt;a href=&#39;x&#39; t=&quot;&amp;&quot;&gt;");
        assert_eq!(escape("a\u{202e}b\u{1b}[2J"), "a\\u{202e}b\\u{1b}[2J");
    }
}
