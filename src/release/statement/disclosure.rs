//! Disclosures: a finding of a logged review was shown, to everybody or to one party.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"commitment":"<hex>","finding":"...","log":"log.example.com/releases","purl":"pkg:...@1.2.3",
//!   "review":{"index":17,"leaf":"<hex leaf hash>"},"salt":"<hex>"},
//!  "predicateType":"urn:treehead:disclosure:v1",
//!  "subject":[...]}                                            those of the review
//! ```
//!
//! With `finding` and `salt`, everybody can read the finding, and the statement is refused unless they open the commitment.
//! A finding that only one party was shown has `"to":"..."` in their place, and nothing that would help to guess it.

use alloc::string::String;
use alloc::vec::Vec;

use super::{
    Commitment, Opening, Purl, Resource, check_text, open_as, purls_in, read_purl_and_log, to_payload_of,
};
use crate::format::FormatError;
use crate::merkle::{Hash, LeafIndex};
use crate::release::json::{Fields, Json};

pub(super) const PREDICATE_TYPE: &str = "urn:treehead:disclosure:v1";

/// The audience of a disclosure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Everybody: the statement has the finding and the salt.
    ToAll(Opening),
    /// This party alone, which got the finding and the salt by another way.
    To(String),
}

/// A disclosure statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// The subjects of the review.
    pub subjects: Vec<Resource>,
    /// Leaf index of the review; at most 2^53 - 1.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The commitment, which is one of the review's.
    pub commitment: Commitment,
    /// The audience.
    pub shown: Shown,
    /// Package and version of the review, if it names any.
    pub purl: Option<Purl>,
    /// Origin of the log that holds the review, and the only one that it is for, if it names one.
    pub log: Option<String>,
    purls: Vec<Purl>,
}

impl Disclosure {
    const WHAT: &str = "a disclosure";

    /// Parses the payload of an envelope.
    ///
    /// Unknown fields of the statement are ignored, as in-toto demands; in the predicate, which is ours, they are rejected.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of the shape shown above, and a finding opens its commitment.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        open_as(Self::WHAT, payload, PREDICATE_TYPE).and_then(Self::read)
    }

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let commitment = Commitment::from_hex(&predicate.text("commitment")?)?;
        let mut review = predicate.object("review")?;
        let index = LeafIndex::new(review.integer("index")?).expect("at most 2^53 - 1");
        let leaf = Hash::from_hex(&review.text("leaf")?)?;
        review.nothing_else()?;
        let (purl, log) = read_purl_and_log(&mut predicate)?;
        let shown = read_shown(&mut predicate, &commitment)?;
        predicate.nothing_else()?;
        let purls = purls_in(purl.as_ref().map(|purl| purl.as_str()), &subjects)?;
        Ok(Self { subjects, index, leaf, commitment, shown, purl, log, purls })
    }

    /// Every package and version that it is about, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }

    /// The disclosure of a finding of the review in an entry.
    ///
    /// # Errors
    /// [`FormatError`] if the entry is no review, or has no such commitment.
    pub fn of(
        index: LeafIndex,
        entry: &[u8],
        opening: &Opening,
        to: Option<&str>,
    ) -> Result<Self, FormatError> {
        let envelope = crate::release::Envelope::parse_entry(entry)?;
        let review = super::Review::parse(envelope.payload())?;
        let purls = review.purls().to_vec();
        let super::Review { subjects, commitments, purl, log, .. } = review;
        let commitment = opening.commitment();
        if !commitments.contains(&commitment) {
            let seen = format!("{}, which is none of them", commitment.to_hex());
            return Err(FormatError::malformed("an opening", "one of the review's commitments", seen));
        }
        let shown = to.map_or_else(|| Shown::ToAll(opening.clone()), |to| Shown::To(to.into()));
        Ok(Self { subjects, index, leaf: Hash::leaf(entry), commitment, shown, purl, log, purls })
    }

    /// Checks that it discloses a finding of the review in an entry: leaf hash, commitment and subjects.
    ///
    /// # Errors
    /// [`FormatError`] that says what differs.
    pub fn check_review(&self, entry: &[u8]) -> Result<(), FormatError> {
        let wrong = |expected: &str, seen: String| Err(FormatError::malformed(Self::WHAT, expected, seen));
        let leaf = Hash::leaf(entry);
        if leaf != self.leaf {
            return wrong("the review with the leaf hash that it names", leaf.to_hex());
        }
        let envelope = crate::release::Envelope::parse_entry(entry)?;
        let review = super::Review::parse(envelope.payload())?;
        if !review.commitments.contains(&self.commitment) {
            return wrong("a commitment of the review", self.commitment.to_hex());
        }
        if review.subjects != self.subjects || review.purls() != self.purls {
            return wrong("the subjects and the package of the review", "others".into());
        }
        Ok(())
    }

    /// The payload to sign, in canonical JSON.
    ///
    /// # Errors
    /// [`FormatError`] for what [`parse`](Self::parse) would reject.
    pub fn to_payload(&self) -> Result<Vec<u8>, FormatError> {
        let string = Json::string;
        let review = Json::object([
            ("index", Json::unsigned(self.index.get())),
            ("leaf", string(&self.leaf.to_hex())),
        ]);
        let mut predicate =
            vec![("commitment".into(), string(&self.commitment.to_hex())), ("review".into(), review)];
        match &self.shown {
            Shown::To(to) => predicate.push(("to".into(), string(to))),
            Shown::ToAll(opening) => predicate.extend([
                ("finding".into(), string(opening.finding())),
                ("salt".into(), string(&Hash::from_bytes(*opening.salt()).to_hex())),
            ]),
        }
        predicate.extend(self.purl.as_ref().map(|purl| ("purl".into(), string(purl.as_str()))));
        predicate.extend(self.log.as_deref().map(|log| ("log".into(), string(log))));
        let subjects = self.subjects.iter().map(Resource::to_json).collect();
        let payload = to_payload_of(PREDICATE_TYPE, Json::Object(predicate), subjects);
        Self::parse(&payload).map(|_| payload)
    }
}

fn read_shown(predicate: &mut Fields<'_>, commitment: &Commitment) -> Result<Shown, FormatError> {
    if let Some(to) = predicate.optional_string("to")? {
        check_text("the party of a disclosure", &to)?;
        return Ok(Shown::To(to));
    }
    let (finding, salt) = (predicate.string("finding")?, predicate.text("salt")?);
    let opening = Opening::new(finding, *Hash::from_hex(&salt)?.as_bytes())?;
    if opening.commitment() != *commitment {
        let expected = "finding and salt that open the commitment";
        return Err(FormatError::malformed(Disclosure::WHAT, expected, opening.commitment().to_hex()));
    }
    Ok(Shown::ToAll(opening))
}
