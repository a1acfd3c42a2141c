//! The three steps of a waypoint.

use std::net::{Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use waysteer_hbone::HBONE_PORT;

use super::{Endpoint, Protocol, Target, VIA, Waypoint, endpoints, extension, socket_address, tls};

const CONNECTION_MANAGER: &str = "network.http_connection_manager.v3.HttpConnectionManager";

pub(super) fn all(waypoint: &Waypoint) -> Vec<Value> {
    let mut listeners = vec![connect_terminate(waypoint), main_internal(waypoint)];
    listeners.extend(endpoints(waypoint).map(|(number, endpoint)| originate(&number, endpoint)));
    listeners
}

/// Takes HBONE apart. The authority becomes the inner connection's local address, and the client's
/// address its remote one, as if the client had connected there.
fn connect_terminate(waypoint: &Waypoint) -> Value {
    let domains: Vec<String> = waypoint
        .targets
        .iter()
        .map(|target| target.authority.to_string())
        .collect();
    let state = |key: &str, value: &str| {
        json!({
            "object_key": key,
            "factory_key": key,
            "format_string": { "text_format_source": { "inline_string": value } },
            "shared_with_upstream": "ONCE",
        })
    };
    let filter_state = extension(
        "envoy.filters.http.set_filter_state",
        "filters.http.set_filter_state.v3.Config",
        json!({ "on_request_headers": [
            state("envoy.filters.listener.original_dst.local_ip", "%REQ(:AUTHORITY)%"),
            state("envoy.filters.listener.original_dst.remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%"),
        ] }),
    );
    let route = json!({
        "match": { "connect_matcher": {} },
        "route": {
            "cluster": "main_internal",
            "timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }],
        },
    });
    let mut manager = connection_manager(
        "connect_terminate",
        "CONNECT %REQ(:AUTHORITY)% from %DOWNSTREAM_REMOTE_ADDRESS% \
         %DOWNSTREAM_PEER_URI_SAN% -> %RESPONSE_CODE% %RESPONSE_FLAGS%",
        // An empty list of domains is an error, and then there is nothing to serve either.
        if domains.is_empty() {
            json!([])
        } else {
            json!([{ "name": "targets", "domains": domains, "routes": [route] }])
        },
        &[filter_state],
    );
    manager["typed_config"]["codec_type"] = "HTTP2".into();
    manager["typed_config"]["http2_protocol_options"] = json!({ "allow_connect": true });
    let mut address = socket_address(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), HBONE_PORT));
    address["socket_address"]["ipv4_compat"] = true.into();
    json!({
        "name": "connect_terminate",
        "address": address,
        "filter_chains": [{
            "transport_socket": tls::downstream(&waypoint.certificates),
            "filters": [manager],
        }],
    })
}

/// What a waypoint is for: one filter chain for every target.
fn main_internal(waypoint: &Waypoint) -> Value {
    let chains: Vec<Value> = waypoint
        .targets
        .iter()
        .enumerate()
        .map(|(number, target)| filter_chain(number, target))
        .collect();
    let mut listener = internal("main_internal", &chains);
    listener["listener_filters"] = json!([extension(
        "envoy.filters.listener.original_dst",
        "filters.listener.original_dst.v3.OriginalDst",
        json!({}),
    )]);
    listener
}

fn filter_chain(number: usize, target: &Target) -> Value {
    let cluster = format!("target-{number}");
    let filter = match target.protocol {
        Protocol::Http => http(&cluster),
        Protocol::Tcp => tcp(&cluster, None),
    };
    let ip = target.authority.ip();
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    json!({
        "name": cluster,
        "filter_chain_match": {
            "destination_port": target.authority.port(),
            "prefix_ranges": [{ "address_prefix": ip.to_string(), "prefix_len": whole }],
        },
        "filters": [filter],
    })
}

fn http(cluster: &str) -> Value {
    let (key, value) = VIA;
    let via = json!([{ "header": { "key": key, "value": value } }]);
    let hosts = json!([{
        "name": cluster,
        "domains": ["*"],
        "routes": [{
            "match": { "prefix": "/" },
            "route": { "cluster": cluster, "timeout": "0s" },
        }],
        "request_headers_to_add": via,
        "response_headers_to_add": via,
    }]);
    let mut manager = connection_manager(
        cluster,
        "HTTP %REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(:PATH)% from %DOWNSTREAM_REMOTE_ADDRESS% \
         to %DOWNSTREAM_LOCAL_ADDRESS% -> %RESPONSE_CODE% %RESPONSE_FLAGS%",
        hosts,
        &[],
    );
    // Takes the connection's address for the client's, and appends it to x-forwarded-for.
    manager["typed_config"]["use_remote_address"] = true.into();
    manager
}

/// The way out: a CONNECT for the endpoint, over mTLS.
fn originate(number: &str, endpoint: &Endpoint) -> Value {
    let cluster = format!("hbone-{number}");
    let filter = tcp(&cluster, Some(endpoint.address));
    internal(
        &format!("originate-{number}"),
        &[json!({ "filters": [filter] })],
    )
}

fn tcp(cluster: &str, tunnel_to: Option<SocketAddr>) -> Value {
    let mut configuration = json!({
        "stat_prefix": cluster,
        "cluster": cluster,
        "idle_timeout": "0s",
        "access_log": access_log(
            "TCP %DOWNSTREAM_REMOTE_ADDRESS% to %DOWNSTREAM_LOCAL_ADDRESS% \
             -> %UPSTREAM_HOST% %RESPONSE_FLAGS%",
        ),
    });
    if let Some(address) = tunnel_to {
        configuration["tunneling_config"] = json!({ "hostname": address.to_string() });
    }
    extension(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        configuration,
    )
}

fn internal(name: &str, chains: &[Value]) -> Value {
    json!({ "name": name, "internal_listener": {}, "filter_chains": chains })
}

fn connection_manager(name: &str, log: &str, hosts: Value, filters: &[Value]) -> Value {
    let router = extension(
        "envoy.filters.http.router",
        "filters.http.router.v3.Router",
        json!({}),
    );
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    extension(
        "envoy.filters.network.http_connection_manager",
        &format!("filters.{CONNECTION_MANAGER}"),
        json!({
            "stat_prefix": name,
            "access_log": access_log(log),
            "route_config": { "name": name, "virtual_hosts": hosts },
            "http_filters": filters,
        }),
    )
}

fn access_log(format: &str) -> Value {
    let line = format!("{format}\n");
    json!([extension(
        "envoy.access_loggers.stdout",
        "access_loggers.stream.v3.StdoutAccessLog",
        json!({ "log_format": { "text_format_source": { "inline_string": line } } }),
    )])
}
