//! `GET /openapi.json` describes what the code does: routes, parameters, members of answers, error codes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::http::StatusCode;
use serde_json::Value;
use syn::visit::{self, Visit};
use treehead::merkle::Hash;

use crate::common::http::{Reply, exchange, request};
use crate::common::log::Served;
use crate::common::releases::{scanner, signed, signed_withdrawal, vendor_toml, withdrawal};

fn description() -> Value {
    let log = Served::opaque();
    let reply = log.get("/openapi.json");
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    reply.json()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

fn parsed(path: &str) -> syn::File {
    syn::parse_file(&source(path)).expect(path)
}

fn strings(values: &Value) -> BTreeSet<String> {
    values.as_array().into_iter().flatten().map(|value| value.as_str().expect("text").to_owned()).collect()
}

/// The routes of a file: path and method of each call of `route`.
#[derive(Default)]
struct Routes(BTreeSet<(String, String)>);

impl Visit<'_> for Routes {
    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        if call.method == "route" {
            let (Some(syn::Expr::Lit(path)), Some(syn::Expr::Call(method))) =
                (call.args.get(0), call.args.get(1))
            else {
                panic!("a route that this test can't read")
            };
            let (syn::Lit::Str(path), syn::Expr::Path(method)) = (&path.lit, &*method.func) else {
                panic!("a route that this test can't read")
            };
            let method = method.path.segments.last().expect("a name").ident.to_string();
            self.0.insert((path.value().replace("{*", "{"), method));
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn operations(description: &Value) -> Vec<(String, String, &Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(|(method, operation)| (path.clone(), method.clone(), operation))
    });
    each.collect()
}

#[test]
fn every_route_is_described_and_no_other() {
    let description = description();
    let mut routes = Routes::default();
    let file = parsed("src/server/mod.rs");
    let router = file.items.iter().find_map(|item| match item {
        syn::Item::Fn(function) if function.sig.ident == "router" => Some(function),
        _ => None,
    });
    routes.visit_item_fn(router.expect("the function router"));
    assert!(routes.0.len() > 10, "{:?}", routes.0);
    let described = operations(&description).into_iter().map(|(path, method, _)| (path, method)).collect();
    assert_eq!(routes.0, described);
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Names of the fields of a struct, and of those that are always there.
fn fields(file: &syn::File, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |name: &str| {
        file.items.iter().find_map(|item| match item {
            syn::Item::Struct(item) if item.ident == name => Some(item),
            _ => None,
        })
    };
    let (mut all, mut always) = (BTreeSet::new(), BTreeSet::new());
    for field in &of(name).unwrap_or_else(|| panic!("no struct {name}")).fields {
        let has = |word: &str| {
            field.attrs.iter().any(|attr| match &attr.meta {
                syn::Meta::List(list) => {
                    list.path.is_ident("serde") && list.tokens.to_string().contains(word)
                }
                _ => false,
            })
        };
        if has("flatten") {
            continue;
        }
        let name = field.ident.as_ref().expect("a name").to_string();
        let name = name.trim_start_matches("r#").to_owned();
        if !has("skip_serializing_if") {
            always.insert(name.clone());
        }
        all.insert(name);
    }
    (all, always)
}

#[test]
fn every_parameter_is_described_and_no_other() {
    let description = description();
    for (path, method, operation) in operations(&description) {
        let of = |place: &str| -> BTreeSet<String> {
            let all = operation["parameters"].as_array().into_iter().flatten();
            all.filter(|p| p["in"] == place).map(|p| p["name"].as_str().expect("a name").to_owned()).collect()
        };
        let in_path: BTreeSet<String> = path
            .split('/')
            .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        assert_eq!(of("path"), in_path, "{path}");
        let query = match path.as_str() {
            "/releases" => Some(("src/server/search.rs", "SearchQuery")),
            "/sequence" => Some(("src/server/sequence.rs", "SequenceQuery")),
            "/add" | "/add-batch" => Some(("src/server/submit.rs", "AddQuery")),
            "/" => Some(("src/server/explorer/mod.rs", "PageQuery")),
            _ => None,
        };
        let expected = query.map_or_else(BTreeSet::new, |(file, name)| fields(&parsed(file), name).0);
        assert_eq!(of("query"), expected, "{method} {path}");
    }
}

#[test]
fn every_member_of_an_answer_is_described_and_no_other() {
    let description = description();
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    let structs: BTreeMap<&str, &[(&str, &str)]> = BTreeMap::from([
        ("Problem", &[("src/http/problem.rs", "ProblemDocument")] as &[_]),
        ("Appended", &[("src/server/submit.rs", "EntryAnswer"), ("src/server/warnings.rs", "Remarks")]),
        ("EntryError", &[("src/server/submit.rs", "EntryError")]),
        ("Warning", &[("src/server/warnings.rs", "Warning")]),
        ("InclusionProof", &[("src/server/proof.rs", "InclusionAnswer")]),
        ("ConsistencyProof", &[("src/server/proof.rs", "ConsistencyAnswer")]),
        ("SearchPage", &[("src/server/search.rs", "SearchAnswer")]),
        ("Row", &[("src/server/search.rs", "ReleaseRow")]),
        ("WithdrawnRow", &[("src/server/search.rs", "WithdrawnRow")]),
        ("ArtifactRow", &[("src/server/search.rs", "ArtifactRow")]),
        ("SequenceAnswer", &[("src/server/sequence.rs", "SequenceAnswer")]),
        ("Health", &[("src/server/health.rs", "LogHealth")]),
        ("Witnessing", &[("src/server/health.rs", "WitnessingHealth")]),
        ("WitnessStatus", &[("src/sequencer/cosigners.rs", "CosignerStatus")]),
    ]);
    let objects =
        schemas.iter().filter(|(_, schema)| schema["type"] == "object").map(|(name, _)| name.as_str());
    assert_eq!(objects.collect::<BTreeSet<_>>(), structs.keys().copied().collect());
    for (schema, structs) in structs {
        let (mut all, mut always) = (BTreeSet::new(), BTreeSet::new());
        for (file, name) in structs {
            let (some, of_them) = fields(&parsed(file), name);
            all.extend(some);
            always.extend(of_them);
        }
        let described =
            schemas[schema]["properties"].as_object().expect("properties").keys().cloned().collect();
        assert_eq!(all, described, "{schema}");
        assert_eq!(always, strings(&schemas[schema]["required"]), "{schema}: required");
    }
}

/// The statuses and codes in the problem tables: `=> STATUS "code"`.
fn coded() -> BTreeMap<u16, BTreeSet<String>> {
    let mut coded = BTreeMap::<u16, BTreeSet<String>>::new();
    for file in ["src/server/problem.rs", "src/http/problem.rs"] {
        let text = source(file);
        let table = text.split("\nproblem_table! {").nth(1).and_then(|rest| rest.split("\n}\n").next());
        let words: Vec<&str> = table.expect("a table").split_whitespace().collect();
        for words in words.windows(3).filter(|words| words[0] == "=>" && words[2].starts_with('"')) {
            let statuses = (100..600).filter_map(|status| StatusCode::from_u16(status).ok());
            let name = words[1].replace('_', " ");
            let is_it = |status: &StatusCode| {
                let reason = status.canonical_reason().unwrap_or_default().replace('-', " ");
                reason.eq_ignore_ascii_case(&name)
            };
            let status = statuses.filter(is_it).map(|status| status.as_u16()).next();
            let code = words[2].trim_matches(|c| c == '"' || c == ',').to_owned();
            coded.entry(status.unwrap_or_else(|| panic!("{name}"))).or_default().insert(code);
        }
    }
    coded
}

#[test]
fn every_error_is_described_and_no_other() {
    let description = description();
    let mut described = BTreeMap::<u16, BTreeSet<String>>::new();
    let responses = &description["components"]["responses"];
    let mut used = BTreeSet::new();
    for (_, _, operation) in operations(&description) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let Some(name) = response["$ref"].as_str().and_then(|name| name.rsplit('/').next()) else {
                continue;
            };
            let codes = strings(&responses[name]["x-codes"]);
            assert!(!codes.is_empty(), "{name}");
            described.insert(status.parse().expect("a status"), codes);
            used.insert(name);
        }
    }
    // Any path that is no route has this one.
    described.insert(405, strings(&responses["WrongMethod"]["x-codes"]));
    used.insert("WrongMethod");
    let coded = coded();
    assert!(coded.len() > 10, "{coded:?}");
    assert_eq!(described, coded);
    let all: BTreeSet<String> = coded.values().flatten().cloned().collect();
    assert_eq!(strings(&description["components"]["schemas"]["Code"]["enum"]), all);
    assert_eq!(used.len(), responses.as_object().expect("responses").len());
    // docs/http.md has the same table.
    let page = include_str!("../../docs/http.md");
    for (status, codes) in coded {
        let row = page.lines().find(|line| line.starts_with(&format!("| {status} |")));
        let row = row.unwrap_or_else(|| panic!("{status} in docs/http.md"));
        let named: BTreeSet<String> = row.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        assert!(codes.is_subset(&named), "{status}: {codes:?} in {row}");
    }
}

/// Checks a value against a schema of the description: types, members, patterns of hashes.
fn check(description: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = description.pointer(&name[1..]).unwrap_or_else(|| panic!("no {name}"));
        return check(description, schema, value, place);
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        many => many.as_array().expect("types").iter().filter_map(Value::as_str).collect(),
    };
    let seen = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&seen), "{place}: expected {types:?}, saw {value}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place}: {value}");
    }
    if schema["pattern"] == "^[0-9a-f]{64}$" {
        assert!(Hash::from_hex(value.as_str().expect("text")).is_ok(), "{place}: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(description, &schema["items"], item, place);
    }
    let Some(members) = value.as_object().filter(|_| schema.get("properties").is_some()) else { return };
    for name in strings(&schema["required"]) {
        assert!(members.contains_key(&name), "{place}: no {name}");
    }
    for (name, member) in members {
        let schema = &schema["properties"][name];
        assert!(!schema.is_null(), "{place}: {name} is not described");
        check(description, schema, member, &format!("{place}.{name}"));
    }
}

/// Checks an answer against the description of its operation.
fn check_reply(description: &Value, path: &str, method: &str, reply: &Reply) {
    let mut response = &description["paths"][path][method]["responses"][reply.status.to_string()];
    if let Some(name) = response["$ref"].as_str() {
        response = description.pointer(&name[1..]).expect("a response");
    }
    let media_type = reply.header("content-type").expect("a type").split(';').next().expect("a type");
    let rule = &response["headers"]["Cache-Control"]["schema"]["const"];
    assert!(rule.is_null() || rule == reply.header("cache-control").expect("a rule"), "{path}: {rule}");
    let content = response["content"].get(media_type).or_else(|| response["content"].get("*/*"));
    let content =
        content.unwrap_or_else(|| panic!("{method} {path} {}: {media_type} is not described", reply.status));
    if media_type.ends_with("json") {
        let value = serde_json::from_slice(&reply.body).expect("JSON");
        check(description, &content["schema"], &value, path);
        let code = value.get("code").and_then(Value::as_str);
        let codes = strings(&response["x-codes"]);
        assert!(code.is_none_or(|code| codes.contains(code)), "{path} {}: {code:?}", reply.status);
    }
}

#[test]
fn answers_are_as_they_are_described() {
    let log = Served::release(&vendor_toml());
    let description = log.get("/openapi.json").json();
    let first = signed(&scanner(1), 1);
    let leaf = Hash::leaf(&first).to_hex();
    let add = |entry: &[u8], accept: &str| {
        exchange(log.address, &request("POST", "/add", &[("Accept", accept)], entry))
    };
    for (entry, accept) in [
        (first.clone(), "application/json"),
        (signed(&scanner(3), 1), "application/json"),
        (signed(&scanner(4), 1), "text/plain"),
        (signed_withdrawal(&withdrawal(0, &first), 1), "text/x-tlog-proof"),
        (signed(&scanner(5), 2), "application/json"),
        (b"{}".to_vec(), "application/json"),
        (first.clone(), "image/png"),
    ] {
        check_reply(&description, "/add", "post", &add(&entry, accept));
    }
    let batch = crate::common::log::batch(&[signed(&scanner(6), 1)]);
    let json = [("Accept", "application/json")];
    check_reply(
        &description,
        "/add-batch",
        "post",
        &exchange(log.address, &request("POST", "/add-batch", &json, &batch)),
    );
    for (path, url) in [
        ("/checkpoint", "/checkpoint".to_owned()),
        ("/tile/{level}/{path}", "/tile/0/000.p/2".to_owned()),
        ("/tile/{level}/{path}", "/tile/0/x".to_owned()),
        ("/tile/{level}/{path}", "/tile/0/009".to_owned()),
        ("/tile/entries/{path}", "/tile/entries/000.p/2".to_owned()),
        ("/proof/inclusion/{size}/{index}", "/proof/inclusion/2/0".to_owned()),
        ("/proof/inclusion/{size}/{index}", "/proof/inclusion/99/0".to_owned()),
        ("/proof/consistency/{old}/{new}", "/proof/consistency/1/2".to_owned()),
        ("/proof/consistency/{old}/{new}", "/proof/consistency/2/x".to_owned()),
        ("/proof/leaf/{hash}", format!("/proof/leaf/{leaf}")),
        ("/proof/leaf/{hash}", format!("/proof/leaf/{}", "0".repeat(64))),
        ("/releases", "/releases?limit=2".to_owned()),
        ("/releases", "/releases?entries=true".to_owned()),
        ("/releases", "/releases?size=99".to_owned()),
        ("/releases", "/releases?nothing=x".to_owned()),
        (
            "/sequence",
            "/sequence?publisher=vendor&package=pkg:generic/example/scanner&channel=stable".to_owned(),
        ),
        (
            "/sequence",
            "/sequence?publisher=vendor&package=pkg:generic/example/none&channel=stable".to_owned(),
        ),
        ("/sequence", "/sequence".to_owned()),
        ("/healthz", "/healthz".to_owned()),
        ("/metrics", "/metrics".to_owned()),
        ("/openapi.json", "/openapi.json".to_owned()),
        ("/", "/".to_owned()),
        ("/", "/?log=x".to_owned()),
        ("/explorer/{file}", "/explorer/app.js".to_owned()),
        ("/explorer/{file}", "/explorer/nothing".to_owned()),
    ] {
        check_reply(&description, path, "get", &log.get(&url));
    }
}
