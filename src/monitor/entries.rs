//! The log's entries: fetched in windows, hashed, proven to be in the signed tree, read, and passed by the cursor.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{FollowError, LogLie, wrong_tiles};
use super::event::{Code, Event};
use super::findings::{Findings, Judge, WithdrawalClaim, WithdrawnRelease};
use super::inbox::HeadVerdict;
use super::log::Tools;
use super::settings::{CLOCK_ALLOWANCE, Expect, Start};
use super::state::{EntryState, Looked};
use super::statements::{Interval, read_all};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{Bundle, ClientError, EntryStream, StreamOptions};
use crate::merkle::{
    Hash, LeafIndex, RightEdge, TILE_WIDTH, Tile, TileId, TileReader as _, TreeSize, prove_consistency,
    prove_inclusion, prove_prefix, read_root,
};
use crate::release::{EntryValues, Facts, Profile, Publishers, Statement};

/// Most bytes of entries in a window: they are in memory until the tree is known to hold them.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
const WINDOW_ENTRIES: usize = 65_536;
/// Most statements of a window: each may have several events, of some kilobytes.
const WINDOW_STATEMENTS: usize = 4_096;

pub struct Window {
    bundles: Vec<Bundle>,
    hashes: Vec<Hash>,
    /// The edge of the tree with this window.
    edge: RightEdge,
}

pub struct LogEntries {
    tools: Arc<Tools>,
    pub(super) state: EntryState,
}

/// The entries that the withdrawals of a window name.
struct Targets<'a> {
    first: LeafIndex,
    entries: &'a [&'a [u8]],
    head: &'a Checkpoint,
    /// The bundle that was fetched last, and its index.
    fetched: Option<(u64, Vec<Vec<u8>>)>,
}

impl LogEntries {
    pub(super) const fn new(tools: Arc<Tools>, state: EntryState) -> Self {
        Self { tools, state }
    }

    /// The cursor: entries below it were re-hashed, or skipped at the start.
    pub(super) fn cursor(&self) -> TreeSize {
        self.state.edge.size()
    }

    /// Checks that the first head that is known continues the entries below the cursor, or moves the cursor to it if
    /// the settings say so. No head is known of a new log, and after a key was taken off the policy.
    pub(super) fn begin(&mut self, head: &Checkpoint) -> Result<(), FollowError> {
        let (size, root) = (head.size, head.root);
        let (old, edge) = (self.cursor(), self.state.edge.root());
        if old > size {
            let message =
                format!("the log shows a head of size {size}, and {old} entries were looked at before");
            return Err(FollowError::lie(LogLie::Shrunk, message));
        }
        if self.tools.settings().start == Start::Head && old == TreeSize::ZERO {
            let edge = read_root(&self.tools.tiles(), size)?;
            expect_root(size, &root, &edge.root())?;
            (self.state.start, self.state.edge) = (size, edge);
            self.begin_comparison();
            return Ok(());
        }
        let prefix = prove_prefix(&self.tools.tiles(), old, (size, &root))?;
        let prefix = prefix.map_err(|error| wrong_tiles(size, &error))?;
        expect_root(old, &prefix.root, &edge)
    }

    /// Begins the comparison with the manifest, if there is one and it has not begun. If the cursor is past entries
    /// already, the releases listed by now count as seen; returns their number.
    pub(super) fn begin_comparison(&mut self) -> usize {
        let Some(expect) = &self.tools.settings().expect else { return 0 };
        if std::mem::replace(&mut self.state.compares, true) || self.cursor() == TreeSize::ZERO {
            return 0;
        }
        self.state.comparison.begin_late(&expect.manifest())
    }

    /// Fetches the entries from the cursor up to the head, ahead of their use.
    pub(super) fn stream(&self, head: &Checkpoint) -> EntryStream {
        let (parallel, stop) = (self.tools.monitor.parallel, self.tools.stop.clone());
        let hashes_only = self.tools.settings().profile == Profile::Opaque;
        let options = StreamOptions { parallel, stop, hashes_only, ..StreamOptions::default() };
        EntryStream::new(&self.tools.client, self.cursor()..head.size, &options)
    }

    pub(super) fn next_window(&self, stream: &mut EntryStream) -> Result<Window, FollowError> {
        self.tools.check_stop()?;
        let is_read = self.tools.settings().profile == Profile::Release;
        let most = if is_read { WINDOW_STATEMENTS } else { WINDOW_ENTRIES };
        let (mut bundles, mut hashes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut edge = self.state.edge.clone();
        while bytes < WINDOW_BYTES && hashes.len() < most {
            let bundle: Bundle = match stream.next() {
                None => break,
                // The monitor stops; the log is not silent.
                Some(Err(ClientError::Stopped)) => return Err(FollowError::Stopped),
                Some(bundle) => bundle?,
            };
            bytes += bundle.entries().map(<[u8]>::len).sum::<usize>();
            hashes.extend(&bundle.leaf_hashes);
            // Bundle by bundle, while others are fetched: the stream would stand still during a long look.
            edge.extend(&bundle.leaf_hashes);
            bundles.push(bundle);
        }
        if bundles.is_empty() { Err(FollowError::Stopped) } else { Ok(Window { bundles, hashes, edge }) }
    }

    /// Takes a window in: the tree with it is a part of the head's, its events are delivered, and then the cursor
    /// moves past it. A crash before the next save reads it again, and its events have the same ids.
    pub(super) fn take(
        &mut self,
        window: &Window,
        times: Interval,
        head: &Checkpoint,
    ) -> Result<(), FollowError> {
        self.check_window(&window.bundles, &window.edge, head)?;
        let settings = self.tools.settings();
        let looked = match (settings.profile, &settings.publishers) {
            (Profile::Opaque, _) => Looked::Hashed,
            (Profile::Release, None) => Looked::Read,
            (Profile::Release, Some(_)) => Looked::Checked,
        };
        if looked > Looked::Hashed {
            self.read(window, times, head)?;
        }
        self.state.edge = window.edge.clone();
        self.state.looked = looked.min(self.state.looked);
        let (cursor, count) = (self.cursor(), window.hashes.len() as u64);
        self.tools.log.report(|status| {
            status.cursor = cursor;
            status.entries += count;
        });
        (self.tools.progress)(self.tools.origin(), cursor.get(), head.size.get());
        Ok(())
    }

    /// Checks that the tree with this window is a part of the head's. If it is not, names the answer of the log that
    /// is the lie.
    fn check_window(
        &self,
        window: &[Bundle],
        edge: &RightEdge,
        head: &Checkpoint,
    ) -> Result<(), FollowError> {
        let (old, new) = ((edge.size(), &edge.root()), (head.size, &head.root));
        let Err(error) = prove_consistency(&self.tools.tiles(), old, new)? else { return Ok(()) };
        for bundle in window {
            let id = TileId::Hashes { level: 0, index: bundle.first.get() / TILE_WIDTH };
            let Some(tile) = Tile::in_tree(id, head.size) else { continue };
            let skip = usize::try_from(bundle.first.get() % TILE_WIDTH).expect("below 256");
            let served = self.tools.tiles().read_tiles(&[tile])?.remove(0);
            let differs =
                bundle.leaf_hashes.iter().zip(&served[skip..]).position(|(made, served)| made != served);
            if let Some(at) = differs {
                let (made, served) = (bundle.leaf_hashes[at].to_base64(), served[skip + at].to_base64());
                let (index, size) = (bundle.first.get() + at as u64, head.size);
                let message = format!(
                    "entry {index} hashes to {made}, and {tile} has {served}: one of them is not in the tree of size {size}"
                );
                return Err(FollowError::lie(LogLie::WrongEntry, message));
            }
        }
        let (first, end, size) =
            (window.first().map_or(0, |bundle| bundle.first.get()), edge.size(), head.size);
        let message = format!(
            "entries {first} to {end} are not in the tree that the log signed at size {size}: {error}"
        );
        Err(FollowError::lie(LogLie::WrongTile, message))
    }

    /// Reads the statements of a window and delivers their events.
    fn read(&mut self, window: &Window, times: Interval, head: &Checkpoint) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let settings = tools.settings();
        let publishers = settings.current_publishers();
        let manifest = settings.expect.as_ref().map(Expect::manifest);
        let (first, now) = (self.state.edge.next_index(), tools.now());
        let entries: Vec<&[u8]> = window.bundles.iter().flat_map(Bundle::entries).collect();
        let readings = read_all(&entries, tools.origin(), publishers.as_deref(), times);
        let judge = Judge { settings, manifest: manifest.as_deref(), now };
        let mut findings = Findings::default();
        let mut draft = self.state.history.draft();
        for ((at, hash), reading) in (0..).zip(&window.hashes).zip(readings) {
            let known = (&mut draft, &mut self.state.comparison);
            judge.entry(first.plus(at), hash, reading, known, &mut findings);
        }
        let mut targets = Targets { first, entries: &entries, head, fetched: None };
        // Withdrawals of entries in one bundle stand together, so that it is fetched once.
        findings.claims.sort_by_key(|claim| claim.withdrawal.index);
        for claim in &findings.claims {
            tools.check_stop()?;
            let target = find_release(&tools, claim, &mut targets, publishers.as_deref())?;
            findings.events.push(judge.withdrawal(claim, target.as_ref(), &draft));
        }
        let changes = draft.into_changes();
        tools.delivery.tell(&findings.events)?;
        // After the delivery: entries whose events were not delivered are read again, and judged as the first time.
        self.state.history.commit(changes);
        Ok(())
    }

    /// Bounds the time at which the entries between the verified head and this one were added.
    pub(super) fn interval(&self, cosigned: &Cosigned<Checkpoint>) -> Interval {
        // By the earliest time at which a quorum had cosigned the head, its entries were there.
        let quorum_by = |time: &u64| self.tools.settings().policy.quorum_between(cosigned, 1, *time);
        let to = times(cosigned).into_iter().find(quorum_by).unwrap_or_else(|| self.tools.now());
        Interval {
            from: self.state.time.saturating_sub(CLOCK_ALLOWANCE),
            to: to.max(self.state.time).saturating_add(CLOCK_ALLOWANCE),
        }
    }

    /// Vouches for a head: every entry up to it was re-hashed, so others may rely on it.
    pub(super) fn verify(
        &mut self,
        head: &LogSigned<Checkpoint>,
        cosigned: &Cosigned<Checkpoint>,
    ) -> Result<(), FollowError> {
        let Checkpoint { size, root, .. } = head.get();
        if (self.cursor(), self.state.edge.root()) != (*size, *root) {
            let (signed, made) = (root.to_base64(), self.state.edge.root().to_base64());
            let message =
                format!("the tree of size {size} is signed with root {signed}, and its entries make {made}");
            return Err(FollowError::lie(LogLie::WrongRoot, message));
        }
        let is_larger = self.verified().is_none_or(|before| before.get().size < *size);
        self.tools.log.inbox.with(|inbox| inbox.settle(head.get(), HeadVerdict::Consistent));
        if is_larger {
            self.tools.delivery.tell(&[self.head_event(head.get(), cosigned)])?;
        }
        // After the delivery, so that one that failed comes again.
        self.state.verified = Some(head.note().clone());
        // From the latest time at which a quorum was cosigning the head, later entries were added.
        let quorum_since =
            |time: &u64| self.tools.settings().policy.quorum_between(cosigned, *time, u64::MAX);
        let since = times(cosigned).into_iter().rev().find(quorum_since);
        self.state.time = since.unwrap_or_else(|| self.tools.now());
        Ok(())
    }

    /// The verified head, if the policy still has its key.
    pub(super) fn verified(&self) -> Option<LogSigned<Checkpoint>> {
        let note = self.state.verified.clone()?;
        checkpoint::open_note(note, &self.tools.settings().keys).ok()
    }

    fn head_event(&self, head: &Checkpoint, cosigned: &Cosigned<Checkpoint>) -> Event {
        let Checkpoint { size, root, origin, .. } = head;
        // A witness with two keys has cosigned once.
        let witnesses: BTreeSet<&str> =
            cosigned.cosignatures().iter().map(|by| by.cosigner.as_str()).collect();
        let message = match self.state.start {
            TreeSize::ZERO => format!("every entry of {origin} up to {size} is in the tree that it signed"),
            start if start == *size => {
                format!("{origin} is followed from size {size}, with no look at the entries below")
            }
            start => {
                format!("every entry of {origin} from {start} up to {size} is in the tree that it signed")
            }
        };
        let event = self.tools.event(Code::Head, &[size, &root.to_hex()], message);
        event
            .with("size", size.get())
            .with("root", root.to_base64())
            .with("witnesses", witnesses.into_iter().collect::<Vec<_>>())
    }
}

/// Finds the release at the leaf that a withdrawal names, with its signers.
fn find_release(
    tools: &Tools,
    claim: &WithdrawalClaim,
    targets: &mut Targets<'_>,
    publishers: Option<&Publishers>,
) -> Result<Option<WithdrawnRelease>, FollowError> {
    let at = claim.withdrawal.index;
    // A release stands before its withdrawal.
    if at >= claim.leaf {
        return Ok(None);
    }
    let here = at.get().checked_sub(targets.first.get());
    let here = here.and_then(|place| targets.entries.get(usize::try_from(place).ok()?));
    let entry = match here {
        Some(entry) => entry.to_vec(),
        None => fetch_entry(tools, at, targets)?,
    };
    let hash = Hash::leaf(&entry);
    // The signers' keys may be revoked by now; they count all the same.
    let nobody = Publishers::default();
    let values = Facts::values(&entry, publishers.unwrap_or(&nobody));
    Ok(values.and_then(|EntryValues { signers, statement, .. }| match statement {
        Statement::Release(release) => Some(WithdrawnRelease { release, hash, signers }),
        _ => None,
    }))
}

/// Fetches an entry below the cursor, proven to be in the head's tree.
fn fetch_entry(tools: &Tools, at: LeafIndex, targets: &mut Targets<'_>) -> Result<Vec<u8>, FollowError> {
    let (bundle, head) = (at.get() / TILE_WIDTH, targets.head);
    let entries = match targets.fetched.take() {
        Some((fetched, entries)) if fetched == bundle => entries,
        _ => {
            let id = TileId::Entries { index: bundle };
            tools.tiles().entries(Tile::in_tree(id, head.size).expect("it is below the cursor"))?
        }
    };
    let entry = entries[usize::try_from(at.get() % TILE_WIDTH).expect("below 256")].clone();
    targets.fetched = Some((bundle, entries));
    let proven = prove_inclusion(&tools.tiles(), at, &Hash::leaf(&entry), head.size, &head.root)?;
    proven.map_err(ClientError::from)?;
    Ok(entry)
}

fn times(head: &Cosigned<Checkpoint>) -> Vec<u64> {
    let mut times: Vec<u64> = head.times().filter(|time| *time > 0).collect();
    times.sort_unstable();
    times
}

fn expect_root(size: TreeSize, signed: &Hash, made: &Hash) -> Result<(), FollowError> {
    if signed == made {
        return Ok(());
    }
    let (expected, seen) = (signed.to_base64(), made.to_base64());
    let message = format!(
        "at size {size} the tree that the log signed has root {expected}, and what was looked at makes {seen}"
    );
    Err(FollowError::lie(LogLie::OtherHistory, message))
}
