//! Following one log: the loop over its heads, its entries, gossip about it, and the conditions that hold.
//!
//! ```text
//! 1. heads       fetch the head; a key of the log signed it, and a quorum of witnesses saw it
//! 2. heads       the known head is a part of its tree, or the other way round: by tiles
//! 3. entries     fetch the entries from the cursor on, in windows; hash them; they are in the head's tree
//! 4. entries     read the entries of the window, deliver their events
//! 5. entries     move the cursor; at its end, vouch for the head
//! 6. gossip      compare the heads that others were shown
//! 7. conditions  report what has lasted too long
//! ```
//!
//! No event is about an entry that step 3 has not shown to be in the tree that the log signed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conditions::Conditions;
use super::entries::LogEntries;
use super::error::{FollowError, LogLie};
use super::evidence::{ITSELF, convict, end_forks_without_evidence};
use super::gossip::{Gossip, OwnHead};
use super::heads::{FetchedHead, Judged, LogHeads};
use super::inbox::Inbox;
use super::log::{Tools, Vouched};
use super::settings::CLOCK_ALLOWANCE;
use super::signal::Woken;
use super::started::started_events;
use super::state::{self, LogState};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{Checkpoint, LogSigned};
use crate::client::ClientError;
use crate::merkle::TreeSize;

/// Interval of saves while entries are read; a killed monitor reads that much again.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of checks for lasting conditions while entries are read.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The longest pause that a log gets. One that asks for more would hide from its monitors.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

type WitnessedHead = (LogSigned<Checkpoint>, Cosigned<Checkpoint>);

pub struct Follower {
    tools: Arc<Tools>,
    heads: LogHeads,
    entries: LogEntries,
    gossip: Gossip,
    conditions: Conditions,
    /// The end of the pause that the log asked for, and its answer.
    pause: Option<(Instant, ClientError)>,
    is_new: bool,
    /// Whether the event `started` was delivered.
    is_started: bool,
    reported: Instant,
    saved: Instant,
    /// How long that took.
    saving: Duration,
}

impl Follower {
    /// Reads the state file and goes on from there.
    pub fn open(tools: Tools) -> Result<Self, FollowError> {
        let tools = Arc::new(tools);
        let known = LogState::load(&tools.state_file(), &tools.settings().origin)?;
        // A log that did not answer leaves a file with nothing but the time.
        let is_new = known
            .as_ref()
            .is_none_or(|known| known.heads.target.is_none() && known.entries.edge.size() == TreeSize::ZERO);
        let state = known.unwrap_or_else(|| LogState::new(tools.now()));
        let follower = Self {
            heads: LogHeads::new(tools.clone(), state.heads),
            entries: LogEntries::new(tools.clone(), state.entries),
            gossip: Gossip::new(tools.clone(), state.pending),
            conditions: Conditions::new(tools.clone()),
            tools,
            pause: None,
            is_new,
            is_started: false,
            reported: Instant::now(),
            saved: Instant::now(),
            saving: Duration::ZERO,
        };
        follower.show();
        Ok(follower)
    }

    pub fn origin(&self) -> &str {
        self.tools.origin()
    }

    /// Waits until somebody sends a head, for `most` at the longest. Returns false if the monitor stops.
    pub fn wait(&self, most: Duration) -> bool {
        self.tools.log.inbox.wait(most, Inbox::has_any) != Woken::Stopped
    }

    /// The reason why the monitor can't judge entries as its settings say, if there is one.
    pub fn fault(&self) -> Option<String> {
        let full = || {
            let why = "more packages and channels were met than are remembered: jumps in the numbers of new ones go unnoticed";
            self.entries.state.history.is_full().then(|| why.to_owned())
        };
        self.tools.settings().fault().or_else(full)
    }

    /// Shows a fault of the monitor in `/healthz`, or clears it.
    pub fn set_fault(&self, fault: Option<String>) {
        self.tools.log.report(|status| status.own_fault = fault);
    }

    /// Follows the log to its head, compares the heads that others showed, and reports conditions. Returns whether the
    /// log could be followed. If `once` is set, a log that does not answer is reported at once.
    ///
    /// # Errors
    /// [`FollowError`] that is not the log's fault.
    pub fn round(&mut self, once: bool) -> Result<bool, FollowError> {
        self.report_start(once)?;
        self.clamp_times();
        // Before a comparison that may find the same fork again, and write its evidence anew.
        end_forks_without_evidence(&self.tools)?;
        let pending = self.gossip.pending.clone();
        let pause = self.pause.take().filter(|(until, _)| Instant::now() < *until);
        let (followed, until) = match pause {
            Some((until, busy)) => (Err(busy.into()), Some(until)),
            None => (self.advance(), None),
        };
        let error = match self.compare_after(followed) {
            Err(error) if !error.is_the_logs() => {
                // Those heads may never come again. If the save fails as well, the first error counts.
                if self.gossip.pending != pending {
                    let _ = self.save();
                }
                return Err(error);
            }
            other => other.err(),
        };
        self.conditions.report_answer(error.as_ref(), once)?;
        self.report_lasting()?;
        if error.is_none() && self.has_caught_up() {
            self.conditions.report_missing(&mut self.entries.state.comparison)?;
        }
        self.save()?;
        self.show();
        let is_followed = error.is_none();
        self.pause = asked_pause(error, until);
        Ok(is_followed)
    }

    /// Steps 1 to 5.
    fn advance(&mut self) -> Result<(), FollowError> {
        let Some((head, cosigned)) = self.find_head()? else { return Ok(()) };
        self.tools.log.report(|status| status.target = head.get().size);
        if self.entries.cursor() < head.get().size {
            let times = self.entries.interval(&cosigned);
            let mut stream = self.entries.stream(head.get());
            while self.entries.cursor() < head.get().size {
                let window = self.entries.next_window(&mut stream)?;
                self.entries.take(&window, times, head.get())?;
                self.do_what_is_due()?;
            }
        }
        self.entries.verify(&head, &cosigned)?;
        self.save()?;
        self.show();
        Ok(())
    }

    /// Steps 1 and 2: the log's head, if it is the newest and a quorum saw it.
    fn find_head(&mut self) -> Result<Option<WitnessedHead>, FollowError> {
        let FetchedHead { head, stale } = self.heads.fetch()?;
        if let Some(stale) = stale {
            // A cache may hold a head of another history: it is compared like one that a peer shows.
            self.gossip.keep(&stale);
            self.heads.report_stale(stale.get(), &mut self.conditions)?;
        }
        self.heads.see(&head);
        let judged = self.heads.judge(&head, &mut self.conditions).inspect_err(|_| {
            // The verdict could not be delivered, and the log may never show this head again.
            self.gossip.keep(&head);
        });
        match judged? {
            Judged::First(cosigned) => {
                self.entries.begin(head.get())?;
                self.heads.adopt_grown(head.clone());
                Ok(Some((head, *cosigned)))
            }
            Judged::Newest(cosigned) => Ok(Some((head, *cosigned))),
            Judged::Known => Ok(None),
            Judged::Unwitnessed => {
                self.gossip.keep(&head);
                Ok(None)
            }
            Judged::Unclear(unclear) => {
                self.gossip.keep(&head);
                Err(unclear)
            }
            Judged::Forked(fork) => {
                let kept = convict(&self.tools, &fork, head.get(), ITSELF);
                if !matches!(kept, Ok(true)) {
                    // The log may take it back before there is evidence.
                    self.gossip.keep(&head);
                }
                kept?;
                let size = fork.smaller().size;
                let message = format!("the log shows another history than before, at size {size}");
                Err(FollowError::lie(LogLie::Fork, message))
            }
        }
    }

    /// Work that can't wait for the end of a long catch-up: saving, heads from others, and lasting conditions.
    fn do_what_is_due(&mut self) -> Result<(), FollowError> {
        // A large state is saved less often, so that it takes a tenth of the time at most.
        if self.saved.elapsed() >= SAVE_INTERVAL.max(self.saving * 10) {
            self.save()?;
        }
        if self.tools.log.inbox.with(|inbox| inbox.has_any()) {
            self.compare_received()?;
        }
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.report_lasting()?;
        }
        Ok(())
    }

    /// Step 6, whatever the log answered: two heads of one size need no tiles.
    fn compare_after(&mut self, followed: Result<(), FollowError>) -> Result<(), FollowError> {
        if followed.as_ref().is_err_and(|error| !error.is_the_logs()) {
            return followed;
        }
        let compared = self.compare_all(followed.is_ok());
        followed.and(compared)
    }

    fn compare_all(&mut self, answers: bool) -> Result<(), FollowError> {
        self.receive()?;
        let shown = self.heads.shown;
        let size = self.heads.newest.as_ref().map_or(shown, |head| head.get().size.max(shown));
        if answers && self.gossip.knows_larger(size) {
            // The log may have grown to what others were shown.
            self.advance()?;
        }
        self.gossip.compare(own_head(&self.heads, answers), &mut self.conditions)
    }

    /// Compares what others sent between two rounds, without asking the log for its head: whoever pushes heads sends
    /// nobody to the log. A head that is larger than the log's waits for the next round.
    ///
    /// # Errors
    /// [`FollowError`] that is not the log's fault.
    pub fn compare_received(&mut self) -> Result<(), FollowError> {
        end_forks_without_evidence(&self.tools)?;
        let before = self.gossip.pending.clone();
        self.receive()?;
        let answers = self.pause.as_ref().is_none_or(|(until, _)| Instant::now() >= *until);
        let compared = self.gossip.compare(own_head(&self.heads, answers), &mut self.conditions);
        if self.gossip.pending != before {
            self.save()?;
        }
        match compared {
            // It is reported at the end of the next round, if it lasts until then.
            Err(error) if error.is_the_logs() => Ok(()),
            other => other,
        }
    }

    fn receive(&mut self) -> Result<(), FollowError> {
        for head in self.gossip.receive() {
            self.heads.see_cosignatures(&head);
        }
        self.gossip.report_forks(own_head(&self.heads, false))
    }

    /// Delivers the event `started`, once, and the forks that there is evidence of. A monitor that looks once, again
    /// and again, says only what is not checked.
    fn report_start(&mut self, once: bool) -> Result<(), FollowError> {
        if self.is_started {
            return Ok(());
        }
        let compared = self.entries.state.compares;
        let events = started_events(&self.tools, &mut self.entries, self.is_new, once);
        if let Err(error) = self.tools.delivery.tell(&events) {
            // The next try counts the skipped releases again.
            self.entries.state.compares = compared;
            return Err(error.into());
        }
        self.is_started = true;
        Ok(())
    }

    /// Step 7.
    fn report_lasting(&mut self) -> Result<(), FollowError> {
        self.reported = Instant::now();
        let heads = &mut self.heads;
        let size = heads.newest.as_ref().map_or(TreeSize::ZERO, |head| head.get().size);
        self.conditions.report_stall(heads.state.alive, size)?;
        self.conditions.report_witnesses(&mut heads.state.witnesses)?;
        self.conditions.report_peers()
    }

    fn has_caught_up(&self) -> bool {
        self.heads.newest.as_ref().is_some_and(|head| head.get().size == self.entries.cursor())
    }

    /// Moves times that are in the future to now. Noted by a clock that was ahead once, they would never be old.
    fn clamp_times(&mut self) {
        let now = self.tools.now();
        let heads = &mut self.heads.state;
        heads.alive = heads.alive.min(now);
        heads.stale_since = heads.stale_since.map(|since| since.min(now));
        heads.witnesses.values_mut().for_each(|time| *time = (*time).min(now + CLOCK_ALLOWANCE));
        self.entries.state.time = self.entries.state.time.min(now);
        self.gossip.pending.iter_mut().for_each(|pending| pending.since = pending.since.min(now));
    }

    fn save(&mut self) -> Result<(), FollowError> {
        let begin = Instant::now();
        let (heads, entries, pending) = (&self.heads.state, &self.entries.state, &self.gossip.pending);
        let (io, file) = (self.tools.monitor.io.as_ref(), self.tools.state_file());
        state::save(io, &file, self.tools.origin(), (heads, entries, pending))?;
        (self.saved, self.saving) = (Instant::now(), begin.elapsed());
        Ok(())
    }

    /// Shows the other threads how far the monitor has come, and vouches for the verified head.
    fn show(&self) {
        let log = &self.tools.log;
        let cursor = self.entries.cursor();
        let target = self.heads.newest.as_ref().map_or(cursor, |head| head.get().size);
        log.report(|status| {
            (status.cursor, status.target, status.start) = (cursor, target, self.entries.state.start);
            status.alive = self.heads.state.alive;
            status.witnesses.clone_from(&self.heads.state.witnesses);
        });
        // The policy may ask for more cosignatures than it did when this head was verified.
        let verified = self.entries.verified().and_then(|head| log.settings.policy.check(&head).ok());
        if let Some(head) = verified {
            let (note, size) = (head.verified_note().to_string(), head.get().size);
            let head = Vouched { note, size, root: head.get().root };
            let before = log.report(|status| status.vouched.replace(head));
            if before.is_none_or(|before| before.size != size) {
                self.tools.vouched.raise();
            }
        }
    }
}

const fn own_head(heads: &LogHeads, answers: bool) -> OwnHead<'_> {
    OwnHead { newest: heads.newest.as_ref(), shown: heads.shown, answers }
}

/// The pause that the log asked for. One that it asked for before stays as it is.
fn asked_pause(error: Option<FollowError>, until: Option<Instant>) -> Option<(Instant, ClientError)> {
    let Some(FollowError::Client(busy)) = error else { return None };
    let ClientError::Status { retry_after: Some(seconds), .. } = &busy else { return None };
    let asked = Duration::from_secs(*seconds).min(LONGEST_PAUSE);
    Some((until.unwrap_or_else(|| Instant::now() + asked), busy))
}
