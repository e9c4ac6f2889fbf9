//! Programs in C and C++ use the library as it is installed: plainly, under valgrind, and with the address and
//! undefined-behaviour sanitizers in their own code. And: how large the library is, and what a verdict costs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The shared library with both algorithms and the state file, and without the state file.
const MOST_BYTES: u64 = 420 * 1024;
const MOST_LEAN_BYTES: u64 = 330 * 1024;

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

/// Compiles a program against the shared library of `prefix`.
fn compile(source: &str, prefix: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let is_cpp = source.ends_with(".cpp");
    let mut cc = Command::new(if is_cpp { "c++" } else { "cc" });
    cc.arg(if is_cpp { "-std=c++17" } else { "-std=c11" });
    cc.args(["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_POSIX_C_SOURCE=200809L"])
        .args(flags);
    cc.arg("-I")
        .arg(prefix.join("include"))
        .arg("-o")
        .arg(&program)
        .arg(Path::new(HERE).join("tests/c").join(source));
    cc.arg("-L").arg(prefix.join("lib")).arg(format!("-Wl,-rpath,{}", prefix.join("lib").display()));
    run(cc.arg("-ltreehead"));
    program
}

/// A directory for a memory, empty.
fn state(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

const PROGRAMS: [&str; 3] = ["verify.c", "online.c", "raii.cpp"];
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Runs a program, if need be by another one.
fn start(by: &[&str], program: &Path, source: &str, name: &str) -> String {
    let mut args: Vec<&str> = by.to_vec();
    let program = program.to_str().expect("a path");
    args.push(program);
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).arg(fixtures());
    if source == "verify.c" {
        command.arg(state(&format!("state-{name}")));
    }
    run(&mut command)
}

#[test]
fn programs_get_the_verdicts_of_the_core() {
    for source in PROGRAMS {
        let program = compile(source, full(), &format!("plain-{source}"), &[]);
        print!("{}", start(&[], &program, source, "plain"));
    }
    let (_, lean) = installed();
    print!("{}", start(&[], &compile("verify.c", lean, "lean-verify", &[]), "verify.c", "lean"));
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if !has("valgrind") {
        println!("no valgrind: not run");
        return;
    }
    let by = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"];
    for source in PROGRAMS {
        let program = compile(source, full(), &format!("valgrind-{source}"), &[]);
        print!("{}", start(&by, &program, source, "valgrind"));
    }
}

#[test]
fn address_and_undefined_behaviour_sanitizers_find_nothing_in_the_callers() {
    for source in PROGRAMS {
        let program = compile(source, full(), &format!("sanitized-{source}"), &SANITIZERS);
        print!("{}", start(&[], &program, source, "sanitized"));
    }
}

#[test]
fn the_library_is_small_and_exports_only_its_interface() {
    let (full, lean) = installed();
    for (prefix, most) in [(full, MOST_BYTES), (lean, MOST_LEAN_BYTES)] {
        let library = prefix.join("lib/libtreehead.so");
        let bytes = library.metadata().expect("a library").len();
        println!("{}: {bytes} bytes, at most {most}", library.display());
        assert!(bytes <= most, "{}: {bytes} bytes, more than {most}", library.display());
    }
    if !has("nm") || !has("readelf") {
        return;
    }
    let library = full.join("lib/libtreehead.so");
    let symbols =
        run(Command::new("nm").args(["-D", "--defined-only", "--with-symbol-versions"]).arg(&library));
    let header = std::fs::read_to_string(Path::new(HERE).join("include/treehead.h")).expect("a header");
    for line in symbols.lines().filter(|line| !line.contains(" A ")) {
        let symbol = line.split(' ').next_back().expect("a name");
        let name = symbol.strip_suffix("@@TREEHEAD_1").unwrap_or_else(|| panic!("{line}: no version"));
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
    }
    let needed = run(Command::new("readelf").arg("-d").arg(&library));
    let needed: Vec<&str> = needed.lines().filter(|line| line.contains("NEEDED")).collect();
    assert!(needed.iter().all(|line| line.contains("libc.so") || line.contains("ld-linux")), "{needed:?}");
    assert!(full.join("lib/pkgconfig/treehead.pc").is_file());
}

/// A program that is linked statically, with its allocations counted.
fn limits(prefix: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let wrapped =
        ["malloc", "calloc", "realloc", "posix_memalign", "free"].map(|name| format!("-Wl,--wrap={name}"));
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"])
        .args(flags)
        .args(wrapped);
    cc.arg("-I")
        .arg(prefix.join("include"))
        .arg("-o")
        .arg(&program)
        .arg(Path::new(HERE).join("tests/c/limits.c"));
    run(cc.arg(prefix.join("lib/libtreehead.a")));
    program
}

#[test]
fn a_verdict_and_a_hostile_proof_cost_little() {
    print!("{}", run(Command::new(limits(full(), "limits", &[])).arg(fixtures())));
}

/// `cargo test -p treehead-capi --test c -- --ignored --nocapture` prints how long a verdict takes beside its bare checks.
#[test]
#[ignore = "measures time, which needs a quiet machine"]
fn a_verdict_takes_as_long_as_its_signature_checks() {
    let prefix = install("bench", "--features bench");
    print!(
        "{}",
        run(Command::new(limits(&prefix, "limits-bench", &["-DBENCH"])).arg(fixtures()).arg("bench"))
    );
}
