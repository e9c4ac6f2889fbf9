//! Entry bundles: c2sp.org/tlog-tiles, "Log entries". `POST /add-batch` takes the same format.
//!
//! ```text
//! (u16 length, big-endian || entry)*
//! ```

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::format::{FormatError, cap_count};
use crate::release::MAX_ENTRY_BYTES;

/// Bytes of the length prefix of each entry.
pub const LENGTH_BYTES: usize = 2;

/// Appends one length-prefixed entry.
///
/// # Errors
/// [`FormatError::TooLarge`] over [`MAX_ENTRY_BYTES`], the largest length that the prefix can hold.
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), FormatError> {
    let length = u16::try_from(entry.len()).map_err(|_| FormatError::TooLarge {
        what: "an entry",
        limit: MAX_ENTRY_BYTES,
        unit: "bytes",
        seen: entry.len(),
    })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Splits a bundle into its entries, of which there may be at most `most`.
///
/// # Errors
/// [`FormatError`] if the bytes end within an entry, or hold more than `most`.
pub fn split(bytes: &[u8], most: usize) -> Result<Vec<&[u8]>, FormatError> {
    Ok(spans(bytes, most)?.into_iter().map(|span| &bytes[span]).collect())
}

/// The byte range of each entry in a bundle.
///
/// # Errors
/// As [`split`].
pub fn spans(bytes: &[u8], most: usize) -> Result<Vec<Range<usize>>, FormatError> {
    let (mut spans, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let cut = |expected: String, seen: usize| {
            let at = format!("entry {} to have {expected}", spans.len());
            FormatError::malformed("an entry bundle", at, format!("{seen} bytes"))
        };
        let (length, rest) =
            rest.split_first_chunk().ok_or_else(|| cut("a two-byte length".to_owned(), rest.len()))?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > rest.len() {
            return Err(cut(format!("{length} bytes"), rest.len()));
        }
        let start = at + LENGTH_BYTES;
        spans.push(start..start + length);
        cap_count("an entry bundle", "entries", spans.len(), most)?;
        at = start + length;
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn truncated_and_oversized_bundles_are_refused() {
        let mut bundle = Vec::new();
        push(&mut bundle, b"one").unwrap();
        let largest = vec![7; MAX_ENTRY_BYTES];
        push(&mut bundle, &largest).unwrap();
        assert_eq!(split(&bundle, 2).unwrap(), [b"one".as_slice(), &largest]);
        assert!(matches!(split(&bundle, 1), Err(FormatError::TooLarge { seen: 2, .. })));
        for end in (1..bundle.len()).filter(|end| *end != 5) {
            assert!(matches!(split(&bundle[..end], 2), Err(FormatError::Malformed { .. })), "{end}");
        }
        let error = push(&mut bundle, &vec![0; MAX_ENTRY_BYTES + 1]).unwrap_err();
        assert_eq!(error.to_string(), "an entry is too large: expected at most 65535 bytes, saw 65536");
    }

    proptest! {
        #[test]
        fn bundles_split_as_they_were_pushed(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..50)) {
            let mut bundle = Vec::new();
            entries.iter().for_each(|entry| push(&mut bundle, entry).unwrap());
            prop_assert_eq!(split(&bundle, 50).unwrap(), entries);
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(entries) = split(&bytes, 300) {
                let mut again = Vec::new();
                entries.iter().for_each(|entry| push(&mut again, entry).unwrap());
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
