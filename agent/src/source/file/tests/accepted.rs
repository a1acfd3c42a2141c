//! Valid files.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    ApplicationProtocol, GatewayAddress, GatewayDestination, HealthPolicy, HealthStatus,
    IpFamilies, LoadBalancer, LoadBalancerMode, Locality, NetworkAddress, NetworkCidr, NetworkMode,
    PolicyScope, RoutingPreference, Service, SortedMap, TunnelProtocol, Visibility,
    WeightedWaypoint,
};

/// As ztunnel's own example has it: several networks, string tags, lists without indentation.
const LIKE_ZTUNNELS_EXAMPLE: &str = r#"
# A comment.
workloads:
- uid: cluster1//v1/Pod/default/local
  name: local
  namespace: default
  serviceAccount: default
  workloadIps: ["127.0.0.1"]
  protocol: HBONE
  node: local
  network: ""
  services:
    "default/example.com":
      80: 8080
    "default/example2.com":
      80: 8080
- uid: cluster1//v1/Pod/default/local-tcp
  name: local-tcp
  namespace: default
  serviceAccount: default
  workloadIps: ["127.0.0.2"]
  protocol: TCP
  node: local
  network: ""
  services: {}
policies:
  - action: Allow
    rules:
    - - - notDestinationPorts:
          - 9999
        - principals:
          - !Exact cluster.local/ns/default/sa/a
          - Prefix: cluster.local/
          - !Presence []
          - Presence
          namespaces: [Suffix: x]
          sourceIps: [10.0.0.0/8, "fd00::/8"]
          serviceAccounts: [{namespace: a, serviceAccount: b}]
    name: deny-9999
    namespace: default
    scope: Namespace
    dryRun: false
services:
- name: local
  namespace: default
  hostname: example.com
  vips:
    - /127.10.0.1
  ports:
    80: 8080
  subjectAltNames:
   - spiffe://cluster.local/ns/default/sa/local
  canonical: true
- name: remote
  namespace: default
  hostname: example2.com
  vips:
    - remote/127.10.0.2
  ports:
    80: 8080
  endpoints:
    cluster1//v1/Pod/default/local-tcp:
      workloadUid: cluster1//v1/Pod/default/local-tcp
      port: {80: 9090}
      status: Healthy
"#;

#[test]
fn ztunnels_own_format() {
    let parsed = parse(LIKE_ZTUNNELS_EXAMPLE);
    assert_eq!(messages(&parsed.diagnostics), [""; 0]);
    let [local, tcp] = parsed.workloads.as_slice() else {
        panic!("{:?}", parsed.workloads);
    };
    assert_eq!(local.protocol, TunnelProtocol::Hbone);
    assert_eq!(&*local.trust_domain, "cluster.local");
    assert_eq!(&*local.cluster_id, "Kubernetes");
    assert_eq!(local.capacity, 1);
    let ports = SortedMap::from([(80, 8080)]);
    let services = SortedMap::from([
        (name("default/example.com"), ports.clone()),
        (name("default/example2.com"), ports),
    ]);
    assert_eq!(local.services, services);
    // An endpoint that only the service names.
    let ports = SortedMap::from([(80, 9090)]);
    let services = SortedMap::from([(name("default/example2.com"), ports)]);
    assert_eq!(tcp.services, services);
    let vips: Vec<String> = parsed
        .services
        .iter()
        .flat_map(|s| &s.vips)
        .map(ToString::to_string)
        .collect();
    assert_eq!(vips, ["/127.10.0.1", "remote/127.10.0.2"]);
    assert_eq!(parsed.policies.len(), 1);
}

const EVERY_FIELD: &str = r#"
workloads:
- uid: u1
  name: web-1
  namespace: ns
  trustDomain: td
  serviceAccount: sa
  workloadIps: [10.0.0.1, "fd00::1", "::ffff:10.0.0.1"]
  node: n1
  network: net
  clusterId: c1
  hostname: web-1.example
  protocol: HBONE
  networkMode: HostNetwork
  status: Unhealthy
  capacity: 7
  waypoint: {destination: ns/wp.example, hboneMtlsPort: 15008}
  networkGateway: {destination: net/10.0.0.9, hboneMtlsPort: 15009}
  nativeTunnel: true
  applicationTunnel: {protocol: PROXY, port: 1234}
  locality: {region: r, zone: z, subzone: s}
  services: {ns/web.example: {80: 8080, 443: 8443}, ns/wp.example: null}
  authorizationPolicies: [ns/allow]
  workloadName: web
  workloadType: deployment
  canonicalName: web
  canonicalRevision: v1
- {uid: gw, namespace: ns, workloadIps: [10.0.0.9], network: net}
services:
- name: web
  namespace: ns
  hostname: web.example
  vips: [net/10.1.0.1, "net/fd00::1:1", net/10.2.0.7/24, net/10.3.0.1/32]
  cidrVips: [{network: net, cidr: 10.4.0.0/16}]
  ports: {80: 8080, 443: 0}
  waypoint: {destination: net/10.0.0.9, hboneMtlsPort: 15008}
  weightedWaypoints:
  - {destination: {destination: ns/wp.example, hboneMtlsPort: 15008}, weight: 3}
  - {destination: {destination: net/10.0.0.9, hboneMtlsPort: 15008}, weight: 0}
  loadBalancer:
    mode: Failover
    routingPreferences: [Network, Region, Zone, Subzone, Node, Cluster]
    healthPolicy: AllowAll
  ipFamilies: Dual
  visibility: Namespace
  canonical: true
  subjectAltNames: [spiffe://td/ns/ns/sa/sa]
- {name: wp, namespace: ns, hostname: wp.example}
policies:
- {name: allow, namespace: ns, scope: WorkloadSelector, action: Allow, rules: [], dryRun: false}
- {name: mesh, namespace: istio-system, scope: Global, action: Deny, rules: []}
"#;

fn gateway(destination: GatewayDestination, port: u16) -> GatewayAddress {
    GatewayAddress {
        destination,
        hbone_mtls_port: port,
    }
}

fn address(network: &str, address: &str) -> NetworkAddress {
    NetworkAddress {
        network: network.into(),
        address: address.parse().unwrap(),
    }
}

#[test]
fn every_field_of_a_workload() {
    let parsed = parse(EVERY_FIELD);
    assert_eq!(messages(&parsed.diagnostics), [""; 0]);
    let expected = Workload {
        uid: uid("u1"),
        name: "web-1".into(),
        namespace: "ns".into(),
        workload_name: "web".into(),
        trust_domain: "td".into(),
        service_account: "sa".into(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        hostname: "web-1.example".into(),
        node: "n1".into(),
        network: "net".into(),
        cluster_id: "c1".into(),
        protocol: TunnelProtocol::Hbone,
        network_mode: NetworkMode::HostNetwork,
        status: HealthStatus::Unhealthy,
        capacity: 7,
        waypoint: Some(gateway(
            GatewayDestination::Hostname(name("ns/wp.example")),
            15008,
        )),
        network_gateway: Some(gateway(
            GatewayDestination::Address(address("net", "10.0.0.9")),
            15009,
        )),
        native_tunnel: true,
        application_tunnel: Some(ApplicationProtocol::Proxy { port: Some(1234) }),
        locality: Locality {
            region: "r".into(),
            zone: "z".into(),
            subzone: "s".into(),
        },
        services: SortedMap::from([
            (
                name("ns/web.example"),
                SortedMap::from([(80, 8080), (443, 8443)]),
            ),
            (name("ns/wp.example"), SortedMap::default()),
        ]),
        authorization_policies: [name("ns/allow")].into(),
    };
    assert_eq!(parsed.workloads.first(), Some(&expected));
}

#[test]
fn every_field_of_a_service() {
    let parsed = parse(EVERY_FIELD);
    let cidr = |cidr: &str| NetworkCidr {
        network: "net".into(),
        cidr: cidr.parse().unwrap(),
    };
    let weighted = |destination, weight| WeightedWaypoint {
        destination: gateway(destination, 15008),
        weight,
    };
    let by_address = || GatewayDestination::Address(address("net", "10.0.0.9"));
    let expected = Service {
        name: "web".into(),
        hostname: name("ns/web.example"),
        vips: vec![
            address("net", "10.1.0.1"),
            address("net", "fd00::1:1"),
            address("net", "10.3.0.1"),
        ],
        cidr_vips: vec![cidr("10.2.0.0/24"), cidr("10.4.0.0/16")],
        ports: BTreeMap::from([(80, 8080), (443, 0)]),
        waypoint: Some(gateway(by_address(), 15008)),
        weighted_waypoints: vec![
            weighted(GatewayDestination::Hostname(name("ns/wp.example")), 3),
            weighted(by_address(), 0),
        ],
        load_balancer: LoadBalancer {
            mode: LoadBalancerMode::Failover,
            routing_preferences: vec![
                RoutingPreference::Network,
                RoutingPreference::Region,
                RoutingPreference::Zone,
                RoutingPreference::Subzone,
                RoutingPreference::Node,
                RoutingPreference::Cluster,
            ],
            health_policy: HealthPolicy::AllowAll,
        },
        ip_families: IpFamilies::Dual,
        visibility: Visibility::Namespace,
        canonical: true,
        subject_alt_names: vec!["spiffe://td/ns/ns/sa/sa".into()],
    };
    assert_eq!(parsed.services.first(), Some(&expected));
}

#[test]
fn every_scope_of_a_policy() {
    let scopes: Vec<_> = parse(EVERY_FIELD)
        .policies
        .iter()
        .map(|p| p.scope)
        .collect();
    assert_eq!(scopes, [PolicyScope::WorkloadSelector, PolicyScope::Global]);
}

#[test]
fn a_value_that_ztunnel_may_add_is_unknown_and_reported() {
    let parsed = parse(
        "workloads:\n- {uid: a, namespace: n, workloadIps: [], protocol: QUIC}\n\
         services:\n- name: s\n  namespace: n\n  hostname: h\n  loadBalancer: {mode: Random}\n",
    );
    assert_eq!(
        messages(&parsed.diagnostics),
        [
            "mesh.yaml:2: workload a: protocol: \"QUIC\" is not one of HBONE, TCP; traffic to it \
             is always steered",
            "mesh.yaml:7: service n/h: loadBalancer.mode: \"Random\" is not one of Standard, \
             Strict, Failover, Passthrough; traffic to it is always steered",
        ]
    );
    assert_eq!(parsed.rejected.len(), 0);
    let protocols: Vec<_> = parsed.workloads.iter().map(|w| w.protocol).collect();
    assert_eq!(protocols, [TunnelProtocol::Unknown]);
    let modes: Vec<_> = parsed
        .services
        .iter()
        .map(|s| s.load_balancer.mode)
        .collect();
    assert_eq!(modes, [LoadBalancerMode::Unknown]);
}

#[test]
fn aliases_and_anchors() {
    let parsed = parse(
        "workloads:\n- &first\n  uid: a\n  namespace: n\n  workloadIps: []\n  \
         services: &services {n/h: {80: 81}}\n- {uid: b, namespace: n, workloadIps: [], \
         services: *services}\nservices: [{name: h, namespace: n, hostname: h}]\n",
    );
    assert_eq!(messages(&parsed.diagnostics), [""; 0]);
    let [a, b] = parsed.workloads.as_slice() else {
        panic!("{:?}", parsed.workloads);
    };
    assert_eq!(a.services, b.services);
}

#[test]
fn sections_may_be_absent_or_empty() {
    for text in [
        "{}",
        "workloads:\nservices: []\n",
        "policies: ~\n",
        "---\nworkloads: []\n...",
    ] {
        let parsed = parse(text);
        assert_eq!(parsed.workloads.len() + parsed.services.len(), 0, "{text}");
    }
}
