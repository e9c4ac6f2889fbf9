//! Turns a submitted envelope into a log's entry: [`Publishers::admit`].

use alloc::vec::Vec;

use super::publishers::{Publisher, PublisherKey};
use super::submission::SubmittedSignature;
use super::verify::{check_log, names, not_permitted};
use super::{
    Envelope, Publishers, Statement, StatementError, SubmittedEnvelope, Timestamp, VerifiedStatement,
    format_time,
};
use crate::merkle::Hash;

/// Most signature checks that may fail in a request for one entry. They take about a millisecond of one core, which
/// anyone can make the log spend, on a thread that others wait for. A check of another family than Ed25519 counts as the
/// number of Ed25519's that take as long; one that is not of the key's family by its form takes nothing, and counts as
/// nothing.
///
/// A signature whose keyid names its key, as ours do, costs no failure. One without is tried under every key
/// that may make the statement: usually a handful for one package and kind, but possibly hundreds. The key that
/// matched last is tried first, so a batch by one publisher costs no more failures than its first entry.
const MAX_FAILED_TRIES: u32 = 32;
/// Additional failures allowed for each entry of a batch ...
const TRIES_PER_ENTRY: u32 = 8;
/// ... up to this total, which takes ten milliseconds: batches are checked on threads of their own.
const MAX_BATCH_TRIES: u32 = 256;

/// The number of signature checks of a request that may still fail, and the key that matched last.
#[derive(Debug)]
pub struct KeySearch {
    most: u32,
    left: u32,
    last: Option<Hash>,
}

impl KeySearch {
    /// For a request with one entry.
    #[must_use]
    pub const fn for_entry() -> Self {
        Self::new(MAX_FAILED_TRIES)
    }

    /// For a request with one entry whose signatures are [slow](SubmittedEnvelope::is_slow) to check. Like a batch, it is
    /// checked on a thread of its own.
    #[must_use]
    pub const fn for_slow_entry() -> Self {
        Self::new(MAX_BATCH_TRIES)
    }

    /// For a request with this number of entries.
    #[must_use]
    pub fn for_batch(entries: usize) -> Self {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        let most = entries.saturating_mul(TRIES_PER_ENTRY).saturating_add(MAX_FAILED_TRIES);
        Self::new(most.min(MAX_BATCH_TRIES))
    }

    const fn new(most: u32) -> Self {
        Self { most, left: most, last: None }
    }
}

type Key<'a> = (&'a Publisher, &'a PublisherKey);

/// A signature whose signer is not known yet: it names no registered key, or one that did not make it.
struct Unplaced<'a> {
    signature: &'a SubmittedSignature,
    named: Option<Key<'a>>,
}

impl Unplaced<'_> {
    fn refusal(&self) -> StatementError {
        match self.named {
            Some((publisher, key)) => {
                StatementError::BadSignature { publisher: publisher.name.clone(), keyid: key.keyid.to_hex() }
            }
            None => StatementError::UnknownKey { keyid: self.signature.keyid.clone() },
        }
    }
}

impl Publishers {
    /// Keeps the signatures that count: those by registered keys that are valid `now` and not revoked, of publishers with
    /// the right to the statement's kind and to every package that it names, if that publisher made all signatures that it
    /// [has to](Publisher::require_signatures). Drops the others, so that a stranger can
    /// neither add a signature to an entry nor remove one.
    ///
    /// `log` is the origin of the log that admits it: statements for another log are rejected.
    ///
    /// Does not check that a withdrawal's publisher signed the release:
    /// [`check_withdrawal`](Self::check_withdrawal) compares it with the withdrawn entry.
    ///
    /// # Errors
    /// [`StatementError`] if no signature is left, for the one that came closest; [`StatementError::TooManyTries`] if
    /// finding the signers would take too long.
    pub fn admit(
        &self,
        sent: &SubmittedEnvelope,
        log: &str,
        now: Timestamp,
        search: &mut KeySearch,
    ) -> Result<(Envelope, VerifiedStatement), StatementError> {
        let mut admission =
            Admission { publishers: self, message: sent.signed_message(), search, found: Vec::new() };
        let unplaced = admission.try_named(sent.signatures())?;
        let statement = Statement::parse(sent.payload());
        let statement = statement.and_then(|statement| statement.check_new().map(|()| statement));
        // Signature before meaning: if a signature names a registered key that did not make it, that is the error, even
        // if the statement is malformed as well.
        let named = unplaced.iter().find(|unplaced| unplaced.named.is_some());
        if let (Err(_), true, Some(named)) = (&statement, admission.found.is_empty(), named) {
            return Err(named.refusal());
        }
        let statement = statement?;
        let refused = admission.try_others(&unplaced, &statement, now)?;
        let (envelope, verified) = admission.keep(sent.payload(), statement, refused, now)?;
        check_log(verified.statement(), log)?;
        Ok((envelope, verified))
    }
}

/// The search for the signers of an envelope.
struct Admission<'a> {
    publishers: &'a Publishers,
    message: Vec<u8>,
    search: &'a mut KeySearch,
    /// The signers found, each key once.
    found: Vec<(Key<'a>, &'a SubmittedSignature)>,
}

impl<'a> Admission<'a> {
    fn is_found(&self, key: &PublisherKey) -> bool {
        self.found.iter().any(|((_, found), _)| found.keyid == key.keyid)
    }

    /// Tries a signature under a key.
    fn fits(&mut self, key: Key<'a>, signature: &'a SubmittedSignature) -> Result<bool, StatementError> {
        let public = &key.1.key;
        if !public.fits(&signature.sig) {
            return Ok(false);
        }
        if public.verifies(&self.message, &signature.sig) {
            self.search.last = Some(key.1.keyid);
            self.found.push((key, signature));
            return Ok(true);
        }
        let most = self.search.most;
        let left = self.search.left.checked_sub(public.cost());
        self.search.left = left.ok_or(StatementError::TooManyTries { most })?;
        Ok(false)
    }

    /// Tries each signature under the key that it names. Returns the signatures that did not match.
    fn try_named(
        &mut self,
        signatures: &'a [SubmittedSignature],
    ) -> Result<Vec<Unplaced<'a>>, StatementError> {
        let mut left = Vec::new();
        for signature in signatures {
            let keyid = Hash::from_hex(&signature.keyid).ok();
            let named = keyid.and_then(|keyid| self.publishers.find(&keyid));
            match named {
                Some(key) if !self.is_found(key.1) && self.fits(key, signature)? => {}
                _ => left.push(Unplaced { signature, named }),
            }
        }
        Ok(left)
    }

    /// Tries the others under every key that may make the statement. Returns why each of the rest was rejected.
    fn try_others(
        &mut self,
        unplaced: &[Unplaced<'a>],
        statement: &Statement,
        now: Timestamp,
    ) -> Result<Vec<StatementError>, StatementError> {
        if unplaced.is_empty() {
            return Ok(Vec::new());
        }
        let may = self.publishers.list().iter().filter(|publisher| publisher.may_state(statement));
        let keys = may.flat_map(|publisher| publisher.keys.iter().map(move |key| (publisher, key)));
        let mut keys: Vec<Key<'a>> =
            keys.filter(|(_, key)| !key.revoked && key.is_valid_within(now, now)).collect();
        let last = self.search.last;
        keys.sort_by_key(|(_, key)| Some(key.keyid) != last);
        let mut refused = Vec::new();
        for Unplaced { signature, named } in unplaced {
            let mut placed = false;
            for key in &keys {
                let tried = named.is_some_and(|(_, named)| named.keyid == key.1.keyid);
                if !tried && !self.is_found(key.1) && self.fits(*key, signature)? {
                    placed = true;
                    break;
                }
            }
            if !placed {
                refused.push(Unplaced { signature, named: *named }.refusal());
            }
        }
        Ok(refused)
    }

    /// The entry with the signatures that count.
    fn keep(
        self,
        payload: &[u8],
        statement: Statement,
        mut refused: Vec<StatementError>,
        now: Timestamp,
    ) -> Result<(Envelope, VerifiedStatement), StatementError> {
        let (mut kept, mut signed, mut without_right) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = self.found;
        found.sort_by_key(|((_, key), _)| key.keyid);
        for ((publisher, key), signature) in found {
            if key.revoked {
                let (publisher, keyid) = (publisher.name.clone(), key.keyid.to_hex());
                refused.push(StatementError::KeyRevoked { publisher, keyid });
            } else if !key.is_valid_within(now, now) {
                refused.push(key.not_valid(&publisher.name, format_time(now)));
            } else if publisher.may_state(&statement) {
                signed.push((publisher, key.key.family()));
                kept.push((publisher, (key.keyid, signature.sig.clone())));
            } else {
                without_right.push(publisher);
            }
        }
        let incomplete =
            kept.iter().map(|(publisher, _)| *publisher).find(|signer| !signer.is_signed(&signed));
        kept.retain(|(publisher, _)| publisher.is_signed(&signed));
        if kept.is_empty() {
            if let Some(publisher) = incomplete {
                return Err(publisher.incomplete(&signed));
            }
            let closest = refused.into_iter().max_by_key(closeness);
            return Err(match closest {
                Some(error) if without_right.is_empty() => error,
                _ => not_permitted(&statement, &without_right),
            });
        }
        let (publishers, signatures): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        let envelope = Envelope::new(payload.to_vec(), signatures).map_err(StatementError::Entry)?;
        let publishers = names(publishers);
        Ok((envelope, VerifiedStatement::new(statement, publishers.clone(), publishers)))
    }
}

/// Ranks rejected signatures: the error of the highest rank is reported.
const fn closeness(error: &StatementError) -> u8 {
    match error {
        StatementError::UnknownKey { .. } => 0,
        StatementError::BadSignature { .. } => 1,
        _ => 2,
    }
}
