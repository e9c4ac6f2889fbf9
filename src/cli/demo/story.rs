//! Prints the demo: chapters, facts and refusals, as lines for people or objects for machines.

use std::path::Path;

use serde_json::json;

use crate::cli::exit::{CliResult, Failure};
use crate::cli::output::{BOLD, DIM, GREEN, result};

/// Tells the demo.
pub struct Story {
    json: bool,
    chapters: u32,
    refusals: u32,
}

impl Story {
    pub const fn new(json: bool) -> Self {
        Self { json, chapters: 0, refusals: 0 }
    }

    pub fn chapter(&mut self, title: &str, about: &str) -> CliResult {
        self.chapters += 1;
        let number = self.chapters;
        let gap = if number == 1 { "" } else { "\n" };
        result(
            self.json,
            &json!({ "chapter": number, "title": title }),
            &format!("{gap}{BOLD}{number}. {title}{BOLD:#}\n   {DIM}{about}{DIM:#}\n"),
        )
    }

    /// Prints something that was just done or checked.
    pub fn fact(&self, fact: &str) -> CliResult {
        let chapter = self.chapters;
        result(
            self.json,
            &json!({ "chapter": chapter, "ok": fact }),
            &format!("   {GREEN}ok{GREEN:#} {fact}\n"),
        )
    }

    /// Prints a forgery that was refused for the expected reason. Any other outcome ends the demo, above all an
    /// accepted forgery.
    pub fn refused<T>(
        &mut self,
        what: &str,
        expected: &str,
        outcome: Result<T, impl Into<Failure>>,
    ) -> CliResult {
        self.refusals += 1;
        self.refusal("forgery", what, expected, outcome)
    }

    /// Prints that something was refused for the expected reason which is no forgery.
    pub fn turned_down<T>(
        &self,
        what: &str,
        expected: &str,
        outcome: Result<T, impl Into<Failure>>,
    ) -> CliResult {
        self.refusal("what", what, expected, outcome)
    }

    fn refusal<T>(
        &self,
        key: &str,
        what: &str,
        expected: &str,
        outcome: Result<T, impl Into<Failure>>,
    ) -> CliResult {
        let (code, message) = match outcome.map_err(Into::into) {
            Err(Failure::Refused { code, message, .. }) => (code, message),
            Err(other) => return Err(other),
            Ok(_) => return Err(Self::broken(&format!("{what} is refused"))),
        };
        Self::hold(
            code == expected,
            &format!("{what} is refused as {expected}, and not as {code}: {message}"),
        )?;
        result(
            self.json,
            &json!({ "chapter": self.chapters, key: what, "refused": code, "reason": message }),
            &format!("   {GREEN}ok{GREEN:#} {what}\n      refused, {BOLD}{code}{BOLD:#}: {message}\n"),
        )
    }

    /// Ends the demo unless this holds.
    pub fn hold(holds: bool, what: &str) -> CliResult {
        if holds { Ok(()) } else { Err(Self::broken(what)) }
    }

    pub fn broken(what: &str) -> Failure {
        Failure::refused(
            "demo-broken",
            format!("it does not hold that {what}"),
            "This is a bug: please report it.",
        )
    }

    /// Prints the result, and what to try next.
    pub fn end(&self, kept: Option<&Path>) -> CliResult {
        let next = kept.map_or_else(
            || {
                "  treehead demo --keep DIR    keeps the log, the keys and the proof files for a look\n"
                    .to_owned()
            },
            |dir| {
                let dir = dir.display();
                format!(
                    "  treehead inspect {dir}/releases/scanner-4.2.0.sh.tlog-proof\n  \
                     treehead verify {dir}/releases/scanner-4.2.0.sh --policy {dir}/log/endpoint.policy\n  \
                     treehead verify {dir}/releases/scanner-4.2.0.sh --trust {dir}/3-of-3.trust\n  \
                     treehead fsck {dir}/log\n  \
                     treehead serve {dir}/log\n"
                )
            },
        );
        let refusals = self.refusals;
        result(
            self.json,
            &json!({ "ok": true, "chapters": self.chapters, "refusals": refusals }),
            &format!(
                "\n{GREEN}Everything held.{GREEN:#} Three releases verified, {refusals} forgeries refused, one fork proven.\n\nTry next:\n{next}  \
                 treehead init mylog --origin log.example.com/releases\n  treehead help\n"
            ),
        )
    }
}
