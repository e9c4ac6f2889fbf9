//! Expectations of the user: pins, names of artifacts, and the channel that an endpoint follows.

use super::*;
use crate::release::Purl;

/// A pin that is not set, met, or not met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pin {
    Unset,
    Met,
    Missed,
}

impl Pin {
    const ALL: [Self; 3] = [Self::Unset, Self::Met, Self::Missed];

    fn value<T>(self, met: T, missed: T) -> Option<T> {
        match self {
            Self::Unset => None,
            Self::Met => Some(met),
            Self::Missed => Some(missed),
        }
    }
}

/// All combinations, against the table: the first unmet pin is the answer.
#[test]
fn each_pin_has_to_be_met() {
    let (this, other) = (pin("pkg:generic/example/scanner@4.2.0"), pin("pkg:generic/example/scanner@4.2"));
    let publishers = ["other".to_owned(), "vendor".to_owned()];
    let mut combinations = 0;
    for audience in [None, Some("customer 17")] {
        let release = Release { audience: audience.map(ToOwned::to_owned), ..sample_release(ARTIFACT) };
        for n in 0..3_usize.pow(6) {
            let set: Vec<Pin> = (0..6).map(|at| Pin::ALL[n / 3_usize.pow(at) % 3]).collect();
            let pins = Pins {
                package: set[0].value(this, other),
                publisher: set[1].value("vendor", "vendors"),
                kind: set[2].value(Kind::Build, Kind::Update),
                channel: set[3].value("stable", "Stable"),
                audience: set[4].value("customer 17", "customer 1"),
                min_sequence: set[5].value(7, 8),
                name: None,
            };
            let mut missed: Vec<bool> = set.iter().map(|pin| *pin == Pin::Missed).collect();
            // A statement with an audience is accepted only for that audience.
            missed[4] = match audience {
                Some(_) => set[4] != Pin::Met,
                None => set[4] != Pin::Unset,
            };
            let codes = [
                "other-package",
                "other-publisher",
                "other-kind",
                "other-channel",
                "other-audience",
                "below-min-sequence",
            ];
            let expected = missed.iter().position(|missed| *missed).map(|at| codes[at]);
            let refusal = pins.check(&release, &publishers).err();
            assert_eq!(
                refusal.as_ref().map(|refusal| refusal.code().as_str()),
                expected,
                "{pins:?}: {refusal:?}"
            );
            combinations += 1;
        }
    }
    assert_eq!(combinations, 2 * 729);
}

#[test]
fn a_package_is_pinned_as_exactly_as_it_is_written() {
    let amd64 = "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=trixie";
    for (pin, release, covers) in [
        // A purl with a version is exactly that release.
        ("pkg:deb/debian/bash@5.2-1", "pkg:deb/debian/bash@5.2-1", true),
        ("pkg:deb/debian/bash@5.2-1", "pkg:deb/debian/bash@5.2", false),
        ("pkg:deb/debian/bash@5.2", "pkg:deb/debian/bash@5.2-1", false),
        ("pkg:deb/debian/bash@5.2-1", amd64, false),
        (amd64, amd64, true),
        ("pkg:deb/debian/bash@5.2-1?arch=arm64&distro=trixie", amd64, false),
        ("pkg:deb/debian/bash@5.2-1?arch=amd64", amd64, false),
        (amd64, "pkg:deb/debian/bash@5.2-1", false),
        ("pkg:npm/a@1#src", "pkg:npm/a@1", false),
        ("pkg:npm/%40angular/core@17", "pkg:npm/%40angular/core@17", true),
        // In any spelling.
        ("pkg:npm/@angular/core@17", "pkg:npm/%40angular/core@17", true),
        ("pkg:npm/@angular/core", "pkg:npm/%40angular/core@17", true),
        ("pkg:deb/debian/bash@5.2-1?distro=trixie&arch=amd64", amd64, true),
        // A pattern has no version, and qualifiers only if they matter.
        ("pkg:deb/debian/bash", amd64, true),
        ("pkg:deb/debian/*", amd64, true),
        ("pkg:deb/debian/bash?arch=amd64&distro=trixie", amd64, true),
        ("pkg:deb/debian/bash?arch=arm64&distro=trixie", amd64, false),
        ("pkg:deb/debian/bash?arch=amd64*", amd64, true),
        ("pkg:npm/%40angular/core", "pkg:npm/%40angular/core@17", true),
        ("pkg:npm/%40angular/core", "pkg:npm/%40angular/cores@17", false),
    ] {
        let wanted = PackagePin::parse(pin).unwrap();
        assert_eq!(wanted.covers(&Purl::parse(release).unwrap()), covers, "{pin} of {release}");
    }
    for (bad, why) in [
        ("pkg:deb/debian/bash@5.*", "without a version, or pkg:<type>/<prefix>*"),
        ("pkg:deb/*/bash@1", "without a version, or pkg:<type>/<prefix>*"),
        ("bash", "expected pkg:<type>/<name>"),
        ("bash@5", "expected pkg:<type>/<name>"),
    ] {
        let error = PackagePin::parse(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn the_publisher_that_was_asked_for_is_told() {
    let keys = [publisher_signer(1), publisher_signer(2)];
    for wanted in ["vendor", "other"] {
        let scene = Scene::with(|s| {
            s.publishers += &publisher_toml("other", &[&keys[1]], &["pkg:generic/example/*"], &["build"]);
            let entry = signed_entry(&s.release, &[&keys[0], &keys[1]]);
            s.entry = Box::new(move |_| entry.clone());
            s.pins.publisher = Some(wanted);
        });
        assert_eq!(scene.verdict().unwrap().publisher(), wanted);
    }
    // A co-signer without a right to the package is no publisher.
    let refusal = Scene::with(|s| {
        s.publishers += &publisher_toml("other", &[&keys[1]], &["pkg:deb/*"], &["build"]);
        let entry = signed_entry(&s.release, &[&keys[0], &keys[1]]);
        s.entry = Box::new(move |_| entry.clone());
        s.pins.publisher = Some("other");
    })
    .refusal();
    let (expected, seen) = ("other".to_owned(), "vendor".to_owned());
    assert_eq!(refusal, Refusal::OtherPublisher { expected, seen });
}

#[test]
fn refusals_of_pins_say_what_was_expected_and_seen() {
    let message = |fault: Fault| Scene::with(fault).refusal().to_string();
    for (fault, expected) in [
        (
            (|s| s.pins.package = Some(pin("pkg:generic/example/another"))) as Fault,
            "the release is of another package: expected pkg:generic/example/another, saw pkg:generic/example/scanner@4.2.0",
        ),
        (|s| s.pins.kind = Some(Kind::DetectionRules), "another kind: expected detection-rules, saw build"),
        (|s| s.pins.channel = Some("beta"), "the release is of another channel: expected beta, saw stable"),
        (
            Scene::follow_beta,
            "the release is of another channel than this endpoint follows: expected beta, saw stable",
        ),
        (
            |s| s.pins.audience = Some("customer 17"),
            "the release is for another audience: expected one for \"customer 17\", saw one for everyone",
        ),
        (
            |s| s.release.audience = Some("customer 17".to_owned()),
            "the release is for another audience: expected one for everyone, saw one for \"customer 17\"",
        ),
        (|s| s.pins.min_sequence = Some(8), "than you asked for: expected sequence 8 or higher, saw 7"),
        (
            Scene::swap,
            "the file is another artifact of the release: expected \"remover.bin\", saw \"scanner.bin\" by its digest",
        ),
    ] {
        let message = message(fault);
        assert!(message.ends_with(expected), "expected {expected:?} in {message:?}");
    }
}

/// The names of a release's artifacts. The content of each is its name, unless `=` gives another.
fn artifacts(names: &[&str]) -> Vec<Subject> {
    let subject = |name: &&str| {
        let (name, content) = name.split_once('=').unwrap_or((name, name));
        Subject { name: name.to_owned(), sha256: Hash::digest(content.as_bytes()) }
    };
    names.iter().map(subject).collect()
}

/// The expected matches, in order, or the expected and the found name.
type Matched = Result<&'static [&'static str], (&'static str, &'static str)>;

#[test]
fn a_file_under_another_artifact_s_name_is_refused() {
    let installers = &["installer.exe", "factory-reset.exe"][..];
    let systems = &["linux/agent", "darwin/agent", "README"][..];
    let twins = &["a.exe=same", "b.exe=same", "c.exe"][..];
    let rows: [(&[&str], &str, Option<&'static str>, Matched); 28] = [
        (installers, "installer.exe", Some("installer.exe"), Ok(&["installer.exe"])),
        (installers, "factory-reset.exe", Some("factory-reset.exe"), Ok(&["factory-reset.exe"])),
        (installers, "factory-reset.exe", Some("installer.exe"), Err(("installer.exe", "factory-reset.exe"))),
        (
            installers,
            "factory-reset.exe",
            Some("/home/x/installer.exe"),
            Err(("installer.exe", "factory-reset.exe")),
        ),
        (
            installers,
            "factory-reset.exe",
            Some("C:\\x\\Installer.EXE"),
            Err(("installer.exe", "factory-reset.exe")),
        ),
        (installers, "installer.exe", Some("INSTALLER.exe"), Ok(&["installer.exe"])),
        // Users rename files, and a digest or a pipe has no name.
        (installers, "factory-reset.exe", Some("tmp123"), Ok(&["factory-reset.exe"])),
        (installers, "factory-reset.exe", Some("installer.exe.1"), Ok(&["factory-reset.exe"])),
        (installers, "factory-reset.exe", Some(""), Ok(&["factory-reset.exe"])),
        (installers, "factory-reset.exe", Some("installer.exe/.."), Ok(&["factory-reset.exe"])),
        (installers, "factory-reset.exe", None, Ok(&["factory-reset.exe"])),
        // A name may be a path: the longer the match with the file's path, the better.
        (systems, "linux/agent", Some("linux/agent"), Ok(&["linux/agent"])),
        (systems, "darwin/agent", Some("linux/agent"), Err(("linux/agent", "darwin/agent"))),
        (systems, "darwin/agent", Some("/dl//linux/./agent"), Err(("linux/agent", "darwin/agent"))),
        (systems, "darwin/agent", Some("agent"), Ok(&["darwin/agent"])),
        (systems, "linux/agent", Some("/opt/agent"), Ok(&["linux/agent"])),
        (systems, "README", Some("agent"), Err(("linux/agent", "README"))),
        (systems, "README", Some("readme"), Ok(&["README"])),
        (systems, "README", Some("agent/README"), Ok(&["README"])),
        // Names that differ only in case.
        (&["run", "Run"], "run", Some("run"), Ok(&["run"])),
        (&["run", "Run"], "run", Some("Run"), Err(("Run", "run"))),
        (&["run", "Run"], "run", Some("RUN"), Ok(&["run"])),
        // Two names for the same bytes are both right; the file's own name is reported first.
        (twins, "same", Some("b.exe"), Ok(&["b.exe", "a.exe"])),
        (twins, "same", Some("tmp"), Ok(&["a.exe", "b.exe"])),
        (twins, "same", Some("c.exe"), Err(("c.exe", "a.exe"))),
        (twins, "c.exe", Some("a.exe"), Err(("a.exe", "c.exe"))),
        (&["x", "y"], "x", Some("y/x"), Ok(&["x"])),
        (&["x", "y"], "y", Some("y/x"), Err(("x", "y"))),
    ];
    for (subjects, content, name, expected) in rows {
        let scene = Scene::with(|s| {
            s.release.subjects = artifacts(subjects);
            s.artifact = Hash::digest(content.as_bytes());
            s.name = name;
        });
        assert_matched(&scene, expected, &format!("{content} as {name:?}"));
    }
}

fn assert_matched(scene: &Scene, expected: Matched, what: &str) {
    match (scene.verdict(), expected) {
        (Ok(verdict), Ok(names)) => {
            let told: Vec<&str> = verdict.artifacts().iter().map(|s| s.name.as_str()).collect();
            assert_eq!(told, names, "{what}");
            assert!(verdict.artifacts().iter().all(|s| s.sha256 == scene.artifact), "{what}");
        }
        (Err(Refusal::ArtifactSwapped { expected, seen }), Err(names)) => {
            assert_eq!((expected.as_str(), seen.as_str()), names, "{what}");
        }
        (verdict, expected) => panic!("{what}: expected {expected:?}, saw {verdict:?}"),
    }
}

#[test]
fn a_pinned_name_counts_whatever_the_file_is_called() {
    let systems = &["linux/agent", "darwin/agent", "agent"][..];
    let rows: [(&str, &'static str, Option<&'static str>, Matched); 8] = [
        ("linux/agent", "linux/agent", None, Ok(&["linux/agent"])),
        ("linux/agent", "linux/agent", Some("tmp123"), Ok(&["linux/agent"])),
        // Also under the name of another artifact: a user who pins it knows what they want.
        ("linux/agent", "linux/agent", Some("darwin/agent"), Ok(&["linux/agent"])),
        ("darwin/agent", "linux/agent", Some("linux/agent"), Err(("linux/agent", "darwin/agent"))),
        ("darwin/agent", "linux/agent", Some("tmp123"), Err(("linux/agent", "darwin/agent"))),
        // Names match exactly: `agent` is an artifact of its own, and `Agent` is none.
        ("linux/agent", "agent", Some("tmp123"), Err(("agent", "linux/agent"))),
        ("agent", "Agent", Some("agent"), Err(("Agent", "agent"))),
        ("agent", "windows/agent", None, Err(("windows/agent", "agent"))),
    ];
    for (content, pinned, name, expected) in rows {
        let scene = Scene::with(|s| {
            s.release.subjects = artifacts(systems);
            s.artifact = Hash::digest(content.as_bytes());
            (s.name, s.pins.name) = (name, Some(pinned));
        });
        assert_matched(&scene, expected, &format!("{content} as {name:?}, pinned {pinned}"));
    }
    // Bytes of no artifact are not swapped ones, and the pinned artifact's digest is reported first.
    let refusal = Scene::with(|s| {
        s.release.subjects = artifacts(&["a", "b", "c", "d", "e"]);
        (s.artifact, s.pins.name) = (Hash::digest(b"f"), Some("e"));
    })
    .refusal();
    let Refusal::ArtifactMismatch { expected, .. } = refusal else { panic!("{refusal}") };
    assert!(expected.starts_with(&format!("{} (e) or ", Hash::digest(b"e").to_hex())), "{expected}");
}

#[test]
fn the_path_in_a_manifest_is_its_file_s_name() {
    let files: Vec<(String, Hash)> =
        ["bin/agent", "bin/reset"].map(|path| (path.to_owned(), Hash::digest(path.as_bytes()))).to_vec();
    let manifest = Manifest::new(files.clone()).unwrap();
    let mut scene =
        Scene::with(|s| s.release.manifest = Some(ManifestRef { root: manifest.root(), files: 2 }));
    let (proof, both) = (scene.proof(), manifest.prove(&[0, 1]).unwrap());
    let ask = |scene: &Scene, files: &[(String, Hash)], of: &MultiProof| {
        scene.ask(proof.as_bytes(), Artifact::Files(files, of))
    };
    let verdict = ask(&scene, &files, &both).unwrap();
    let told: Vec<(&str, Hash)> =
        verdict.artifacts().iter().map(|file| (file.name.as_str(), file.sha256)).collect();
    assert_eq!(told, files.iter().map(|(path, digest)| (path.as_str(), *digest)).collect::<Vec<_>>());
    // Each under the other's path.
    let swapped = [(files[0].0.clone(), files[1].1), (files[1].0.clone(), files[0].1)];
    assert_eq!(ask(&scene, &swapped, &both).unwrap_err().code().as_str(), "not-in-manifest");
    scene.pins.name = Some("bin/agent");
    assert!(ask(&scene, &files[..1], &manifest.prove(&[0]).unwrap()).is_ok());
    let other = ask(&scene, &files[1..], &manifest.prove(&[1]).unwrap()).unwrap_err();
    let (expected, seen) = ("bin/agent".to_owned(), "bin/reset".to_owned());
    assert_eq!(other, Refusal::ArtifactSwapped { expected, seen });
    assert_eq!(ask(&scene, &files, &both).unwrap_err().code().as_str(), "artifact-swapped");
}

/// The life of an endpoint: each question, release and verdict.
#[test]
fn another_channel_than_the_followed_one_has_to_be_asked_for() {
    let mut state = EndpointState::default();
    let life = [
        (None, "stable", 42, Ok(())),
        (None, "stable", 43, Ok(())),
        // An old release, of a channel of which nothing is remembered.
        (None, "beta", 3, Err("other-channel")),
        (None, "beta", 99, Err("other-channel")),
        (Some("beta"), "stable", 44, Err("other-channel")),
        // A refusal changes nothing.
        (None, "stable", 43, Ok(())),
        (Some("beta"), "beta", 50, Ok(())),
        // From now on the endpoint follows beta, and each channel keeps its own number.
        (None, "beta", 50, Ok(())),
        (None, "beta", 49, Err("rollback")),
        (None, "stable", 44, Err("other-channel")),
        (Some("stable"), "stable", 42, Err("rollback")),
        (None, "beta", 51, Ok(())),
        (Some("stable"), "stable", 44, Ok(())),
        (None, "beta", 52, Err("other-channel")),
        (Some("beta"), "beta", 50, Err("rollback")),
        (None, "stable", 44, Ok(())),
    ];
    for (at, (asked, channel, sequence, expected)) in life.into_iter().enumerate() {
        let scene = Scene::with(|s| {
            (s.release.channel, s.release.sequence) = (channel.to_owned(), sequence);
            (s.pins.channel, s.state) = (asked, state.clone());
        });
        let verdict = scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str());
        assert_eq!(verdict, expected, "{at}");
        if verdict.is_ok() {
            accept(&mut state, "vendor", &scene.release);
        }
        // The file says the same.
        assert_eq!(EndpointState::parse(&state.to_bytes()).as_ref(), Ok(&state), "{at}");
    }
}

/// Remembers a release of another log, whose heads don't concern the scene's log.
fn accept(state: &mut EndpointState, publisher: &str, release: &Release) {
    let origin = KeyName::new("example.com/other").unwrap();
    let head = Checkpoint::new(origin, TreeSize::new(1).unwrap(), Hash::EMPTY_ROOT);
    state.remember(&head, None, &[publisher], release);
}

#[test]
fn a_channel_is_followed_for_each_publisher_and_package() {
    let beta = Release { channel: "beta".to_owned(), ..sample_release(ARTIFACT) };
    let package = |purl: &str| Release { purl: Purl::parse(purl).unwrap(), ..beta.clone() };
    for (publisher, accepted, expected) in [
        ("vendor", beta.clone(), Err("other-channel")),
        // Whatever the version is.
        ("vendor", package("pkg:generic/example/scanner@1"), Err("other-channel")),
        ("vendor", package("pkg:generic/example/scanner-gui@4.2.0"), Ok(())),
        ("vendor", package("pkg:generic/example/scanner@4.2.0?arch=arm64"), Ok(())),
        ("vendo", beta.clone(), Ok(())),
        ("vendors", beta.clone(), Ok(())),
        ("vendor", sample_release(ARTIFACT), Ok(())),
    ] {
        let mut scene = Scene::good();
        accept(&mut scene.state, publisher, &accepted);
        let verdict = scene.verdict().map(drop).map_err(|refusal| refusal.code().as_str());
        assert_eq!(verdict, expected, "{publisher}, {accepted:?}");
        // The other way round, a user who asks for it gets it.
        scene.pins.channel = Some("stable");
        assert!(scene.verdict().is_ok());
    }
}
