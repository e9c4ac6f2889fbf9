//! The command line, with its answers held as snapshots: `tests/cli/*.trycmd`.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes them anew; read the difference before it goes in.

#[test]
fn commands_answer_as_the_snapshots_say() {
    trycmd::TestCases::new()
        // Help is wrapped at the terminal's width, and coloured where somebody forces it.
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .case("tests/cli/*.trycmd");
}
