//! Results: places of the caller that are written.

use core::ptr::NonNull;

use crate::fail::{Done, Fail};

/// A place where a result is written; what is there before may be uninitialised.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// A place that must be there.
    pub fn new(place: *mut T) -> Done<Self> {
        Self::optional(place)?.ok_or_else(|| Fail::argument("a pointer to a result is NULL"))
    }

    /// A place that may be NULL: then nobody wants the result.
    pub fn optional(place: *mut T) -> Done<Option<Self>> {
        if !place.is_aligned() {
            return Err(Fail::argument("a pointer to a result is not aligned"));
        }
        Ok(NonNull::new(place).map(Self))
    }

    pub fn set(&self, value: T) {
        // SAFETY: the place is aligned, and the caller says that it is the caller's.
        unsafe { self.0.write(value) }
    }
}

/// Writes hashes to a buffer for `capacity` hashes, and their number to `count`. False if there is not enough room:
/// then only the number is written.
pub(crate) unsafe fn put_hashes(
    hashes: impl ExactSizeIterator<Item = [u8; 32]>,
    (data, capacity): (*mut u8, usize),
    count: Option<&Out<usize>>,
) -> Done<bool> {
    count.into_iter().for_each(|count| count.set(hashes.len()));
    if hashes.len() > capacity {
        return Ok(false);
    }
    if data.is_null() && hashes.len() > 0 {
        return Err(Fail::argument("a buffer for hashes is NULL, but its capacity is not 0"));
    }
    for (at, hash) in hashes.enumerate() {
        // SAFETY: there is room for `capacity` hashes, and bytes have no alignment.
        data.add(at * 32).copy_from_nonoverlapping(hash.as_ptr(), 32);
    }
    Ok(true)
}
