//! The command line, with its output held as snapshots: `tests/cli/*.trycmd`.
//!
//! `TRYCMD=overwrite cargo test --test cli` rewrites them; review the difference before you commit it.

#[test]
fn commands_answer_as_the_snapshots_say() {
    trycmd::TestCases::new()
        // Help is wrapped at the terminal's width, and coloured if forced.
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .case("tests/cli/*.trycmd");
}
