//! The promises that servers made during a test: indices of entries, and heads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use treehead::checkpoint::policy::Policy;
use treehead::checkpoint::{self, Checkpoint};
use treehead::note::{Note, NoteKey};

/// The promises so far. A contradiction fails the test at once.
pub struct Promises {
    key: NoteKey,
    quorum: Option<Quorum>,
    kept: Mutex<Kept>,
}

/// What endpoints demand of the heads of a log with witnesses.
pub struct Quorum {
    /// All keys of the log.
    pub keys: Vec<NoteKey>,
    pub policy: Policy,
}

#[derive(Default)]
struct Kept {
    /// Indices of acknowledged entries.
    indices: BTreeMap<Vec<u8>, u64>,
    /// All entries that were sent. The log may have any of them, and no others.
    sent: BTreeSet<Vec<u8>>,
    /// The last head of each source.
    last: BTreeMap<String, Checkpoint>,
    /// All heads.
    heads: BTreeMap<u64, Checkpoint>,
    acknowledged: u64,
    /// How many times a source showed a new head.
    seen: u64,
    /// Cosignatures of each witness.
    cosignatures: BTreeMap<String, u64>,
}

impl Kept {
    /// Adds a head, which must be the only one of its size.
    fn add(&mut self, source: &str, head: &Checkpoint) {
        let same = self.heads.entry(head.size.get()).or_insert_with(|| head.clone());
        assert!(same == head, "two heads of {}: {same:?}, and {head:?} at {source}", head.size);
    }
}

impl Promises {
    /// The promises of a log with this key.
    pub fn new(key: NoteKey) -> Self {
        Self { key, quorum: None, kept: Mutex::default() }
    }

    /// The promises of a log with witnesses: every published head has a quorum.
    pub fn with_quorum(self, quorum: Quorum) -> Self {
        Self { quorum: Some(quorum), ..self }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no promise contradicts another")
    }

    pub fn send(&self, entry: &[u8]) {
        self.kept().sent.insert(entry.to_vec());
    }

    /// Records that a server acknowledged an entry.
    pub fn acknowledge(&self, entry: &[u8], index: u64) {
        let mut kept = self.kept();
        kept.acknowledged += 1;
        let before = kept.indices.insert(entry.to_vec(), index);
        let text = String::from_utf8_lossy(entry);
        assert!(before.is_none_or(|before| before == index), "{text} is at {before:?}, and at {index}");
    }

    /// Records that a source showed a head, which must not be smaller than the last one. Returns its size, and whether
    /// this source shows it for the first time.
    pub fn show(&self, source: &str, note: &[u8]) -> (u64, bool) {
        if let Some(Quorum { keys, policy }) = &self.quorum {
            let text = || String::from_utf8_lossy(note);
            let opened = checkpoint::open(note, keys);
            let opened = opened.unwrap_or_else(|e| panic!("{source} shows {}: {e}", text()));
            let checked = policy.check(&opened);
            assert!(checked.is_ok(), "{source} shows {}: {}", text(), checked.unwrap_err());
        }
        self.sign(source, note)
    }

    /// Records that a source has a signed head, which must not be smaller than its last one and may lack a quorum.
    /// Returns its size, and whether this source has it for the first time.
    pub fn sign(&self, source: &str, note: &[u8]) -> (u64, bool) {
        let opened = checkpoint::open(note, std::slice::from_ref(&self.key));
        let opened =
            opened.unwrap_or_else(|e| panic!("{source} shows {}: {e}", String::from_utf8_lossy(note)));
        let (head, mut kept) = (opened.get().clone(), self.kept());
        let last = kept.last.get(source);
        let is_new = last != Some(&head);
        assert!(
            last.is_none_or(|last| last.size <= head.size),
            "{source} went back: {last:?}, then {head:?}"
        );
        let size = head.size.get();
        kept.add(source, &head);
        kept.seen += u64::from(is_new);
        kept.last.insert(source.to_owned(), head);
        (size, is_new)
    }

    /// Records that a witness cosigned a head of the log.
    pub fn cosign(&self, witness: &str, note: Note) {
        let quorum = self.quorum.as_ref().expect("the log has witnesses");
        let text = note.to_string();
        let opened = checkpoint::open_note(note, &quorum.keys);
        let opened = opened.unwrap_or_else(|e| panic!("{witness} cosigned {text}: {e}"));
        let cosigned = !quorum.policy.witnesses_of(&opened).is_empty();
        let mut kept = self.kept();
        assert!(cosigned, "{witness} gave no cosignature on {text}");
        kept.add(witness, opened.get());
        *kept.cosignatures.entry(witness.to_owned()).or_default() += 1;
    }

    /// An acknowledged entry, chosen by a random number.
    pub fn any_acknowledged(&self, random: u64) -> Option<Vec<u8>> {
        let kept = self.kept();
        let place = usize::try_from(random).unwrap_or_default().checked_rem(kept.indices.len())?;
        kept.indices.keys().nth(place).cloned()
    }

    /// Entries that no server has acknowledged.
    pub fn open(&self) -> Vec<Vec<u8>> {
        let kept = self.kept();
        kept.sent.iter().filter(|entry| !kept.indices.contains_key(*entry)).cloned().collect()
    }

    pub fn indices(&self) -> BTreeMap<Vec<u8>, u64> {
        self.kept().indices.clone()
    }

    pub fn is_sent(&self, entry: &[u8]) -> bool {
        self.kept().sent.contains(entry)
    }

    pub fn heads(&self) -> Vec<Checkpoint> {
        self.kept().heads.values().cloned().collect()
    }

    /// Number of acknowledgements, including those of duplicates.
    pub fn acknowledged(&self) -> u64 {
        self.kept().acknowledged
    }

    /// Number of new heads shown, counted separately for each source.
    pub fn seen(&self) -> u64 {
        self.kept().seen
    }

    pub const fn has_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Number of cosignatures by witness.
    pub fn cosignatures(&self) -> BTreeMap<String, u64> {
        self.kept().cosignatures.clone()
    }

    pub const fn key(&self) -> &NoteKey {
        &self.key
    }
}
