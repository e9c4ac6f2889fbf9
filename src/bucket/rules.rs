//! Bucket rules, with which the store itself protects the objects, as JSON for `aws s3api`.

use serde_json::{Value, json};

use super::Address;

/// The parts of a bucket that need protection, as keys below the prefix.
#[derive(Debug, Clone, Copy)]
pub struct Protected<'a> {
    /// Prefixes of keys that are created once, and neither replaced nor deleted.
    pub created_once: &'a [&'a str],
    /// Keys that are replaced only by compare-and-swap, and not deleted.
    pub swapped: &'a [&'a str],
    /// Keys that are replaced by compare-and-swap so often that their old versions should be deleted.
    pub short_lived: &'a [&'a str],
    /// The key prefix of objects that expire if they have a tag, and that tag as `key=value`.
    pub expiring: (&'a str, &'a str),
}

/// A bucket policy that denies everybody to delete protected objects and, if `with_conditions`, to write them without
/// `If-None-Match` or `If-Match`.
///
/// `with_conditions` needs a store whose policies know the keys `s3:if-none-match` and `s3:if-match`. Other stores may
/// deny every write.
#[must_use]
pub fn policy(address: &Address, partition: &str, protected: &Protected<'_>, with_conditions: bool) -> Value {
    let arn = |key: String| format!("arn:{partition}:s3:::{}/{key}", address.bucket());
    let all = |prefixes: &[&str]| -> Vec<String> {
        prefixes.iter().map(|prefix| arn(address.key(&format!("{prefix}*")))).collect()
    };
    let exact = |keys: &[&str]| -> Vec<String> { keys.iter().map(|key| arn(address.key(key))).collect() };
    let deny = |sid: &str, action: Value, resource: Vec<String>| json!({ "Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource });
    let deletes = json!(["s3:DeleteObject", "s3:DeleteObjectVersion"]);
    let kept = [all(protected.created_once), exact(protected.swapped)].concat();
    let mut statements = vec![deny("NothingIsDeleted", deletes, kept)];
    if with_conditions {
        // A condition with several keys holds if all of them hold: here, if the request has neither header.
        let mut once = deny("CreatedOnce", json!("s3:PutObject"), all(protected.created_once));
        once["Condition"] = json!({ "Null": { "s3:if-none-match": "true" } });
        let swapped = [exact(protected.swapped), exact(protected.short_lived)].concat();
        let mut swap = deny("ReplacedByCompareAndSwap", json!("s3:PutObject"), swapped);
        swap["Condition"] = json!({ "Null": { "s3:if-none-match": "true", "s3:if-match": "true" } });
        statements.extend([once, swap]);
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Lifecycle rules: tagged objects expire after `days` days and, in a bucket with versioning, old versions of
/// short-lived objects after one.
#[must_use]
pub fn lifecycle(address: &Address, protected: &Protected<'_>, days: u32) -> Value {
    let (prefix, tag) = protected.expiring;
    let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
    let tags = json!([{ "Key": key, "Value": value }]);
    let mut rules = vec![json!({
        "ID": "expiring",
        "Status": "Enabled",
        "Filter": { "And": { "Prefix": address.key(prefix), "Tags": tags } },
        "Expiration": { "Days": days },
    })];
    for key in protected.short_lived {
        rules.push(json!({
            "ID": format!("old-versions-of-{key}"),
            "Status": "Enabled",
            "Filter": { "Prefix": address.key(key) },
            "NoncurrentVersionExpiration": { "NoncurrentDays": 1 },
        }));
    }
    json!({ "Rules": rules })
}
