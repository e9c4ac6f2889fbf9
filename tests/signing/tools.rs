//! Real tools that sign.

use std::process::Command;

use libtest_mimic::Completion;

use crate::REQUIRED;
use crate::common::needs::{Outcome, ignored};
use crate::world::{Signing, has, run, script, tool};

pub fn openssl_signs_as_a_command_and_by_hand() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let mut signing = Signing::new();
    let curve = |curve: &'static str| vec!["-algorithm", "EC", "-pkeyopt", curve];
    let ed25519 = format!("{} -inkey ed25519.pem", script("openssl-ed25519").display());
    let families = [
        ("ed25519", vec!["-algorithm", "ed25519"], ed25519.as_str()),
        ("p256", curve("ec_paramgen_curve:P-256"), "openssl dgst -sha256 -sign p256.pem"),
        ("p384", curve("ec_paramgen_curve:P-384"), "openssl dgst -sha384 -sign p384.pem"),
        (
            "rsa",
            vec!["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "openssl dgst -sha256 -sign rsa.pem",
        ),
    ];
    let mut sequence = 0;
    for (name, algorithm, signer) in families {
        let (key, public) = (format!("{name}.pem"), format!("{name}.pub"));
        tool(&signing.world, "openssl", &[&["genpkey", "-out", &key], &algorithm[..]].concat());
        tool(&signing.world, "openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]);
        signing.register(&public);
        sequence += 1;
        signing.publish_by(sequence, signer, &public).done();
        signing.verify().done();
        // The same key in the program, as it is, in DER, and encrypted in openssl's ways.
        signing.world.chmod(&key, 0o600);
        if name == "rsa" {
            run(signing.publish(100).args(["--key", &key])).failed(2, "an RSA key: sign with --signer");
            continue;
        }
        let passphrase = ["-passout", "pass:secret"];
        let convert = |args: &[&str]| {
            tool(
                &signing.world,
                "openssl",
                &[&["pkcs8", "-topk8", "-in", &key, "-out", "converted"], args].concat(),
            );
            signing.world.chmod("converted", 0o600);
        };
        for args in [
            &["-nocrypt", "-outform", "DER"][..],
            &[&["-v2", "aes-256-cbc"], &passphrase[..]].concat(),
            &[&["-v2", "aes-128-cbc", "-outform", "DER"], &passphrase[..]].concat(),
            &[&["-scrypt"], &passphrase[..]].concat(),
        ] {
            convert(args);
            sequence += 1;
            let mut command = signing.publish(sequence);
            command.args(["--key", "converted"]).env("TREEHEAD_PASSPHRASE", "secret");
            run(&mut command).done();
            signing.verify().done();
        }
        // What openssl made before PBES2.
        convert(&[&["-v1", "PBE-SHA1-3DES"], &passphrase[..]].concat());
        let mut command = signing.publish(100);
        command.args(["--key", "converted"]).env("TREEHEAD_PASSPHRASE", "secret");
        run(&mut command).failed(2, "an encryption by PBES2");
    }
    // The form of `openssl ecparam`.
    tool(&signing.world, "openssl", &["ecparam", "-genkey", "-name", "prime256v1", "-out", "sec1.pem"]);
    tool(&signing.world, "openssl", &["pkey", "-in", "sec1.pem", "-pubout", "-out", "sec1.pub"]);
    signing.world.chmod("sec1.pem", 0o600);
    signing.register("sec1.pub");
    run(signing.publish(99).args(["--key", "sec1.pem"])).done();
    signing.verify().done();
    // Our keys are openssl's.
    for family in ["ed25519", "ecdsa-p256", "ecdsa-p384"] {
        let world = &signing.world;
        world.write("passphrase", "secret");
        world.chmod("passphrase", 0o600);
        let line = format!("keygen publisher --name vendor --algorithm {family} --out ours-{family}.pem");
        world.run(&format!("{line} --passphrase-file passphrase")).done();
        let (key, public) = (format!("ours-{family}.pem"), format!("ours-{family}.pub"));
        let seen = tool(world, "openssl", &["pkey", "-in", &key, "-passin", "pass:secret", "-pubout"]);
        assert_eq!(seen.stdout, world.read(&public), "{family}");
    }
    Ok(Completion::Completed)
}

/// Keys that say that they are for PSS, and RSA keys that are registered for it.
pub fn openssl_signs_with_rsa_pss() -> Outcome {
    if !has("openssl") {
        return ignored("there is no openssl", REQUIRED);
    }
    let mut signing = Signing::new();
    let bits = ["-pkeyopt", "rsa_keygen_bits:2048"];
    tool(
        &signing.world,
        "openssl",
        &[&["genpkey", "-algorithm", "RSA-PSS", "-out", "pss.pem"], &bits[..]].concat(),
    );
    tool(
        &signing.world,
        "openssl",
        &[&["genpkey", "-algorithm", "RSA", "-out", "rsa.pem"], &bits[..]].concat(),
    );
    for name in ["pss", "rsa"] {
        let (key, public) = (format!("{name}.pem"), format!("{name}.pub"));
        tool(&signing.world, "openssl", &["pkey", "-in", &key, "-pubout", "-out", &public]);
    }
    let command = |salt: &str, key: &str| {
        format!(
            "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:{salt} -sign {key}.pem"
        )
    };
    signing.register("pss.pub");
    signing.publish_by(1, &command("32", "pss"), "pss.pub").done();
    signing.verify().done();
    // The longest salt that fits, which openssl takes unless told otherwise.
    signing.publish_by(2, &command("max", "pss"), "pss.pub").refused("signer-signature");
    // A key that does not name its scheme.
    signing.register("rsa.pub --scheme rsa-pss-sha256");
    let publish = |sequence, signer: &str, scheme: &[&str]| {
        let mut publish = signing.publish(sequence);
        run(publish.args(["--signer", signer, "--public-key", "rsa.pub"]).args(scheme))
    };
    let scheme = ["--scheme", "rsa-pss-sha256"];
    publish(3, &command("32", "rsa"), &scheme).done();
    signing.verify().done();
    publish(4, &command("32", "rsa"), &[]).refused("signer-signature");
    publish(4, "openssl dgst -sha256 -sign rsa.pem", &scheme).refused("signer-signature");
    assert_eq!(signing.server.tree_size(), 2);
    // By hand.
    let line = format!(
        "statement artifact --log {} --kind build --purl pkg:generic/example/scanner@5.0 --channel stable --sequence 5 --out s.json",
        signing.server.url
    );
    signing.world.run(&line).done();
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    tool(
        &signing.world,
        "openssl",
        &[&["dgst", "-sha256", "-sign", "rsa.pem", "-out", "s.sig"], &pss[..], &["s.json.pae"]].concat(),
    );
    let submit = format!("submit s.json --signature s.sig --public-key rsa.pub --log {}", signing.server.url);
    signing.world.run(&format!("{submit} --out artifact.tlog-proof --scheme rsa-pss-sha256")).done();
    signing.verify().done();
    Ok(Completion::Completed)
}

/// Signs standard input by an ML-DSA-44 key.
const ML_DSA: &str = "\
import sys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mldsa
encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
if sys.argv[1] == 'make':
    key = mldsa.MLDSA44PrivateKey.generate()
    open('theirs.pem', 'wb').write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    locked = serialization.BestAvailableEncryption(b'secret')
    open('theirs.locked', 'wb').write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, locked))
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    open('theirs.pub', 'wb').write(public)
else:
    key = serialization.load_pem_private_key(open(sys.argv[1], 'rb').read(), None)
    sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))
";

pub fn another_implementation_signs_with_ml_dsa() -> Outcome {
    let asks = ["-c", "from cryptography.hazmat.primitives.asymmetric import mldsa"];
    let found = Command::new("python3").args(asks).output();
    if !found.is_ok_and(|output| output.status.success()) {
        return ignored("Python has no cryptography with ML-DSA", REQUIRED);
    }
    let mut signing = Signing::new();
    signing.world.write("mldsa.py", ML_DSA);
    tool(&signing.world, "python3", &["mldsa.py", "make"]);
    signing.register("theirs.pub");
    signing.publish_by(1, "python3 mldsa.py theirs.pem", "theirs.pub").done();
    signing.verify().done();
    for (sequence, key) in [(2, "theirs.pem"), (3, "theirs.locked")] {
        signing.world.chmod(key, 0o600);
        let mut command = signing.publish(sequence);
        run(command.args(["--key", key]).env("TREEHEAD_PASSPHRASE", "secret")).done();
        signing.verify().done();
    }
    // Their library reads our key.
    signing.world.run("keygen publisher --name vendor --algorithm ml-dsa-44 --out ours.pem").done();
    signing.register("ours.pub");
    signing.publish_by(4, "python3 mldsa.py ours.pem", "ours.pub").done();
    signing.verify().done();
    Ok(Completion::Completed)
}

pub fn openssh_keys_are_read() -> Outcome {
    if !has("ssh-keygen") {
        return ignored("there is no ssh-keygen", REQUIRED);
    }
    let mut signing = Signing::new();
    let mut sequence = 0;
    for (name, kind, passphrase) in [
        ("plain", &["-t", "ed25519"][..], ""),
        ("locked", &["-t", "ed25519"], "secret"),
        ("p256", &["-t", "ecdsa", "-b", "256"], ""),
        ("p384", &["-t", "ecdsa", "-b", "384"], "secret"),
        ("rsa", &["-t", "rsa", "-b", "2048"], ""),
        ("p521", &["-t", "ecdsa", "-b", "521"], ""),
    ] {
        tool(&signing.world, "ssh-keygen", &[&["-q", "-f", name, "-N", passphrase], kind].concat());
        sequence += 1;
        let publish = |passphrase: &str| {
            let mut command = signing.publish(sequence);
            run(command.args(["--key", name]).env("TREEHEAD_PASSPHRASE", passphrase))
        };
        match name {
            "rsa" => drop(publish("").failed(2, "an RSA key: sign with --signer")),
            "p521" => drop(publish("").failed(2, "an EC key on another curve")),
            _ => {
                if !passphrase.is_empty() {
                    publish("wrong").failed(2, "expected the passphrase that it is encrypted with");
                }
                signing.register(&format!("{name}.pub"));
                let mut command = signing.publish(sequence);
                run(command.args(["--key", name]).env("TREEHEAD_PASSPHRASE", passphrase)).done();
                signing.verify().done();
            }
        }
    }
    Ok(Completion::Completed)
}

/// An agent of its own. Dropping it ends it.
struct Agent {
    socket: String,
    pid: String,
}

impl Agent {
    fn start() -> Self {
        let output = Command::new("ssh-agent").arg("-s").output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let value = |name: &str| {
            let after = text.split(name).nth(1).expect("a variable");
            after.split(';').next().expect("a value").to_owned()
        };
        Self { socket: value("SSH_AUTH_SOCK="), pid: value("SSH_AGENT_PID=") }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.pid).status();
    }
}

pub fn an_ssh_agent_signs() -> Outcome {
    for program in ["ssh-agent", "ssh-add", "ssh-keygen", "python3"] {
        if !has(program) {
            return ignored(&format!("there is no {program}"), REQUIRED);
        }
    }
    let mut signing = Signing::new();
    let agent = Agent::start();
    let keys: [(&str, &[&str]); 4] = [
        ("ed25519", &["-t", "ed25519"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("rsa", &["-t", "rsa", "-b", "3072"]),
    ];
    for (at, (name, kind)) in keys.into_iter().enumerate() {
        tool(&signing.world, "ssh-keygen", &[&["-q", "-f", name, "-N", ""], kind].concat());
        let public = format!("{name}.pub");
        signing.register(&public);
        let signer = format!("{} {public}", script("ssh-agent").display());
        let publish = |sequence| {
            let mut command = signing.publish(sequence);
            command.args(["--signer", &signer, "--public-key", &public]).env("SSH_AUTH_SOCK", &agent.socket);
            run(&mut command)
        };
        // The agent does not have the key yet.
        let ran = publish(100).failed(3, "did not sign: expected exit code 0, saw 1");
        assert!(ran.stderr.contains("signer: the agent does not sign"), "{ran:?}");
        let mut add = Command::new("ssh-add");
        add.args(["-q", name]).env("SSH_AUTH_SOCK", &agent.socket).current_dir(signing.world.path(""));
        assert!(add.status().expect("it runs").success());
        publish(at as u64 + 1).done();
        signing.verify().done();
    }
    // What `ssh-keygen -Y sign` makes is recognized, and said to be over other bytes.
    let signer = "ssh-keygen -q -Y sign -n file -f ed25519";
    let ran = signing.publish_by(100, signer, "ed25519.pub").refused("signer-signature");
    assert!(ran.stderr.contains("`ssh-keygen -Y sign`"), "{ran:?}");
    assert_eq!(signing.server.tree_size(), 4);
    Ok(Completion::Completed)
}

pub fn softhsm_signs() -> Outcome {
    const MODULES: [&str; 3] = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib/pkcs11/libsofthsm2.so",
    ];
    let module = MODULES.into_iter().find(|module| std::path::Path::new(module).exists());
    let (Some(module), true) = (module, has("softhsm2-util") && has("pkcs11-tool") && has("openssl")) else {
        return ignored("there is no SoftHSM 2, pkcs11-tool or openssl", REQUIRED);
    };
    let mut signing = Signing::new();
    let world = &signing.world;
    std::fs::create_dir(world.path("tokens")).expect("a directory");
    let tokens = world.path("tokens").display().to_string();
    world.write("softhsm2.conf", format!("directories.tokendir = {tokens}\nobjectstore.backend = file\n"));
    let settings = world.path("softhsm2.conf");
    let dir = world.path("");
    let hsm = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env("SOFTHSM2_CONF", &settings).current_dir(&dir);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    hsm(
        "softhsm2-util",
        &["--init-token", "--free", "--label", "vendor", "--pin", "1234", "--so-pin", "5678"],
    );
    let at = ["--module", module, "--token-label", "vendor"];
    let login = ["--login", "--pin", "1234"];
    let tool = format!("pkcs11-tool {} --login --pin env:TOKEN_PIN", at.join(" "));
    let digest = format!("{} {} --login --pin env:TOKEN_PIN", script("pkcs11-ecdsa").display(), at.join(" "));
    let keys = [
        ("01", "EC:prime256v1", format!("{digest} --id 01")),
        ("02", "EC:secp384r1", format!("{digest} --id 02")),
        ("03", "rsa:2048", format!("{tool} --sign --mechanism SHA256-RSA-PKCS --id 03")),
        ("04", "EC:edwards25519", format!("{tool} --sign --mechanism EDDSA --id 04")),
    ];
    for (at_key, (id, kind, signer)) in keys.iter().enumerate() {
        hsm("pkcs11-tool", &[&at[..], &login, &["--keypairgen", "--key-type", *kind, "--id", *id]].concat());
        let public = format!("{id}.pub");
        let object = [&at[..], &["--type", "pubkey", "--id", *id]].concat();
        if *id == "02" {
            // OpenSC 0.23 can't export this one, but shows its point.
            let shown = hsm("pkcs11-tool", &[&object[..], &["--list-objects"]].concat());
            let mut words = shown.split_whitespace();
            let point = words.find_map(|word| word.strip_prefix("0461")).expect("a point");
            let spki = format!("3076301006072a8648ce3d020106052b81040022036200{point}");
            signing.world.write(&public, hex::decode(spki).expect("hex"));
        } else {
            hsm("pkcs11-tool", &[&object[..], &["--read-object", "-o", &public]].concat());
        }
        signing.register(&public);
        let publish = |sequence, pin: &str| {
            let mut command = signing.publish(sequence);
            command.args(["--signer", signer, "--public-key", &public]);
            run(command.env("SOFTHSM2_CONF", &settings).env("TOKEN_PIN", pin))
        };
        publish(100, "0000").failed(3, "did not sign");
        publish(at_key as u64 + 1, "1234").done();
        signing.verify().done();
    }
    assert_eq!(signing.server.tree_size(), 4);
    Ok(Completion::Completed)
}

/// A file system that is mounted read-only, as Kubernetes and systemd mount secrets.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

pub fn a_mounted_secret_may_be_readable_by_its_group() -> Outcome {
    let signing = Signing::new();
    let world = &signing.world;
    let secrets = world.path("secrets");
    std::fs::create_dir(&secrets).expect("a directory");
    let mount = |options: &str| {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&secrets).output();
        status.is_ok_and(|output| output.status.success())
    };
    if !mount("mode=755") {
        return ignored("it takes the right to mount", "TREEHEAD_REQUIRE_LOOP");
    }
    let _mounted = Mounted(secrets.clone());
    std::fs::copy(world.path("publisher.pem"), secrets.join("key")).expect("copied");
    let publish = |sequence| run(signing.publish(sequence).args(["--key", "secrets/key"]));
    world.chmod("secrets/key", 0o640);
    publish(1).failed(2, "only a mounted secret, which belongs to root on a read-only file system");
    assert!(mount("remount,ro"));
    publish(1).done();
    signing.verify().done();
    assert!(mount("remount,rw"));
    world.chmod("secrets/key", 0o644);
    assert!(mount("remount,ro"));
    publish(2).failed(2, "expected mode 600, saw 644");
    Ok(Completion::Completed)
}
