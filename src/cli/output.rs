//! Results on stdout, talk on stderr; colour and progress bars only on a terminal.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::exit::{CliResult, Failure};
use crate::format::{shown, to_json};
use crate::release::Description;

/// Prints a result: the lines for people, or the object for machines.
pub fn result(json: bool, object: &Value, lines: &str) -> CliResult {
    let text = if json { to_json(object) + "\n" } else { plain(lines) };
    write(anstream::AutoStream::auto(io::stdout()), text.as_bytes())
}

/// Prints a file's content, octet for octet.
pub fn file(bytes: &[u8]) -> CliResult {
    write(io::stdout(), bytes)
}

fn write(mut out: impl io::Write, bytes: &[u8]) -> CliResult {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader that closed the pipe has read enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::CouldNotTell(format!("could not write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints one line on stderr.
pub fn say(line: &str) {
    anstream::eprintln!("{}", shown(line));
}

/// Starts a server's log: on stderr, in colour on a terminal. It also quotes foreign text.
pub fn start_log() {
    let colour = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(|| Shown(io::stderr())).with_ansi(colour).with_target(false).init();
}

/// Escapes hidden characters. Lets escape sequences pass: tracing writes its own, and escapes those in messages.
struct Shown<W>(W);

impl<W: io::Write> io::Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let pieces = text.split_inclusive(['\n', '\u{1b}']).map(|piece| {
            let end = piece.len() - usize::from(piece.ends_with(['\n', '\u{1b}']));
            shown(&piece[..end]) + &piece[end..]
        });
        self.0.write_all(pieces.collect::<String>().as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A path on one line, with its hidden characters escaped.
pub fn path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Escapes hidden characters, apart from newlines and the styles of this program.
fn plain(lines: &str) -> String {
    let styles = [GREEN, BOLD, DIM].map(|style| style.to_string());
    let ours = |rest: &str| {
        styles.iter().map(String::as_str).chain(["\u{1b}[0m"]).find(|s| rest.starts_with(s)).map(str::len)
    };
    let (mut out, mut rest) = (String::with_capacity(lines.len()), lines);
    // Foreign text may hold newlines and escapes if it was not passed through `shown`; an escape that is not ours is
    // shown, not sent.
    while let Some(at) = rest.find(['\n', '\u{1b}']) {
        out += &shown(&rest[..at]);
        let kept = if rest.as_bytes()[at] == b'\n' { Some(1) } else { ours(&rest[at..]) };
        let end = at + kept.unwrap_or(1);
        out += &kept.map_or_else(|| shown(&rest[at..end]), |_| rest[at..end].to_owned());
        rest = &rest[end..];
    }
    out + &shown(rest)
}

/// Prints a warning, and puts it into the object for machines.
pub fn warn_in(object: &mut Value, warning: Option<String>) {
    if let Some(warning) = warning {
        warn(&warning);
        object["warnings"] = json!([warning]);
    }
}

/// Prints a warning of a command that succeeds.
pub fn warn(what: &str) {
    anstream::eprintln!("{YELLOW}warning:{YELLOW:#} {}", shown(what));
}

/// The style of good news.
pub const GREEN: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
/// The style of warnings.
const YELLOW: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
/// The style of headings.
pub const BOLD: Style = Style::new().bold();
/// The style of asides.
pub const DIM: Style = Style::new().dimmed();

/// A progress bar on stderr, hidden if that is no terminal.
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

/// Returns a function that shows on a bar how much of how much is done.
pub fn shows(bar: &ProgressBar) -> impl Fn(u64, u64) + Send + Sync + 'static + use<> {
    let bar = bar.clone();
    move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// Runs work with a bar that shows how much of how much is done.
pub fn with_progress<T>(
    what: &'static str,
    unit: &str,
    work: impl FnOnce(&(dyn Fn(u64, u64) + Send + Sync)) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let bar = progress(what, 0, unit);
    let done = work(&shows(&bar))?;
    bar.finish_and_clear();
    Ok(done)
}

/// A statement's JSON, and its facts one a line below its title.
pub fn description(description: Description) -> (Value, String) {
    let Description { title, lines, object } = description;
    let lines: String = lines.iter().map(|(label, text)| format!("{label:<9} {text}\n")).collect();
    (object.into(), format!("{BOLD}{title}{BOLD:#}\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_programs_styles_reach_a_terminal() {
        let ours = format!("{GREEN}verified{GREEN:#}  a\n{BOLD}b{BOLD:#} {DIM}c{DIM:#}\n");
        assert_eq!(plain(&ours), ours);
        let theirs = "x\u{1b}]0;title\u{7}\u{1b}[2J\u{202e}\u{9b}1m y\n";
        let mut log = Vec::new();
        io::Write::write_all(&mut Shown(&mut log), "\u{1b}[2mx\u{202e}y\u{1b}[0m\nz".as_bytes()).unwrap();
        assert_eq!(log, "\u{1b}[2mx\\u{202e}y\u{1b}[0m\nz".as_bytes());
        assert_eq!(plain(theirs), "x\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{202e}\\u{9b}1m y\n");
    }
}
