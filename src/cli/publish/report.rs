//! The results of many releases: counts, and with `--json` a line for each, in the order of the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::exit::{CliResult, Failure};
use crate::cli::output;
use crate::cli::remedies::entry_advice;
use crate::client::{BatchAnswer, ProblemCode, Remark};
use crate::release::Release;

/// Most refusals, and most unsaved proofs, to list one by one.
const NAMED: usize = 10;

/// A release, as reported.
pub struct Told {
    /// Its place among the releases of the file, and its line.
    place: usize,
    line: usize,
    purl: String,
    channel: String,
    sequence: u64,
}

impl Told {
    pub fn new(place: usize, line: usize, release: &Release) -> Self {
        let Release { purl, channel, sequence, .. } = release;
        Self { place, line, purl: purl.to_string(), channel: channel.clone(), sequence: *sequence }
    }

    fn object(&self) -> Value {
        let Self { line, purl, channel, sequence, .. } = self;
        json!({ "ok": true, "line": line, "purl": purl, "channel": channel, "sequence": sequence })
    }
}

/// The results so far.
#[derive(Default)]
pub struct Report {
    json: bool,
    added: u64,
    known: u64,
    refused: Named,
    /// Releases that the log has, whose proofs could not be saved.
    unsaved: Named,
    /// Warnings about releases that the log accepted.
    warned: Named,
    /// The code of the first refusal.
    code: String,
    /// Advice on the first refusal.
    advice: &'static str,
    /// Objects that wait for an earlier line, by place.
    waiting: BTreeMap<usize, Value>,
    /// The next place to print.
    next: usize,
}

/// A count, and the first few in words.
#[derive(Default)]
struct Named {
    count: u64,
    named: Vec<String>,
}

impl Named {
    fn add(&mut self, line: usize, what: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("line {line}: {what}"));
        }
    }
}

impl Report {
    pub fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// Records the log's answer to a release, and whether its proof was saved.
    pub fn count(
        &mut self,
        told: &Told,
        answer: BatchAnswer,
        proof: Option<Result<Option<PathBuf>, Failure>>,
    ) -> CliResult {
        let (mut object, place, line) = (told.object(), told.place, told.line);
        if let Some(error) = answer.error {
            self.refused(&mut object, line, &error.code, error.detail);
        } else {
            let duplicate = answer.duplicate == Some(true);
            *(if duplicate { &mut self.known } else { &mut self.added }) += 1;
            object["index"] = answer.index.into();
            object["leaf_hash"] = answer.leaf_hash.to_hex().into();
            object["duplicate"] = duplicate.into();
            object["highest"] = answer.highest.into();
            object["warnings"] = answer.warnings.iter().map(warning_object).collect();
            answer.warnings.iter().for_each(|warning| self.warned.add(line, &warning_line(warning)));
            match proof {
                Some(Ok(Some(path))) => object["proof"] = path.display().to_string().into(),
                Some(Err(failure)) => {
                    self.unsaved.add(line, failure.message());
                    object["proof_error"] = failure.message().into();
                }
                Some(Ok(None)) | None => {}
            }
        }
        self.tell(place, object)
    }

    /// Records a release for which the log rejected the whole batch.
    pub fn refuse(&mut self, told: &Told, code: &ProblemCode, detail: String) -> CliResult {
        let mut object = told.object();
        if self.refused.count == 0 {
            self.advice = entry_advice(code);
        }
        self.refused(&mut object, told.line, code.as_str(), detail);
        self.tell(told.place, object)
    }

    fn refused(&mut self, object: &mut Value, line: usize, code: &str, detail: String) {
        self.refused.add(line, &detail);
        if self.refused.count == 1 {
            code.clone_into(&mut self.code);
        }
        object["ok"] = false.into();
        object["code"] = code.into();
        object["message"] = detail.into();
    }

    /// Prints the object of a release, and those that waited for it.
    fn tell(&mut self, place: usize, object: Value) -> CliResult {
        if !self.json {
            return Ok(());
        }
        self.waiting.insert(place, object);
        let mut lines = String::new();
        while let Some(object) = self.waiting.remove(&self.next) {
            lines += &format!("{object}\n");
            self.next += 1;
        }
        output::file(lines.as_bytes())
    }

    /// Tells whether all releases are in the log and no proof is missing.
    pub const fn is_whole(&self, total: u64) -> bool {
        self.added + self.known == total && self.unsaved.count == 0
    }

    /// Reports the result of the whole run; `sent` has the path of the bundle, if one was written.
    pub fn finish(
        mut self,
        from: &Path,
        sent: Result<Option<PathBuf>, Failure>,
        total: u64,
        time: Duration,
    ) -> CliResult {
        // Objects after a line without an answer.
        let rest: String =
            std::mem::take(&mut self.waiting).values().map(|object| format!("{object}\n")).collect();
        output::file(rest.as_bytes())?;
        let ok = sent.is_ok() && self.is_whole(total);
        let Self { json, added, known, refused, unsaved, warned, code, advice, .. } = self;
        if !json {
            warned.named.iter().for_each(|warning| output::say(warning));
            let more = warned.count - warned.named.len() as u64;
            if more > 0 {
                output::say(&format!("and {more} more warnings: --json shows all of them"));
            }
        }
        let done = format!(
            "{added} added, {known} in the log already, {} refused, of {total} {}",
            refused.count,
            if total == 1 { "release" } else { "releases" }
        );
        let seconds = time.as_secs_f64();
        let bundle = sent.as_ref().ok().and_then(Option::as_ref).map(|path| path.display().to_string());
        let summary = json!({
            "ok": ok, "total": total, "added": added, "known": known, "refused": refused.count,
            "unsaved_proofs": unsaved.count, "warnings": warned.count, "bundle": bundle,
            "seconds": seconds,
        });
        if ok {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = total as f64 / seconds;
            let bundle = bundle.map(|bundle| format!("bundle {bundle}\n")).unwrap_or_default();
            return output::result(
                json,
                &summary,
                &format!("{done}\n{bundle}{seconds:.1} s, {rate:.0} releases/s\n"),
            );
        }
        if json {
            output::result(json, &summary, "")?;
        }
        if let Err(failure) = sent {
            // The log would refuse it again.
            let next = match failure {
                Failure::Refused { .. } => "",
                _ => "; run the same command again to continue: the log adds nothing twice",
            };
            output::say(&format!("{done}{next}"));
            return Err(failure);
        }
        if refused.count > 0 {
            let message = format!("{done}: {}", refused.named.join("; "));
            let advice = format!("The others are in the log.{advice}");
            return Err(Failure::refused(&code, message, &advice));
        }
        if unsaved.count > 0 {
            return Err(Failure::CouldNotTell(format!(
                "{done}, but the proofs of {} could not be saved: {}; run the same command again for them: it adds nothing",
                unsaved.count,
                unsaved.named.join("; ")
            )));
        }
        let path = from.display();
        Err(Failure::CouldNotTell(format!("{path} changed while it was read: {done}; run the command again")))
    }
}

/// A log's warning, for people.
pub fn warning_line(warning: &Remark) -> String {
    format!("warning ({}): {}", warning.code, warning.detail)
}

/// A log's warning, for machines.
pub fn warning_object(warning: &Remark) -> Value {
    json!({ "code": warning.code, "detail": warning.detail })
}
