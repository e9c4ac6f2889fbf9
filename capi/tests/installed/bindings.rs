//! The bindings and the examples, each where its tool is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::compile;
use super::{HERE, fixtures, full, has, run};

fn root() -> PathBuf {
    Path::new(HERE).join("..").canonicalize().expect("the root")
}

/// A place for what a tool makes, empty.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// Runs an example on a file that is fine and on one that is not.
fn try_example(what: &str, command: &dyn Fn() -> Command) {
    let output = |file: &str| {
        let mut command = command();
        command.arg(fixtures().join("witnessed.trust")).arg(fixtures().join(file));
        let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), format!("{out}{err}"))
    };
    let (code, said) = output("scanner.sh");
    assert_eq!(code, Some(0), "{what}: {said}");
    assert!(said.contains("scanner.sh: pkg:generic/example/scanner@2.0 by vendor"), "{what}: {said}");
    let (code, said) = output("tampered.sh");
    assert_eq!(code, Some(1), "{what}: {said}");
    assert!(said.contains("artifact-mismatch") && said.contains("Do not install it"), "{what}: {said}");
    println!("{what}: as it should be");
}

#[test]
fn c_and_cpp_examples() {
    for (source, flags) in [("c/verify.c", &[][..]), ("cpp/verify.cpp", &[]), ("c/verify.c", &["-static"])] {
        let name = format!("example-{}-{}", source.replace('/', "-"), flags.len());
        let program = compile(&root().join("examples").join(source), full(), &name, flags);
        try_example(source, &|| Command::new(&program));
    }
}

#[test]
fn python() {
    if !has("python3") {
        println!("no python3: not run");
        return;
    }
    let bindings = Path::new(HERE).join("bindings/python");
    let library = full().join("lib/libtreehead.so.0");
    let mut tests = Command::new("python3");
    tests.args(["-B", "-m", "unittest", "-v"]).current_dir(&bindings);
    run(tests.env("TREEHEAD_LIBRARY", &library).env("TREEHEAD_FIXTURES", fixtures()));
    try_example("python/verify.py", &|| {
        let mut command = Command::new("python3");
        command.arg("-B").arg(root().join("examples/python/verify.py"));
        command.env("TREEHEAD_LIBRARY", &library).env("PYTHONPATH", &bindings);
        command
    });
}

/// A wheel carries the library: it works with nothing else. Building one needs pip and its index.
#[test]
fn python_wheel() {
    let venv = scratch("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("no python3 with venv: not run");
        return;
    }
    let (wheels, source) = (scratch("wheels"), scratch("wheel-source"));
    let bindings = Path::new(HERE).join("bindings/python");
    run(Command::new("cp").arg("-r").arg(bindings.join(".")).arg(&source));
    let mut wheel = Command::new(venv.join("bin/pip"));
    wheel.args(["wheel", "--no-deps", "-q", "-w"]).arg(&wheels).arg(&source);
    let built =
        wheel.env("TREEHEAD_LIBRARY", full().join("lib/libtreehead.so.0")).output().expect("pip runs");
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success()
        && (said.contains("No matching distribution") || said.contains("ConnectionError"))
    {
        println!("pip has no index to take setuptools from: not run");
        return;
    }
    assert!(built.status.success(), "{said}");
    let wheel =
        std::fs::read_dir(&wheels).expect("a directory").next().expect("a wheel").expect("a file").path();
    println!("{}", wheel.display());
    run(Command::new(venv.join("bin/pip")).args(["install", "-q", "--no-index"]).arg(&wheel));
    let tests = scratch("wheel-tests");
    std::fs::copy(bindings.join("test_treehead.py"), tests.join("test_treehead.py")).expect("a copy");
    let mut unittest = Command::new(venv.join("bin/python"));
    unittest.args(["-B", "-m", "unittest"]).current_dir(&tests).env_remove("TREEHEAD_LIBRARY");
    run(unittest.env("TREEHEAD_FIXTURES", fixtures()));
}

#[test]
fn go() {
    if Command::new("go").arg("version").output().is_err() || !has("pkg-config") {
        println!("no go or no pkg-config: not run");
        return;
    }
    let prefix = full();
    let go = |dir: &Path| {
        let mut command = Command::new("go");
        command.current_dir(dir).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        command.env("LD_LIBRARY_PATH", prefix.join("lib")).env("TREEHEAD_FIXTURES", fixtures());
        command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        // Go keeps built packages, and what pkg-config said is no part of their key: without the folder in it, a library
        // that was in another folder before would be looked for there.
        command.env("CGO_LDFLAGS", format!("-O2 -g -L{}", prefix.join("lib").display()));
        command
    };
    let bindings = Path::new(HERE).join("bindings/go");
    run(go(&bindings).args(["vet", "./..."]));
    run(go(&bindings).args(["test", "-count=1", "./..."]));
    let program = scratch("go").join("verify");
    run(go(&root().join("examples/go")).args(["build", "-o"]).arg(&program).arg("."));
    try_example("go/main.go", &|| {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", prefix.join("lib"));
        command
    });
}

#[test]
fn java() {
    // Debian's libjna-java, or a jar that TREEHEAD_JNA names, with Debian's libjna-jni where TREEHEAD_JNA_LIBRARY says.
    let jar = std::env::var("TREEHEAD_JNA").unwrap_or_else(|_| "/usr/share/java/jna.jar".to_owned());
    if Command::new("javac").arg("-version").output().is_err() || !Path::new(&jar).is_file() {
        println!("no javac, or no JNA at {jar}: not run");
        return;
    }
    let classes = scratch("java");
    let mut javac = Command::new("javac");
    javac.args(["--release", "17", "-Xlint:all,-serial", "-Werror", "-cp", &jar, "-d"]).arg(&classes);
    let sources = [
        Path::new(HERE).join("bindings/java/Treehead.java"),
        Path::new(HERE).join("bindings/java/TreeheadTest.java"),
        root().join("examples/java/Verify.java"),
    ];
    run(javac.args(sources));
    let java = |class: &str| {
        let mut command = Command::new("java");
        command.arg("-cp").arg(format!("{}:{jar}", classes.display()));
        command.arg(format!("-Djna.library.path={}", full().join("lib").display()));
        if let Ok(library) = std::env::var("TREEHEAD_JNA_LIBRARY") {
            command.arg(format!("-Djna.boot.library.path={library}"));
            command.arg("-Djna.boot.library.name=jnidispatch.system");
        }
        command.arg(class);
        command
    };
    print!("{}", run(java("TreeheadTest").arg(fixtures())));
    try_example("java/Verify.java", &|| java("Verify"));
}
