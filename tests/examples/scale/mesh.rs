//! A mesh of any size: a tenth as many services as workloads, three endpoints each, and a third of
//! both behind the waypoint of their namespace.

use prost::Message as _;
use prost_types::Any;
use waysteer::source::xds::proto::discovery::Resource;
use waysteer::source::xds::proto::workload::{
    Address, GatewayAddress, Locality, NamespacedHostname, NetworkAddress, Port, PortList, Service,
    TunnelProtocol, Workload, address, gateway_address,
};

pub(crate) const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
const ENDPOINTS: usize = 3;
const NAMESPACE: usize = 250;
const NODE: usize = 100;

/// All of one size; every part of it can be made again by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mesh {
    pub(crate) workloads: usize,
}

impl Mesh {
    pub(crate) fn services(self) -> usize {
        self.workloads / 10
    }

    fn namespaces(self) -> usize {
        self.workloads.div_ceil(NAMESPACE)
    }

    /// Everything, as istiod would send it: services and workloads in no order that helps.
    pub(crate) fn resources(self) -> impl Iterator<Item = Resource> {
        let namespaces = (0..self.namespaces()).flat_map(move |number| {
            [
                of_service(&waypoint_service(number)),
                of_workload(&waypoint_workload(number)),
            ]
        });
        let services = (0..self.services()).map(move |number| of_service(&self.service(number)));
        // By a stride that is prime, so that the endpoints of a service are far apart.
        let stride = 7919;
        let workloads = (0..self.workloads).map(move |number| {
            let number = number * stride % self.workloads;
            of_workload(&self.workload(number))
        });
        workloads.chain(services).chain(namespaces)
    }

    pub(crate) fn workload(self, number: usize) -> Workload {
        let namespace = namespace(number / NAMESPACE);
        let app = number / ENDPOINTS;
        let mut made = workload(
            &namespace,
            &format!("app-{app}-7d9c5b{app:04x}-{number:05x}"),
            address([10, 64, 0, 0], number),
        );
        made.node = format!("node-{}.example.internal", number / NODE);
        made.service_account = format!("app-{app}");
        made.canonical_name = format!("app-{app}");
        made.workload_name = format!("app-{app}");
        if app < self.services() {
            let service = self.service_name(app);
            let ports = vec![Port {
                service_port: 80,
                target_port: 8080,
            }];
            made.services.insert(service, PortList { ports });
        }
        if app.is_multiple_of(3) {
            made.waypoint = Some(waypoint(number / NAMESPACE));
        }
        made
    }

    fn service_name(self, number: usize) -> String {
        let Service {
            namespace,
            hostname,
            ..
        } = self.service(number);
        format!("{namespace}/{hostname}")
    }

    pub(crate) fn service(self, number: usize) -> Service {
        let place = number * ENDPOINTS / NAMESPACE;
        let mut made = service(
            &namespace(place),
            &format!("app-{number}"),
            address([10, 16, 0, 0], number),
        );
        if number.is_multiple_of(3) {
            made.waypoint = Some(waypoint(place));
        }
        made
    }
}

pub(crate) fn of_workload(workload: &Workload) -> Resource {
    let message = Address {
        r#type: Some(address::Type::Workload(workload.clone())),
    };
    resource(&workload.uid, message)
}

fn of_service(service: &Service) -> Resource {
    let message = Address {
        r#type: Some(address::Type::Service(service.clone())),
    };
    resource(
        &format!("{}/{}", service.namespace, service.hostname),
        message,
    )
}

fn resource(name: &str, message: Address) -> Resource {
    let value = message.encode_to_vec();
    Resource {
        name: name.to_owned(),
        version: format!("{:016x}", value.len()),
        aliases: Vec::new(),
        resource: Some(Any {
            type_url: ADDRESS.to_owned(),
            value,
        }),
    }
}

fn namespace(number: usize) -> String {
    format!("team-{number}")
}

/// The waypoint of a namespace.
pub(crate) fn waypoint(number: usize) -> GatewayAddress {
    let Service {
        namespace,
        hostname,
        ..
    } = waypoint_service(number);
    let name = NamespacedHostname {
        namespace,
        hostname,
    };
    GatewayAddress {
        destination: Some(gateway_address::Destination::Hostname(name)),
        hbone_mtls_port: 15008,
    }
}

fn waypoint_service(number: usize) -> Service {
    let mut made = service(
        &namespace(number),
        "waypoint",
        address([10, 32, 0, 0], number),
    );
    made.ports = vec![Port {
        service_port: 15008,
        target_port: 15008,
    }];
    made
}

fn waypoint_workload(number: usize) -> Workload {
    let namespace = namespace(number);
    let mut made = workload(
        &namespace,
        &format!("waypoint-5f7d8c-{number:05x}"),
        address([10, 48, 0, 0], number),
    );
    let Service { hostname, .. } = waypoint_service(number);
    let ports = vec![Port {
        service_port: 15008,
        target_port: 15008,
    }];
    let service = format!("{namespace}/{hostname}");
    made.services.insert(service, PortList { ports });
    made
}

fn workload(namespace: &str, name: &str, address: Vec<u8>) -> Workload {
    Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}"),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        addresses: vec![address],
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        service_account: "default".to_owned(),
        node: "node-0.example.internal".to_owned(),
        canonical_revision: "latest".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        locality: Some(Locality {
            region: "region1".to_owned(),
            zone: "zone1".to_owned(),
            subzone: String::new(),
        }),
        ..Workload::default()
    }
}

fn service(namespace: &str, name: &str, address: Vec<u8>) -> Service {
    Service {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        hostname: format!("{name}.{namespace}.svc.cluster.local"),
        addresses: vec![NetworkAddress {
            network: String::new(),
            address,
            length: None,
        }],
        ports: vec![Port {
            service_port: 80,
            target_port: 8080,
        }],
        ..Service::default()
    }
}

fn address(base: [u8; 4], number: usize) -> Vec<u8> {
    let base = u32::from_be_bytes(base) as usize;
    ((base + number) as u32).to_be_bytes().to_vec()
}
