//! What policies say of a connection: pure, between `model` and `compile`.
//!
//! Everything but the destination's port is known before a connection is made: who the source is,
//! which addresses it has, which policies apply. So policies are evaluated to the set of ports on
//! which they let a source in.

mod evaluate;
mod ports;

pub use evaluate::{Decision, Destination, Obstacle, Source, decide, evaluate};
pub use ports::Ports;

#[cfg(test)]
pub(crate) mod naive;
#[cfg(test)]
mod tests;
