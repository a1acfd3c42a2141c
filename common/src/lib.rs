//! The contract between waysteer's kernel programs and its user space.
//!
//! Everything here is `no_std`, runs unchanged in the kernel and on the host, and knows nothing of
//! Kubernetes, Istio or aya: the layouts of map keys and values ([`abi`]), addresses ([`addr`]),
//! packet parsing ([`packet`]), and the one function that decides a flow's fate
//! ([`classify::classify`]).

#![no_std]

pub mod abi;
pub mod addr;
pub mod classify;
pub mod lookup;
pub mod packet;
pub mod verdict;

#[cfg(test)]
extern crate std;
