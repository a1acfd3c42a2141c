//! The source that listens to istiod, against a real gRPC server.

#[path = "xds/faults.rs"]
mod faults;
#[path = "xds/histories.rs"]
mod histories;
#[path = "xds/istiod.rs"]
mod istiod;
#[path = "xds/listener.rs"]
mod listener;
#[path = "xds/protocol.rs"]
mod protocol;
#[path = "xds/resources.rs"]
mod resources;
