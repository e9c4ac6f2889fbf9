//! The `treehead` binary.

fn main() -> std::process::ExitCode {
    treehead::cli::main()
}
