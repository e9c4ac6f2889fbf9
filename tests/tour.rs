//! The README's tour, run as a new user would: every command of its `console` blocks, in order, in an empty folder,
//! with the output that it shows; and docs/rebuilds.md, likewise. Only the ports differ, so that the test disturbs nobody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

const README: &str = include_str!("../README.md");
/// Longer than the tour takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command of the README, and the output that the README shows for it.
#[derive(Debug)]
struct Step {
    command: String,
    prints: Vec<String>,
}

impl Step {
    /// A refusal has exit code 1. A command that shows no refusal has to succeed.
    fn exit(&self) -> i32 {
        i32::from(self.prints.iter().any(|line| line.starts_with("refused (")))
    }
}

/// The steps of all `console` blocks: `$` begins a command, a backslash continues it, the rest is its output.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut is_console, mut continues) = (false, false);
    for line in readme.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_console = language == "console",
            None if !is_console || line.is_empty() => {}
            None => {
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step { command: command.to_owned(), prints: Vec::new() });
                } else if continues {
                    let step = steps.last_mut().expect("a line that continues one");
                    let _ = write!(step.command, "\n{line}");
                } else {
                    steps.last_mut().expect("a command first").prints.push(line.to_owned());
                }
                continues = line.ends_with('\\');
            }
        }
    }
    steps
}

/// Whether this address is free.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The addresses of a document, and free ones for them. Those of the witnesses differ in their last digit. Documents that
/// run at the same time have their own.
fn addresses(document: u16) -> BTreeMap<String, String> {
    let begin = u16::try_from(std::process::id() % 400).expect("small");
    let tens = (0..450).map(|tens| 2_000 + 450 * document + (tens + begin) % 450);
    let mut free = tens.filter(|tens| (1..=6).all(|digit| is_free(tens * 10 + digit)));
    let tens = free.next().expect("six free ports in a row");
    let others = ["8080", "8081", "9100"].iter().zip(4_u16..);
    let mut addresses: BTreeMap<String, String> = others
        .map(|(port, digit)| (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", tens * 10 + digit)))
        .collect();
    addresses.insert("127.0.0.1:900".to_owned(), format!("127.0.0.1:{tens}"));
    addresses
}

fn readdressed(text: &str, addresses: &BTreeMap<String, String>) -> String {
    addresses.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Runs the steps in one shell, as a user types them. Each writes into its own files, `N.out` and `N.exit`.
fn script(steps: &[Step], addresses: &BTreeMap<String, String>) -> String {
    let mut script = String::from("code=0\n");
    for (at, step) in steps.iter().enumerate() {
        let command = readdressed(&step.command, addresses);
        let _ = writeln!(
            script,
            "(exit $code)\n{{ {command}\n}} >../{at}.out 2>&1\ncode=$?\necho $code >../{at}.exit"
        );
    }
    script
}

/// A running shell. Dropping it kills it with all of its children.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn run(script: &str, dir: &Path) {
    let program = Path::new(env!("CARGO_BIN_EXE_treehead")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-c", script])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", program.display()))
        .envs([("NO_COLOR", "1"), ("LC_ALL", "C")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut shell = Shell(command.spawn().expect("bash"));
    let deadline = Instant::now() + PATIENCE;
    while shell.0.try_wait().expect("a child").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The line with `TIME` for each time.
fn timeless(line: &str) -> String {
    let bytes = line.as_bytes();
    let is_time = |at: usize| {
        bytes[at..].first_chunk::<20>().is_some_and(|time| {
            time.iter()
                .zip(b"0000-00-00T00:00:00Z")
                .all(|(seen, form)| if *form == b'0' { seen.is_ascii_digit() } else { seen == form })
        })
    };
    let (mut out, mut at) = (String::new(), 0);
    while at < line.len() {
        if is_time(at) {
            out += "TIME";
            at += 20;
        } else {
            let next = line[at..].chars().next().expect("within");
            out.push(next);
            at += next.len_utf8();
        }
    }
    out
}

/// Whether a line matches the README's; `...` stands for any text.
fn matches(shown: &str, line: &str) -> bool {
    let (shown, line) = (timeless(shown), timeless(line));
    let pieces: Vec<&str> = shown.split("...").collect();
    let [first, middle @ .., last] = pieces.as_slice() else { return shown == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn the_tour_of_the_readme_runs_as_it_is_written() {
    runs_as_it_is_written(&steps(README), 20, 0);
}

#[test]
fn the_page_about_rebuilds_runs_as_it_is_written() {
    runs_as_it_is_written(&steps(include_str!("../docs/rebuilds.md")), 15, 1);
}

fn runs_as_it_is_written(steps: &[Step], at_least: usize, document: u16) {
    assert!(steps.len() > at_least, "{steps:#?}");
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("tour");
    fs::create_dir(&home).expect("a folder");
    let addresses = addresses(document);
    run(&script(steps, &addresses), &home);
    let read = |name: String| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let so_far = |at: usize| {
        (0..=at)
            .map(|at| format!("$ {}\n{}", steps[at].command, read(format!("{at}.out"))))
            .collect::<String>()
    };
    for (at, step) in steps.iter().enumerate() {
        let (output, exit) = (read(format!("{at}.out")), read(format!("{at}.exit")));
        assert_eq!(exit.trim(), step.exit().to_string(), "{}\n{}", step.command, so_far(at));
        let mut lines = output.lines();
        for shown in &step.prints {
            let shown = readdressed(shown, &addresses);
            assert!(
                lines.any(|line| matches(&shown, line)),
                "{} is said to print\n{shown}\n{}",
                step.command,
                so_far(at)
            );
        }
    }
}

#[test]
fn the_checker_notices_what_differs() {
    let steps = steps("```console\n$ echo a \\\n    b\na b\n\nc\n```\n```\n$ not run\n```\n");
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].command.as_str(), steps[0].prints.len()), ("echo a \\\n    b", 2));
    assert!(
        matches("x ... z", "x y z")
            && matches("x ...", "x y")
            && matches("at 2026-01-01T00:00:00Z", "at 2031-12-31T23:59:59Z")
    );
    assert!(matches("a...c...c", "abcbcbc") && !matches("a...c...c", "abc"));
    assert!(!matches("x ... z", "x y") && !matches("x", "x y") && !matches("x ...", "y x "));
}
