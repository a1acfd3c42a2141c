//! Where listeners lead: to other listeners inside Envoy, and out over HBONE.

use std::net::SocketAddr;

use serde_json::{Value, json};
use waysteer_hbone::HBONE_PORT;
use waysteer_hbone::certs::Files;

use super::{Endpoint, Waypoint, endpoints, extension, socket_address, tls};

const CONNECT_TIMEOUT: &str = "5s";

pub(super) fn all(waypoint: &Waypoint) -> Vec<Value> {
    let mut clusters = vec![internal("main_internal", ["main_internal".to_owned()])];
    for (number, target) in waypoint.targets.iter().enumerate() {
        let listeners = (0..target.endpoints.len()).map(|at| format!("originate-{number}-{at}"));
        clusters.push(internal(&format!("target-{number}"), listeners));
    }
    for (number, endpoint) in endpoints(waypoint) {
        clusters.push(hbone(&number, endpoint, &waypoint.certificates));
    }
    clusters
}

/// Leads to listeners inside. Filter state (the addresses of the original connection) goes along.
fn internal(name: &str, listeners: impl IntoIterator<Item = String>) -> Value {
    let raw = extension(
        "envoy.transport_sockets.raw_buffer",
        "transport_sockets.raw_buffer.v3.RawBuffer",
        json!({}),
    );
    let transport = extension(
        "envoy.transport_sockets.internal_upstream",
        "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        json!({ "transport_socket": raw }),
    );
    let addresses = listeners
        .into_iter()
        .map(|listener| json!({ "envoy_internal_address": { "server_listener_name": listener } }));
    cluster(name, addresses, &transport)
}

/// Leads to port 15008 of an endpoint.
fn hbone(number: &str, endpoint: &Endpoint, certificates: &Files) -> Value {
    let address = SocketAddr::new(endpoint.address.ip(), HBONE_PORT);
    let transport = tls::upstream(certificates, &endpoint.identity);
    let mut cluster = cluster(
        &format!("hbone-{number}"),
        [socket_address(address)],
        &transport,
    );
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster["typed_extension_protocol_options"] = json!({ OPTIONS: {
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": { "http2_protocol_options": { "allow_connect": true } },
    } });
    cluster
}

fn cluster(name: &str, addresses: impl IntoIterator<Item = Value>, transport: &Value) -> Value {
    let endpoints: Vec<Value> = addresses
        .into_iter()
        .map(|address| json!({ "endpoint": { "address": address } }))
        .collect();
    // Envoy's own limit is 1024 at a time; ours is what a test asks for.
    const PLENTY: u32 = 1_000_000;
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "circuit_breakers": { "thresholds": [{
            "max_connections": PLENTY,
            "max_pending_requests": PLENTY,
            "max_requests": PLENTY,
            "max_retries": PLENTY,
        }] },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": endpoints }],
        },
        "transport_socket": transport,
    })
}
