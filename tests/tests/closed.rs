//! Fail closed: whatever is missing or broken, what needs the tunnel is never plaintext.

mod farewell;
mod held;
mod last_good;
mod missing;
mod snapshot;
mod stand_in;
mod undone;
