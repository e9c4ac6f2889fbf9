//! Arguments of callers: pointers, lengths, sized structs.
//!
//! Null pointers, bad lengths, bad alignment and text that is not UTF-8 are failures. Whether a pointer points at what the
//! caller says can't be checked.

use crate::fail::{Done, Fail};
use crate::text::{th_bytes, th_str};

/// Bytes of the caller. NULL with length 0 is none.
pub(crate) unsafe fn bytes<'a>(data: *const u8, length: usize) -> Done<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Fail::argument("a pointer to bytes is NULL, but their length is not 0"));
    }
    if length > isize::MAX as usize || (data as usize).checked_add(length).is_none() {
        return Err(Fail::argument("a length is larger than any object in memory"));
    }
    // SAFETY: the caller says that there are `length` bytes, which fit the address space.
    Ok(core::slice::from_raw_parts(data, length))
}

/// Bytes in a struct.
pub(crate) unsafe fn bytes_of<'a>(given: th_bytes) -> Done<&'a [u8]> {
    bytes(given.data, given.length)
}

/// Text in a struct. `None` if its data is NULL.
pub(crate) unsafe fn text_of<'a>(given: th_str) -> Done<Option<&'a str>> {
    let bytes = bytes(given.data.cast(), given.length)?;
    if given.data.is_null() {
        return Ok(None);
    }
    core::str::from_utf8(bytes).map(Some).map_err(|_| Fail::argument("a text is not UTF-8"))
}

/// An array of 32 bytes.
pub(crate) unsafe fn hash<'a>(data: *const u8) -> Done<&'a [u8; 32]> {
    if data.is_null() {
        return Err(Fail::argument("a pointer to a hash is NULL"));
    }
    // SAFETY: the caller says that there are 32 bytes, and bytes have no alignment.
    Ok(&*data.cast())
}

/// An array of values, such as pointers to structs.
pub(crate) unsafe fn array<'a, T>(data: *const T, count: usize) -> Done<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if data.is_null() || !data.is_aligned() {
        return Err(Fail::argument("an array is NULL or not aligned, but its count is not 0"));
    }
    let size = count.checked_mul(size_of::<T>()).filter(|size| isize::try_from(*size).is_ok());
    if size.and_then(|size| (data as usize).checked_add(size)).is_none() {
        return Err(Fail::argument("a count is larger than any array in memory"));
    }
    // SAFETY: the caller says that there are `count` values.
    Ok(core::slice::from_raw_parts(data, count))
}

/// A struct of C that begins with its size. All-zero bytes are a valid value of it.
///
/// # Safety
/// It is `repr(C)`, its first member is the `usize` size, and zeroes are a value of every member.
pub(crate) unsafe trait Sized1: Copy {
    /// Bytes of the first version of the struct, which every caller has.
    const FIRST_SIZE: usize;
}

/// Reads a struct of a caller that may know fewer members, which are zero then, or more, which are ignored.
pub(crate) unsafe fn read<T: Sized1>(place: *const T) -> Done<T> {
    let known = known_size(place)?;
    // SAFETY: zeroes are a value of T, and the caller's struct has `known` bytes.
    let mut value: T = core::mem::zeroed();
    place.cast::<u8>().copy_to_nonoverlapping((&raw mut value).cast(), known);
    Ok(value)
}

/// Writes the members that the caller knows. The size stays as the caller set it.
pub(crate) unsafe fn write<T: Sized1>(place: *mut T, value: &T) -> Done {
    let (known, head) = (known_size(place)?, size_of::<usize>());
    let from = core::ptr::from_ref(value).cast::<u8>().add(head);
    // SAFETY: the caller's struct has `known` bytes, and a reference does not overlap it.
    place.cast::<u8>().add(head).copy_from_nonoverlapping(from, known - head);
    Ok(())
}

unsafe fn known_size<T: Sized1>(place: *const T) -> Done<usize> {
    if place.is_null() || !place.is_aligned() {
        return Err(Fail::argument("a pointer to a struct is NULL or not aligned"));
    }
    // SAFETY: the first member is the size.
    let size = place.cast::<usize>().read();
    if size < T::FIRST_SIZE || size > isize::MAX as usize {
        return Err(Fail::argument("a struct_size is not set: begin with th_..._init()"));
    }
    Ok(size.min(size_of::<T>()))
}
