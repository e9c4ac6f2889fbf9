//! Editing `treehead.toml`: where the log is.

use toml_edit::{DocumentMut, value};

use super::bucket::BucketSettings;
use super::exit::Failure;

/// The settings of a log in `bucket`, or in its directory if `None`. Keeps everything else, including comments.
pub fn with_store(text: &str, bucket: Option<&BucketSettings>) -> Result<String, Failure> {
    let mut document = parse(text)?;
    document.remove("store");
    document.remove("bucket");
    let Some(bucket) = bucket else { return Ok(document.to_string()) };
    let (top, block) = bucket.to_toml();
    let new = parse(&top)?;
    for (name, item) in new.iter() {
        let key = new.key(name).expect("it is there");
        document.as_table_mut().insert_formatted(key, item.clone());
    }
    Ok(document.to_string() + &block)
}

/// The settings with another address of the bucket, and another URL of the server if one is given.
pub fn with_address(text: &str, bucket: &BucketSettings) -> Result<String, Failure> {
    let mut document = parse(text)?;
    document["store"] = value(bucket.address.to_string());
    if let Some(url) = &bucket.url {
        document["bucket"]["address"] = value(url.as_str());
    }
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut, Failure> {
    text.parse().map_err(|e: toml_edit::TomlError| Failure::Usage(format!("treehead.toml: {}", e.message())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bucket::StoreOptions;

    fn bucket(url: Option<&str>) -> BucketSettings {
        BucketSettings {
            address: "s3://releases/p".parse().unwrap(),
            options: StoreOptions { region: Some("r".to_owned()), ..StoreOptions::default() },
            lease_seconds: 5,
            linger: Duration::from_millis(7),
            url: url.map(str::to_owned),
        }
    }

    const PLAIN: &str = "# Settings.\norigin = \"a.example\" # mine\nlisten = \"127.0.0.1:80\"\n\n# A witness.\n[[witness]]\nname = \"w\"\n";

    #[test]
    fn a_log_moves_to_a_bucket_and_back_and_all_else_stays() {
        let moved = with_store(PLAIN, Some(&bucket(Some("https://a")))).unwrap();
        let read: toml::Table = moved.parse().unwrap();
        assert_eq!(read["store"].as_str(), Some("s3://releases/p"), "{moved}");
        assert_eq!(read["bucket"]["lease_seconds"].as_integer(), Some(5), "{moved}");
        assert_eq!(read["bucket"]["address"].as_str(), Some("https://a"));
        assert!(
            moved.contains("# mine") && moved.contains("# A witness.") && moved.contains("# The log is in")
        );
        assert_eq!(with_store(&moved, None).unwrap().trim_end(), PLAIN.trim_end());
        // Again, elsewhere.
        let again = with_store(&moved, Some(&bucket(None))).unwrap();
        assert_eq!(again.matches("[bucket]").count(), 1, "{again}");
        assert!(!again.contains("https://a"), "{again}");
    }

    #[test]
    fn another_address_leaves_the_other_settings_of_the_bucket() {
        let moved = with_store(PLAIN, Some(&bucket(Some("https://a")))).unwrap();
        let other =
            BucketSettings { address: "s3://releases/q".parse().unwrap(), ..bucket(Some("https://b")) };
        let again = with_address(&moved, &other).unwrap();
        assert_eq!(
            again,
            moved.replace("s3://releases/p", "s3://releases/q").replace("https://a", "https://b")
        );
        let kept = with_address(&moved, &BucketSettings { url: None, ..other }).unwrap();
        assert_eq!(kept, moved.replace("s3://releases/p", "s3://releases/q"));
    }
}
