//! The `treehead` binary.

/// Entries are allocated by the threads that receive them and freed by the one that commits: the
/// system's allocator makes those wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    treehead::cli::main()
}
