//! Parses the two XML answers of S3 that this kit needs: lists and errors.
//!
//! Expands only the five predefined entities of XML and numeric character references, and rejects a document type. The
//! caller caps the size of an answer, which bounds its texts.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::objects::{Listed, Listing, MAX_KEY_BYTES, MAX_LISTED};
use crate::format::{FormatError, decimal, quote, quote_bytes};

/// Largest answer to a listing: a thousand keys of the greatest length, and ample markup around each.
pub(super) const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting. S3 uses four levels.
const MAX_DEPTH: usize = 16;

/// An error of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StoreError {
    /// The code, such as `AccessDenied`; empty if there is none.
    pub code: String,
    /// The message.
    pub message: String,
    /// The bucket's region.
    pub region: String,
}

/// Reads an error's body. Leaves fields empty that it can't read, because gateways send HTML pages.
pub(super) fn store_error(body: &[u8]) -> StoreError {
    let mut error = StoreError::default();
    let _ = walk(body, &mut |path, text| {
        let place = match path {
            ["Error", "Code"] => &mut error.code,
            ["Error", "Message"] => &mut error.message,
            ["Error", "Region"] => &mut error.region,
            _ => return Ok(()),
        };
        text.clone_into(place);
        Ok(())
    });
    if !error.code.bytes().all(|b| b.is_ascii_alphanumeric()) || error.code.len() > 64 {
        error.code.clear();
    }
    error
}

/// Reads an answer of `ListObjectsV2`. Keys must be in order and begin with `prefix`, which is removed.
pub(super) fn listing(body: &[u8], prefix: &str) -> Result<Listing, FormatError> {
    let mut listing = Listing::default();
    let (mut key, mut size, mut is_list) = (None, None, false);
    walk(body, &mut |path, text| {
        match path {
            ["ListBucketResult"] => is_list = true,
            ["ListBucketResult", "IsTruncated"] => {
                listing.more = match text {
                    "true" => true,
                    "false" => false,
                    other => return Err(malformed("true or false in IsTruncated", quote(other))),
                }
            }
            ["ListBucketResult", "Contents", "Key"] => key = Some(text.to_owned()),
            ["ListBucketResult", "Contents", "Size"] => {
                let number = decimal(text, i64::MAX.unsigned_abs());
                size = Some(number.ok_or_else(|| malformed("a size in bytes", quote(text)))?);
            }
            ["ListBucketResult", "Contents"] => {
                let (Some(key), Some(size)) = (key.take(), size.take()) else {
                    return Err(malformed("a key and a size for each object", "less"));
                };
                let object = Listed { key: relative(&key, prefix)?, size };
                let last = listing.objects.last();
                if last.is_some_and(|last| last.key >= object.key) {
                    return Err(malformed("keys in the order of their bytes", quote(&object.key)));
                }
                if listing.objects.len() == MAX_LISTED {
                    return Err(malformed("at most 1000 objects", "more"));
                }
                listing.objects.push(object);
            }
            _ => {}
        }
        Ok(())
    })?;
    if !is_list {
        return Err(malformed("a ListBucketResult", quote_bytes(body)));
    }
    if listing.more && listing.objects.is_empty() {
        return Err(malformed("at least one object in a list that goes on", "none"));
    }
    Ok(listing)
}

fn relative(key: &str, prefix: &str) -> Result<String, FormatError> {
    let rest = key.strip_prefix(prefix).filter(|_| key.len() <= MAX_KEY_BYTES);
    rest.map(str::to_owned).ok_or_else(|| malformed(&format!("keys below {}", quote(prefix)), quote(key)))
}

fn malformed(expected: &str, seen: impl Into<String>) -> FormatError {
    FormatError::malformed("a list of objects", expected, seen)
}

/// Receives the path of an element, and the text directly within it.
type OnElement<'a> = dyn FnMut(&[&str], &str) -> Result<(), FormatError> + 'a;

/// Calls `on` at the end of each element, with its path and the text directly within it.
fn walk(body: &[u8], on: &mut OnElement<'_>) -> Result<(), FormatError> {
    let body = crate::format::utf8("an answer in XML", body)?;
    let mut reader = Reader::from_str(body);
    // The reader checks that end tags match, so a stack of the open elements is enough.
    let mut open: Vec<(String, String)> = Vec::new();
    let mut end = |open: &mut Vec<(String, String)>| {
        let path: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
        let text = open.last().map(|(_, text)| text.as_str()).unwrap_or_default();
        on(&path, text)?;
        open.pop();
        Ok::<(), FormatError>(())
    };
    loop {
        let event = reader.read_event().map_err(|e| malformed("well-formed XML", quote(&e.to_string())))?;
        match event {
            Event::Start(tag) | Event::Empty(tag) if open.len() == MAX_DEPTH => {
                return Err(malformed("at most 16 levels of XML", quote(&name_of(&tag))));
            }
            Event::Start(tag) => open.push((name_of(&tag), String::new())),
            Event::Empty(tag) => {
                open.push((name_of(&tag), String::new()));
                end(&mut open)?;
            }
            Event::End(_) => end(&mut open)?,
            Event::Text(text) => push(&mut open, &text),
            Event::CData(text) => push(&mut open, &text),
            Event::GeneralRef(reference) => push(&mut open, &resolve(&reference)?),
            Event::DocType(_) => return Err(malformed("XML without a document type", "one")),
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err(malformed("the end of every element", "the end of the answer")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// The name of an element without its namespace prefix.
fn name_of(tag: &quick_xml::events::BytesStart<'_>) -> String {
    tag.local_name().as_ref().to_owned()
}

fn push(open: &mut [(String, String)], text: &str) {
    if let Some((_, of)) = open.last_mut() {
        of.push_str(text);
    }
}

/// The character of `&name;` or `&#number;`.
fn resolve(name: &str) -> Result<String, FormatError> {
    let number = name.strip_prefix('#').map(|number| match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    });
    let character = match (name, number) {
        (_, Some(number)) => number.ok().and_then(char::from_u32),
        ("amp", _) => Some('&'),
        ("lt", _) => Some('<'),
        ("gt", _) => Some('>'),
        ("quot", _) => Some('"'),
        ("apos", _) => Some('\''),
        _ => None,
    };
    character.map(String::from).ok_or_else(|| malformed("the entities of XML itself", quote(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(key: &str, size: &str) -> String {
        format!(
            "<Contents><Key>{key}</Key><LastModified>x</LastModified><ETag>&quot;e&quot;</ETag><Size>{size}</Size><Owner><ID>i</ID></Owner></Contents>"
        )
    }

    fn list(more: &str, contents: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>p/</Prefix><IsTruncated>{more}</IsTruncated>{contents}</ListBucketResult>"
        )
    }

    #[test]
    fn a_list_is_read() {
        let text = list("true", &(object("p/a", "0") + &object("p/b&amp;&#x63;&#100;", "12")));
        let read = listing(text.as_bytes(), "p/").unwrap();
        let objects = [("a", 0), ("b&cd", 12)].map(|(key, size)| Listed { key: key.to_owned(), size });
        assert_eq!(read, Listing { objects: objects.into(), more: true });
        assert_eq!(listing(list("false", "").as_bytes(), "p/").unwrap(), Listing::default());
        let ceph =
            "<ListBucketResult xmlns=\"x\"><IsTruncated>false</IsTruncated><Prefix/></ListBucketResult>";
        assert_eq!(listing(ceph.as_bytes(), "").unwrap(), Listing::default());
    }

    #[test]
    fn hostile_lists_are_refused() {
        let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>".to_owned();
        let deep = "<ListBucketResult>".to_owned() + &"<a>".repeat(1_000_000);
        let many: String = (0..=MAX_LISTED).map(|at| object(&format!("p/{at:04}"), "1")).collect();
        for (bad, why) in [
            (bomb.clone() + &list("false", &object("p/&b;", "1")), "document type"),
            (list("false", &object("p/&b;", "1")), "entities of XML itself"),
            (list("false", &object("p/&#xd800;", "1")), "entities of XML itself"),
            (list("false", &object("elsewhere", "1")), "keys below"),
            (list("false", &object(&("p/".to_owned() + &"a".repeat(1_023)), "1")), "keys below"),
            (list("false", &(object("p/b", "1") + &object("p/a", "1"))), "order"),
            (list("false", &(object("p/a", "1") + &object("p/a", "1"))), "order"),
            (list("false", &object("p/a", "-1")), "a size"),
            (list("false", "<Contents><Key>p/a</Key></Contents>"), "a key and a size"),
            (list("perhaps", ""), "true or false"),
            (list("true", ""), "at least one object"),
            (list("false", &many), "at most 1000"),
            (list("false", "<a></b>"), "well-formed"),
            (list("false", "")[..150].to_owned(), "end"),
            (deep, "16 levels"),
            ("<html><body>Sign in</body></html>".to_owned(), "a ListBucketResult"),
            (String::new(), "a ListBucketResult"),
        ] {
            let error = listing(bad.as_bytes(), "p/").unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
            assert!(error.len() < 400, "{error}");
        }
        assert!(listing(b"<ListBucketResult>\xff", "").is_err());
    }

    #[test]
    fn errors_are_read_as_far_as_possible() {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &lt;b&gt;</Message><Region>eu-1</Region></Error>";
        let read = store_error(body);
        assert_eq!((&*read.code, &*read.message, &*read.region), ("NoSuchKey", "a <b>", "eu-1"));
        for bad in [&b"<html><Code>x</Code></html>"[..], b"", b"\xff", b"<Error><Code>a b\x1b[2J</Code>"] {
            assert_eq!(store_error(bad).code, "", "{bad:?}");
        }
        assert_eq!(store_error(b"<Error><Code>SlowDown</Code><Mess").code, "SlowDown", "it was cut");
    }

    proptest! {
        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = store_error(&noise);
            let _ = listing(&noise, "");
        }

        #[test]
        fn noise_in_xml_is_refused(noise in "(<[a-z/!?]{0,3}|[a-z&;#]{0,4}|>|ListBucketResult|Contents|Key|\\[|\\]|-){0,40}") {
            let _ = store_error(noise.as_bytes());
            let _ = listing(noise.as_bytes(), "");
        }
    }
}
