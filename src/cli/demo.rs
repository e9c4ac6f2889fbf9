use super::args::Demo;
use super::exit::CliResult;
pub fn run(_: &Demo, _: bool) -> CliResult {
    Ok(())
}
