//! Text and bytes, in and out.

use alloc::alloc::{Layout, alloc, dealloc};
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_char;

use treehead::format::shown;

use crate::fail::{Done, Fail, th_status};
use crate::object::{Handle, Object, handle};
use crate::out::Out;

/// Text that a caller gives: UTF-8, not NUL-terminated. data NULL: none. th_str_of makes one of a C string.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct th_str {
    /// The text.
    pub data: *const c_char,
    /// Its bytes.
    pub length: usize,
}

/// Bytes that a caller gives. data NULL: none.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct th_bytes {
    /// The bytes.
    pub data: *const u8,
    /// Their number.
    pub length: usize,
}

/// A buffer for text, which a function fills: UTF-8 without control or invisible characters (they come escaped, as
/// \u{202e}), cut at a character if it does not fit, and always NUL-terminated if capacity is not 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct th_text {
    /// The buffer. May be NULL if capacity is 0.
    pub data: *mut c_char,
    /// Bytes at data.
    pub capacity: usize,
    /// Out: bytes of the whole text, without the NUL. The text was cut if this is not below capacity.
    pub length: usize,
}

/// Bytes that a function made. Never changes: any number of threads may read it.
pub struct th_blob(Object<Vec<u8>>);

handle!(th_blob of Vec<u8>, b"blob");

impl th_text {
    /// Fills the buffer with a text from anywhere, made safe to show.
    pub(crate) unsafe fn fill(&mut self, text: &str) -> Done {
        // Most texts have nothing to escape, and messages may be long.
        if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return self.fill_raw(text);
        }
        self.fill_raw(&shown(text))
    }

    /// Checks that there is a buffer.
    pub(crate) fn check(&self) -> Done {
        if self.capacity > 0 && (self.data.is_null() || self.capacity > isize::MAX as usize) {
            return Err(Fail::argument("a text's data is NULL, but its capacity is not 0"));
        }
        Ok(())
    }

    /// Fills the buffer with lines from anywhere, each made safe to show.
    pub(crate) unsafe fn fill_lines(&mut self, lines: impl Iterator<Item = String>) -> Done {
        let lines: Vec<String> = lines.map(|line| shown(&line)).collect();
        self.fill_raw(&lines.join("\n"))
    }

    unsafe fn fill_raw(&mut self, text: &str) -> Done {
        self.length = text.len();
        if self.capacity == 0 {
            return Ok(());
        }
        self.check()?;
        let mut end = text.len().min(self.capacity - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // SAFETY: the caller says that there are `capacity` bytes, of which at most `capacity - 1` are copied.
        self.data.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), end);
        self.data.add(end).write(0);
        Ok(())
    }
}

/// Fills a caller's text. NULL: nobody wants it.
pub(crate) unsafe fn put_text(place: *mut th_text, text: &str) -> Done {
    let Some(out) = Out::optional(place)? else { return Ok(()) };
    let mut filled = place.read();
    filled.fill(text)?;
    out.set(filled);
    Ok(())
}

/// The status of a function with a message for people, which may be NULL.
#[expect(clippy::needless_pass_by_value, reason = "it ends here: callers have nothing else to do with it")]
pub(crate) unsafe fn finish(message: *mut th_text, result: Done) -> th_status {
    let (status, words) = match &result {
        Ok(()) => (th_status::TH_OK, ""),
        Err(fail) => (fail.status, fail.message.as_str()),
    };
    // A bad pointer to the message does not hide what it is about.
    let _ = put_text(message, words);
    status
}

/// Hands out a new object, or says why there is none.
pub(crate) unsafe fn make<T: Handle>(
    place: *mut *mut T,
    message: *mut th_text,
    value: impl FnOnce() -> Done<T::Value>,
) -> th_status {
    // A place that can't be written comes first: nothing is made in vain.
    let made = Out::new(place).and_then(|out| {
        out.set(T::boxed(value()?));
        Ok(())
    });
    finish(message, made)
}

/// The status of a function without a message.
pub(crate) fn status(result: Done) -> th_status {
    result.map_or_else(|fail| fail.status, |()| th_status::TH_OK)
}

/// The bytes of a blob; NULL if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_blob_data(blob: *const th_blob) -> *const u8 {
    th_blob::get(blob).map_or(core::ptr::null(), Vec::as_ptr)
}

/// Their number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_blob_length(blob: *const th_blob) -> usize {
    th_blob::get(blob).map_or(0, Vec::len)
}

/// Frees a blob.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_blob_free(blob: *mut th_blob) {
    th_blob::free(blob);
}

/// The alignment of th_alloc.
const ALIGN: usize = 16;

/// Memory for callers that have no allocator of their own, such as JavaScript beside a WebAssembly module. Aligned to 16
/// bytes. NULL for size 0, and if there is not enough.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_alloc(size: usize) -> *mut u8 {
    match Layout::from_size_align(size, ALIGN) {
        // SAFETY: the size is not 0.
        Ok(layout) if size > 0 => alloc(layout),
        _ => core::ptr::null_mut(),
    }
}

/// Frees what th_alloc gave for the same size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_free(data: *mut u8, size: usize) {
    if let Ok(layout) = Layout::from_size_align(size, ALIGN)
        && !data.is_null()
        && size > 0
    {
        // SAFETY: the caller says that th_alloc gave it.
        dealloc(data, layout);
    }
}
