//! Scalars with a meaning: addresses, names and numbers.

use std::net::IpAddr;

use ipnet::IpNet;

use super::fields::Field;
use super::problems::{Problems, quoted};
use crate::model::{GatewayDestination, NamespacedName, NetworkAddress, NetworkCidr, Text};

/// A virtual address of a service, exact or a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Vip {
    Address(NetworkAddress),
    Cidr(NetworkCidr),
}

impl Field<'_, '_> {
    /// An address that can be a destination.
    pub(super) fn address(&self, problems: &mut Problems) -> Option<IpAddr> {
        let text = self.text(problems)?;
        parse_address(text)
            .map_err(|message| self.error(problems, message))
            .ok()
    }

    /// `network/IP` or `network/CIDR`.
    pub(super) fn vip(&self, problems: &mut Problems) -> Option<Vip> {
        let text = self.text(problems)?;
        parse_vip(text)
            .map_err(|message| self.error(problems, message))
            .ok()
    }

    /// `network/IP` or `namespace/hostname`: what can be an address is one, as ztunnel reads it.
    pub(super) fn destination(&self, problems: &mut Problems) -> Option<GatewayDestination> {
        let text = self.text(problems)?;
        let address = text.split_once('/').and_then(|(network, rest)| {
            let address = rest.parse::<IpAddr>().ok()?.to_canonical();
            let network = network.into();
            Some(NetworkAddress { network, address })
        });
        let name = parse_name(text).filter(|name| !name.namespace.is_empty());
        match (address, name) {
            (Some(address), _) => Some(GatewayDestination::Address(address)),
            (None, Some(name)) => Some(GatewayDestination::Hostname(name)),
            (None, None) => {
                let message = format!("{} is not a namespace/hostname or network/IP", quoted(text));
                self.error(problems, message);
                None
            }
        }
    }

    pub(super) fn cidr(&self, problems: &mut Problems) -> Option<IpNet> {
        let text = self.text(problems)?;
        parse_cidr(text)
            .map_err(|message| self.error(problems, message))
            .ok()
    }

    /// A port; 0 is none.
    pub(super) fn port(&self, problems: &mut Problems) -> Option<u16> {
        let text = self.text(problems)?;
        let port = parse_port(text);
        if port.is_none() {
            self.error(problems, not_a_port(text));
        }
        port
    }

    /// A port, or 0 for one that each workload defines for itself.
    pub(super) fn port_or_zero(&self, problems: &mut Problems) -> Option<u16> {
        if self.text(problems)? == "0" {
            return Some(0);
        }
        self.port(problems)
    }

    pub(super) fn number(&self, problems: &mut Problems) -> Option<u32> {
        let text = self.text(problems)?;
        let number = parse_decimal(text);
        if number.is_none() {
            let message = format!(
                "{} is not a whole number from 0 to {}",
                quoted(text),
                u32::MAX
            );
            self.error(problems, message);
        }
        number
    }

    /// `namespace/hostname`.
    pub(super) fn namespaced_name(&self, problems: &mut Problems) -> Option<NamespacedName> {
        let text = self.text(problems)?;
        let name = parse_name(text);
        if name.is_none() {
            let message = format!("{} is not a namespace/name", quoted(text));
            self.error(problems, message);
        }
        name
    }
}

pub(super) fn parse_address(text: &str) -> Result<IpAddr, String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(format!("{} is not an IP address", quoted(text)));
    };
    // The kernel knows IPv4 in v4-mapped form only, so both spellings are the same address.
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        let message = format!("{} cannot be the address of a destination", quoted(text));
        return Err(message);
    }
    Ok(address)
}

pub(super) fn parse_vip(text: &str) -> Result<Vip, String> {
    let Some((network, rest)) = text.split_once('/') else {
        return Err(format!("{} is not a network/IP", quoted(text)));
    };
    let network: Text = network.into();
    if !rest.contains('/') {
        let address = parse_address(rest)?;
        return Ok(Vip::Address(NetworkAddress { network, address }));
    }
    match vip_of(network, parse_cidr(rest)?) {
        Vip::Address(vip) => parse_address(&vip.address.to_string()).map(|_| Vip::Address(vip)),
        Vip::Cidr(vip) => Ok(Vip::Cidr(vip)),
    }
}

/// A block of one address is an address.
pub(super) fn vip_of(network: Text, cidr: IpNet) -> Vip {
    if cidr.prefix_len() == cidr.max_prefix_len() {
        let address = cidr.addr();
        Vip::Address(NetworkAddress { network, address })
    } else {
        Vip::Cidr(NetworkCidr { network, cidr })
    }
}

/// A CIDR with the host bits cleared; a bare address is a block of one.
pub(super) fn parse_cidr(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    match text.parse::<IpNet>() {
        Ok(IpNet::V6(cidr)) if cidr.addr().to_ipv4_mapped().is_some() => {
            Err(format!("{} is IPv4: write it as such", quoted(text)))
        }
        Ok(cidr) => Ok(cidr.trunc()),
        Err(_) => Err(format!("{} is not a CIDR", quoted(text))),
    }
}

/// A port from 1 to 65535.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    let port = u16::try_from(parse_decimal(text)?).ok()?;
    (port != 0).then_some(port)
}

pub(super) fn not_a_port(text: &str) -> String {
    format!("{} is not a port (1 to 65535)", quoted(text))
}

pub(super) fn parse_name(text: &str) -> Option<NamespacedName> {
    let (namespace, name) = text.split_once('/')?;
    (!name.is_empty()).then(|| NamespacedName::new(namespace, name))
}

/// Digits only: YAML readers disagree about signs, underscores and leading zeros.
fn parse_decimal(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok()).flatten()
}
