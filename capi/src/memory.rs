//! The memory of an endpoint.

use treehead::endpoint::EndpointState;

use crate::args;
use crate::fail::{Fail, th_status};
use crate::object::{Handle, Object, handle};
use crate::out::Out;
use crate::state;
use crate::text::{make, status, th_blob, th_text};

/// What an endpoint remembers: heads, sequence numbers, channels, withdrawals, forks. With it, no old release passes for a
/// new one. One thread at a time.
pub struct th_memory(Object<Memory>);

handle!(th_memory of Memory, b"memo");

/// The place of a memory.
pub(crate) enum Memory {
    /// Here; the caller saves it.
    Held { state: EndpointState, is_changed: bool },
    /// In a directory.
    #[cfg(all(feature = "dir", unix))]
    Dir(crate::dir::StateDir),
}

/// An empty memory. The caller saves it: see th_memory_to_bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_new(memory: *mut *mut th_memory) -> th_status {
    status((|| {
        let state = EndpointState::default();
        Out::new(memory)?.set(th_memory::boxed(Memory::Held { state, is_changed: false }));
        Ok(())
    })())
}

/// Reads the bytes that th_memory_to_bytes made: a state.json of `treehead verify --state`. Damaged bytes are
/// TH_COULD_NOT_TELL: never go on with an empty memory then, which would take an old release for a new one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_from_bytes(
    data: *const u8,
    length: usize,
    memory: *mut *mut th_memory,
    message: *mut th_text,
) -> th_status {
    make(memory, message, || {
        let state = state::parse(args::bytes(data, length)?)?;
        Ok(Memory::Held { state, is_changed: false })
    })
}

/// The bytes to save, durably, before a file is installed on a verdict that used this memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_to_bytes(memory: *mut th_memory, bytes: *mut *mut th_blob) -> th_status {
    status((|| {
        let out = Out::new(bytes)?;
        let mut locked = th_memory::lock(memory)?;
        match &mut *locked {
            Memory::Held { state, is_changed } => {
                out.set(th_blob::boxed(state::print(state)?));
                *is_changed = false;
                Ok(())
            }
            #[cfg(all(feature = "dir", unix))]
            Memory::Dir(_) => Err(Fail::argument("a memory in a directory is saved there")),
        }
    })())
}

/// 0 if it has not changed since it was made or since th_memory_to_bytes, or is in a directory; otherwise 1. Also 1 if
/// that can't be told: then save it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_is_changed(memory: *const th_memory) -> i32 {
    th_memory::lock(memory).map_or(1, |memory| match &*memory {
        Memory::Held { is_changed, .. } => (*is_changed).into(),
        #[cfg(all(feature = "dir", unix))]
        Memory::Dir(_) => 0,
    })
}

/// A memory in a directory (state.json, lock, evidence/), the same as of `treehead verify --state`. Each verdict locks it,
/// reads it, saves it durably, and unlocks it before it is returned, so processes and threads can share a directory, each
/// with an object of its own. TH_UNSUPPORTED where there are no files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_open_dir(
    dir: *const u8,
    length: usize,
    memory: *mut *mut th_memory,
    message: *mut th_text,
) -> th_status {
    make(memory, message, || {
        let path = args::bytes(dir, length)?;
        if path.is_empty() || path.contains(&0) {
            return Err(Fail::argument("a path is empty or contains a NUL"));
        }
        #[cfg(all(feature = "dir", unix))]
        return Ok(Memory::Dir(crate::dir::StateDir::open(path)?));
        #[cfg(not(all(feature = "dir", unix)))]
        Err(Fail::new(th_status::TH_UNSUPPORTED, "this build has no memory in a directory"))
    })
}

/// Frees a memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_memory_free(memory: *mut th_memory) {
    th_memory::free(memory);
}
