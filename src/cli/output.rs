//! Results on stdout, talk on stderr; colour and progress bars only on a terminal.

use std::io;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::exit::{CliResult, Failure};
use crate::client::ClientError;

/// Prints a result: the lines for people, or the object for machines.
pub fn result(json: bool, object: &Value, lines: &str) -> CliResult {
    let text = if json { format!("{object}\n") } else { lines.to_owned() };
    write(anstream::AutoStream::auto(io::stdout()), text.as_bytes())
}

/// Prints a file's content, octet for octet.
pub fn file(bytes: &[u8]) -> CliResult {
    write(io::stdout(), bytes)
}

fn write(mut out: impl io::Write, bytes: &[u8]) -> CliResult {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever closed the pipe has read enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::CouldNotTell(format!("could not write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Talk, on stderr.
pub fn say(line: &str) {
    anstream::eprintln!("{line}");
}

/// Says that a request is sent again after a pause, to whoever waits for its answer.
pub fn pause(error: &ClientError, pause: Duration) {
    say(&format!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
}

/// Good news.
pub const GREEN: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
/// Headings.
pub const BOLD: Style = Style::new().bold();
/// Asides.
pub const DIM: Style = Style::new().dimmed();

/// A progress bar on stderr, hidden where that is no terminal.
pub fn progress(what: &'static str, total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    let template = match unit {
        "bytes" => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}".to_owned(),
        unit => format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}}"),
    };
    bar.set_style(ProgressStyle::with_template(&template).expect("a template of ours"));
    bar.set_message(what);
    bar
}
