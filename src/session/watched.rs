//! A part of a session that seldom changes, and that tells when it may have.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// See above: whoever borrows it mutably makes another edition of it. One of the same session is
/// written over by `*part = …` only, so that no two of its values are one edition.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched<T> {
    value: T,
    edition: u32,
}

impl<T> Watched<T> {
    /// Which one it is.
    #[inline]
    pub(super) fn edition(&self) -> u32 {
        self.edition
    }

    /// Changes it; it is another edition only if it is told apart afterwards by what this tells of
    /// it.
    #[inline]
    pub(super) fn edit<M: PartialEq, R>(
        &mut self,
        mark: impl Fn(&T) -> M,
        edit: impl FnOnce(&mut T) -> R,
    ) -> R {
        let before = mark(&self.value);
        let result = edit(&mut self.value);
        self.edition = self.edition.wrapping_add(u32::from(mark(&self.value) != before));
        result
    }

    /// The value itself.
    pub(super) fn into_inner(self) -> T {
        self.value
    }
}

impl<T> From<T> for Watched<T> {
    fn from(value: T) -> Self {
        Self { value, edition: 0 }
    }
}

impl<T: PartialEq> PartialEq for Watched<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Watched<T> {}

impl<T> Deref for Watched<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Watched<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.edition = self.edition.wrapping_add(1);
        &mut self.value
    }
}

impl<T: Serialize> Serialize for Watched<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Watched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}
