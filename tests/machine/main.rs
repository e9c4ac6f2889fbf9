//! Tests that need something of the machine: the right to mount small file systems, openssl, script(1), promtool, a browser
//! and node. If it is missing, a test is ignored, with the reason.

#[path = "../common/mod.rs"]
mod common;
#[path = "../workflow/program.rs"]
#[allow(dead_code, reason = "the tests of whole workflows use more of it")]
mod program;

mod explorer;
mod full_disk;
mod full_store;
mod power_cut;
mod programs;
mod read_only;
mod served;
mod threads;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::needs::run(tests![
        explorer::every_view_is_right_wide_and_narrow_light_and_dark,
        full_disk::a_full_disk_that_only_sled_and_the_checkpoint_are_on,
        full_disk::a_full_ext4,
        full_disk::a_full_tmpfs,
        full_store::on_a_full_disk_reads_go_on_and_appending_does_when_there_is_space_again,
        power_cut::a_log_that_skips_its_fdatasyncs_is_caught,
        power_cut::ten_power_cuts_lose_nothing_that_was_acknowledged,
        programs::at_a_terminal_a_yes_is_enough_and_nothing_less,
        programs::keys_that_openssl_made_publish_too,
        programs::promtool_accepts_the_rules_and_all_metrics,
        read_only::a_journal_that_may_not_be_written_for_a_while,
        read_only::an_ext4_that_turned_read_only_by_itself,
        threads::a_program_without_enough_threads_says_so_and_does_not_panic,
        threads::a_server_goes_on_when_there_are_no_more_threads,
    ])
}
