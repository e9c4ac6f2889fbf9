//! Programs in C and C++ use the library: plainly, under valgrind, and with the address and undefined-behaviour sanitizers
//! in their own code.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HERE, fixtures, full, has, installed, run};

/// Compiles a program against the shared library of `prefix`.
pub fn compile(source: &Path, prefix: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut cc = Command::new(if is_cpp { "c++" } else { "cc" });
    cc.arg(if is_cpp { "-std=c++17" } else { "-std=c11" });
    cc.args(["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_POSIX_C_SOURCE=200809L"])
        .args(flags);
    cc.arg("-I").arg(prefix.join("include")).arg("-o").arg(&program).arg(source);
    cc.arg("-L").arg(prefix.join("lib")).arg(format!("-Wl,-rpath,{}", prefix.join("lib").display()));
    run(cc.arg("-ltreehead"));
    program
}

fn c(source: &str) -> PathBuf {
    Path::new(HERE).join("tests/c").join(source)
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
        let program = compile(&c(source), full(), &format!("plain-{source}"), &[]);
        print!("{}", start(&[], &program, source, "plain"));
    }
    let (_, lean) = installed();
    print!("{}", start(&[], &compile(&c("verify.c"), lean, "lean-verify", &[]), "verify.c", "lean"));
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if !has("valgrind") {
        println!("no valgrind: not run");
        return;
    }
    let by = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"];
    for source in PROGRAMS {
        let program = compile(&c(source), full(), &format!("valgrind-{source}"), &[]);
        print!("{}", start(&by, &program, source, "valgrind"));
    }
}

#[test]
fn address_and_undefined_behaviour_sanitizers_find_nothing_in_the_callers() {
    for source in PROGRAMS {
        let program = compile(&c(source), full(), &format!("sanitized-{source}"), &SANITIZERS);
        print!("{}", start(&[], &program, source, "sanitized"));
    }
}
