//! Pages of a mesh that was compiled.

use super::*;
use crate::compile::{EnrolledPod, Node};
use crate::model::{
    Delta, GatewayAddress, GatewayDestination, HealthPolicy, HealthStatus, IpFamilies,
    LoadBalancer, LoadBalancerMode, Locality, NetworkMode, Policy, PolicyScope, Service,
    TunnelProtocol, Visibility, Workload,
};

fn workload(namespace: &str, number: usize) -> Workload {
    let name = format!("web-{number:06}");
    Workload {
        uid: Uid(format!("c//Pod/{namespace}/{name}").into()),
        name: name.into(),
        namespace: namespace.into(),
        workload_name: "web".into(),
        trust_domain: "cluster.local".into(),
        service_account: "default".into(),
        addresses: vec![std::net::Ipv4Addr::from(0x0a00_0000 + number as u32).into()],
        hostname: "".into(),
        node: "n1".into(),
        network: "".into(),
        cluster_id: "c".into(),
        protocol: TunnelProtocol::Hbone,
        network_mode: NetworkMode::Standard,
        status: HealthStatus::Healthy,
        capacity: 1,
        waypoint: None,
        network_gateway: None,
        native_tunnel: false,
        application_tunnel: None,
        locality: Locality::default(),
        services: [(
            NamespacedName::new("shop", "web.local"),
            [(80, 8080)].into(),
        )]
        .into(),
        authorization_policies: std::collections::BTreeSet::default(),
    }
}

fn service() -> Service {
    Service {
        name: "web".into(),
        hostname: NamespacedName::new("shop", "web.local"),
        vips: Vec::new(),
        cidr_vips: Vec::new(),
        ports: [(80, 0)].into(),
        waypoint: Some(GatewayAddress {
            destination: GatewayDestination::Hostname(NamespacedName::new("shop", "gate.local")),
            hbone_mtls_port: 15008,
        }),
        weighted_waypoints: Vec::new(),
        load_balancer: LoadBalancer {
            mode: LoadBalancerMode::Failover,
            routing_preferences: Vec::new(),
            health_policy: HealthPolicy::OnlyHealthy,
        },
        ip_families: IpFamilies::Automatic,
        visibility: Visibility::Public,
        canonical: false,
        subject_alt_names: Vec::new(),
    }
}

/// With so many workloads of `shop`, and one of `other` behind them.
fn compiler(workloads: usize) -> Compiler {
    let mut compiler = Compiler::new(Node::default());
    let mut delta = Delta::default();
    for workload in (0..workloads)
        .map(|number| workload("shop", number))
        .chain([workload("zoo", workloads)])
    {
        delta.workloads.push(Box::new(workload));
    }
    delta.services.push(service());
    let name = NamespacedName::new("shop", "deny");
    let policy = Policy::unreadable(name, PolicyScope::Namespace);
    delta.policies.push(policy);
    compiler.apply(delta);
    for netns in [7, 8] {
        compiler.set_pod(EnrolledPod {
            netns,
            name: format!("pod-{netns}"),
            namespace: "shop".into(),
            service_account: "default".into(),
            addresses: Vec::new(),
        });
    }
    compiler
}

fn ask(compiler: &Compiler, query: &Value) -> Value {
    let asked = serde_json::from_value(query.clone()).unwrap();
    answer(compiler, &asked).unwrap()
}

#[test]
fn each_kind_is_told() {
    let compiler = compiler(3);
    let totals = ask(&compiler, &json!({}));
    for (kind, count) in [
        ("workloads", 4),
        ("services", 1),
        ("waypoints", 1),
        ("policies", 1),
        ("pods", 2),
    ] {
        assert_eq!(totals[kind], count, "{totals}");
        let page = ask(&compiler, &json!({ "kind": kind }));
        assert_eq!(
            page["items"].as_array().map(Vec::len),
            Some(count),
            "{page}"
        );
        assert_eq!(
            (&page["total"], &page["next"]),
            (&json!(count), &Value::Null)
        );
    }
    let first = |kind: &str| ask(&compiler, &json!({ "kind": kind }))["items"][0].clone();
    let web = first("workloads");
    assert_eq!(web["uid"], "c//Pod/shop/web-000000");
    assert_eq!(web["protocol"], "hbone");
    assert_eq!(web["services"]["shop/web.local"]["80"], 8080);
    let service = first("services");
    assert_eq!(service["waypoint"], "shop/gate.local port 15008");
    assert_eq!(service["load_balancer"]["mode"], "failover");
    let waypoint = first("waypoints");
    assert_eq!(waypoint["services"], 1);
    assert_eq!(waypoint["addresses"][0], "shop/gate.local port 15008");
    assert_eq!(first("policies")["unknown"], "it was rejected");
    assert_eq!(first("pods")["netns"], 7);
}

#[test]
fn page_after_page_is_everything_once() {
    let compiler = compiler(250);
    let (mut seen, mut query) = (Vec::new(), json!({ "kind": "workloads", "limit": 100 }));
    for expected in [100, 100, 51] {
        let page = ask(&compiler, &query);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), expected);
        seen.extend(items.iter().map(|item| item["uid"].clone()));
        query["after"] = page["next"].clone();
    }
    assert_eq!(query["after"], Value::Null);
    let all = compiler.mesh().workloads.keys();
    assert!(
        seen.iter()
            .eq(&all.map(|uid| json!(uid.to_string())).collect::<Vec<_>>())
    );
    let pods = ask(&compiler, &json!({ "kind": "pods", "after": "7" }));
    assert_eq!(pods["items"][0]["netns"], 8);
}

#[test]
fn filters_choose_and_a_page_ends_where_too_much_was_looked_at() {
    let compiler = compiler(LOOKED_AT);
    let zoo = json!({ "kind": "workloads", "namespace": "zoo" });
    let page = ask(&compiler, &zoo);
    assert_eq!(page["items"], json!([]));
    let mut query = zoo;
    query["after"] = page["next"].clone();
    let page = ask(&compiler, &query);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["next"], Value::Null);
    let by_name = json!({ "kind": "workloads", "name": "web-000002" });
    assert_eq!(
        ask(&compiler, &by_name)["items"].as_array().map(Vec::len),
        Some(1)
    );
    let most = json!({ "kind": "workloads", "limit": 1_000_000 });
    assert_eq!(
        ask(&compiler, &most)["items"].as_array().map(Vec::len),
        Some(MOST)
    );
}

#[test]
fn what_cannot_be_asked_is_said() {
    let compiler = compiler(1);
    for (query, expected) in [
        (
            json!({ "kind": "services", "after": "x" }),
            "after=x is not NAMESPACE/NAME",
        ),
        (
            json!({ "kind": "pods", "after": "x" }),
            "after=x is not a number",
        ),
        (
            json!({ "kind": "waypoints", "name": "x" }),
            "waypoints have no names",
        ),
    ] {
        let asked = serde_json::from_value(query).unwrap();
        let error = answer(&compiler, &asked).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
