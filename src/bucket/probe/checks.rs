//! The checks, which run one after the other.

use std::time::Instant;

use super::findings::{Check, Finding, Verdict};
use super::{Probe, knows_no_condition, patiently};
use crate::bucket::{BucketError, Creation, Object, Refusal, Replacement, Tag, TagStyle};

/// The verdict of a check, and what it saw.
pub(super) type Outcome = Result<(Verdict, String), BucketError>;

pub(super) fn right(seen: impl Into<String>) -> (Verdict, String) {
    (Verdict::Right, seen.into())
}

pub(super) fn lies(seen: impl Into<String>) -> (Verdict, String) {
    (Verdict::Lies, seen.into())
}

impl Probe<'_> {
    /// Runs all checks. Returns the form of tags that the store accepts, if it accepts any.
    pub fn run(&self) -> (Option<TagStyle>, Vec<Finding>) {
        let mut style = None;
        let mut findings = Vec::new();
        let mut add = |check, run: &mut dyn FnMut() -> Outcome| {
            let begun = Instant::now();
            let (verdict, seen) = match run() {
                Ok(outcome) => outcome,
                Err(error) if knows_no_condition(&error) => {
                    (Verdict::Lies, format!("it does not support this condition: {error}"))
                }
                Err(error) => (Verdict::Unknown, error.to_string()),
            };
            findings.push(Finding { check, verdict, seen, time: begun.elapsed() });
        };
        add(Check::CreateTwice, &mut || self.create_twice());
        add(Check::Tags, &mut || self.tags(&mut style));
        if style.is_some() {
            add(Check::ReplaceMissing, &mut || self.replace_missing());
        }
        add(Check::ReadAfterWrite, &mut || self.read_after_write());
        add(Check::ListAfterWrite, &mut || self.list_after_write());
        add(Check::ReadAfterDelete, &mut || self.read_after_delete());
        add(Check::CreateRace, &mut || self.create_race());
        if style.is_some() {
            add(Check::ReplaceRace, &mut || self.replace_race());
        }
        (style, findings)
    }

    fn create_twice(&self) -> Outcome {
        let key = self.key("twice");
        if self.create(&key, b"first")? == Creation::Exists {
            return Ok(lies("it refused to create an object with a new key"));
        }
        if let Creation::Created(_) = self.create(&key, b"second")? {
            return Ok(lies("the second creation of an object was accepted (If-None-Match: * is ignored)"));
        }
        match self.get(&key)? {
            Some(object) if object.bytes == b"first" => Ok(right("the second creation was refused")),
            Some(_) => Ok(lies("the second creation was refused but took effect")),
            None => Ok(lies("the created object is not there")),
        }
    }

    /// Finds the form of tags in which the current tag replaces an object and an older tag does not.
    fn tags(&self, found: &mut Option<TagStyle>) -> Outcome {
        let mut seen = Vec::new();
        for style in TagStyle::ALL {
            self.objects.use_tag_style(style);
            match self.tags_in(style)? {
                (Verdict::Right, words) => {
                    *found = Some(style);
                    return Ok(right(words));
                }
                (_, words) => seen.push(words),
            }
        }
        self.objects.use_tag_style(TagStyle::Quoted);
        Ok(lies(seen.join("; ")))
    }

    fn tags_in(&self, style: TagStyle) -> Outcome {
        let key = self.key(&format!("tags-{style}"));
        let old = self.first(&key, b"one")?;
        let current = match self.replace(&key, b"two", &old)? {
            Replacement::Replaced(tag) => tag,
            Replacement::Stale => return Ok(lies(format!("the current tag did not replace ({style})"))),
            Replacement::Missing => return Ok(lies(format!("the written object is not there ({style})"))),
        };
        let stale = self.replace(&key, b"three", &old)?;
        match (stale, self.get(&key)?) {
            (Replacement::Stale, Some(object)) if object.bytes == b"two" && object.tag == current => Ok(
                right(format!("the current tag replaces the object, an older one does not ({style} tags)")),
            ),
            (Replacement::Replaced(_), _) => {
                Ok(lies(format!("an older tag replaced ({style}: If-Match is ignored)")))
            }
            (_, Some(object)) if object.bytes == b"three" => {
                Ok(lies(format!("an older tag was refused but the object was replaced ({style})")))
            }
            _ => Ok(lies(format!(
                "an older tag was refused, but then a read returned another object ({style})"
            ))),
        }
    }

    fn replace_missing(&self) -> Outcome {
        let (there, missing) = (self.key("there"), self.key("missing"));
        let tag = self.first(&there, b"there")?;
        let answer = self.replace(&missing, b"new", &tag)?;
        match (answer, self.get(&missing)?) {
            (Replacement::Replaced(_), _) => Ok(lies("it replaced a missing object")),
            (_, Some(_)) => Ok(lies("it refused to replace a missing object, but created it")),
            (answer, None) => {
                let called = if answer == Replacement::Missing { "as missing" } else { "as another version" };
                Ok(right(format!("replacing a missing object was refused ({called})")))
            }
        }
    }

    fn read_after_write(&self) -> Outcome {
        for at in 0..self.extent.objects {
            let key = self.key(&format!("read-{at}"));
            // Some stores cache for a while that an object is missing.
            if self.get(&key)?.is_some() {
                return Ok(lies("it read an object that nobody wrote"));
            }
            for (version, bytes) in
                [format!("first {at}"), format!("second {at}, which is longer")].into_iter().enumerate()
            {
                let write = if version == 0 { Self::first } else { Self::put };
                let tag = write(self, &key, bytes.as_bytes())?;
                let expected = Object { bytes: bytes.into_bytes(), tag };
                match self.get(&key)? {
                    Some(object) if object == expected => {}
                    Some(object) if object.bytes == expected.bytes => {
                        return Ok(lies(format!(
                            "a write and a read returned different tags: {} and {}",
                            expected.tag, object.tag
                        )));
                    }
                    Some(_) => return Ok(lies("it read an older version than the last one written")),
                    None => return Ok(lies("it did not find the object just written")),
                }
            }
        }
        Ok(right(format!("each of {} objects was read as last written", self.extent.objects)))
    }

    fn list_after_write(&self) -> Outcome {
        let count = self.extent.objects;
        let mut expected = Vec::new();
        for at in 0..count {
            let key = self.key(&format!("list/{at:020}"));
            self.put(&key, &[b'x'; 3])?;
            expected.push(key);
            let prefix = format!("{}/list/", self.prefix);
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let page = self.objects.list(&prefix, &after, 7)?;
                if page.objects.len() > 7 || page.objects.iter().any(|object| object.size != 3) {
                    return Ok(lies("a page of a list is longer than requested, or has a wrong size"));
                }
                seen.extend(page.objects.into_iter().map(|object| object.key));
                match seen.last() {
                    Some(last) if page.more && *last > after => after.clone_from(last),
                    _ => break,
                }
            }
            if seen != expected {
                return Ok(lies(format!("of {} objects, it listed {}", expected.len(), seen.len())));
            }
        }
        Ok(right(format!("each of {count} objects was listed at once and in order")))
    }

    fn read_after_delete(&self) -> Outcome {
        let key = self.key("deleted");
        self.first(&key, b"one")?;
        match patiently(|| self.objects.delete(&key)) {
            Err(BucketError::Refused { refusal: Refusal::Denied, .. }) => {
                return Ok((
                    Verdict::Skipped,
                    "these credentials may not delete; a log does not need to".to_owned(),
                ));
            }
            other => other?,
        }
        if self.get(&key)?.is_some() {
            return Ok(lies("it read an object that was deleted"));
        }
        match self.create(&key, b"two")? {
            Creation::Exists => Ok(lies("it refused to create an object in place of a deleted one")),
            Creation::Created(_) => Ok(right("a deleted object is gone")),
        }
    }

    /// Returns true if an object still has these bytes and, if given, this tag.
    pub fn holds(&self, key: &str, bytes: &[u8], tag: Option<&Tag>) -> Result<bool, BucketError> {
        let object = self.get(key)?;
        Ok(object.is_some_and(|object| object.bytes == bytes && tag.is_none_or(|tag| object.tag == *tag)))
    }
}
