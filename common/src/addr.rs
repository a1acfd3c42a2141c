//! Addresses as they stand in map keys.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

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
    Unaligned,
)]
#[repr(transparent)]
pub struct Address([u8; 16]);

impl Address {
    /// `::`; where a value has no address.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Takes v4-mapped addresses too: an application that dials `::ffff:10.0.0.1` means 10.0.0.1.
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    pub const fn octets(&self) -> [u8; 16] {
        self.0
    }

    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.0;
        (a | b | c | d | e | f | g | h | i | j) == 0 && k == 0xff && l == 0xff
    }

    /// The last four octets; the IPv4 address if [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// `127.0.0.0/8` or `::1`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            self.0[12] == 127
        } else {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
            (a | b | c | d | e | f | g | h | i | j | k | l | m | n | o) == 0 && p == 1
        }
    }

    /// `0.0.0.0` or `::`, which `connect()` takes for the loopback address.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        if self.is_v4() {
            let [a, b, c, d] = self.v4_octets();
            (a | b | c | d) == 0
        } else {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
            (a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p) == 0
        }
    }

    /// Equality without `memcmp`, which the bpf target does not have.
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        let mut difference = 0;
        let mut i = 0;
        while i < 16 {
            difference |= self.0[i] ^ other.0[i];
            i += 1;
        }
        difference == 0
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
