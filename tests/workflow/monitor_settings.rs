//! Contradictory settings of a monitor: reported before anything is done, with the line.

use crate::program::World;

const LOG: &str = "[[log]]\nurl = \"http://127.0.0.1:1\"\npolicy = \"log/endpoint.policy\"\n";

/// Settings, and the line and the words of the error about them.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn cases() -> Vec<(String, usize, &'static str, &'static str)> {
    let webhook = |secret: &str| {
        format!("[[webhook]]\nname = \"on-call\"\nurl = \"http://127.0.0.1:1/hook\"\nsecret = \"{secret}\"\n")
    };
    let digest = "[[watch]]\nname = \"w\"\ndigests = [\"abc\"]\n";
    vec![
        ("intervall = \"60s\"\n".to_owned() + LOG, 1, "`intervall`", "unknown field `intervall`"),
        (LOG.to_owned() + "stalled_after = \"1h\"\n", 4, "`stalled_after` of log 1", "unknown field"),
        (LOG.to_owned() + "stall_after = \"1 our\"\n", 4, "`stall_after` of log 1", "a time like 90s, 10m"),
        ("# nothing\ninterval = \"0s\"\n".to_owned() + LOG, 2, "`interval`", "a time from 1s to 1d, saw 0 s"),
        ("interval = \"2d\"\n".to_owned() + LOG, 1, "`interval`", "a time from 1s to 1d, saw 172800 s"),
        ("interval = 60\n".to_owned() + LOG, 1, "`interval`", "integer `60`, expected a string"),
        (
            "remind_after = \"12h\"\n".to_owned() + LOG,
            1,
            "`remind_after`",
            "no reminders here: whatever receives events repeats them, as Alertmanager's `repeat_interval` does",
        ),
        ("\nparallel = 17\n".to_owned() + LOG, 2, "`parallel`", "a number from 1 to 16, saw 17"),
        ("listen = \"1234\"\n".to_owned() + LOG, 1, "`listen`", "saw \"1234\""),
        (
            format!("{LOG}\n{LOG}"),
            5,
            "`origin` of log 2",
            "each log in one [[log]] block, saw log.example.com",
        ),
        (LOG.to_owned() + "start = \"heads\"\n", 4, "`start` of log 1", "beginning or head, saw \"heads\""),
        (LOG.to_owned() + "profile = \"any\"\n", 4, "`profile` of log 1", "release or opaque, saw \"any\""),
        (
            LOG.to_owned() + "expect = \"m.jsonl\"\nexpect_packages = [\"scanner\"]\n",
            5,
            "`expect_packages` of log 1",
            "saw \"scanner\"",
        ),
        (
            LOG.to_owned() + "expect_packages = [\"pkg:generic/a\"]\n",
            4,
            "`expect_packages` of log 1",
            "`expect = \"FILE\"` beside it, saw none",
        ),
        (
            LOG.replace("log/endpoint", "both"),
            1,
            "`origin` of log 1",
            "`origin = \"...\"` beside a policy with more than one log",
        ),
        (LOG.to_owned() + "origin = \"other\"\n", 4, "`origin` of log 1", "the policy trusts, saw \"other\""),
        (
            LOG.replace("url", "# url"),
            1,
            "`url` of log 1",
            "a URL for log.example.com/releases, here or on its line in the policy",
        ),
        (
            LOG.to_owned() + "[[watch]]\nname = \"w\"\nkinds = [\"builds\"]\n",
            6,
            "`kinds` of watch \"w\"",
            "kinds out of withdrawal, build, update",
        ),
        (LOG.to_owned() + "[[watch]]\nname = \"a b\"\n", 5, "`name` of watch \"a b\"", "of a watch, 1 to 64"),
        (
            LOG.to_owned() + "[[watch]]\nname = \"w\"\npackages = [\"scanner*\"]\n",
            6,
            "`packages` of watch \"w\"",
            "saw \"scanner*\"",
        ),
        (LOG.to_owned() + digest, 6, "`digests` of watch \"w\"", "abc"),
        (
            LOG.to_owned() + "[[peer]]\nname = \"\"\nurl = \"http://127.0.0.1:1\"\n",
            5,
            "`name` of peer \"\"",
            "the name of a peer",
        ),
        (
            LOG.to_owned() + &webhook("good.secret") + "events = [\"forks\"]\n",
            8,
            "`events` of webhook \"on-call\"",
            "saw \"forks\"",
        ),
        (
            LOG.to_owned() + &webhook("good.secret").replace("secret = \"good.secret\"\n", ""),
            4,
            "`secret` of webhook \"on-call\"",
            "a file with the secret, or a `template`",
        ),
        (
            LOG.to_owned() + &webhook("good.secret") + "template = '{\"text\": \"{{mesage}}\"}'\n",
            8,
            "`template` of webhook \"on-call\"",
            "saw \"mesage\" at line 1",
        ),
        (
            LOG.to_owned() + &webhook("good.secret").replace("http:", "ftp:"),
            4,
            "webhook \"on-call\"",
            "ftp://",
        ),
        (LOG.replace("http://", ""), 2, "`url` of log 1", "http://HOST[:PORT][/PREFIX] or https://..., saw"),
        (
            LOG.to_owned() + "[[peer]]\nname = \"p\"\nurl = \"127.0.0.1:1\"\n",
            6,
            "`url` of peer \"p\"",
            "http://HOST",
        ),
        (
            LOG.to_owned() + "[[command]]\nname = \"mail\"\nargv = []\n",
            4,
            "command \"mail\"",
            "a program, and its arguments, saw nothing",
        ),
    ]
}

#[test]
fn contradictory_settings_are_reported_with_their_line() {
    let world = World::new();
    let opaque = World::opaque();
    world.write("bare.policy", world.read("log/endpoint.policy"));
    let both = [world.read("log/endpoint.policy"), opaque.read("log/endpoint.policy")].concat();
    let both = String::from_utf8(both).unwrap().replacen("quorum none\n", "", 1);
    world.write("both.policy", both);
    world.write("good.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    world.chmod("good.secret", 0o600);
    for (settings, line, place, says) in cases() {
        world.write("monitor.toml", &settings);
        let ran = world.run("monitor --once --config monitor.toml").failed(2, says);
        let place = format!(" malformed at line {line}, {place}: expected ");
        assert!(ran.stderr.starts_with("error: monitor.toml: a"), "{settings}{ran:?}");
        assert!(ran.stderr.contains(&place), "{settings}{ran:?}");
        assert!(ran.stdout.is_empty() && !world.path("state").exists(), "{settings}{ran:?}");
    }
}

#[test]
fn faults_of_the_whole_or_of_another_file_are_reported() {
    let world = World::new();
    world.write("open.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    world.chmod("open.secret", 0o640);
    world.write("bad.json", "[\n{{nothing}}]\n");
    world.write("good.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    world.chmod("good.secret", 0o600);
    world.write("wrong.secret", "hunter2\n");
    world.chmod("wrong.secret", 0o600);
    let webhook = |name: &str, secret: &str| {
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:1/hook\"\nsecret = \"{secret}.secret\"\n"
        )
    };
    let peer = "[[peer]]\nname = \"p\"\nurl = \"http://127.0.0.1:1\"\n";
    let watch = "[[watch]]\nname = \"w\"\n";
    let command = "[[command]]\nname = \"mail\"\nargv = [\"true\"]\n";
    for (settings, exit, says) in [
        (
            String::new(),
            2,
            "monitor.toml: a configuration is malformed at line 1, `log`: expected a [[log]] block",
        ),
        (LOG.replace("log/", "nowhere/"), 3, "could not read nowhere/endpoint.policy"),
        (LOG.replace("log/endpoint.policy", "publisher.pub"), 2, "publisher.pub: a policy is malformed"),
        (LOG.to_owned() + "publishers = \"nowhere.toml\"\n", 3, "nowhere.toml"),
        (LOG.to_owned() + "publishers = \"log/endpoint.policy\"\n", 2, "log/endpoint.policy"),
        (LOG.to_owned() + "expect = \"publisher.pub\"\n", 2, "publisher.pub"),
        (
            LOG.to_owned() + &webhook("a", "open"),
            2,
            "open.secret holds a secret that others can read: expected mode 600, saw 640",
        ),
        (LOG.to_owned() + &webhook("a", "nowhere"), 3, "could not read nowhere.secret"),
        (LOG.to_owned() + &webhook("a", "good") + "template = \"no.json\"\n", 3, "could not read no.json"),
        (
            LOG.to_owned() + &webhook("a", "good") + "template = \"bad.json\"\n",
            2,
            "bad.json: a webhook's template is malformed: expected a placeholder out of {{id}}, ",
        ),
        (LOG.to_owned() + &webhook("a", "wrong"), 2, "wrong.secret: "),
        ("state = \"\"\n".to_owned() + LOG, 2, "`state`: expected a directory"),
        ("listen = \"nonsense\"\n".to_owned() + LOG, 2, "`listen`: expected HOST:PORT, as in"),
        (LOG.to_owned() + watch + watch, 2, "each watch once, saw \"w\" twice"),
        (LOG.to_owned() + peer + peer, 2, "each peer once, saw \"peer p\" twice"),
        (LOG.to_owned() + command + command, 2, "mail"),
    ] {
        world.write("monitor.toml", &settings);
        let ran = world.run("monitor --once --config monitor.toml").failed(exit, says);
        assert!(ran.stdout.is_empty(), "{settings}{ran:?}");
        assert!(!ran.stderr.contains("hunter2"), "secrets are not shown: {ran:?}");
    }
    world.run("monitor --once --config nowhere.toml").failed(3, "could not read nowhere.toml");
    // Reported at once, before any request.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.write("monitor.toml", format!("listen = \"{}\"\n{LOG}", taken.local_addr().unwrap()));
    world.run("monitor --config monitor.toml").failed(3, "choose another in the settings");
}
