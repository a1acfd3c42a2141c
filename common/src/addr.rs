//! Addresses as they stand in map keys.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address in v4-mapped form (`::ffff:a.b.c.d`), in network order.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C, align(8))]
pub struct Address([u8; 16]);

impl Address {
    /// `::`; where a value has no address.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        // In words: of bytes the bpf target makes a loop.
        let low = 0xffff << 32 | u32::from_be_bytes(octets) as u64;
        Self(zerocopy::transmute!([0, low.to_be()]))
    }

    /// Takes v4-mapped addresses too: an application that dials `::ffff:10.0.0.1` means 10.0.0.1.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        self.0
    }

    /// The two halves as numbers: the bpf target has neither `memcmp` nor wide integers.
    #[inline(always)]
    fn halves(&self) -> (u64, u64) {
        let [high, low]: [u64; 2] = zerocopy::transmute!(self.0);
        (u64::from_be(high), u64::from_be(low))
    }

    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let (high, low) = self.halves();
        high == 0 && low >> 32 == 0xffff
    }

    /// The last four octets; the IPv4 address if [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// `127.0.0.0/8` or `::1`.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        let (high, low) = self.halves();
        high == 0 && (low == 1 || low >> 24 == 0x00ff_ff7f)
    }

    /// `0.0.0.0` or `::`, which `connect()` takes for the loopback address.
    #[inline(always)]
    pub fn is_unspecified(&self) -> bool {
        let (high, low) = self.halves();
        high == 0 && (low == 0 || low == 0xffff_0000_0000)
    }

    /// Equality without `memcmp`.
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        self.halves() == other.halves()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_special_addresses() {
        let v4 = Address::from_v4([127, 1, 2, 3]);
        assert!(v4.is_v4() && v4.is_loopback() && !v4.is_unspecified());
        assert!(Address::from_v4([0; 4]).is_unspecified());
        assert!(!Address::from_v4([0; 4]).is_loopback());
        let mut one = [0; 16];
        one[15] = 1;
        assert!(Address::from_v6(one).is_loopback());
        assert!(!Address::from_v6(one).is_v4());
        assert!(Address::UNSPECIFIED.is_unspecified() && !Address::UNSPECIFIED.is_v4());
        assert!(v4.same(&v4) && !v4.same(&Address::from_v6(one)));
    }
}
