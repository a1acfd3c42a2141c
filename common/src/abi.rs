//! Map keys and values, and the numbers both sides must agree on.
//!
//! Every type is `#[repr(C)]`, made of big-endian byte arrays with explicit zero padding, and
//! proved free of uninitialised bytes by zerocopy. A change to any of them changes
//! [`names::ABI_VERSION`].

#![expect(
    missing_debug_implementations,
    reason = "zerocopy's derives make hidden types"
)]

pub mod event;
pub mod key;
pub mod names;
pub mod pod;
pub mod settings;
pub mod value;

/// Derives what every wire type needs.
macro_rules! wire {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
            zerocopy::KnownLayout,
        )]
        // Aligned, so that the bpf target copies words and not bytes.
        #[repr(C, align(8))]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    };
}
pub(crate) use wire;

/// The contents of `count` bits, used for flag words.
macro_rules! flag {
    ($(#[$meta:meta])* $name:ident = $bit:literal) => {
        $(#[$meta])*
        pub const $name: u32 = 1 << $bit;
    };
}
pub(crate) use flag;
