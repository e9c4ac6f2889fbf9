//! Catching up with a head: entry after entry, in windows.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::board::Verdict;
use super::event::{Code, Event};
use super::follow::{Follower, Trouble};
use super::look::{Claim, Findings, Look};
use super::read::{Interval, read_all};
use super::state::Looked;
use super::times;
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{Bundle, ClientError, EntryStream, StreamOptions};
use crate::merkle::{
    Growth, Hash, LeafIndex, RightEdge, TILE_WIDTH, Tile, TileId, TileReader as _, prove_consistency,
    prove_inclusion,
};
use crate::release::{EntryValues, Facts, Profile, Publishers, Release, Statement};

/// Most bytes of entries that are looked at together: what is held in memory until the tree is known to have
/// it.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Most entries of a window.
const WINDOW_ENTRIES: usize = 65_536;
/// The same of statements: each may have several events, of some kilobytes.
const WINDOW_STATEMENTS: usize = 4_096;
/// How often it is told what lasts while entries are read.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Where the entries are that a window's withdrawals name.
struct Targets<'a> {
    first: LeafIndex,
    entries: &'a [&'a [u8]],
    head: &'a Checkpoint,
    /// The last bundle that was fetched for it.
    fetched: Option<(u64, Vec<Vec<u8>>)>,
}

impl Follower {
    /// Step 3 to 5 for every entry between the cursor and the head.
    pub(super) fn catch_up(
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
                self.check_stop()?;
                let window = read_window(&mut stream, self.window_entries())?;
                self.take_window(&window, head, times)?;
                // A first look at a large log takes long: neither a fork nor what lasts should wait for its
                // end.
                if self.tools.board.has_mail() {
                    self.compare_during()?;
                }
                if self.told.elapsed() >= TELL_INTERVAL {
                    self.tell_lasting()?;
                }
            }
        }
        self.vouch(head, cosigned)
    }

    /// When the entries between the verified head and this one were added.
    fn interval(&self, cosigned: &Cosigned<Checkpoint>) -> Interval {
        let to = times::by_then(&self.tools.rules.policy, cosigned).unwrap_or_else(|| self.now());
        Interval {
            from: self.state.time.saturating_sub(times::CLOCK_ALLOWANCE),
            to: to.max(self.state.time).saturating_add(times::CLOCK_ALLOWANCE),
        }
    }

    /// Entries that are looked at together: of statements fewer, for each may have several events.
    fn window_entries(&self) -> usize {
        if self.tools.rules.profile == Profile::Release { WINDOW_STATEMENTS } else { WINDOW_ENTRIES }
    }

    pub(super) fn check_stop(&self) -> Result<(), Trouble> {
        if self.tools.stop.load(Ordering::Relaxed) { Err(Trouble::Stopped) } else { Ok(()) }
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
        let rules = &self.tools.rules;
        let looked = match (rules.profile, &rules.publishers) {
            (Profile::Opaque, _) => Looked::Hashed,
            (Profile::Release, None) => Looked::Read,
            (Profile::Release, Some(_)) => Looked::Checked,
        };
        if looked > Looked::Hashed {
            let entries: Vec<&[u8]> = window.iter().flat_map(Bundle::entries).collect();
            self.look_at(first, &entries, &hashes, times, head)?;
        }
        // 5. A crash before the save reads them again; their events were delivered, and have the same ids.
        self.state.edge = growth.edge;
        self.state.looked = looked.min(self.state.looked);
        let (done, count) = (self.state.edge.size(), hashes.len() as u64);
        self.tools.board.report(|progress| {
            progress.cursor = done;
            progress.entries += count;
        });
        (self.tools.progress)(self.state.origin.as_str(), done.get(), head.get().size.get());
        if self.is_to_be_saved() {
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
        let publishers = rules.publishers.as_ref().map(crate::http::watched_file::WatchedFile::current);
        let manifest = rules.expect.as_ref().map(super::rules::Expect::manifest);
        let readings = read_all(entries, rules.origin.as_str(), publishers.as_deref(), times);
        let look = Look::new(&rules, manifest.as_deref(), self.now());
        let mut findings = Findings::default();
        let mut draft = self.state.sequences.draft();
        for ((at, hash), reading) in (0..).zip(hashes).zip(readings) {
            let known = (&mut draft, &mut self.state.comparison);
            look.at(first.plus(at), hash, reading, known, &mut findings);
        }
        let mut targets = Targets { first, entries, head: head.get(), fetched: None };
        // Those that withdraw from one bundle together: it is fetched once.
        findings.claims.sort_by_key(|claim| claim.withdrawal.index);
        for claim in &findings.claims {
            self.check_stop()?;
            let target = self.find_release(claim, &mut targets, publishers.as_deref())?;
            findings.events.push(look.withdrawn(claim, target.as_ref(), &draft));
        }
        let moved = draft.into_moved();
        self.tools.delivery.tell(&findings.events)?;
        // Not before: what was not delivered is looked at again, and has to be judged as it was.
        self.state.sequences.commit(moved);
        Ok(())
    }

    /// Every entry up to the head was re-hashed: others may rely on it.
    fn vouch(
        &mut self,
        head: &LogSigned<Checkpoint>,
        cosigned: &Cosigned<Checkpoint>,
    ) -> Result<(), Trouble> {
        let Checkpoint { size, root, origin, .. } = head.get();
        if (self.state.edge.size(), self.state.edge.root()) != (*size, *root) {
            let seen = self.state.edge.root().to_base64();
            let message = format!(
                "the tree of size {size} is signed with root {}, and its entries make {seen}",
                root.to_base64()
            );
            return Err(Trouble::Lie { code: "wrong-root", message });
        }
        let before = self
            .state
            .verified
            .as_ref()
            .and_then(|note| checkpoint::open_note(note.clone(), &self.tools.rules.keys).ok());
        let grown = before.is_none_or(|before| before.get().size < *size);
        self.tools.board.settle(head.get(), Verdict::Consistent);
        if grown {
            // One with two keys has cosigned once.
            let witnesses: BTreeSet<&str> =
                cosigned.cosignatures().iter().map(|by| by.cosigner.as_str()).collect();
            let witnesses: Vec<&str> = witnesses.into_iter().collect();
            let message = match self.state.start {
                start if start.get() == 0 => {
                    format!("every entry of {origin} up to {size} is in the tree that it signed")
                }
                start if start == *size => {
                    format!("{origin} is followed from size {size}, with no look at the entries below")
                }
                start => {
                    format!("every entry of {origin} from {start} up to {size} is in the tree that it signed")
                }
            };
            let event = Event::new(
                Code::Head,
                Some(origin.as_str()),
                &[&size.to_string(), &root.to_hex()],
                self.now(),
                message,
            );
            let event =
                event.with("size", size.get()).with("root", root.to_base64()).with("witnesses", witnesses);
            self.tools.delivery.tell(&[event])?;
        }
        // Not before it was told: a delivery that failed comes again.
        self.state.verified = Some(head.note().clone());
        self.state.time = times::since_then(&self.tools.rules.policy, cosigned).unwrap_or_else(|| self.now());
        self.save()?;
        self.show();
        Ok(())
    }

    /// The release at the leaf that a withdrawal names, proven to be in the tree, with its signers.
    fn find_release(
        &self,
        claim: &Claim,
        targets: &mut Targets<'_>,
        publishers: Option<&Publishers>,
    ) -> Result<Option<(Release, Hash, Vec<String>)>, Trouble> {
        let at = claim.withdrawal.index;
        // It withdraws what was before it.
        if at >= claim.leaf {
            return Ok(None);
        }
        let here = at.get().checked_sub(targets.first.get());
        let here = here.and_then(|place| targets.entries.get(usize::try_from(place).ok()?));
        let entry = match here {
            Some(entry) => entry.to_vec(),
            None => self.fetch_entry(at, targets)?,
        };
        let hash = Hash::leaf(&entry);
        // Its keys may be revoked by now: what counts is who it was.
        let nobody = Publishers::default();
        let values = Facts::values(&entry, publishers.unwrap_or(&nobody));
        Ok(values.and_then(|EntryValues { signers, statement }| match statement {
            Statement::Release(release) => Some((release, hash, signers)),
            _ => None,
        }))
    }

    fn fetch_entry(&self, at: LeafIndex, targets: &mut Targets<'_>) -> Result<Vec<u8>, Trouble> {
        let (bundle, head) = (at.get() / TILE_WIDTH, targets.head);
        let entries = match targets.fetched.take() {
            Some((fetched, entries)) if fetched == bundle => entries,
            _ => {
                let id = TileId::Entries { index: bundle };
                self.tiles().entries(Tile::in_tree(id, head.size).expect("it is below the cursor"))?
            }
        };
        let entry = entries[usize::try_from(at.get() % TILE_WIDTH).expect("below 256")].clone();
        targets.fetched = Some((bundle, entries));
        let proven = prove_inclusion(&self.tiles(), at, &Hash::leaf(&entry), head.size, &head.root)?;
        proven.map_err(ClientError::from)?;
        Ok(entry)
    }
}

fn read_window(stream: &mut EntryStream, most: usize) -> Result<Vec<Bundle>, Trouble> {
    let (mut window, mut bytes, mut entries) = (Vec::new(), 0, 0);
    while bytes < WINDOW_BYTES && entries < most {
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
