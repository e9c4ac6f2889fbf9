//! `treehead store-check`: probes an object store.

use super::bucket::probe;
use super::exit::{CliResult, Exit, Failure};
use super::object_store::{StoreArgs, parse_address};
use super::output::{result, say};
use crate::bucket::Address;
use crate::bucket::probe::{Extent, Verdict};

/// Check whether an object store keeps the promises that a log in a bucket depends on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead store-check s3://releases/log --region eu-central-1
  treehead store-check s3://releases/log --endpoint https://s3.example.com

It writes about 40 small objects below PREFIX/probe/, lets 64 connections race for single objects,
and deletes what it wrote. Credentials come from the environment (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY), a profile (AWS_PROFILE) or a role.

Exit codes: 0 the store keeps its promises, 1 it breaks one, 3 could not tell.")]
pub struct Args {
    /// Bucket, and the prefix to work under
    #[arg(value_name = "s3://BUCKET/PREFIX", value_parser = parse_address)]
    pub address: Address,
    #[command(flatten)]
    pub store: StoreArgs,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let store = args.store.open(&args.address)?;
    let found = probe(&store, Extent::FULL)?;
    let verdict = match (found.verdict(), found.tag_style()) {
        (Verdict::Right, Some(style)) => format!("right: it can hold a log ({style} tags)"),
        (Verdict::Lies, _) => "it LIES: it can't hold a log; docs/bucket.md lists tested stores".to_owned(),
        _ => "could not tell: try again".to_owned(),
    };
    let ms = found.time().as_millis();
    result(
        json,
        &found.to_json(),
        &format!("{}\n{}: {verdict} [{ms} ms]\n", found.in_words(), found.store()),
    )?;
    if !found.is_clean() {
        say("could not delete all of the probe's objects: look below PREFIX/probe/");
    }
    match found.verdict() {
        Verdict::Right => Ok(()),
        Verdict::Lies => Err(Failure::Told(Exit::Refused)),
        _ => Err(Failure::Told(Exit::CouldNotTell)),
    }
}
