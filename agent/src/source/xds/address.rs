//! Addresses and names as istiod writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::convert::Invalid;
use super::intern::Interner;
use super::proto::workload as proto;
use crate::model::{
    GatewayAddress, GatewayDestination, NamespacedName, NetworkAddress, NetworkCidr,
};

/// 4 or 16 bytes.
pub(super) fn ip(field: &str, bytes: &[u8]) -> Result<IpAddr, Invalid> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    let address = v4.or_else(|_| v6());
    let address = address.map_err(|_| {
        let message = format!("an address has 4 or 16 bytes, not {}", bytes.len());
        Invalid::new(field, message)
    })?;
    Ok(address.to_canonical())
}

pub(super) fn block(field: &str, address: IpAddr, length: u32) -> Result<IpNet, Invalid> {
    let block = u8::try_from(length)
        .ok()
        .and_then(|length| IpNet::new(address, length).ok());
    block.ok_or_else(|| {
        let message = format!("{address}/{length} is no block of addresses");
        Invalid::new(field, message)
    })
}

/// An exact address, or a block.
pub(super) enum Vip {
    Exact(NetworkAddress),
    Block(NetworkCidr),
}

pub(super) fn vip(
    field: &str,
    from: proto::NetworkAddress,
    names: &mut Interner,
) -> Result<Vip, Invalid> {
    let proto::NetworkAddress {
        network,
        address,
        length,
    } = from;
    let address = ip(field, &address)?;
    let network = names.text(network);
    let Some(length) = length else {
        return Ok(Vip::Exact(NetworkAddress { network, address }));
    };
    let cidr = block(field, address, length)?;
    Ok(if cidr.prefix_len() == cidr.max_prefix_len() {
        Vip::Exact(NetworkAddress { network, address })
    } else {
        Vip::Block(NetworkCidr { network, cidr })
    })
}

pub(super) fn gateway(
    field: &str,
    from: proto::GatewayAddress,
    names: &mut Interner,
) -> Result<GatewayAddress, Invalid> {
    let proto::GatewayAddress {
        destination,
        hbone_mtls_port,
    } = from;
    let destination = match destination {
        Some(proto::gateway_address::Destination::Hostname(name)) => {
            let proto::NamespacedHostname {
                namespace,
                hostname,
            } = name;
            GatewayDestination::Hostname(NamespacedName {
                namespace: names.text(namespace),
                name: names.text(hostname),
            })
        }
        Some(proto::gateway_address::Destination::Address(address)) => {
            match vip(field, address, names)? {
                Vip::Exact(address) => GatewayDestination::Address(address),
                Vip::Block(block) => {
                    let message = format!("{block} is a block, and a gateway has one address");
                    return Err(Invalid::new(field, message));
                }
            }
        }
        None => return Err(Invalid::new(field, "neither a host name nor an address")),
    };
    Ok(GatewayAddress {
        destination,
        hbone_mtls_port: port(field, hbone_mtls_port)?,
    })
}

pub(super) fn port(field: &str, port: u32) -> Result<u16, Invalid> {
    u16::try_from(port).map_err(|_| Invalid::new(field, format!("{port} is no port")))
}

/// `namespace/name`.
pub(super) fn name(
    field: &str,
    text: &str,
    names: &mut Interner,
) -> Result<NamespacedName, Invalid> {
    match text.split_once('/') {
        Some((namespace, name)) if !name.is_empty() => Ok(NamespacedName {
            namespace: names.text(namespace.to_owned()),
            name: names.text(name.to_owned()),
        }),
        Some(_) | None => {
            let message = format!("{text:?} is not namespace/name");
            Err(Invalid::new(field, message))
        }
    }
}
