//! Things broken by hand, one by one: found, counted by kind, repaired, and nothing of a flow that
//! needs encryption on a wire meanwhile.

mod devices;
mod links;
mod listeners;
mod maps;
mod netns;
mod rules;
pub(crate) mod scene;
pub(crate) mod under_load;
