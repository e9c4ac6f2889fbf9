//! Addresses of buckets, and of prefixes within them.

use core::fmt;
use core::str::FromStr;

use super::objects::{MAX_KEY_BYTES, is_path};
use crate::format::{FormatError, quote};

/// Longest prefix, in bytes. It leaves enough room for the longest key of a log.
const MAX_PREFIX_BYTES: usize = MAX_KEY_BYTES - 256;

/// `s3://BUCKET` or `s3://BUCKET/PREFIX`: a bucket, or the part of it whose keys begin with a prefix.
///
/// ```
/// use treehead::bucket::Address;
///
/// let address: Address = "s3://releases/logs/main".parse()?;
/// assert_eq!((address.bucket(), address.prefix()), ("releases", "logs/main"));
/// assert_eq!(address.key("checkpoint"), "logs/main/checkpoint");
/// # Ok::<(), treehead::format::FormatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    bucket: String,
    prefix: String,
}

impl Address {
    /// Returns true for text with the scheme `s3:`, whether or not the rest is well-formed.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://"))
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix without leading and trailing slashes; empty for a whole bucket.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Turns a key below the prefix into a key in the bucket.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// The address of a folder below the prefix.
    ///
    /// # Errors
    /// [`FormatError`] if the result is not a valid address.
    pub fn below(&self, folder: &str) -> Result<Self, FormatError> {
        format!("{self}/{folder}").parse()
    }
}

impl FromStr for Address {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let malformed =
            |expected: &str| Err(FormatError::malformed("the address of a bucket", expected, quote(text)));
        let Some(rest) = text.strip_prefix("s3://") else {
            return malformed("s3://BUCKET or s3://BUCKET/PREFIX");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return malformed(
                "a bucket's name of 3 to 63 lower-case letters, digits, dots and hyphens, which begins and ends with a letter or digit",
            );
        }
        let prefix = prefix.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(prefix);
        if !prefix.is_empty() && (prefix.len() > MAX_PREFIX_BYTES || !is_path(prefix)) {
            return malformed(
                "a prefix of at most 768 letters, digits and !-_.*'()=+@~ in segments joined by single slashes",
            );
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// Checks S3's general rules for bucket names, which include the rules of other stores.
fn is_bucket(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&name.len())
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(b))
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling_except_for_a_trailing_slash() {
        for (text, bucket, prefix) in [
            ("s3://releases", "releases", ""),
            ("s3://releases/", "releases", ""),
            ("s3://re-1.x/logs/main", "re-1.x", "logs/main"),
            ("s3://releases/logs/main/", "releases", "logs/main"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.bucket(), address.prefix()), (bucket, prefix), "{text}");
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
            assert_eq!(address.below("x").unwrap().to_string(), format!("{address}/x"));
        }
        let whole: Address = "s3://releases".parse().unwrap();
        assert_eq!(whole.key("checkpoint"), "checkpoint");
    }

    #[test]
    fn addresses_that_stores_or_proxies_might_rewrite_are_refused() {
        for bad in [
            "",
            "releases",
            "S3://releases",
            "s3:/releases",
            "s3://",
            "s3:///x",
            "s3://ab",
            "s3://Releases",
            "s3://re_leases",
            "s3://-releases",
            "s3://releases.",
            "s3://re..leases",
            "s3://192.0.2.7",
            "s3://user@releases",
            "s3://releases:80",
            "s3://releases//",
            "s3://releases/a//b",
            "s3://releases//a",
            "s3://releases/a/../b",
            "s3://releases/./a",
            "s3://releases/a b",
            "s3://releases/a?b",
            "s3://releases/a#b",
            "s3://releases/a%20b",
            "s3://releases/\u{e9}",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        assert!(format!("s3://{}", "a".repeat(64)).parse::<Address>().is_err());
        assert!(format!("s3://abc/{}", "a".repeat(769)).parse::<Address>().is_err());
        assert!(
            Address::is_meant("S3://x") && !Address::is_meant("s3:") && !Address::is_meant("s3:/\u{e9}/")
        );
    }
}
