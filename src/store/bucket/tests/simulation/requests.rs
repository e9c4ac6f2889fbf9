//! The requests of the servers, and their answers.

use std::hash::Hash;
use std::time::Duration;

use crate::bucket::{BucketError, Creation, Listing, Object, Operation, Replacement, Tag};
use crate::merkle;

/// A request, or a pause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    Begin,
    Get {
        key: String,
    },
    Create {
        key: String,
        bytes: Vec<u8>,
    },
    Replace {
        key: String,
        bytes: Vec<u8>,
        tag: Tag,
    },
    Put {
        key: String,
        bytes: Vec<u8>,
    },
    List {
        prefix: String,
        after: String,
        limit: usize,
    },
    /// Sleeps until the server's clock shows this time.
    Sleep {
        until: Duration,
    },
}

impl Op {
    pub fn is_write(&self) -> bool {
        self.is_conditional() || matches!(self, Self::Put { .. })
    }

    pub fn is_conditional(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Replace { .. })
    }

    pub fn shown(&self) -> String {
        match self {
            Self::Create { key, .. } => format!("create {key}"),
            Self::Replace { key, .. } => format!("replace {key}"),
            Self::Put { key, .. } => format!("put {key}"),
            other => format!("{other:?}"),
        }
    }
}

/// The answer that a server gets.
#[derive(Debug, Clone)]
pub enum Answer {
    Done,
    Object(Option<Object>),
    Creation(Creation),
    Replacement(Replacement),
    Tag(Tag),
    Listing(Listing),
    Failed(BucketError),
    /// The server's process is killed.
    Killed,
    /// The run is over.
    Over,
}

impl Hash for Answer {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            // Equal tags mean equal bytes.
            Self::Object(object) => object.as_ref().map(|object| &object.tag).hash(hasher),
            Self::Creation(Creation::Created(tag)) | Self::Replacement(Replacement::Replaced(tag)) => {
                tag.hash(hasher);
            }
            Self::Listing(listing) => listing.objects.iter().for_each(|listed| listed.key.hash(hasher)),
            Self::Failed(error) => error.code().hash(hasher),
            Self::Creation(creation) => (*creation == Creation::Exists).hash(hasher),
            Self::Replacement(replacement) => (*replacement == Replacement::Stale).hash(hasher),
            Self::Done | Self::Tag(_) | Self::Killed | Self::Over => {}
        }
    }
}

/// The tag of an object. As in S3, equal bytes have equal tags.
pub fn tag_of(bytes: &[u8]) -> Tag {
    Tag::parse(&merkle::Hash::digest(bytes).to_hex()[..32]).expect("hex digits")
}

/// The answer after which the outcome is unclear.
pub fn failed(op: &Op) -> Answer {
    let (url, detail) = ("simulated".to_owned(), "no answer in time".to_owned());
    let operation = match op {
        Op::Create { .. } => Operation::Create,
        Op::Replace { .. } => Operation::Replace,
        Op::Put { .. } => Operation::Put,
        _ => return Answer::Failed(BucketError::Unavailable { url, detail, retry_after: None }),
    };
    Answer::Failed(BucketError::Unclear { operation, url, detail, retry_after: None })
}
