//! What pods have had to do with whom past the tunnel, in names and without ever going backwards.
//!
//! The kernel counts by pod; metrics are of workloads, of which a node may have several pods. What a
//! pod has counted before it left is kept in the kernel too, among the entries of its workload, for
//! as long as another pod of that workload is here.

mod book;
mod counted;
mod ledger;
mod series;

pub use book::{Book, Known, Settlement};
pub use counted::Counted;
pub use ledger::{Ledger, PodsTraffic, Reading};
pub use series::{Destination, Series, Source};
