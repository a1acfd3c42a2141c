//! The source that listens to istiod, against a real gRPC server.

#[path = "xds/faults.rs"]
mod faults;
#[path = "xds/histories.rs"]
mod histories;
#[path = "xds/listener.rs"]
mod listener;
#[path = "xds/naive.rs"]
mod naive;
#[path = "xds/orders.rs"]
mod orders;
#[path = "xds/protocol.rs"]
mod protocol;
#[path = "xds/proxy.rs"]
mod proxy;
#[path = "xds/stalls.rs"]
mod stalls;
#[path = "xds/tls.rs"]
mod tls;
#[path = "xds/wires.rs"]
mod wires;
