//! The store under test.

use std::sync::OnceLock;

use treehead::bucket::TagStyle;
use treehead::bucket::probe::{Extent, check_store};

pub use crate::object_store::Store;

/// The store under test. The error says that there is none.
pub fn store() -> Result<Store, String> {
    static STORE: OnceLock<Option<Store>> = OnceLock::new();
    STORE.get_or_init(Store::find).clone().ok_or_else(|| {
        "TREEHEAD_TEST_S3 names no object store (http://KEY:SECRET@HOST:PORT/BUCKET)".to_owned()
    })
}

impl Store {
    /// The form of tags that the store accepts.
    pub fn tag_style(&self) -> TagStyle {
        let client = self.client(&format!("tests/tags-{}", crate::settings::fresh_seed()));
        let found = check_store(&client, Extent { rounds: 1, racers: 4, objects: 1 }).expect("it answers");
        found.conditions().expect("it keeps its promises").tag_style
    }

    /// Grants everybody read access to the bucket.
    pub fn allow_reading(&self) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::{}/*"}}]}}"#,
            self.bucket
        );
        let set = self
            .client("x")
            .administer(&[("policy", "")], Vec::new(), policy.as_bytes())
            .expect("it answers");
        assert!(matches!(set.0, 200 | 204), "{} {}", set.0, String::from_utf8_lossy(&set.1));
    }
}
