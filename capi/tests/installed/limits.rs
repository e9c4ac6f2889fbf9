//! How large the library is, what it exports, and what a verdict costs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{HERE, fixtures, full, has, installed, run};

/// The shared library with both algorithms and the state file, and without the state file: what they are, so that growth
/// is noticed. The goals are 420 and 330 KiB.
const MOST_BYTES: u64 = 772 * 1024;
const MOST_LEAN_BYTES: u64 = 720 * 1024;

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
    // The compiled parts of `core` may name `_Unwind_Resume`, which nothing calls.
    let known = ["libc.so", "ld-linux", "libgcc_s.so"];
    assert!(needed.iter().all(|line| known.iter().any(|name| line.contains(name))), "{needed:?}");
    assert!(full.join("lib/pkgconfig/treehead.pc").is_file());
}

/// A program that is linked statically, with its allocations counted.
fn limits(prefix: &Path) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("limits");
    let wrapped =
        ["malloc", "calloc", "realloc", "posix_memalign", "free"].map(|name| format!("-Wl,--wrap={name}"));
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]).args(wrapped);
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
    print!("{}", run(Command::new(limits(full())).arg(fixtures())));
}
