//! Signing as a publisher, with the real program against a served log: keys from files, variables and standard input,
//! commands that sign, and what was signed elsewhere. openssl, an SSH agent and `SoftHSM` sign for real; where one is missing,
//! its test is ignored, with the reason, and `TREEHEAD_REQUIRE_SIGNERS=1` makes that a failure.

#![allow(clippy::unnecessary_wraps, reason = "tests that libtest-mimic runs have one type")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../workflow/program.rs"]
#[allow(dead_code, reason = "the tests of whole workflows use more of it")]
mod program;

mod commands;
mod keys;
mod submitted;
mod tools;
mod world;

use std::process::ExitCode;

/// Makes a missing program a failure.
pub const REQUIRED: &str = "TREEHEAD_REQUIRE_SIGNERS";

fn main() -> ExitCode {
    common::needs::run(tests![
        commands::a_command_signs_and_its_signature_is_verified_before_anything_is_sent,
        commands::a_command_that_fails_sends_nothing,
        commands::secrets_do_not_reach_a_command,
        keys::a_key_comes_from_a_file_a_variable_or_standard_input,
        keys::a_passphrase_comes_from_a_file_or_a_variable,
        keys::several_keys_make_one_envelope,
        keys::every_family_that_keygen_makes_signs,
        keys::keys_that_cannot_sign_say_why,
        submitted::a_statement_is_written_signed_elsewhere_and_submitted,
        submitted::what_was_not_signed_rightly_is_not_sent,
        submitted::an_envelope_goes_in_as_it_was_signed,
        submitted::a_summary_is_signed_elsewhere_and_submitted,
        submitted::a_statement_needs_a_number_and_a_log,
        tools::openssl_signs_as_a_command_and_by_hand,
        tools::openssl_signs_with_rsa_pss,
        tools::another_implementation_signs_with_ml_dsa,
        tools::openssh_keys_are_read,
        tools::an_ssh_agent_signs,
        tools::softhsm_signs,
        tools::a_mounted_secret_may_be_readable_by_its_group,
    ])
}
