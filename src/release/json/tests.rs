use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Json<'_>, FormatError> {
    Json::parse("a test", text.as_bytes())
}

fn canonical(json: &Json<'_>) -> String {
    String::from_utf8(json.to_canonical()).unwrap()
}

#[test]
fn a_key_given_twice_is_found_in_objects_of_any_size() {
    for count in [1, 2, 15, 16, 17, 100] {
        let fields: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
        assert!(parse(&format!("{{{}}}", fields.join(","))).is_ok());
        for twice in [0, count / 2, count - 1] {
            let text = format!("{{{},\"k{twice}\":0}}", fields.join(","));
            assert!(parse(&text).unwrap_err().to_string().contains("twice"), "{text}");
        }
    }
}

#[test]
fn canonical_form_of_rfc_8785() {
    // Section 3.2.3: keys by UTF-16 code units, so U+1F600 (a surrogate pair) sorts before
    // U+FB33.
    let json = parse(
        "{\"\\u20ac\":\"Euro\",\"\\r\":\"CR\",\"\\ufb33\":\"Dalet\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Smile\",\
         \"\\u0080\":\"Control\",\"\\u00f6\":\"Oe\"}",
    );
    let printed = canonical(&json.unwrap());
    let keys: Vec<Cow<'_, str>> = match parse(&printed).unwrap() {
        Json::Object(fields) => fields.into_iter().map(|(key, _)| key).collect(),
        _ => unreachable!(),
    };
    assert_eq!(keys, ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"]);
    let escapes =
        parse(r#" { "b" : [ 1 , -2 , true , null ] , "a" : "\u0041\/\b\f\n\r\t\u000f\"\\\u007f" } "#);
    assert_eq!(
        canonical(&escapes.unwrap()),
        "{\"a\":\"A/\\b\\f\\n\\r\\t\\u000f\\\"\\\\\u{7f}\",\"b\":[1,-2,true,null]}"
    );
}

#[test]
fn numbers_that_readers_disagree_about_are_read_and_are_no_integers() {
    for text in [
        "1.0",
        "-0.5E-1",
        "1e3",
        "-0",
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551615",
        "99999999999999999999999",
        "1.7976931348623158e308",
        "0.000000017976931348623157e316",
        "1e-400",
        "0e400",
    ] {
        let list = format!("{{\"n\":[{text}]}}");
        assert_eq!(canonical(&parse(&list).unwrap()), list);
        let field = format!("{{\"n\":{text}}}");
        let mut fields = Fields::new("a test", "", parse(&field).unwrap()).unwrap();
        let error = fields.integer("n").unwrap_err().to_string();
        assert!(error.ends_with(&format!("an integer from 0 to 2^53 - 1, saw {text}")), "{error}");
    }
    let most = parse("[9007199254740991,-9007199254740991]").unwrap();
    assert_eq!(most, Json::Array([MAX_INTEGER, -MAX_INTEGER].map(Json::Integer).to_vec()));
}

#[test]
fn what_readers_disagree_about_is_refused() {
    for (bad, why) in [
        (r#"{"a":1,"a":2}"#, "twice"),
        (r#"{"a":1,"\u0061":2}"#, "twice"),
        (r#"{"a":{"b":[{"c":1.5,"c":1.5}]}}"#, "twice"),
        ("1e400", "out of range"),
        ("-1.7976931348623159e308", "out of range"),
        ("0.0017976931348623159E+311", "out of range"),
        ("[1e99999999999999999999]", "out of range"),
        ("1.", "invalid number"),
        ("-", "invalid number"),
        ("1e+", "invalid number"),
        ("nul", "expected value"),
        ("[1 2]", "expected `,` or `]` at line 1 column 4"),
        ("{\n \"a\" 1}", "expected `:` at line 2 column 6"),
        ("{1:2}", "key must be a string"),
        ("\"a\nb\"", "control character"),
        (r#""\x""#, "invalid escape"),
        (r#""\u00""#, "invalid escape"),
        (r#""\udc00""#, "surrogate"),
        (r#""\ud800\u0041""#, "surrogate"),
        ("01", ""),
        ("+1", ""),
        ("NaN", ""),
        (r#""\ud800""#, ""),
        ("{\"a\":1,}", "trailing comma"),
        ("[1] 2", "trailing characters"),
        ("", "EOF"),
        ("{", "EOF"),
        ("\u{feff}{}", ""),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    assert!(Json::parse("a test", b"\"\xff\"").unwrap_err().to_string().contains("offset 1"));
}

#[test]
fn deep_nesting_is_refused_without_recursing_into_it() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string().contains("deeper than 32"));
    assert!(parse(&"[".repeat(1_000_000)).is_err());
    assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
}

fn any_json() -> impl Strategy<Value = Json<'static>> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Json::Integer),
        any::<String>().prop_map(|text| Json::String(text.into())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let fields = prop::collection::btree_map(any::<String>(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Json::Array),
            fields.prop_map(|fields| {
                Json::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_is_a_fixed_point(json in any_json()) {
        let text = canonical(&json);
        prop_assert_eq!(canonical(&parse(&text).unwrap()), text);
    }

    #[test]
    fn what_another_parser_reads_is_read_and_nothing_else(
        text in "[\\[\\]{}\":,a\\\\u0-1 .eE+-]{0,12}|\"(a|é|\\\\[\"u/bnx]|\\\\ud8[0-3]0|\\\\udc00){0,4}\"|-?[01]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?",
    ) {
        match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
            (Ok(json), Ok(value)) => prop_assert_eq!(serde_json::Value::from(json), value),
            (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("twice"), "{}: {}", text, error),
            (Ok(json), Err(error)) => prop_assert!(false, "{}: {:?}: {}", text, json, error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn text_is_printed_as_another_printer_does(text in any::<String>()) {
        let json = Json::string(&text);
        prop_assert_eq!(canonical(&json), serde_json::to_string(&text).unwrap());
        let list = json!({ "list": [&text, &text], "nested": json!({ "a": 1_u64 }), "none": Vec::<String>::new() });
        let value: serde_json::Value = serde_json::from_str(&list.to_lines()).unwrap();
        prop_assert_eq!(&value, &serde_json::Value::from(list.clone()));
        prop_assert_eq!(list.to_shown(), crate::format::to_json(&value));
    }

    #[test]
    fn noise_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]{0,60}") {
        let _ = parse(&text);
    }
}
