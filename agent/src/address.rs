//! Between the standard library's addresses and the kernel's.

use std::net::{IpAddr, SocketAddr};

use waysteer_common::addr::Address;

/// An address as map keys have it.
pub fn to_wire(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::from_v4(v4.octets()),
        IpAddr::V6(v6) => Address::from_v6(v6.octets()),
    }
}

/// The reverse; v4-mapped addresses are v4.
pub fn from_wire(address: Address) -> IpAddr {
    if address.is_v4() {
        IpAddr::from(address.v4_octets())
    } else {
        IpAddr::from(address.octets())
    }
}

/// `None` where the kernel has no address.
pub fn socket_from_wire(address: Address, port: u16) -> Option<SocketAddr> {
    (address != Address::UNSPECIFIED).then(|| SocketAddr::new(from_wire(address), port))
}
