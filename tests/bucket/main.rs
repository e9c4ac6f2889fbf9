//! Tests of logs in a bucket on a real object store. `TREEHEAD_TEST_S3` names the store, its key and a bucket, which
//! the tests create if needed: `http://KEY:SECRET@HOST:PORT/BUCKET`. Without it, the tests are ignored and say so;
//! `TREEHEAD_REQUIRE_S3=1` makes that a failure. `tests/bucket/ceph/start` starts such a store.

#![allow(clippy::unnecessary_wraps, reason = "tests that libtest-mimic runs have one type")]

#[path = "../common/needs.rs"]
#[macro_use]
mod needs;
#[path = "../common/object_store.rs"]
mod object_store;

mod commands;
mod crowd;
mod cuts;
mod exporting;
mod faults;
mod fleet;
mod keeping;
mod killed;
mod kit;
mod moving;
mod namespaces;
mod oracle;
mod promises;
mod proxy;
mod race;
#[path = "../common/random.rs"]
mod random;
mod rounds;
mod servers;
mod settings;
mod store;
#[path = "../workflow/tls_front.rs"]
#[allow(dead_code, reason = "the tests of whole workflows use more of it")]
mod tls_front;
#[path = "../common/toy_witness.rs"]
#[allow(dead_code, reason = "other test programs use more of it")]
mod toy_witness;
mod wire;
mod witnessed;
mod witnesses;

use std::process::ExitCode;

/// The variable that makes a missing store a failure.
pub const REQUIRED: &str = "TREEHEAD_REQUIRE_S3";

fn main() -> ExitCode {
    needs::run(tests![
        commands::store_check_prints_every_finding,
        commands::the_policy_keeps_batches_from_being_deleted,
        commands::partial_tiles_expire_and_nothing_else_does,
        cuts::three_servers_outlive_cuts_of_their_network,
        exporting::an_export_in_a_bucket_is_served_by_the_store,
        keeping::a_backup_of_a_served_log_makes_logs_in_directories_and_buckets,
        keeping::a_bucket_that_was_rolled_back_gets_the_rest_of_a_backup,
        keeping::a_publisher_can_publish_through_the_standby,
        keeping::every_kind_of_lost_object_is_rebuilt,
        keeping::load_measures_the_server_that_appends,
        kit::the_probe_finds_a_store_that_keeps_its_promises,
        kit::objects_are_created_replaced_read_listed_and_deleted,
        kit::a_store_behind_tls_takes_unsigned_payloads,
        kit::refusals_of_a_real_store_are_understood,
        namespaces::a_server_whose_link_goes_down_is_replaced_and_comes_back,
        killed::a_move_that_is_killed_goes_on_when_it_is_run_again,
        moving::a_bucket_that_does_not_continue_a_kept_head_convicts_its_log,
        moving::a_damaged_bucket_is_named_object_by_object,
        moving::a_log_moves_into_a_bucket_and_back,
        moving::a_log_with_witnesses_moves_with_both_heads_and_is_cosigned_afterwards,
        race::two_servers_race_that_both_always_hold_the_lease,
        race::two_servers_race_with_a_short_lease,
        race::two_servers_race_with_witnesses_and_a_lease_for_each,
        race::two_servers_race_with_witnesses_that_are_killed_and_paused_too,
        rounds::a_log_survives_rounds_of_faults,
        rounds::the_judge_finds_what_is_wrong,
        servers::a_bucket_has_one_log_below_a_prefix,
        servers::a_lost_cache_costs_nothing_but_time,
        servers::a_server_that_slept_while_another_one_took_over_stands_by,
        servers::a_standby_takes_over_from_a_server_that_is_killed_or_stopped,
        servers::readers_need_no_server,
        witnessed::a_bucket_that_was_rolled_back_is_found_by_the_witnesses,
        witnessed::a_holder_that_slept_shows_no_head_without_its_quorum_and_raises_no_alarm,
        witnessed::a_server_that_takes_over_asks_the_witnesses_and_finishes_what_was_signed,
    ])
}
