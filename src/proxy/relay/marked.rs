//! A value of which it is known whether somebody may have changed it.

use std::ops::{Deref, DerefMut};

/// See above. Whoever borrows it mutably marks it.
#[derive(Debug)]
pub(super) struct Marked<T> {
    value: T,
    is_marked: bool,
}

impl<T> Marked<T> {
    /// It may be another one since the mark was last wiped.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// How it stands is known now.
    #[inline]
    pub(super) fn wipe_mark(&mut self) {
        self.is_marked = false;
    }

    /// The value itself.
    pub(super) fn into_inner(self) -> T {
        self.value
    }
}

impl<T> From<T> for Marked<T> {
    fn from(value: T) -> Self {
        Self { value, is_marked: true }
    }
}

impl<T> Deref for Marked<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Marked<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.is_marked = true;
        &mut self.value
    }
}
