//! Resources as istiod sends them.

use prost::Message as _;
use prost_types::Any;
use waysteer::source::xds::proto::authorization::Authorization;
use waysteer::source::xds::proto::discovery::{DeltaDiscoveryResponse, Resource};
use waysteer::source::xds::proto::workload::{
    Address, GatewayAddress, NamespacedHostname, NetworkAddress, Port, PortList, Service,
    TunnelProtocol, Workload, address, gateway_address,
};

pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

/// `10.0.x.y` for small numbers.
pub fn ip(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![10, 0, high, low]
}

pub fn uid(number: u16) -> String {
    format!("cluster1//Pod/default/w{number}")
}

pub fn hostname(number: u16) -> String {
    format!("s{number}.default.svc.cluster.local")
}

pub fn workload(number: u16) -> Workload {
    Workload {
        uid: uid(number),
        name: format!("w{number}"),
        namespace: "default".into(),
        addresses: vec![ip(number)],
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        node: "node2".into(),
        cluster_id: "cluster1".into(),
        ..Workload::default()
    }
}

pub fn in_service(mut workload: Workload, service: u16) -> Workload {
    let name = format!("default/{}", hostname(service));
    let ports = vec![Port {
        service_port: 80,
        target_port: 8080,
    }];
    workload.services.insert(name, PortList { ports });
    workload
}

pub fn service(number: u16) -> Service {
    Service {
        name: format!("s{number}"),
        namespace: "default".into(),
        hostname: hostname(number),
        addresses: vec![NetworkAddress {
            network: String::new(),
            address: vec![10, 3, (number >> 8) as u8, number as u8],
            length: None,
        }],
        ports: vec![Port {
            service_port: 80,
            target_port: 8080,
        }],
        ..Service::default()
    }
}

pub fn waypoint(service: u16) -> GatewayAddress {
    GatewayAddress {
        destination: Some(gateway_address::Destination::Hostname(NamespacedHostname {
            namespace: "default".into(),
            hostname: hostname(service),
        })),
        hbone_mtls_port: 15008,
    }
}

pub fn of_workload(workload: &Workload, version: &str) -> Resource {
    let message = Address {
        r#type: Some(address::Type::Workload(workload.clone())),
    };
    resource(&workload.uid, version, ADDRESS, message.encode_to_vec())
}

pub fn of_service(service: &Service, version: &str) -> Resource {
    let message = Address {
        r#type: Some(address::Type::Service(service.clone())),
    };
    let name = format!("{}/{}", service.namespace, service.hostname);
    resource(&name, version, ADDRESS, message.encode_to_vec())
}

pub fn of_policy(policy: &Authorization, version: &str) -> Resource {
    let name = format!("{}/{}", policy.namespace, policy.name);
    resource(&name, version, AUTHORIZATION, policy.encode_to_vec())
}

pub fn resource(name: &str, version: &str, type_url: &str, value: Vec<u8>) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        aliases: Vec::new(),
        resource: Some(Any {
            type_url: type_url.into(),
            value,
        }),
    }
}

pub fn response(type_url: &str, nonce: &str, resources: Vec<Resource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: nonce.into(),
        resources,
        ..DeltaDiscoveryResponse::default()
    }
}

pub fn removal(type_url: &str, nonce: &str, names: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        removed_resources: names.iter().map(ToString::to_string).collect(),
        ..response(type_url, nonce, Vec::new())
    }
}
