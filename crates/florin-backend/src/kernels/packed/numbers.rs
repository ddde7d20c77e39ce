//! Numbers of packed weights: in memory of their own, or lent by whoever holds their bytes, such as a mapped file.

use std::ops::Deref;

use bytemuck::AnyBitPattern;
use bytes::Bytes;

/// A slice of numbers.
#[derive(Clone, Debug)]
pub(crate) enum Numbers<T> {
    Own(Vec<T>),
    /// Bytes that begin where a processor wants numbers.
    Lent(Bytes),
}

impl<T: AnyBitPattern> Numbers<T> {
    /// The numbers that bytes are; copied where they do not begin where a processor wants them. None if they are no whole number of them.
    pub(super) fn of(bytes: Bytes) -> Option<Self> {
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            return None;
        }
        if bytemuck::try_cast_slice::<u8, T>(&bytes).is_ok() {
            return Some(Self::Lent(bytes));
        }
        let numbers = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
        Some(Self::Own(numbers.collect()))
    }
}

impl<T: AnyBitPattern> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(numbers) => numbers,
            Self::Lent(bytes) => bytemuck::cast_slice(bytes),
        }
    }
}

impl<T: AnyBitPattern + PartialEq> PartialEq for Numbers<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
