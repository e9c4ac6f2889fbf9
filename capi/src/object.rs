//! Objects that callers hold by pointer.
//!
//! Each begins with a mark of its type, which its `th_..._free` wipes, so that the pointer of another object and, as long as
//! its memory is not used again, that of a freed one are noticed. An object that changes is for one thread at a time: a
//! second one is turned away, instead of racing with the first.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::fail::{Done, Fail, th_status};

/// The tag in an object's memory after it was freed.
const FREED: u32 = 0x6465_6164;

/// The content of a type of objects. The mark is at the same place in each.
#[repr(C)]
pub(crate) struct Object<T> {
    mark: AtomicU32,
    is_busy: AtomicBool,
    value: UnsafeCell<T>,
}

/// A type of objects: a struct around an [`Object`].
pub(crate) trait Handle: Sized {
    type Value;
    /// Differs from type to type.
    const MARK: u32;
    /// The type's name for messages.
    const NAME: &'static str;

    fn of(object: Object<Self::Value>) -> Self;
    fn object(&self) -> &Object<Self::Value>;

    /// An object on the heap, for a caller to hold.
    fn boxed(value: Self::Value) -> *mut Self {
        let (mark, is_busy) = (AtomicU32::new(Self::MARK), AtomicBool::new(false));
        Box::into_raw(Box::new(Self::of(Object { mark, is_busy, value: UnsafeCell::new(value) })))
    }

    /// The object that a caller holds.
    unsafe fn checked<'a>(place: *const Self) -> Done<&'a Object<Self::Value>>
    where
        Self: 'a,
    {
        if place.is_null() || !place.is_aligned() {
            return Err(Fail::argument("a pointer to an object is NULL or not aligned"));
        }
        // SAFETY: the caller says that it is an object of this library.
        let object = (*place).object();
        if object.mark.load(Ordering::Acquire) != Self::MARK {
            let message = alloc::format!("a pointer is not that of a {}, or it was freed", Self::NAME);
            return Err(Fail::new(th_status::TH_INVALID_ARGUMENT, message));
        }
        Ok(object)
    }

    /// The value of a type whose objects never change, for any number of threads.
    unsafe fn get<'a>(place: *const Self) -> Done<&'a Self::Value>
    where
        Self: 'a,
        Self::Value: Sync,
    {
        // SAFETY: nothing makes a mutable reference to the value of such a type.
        Ok(&*Self::checked(place)?.value.get())
    }

    /// The value for one thread.
    unsafe fn lock<'a>(place: *const Self) -> Done<Locked<'a, Self::Value>>
    where
        Self: 'a,
    {
        let object = Self::checked(place)?;
        if object.is_busy.swap(true, Ordering::Acquire) {
            return Err(Fail::new(
                th_status::TH_BUSY,
                alloc::format!("another thread is using this {}", Self::NAME),
            ));
        }
        Ok(Locked(object))
    }

    /// Frees the object. NULL and what is no such object are left alone.
    unsafe fn free(place: *mut Self) {
        if let Ok(object) = Self::checked(place) {
            object.mark.store(FREED, Ordering::Release);
            // SAFETY: `boxed` made it, and the mark shows that it was not freed yet.
            drop(Box::from_raw(place));
        }
    }
}

/// A value that this thread alone uses until it is dropped.
pub(crate) struct Locked<'a, T>(&'a Object<T>);

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `is_busy` keeps everybody else out.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// Makes a struct around an [`Object`] a [`Handle`].
macro_rules! handle {
    ($type:ident of $value:ty, $mark:literal) => {
        impl $crate::object::Handle for $type {
            type Value = $value;
            const MARK: u32 = u32::from_le_bytes(*$mark);
            const NAME: &'static str = stringify!($type);

            fn of(object: $crate::object::Object<$value>) -> Self {
                Self(object)
            }

            fn object(&self) -> &$crate::object::Object<$value> {
                &self.0
            }
        }
    };
}
pub(crate) use handle;
