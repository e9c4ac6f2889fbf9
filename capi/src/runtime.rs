//! The parts of the standard library that a program needs: an allocator and a panic handler.
//!
//! With `panic = "abort"`, as in the profile `small`, the library is built without the standard library, whose panic handler
//! alone is 310 KB. It then allocates by `malloc`, and ends the process by `abort` where memory or this code fails.
//! Builds that unwind (`cargo check`, tests) link the standard library.

#![cfg(all(panic = "abort", not(test)))]

#[cfg(not(target_arch = "wasm32"))]
mod of_libc {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ffi::c_void;

    #[link(name = "c")]
    unsafe extern "C" {
        fn malloc(size: usize) -> *mut c_void;
        fn calloc(count: usize, size: usize) -> *mut c_void;
        fn realloc(data: *mut c_void, size: usize) -> *mut c_void;
        fn free(data: *mut c_void);
        fn posix_memalign(data: *mut *mut c_void, align: usize, size: usize) -> i32;
        fn abort() -> !;
    }

    /// The alignment of `malloc` on every 64-bit system, and twice the size of a pointer on others.
    const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

    struct Malloc;

    // SAFETY: malloc and its kin keep the contract for layouts that they align to; posix_memalign does for the others,
    // and `free` frees what either gave.
    unsafe impl GlobalAlloc for Malloc {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if layout.align() <= MALLOC_ALIGN {
                return malloc(layout.size()).cast();
            }
            let mut data = core::ptr::null_mut();
            match posix_memalign(&raw mut data, layout.align(), layout.size()) {
                0 => data.cast(),
                _ => core::ptr::null_mut(),
            }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            if layout.align() <= MALLOC_ALIGN {
                return calloc(1, layout.size()).cast();
            }
            let data = self.alloc(layout);
            if !data.is_null() {
                data.write_bytes(0, layout.size());
            }
            data
        }

        unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if layout.align() <= MALLOC_ALIGN {
                return realloc(data.cast(), size).cast();
            }
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(data, layout.size().min(size));
                free(data.cast());
            }
            new
        }

        unsafe fn dealloc(&self, data: *mut u8, _: Layout) {
            free(data.cast());
        }
    }

    // The compiled core library names the standard library's unwinder, which nothing calls here. Weak and hidden: a program
    // that links other Rust libraries has the real one.
    #[cfg(target_os = "linux")]
    core::arch::global_asm!(
        ".pushsection .text.rust_eh_personality,\"ax\"",
        ".weak rust_eh_personality",
        ".hidden rust_eh_personality",
        "rust_eh_personality:",
        ".popsection",
    );

    #[global_allocator]
    static ALLOCATOR: Malloc = Malloc;

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: abort takes nothing and does not return.
        unsafe { abort() }
    }
}

/// A module for WebAssembly without imports: memory grows by its own instruction, and failures trap.
#[cfg(target_arch = "wasm32")]
mod of_wasm {
    #[global_allocator]
    static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        core::arch::wasm32::unreachable()
    }
}
