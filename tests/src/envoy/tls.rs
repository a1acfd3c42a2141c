//! Who the waypoint is, and whom it believes.

use serde_json::{Value, json};
use waysteer_hbone::certs::Files;
use waysteer_hbone::identity::SpiffeId;

use super::extension;

const TRANSPORT: &str = "envoy.transport_sockets.tls";

/// For clients: anyone of the mesh.
pub(super) fn downstream(files: &Files) -> Value {
    extension(
        TRANSPORT,
        "transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            "require_client_certificate": true,
            "common_tls_context": common(files, &json!({})),
        }),
    )
}

/// For an endpoint: itself and nobody else.
pub(super) fn upstream(files: &Files, expected: &SpiffeId) -> Value {
    let names = json!({ "match_typed_subject_alt_names": [
        { "san_type": "URI", "matcher": { "exact": expected.as_str() } },
    ] });
    extension(
        TRANSPORT,
        "transport_sockets.tls.v3.UpstreamTlsContext",
        json!({ "common_tls_context": common(files, &names) }),
    )
}

fn common(files: &Files, names: &Value) -> Value {
    let mut validation = names.clone();
    validation["trusted_ca"] = json!({ "filename": files.roots });
    json!({
        "alpn_protocols": ["h2"],
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [{
            "certificate_chain": { "filename": files.certificate },
            "private_key": { "filename": files.key },
        }],
        "validation_context": validation,
    })
}
