//! The actions for GitHub and the jobs for GitLab: their files are read, and their scripts run against a log.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Completion;
use serde_json::Value;

use crate::REQUIRED;
use crate::common::needs::{Outcome, ignored};
use crate::machine::{has, integration, log_for, run};
use crate::program::{Ran, Server, World};

const PURL: &str = "pkg:generic/acme/scanner@1.0";

/// A YAML file as JSON, if there is a program that reads YAML.
fn yaml(path: &str) -> Option<Value> {
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    // The system's Python has Debian's packages, whichever comes first in the search path.
    for python in ["python3", "/usr/bin/python3"] {
        let Ok(output) = Command::new(python).args(["-c", read]).arg(integration(path)).output() else {
            continue;
        };
        if output.status.success() {
            return Some(serde_json::from_slice(&output.stdout).expect("JSON"));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("No module named"), "{path}: {said}");
    }
    None
}

fn world() -> (World, Server) {
    let (world, server) = log_for("pkg:generic/acme/*");
    std::fs::create_dir_all(world.path("dist")).unwrap();
    std::fs::create_dir_all(world.path("temporary")).unwrap();
    world.write("dist/scan ner", "a scanner");
    world.write("dist/rules", "rules");
    (world, server)
}

/// Runs a step of a composite action: its environment is filled in from the inputs, as GitHub does it.
fn step(world: &World, action: &Value, inputs: &[(&str, &str)]) -> Ran {
    let [step] = action["runs"]["steps"].as_array().expect("steps").as_slice() else { panic!("one step") };
    assert_eq!((&action["runs"]["using"], &step["shell"]), (&"composite".into(), &"bash".into()));
    let script = step["run"].as_str().expect("a script");
    assert!(!script.contains("${{"), "an input must not become a part of the script");
    for (name, input) in action["inputs"].as_object().expect("inputs") {
        let is_given = inputs.iter().any(|(given, _)| given == name);
        assert!(is_given || input.get("default").is_some() || input["required"] == true, "{name}");
    }
    world.write("script", script);
    world.write("output", "");
    // As GitHub calls it.
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(world.path("script"));
    command.env("RUNNER_TEMP", world.path("temporary")).env("GITHUB_OUTPUT", world.path("output"));
    for (variable, value) in step["env"].as_object().expect("an environment") {
        let value = value.as_str().expect("text");
        let name =
            value.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}")).expect("an input");
        let given = inputs.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        let default = action["inputs"][name]["default"].as_str();
        command.env(variable, given.or(default).unwrap_or_default());
    }
    run(world, &mut command, b"")
}

pub fn githubs_actions_publish_and_verify() -> Outcome {
    let (Some(publish), Some(verify)) = (yaml("github/publish/action.yml"), yaml("github/verify/action.yml"))
    else {
        return ignored("there is no Python with PyYAML", REQUIRED);
    };
    if !has("bash") {
        return ignored("there is no bash", REQUIRED);
    }
    let (world, server) = world();
    let key = String::from_utf8(world.read("acme.pem")).unwrap();
    let trust = [("policy", "log/endpoint.policy"), ("publishers", "log/publishers.toml")];
    let files = ("files", "  dist/scan ner\n\nrenamed=dist/rules\n");
    let url = server.url.as_str();
    let inputs = [files, ("log", url), ("key", &key), ("purl", PURL), ("kind", "update")];
    let ran = step(&world, &publish, &[&inputs[..], &trust].concat()).done();
    assert!(ran.stdout.contains("verified   dist/scan ner\n"), "{ran:?}");
    let output = String::from_utf8(world.read("output")).unwrap();
    let proofs = "dist/scan ner.tlog-proof\ndist/rules.tlog-proof\n";
    assert_eq!(output, format!("proofs<<END-OF-PROOFS\n{proofs}END-OF-PROOFS\n"));
    assert_eq!(std::fs::read_dir(world.path("temporary")).unwrap().count(), 0, "the key is in no file");
    // A second run adds nothing.
    step(&world, &publish, &[&inputs[..], &[("sequence", "1")]].concat()).done();
    assert_eq!(server.tree_size(), 1);

    let files = ("files", "dist/scan ner\ndist/rules");
    let pins = [files, ("purl", "pkg:generic/acme/scanner"), ("channel", "stable"), ("publisher", "acme")];
    step(&world, &verify, &[&pins[..], &trust, &[("online", url)]].concat()).done();
    step(&world, &verify, &[&[files, ("channel", "beta")][..], &trust].concat()).refused("other-channel");
    world.write("dist/rules", "other rules");
    step(&world, &verify, &[&[files][..], &trust].concat()).refused("artifact-mismatch");
    let injected = [("files", "dist/rules; touch injected"), ("purl", "$(touch injected)")];
    let ran = step(&world, &verify, &[&injected[..], &trust].concat());
    assert!(ran.exit == 2 && !world.path("injected").exists(), "{ran:?}");
    Ok(Completion::Completed)
}

/// Runs the script of a job, with its variables and these.
fn job(world: &World, file: &Value, name: &str, variables: &[(&str, &str)]) -> Ran {
    let job = &file[name];
    let lines: Vec<&str> =
        job["script"].as_array().expect("a script").iter().map(|line| line.as_str().unwrap()).collect();
    world.write("script", lines.join("\n"));
    let mut command = Command::new("sh");
    command.arg(world.path("script")).env("TMPDIR", world.path("temporary"));
    for (variable, value) in job["variables"].as_object().expect("variables") {
        command.env(variable, value.as_str().expect("text"));
    }
    command.envs(variables.iter().copied());
    run(world, &mut command, b"")
}

pub fn gitlabs_jobs_publish_and_verify() -> Outcome {
    let Some(file) = yaml("gitlab/treehead.yml") else {
        return ignored("there is no Python with PyYAML", REQUIRED);
    };
    let (world, server) = world();
    // As GitLab writes variables of type File.
    world.write("key", world.read("acme.pem"));
    world.chmod("key", 0o666);
    let files = ("TREEHEAD_FILES", "dist/scan ner\ndist/rules\n");
    let policy = ("TREEHEAD_POLICY", "log/endpoint.policy");
    let variables = [
        files,
        policy,
        ("TREEHEAD_LOG", &server.url),
        ("TREEHEAD_KEY_FILE", "key"),
        ("TREEHEAD_PURL", PURL),
        ("TREEHEAD_KIND", "update"),
    ];
    job(&world, &file, ".treehead-publish", &variables).done();
    assert_eq!(std::fs::read_dir(world.path("temporary")).unwrap().count(), 0, "the key is in no file");
    // A variable that GitLab can mask.
    let masked = STANDARD.encode(world.read("acme.pem"));
    let mut again: Vec<_> = variables.into_iter().filter(|(name, _)| *name != "TREEHEAD_KEY_FILE").collect();
    again.push(("TREEHEAD_KEY", &masked));
    job(&world, &file, ".treehead-publish", &again).done();
    let trust = [files, policy, ("TREEHEAD_PUBLISHERS", "log/publishers.toml")];
    let verify = |more: &[(&str, &str)]| job(&world, &file, ".treehead-verify", &[&trust[..], more].concat());
    verify(&[]).done();
    verify(&[("TREEHEAD_PURL", PURL), ("TREEHEAD_CHANNEL", "stable"), ("TREEHEAD_ONLINE", &server.url)])
        .done();
    verify(&[("TREEHEAD_PUBLISHER", "vendor")]).refused("other-publisher");
    world.write("dist/rules", "other rules");
    verify(&[]).refused("artifact-mismatch");
    Ok(Completion::Completed)
}
