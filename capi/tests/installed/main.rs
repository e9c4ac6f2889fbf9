//! Uses the library as `make install` leaves it.

mod bindings;
mod limits;
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|e| panic!("{shown}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{out}{err}");
    out.into_owned()
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn fixtures() -> PathBuf {
    Path::new(HERE).join("../fixtures/verify").canonicalize().expect("fixtures")
}

/// Installs a build of the library below the target directory, and returns where. Builds share cargo's directory, so one
/// is made after the other.
fn install(build: &str, flags: &str) -> PathBuf {
    let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join(build);
    let mut make = Command::new("make");
    make.args(["-C", HERE, "install"]).arg(format!("BUILD={build}")).arg(format!("FLAGS={flags}"));
    run(make.arg(format!("PREFIX={}", prefix.display())).arg(format!("CARGO={}", env!("CARGO"))));
    prefix
}

/// The library with its default features, and the lean one.
fn installed() -> &'static (PathBuf, PathBuf) {
    static INSTALLED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    INSTALLED.get_or_init(|| (install("full", ""), install("lean", "--no-default-features")))
}

fn full() -> &'static Path {
    &installed().0
}
