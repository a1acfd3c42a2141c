//! What `waysteer explain` is asked about: an address, or a name of the mesh.

use std::net::{IpAddr, SocketAddr};

use super::names::Known;
use crate::names::Namer as _;

/// Asked about where no port is given and none follows from the destination: only policies look at
/// the port of a workload.
const ANY_PORT: u16 = 80;

/// The address to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// What was made of what was asked, where that is not the same.
    pub(super) understood: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DestinationError {
    #[error("{port} is no port: a destination is ADDRESS[:PORT] or NAME[:PORT]")]
    Port { port: String },
    #[error(
        "no service or workload is called {asked}; services are called NAME.NAMESPACE or by their \
         host's name, workloads NAMESPACE/NAME: see waysteer dump services"
    )]
    Unknown { asked: String },
    #[error("more than one is called {asked}: {}", found.join(", "))]
    Ambiguous { asked: String, found: Vec<String> },
    #[error("{name} has no address that could be dialled")]
    NoAddress { name: String },
    #[error("{name} has more than one port: add :PORT, one of {}", ports(found))]
    WhichPort { name: String, found: Vec<u16> },
}

fn ports(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

impl Destination {
    /// Of the pod that has these addresses, in this namespace.
    pub(super) fn find(
        asked: &str,
        known: &Known<'_>,
        namespace: &str,
        own: &[IpAddr],
    ) -> Result<Self, DestinationError> {
        if let Ok(address) = asked.parse() {
            return Ok(Self {
                address,
                understood: None,
            });
        }
        let bare = asked.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return without_port(ip, known);
        }
        let (name, port) = split(asked)?;
        let (found, is_service) = named(name, known, namespace)?;
        let (id, full) = found;
        let addresses = if is_service {
            known.addresses_of_service(id)
        } else {
            known.addresses_of_workload(id)
        };
        let Some(ip) = preferred(&addresses, own) else {
            return Err(DestinationError::NoAddress { name: full });
        };
        let port = match (port, is_service) {
            (Some(port), _) => port,
            (None, true) => only_port(known.ports_of(id), &full)?,
            (None, false) => ANY_PORT,
        };
        let address = SocketAddr::new(ip, port);
        Ok(Self {
            address,
            understood: Some(format!("{full}, {address}")),
        })
    }
}

fn without_port(ip: IpAddr, known: &Known<'_>) -> Result<Destination, DestinationError> {
    let services = known.services_at(ip);
    let (port, of) = match services.first() {
        Some(id) => {
            let name = known.service_or_id(*id);
            (only_port(known.ports_of(*id), &name)?, "its only port")
        }
        None => (ANY_PORT, "any port"),
    };
    let address = SocketAddr::new(ip, port);
    Ok(Destination {
        address,
        understood: Some(format!("{address}, {of}")),
    })
}

fn only_port(found: Vec<u16>, name: &str) -> Result<u16, DestinationError> {
    match found.as_slice() {
        [] => Ok(ANY_PORT),
        [port] => Ok(*port),
        _ => Err(DestinationError::WhichPort {
            name: name.to_owned(),
            found,
        }),
    }
}

fn split(asked: &str) -> Result<(&str, Option<u16>), DestinationError> {
    match asked.rsplit_once(':') {
        None => Ok((asked, None)),
        Some((name, port)) => {
            let number = port.parse().map_err(|_| DestinationError::Port {
                port: port.to_owned(),
            })?;
            Ok((name, Some(number)))
        }
    }
}

/// A service, else a workload; whether it is a service.
fn named(
    asked: &str,
    known: &Known<'_>,
    namespace: &str,
) -> Result<((u64, String), bool), DestinationError> {
    for (names, is_service) in [(known.services(), true), (known.workloads(), false)] {
        let called = |(_, full): &(u64, String)| is_called(full, asked, namespace);
        let mut found: Vec<(u64, String)> = names.into_iter().filter(called).collect();
        let exact = |(_, full): &&(u64, String)| full == asked;
        if let Some(exact) = found.iter().find(exact) {
            return Ok((exact.clone(), is_service));
        }
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => return Ok((one, is_service)),
            (Some(one), false) => {
                let found = found.into_iter().chain([one]);
                return Err(DestinationError::Ambiguous {
                    asked: asked.to_owned(),
                    found: found.map(|(_, name)| name).collect(),
                });
            }
            (None, _) => {}
        }
    }
    Err(DestinationError::Unknown {
        asked: asked.to_owned(),
    })
}

/// As pods call it: whole, the first labels of a host's name, or a single label in the own
/// namespace.
fn is_called(full: &str, asked: &str, own_namespace: &str) -> bool {
    let Some((namespace, host)) = full.split_once('/') else {
        return full == asked;
    };
    if full == asked || host == asked {
        return full == asked || asked.contains('.') || namespace == own_namespace;
    }
    if let Some((of, name)) = asked.split_once('/') {
        return of == namespace && begins(host, name);
    }
    begins(host, asked) && (asked.contains('.') || namespace == own_namespace)
}

fn begins(host: &str, labels: &str) -> bool {
    let rest = host.strip_prefix(labels);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Of a family that the pod has; IPv4 before IPv6.
fn preferred(addresses: &[IpAddr], own: &[IpAddr]) -> Option<IpAddr> {
    let has = |v6: bool| own.iter().any(|own| own.is_ipv6() == v6);
    let of = |v6: bool| addresses.iter().find(|it| it.is_ipv6() == v6).copied();
    let v4 = of(false).filter(|_| has(false));
    v4.or_else(|| of(true).filter(|_| has(true)))
        .or_else(|| addresses.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_pods_use_them() {
        let web = "shop/web.shop.svc.cluster.local";
        for (asked, namespace, is) in [
            ("web", "shop", true),
            ("web", "default", false),
            ("web.shop", "default", true),
            ("web.shop.svc", "default", true),
            ("web.shop.svc.cluster.local", "default", true),
            (web, "default", true),
            ("shop/web", "default", true),
            ("other/web", "default", false),
            ("web.sh", "shop", false),
            ("we", "shop", false),
        ] {
            assert_eq!(
                is_called(web, asked, namespace),
                is,
                "{asked} in {namespace}"
            );
        }
        let far = "default/far";
        assert!(is_called(far, "default/far", "x") && is_called(far, "far", "default"));
        assert!(!is_called(far, "far", "x") && !is_called("shop", "web", "x"));
    }

    #[test]
    fn the_port_is_behind_the_last_colon() {
        assert!(matches!(split("web.shop"), Ok(("web.shop", None))));
        assert!(matches!(split("web:80"), Ok(("web", Some(80)))));
        for wrong in ["web:", "web:x", "web:70000"] {
            assert!(matches!(split(wrong), Err(DestinationError::Port { .. })));
        }
    }

    #[test]
    fn the_family_is_one_that_the_pod_has() {
        let parse = |text: &str| text.parse::<IpAddr>().expect(text);
        let (v4, v6) = (parse("10.0.0.1"), parse("fd00::1"));
        for (own, chosen) in [(vec![v4, v6], v4), (vec![v6], v6), (vec![], v4)] {
            assert_eq!(preferred(&[v4, v6], &own), Some(chosen), "{own:?}");
        }
        assert_eq!(preferred(&[], &[v4]), None);
    }
}
