//! `treehead store-policy`: prints bucket rules that protect a log.

use serde_json::{Value, json};

use super::exit::CliResult;
use super::object_store::parse_address;
use super::output::result;
use crate::bucket::Address;
use crate::bucket::rules::{Protected, lifecycle, policy};

/// The parts of a log's bucket that the rules protect.
const LOG: Protected<'_> = Protected {
    created_once: &["batch/"],
    swapped: &["checkpoint", "checkpoint.signed", "origin", "profile"],
    short_lived: &["lease"],
    expiring: ("tile/", "treehead=partial"),
};

/// Print bucket rules that protect a log: a policy and a lifecycle
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead store-policy s3://releases/log                 both, with instructions
  treehead store-policy s3://releases/log --policy > policy.json
  aws s3api put-bucket-policy --bucket releases --policy file://policy.json
  treehead store-policy s3://releases/log --lifecycle > lifecycle.json
  aws s3api put-bucket-lifecycle-configuration --bucket releases \\
      --lifecycle-configuration file://lifecycle.json

Each aws command replaces the bucket's existing rules, so merge them first (aws s3api
get-bucket-policy, get-bucket-lifecycle-configuration).")]
pub struct Args {
    /// Bucket and prefix of the log
    #[arg(value_name = "s3://BUCKET/PREFIX", value_parser = parse_address)]
    pub address: Address,
    /// Print only the policy
    #[arg(long, conflicts_with = "lifecycle")]
    pub policy: bool,
    /// Print only the lifecycle
    #[arg(long)]
    pub lifecycle: bool,
    /// Deny only deletions, for stores whose policies do not know the keys s3:if-match and s3:if-none-match; there, the
    /// other statements would deny every write
    #[arg(long)]
    pub deletions_only: bool,
    /// Days after which partial tiles expire
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..))]
    pub partial_days: u32,
    /// Region of the bucket, if it is in China or in the US government cloud
    #[arg(long, value_name = "NAME", default_value = "")]
    pub region: String,
}

pub fn run(args: &Args, json: bool) -> CliResult {
    let partition = match &args.region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let policy = policy(&args.address, partition, &LOG, !args.deletions_only);
    let lifecycle = lifecycle(&args.address, &LOG, args.partial_days);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON can be printed") + "\n";
    if args.policy {
        return result(json, &policy, &pretty(&policy));
    }
    if args.lifecycle {
        return result(json, &lifecycle, &pretty(&lifecycle));
    }
    let lines = in_words(args, &pretty(&policy), &pretty(&lifecycle));
    result(json, &json!({ "policy": policy, "lifecycle": lifecycle }), &lines)
}

fn in_words(args: &Args, policy: &str, lifecycle: &str) -> String {
    let (bucket, days) = (args.address.bucket(), args.partial_days);
    let conditions = if args.deletions_only {
        ""
    } else {
        ", a batch can only be created (If-None-Match), and a head can only replace the head that was read (If-Match)"
    };
    format!(
        "Policy: nobody can delete batches and heads{conditions}.\n\
         aws s3api put-bucket-policy --bucket {bucket} --policy file://policy.json\n\n{policy}\n\
         Lifecycle: partial tiles (with the tag {tag}) expire after {days} days, and old versions of the lease after one.\n\
         aws s3api put-bucket-lifecycle-configuration --bucket {bucket} --lifecycle-configuration file://lifecycle.json\n\n{lifecycle}",
        tag = LOG.expiring.1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_denies_what_the_design_says() {
        let address: Address = "s3://releases/logs/main".parse().unwrap();
        let policy = policy(&address, "aws", &LOG, true);
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 3);
        assert!(statements.iter().all(|one| one["Effect"] == "Deny" && one["Principal"] == "*"));
        let batches = "arn:aws:s3:::releases/logs/main/batch/*";
        assert_eq!(statements[0]["Resource"][0], batches);
        assert_eq!(statements[1]["Resource"], json!([batches]));
        assert_eq!(statements[1]["Condition"], json!({ "Null": { "s3:if-none-match": "true" } }));
        assert_eq!(statements[2]["Resource"][0], "arn:aws:s3:::releases/logs/main/checkpoint");
        let whole: Address = "s3://releases".parse().unwrap();
        let policy = super::policy(&whole, "aws-cn", &LOG, false);
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
        assert_eq!(policy["Statement"][0]["Resource"][0], "arn:aws-cn:s3:::releases/batch/*");
        let lifecycle = lifecycle(&address, &LOG, 7);
        assert_eq!(lifecycle["Rules"][0]["Filter"]["And"]["Prefix"], "logs/main/tile/");
        assert_eq!(lifecycle["Rules"][0]["Expiration"]["Days"], 7);
    }
}
