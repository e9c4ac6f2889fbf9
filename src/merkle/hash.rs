//! RFC 6962 section 2.1 hashing: `0x00` before a leaf, `0x01` before a node.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::format::{FormatError, base64_decode_to, base64_encode, hex_decode, quote};

/// Length of a [`struct@Hash`] in bytes.
pub const HASH_BYTES: usize = 32;

/// RFC 6962 section 2.1: the prefix that keeps a leaf from being read as a node.
const LEAF_PREFIX: u8 = 0x00;
/// RFC 6962 section 2.1: the prefix that keeps a node from being read as a leaf.
const NODE_PREFIX: u8 = 0x01;

/// A SHA-256 value: a leaf hash, a node, a root, or the digest of an artifact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// The root of the empty tree: SHA-256 of nothing.
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// Wraps a hash that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// `MTH({d}) = SHA-256(0x00 || d)`, RFC 6962 section 2.1.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([LEAF_PREFIX]).chain_update(entry).finalize().into())
    }

    /// `SHA-256(0x01 || left || right)`, RFC 6962 section 2.1.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut block = [0; 1 + 2 * HASH_BYTES];
        block[0] = NODE_PREFIX;
        block[1..=HASH_BYTES].copy_from_slice(&left.0);
        block[1 + HASH_BYTES..].copy_from_slice(&right.0);
        Self(Sha256::digest(block).into())
    }

    /// Plain SHA-256, for artifacts and files; never a tree hash.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 44 characters of standard base64, padded.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for anything else.
    pub fn from_base64(text: &str) -> Result<Self, FormatError> {
        base64_decode_to(text).map(Self).ok_or_else(|| {
            FormatError::malformed("a hash", "44 characters of padded base64 for 32 bytes", quote(text))
        })
    }

    /// Standard base64, padded.
    #[must_use]
    pub fn to_base64(&self) -> String {
        base64_encode(&self.0)
    }

    /// Parses 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, FormatError> {
        hex_decode(text)
            .map(Self)
            .ok_or_else(|| FormatError::malformed("a SHA-256 value", "64 lower-case hex digits", quote(text)))
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        // `hex::encode` converts digit by digit through `char`, which is four times as slow.
        let mut digits = [0; 2 * HASH_BYTES];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits for each byte");
        core::str::from_utf8(&digits).expect("digits are ASCII").to_owned()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.to_hex())
    }
}

impl fmt::Display for Hash {
    /// Base64, as checkpoints and proofs write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// Base64, as `Display` writes it.
impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From base64; [`hex_hash`] reads hex.
impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_base64(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Reads a hash that JSON has in hex.
///
/// # Errors
/// The deserializer's.
pub fn hex_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    Hash::from_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl From<Hash> for Vec<u8> {
    fn from(hash: Hash) -> Self {
        hash.0.to_vec()
    }
}

impl TryFrom<Vec<u8>> for Hash {
    type Error = Vec<u8>;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Vec<u8>> {
        bytes.try_into().map(Self)
    }
}

/// The hasher for `rs_merkle`. Never use its own `Sha256`, which has no prefixes: a node could be passed off as a leaf.
#[derive(Debug, Clone, Copy)]
pub struct Rfc6962;

impl rs_merkle::Hasher for Rfc6962 {
    type Hash = Hash;

    fn hash(data: &[u8]) -> Hash {
        Hash::leaf(data)
    }

    fn concat_and_hash(left: &Hash, right: Option<&Hash>) -> Hash {
        // A node without a right sibling moves up unchanged: RFC 6962 splits at powers of two, so an incomplete subtree is
        // the sibling of the left part at a higher level.
        right.map_or(*left, |right| Hash::node(left, right))
    }
}
