//! The program is killed again and again while it follows a growing log: each event is delivered at least once, in order,
//! with one id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::kill::{Running, program, rounds};
use crate::common::log::{Served, vkey};
use crate::common::random::Random;
use crate::common::receiver::{Answer, Receiver};
use crate::common::releases::{release, signed, vendor_toml};

/// The number of rounds, unless `TREEHEAD_KILL_ROUNDS` is set.
const ROUNDS: u64 = 12;
/// One round in this many is killed before it has started.
const EARLY: u64 = 4;
/// The number of statements before the first start.
const FIRST: u64 = 3_000;
const PACKAGES: usize = 10;
/// The number of packages that the watch covers.
const WATCHED: usize = 2;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A statement that is in the log.
#[derive(Clone)]
struct Leaf {
    purl: String,
    watched: bool,
    /// Whether sequence numbers before its own are missing.
    gap: bool,
}

/// Appends statements and remembers them.
struct Writer {
    random: Random,
    last: [u64; PACKAGES],
}

impl Writer {
    fn append(&mut self, log: &Served, leaves: &Mutex<Vec<Leaf>>, count: u64) {
        let mut leaves = leaves.lock().unwrap();
        let mut entries = Vec::new();
        for _ in 0..count {
            let package = usize::try_from(self.random.below(PACKAGES as u64)).unwrap();
            // Rare enough that one look never finds a hundred, the rest of which would be told in one event.
            let gap = self.last[package] > 0 && self.random.one_in(200);
            self.last[package] += if gap { 2 + self.random.below(3) } else { 1 };
            let sequence = self.last[package];
            let purl = format!("pkg:generic/example/tool-{package}@{sequence}.0");
            entries.push(signed(&release(&purl, sequence, &purl), 1));
            leaves.push(Leaf { purl, watched: package < WATCHED, gap });
        }
        log.add_all(&entries);
    }
}

/// A monitor's directory.
struct Home {
    temp: TempDir,
    state: PathBuf,
}

impl Home {
    fn new(log: &Served, receiver: &Receiver) -> Self {
        let temp = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(temp.path().join(name), text).unwrap();
        write("monitor.policy", &format!("log {}\nquorum none\n", vkey()));
        write("publishers.toml", &vendor_toml());
        write("webhook.secret", SECRET);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(temp.path().join("webhook.secret"), mode).unwrap();
        let packages: Vec<String> = (0..WATCHED).map(|n| format!("pkg:generic/example/tool-{n}")).collect();
        write(
            "monitor.toml",
            &format!(
                "interval = \"1s\"\n[[log]]\nurl = \"http://{}\"\npolicy = \"monitor.policy\"\n\
                 publishers = \"publishers.toml\"\n[[watch]]\nname = \"some\"\npackages = {packages:?}\n\
                 [[webhook]]\nname = \"pager\"\nurl = \"{}\"\nsecret = \"webhook.secret\"\n",
                log.address,
                receiver.url()
            ),
        );
        let state = temp.path().join("state");
        Self { temp, state }
    }

    fn command(&self, output: &Path) -> Command {
        let mut command = program();
        command.args(["monitor", "--config", "monitor.toml"]).current_dir(self.temp.path());
        command.stdout(File::create(output).unwrap()).stderr(Stdio::piped());
        command
    }

    /// The cursor in the state file; zero if there is none.
    fn cursor(&self) -> u64 {
        let Ok(mut files) = fs::read_dir(self.state.join("logs")) else { return 0 };
        let files: Vec<PathBuf> = files.by_ref().map(|file| file.unwrap().path()).collect();
        let Some(file) = files.iter().find(|file| file.extension().is_some_and(|end| end == "json")) else {
            return 0;
        };
        let text = fs::read_to_string(file).unwrap();
        let state: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        state["size"].as_u64().unwrap()
    }

    /// The outbox, as text.
    fn outbox(&self) -> String {
        let bytes = fs::read(self.state.join("outbox.journal")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The events of all runs so far.
#[derive(Default)]
struct Told {
    /// The id of each leaf's event.
    releases: BTreeMap<u64, String>,
    gaps: BTreeMap<u64, String>,
}

impl Told {
    /// Adds the output of a run that began at `cursor`. A kill may have torn the last line.
    fn run(&mut self, cursor: u64, text: &str, leaves: &[Leaf]) {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut next = cursor;
        for (at, line) in whole.lines().enumerate() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let code = event["event"].as_str().unwrap();
            // `--once` reports no start of a log that is known already.
            assert!(code != "started" || at == 0, "{line}");
            let id = event["id"].as_str().unwrap().to_owned();
            match code {
                "started" => assert_eq!(event["size"], cursor, "{line}"),
                "head" => assert_eq!(event["size"], next, "every entry before it was told: {line}"),
                "release" => {
                    assert_eq!(event["index"], next, "in order: {line}");
                    let leaf = &leaves[usize::try_from(next).unwrap()];
                    assert_eq!(event["purl"], leaf.purl.as_str());
                    assert_eq!(event["severity"], if leaf.watched { "watch" } else { "info" });
                    assert_eq!(*self.releases.entry(next).or_insert_with(|| id.clone()), id, "one id");
                    next += 1;
                }
                "sequence-gap" => {
                    let index = event["index"].as_u64().unwrap();
                    assert!(index + 1 == next && leaves[usize::try_from(index).unwrap()].gap, "{line}");
                    assert_eq!(*self.gaps.entry(index).or_insert_with(|| id.clone()), id, "one id");
                }
                _ => panic!("nothing else happened: {line}"),
            }
        }
    }

    /// The ids that the webhook has to get for the leaves below `cursor`, in order.
    fn due(&self, size: u64, leaves: &[Leaf]) -> Vec<&str> {
        let mut ids = Vec::new();
        for (index, leaf) in (0..size).zip(leaves) {
            let told = |of: &BTreeMap<u64, String>| of.contains_key(&index);
            assert!(told(&self.releases), "leaf {index} is behind the cursor, and was never told");
            assert_eq!(told(&self.gaps), leaf.gap, "leaf {index}");
            ids.extend(leaf.watched.then(|| self.releases[&index].as_str()));
            ids.extend(leaf.gap.then(|| self.gaps[&index].as_str()));
        }
        ids
    }
}

/// The ids that the webhook got, each with its signature checked.
fn received(receiver: &Receiver) -> Vec<String> {
    let got = receiver.got();
    got.iter().for_each(|got| got.check(SECRET));
    got.iter().map(|got| got.header("webhook-id")).collect()
}

/// Runs the monitor and kills it early, or while it works. Returns its output.
fn live_and_be_killed(home: &Home, output: &Path, early: bool, random: &mut Random) -> String {
    let mut running = Running::spawn(&mut home.command(output));
    if early {
        std::thread::sleep(Duration::from_micros(random.below(80_000)));
    } else {
        running.wait_until(|_| fs::metadata(output).unwrap().len() > 0);
        std::thread::sleep(Duration::from_micros(random.below(1_200_000)));
    }
    running.kill();
    fs::read_to_string(output).unwrap()
}

#[test]
fn kills_at_any_moment_leave_nothing_untold() {
    let rounds = rounds(ROUNDS);
    let log = Served::release(&vendor_toml());
    // The receiver fails now and then, so that kills meet an outbox that is not empty.
    let receiver = Receiver::start((1..100_000).map(|n| match n % 100 {
        0 => Answer::Close,
        _ => Answer::Status(204, ""),
    }));
    let home = Home::new(&log, &receiver);
    let (leaves, mut random) = (Mutex::new(Vec::new()), Random(20_261_122));
    let mut writer = Writer { random: Random(random.next()), last: [0; PACKAGES] };
    writer.append(&log, &leaves, FIRST);

    let (mut told, mut grown, mut cursor) = (Told::default(), 0, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let count = 1 + writer.random.below(12);
                writer.append(&log, &leaves, count);
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        // A failed assertion must not leave the writer behind.
        let _stop = StopAtEnd(&stop);
        // On a slow machine each kill may come too early: a few more then.
        for round in 0..4 * rounds {
            if round >= rounds && grown > 0 {
                break;
            }
            let output = home.temp.path().join(format!("{round}.events"));
            let text = live_and_be_killed(&home, &output, round % EARLY == EARLY - 1, &mut random);
            let now = leaves.lock().unwrap().clone();
            told.run(cursor, &text, &now);
            let saved = home.cursor();
            assert!(saved >= cursor, "round {round}: the cursor went back from {cursor} to {saved}");
            grown += u64::from(saved > cursor);
            cursor = saved;
            // Each event below the cursor was printed, and the webhook has it or the outbox holds it.
            let (outbox, got) = (home.outbox(), received(&receiver).into_iter().collect::<BTreeSet<_>>());
            for id in told.due(cursor, &now) {
                assert!(got.contains(id) || outbox.contains(id), "round {round}: {id} is lost");
            }
        }
    });

    let output = home.temp.path().join("last.events");
    let last = home.command(&output).arg("--once").output().unwrap();
    let said = String::from_utf8_lossy(&last.stderr).into_owned();
    // Everything is delivered; what this run may have found is that numbers are missing.
    let has_alert = fs::read_to_string(&output).unwrap().contains("\"severity\":\"alert\"");
    assert_eq!(last.status.code(), Some(i32::from(has_alert)), "{said}");
    let leaves = leaves.into_inner().unwrap();
    told.run(cursor, &fs::read_to_string(&output).unwrap(), &leaves);
    assert_eq!(home.cursor(), leaves.len() as u64);
    let (due, got) = (told.due(leaves.len() as u64, &leaves), received(&receiver));
    let mut seen = BTreeSet::new();
    let first_times: Vec<&str> = got.iter().map(String::as_str).filter(|id| seen.insert(*id)).collect();
    assert_eq!(first_times, due, "each at least once, in the order of the log");
    println!(
        "at least {rounds} kills, {grown} of which moved the cursor; {} entries, {} events for the webhook, {} repeats",
        leaves.len(),
        due.len(),
        got.len() - due.len()
    );
    assert!(grown > 0, "no kill came after the cursor had moved");
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
