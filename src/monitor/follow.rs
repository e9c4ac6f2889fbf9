//! Following one log: its newest head, and every entry up to it.
//!
//! ```text
//! 1. fetch the head; a key of the log's signed it, and a quorum of witnesses saw it
//! 2. the head that is known is a part of its tree, or it is a part of ours: by tiles
//! 3. fetch the entries since the cursor, in windows; hash them; the tree so far is a part of the head's
//! 4. look at the entries of the window, deliver the events
//! 5. move the cursor
//! ```
//!
//! Nothing is said of an entry before step 3 has shown that it is in the tree that the log signed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::board::{Board, Verdict, Vouched};
use super::compare::ITSELF;
use super::conditions::Conditions;
use super::desk::{Desk, DeskError};
use super::event::{Code, Event};
use super::heads::{Relation, Unclear, relate};
use super::look::{Findings, Look};
use super::read::{Interval, read_all};
use super::rules::{Rules, Start};
use super::state::{LogState, StateError};
use super::times;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{Bundle, ClientError, EntryStream, LogClient, RemoteTiles, StreamOptions};
use crate::evidence_dir::EvidenceDir;
use crate::merkle::{
    Growth, Hash, LeafIndex, ProofError, RightEdge, Tile, TileId, TileReader as _, TreeSize,
    prove_consistency, read_root,
};
use crate::policy::{Cosigned, QuorumError};
use crate::server::Profile;
use crate::store::DiskIo;

/// Most bytes of entries that are looked at together: what is held in memory until the tree is known to have
/// it.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Most entries of a window.
const WINDOW_ENTRIES: usize = 65_536;
/// How often the state is saved while entries are read; what is read again after a kill.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The log does not answer, or not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Entries or tiles are not those of the head.
    #[error("{message}")]
    Lie {
        /// Its name.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The monitor is stopping.
    #[error("stopped")]
    Stopped,
    /// Events can't be delivered.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The state can't be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<Unclear> for Trouble {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Client(e) => e.into(),
            tiles @ Unclear::Tiles { .. } => Self::Lie { code: "wrong-tile", message: tiles.to_string() },
        }
    }
}

impl Trouble {
    /// Whether the log's operator is to blame rather than the monitor's.
    #[must_use]
    pub const fn is_the_logs(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Lie { .. })
    }
}

/// Whether a log, or a peer, did not answer, rather than saying what can't be so.
pub fn is_silence(error: &ClientError) -> bool {
    let silent =
        ["unreachable", "timeout", "closed", "server-error", "busy", "not-found", "refused"];
    silent.contains(&error.code())
}

/// Tells how far it is with a log: entries done, entries in all.
pub type OnProgress = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;

/// What a follower works with.
pub struct Tools {
    /// What it is told.
    pub rules: Arc<Rules>,
    /// The log.
    pub client: LogClient,
    /// Fetches at once.
    pub parallel: usize,
    /// Where events go.
    pub desk: Arc<Desk>,
    /// What others see.
    pub board: Arc<Board>,
    /// Labels of the peers that are asked.
    pub peers: Vec<String>,
    /// Where forks are kept.
    pub evidence: EvidenceDir,
    /// The state file.
    pub path: PathBuf,
    /// The disk.
    pub io: Arc<dyn DiskIo>,
    /// Seconds since 1970.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Set when the monitor stops.
    pub stop: Arc<AtomicBool>,
    /// Told how far it is.
    pub progress: OnProgress,
}

/// Follows one log.
pub struct Follower {
    pub(super) tools: Tools,
    pub(super) state: LogState,
    /// The newest head that continues the tree: the state's `target`.
    pub(super) head: Option<LogSigned<Checkpoint>>,
    pub(super) conditions: Conditions,
    /// Since when the log does not answer.
    pub(super) silent_since: Option<u64>,
    /// Until when the log asked to be left alone, and how it said so.
    pub(super) pause: Option<(Instant, ClientError)>,
    /// Size of the head that the log showed last, with a quorum or without.
    pub(super) shown: TreeSize,
    saved: Instant,
}

impl Follower {
    /// Goes on from where the state says.
    pub fn open(tools: Tools) -> Result<Self, Trouble> {
        let rules = tools.rules.clone();
        let now = (tools.clock)();
        let known = LogState::load(&tools.path, &rules.origin)?;
        let fresh = known.is_none();
        let state = known.unwrap_or_else(|| LogState::new(rules.origin.clone(), now));
        // A key may have been taken off the policy: then the head is fetched again.
        let open = |note: &crate::note::Note| checkpoint::open_note(note.clone(), &rules.keys).ok();
        let head = state.target.as_ref().and_then(open);
        let conditions = Conditions::of(tools.desk.clone(), rules.origin.as_str());
        let follower = Self {
            tools,
            state,
            head,
            conditions,
            silent_since: None,
            pause: None,
            shown: TreeSize::ZERO,
            saved: Instant::now(),
        };
        follower.show();
        follower.tell_start(fresh, now)?;
        Ok(follower)
    }

    fn tell_start(&self, fresh: bool, now: u64) -> Result<(), Trouble> {
        let Rules { origin, start, profile, publishers, .. } = self.tools.rules.as_ref();
        let size = self.state.edge.size();
        let mut unchecked = Vec::new();
        if fresh {
            unchecked.push(match start {
                Start::Beginning => "nothing is known of this log: whether it showed other heads before today, to anybody, is not checked".to_owned(),
                Start::Head => "nothing is known of this log, and its entries up to its present head are never looked at, as the settings say".to_owned(),
            });
        } else if self.state.start > TreeSize::ZERO {
            unchecked.push(format!("the entries below {} were never looked at", self.state.start));
        }
        if *profile == Profile::Release && publishers.is_none() {
            unchecked
                .push("no publishers file is given: the signatures of statements are not checked".to_owned());
        }
        let from = if fresh { "from its beginning".to_owned() } else { format!("from entry {size}") };
        let not = if unchecked.is_empty() {
            String::new()
        } else {
            format!("; not checked: {}", unchecked.join("; "))
        };
        let event = Event::new(
            Code::Started,
            Some(origin.as_str()),
            &[&now.to_string(), &size.to_string()],
            now,
            format!("{origin} is followed {from}{not}"),
        );
        let event = event.with("size", size.get()).with("not_checked", unchecked);
        Ok(self.tools.desk.deliver(&[event])?)
    }

    pub(super) fn now(&self) -> u64 {
        (self.tools.clock)()
    }

    pub(super) fn tiles(&self) -> RemoteTiles<'_> {
        RemoteTiles(&self.tools.client)
    }

    /// Steps 1 to 5.
    ///
    /// # Errors
    /// [`Trouble`]; whatever was done by then is kept.
    pub fn advance(&mut self) -> Result<(), Trouble> {
        // 1. The head, signed by the log.
        let signed = self.tools.client.checkpoint(&self.tools.rules.keys)?;
        let now = self.now();
        self.shown = signed.get().size;
        self.tools.board.report(|progress| progress.asked = Some(now));
        self.see_cosignatures(&signed, now);
        let cosigned = self.check_quorum(&signed)?;
        // 2. Consistency with the head that is known.
        self.accept(signed, cosigned.is_some())?;
        // 3. to 5. Without a quorum it is only compared.
        if let (Some(cosigned), Some(head)) = (cosigned, self.head.clone())
            && (head.get().size, head.get().root) == (cosigned.get().size, cosigned.get().root)
        {
            self.catch_up(&head, &cosigned)?;
        }
        Ok(())
    }

    /// That a quorum saw it; where not, somebody is told.
    fn check_quorum(
        &mut self,
        signed: &LogSigned<Checkpoint>,
    ) -> Result<Option<Cosigned<Checkpoint>>, Trouble> {
        let Checkpoint { origin, size, root, .. } = signed.get();
        match self.tools.rules.policy.check(signed) {
            Ok(cosigned) => {
                self.conditions.end(
                    Code::NoQuorum,
                    "log",
                    &format!("the head of size {size} has its quorum"),
                )?;
                Ok(Some(cosigned))
            }
            Err(error) => {
                let (now, size_text) = (self.now(), size.to_string());
                let code = match &error {
                    QuorumError::BadCosignature { .. } => "bad-cosignature",
                    QuorumError::NotReached { .. } => "not-reached",
                };
                self.conditions.begin(Code::NoQuorum, "log", || {
                    let message = format!("the head of {origin} of size {size} lacks its quorum: {error}");
                    Event::new(
                        Code::NoQuorum,
                        Some(origin.as_str()),
                        &[&size_text, &root.to_hex(), &now.to_string()],
                        now,
                        message,
                    )
                    .with("size", size.get())
                    .with("root", root.to_base64())
                    .with("why", code)
                })?;
                Ok(None)
            }
        }
    }

    /// Takes the log's own head, if it continues what is known.
    fn accept(&mut self, signed: LogSigned<Checkpoint>, has_quorum: bool) -> Result<(), Trouble> {
        let Some(ours) = self.head.clone() else {
            if has_quorum {
                return self.accept_first(signed);
            }
            self.keep(&signed);
            return Ok(());
        };
        self.see_size(&ours, signed.get().size)?;
        let relation = match relate(&self.tiles(), &ours, &signed, &self.tools.rules.keys) {
            Ok(relation) => relation,
            Err(unclear) => {
                // A log that goes back to another history has no tiles of this one any more.
                self.keep(&signed);
                return Err(unclear.into());
            }
        };
        match relation {
            Relation::Forked(fork) => {
                self.convict(&fork, ITSELF)?;
                Err(Trouble::Lie {
                    code: "fork",
                    message: format!(
                        "the log shows another history than before, at size {}",
                        fork.smaller().size
                    ),
                })
            }
            // The newer note may have more cosignatures, and later ones.
            Relation::Same if has_quorum => {
                self.set_head(signed);
                Ok(())
            }
            Relation::Extends if has_quorum => {
                self.state.alive = self.now();
                self.set_head(signed);
                Ok(())
            }
            // The quorum may come to see another tree of this size.
            Relation::Extends => {
                self.keep(&signed);
                Ok(())
            }
            Relation::Same | Relation::Part => Ok(()),
        }
    }

    /// A smaller head is told of whatever else is wrong with it: a log that was put back from a backup can't
    /// even serve the tiles that would compare it.
    fn see_size(&mut self, ours: &LogSigned<Checkpoint>, new: TreeSize) -> Result<(), Trouble> {
        let (old, now) = (ours.get().size, self.now());
        if new >= old {
            return Ok(self.conditions.end(
                Code::LogShrunk,
                "log",
                &format!("the log shows size {new} again"),
            )?);
        }
        Ok(self.conditions.begin(Code::LogShrunk, "log", || {
            let message = format!("the log showed a head of size {old}, and now one of {new}");
            let subject = [old.to_string(), new.to_string(), now.to_string()];
            let subject: Vec<&str> = subject.iter().map(String::as_str).collect();
            Event::new(Code::LogShrunk, Some(ours.get().origin.as_str()), &subject, now, message)
                .with("size", new.get())
                .with("previous", old.get())
        })?)
    }

    fn accept_first(&mut self, signed: LogSigned<Checkpoint>) -> Result<(), Trouble> {
        if self.tools.rules.start == Start::Head && self.state.edge.size() == TreeSize::ZERO {
            let Checkpoint { size, root, .. } = signed.get().clone();
            let edge = read_root(&self.tiles(), size)?;
            if edge.root() != root {
                let wrong = ProofError::RootMismatch { expected: root, seen: edge.root() };
                return Err(ClientError::from(wrong).into());
            }
            self.state.start = size;
            self.state.edge = edge;
        }
        self.state.alive = self.now();
        self.set_head(signed);
        Ok(())
    }

    fn set_head(&mut self, signed: LogSigned<Checkpoint>) {
        self.state.target = Some(signed.note().clone());
        self.head = Some(signed);
    }

    /// Step 3 to 5 for every entry between the cursor and the head.
    fn catch_up(
        &mut self,
        head: &LogSigned<Checkpoint>,
        cosigned: &Cosigned<Checkpoint>,
    ) -> Result<(), Trouble> {
        let (from, target) = (self.state.edge.size(), head.get().size);
        self.tools.board.report(|progress| progress.target = target);
        if from < target {
            let times = self.interval(cosigned);
            let client = self.tools.client.clone();
            let options = StreamOptions {
                parallel: self.tools.parallel,
                stop: self.tools.stop.clone(),
                ..StreamOptions::default()
            };
            let mut stream = EntryStream::new(&client, from..target, &options);
            while self.state.edge.size() < target {
                if self.tools.stop.load(Ordering::Relaxed) {
                    return Err(Trouble::Stopped);
                }
                let window = read_window(&mut stream)?;
                self.take_window(&window, head, times)?;
                // A first look at a large log takes long, and a fork should not wait for its end.
                if self.tools.board.has_letters() {
                    self.compare_during()?;
                }
            }
        }
        self.vouch(head, cosigned)
    }

    /// When the entries between the verified head and this one were added.
    fn interval(&self, cosigned: &Cosigned<Checkpoint>) -> Interval {
        let to = cosigned.times().filter(|time| *time > 0).min().unwrap_or_else(|| self.now());
        Interval {
            from: self.state.time.saturating_sub(times::CLOCK_ALLOWANCE),
            to: to.saturating_add(times::CLOCK_ALLOWANCE),
        }
    }

    fn take_window(
        &mut self,
        window: &[Bundle],
        head: &LogSigned<Checkpoint>,
        times: Interval,
    ) -> Result<(), Trouble> {
        let hashes: Vec<Hash> = window.iter().flat_map(|bundle| bundle.leaf_hashes.iter().copied()).collect();
        let first = self.state.edge.next_index();
        let growth: Growth = self.state.edge.grow(&hashes);
        self.check_window(window, &growth.edge, head.get())?;
        // 4. They are in the tree that the log signed.
        if self.tools.rules.profile == Profile::Release {
            let entries: Vec<&[u8]> = window.iter().flat_map(Bundle::entries).collect();
            self.look_at(first, &entries, &hashes, times, head)?;
        }
        // 5. A crash before the save reads them again; their events were delivered, and have the same ids.
        self.state.edge = growth.edge;
        let (done, count) = (self.state.edge.size(), hashes.len() as u64);
        self.tools.board.report(|progress| {
            progress.cursor = done;
            progress.entries += count;
        });
        (self.tools.progress)(self.state.origin.as_str(), done.get(), head.get().size.get());
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save()?;
        }
        Ok(())
    }

    /// That the tree with this window is a part of the head's. Where it is not, which of the log's answers is
    /// the lie.
    fn check_window(&self, window: &[Bundle], edge: &RightEdge, head: &Checkpoint) -> Result<(), Trouble> {
        let (old, new) = ((edge.size(), &edge.root()), (head.size, &head.root));
        let proven = prove_consistency(&self.tiles(), old, new)?;
        let Err(error) = proven else { return Ok(()) };
        for bundle in window {
            let id = TileId::Hashes { level: 0, index: bundle.first.get() / 256 };
            let Some(tile) = Tile::in_tree(id, head.size) else { continue };
            let skip = usize::try_from(bundle.first.get() % 256).expect("below 256");
            let served = self.tiles().read_tiles(&[tile])?.remove(0);
            let differs =
                bundle.leaf_hashes.iter().zip(&served[skip..]).position(|(made, served)| made != served);
            if let Some(at) = differs {
                let (made, served) = (bundle.leaf_hashes[at].to_base64(), served[skip + at].to_base64());
                let index = bundle.first.get() + at as u64;
                let message = format!(
                    "entry {index} hashes to {made}, and {tile} has {served}: one of them is not in the tree of size {}",
                    head.size
                );
                return Err(Trouble::Lie { code: "wrong-entry", message });
            }
        }
        let first = window.first().map_or(0, |bundle| bundle.first.get());
        let message = format!(
            "entries {first} to {} are not in the tree that the log signed at size {}: {error}",
            edge.size(),
            head.size
        );
        Err(Trouble::Lie { code: "wrong-tile", message })
    }

    fn look_at(
        &mut self,
        first: LeafIndex,
        entries: &[&[u8]],
        hashes: &[Hash],
        times: Interval,
        head: &LogSigned<Checkpoint>,
    ) -> Result<(), Trouble> {
        let rules = self.tools.rules.clone();
        let publishers = rules.publishers.as_ref().map(crate::server::watched::Watched::current);
        let manifest = rules.expect.as_ref().map(super::rules::Expect::manifest);
        let readings = read_all(entries, publishers.as_deref(), times);
        let look = Look::new(&rules, manifest.as_deref(), self.now());
        let mut findings = Findings::default();
        for ((at, hash), reading) in (0..).zip(hashes).zip(readings) {
            look.at(first.plus(at), hash, reading, &mut self.state, &mut findings);
        }
        for claim in &findings.claims {
            let target = self.find_release(claim, first, entries, publishers.as_deref(), head)?;
            findings.events.push(look.withdrawn(claim, target.as_ref()));
        }
        Ok(self.tools.desk.deliver(&findings.events)?)
    }

    /// Every entry up to the head was re-hashed: others may rely on it.
    fn vouch(
        &mut self,
        head: &LogSigned<Checkpoint>,
        cosigned: &Cosigned<Checkpoint>,
    ) -> Result<(), Trouble> {
        let Checkpoint { size, root, origin, .. } = head.get();
        assert_eq!(
            (self.state.edge.size(), self.state.edge.root()),
            (*size, *root),
            "the last window was checked"
        );
        let before = self
            .state
            .verified
            .as_ref()
            .and_then(|note| checkpoint::open_note(note.clone(), &self.tools.rules.keys).ok());
        let grown = before.is_none_or(|before| before.get().size < *size);
        let note = head.note().clone();
        self.state.time = cosigned.times().filter(|time| *time > 0).min().unwrap_or_else(|| self.now());
        self.state.verified = Some(note);
        self.tools.board.settle(head.get(), Verdict::Consistent);
        if grown {
            // One with two keys has cosigned once.
            let witnesses: BTreeSet<&str> =
                cosigned.cosignatures().iter().map(|by| by.cosigner.as_str()).collect();
            let witnesses: Vec<&str> = witnesses.into_iter().collect();
            let event = Event::new(
                Code::Head,
                Some(origin.as_str()),
                &[&size.to_string(), &root.to_hex()],
                self.now(),
                format!("every entry of {origin} up to {size} is in the tree that it signed"),
            );
            let event =
                event.with("size", size.get()).with("root", root.to_base64()).with("witnesses", witnesses);
            self.tools.desk.deliver(&[event])?;
        }
        self.save()?;
        self.show();
        Ok(())
    }

    /// Saves the state.
    pub fn save(&mut self) -> Result<(), Trouble> {
        self.state.save(self.tools.io.as_ref(), &self.tools.path)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Shows the world how far it is.
    pub(super) fn show(&self) {
        let LogState { edge, start, verified, alive, witnesses, .. } = &self.state;
        let (cursor, target) = (edge.size(), self.head.as_ref().map_or(edge.size(), |head| head.get().size));
        self.tools.board.report(|progress| {
            (progress.cursor, progress.target, progress.start) = (cursor, target, *start);
            (progress.alive, progress.witnesses) = (*alive, witnesses.clone());
        });
        let keys = &self.tools.rules;
        let opened = verified.as_ref().and_then(|note| checkpoint::open_note(note.clone(), &keys.keys).ok());
        if let Some(head) = opened {
            // With the signatures that were checked, and no others.
            let note = times::checked_note(&head, &keys.policy).to_string();
            self.tools.board.vouch(Vouched { note, size: head.get().size, root: head.get().root });
        }
    }
}

fn read_window(stream: &mut EntryStream) -> Result<Vec<Bundle>, Trouble> {
    let (mut window, mut bytes, mut entries) = (Vec::new(), 0, 0);
    while bytes < WINDOW_BYTES && entries < WINDOW_ENTRIES {
        let Some(bundle) = stream.next() else { break };
        let bundle = match bundle {
            // It is not the log that is silent.
            Err(ClientError::Stopped) => return Err(Trouble::Stopped),
            bundle => bundle?,
        };
        bytes += bundle.entries().map(<[u8]>::len).sum::<usize>();
        entries += bundle.len();
        window.push(bundle);
    }
    if window.is_empty() { Err(Trouble::Stopped) } else { Ok(window) }
}
