//! The messages, generated from `agent/proto`.

/// `istio.workload`.
pub mod workload {
    #![expect(clippy::large_enum_variant, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/istio.workload.rs"));
}

/// `istio.security`.
pub mod authorization {
    include!(concat!(env!("OUT_DIR"), "/istio.security.rs"));
}

/// `envoy.service.discovery.v3`.
pub mod discovery {
    #![expect(clippy::allow_attributes, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.rs"));
}
