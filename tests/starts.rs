//! The README's first lines for each language, run as a new user would: each in an empty folder, with the tool that it is
//! for. Where the tool is missing, a test is ignored, with the reason; `TREEHEAD_REQUIRE_STARTS=1` makes that a failure.

#[path = "common/needs.rs"]
#[allow(dead_code, reason = "the macro names tests by their paths")]
mod needs;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Completion;
use needs::{Outcome, ignored};

const README: &str = include_str!("../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const REQUIRED: &str = "TREEHEAD_REQUIRE_STARTS";
const SAID: &str = "scanner.sh: pkg:generic/example/scanner@2.0 by vendor";

/// The libraries for C are built in one place, by one at a time.
static BUILDING: Mutex<()> = Mutex::new(());

/// The block of commands after the paragraph that begins so.
fn block(paragraph: &str) -> &'static str {
    let (_, section) = README.split_once("## First lines").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let at =
        section.find(&format!("\n\n{paragraph}")).unwrap_or_else(|| panic!("no paragraph {paragraph:?}"));
    let (_, block) = section[at..].split_once("```sh\n").expect("commands");
    block.split_once("```").expect("the end of the commands").0
}

/// What the commands print in an empty folder, after those that every reader types first.
fn typed(dir: &Path, commands: &str) -> Output {
    let first = block("Ask whether").replace("~/treehead", &format!("'{ROOT}'"));
    assert!(first.contains(ROOT), "{first}");
    let mut bash = Command::new("bash");
    bash.args(["-e", "-c", &format!("{first}{commands}")]).current_dir(dir);
    // Cargo's own settings for this test are not the user's.
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "CARGO_MANIFEST_DIR")
    {
        bash.env_remove(name);
    }
    // A module of Go's or a crate that is not at hand is not fetched for a test.
    bash.envs([
        ("CARGO_NET_OFFLINE", "true"),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOFLAGS", "-mod=mod"),
    ]);
    // Go keeps built packages, and what pkg-config said is no part of their key: the folder makes it another key.
    bash.env("CGO_LDFLAGS", format!("-O2 -g -L{}/th/lib", dir.display()));
    bash.output().expect("bash")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn has(tool: &str) -> bool {
    let argument = if tool == "go" { "version" } else { "--version" };
    Command::new(tool).arg(argument).output().is_ok_and(|output| output.status.success())
}

fn starts(paragraph: &str, tools: &[&str]) -> Outcome {
    if let Some(missing) = tools.iter().find(|tool| !has(tool)) {
        return ignored(&format!("there is no {missing}"), REQUIRED);
    }
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a folder");
    let output = typed(dir.path(), block(paragraph));
    let said = said(&output);
    // Building a wheel needs setuptools, which pip takes from its index.
    let lacks =
        ["No matching distribution", "ConnectionError", "ensurepip"].iter().any(|why| said.contains(why));
    if !output.status.success() && paragraph == "Python" && lacks {
        return ignored("there is no venv, or pip has no index to take setuptools from", REQUIRED);
    }
    assert!(output.status.success(), "{said}");
    assert!(said.lines().any(|line| line == SAID), "{said}");
    Ok(Completion::Completed)
}

fn rust() -> Outcome {
    starts("Pick one.", &["cargo"])
}

fn c() -> Outcome {
    starts("C:", &["make", "cc", "cargo"])
}

fn cpp() -> Outcome {
    starts("C++", &["make", "cc", "c++", "pkg-config", "cargo"])
}

fn python() -> Outcome {
    starts("Python", &["make", "cc", "python3", "cargo"])
}

fn go() -> Outcome {
    starts("Go", &["make", "cc", "go", "pkg-config", "cargo"])
}

fn node() -> Outcome {
    starts("JavaScript", &["node"])
}

/// The page is served, with all that it loads. tests/machine/explorer.rs has a browser.
fn browser() -> Outcome {
    if !has("python3") {
        return ignored("there is no python3", REQUIRED);
    }
    let dir = tempfile::tempdir().expect("a folder");
    let commands = block("In a browser");
    let (copies, server) = commands.trim_end().rsplit_once('\n').expect("several commands");
    assert!(server.starts_with("python3 -m http.server"), "{server}");
    let output = typed(dir.path(), copies);
    assert!(output.status.success(), "{}", said(&output));
    let page = fs::read_to_string(dir.path().join("index.html")).expect("the page");
    for name in ["treehead.js", "witnessed.trust"] {
        assert!(page.contains(name) && dir.path().join(name).is_file(), "{name}");
    }
    assert!(dir.path().join("treehead.wasm").is_file());
    Ok(Completion::Completed)
}

/// The files of the hook for apt, below a folder instead of `/`. tests/installers/apt.rs runs apt with them.
fn apt() -> Outcome {
    if !has("install") {
        return ignored("there is no install", REQUIRED);
    }
    let dir = tempfile::tempdir().expect("a folder");
    let commands = block("apt,").replace(" /usr/", " root/usr/").replace(" /etc/", " root/etc/");
    let output = typed(dir.path(), &commands);
    assert!(output.status.success(), "{}", said(&output));
    let hook =
        fs::read_to_string(dir.path().join("root/etc/apt/apt.conf.d/50treehead")).expect("the settings");
    for installed in ["usr/lib/treehead/apt-hook", "etc/treehead/gate.toml"] {
        assert!(hook.contains(&format!("/{installed}")) && dir.path().join("root").join(installed).is_file());
    }
    Ok(Completion::Completed)
}

fn main() -> ExitCode {
    needs::run(tests![rust, c, cpp, python, go, node, browser, apt])
}
