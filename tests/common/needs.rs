//! Tests with requirements that not every machine meets. The harness counts those that cannot run as ignored, with the
//! reason.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// The result of a test that may be ignored.
pub type Outcome = Result<Completion, Failed>;

/// A test and its name.
pub type Test = (&'static str, fn() -> Outcome);

/// The result of a test that cannot run here.
///
/// # Errors
/// If the test has to run: this environment variable is 1.
pub fn ignored(why: &str, required: &str) -> Outcome {
    if std::env::var(required).is_ok_and(|value| value == "1") {
        return Err(format!("{required} is set, but {why}").into());
    }
    Ok(Completion::ignored_with(why))
}

/// Runs the tests of a program with the arguments of `cargo test`.
pub fn run<const N: usize>(tests: [Test; N]) -> ExitCode {
    // `stringify!` may put spaces and newlines into a path.
    let name = |name: &str| name.split_whitespace().collect::<String>();
    let trials = tests.map(|(path, test)| Trial::ignorable_test(name(path), test));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// The tests of these names, with their names.
#[macro_export]
macro_rules! tests {
    ($($($part:ident)::+),* $(,)?) => {
        [$((stringify!($($part)::+), $($part)::+ as fn() -> _)),*]
    };
}
