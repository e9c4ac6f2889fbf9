//! Rules of a bucket, by which the store itself protects what is in it, as JSON for `aws s3api`.

use serde_json::{Value, json};

use super::Address;

/// The parts of a bucket that need protection, as keys below the prefix.
#[derive(Debug, Clone, Copy)]
pub struct Protected<'a> {
    /// Beginnings of keys that are created once, and neither replaced nor deleted.
    pub created_once: &'a [&'a str],
    /// Keys that are replaced by compare-and-swap only, and not deleted.
    pub swapped: &'a [&'a str],
    /// Keys that are replaced by compare-and-swap so often that their old versions are not worth keeping.
    pub short_lived: &'a [&'a str],
    /// The beginning of keys of objects that expire if they have a tag, and the tag as `key=value`.
    pub expiring: (&'a str, &'a str),
}

/// A bucket policy that denies, to everybody, to delete what is protected, and `with_conditions` also to write it without
/// `If-None-Match` or `If-Match`.
///
/// Conditions need a store whose policies know the keys `s3:if-none-match` and `s3:if-match`. Elsewhere they may deny
/// every write.
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
        // A condition of several keys holds if all of them hold: here, if the request has neither header.
        let mut once = deny("CreatedOnce", json!("s3:PutObject"), all(protected.created_once));
        once["Condition"] = json!({ "Null": { "s3:if-none-match": "true" } });
        let swapped = [exact(protected.swapped), exact(protected.short_lived)].concat();
        let mut swap = deny("ReplacedByCompareAndSwap", json!("s3:PutObject"), swapped);
        swap["Condition"] = json!({ "Null": { "s3:if-none-match": "true", "s3:if-match": "true" } });
        statements.extend([once, swap]);
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Lifecycle rules: what has the tag expires after some days, and so do old versions of short-lived objects, if the bucket
/// keeps versions.
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
