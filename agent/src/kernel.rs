//! The kernel's side of the agent: programs, maps, links, and what each pod's netns is given.
//!
//! [`load`] brings the programs in, [`maps`] is the only writer of configuration, [`attach`] and
//! [`redirect`] put a pod under capture and take it out again, [`observe`] and [`explain`] read
//! what the kernel decided. Nothing here decides anything about the mesh.

pub mod attach;
mod bpf;
mod btf;
pub mod cgroup;
pub mod clock;
pub mod connections;
pub mod contents;
pub mod estate;
pub mod expedite;
pub mod explain;
pub mod features;
pub mod hooks;
pub mod inspect;
pub mod layout;
pub mod link;
pub mod listeners;
pub mod load;
pub mod log;
pub mod maps;
mod memory;
mod neighbours;
pub mod netns;
pub mod object;
pub mod observe;
pub mod pinned;
pub mod pins;
pub mod privileges;
pub mod programs;
pub mod records;
pub mod redirect;
pub mod route_socket;
mod sysctl;
pub mod traces;
pub mod watch;
mod wire;
