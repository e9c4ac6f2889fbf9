//! The summary of a run, as text and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::check::{CheckError, Checked};
use super::latencies::Latencies;
use super::measure::Measured;
use crate::merkle::TreeSize;

/// The summary of a run of appends.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The measurements.
    pub measured: Measured,
    /// Size of the tree before the run.
    pub before: TreeSize,
    /// Size of the tree that was checked; `None` if no head could be fetched.
    pub after: Option<TreeSize>,
    /// Number of acknowledgements that were remembered; and, if they became more than are kept, after how many seconds,
    /// since when a random sample is kept.
    pub remembered: (u64, Option<f64>),
    /// The result of the check that the log has what it acknowledged.
    pub check: Result<Checked, CheckError>,
}

impl Summary {
    /// The summary as a JSON object with stable field names. Names that end in `_ms` are in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let measured = &self.measured;
        let check = match &self.check {
            Ok(checked) => {
                json!({ "ok": true, "signature": checked.signature, "indices": checked.indices, "leaves": checked.leaves, "tiles": checked.tiles })
            }
            Err(error) => json!({ "ok": false, "message": error.to_string() }),
        };
        let (remembered, sampled_since) = self.remembered;
        json!({
            "ok": self.check.is_ok(),
            "seconds": measured.elapsed.as_secs_f64(),
            "requests": measured.answered,
            "acknowledged": measured.entries,
            "entries_per_second": measured.per_second(),
            "bytes_per_second": measured.bytes_per_second(),
            "latency": measured.latency.latencies(),
            "busy": measured.busy.latencies(),
            "errors": measured.errors,
            "unsent": measured.unsent,
            "signing_waits": measured.signing_waits,
            "generator_busy": measured.generator_busy,
            "tree_size_before": self.before.get(),
            "tree_size_after": self.after.map(TreeSize::get),
            "remembered": remembered,
            "sampled_since_seconds": sampled_since,
            "verified": check,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = &self.measured;
        let seconds = measured.elapsed.as_secs_f64();
        writeln!(f, "acknowledged  {} in {seconds:.1} s", plural(measured.entries, "entry", "entries"))?;
        let megabytes = measured.bytes_per_second() / 1e6;
        writeln!(f, "rate          {:.0} entries/s, {megabytes:.1} MB/s", measured.per_second())?;
        writeln!(f, "latency       {}", Line(&measured.latency.latencies()))?;
        match measured.busy.count() {
            0 => writeln!(f, "429           none")?,
            count => writeln!(f, "429           {count}; {}", Line(&measured.busy.latencies()))?,
        }
        let errors: Vec<String> =
            measured.errors.kinds().map(|(kind, count)| format!("{kind}: {count}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
        writeln!(f, "errors        {errors}")?;
        if measured.unsent > 0 {
            let due = plural(measured.unsent, "request was", "requests were");
            writeln!(f, "unsent        {due} due and never sent: no writer was free")?;
        }
        if measured.signing_waits > 0 {
            let waits = plural(measured.signing_waits, "entry", "entries");
            writeln!(f, "signing       {waits} had to be waited for: signing was the limit, not the log")?;
        }
        let after = self.after.map_or("unknown".to_owned(), |after| after.to_string());
        writeln!(f, "tree          {} before, {after} after", plural(self.before.get(), "leaf", "leaves"))?;
        let busy = measured.generator_busy * 100.0;
        let limit = if busy >= 90.0 { ": it may be the limit, or lack a core, not the log" } else { "" };
        writeln!(f, "generator     {busy:.0} % busy{limit}")?;
        self.write_check(f)
    }
}

impl Summary {
    fn write_check(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(checked) = &self.check else {
            return writeln!(f, "verified      no");
        };
        let (remembered, sampled_since) = self.remembered;
        let all = self.measured.entries;
        if let Some(since) = sampled_since {
            writeln!(f, "remembered    {remembered} of {all}: a random sample from {since:.1} s on")?;
        }
        writeln!(
            f,
            "verified      {} distinct and under the head; {} of {} found in place, by {}; {}",
            plural(checked.indices, "index", "indices"),
            checked.leaves,
            plural(all, "leaf", "leaves"),
            plural(checked.tiles, "tile", "tiles"),
            if checked.signature {
                "signed by the log's key"
            } else {
                "signature not checked (no --policy or --vkey)"
            },
        )
    }
}

/// Latencies in one line.
struct Line<'a>(&'a Latencies);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latencies { count, p50, p90, p99, p999, max } = self.0;
        if *count == 0 {
            return f.write_str("none");
        }
        let ms = |time: &std::time::Duration| format!("{:.1}", time.as_secs_f64() * 1_000.0);
        write!(
            f,
            "p50 {} ms, p90 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
            ms(p50),
            ms(p90),
            ms(p99),
            ms(p999),
            ms(max)
        )
    }
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
