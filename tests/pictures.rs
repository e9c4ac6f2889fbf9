//! The demo as a picture of a terminal, docs/demo.svg: made from the demo's own output, and compared with it, so that it
//! shows what the program says. `TREEHEAD_PICTURES=write cargo test --test pictures` makes it again.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The chapters that are drawn, by the beginnings of their titles.
const CHAPTERS: [&str; 4] =
    ["An endpoint checks", "Three others rebuild", "Forgeries are refused", "Somebody watches"];
/// Characters in a row.
const COLUMNS: usize = 64;
const LINE: usize = 20;
const STYLE: &str = "  .ground { fill: #f6f7f9; stroke: #d6dbe2 }
  text { fill: #17202b; white-space: pre }
  .bold { font-weight: 700 }
  .dim { fill: #556070 }
  .green { fill: #14663b; font-weight: 700 }
  .prompt { fill: #1d4f91; font-weight: 700 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #11161d; stroke: #344050 }
    text { fill: #e6ebf2 }
    .dim { fill: #a3afbf }
    .green { fill: #7fd6a0 }
    .prompt { fill: #8db8f2 }
  }
";

/// A line of the terminal: its parts, each with the class that it is drawn in.
type Line = Vec<(&'static str, String)>;

/// A line of the demo's output, with its colours (ANSI escape sequences) as classes.
fn coloured(line: &str) -> Line {
    let mut parts = Line::new();
    let mut class = "";
    for (at, piece) in line.split("\u{1b}[").enumerate() {
        let text = if at == 0 {
            piece
        } else {
            let (code, text) = piece.split_once('m').expect("a colour");
            class = match (code, class) {
                ("0", _) => "",
                ("1", _) => "bold",
                ("2", _) => "dim",
                ("32", _) => "green",
                other => panic!("an unknown colour: {other:?}"),
            };
            text
        };
        if !text.is_empty() {
            parts.push((class, text.to_owned()));
        }
    }
    parts
}

fn text(line: &Line) -> String {
    line.iter().map(|(_, text)| text.as_str()).collect()
}

/// The first characters of a line, and the others.
fn split(line: Line, at: usize) -> (Line, Line) {
    let mut left = at;
    let (mut first, mut rest) = (Line::new(), Line::new());
    for (class, text) in line {
        let here: String = text.chars().take(left).collect();
        let there: String = text.chars().skip(left).collect();
        left -= here.chars().count();
        first.push((class, here));
        rest.push((class, there));
    }
    first.retain(|(_, text)| !text.is_empty());
    rest.retain(|(_, text)| !text.is_empty());
    (first, rest)
}

/// The line as the terminal shows it: in two rows if it fits there, otherwise in one that is cut.
fn rows(line: Line) -> Vec<Line> {
    let whole: Vec<char> = text(&line).chars().collect();
    if whole.len() <= COLUMNS {
        return vec![line];
    }
    let indent = whole.iter().position(|c| *c != ' ').unwrap_or(0);
    let indent = if text(&line).trim_start().starts_with("ok ") { indent + 3 } else { indent };
    let space = whole[..=COLUMNS].iter().rposition(|c| *c == ' ').filter(|at| *at > indent);
    if let Some(at) = space.filter(|at| indent + whole.len() - at - 1 <= COLUMNS) {
        let (first, rest) = split(line, at);
        let (_, rest) = split(rest, 1);
        return vec![first, [vec![("", " ".repeat(indent))], rest].concat()];
    }
    let (mut first, _) = split(line, COLUMNS - 1);
    first.push(("dim", "…".to_owned()));
    vec![first]
}

/// The lines that are drawn: the command, the chosen chapters, and the end.
fn chosen(output: &str) -> Vec<Line> {
    let mut lines = vec![vec![("prompt", "$ ".to_owned()), ("bold", "treehead demo".to_owned())]];
    let omission = || vec![("dim", "…".to_owned())];
    let (mut is_drawn, mut found) = (false, 0);
    for line in output.lines().map(coloured) {
        let plain = text(&line);
        let title = plain.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok());
        if let Some((_, title)) = title {
            is_drawn = CHAPTERS.iter().any(|chapter| title.starts_with(chapter));
            found += usize::from(is_drawn);
        } else if plain.starts_with("Everything held") {
            is_drawn = true;
        } else if plain.starts_with("Try next") {
            break;
        }
        if is_drawn {
            lines.push(line);
        } else if lines.last() != Some(&omission()) {
            lines.push(omission());
        }
    }
    assert_eq!(found, CHAPTERS.len(), "{output}");
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.into_iter().flat_map(rows).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn svg(lines: &[Line]) -> String {
    let (width, height) = (COLUMNS * 17 / 2 + 44, lines.len() * LINE + 32);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"A terminal with the output of treehead demo\" font-family=\"ui-monospace, 'SFMono-Regular', \
         'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n",
        width - 1,
        height - 1
    );
    for (line, y) in lines.iter().zip((30..).step_by(LINE)).filter(|(line, _)| !line.is_empty()) {
        let _ = write!(svg, "<text x=\"20\" y=\"{y}\" xml:space=\"preserve\">");
        for (class, text) in line {
            let text = escaped(text);
            let _ = match *class {
                "" => write!(svg, "{text}"),
                class => write!(svg, "<tspan class=\"{class}\">{text}</tspan>"),
            };
        }
        svg += "</text>\n";
    }
    svg + "</svg>\n"
}

/// The picture, with each hash as `HASH` and each long number as `NUMBER`: they differ from run to run.
fn masked(svg: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let word = |text: &str, is_part: &dyn Fn(char) -> bool| text.find(|c| !is_part(c)).unwrap_or(text.len());
    let mut out = String::new();
    let mut rest = svg;
    while let Some(c) = rest.chars().next() {
        let base64 = &rest[..word(rest, &is_base64)];
        let plain = &rest[..word(rest, &|c| c.is_ascii_alphanumeric()).max(c.len_utf8())];
        let (shown, taken) = if base64.len() == 44 && base64.ends_with('=') {
            ("HASH", base64)
        } else if plain.len() >= 8 && plain.chars().all(|c| c.is_ascii_hexdigit()) {
            ("HASH", plain)
        } else if plain.len() >= 4 && plain.chars().all(|c| c.is_ascii_digit()) {
            ("NUMBER", plain)
        } else {
            (plain, plain)
        };
        out += shown;
        rest = &rest[taken.len()..];
    }
    out
}

#[test]
fn the_picture_of_the_demo_shows_what_the_demo_says() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_treehead"));
    let ran =
        demo.arg("demo").env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR").output().expect("the demo runs");
    let output = String::from_utf8(ran.stdout).expect("UTF-8");
    assert!(ran.status.success(), "{output}{}", String::from_utf8_lossy(&ran.stderr));
    let made = svg(&chosen(&output));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/demo.svg");
    if std::env::var("TREEHEAD_PICTURES").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &made).expect("docs/demo.svg");
    }
    let shown = std::fs::read_to_string(&path).expect("docs/demo.svg");
    for (shown, made) in masked(&shown).lines().zip(masked(&made).lines()) {
        assert_eq!(shown, made, "make the picture again: TREEHEAD_PICTURES=write cargo test --test pictures");
    }
    assert_eq!(shown.lines().count(), made.lines().count(), "make the picture again, as above");
}

#[test]
fn what_differs_from_run_to_run_is_masked_and_nothing_else() {
    let seen = "ok 1a3d95e58b352e87-3-3.tlog-fork: 23957 bytes at 127.0.0.1:39303/add, expected D2gCWmDwOmJbBydE8W2g8XMwLebVQG4exDLuZas70Bw=…";
    assert_eq!(masked(seen), "ok HASH-3-3.tlog-fork: NUMBER bytes at 127.0.0.1:NUMBER/add, expected HASH…");
    assert_eq!(masked("a feed of 42 facades"), "a feed of 42 facades");
    let shown = |line: &str| rows(coloured(line)).iter().map(text).collect::<Vec<_>>();
    let long = "x".repeat(COLUMNS - 6);
    assert_eq!(shown(&format!("   ok {long} y z")), [format!("   ok {long}"), "      y z".to_owned()]);
    assert_eq!(shown(&"x".repeat(COLUMNS + 1)), ["x".repeat(COLUMNS - 1) + "…"]);
    assert_eq!(
        coloured("a \u{1b}[1m\u{1b}[32mok\u{1b}[0m b"),
        [("", "a "), ("green", "ok"), ("", " b")].map(|(class, text)| (class, text.to_owned()))
    );
}
