//! `include/treehead.h` is what the sources of the C library say: `cbindgen` makes it from them, and the reasons come
//! from the core's enum.
//!
//! `TREEHEAD_WRITE_HEADER=1 cargo test -p treehead-capi --test header` writes it.

use std::fmt::Write as _;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, ItemType, Language, SortKey, Style};
use treehead::endpoint::{TrustUpdateCode, VerdictCode};

/// The sources with exported items, in the order of the header.
const SOURCES: [&str; 14] = [
    "fail", "version", "text", "hasher", "trust", "memory", "question", "verdict", "verify", "check", "head",
    "tree", "compare", "describe",
];

const HEAD: &str = r"/* treehead: asks, before a file is installed, whether it is what everybody else was given.
 *
 * docs/c.md begins with a program that runs. In short:
 *
 *     th_trust *trust;
 *     th_trust_from_bytes(bytes, length, &trust, NULL);      whom to believe: an endpoint.trust file
 *     th_question question = th_question_init();             the file's digest, its proof, what is wanted
 *     th_verdict verdict = th_verdict_init();
 *     if (th_verify(trust, NULL, &question, &verdict) == TH_OK) install();
 *
 * Rules that hold for every function:
 *
 * - TH_OK means what the function says. For th_verify and its kin: the file may be installed. Any other status means
 *   that it may not.
 * - A pointer that must not be NULL and is, a length without data, text that is not UTF-8 and a struct_size that is too
 *   small are TH_INVALID_ARGUMENT. Nothing is written then but a message.
 * - A message or another out-pointer may be NULL where its function says so; every th_text *message may.
 * - Every struct begins with its size, which the caller sets (th_..._init does). A library of a later version, which has
 *   larger structs, reads and writes no more than that.
 * - Nothing is kept of a caller's buffer after a call returns.
 * - NULL is fine for every th_..._free.
 * - Each object says which threads may use it. If two threads use an object for one thread at once, one of them gets
 *   TH_BUSY.
 * - Out of memory ends the process (abort), and so would an error in this library. Nothing unwinds into the caller.
 *
 * Generated from the Rust sources; do not edit: `TREEHEAD_WRITE_HEADER=1 cargo test -p treehead-capi --test header`.
 */";

const HELPERS: &str = r#"#ifdef __cplusplus
extern "C" {
#endif

static inline th_str th_str_of(const char *text) {
  th_str str;
  str.data = text;
  str.length = text ? strlen(text) : 0;
  return str;
}

static inline th_text th_text_of(char *data, size_t capacity) {
  th_text text;
  text.data = data;
  text.capacity = capacity;
  text.length = 0;
  return text;
}
"#;

fn after_includes() -> String {
    let mut reasons = "\n/* Why a file must not be installed, or a trust file not taken: numbers that never change. */\ntypedef enum th_reason {\n  TH_REASON_NONE = 0,\n".to_owned();
    let verdicts = VerdictCode::ALL.map(|code| (code.as_str(), code.number()));
    let updates = TrustUpdateCode::ALL.map(|code| (code.as_str(), code.number()));
    for (name, number) in verdicts.into_iter().chain(updates) {
        let name = name.to_uppercase().replace('-', "_");
        writeln!(reasons, "  TH_REASON_{name} = {number},").expect("strings take everything");
    }
    reasons.truncate(reasons.len() - 2);
    reasons + "\n} th_reason;"
}

/// The helpers, and one that makes each struct that a caller fills.
fn trailer(header: &str) -> String {
    let mut helpers = HELPERS.to_owned();
    for name in ["th_question", "th_verdict", "th_head"] {
        let variable = &name[3..];
        if header.contains(&format!("}} {name};")) {
            write!(
                helpers,
                "\nstatic inline {name} {name}_init(void) {{\n  {name} {variable};\n  memset(&{variable}, 0, sizeof {variable});\n  {variable}.struct_size = sizeof {variable};\n  return {variable};\n}}\n"
            )
            .expect("strings take everything");
        }
    }
    helpers + "\n#ifdef __cplusplus\n} /* extern \"C\" */\n#endif"
}

fn generate(trailer: Option<String>) -> String {
    let config = Config {
        header: Some(HEAD.to_owned()),
        trailer,
        include_guard: Some("TREEHEAD_H".to_owned()),
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h", "string.h"].map(str::to_owned).to_vec(),
        after_includes: Some(after_includes()),
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C,
        line_length: 120,
        function: cbindgen::FunctionConfig { sort_by: Some(SortKey::None), ..Default::default() },
        export: cbindgen::ExportConfig {
            item_types: vec![
                ItemType::Constants,
                ItemType::Enums,
                ItemType::Structs,
                ItemType::OpaqueItems,
                ItemType::Typedefs,
                ItemType::Functions,
            ],
            ..Default::default()
        },
        ..Default::default()
    };
    let mut builder = Builder::new().with_config(config);
    for source in SOURCES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{source}.rs"));
        if path.is_file() {
            builder = builder.with_src(path);
        }
    }
    let mut header = Vec::new();
    builder.generate().expect("bindings").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_header_is_what_the_sources_say() {
    let expected = generate(Some(trailer(&generate(None))));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/treehead.h");
    if std::env::var_os("TREEHEAD_WRITE_HEADER").is_some() {
        std::fs::write(&path, &expected).expect("a header");
    }
    let seen = std::fs::read_to_string(&path).expect("a header");
    if seen != expected {
        let differing = seen.lines().zip(expected.lines()).position(|(a, b)| a != b);
        panic!(
            "treehead.h is stale from line {:?} on: TREEHEAD_WRITE_HEADER=1 writes it",
            differing.map(|at| at + 1)
        );
    }
    let numbers = VerdictCode::ALL.map(VerdictCode::number).into_iter();
    for number in numbers.chain(TrustUpdateCode::ALL.map(TrustUpdateCode::number)) {
        assert!(seen.contains(&format!(" = {number}")), "{number}");
    }
}
