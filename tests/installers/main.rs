//! The hooks of `integrations/`, called as the installers call them: apt and dpkg for real, in a root of their own; the
//! others by their protocols; and the script for rebuilderd. Where a program is missing, the test is ignored, with the reason;
//! `TREEHEAD_REQUIRE_INSTALLERS=1` makes that a failure.

#![allow(clippy::unnecessary_wraps, reason = "tests that libtest-mimic runs have one type")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../workflow/program.rs"]
#[allow(dead_code, reason = "the tests of whole workflows use more of it")]
mod program;

mod apt;
mod containerd;
mod machine;
mod pipelines;
mod rauc;
mod rebuilderd;

use std::process::ExitCode;

/// Makes a missing program a failure.
pub const REQUIRED: &str = "TREEHEAD_REQUIRE_INSTALLERS";

fn main() -> ExitCode {
    common::needs::run(tests![
        apt::a_list_that_the_hook_cannot_read_stops_apt,
        apt::a_logged_package_installs_and_a_changed_or_unlogged_one_stops_apt,
        apt::an_older_package_and_a_withdrawn_one_stop_apt,
        apt::proofs_come_from_a_folder_or_from_the_log,
        apt::the_rules_say_what_happens_to_other_packages,
        containerd::a_logged_image_is_allowed_and_others_are_not,
        containerd::a_call_that_is_not_understood_blocks_the_image,
        pipelines::gitlabs_jobs_publish_and_verify,
        pipelines::githubs_actions_publish_and_verify,
        rauc::a_bundle_installs_only_if_each_file_of_it_is_logged,
        rebuilderd::a_link_that_does_not_hold_makes_no_summary,
        rebuilderd::what_rebuilderd_found_becomes_a_summary,
    ])
}
