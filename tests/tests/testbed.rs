//! The test bed itself: a test that fails on it says nothing about waysteer.

mod leftovers;
mod loaded;
mod sight;
mod traffic;
mod waypoint;
