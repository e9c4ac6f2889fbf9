//! Checks that the log has what it acknowledged: at the index that it named, under a head that it signed, in a tree
//! that only grew.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::acks::{Ack, Acks};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Policy, QuorumError};
use crate::client::{ClientError, KeptTiles, LogClient};
use crate::merkle::{
    Hash, TILE_WIDTH, Tile, TileId, TileReader, TreeSize, prove_consistency, prove_inclusion,
};
use crate::note::NoteKey;

/// Number of leaves that are compared by default.
pub const SAMPLE: usize = 2_000;
/// Time limit for the head to grow over everything that was acknowledged.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two looks at the head.
const HEAD_PAUSE: Duration = Duration::from_millis(100);
/// Most wrong leaves that an error names one by one.
const NAMED: usize = 5;

/// The evidence that a checkpoint is the log's.
#[derive(Debug, Clone)]
pub enum Trust {
    /// None: the tiles must hash to the root, but anyone could have made both.
    Unverified,
    /// A signature by this key of the log.
    Key(NoteKey),
    /// A signature by the log's key, and cosignatures by a quorum of witnesses.
    Policy(Policy),
}

/// The checks to make, and their extent.
#[derive(Debug, Clone)]
pub struct Checks {
    /// The evidence that checkpoints need.
    pub trust: Trust,
    /// Most leaves that are compared; `None` for all remembered ones.
    pub leaves: Option<usize>,
}

/// The checks that passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// True if the heads' signatures were checked.
    pub signature: bool,
    /// Number of acknowledgements whose indices are distinct.
    pub indices: u64,
    /// Number of acknowledgements whose leaf hash is the tree's.
    pub leaves: u64,
    /// Number of tiles fetched.
    pub tiles: u64,
}

/// A check that failed, or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The log does not have what it acknowledged.
    #[error("{message}")]
    Broken {
        /// Stable, for machines: `index-twice`, `index-taken`, `not-in-head`, `wrong-leaf`,
        /// `answer-malformed`.
        code: &'static str,
        /// The expected and the actual value.
        message: String,
    },
    /// A tile or a checkpoint could not be fetched, or failed to authenticate.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log's head lacks cosignatures for the policy's quorum.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

fn broken(code: &'static str, message: String) -> CheckError {
    CheckError::Broken { code, message }
}

impl Trust {
    /// Fetches the log's head and authenticates it.
    ///
    /// # Errors
    /// [`CheckError`] if it can't be fetched, or fails to authenticate.
    pub fn head(&self, client: &LogClient) -> Result<Checkpoint, CheckError> {
        let signed = match self {
            Self::Unverified => return Ok(client.unverified_checkpoint()?),
            Self::Key(key) => client.checkpoint(std::slice::from_ref(key))?,
            Self::Policy(policy) => {
                let signed = client.checkpoint(&policy.log_keys())?;
                policy.check(&signed)?;
                signed
            }
        };
        Ok(signed.get().clone())
    }
}

/// Checks the acknowledgements of a run that began at the head `before`. Also returns the head that they were checked
/// against.
///
/// # Errors
/// [`CheckError`] for the first failure.
pub fn check(
    client: &LogClient,
    checks: &Checks,
    before: &Checkpoint,
    acks: &mut Acks,
) -> Result<(Checkpoint, Checked), CheckError> {
    check_indices(acks, before.size)?;
    let head = head_over(client, &checks.trust, acks)?;
    let tiles = KeptTiles::new(client);
    let grown = prove_consistency(&tiles, (before.size, &before.root), (head.size, &head.root))?;
    grown.map_err(ClientError::from)?;
    forget_leaves(&tiles);
    let sample = acks.sample(checks.leaves.unwrap_or(usize::MAX));
    check_leaves(&tiles, &sample, &head)?;
    let checked = Checked {
        signature: !matches!(checks.trust, Trust::Unverified),
        indices: acks.sorted().len() as u64,
        leaves: sample.len() as u64,
        tiles: tiles.fetched(),
    };
    Ok((head, checked))
}

/// Checks that each entry has an index of its own, after all earlier ones: all entries differ, and the log had none of
/// them.
fn check_indices(acks: &mut Acks, before: TreeSize) -> Result<(), CheckError> {
    if let Some((lowest, _)) = acks.range().filter(|(lowest, _)| before.contains(*lowest)) {
        let message = format!(
            "a new entry was acknowledged as leaf {lowest}, which was there before: expected an index from {before} on"
        );
        return Err(broken("index-taken", message));
    }
    match acks.sorted().windows(2).find(|pair| pair[0].index == pair[1].index) {
        None => Ok(()),
        Some(pair) => {
            let (index, one, other) = (pair[0].index, pair[0].leaf, pair[1].leaf);
            let message = format!("leaf {index} was acknowledged twice: to the entries {one} and {other}");
            Err(broken("index-twice", message))
        }
    }
}

/// Waits for a head over everything that was acknowledged.
fn head_over(client: &LogClient, trust: &Trust, acks: &Acks) -> Result<Checkpoint, CheckError> {
    let deadline = Instant::now() + HEAD_TIMEOUT;
    loop {
        let head = trust.head(client)?;
        match acks.range() {
            Some((_, highest)) if !head.size.contains(highest) => {
                if Instant::now() >= deadline {
                    let seconds = HEAD_TIMEOUT.as_secs();
                    let message = format!(
                        "leaf {highest} was acknowledged: expected a tree head over it, saw size {} after {seconds} s",
                        head.size
                    );
                    return Err(broken("not-in-head", message));
                }
                std::thread::sleep(HEAD_PAUSE);
            }
            _ => return Ok(head),
        }
    }
}

/// Compares the leaf hashes with the tree's, one level-0 tile after the other.
fn check_leaves(tiles: &KeptTiles<&LogClient>, sample: &[Ack], head: &Checkpoint) -> Result<(), CheckError> {
    let mut wrong = Vec::new();
    for group in sample.chunk_by(|one, next| tile_of(one) == tile_of(next)) {
        let Some(first) = group.first() else { continue };
        let id = TileId::Hashes { level: 0, index: tile_of(first) };
        let tile = Tile::in_tree(id, head.size).expect("the head is over all indices");
        let leaves = tiles.read_tiles(&[tile])?.remove(0);
        let leaf = |ack: &Ack| leaves[usize::try_from(ack.index.get() % TILE_WIDTH).expect("below 256")];
        // The proof of one leaf covers all others of its tile.
        let proved = prove_inclusion(tiles, first.index, &leaf(first), head.size, &head.root)?;
        proved.map_err(ClientError::from)?;
        forget_leaves(tiles);
        let differs = group.iter().filter(|ack| leaf(ack) != ack.leaf);
        wrong.extend(differs.map(|ack| (ack.index, ack.leaf, leaf(ack))));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let name = |(index, expected, seen): &(_, Hash, Hash)| {
        format!("leaf {index}: expected the entry {expected} that was acknowledged, saw {seen}")
    };
    let named: Vec<String> = wrong.iter().take(NAMED).map(name).collect();
    let others = wrong.len() - named.len();
    let others = if others > 0 { format!("; and {others} more") } else { String::new() };
    Err(broken("wrong-leaf", format!("{}{others}", named.join("; "))))
}

const fn tile_of(ack: &Ack) -> u64 {
    ack.index.get() / TILE_WIDTH
}

/// Forgets the full tiles of level 0: each serves one group of leaves only. The partial one is on the right edge, and
/// so in most proofs, as the upper ones are.
fn forget_leaves(tiles: &KeptTiles<&LogClient>) {
    tiles.retain(|tile| tile.id.level() > 0 || !tile.is_full());
}
