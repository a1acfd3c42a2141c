//! Wire types as aya takes them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A key or value of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Wire<T>(pub(super) T);

// SAFETY: zerocopy has proved that every bit pattern is a value of `T` and that `T` has neither
// padding nor pointers, and `Wire` is laid out as `T`.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Wire<T> {}
