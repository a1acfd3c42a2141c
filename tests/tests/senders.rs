//! Hard senders: whatever a pod does to its sockets, what needs the tunnel goes through it.

mod io_uring;
mod kinds;
mod outside;
mod own;
mod packets;
mod routes;
mod socket_options;
mod watched;
