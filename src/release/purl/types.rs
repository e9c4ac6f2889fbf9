//! The rules of package URL types: equal spellings and required parts.
//!
//! The table follows the standard's type definitions (`types/*-definition.json`). Other types have no rules.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::parts::Parts;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Optional,
    Required,
    Prohibited,
}
use Namespace::{Optional, Prohibited, Required};

struct Type {
    name: &'static str,
    namespace: Namespace,
    /// The parts to convert to lower case: `n`amespace, `p`ackage name, `v`ersion.
    lower: &'static str,
    /// A required qualifier.
    qualifier: Option<&'static str>,
}

const fn of(name: &'static str, namespace: Namespace, lower: &'static str) -> Type {
    Type { name, namespace, lower, qualifier: None }
}

#[rustfmt::skip]
const TYPES: &[Type] = &[
    of("alpm", Required, "np"), of("apk", Required, "np"), of("bazel", Prohibited, ""),
    of("bitbucket", Required, "np"), of("bitnami", Prohibited, "p"), of("brew", Optional, "np"),
    of("cargo", Prohibited, ""), of("chrome-extension", Prohibited, "p"), of("cocoapods", Prohibited, ""),
    of("composer", Required, "np"), of("conda", Prohibited, ""), of("cran", Prohibited, ""),
    of("deb", Required, "np"), of("gem", Prohibited, ""), of("git", Required, ""),
    of("github", Required, "np"), of("golang", Required, ""), of("hackage", Prohibited, ""),
    of("hex", Optional, "np"), of("huggingface", Required, "v"),
    Type { qualifier: Some("uuid"), ..of("julia", Prohibited, "") },
    of("luarocks", Optional, "np"), of("maven", Required, ""), of("mlflow", Prohibited, ""),
    of("nuget", Prohibited, ""), of("oci", Prohibited, "pv"), of("opam", Prohibited, ""),
    of("otp", Prohibited, "p"), of("pub", Prohibited, "p"), of("pypi", Prohibited, "pv"),
    of("qpkg", Required, "n"), of("rpm", Required, "n"),
    Type { qualifier: Some("tag_id"), ..of("swid", Optional, "") },
    of("swift", Required, ""), of("vcpkg", Prohibited, ""),
    of("vscode-extension", Required, "npv"), of("yocto", Optional, "n"),
];

fn find(kind: &str) -> Option<&'static Type> {
    TYPES.iter().find(|of| of.name == kind)
}

/// Tells whether a type has any rules: if not, [`normalize`] changes nothing and [`check`] accepts everything.
pub fn has_rules(kind: &str) -> bool {
    kind == "cpan" || find(kind).is_some()
}

/// Normalizes the spellings that the type treats as equal.
pub fn normalize(parts: &mut Parts) {
    let lower = find(&parts.kind).map_or("", |of| of.lower);
    if lower.contains('n') {
        parts.namespace.iter_mut().for_each(|segment| *segment = segment.to_lowercase());
    }
    if lower.contains('p') || is_on_databricks(parts) {
        parts.name = parts.name.to_lowercase();
    }
    if lower.contains('v') {
        parts.version = parts.version.take().map(|version| version.to_lowercase());
    }
    match parts.kind.as_str() {
        "pypi" => parts.name = parts.name.replace('_', "-"),
        "pub" => {
            let is_kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            parts.name = parts.name.replace(|c| !is_kept(c), "_");
        }
        _ => {}
    }
}

/// The case of `mlflow` models depends on their server: Azure ML is case-sensitive, Databricks is not.
fn is_on_databricks(parts: &Parts) -> bool {
    let at = |url: &String| url.contains("azuredatabricks.net");
    parts.kind == "mlflow" && parts.qualifiers.get("repository_url").is_some_and(at)
}

/// Checks the parts that the type requires; the error says what was expected.
pub fn check(parts: &Parts) -> Result<(), String> {
    let kind = &parts.kind;
    if let Some(of) = find(kind) {
        match (of.namespace, parts.namespace.is_empty()) {
            (Required, true) => return Err(format!("a namespace: pkg:{kind}/<namespace>/<name>")),
            (Prohibited, false) => return Err(format!("no namespace: pkg:{kind}/<name>")),
            _ => {}
        }
        if let Some(qualifier) =
            of.qualifier.filter(|key| parts.qualifiers.get(*key).is_none_or(String::is_empty))
        {
            return Err(format!("the qualifier {qualifier}, which purls of type {kind} require"));
        }
    }
    match kind.as_str() {
        "cpan" if parts.name.contains("::") => {
            Err("the name of a CPAN distribution (URI-PackageURL), not of a module".to_owned())
        }
        "chrome-extension" if !is_extension(parts) => {
            Err("an extension's id of 32 letters a to p, and a version of one to four numbers".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_extension(parts: &Parts) -> bool {
    let is_id = parts.name.len() == 32 && parts.name.bytes().all(|b| (b'a'..=b'p').contains(&b));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let are_numbers = |version: &String| version.split('.').all(is_number) && version.split('.').count() <= 4;
    is_id && parts.version.as_ref().is_none_or(are_numbers)
}
