//! The hook for apt, run by apt: a repository, a dpkg database and an apt configuration in the test's own directory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Completion;
use treehead::merkle::Hash;
use treehead::release::{Envelope, PublisherSigner, Withdrawal};

use crate::REQUIRED;
use crate::common::needs::{Outcome, ignored};
use crate::machine::{integration, log_for, publish, run, search_path, settings};
use crate::program::{Ran, Server, World};

const ACME: &str = "[[rule]]\npackages = ['acme-*']\nunlogged = 'require'\n\
    purl = 'pkg:deb/acme/{package}@{version}?arch={arch}'\npublisher = 'acme'\n";

/// A root with apt and dpkg databases, a repository, and a log.
struct Machine {
    world: World,
    server: Server,
}

impl Machine {
    /// `None`, if a program is missing.
    fn new(rules: &str) -> Result<Self, &'static str> {
        for program in ["apt-get", "dpkg", "dpkg-deb", "dpkg-query"] {
            if !crate::machine::has(program) {
                return Err("there is no apt and dpkg");
            }
        }
        // dpkg gives the files that it unpacks to root.
        if !rustix::process::geteuid().is_root() && !crate::machine::has("fakeroot") {
            return Err("this user is not root, and there is no fakeroot");
        }
        let (world, server) = log_for("pkg:deb/acme/*");
        for dir in [
            "repository",
            "root/etc/apt/apt.conf.d",
            "root/etc/apt/preferences.d",
            "root/etc/apt/sources.list.d",
            "root/etc/apt/trusted.gpg.d",
            "root/var/lib/apt/lists/partial",
            "root/var/cache/apt/archives/partial",
            "root/var/lib/dpkg/info",
            "root/var/lib/dpkg/updates",
            "root/var/log/apt",
        ] {
            fs::create_dir_all(world.path(dir)).unwrap();
        }
        world.write("root/var/lib/dpkg/status", "");
        let root = world.path("root").display().to_string();
        // apt reads this file before it looks for others, so none of the machine's own settings count.
        let conf = format!(
            "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nDir::Bin::dpkg \"/usr/bin/dpkg\";\n\
             DPkg::Options {{ \"--root={root}\"; \"--log={root}/var/log/dpkg.log\"; \"--force-not-root\"; \"--force-bad-path\"; }};\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
             APT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\nDPkg::Use-Pty \"false\";\n"
        );
        world.write("apt.conf", conf);
        let hook = format!(
            "{} {} {}",
            integration("apt/apt-hook").display(),
            world.path("gate.toml").display(),
            env!("CARGO_BIN_EXE_treehead")
        );
        // As it is installed, but for the paths.
        let snippet = fs::read_to_string(integration("apt/50treehead")).unwrap();
        let snippet = snippet.replace("/usr/lib/treehead/apt-hook /etc/treehead/gate.toml", &hook);
        let snippet =
            snippet.replace("/usr/lib/treehead/apt-hook", &integration("apt/apt-hook").display().to_string());
        world.write("root/etc/apt/apt.conf.d/50treehead", snippet);
        let machine = Self { world, server };
        machine.source("file");
        settings(&machine.world, rules);
        Ok(machine)
    }

    /// apt reads `file:` repositories in place, and copies packages of `copy:` repositories to its archives.
    fn source(&self, scheme: &str) {
        let repository = self.world.path("repository").display().to_string();
        self.world
            .write("root/etc/apt/sources.list", format!("deb [trusted=yes] {scheme}:{repository} ./\n"));
    }

    /// Builds a package, and returns its path.
    fn build(&self, name: &str, version: &str, content: &str) -> String {
        let tree = format!("build-{name}-{version}");
        fs::create_dir_all(self.world.path(&format!("{tree}/DEBIAN"))).unwrap();
        fs::create_dir_all(self.world.path(&format!("{tree}/usr/share/{name}"))).unwrap();
        self.world.write(
            &format!("{tree}/DEBIAN/control"),
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\n\
                 Description: a test package\n"
            ),
        );
        self.world.write(&format!("{tree}/usr/share/{name}/content"), content);
        let file = format!("repository/{name}_{version}_all.deb");
        let mut build = Command::new("dpkg-deb");
        build.args(["--build", "--root-owner-group", &tree, &file]);
        run(&self.world, &mut build, b"").done();
        file
    }

    /// Builds a package and logs it.
    fn release(&self, name: &str, version: &str, sequence: u64) -> String {
        let file = self.build(name, version, &format!("{name} {version}"));
        publish(&self.world, &self.server, &file, &purl(name, version), sequence);
        file
    }

    /// Writes the repository's index and reads it: `apt-get update`.
    fn update(&self) {
        let mut index = String::new();
        let mut files: Vec<_> =
            fs::read_dir(self.world.path("repository")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "deb")) {
            let mut control = Command::new("dpkg-deb");
            let fields = run(&self.world, control.arg("--field").arg(file), b"").done().stdout;
            let content = fs::read(file).unwrap();
            index += &format!(
                "{}\nFilename: ./{}\nSize: {}\nSHA256: {}\n\n",
                fields.trim_end(),
                file.file_name().unwrap().to_str().unwrap(),
                content.len(),
                Hash::digest(&content).to_hex()
            );
        }
        self.world.write("repository/Packages", index);
        self.apt("update").done();
    }

    fn apt(&self, line: &str) -> Ran {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("fakeroot");
            command.arg("apt-get");
            command
        };
        command.args(["--yes", "--quiet"]).args(line.split(' '));
        command
            .env("APT_CONFIG", self.world.path("apt.conf"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        let ran = run(&self.world, &mut command, b"");
        println!("$ apt-get --yes --quiet {line}\n{}{}(exit code {})\n", ran.stdout, ran.stderr, ran.exit);
        ran
    }

    /// apt stops, and says that it is because of the hook.
    #[track_caller]
    fn stops(&self, line: &str, code: &str) {
        let before = self.installed();
        let ran = self.apt(line).failed(100, &format!("({code})"));
        assert!(ran.stderr.contains("apt stops here"), "{ran:?}");
        assert_eq!(self.installed(), before, "nothing was unpacked");
    }

    /// Names and versions of what is installed.
    fn installed(&self) -> String {
        let mut query = Command::new("dpkg-query");
        query.arg(format!("--admindir={}", self.world.path("root/var/lib/dpkg").display()));
        query.args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"]);
        run(&self.world, &mut query, b"").stdout
    }

    fn file(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.world.path("root").join(path)).ok()
    }
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:deb/acme/{name}@{version}?arch=all")
}

/// The machine, or the reason that there is none.
macro_rules! machine {
    ($rules:expr) => {
        match Machine::new($rules) {
            Ok(machine) => machine,
            Err(why) => return ignored(why, REQUIRED),
        }
    };
}

pub fn a_logged_package_installs_and_a_changed_or_unlogged_one_stops_apt() -> Outcome {
    let machine = machine!(ACME);
    machine.release("acme-agent", "1.0", 1);
    machine.build("acme-stray", "1.0", "not logged");
    machine.update();
    let ran = machine.apt("install acme-agent").done();
    assert!(ran.stdout.contains("treehead: 1 proven, 0 not proven but allowed, 0 skipped"), "{ran:?}");
    assert_eq!(machine.installed(), "acme-agent 1.0 installed\n");
    assert_eq!(machine.file("usr/share/acme-agent/content").as_deref(), Some("acme-agent 1.0"));
    // Whoever can write to the repository can change its index as well: apt's own check passes.
    machine.release("acme-agent", "1.1", 2);
    machine.build("acme-agent", "1.1", "something else");
    machine.update();
    machine.stops("install acme-agent", "artifact-mismatch");
    machine.stops("install acme-stray", "no-proof");
    // One bad package stops all of the run.
    machine.release("acme-tools", "1.0", 1);
    machine.update();
    machine.stops("install acme-tools acme-stray", "no-proof");
    machine.apt("install acme-tools").done();
    // Removing needs no proof.
    let ran = machine.apt("remove acme-agent").done();
    assert!(!ran.stdout.contains("treehead"), "{ran:?}");
    assert_eq!(machine.installed(), "acme-tools 1.0 installed\n");
    Ok(Completion::Completed)
}

pub fn the_rules_say_what_happens_to_other_packages() -> Outcome {
    let rules = format!(
        "{ACME}[[rule]]\npackages = ['lib*']\nunlogged = 'warn'\n[[rule]]\npackages = ['bash']\nunlogged = 'skip'\n"
    );
    let machine = machine!(&rules);
    for name in ["libstray", "bash", "other"] {
        machine.build(name, "1.0", name);
    }
    // The proof of another package of the same publisher.
    let tools = machine.release("acme-tools", "1.0", 1);
    let agent = tools.replace("tools", "agent");
    fs::rename(
        machine.world.path(&format!("{tools}.tlog-proof")),
        machine.world.path(&format!("{agent}.tlog-proof")),
    )
    .unwrap();
    machine.build("acme-agent", "1.0", "something else");
    machine.update();
    let ran = machine.apt("install libstray bash").done();
    assert!(ran.stdout.contains("treehead: 0 proven, 1 not proven but allowed, 1 skipped"), "{ran:?}");
    assert!(ran.stderr.contains("warning: libstray is not proven"), "{ran:?}");
    machine.stops("install other", "no-proof");
    machine.stops("install acme-agent", "other-package");
    assert_eq!(machine.installed(), "bash 1.0 installed\nlibstray 1.0 installed\n");
    Ok(Completion::Completed)
}

pub fn proofs_come_from_a_folder_or_from_the_log() -> Outcome {
    let machine = machine!(&format!("proofs = ['proofs']\n{ACME}"));
    machine.source("copy");
    let file = machine.release("acme-agent", "1:1.0+b1~x", 1);
    machine.update();
    machine.stops("install acme-agent", "no-proof");
    // The archives of apt have no proof files: in a folder, by digest.
    let digest = Hash::digest(&machine.world.read(&file)).to_hex();
    fs::create_dir(machine.world.path("proofs")).unwrap();
    let proof = machine.world.read(&format!("{file}.tlog-proof"));
    machine.world.write(&format!("proofs/{digest}.tlog-proof"), proof);
    machine.apt("install acme-agent").done();
    machine.apt("remove acme-agent").done();
    fs::remove_dir_all(machine.world.path("proofs")).unwrap();
    machine.stops("install acme-agent", "no-proof");
    settings(&machine.world, &format!("fetch = true\nlog = '{}'\n{ACME}", machine.server.url));
    machine.apt("install acme-agent").done();
    machine.build("acme-stray", "1.0", "not logged");
    machine.update();
    machine.stops("install acme-stray", "not-logged");
    assert_eq!(machine.installed(), "acme-agent 1:1.0+b1~x installed\n");
    Ok(Completion::Completed)
}

pub fn an_older_package_and_a_withdrawn_one_stop_apt() -> Outcome {
    let machine = machine!(ACME);
    machine.release("acme-agent", "1.0", 1);
    let newest = machine.release("acme-agent", "2.0", 2);
    machine.update();
    machine.apt("install acme-agent").done();
    machine.stops("install --allow-downgrades acme-agent=1.0", "rollback");
    machine.apt("remove acme-agent").done();
    machine.stops("install acme-agent=1.0", "rollback");
    let key = PublisherSigner::from_pem(&String::from_utf8(machine.world.read("acme.pem")).unwrap()).unwrap();
    let proof =
        treehead::proof::ProofFile::parse(&machine.world.read(&format!("{newest}.tlog-proof"))).unwrap();
    let withdrawal = Withdrawal::of(proof.index, &proof.extra.unwrap(), "it crashes on start").unwrap();
    let entry = Envelope::sign(withdrawal.to_payload().unwrap(), &[&key]).unwrap().to_entry();
    assert_eq!(machine.server.post("/add", &entry).0, 200);
    settings(&machine.world, &format!("online = true\nlog = '{}'\n{ACME}", machine.server.url));
    machine.stops("install acme-agent", "withdrawn");
    assert_eq!(machine.installed(), "");
    Ok(Completion::Completed)
}

/// The hook, called without apt.
fn hook(world: &World, list: &[u8]) -> Ran {
    world.write("list", list);
    let mut command = Command::new("sh");
    let line = format!(
        "exec '{}' '{}' '{}' 9<'{}'",
        integration("apt/apt-hook").display(),
        world.path("gate.toml").display(),
        env!("CARGO_BIN_EXE_treehead"),
        world.path("list").display()
    );
    command.args(["-c", &line]).env("PATH", search_path()).stdin(Stdio::null());
    run(world, &mut command, b"")
}

pub fn a_list_that_the_hook_cannot_read_stops_apt() -> Outcome {
    if !crate::machine::has("awk") {
        return ignored("there is no awk", REQUIRED);
    }
    let (world, server) = log_for("pkg:deb/acme/*");
    // A directory and a file with everything that JSON and the shell quote.
    let strange = world.path("a b\\\"$(x)' *");
    fs::create_dir(&strange).unwrap();
    let file = strange.join("acme agent\\n.deb");
    fs::write(&file, "agent").unwrap();
    world.write("agent.deb", "agent");
    publish(&world, &server, "agent.deb", "pkg:deb/acme/acme-agent@1.0?arch=all", 1);
    let proof = |file: &Path| treehead::endpoint::proof_path(file);
    fs::rename(proof(&world.path("agent.deb")), proof(&file)).unwrap();
    settings(&world, ACME);
    let step = format!("acme-agent - - none < 1.0 all none {}\n", file.display());
    let list = |steps: &str| format!("VERSION 3\nAPT::Architecture=amd64\nquiet=1\n\n{steps}");
    let ran = hook(&world, list(&step).as_bytes()).done();
    assert!(ran.stdout.contains("treehead: 1 proven"), "{ran:?}");
    let other_steps =
        "gone 1.0 all none > - - none **REMOVE**\nacme-agent - - none < 1.0 all none **CONFIGURE**\n";
    hook(&world, list(&format!("{other_steps}{step}")).as_bytes()).done();
    assert_eq!(hook(&world, list(other_steps).as_bytes()).done().stdout, "", "nothing is unpacked");
    for bad in [
        String::new(),
        "VERSION 2\n\n".to_owned(),
        "VERSION 3\nAPT::Architecture=amd64\n".to_owned(),
        file.display().to_string(),
        list(&step.replace("< 1.0 all none", "< 1.0")),
        list(&step.replace("none /", "none  /")),
        list("acme-agent - - none < 1.0 all none **ERROR**\n"),
        list(&step.replace("agent\\n", "agent\t")),
    ] {
        hook(&world, bad.as_bytes()).failed(2, "treehead: apt wrote a list that the hook cannot read");
    }
    // A name that is no text can be no JSON either.
    let mut bytes = list(&step).into_bytes();
    bytes.truncate(bytes.len() - 5);
    bytes.extend(b"\xff.deb\n");
    hook(&world, &bytes).failed(2, "apt stops here");
    // Another package's name, as apt sees it.
    hook(&world, list(&step.replace("< 1.0", "< 2.0")).as_bytes()).failed(1, "(other-package)");
    world.write("gate.toml", "nonsense");
    hook(&world, list(&step).as_bytes()).failed(2, "gate.toml: a gate's settings file is malformed");
    Ok(Completion::Completed)
}
