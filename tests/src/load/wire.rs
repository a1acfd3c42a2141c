//! The node's wires, watched for what must not be on them.

use anyhow::{Result, ensure};

use super::ways::{SECRET_PORT, SERVICE_PORT};
use super::words::SECRET;
use crate::bed::Bed;
use crate::capture::{Capture, Filter};
use crate::topology::{Node, Topology};

/// A capture on every device of the node, that takes only what is forbidden: whatever is to or from
/// a port of the applications that need encryption, an empty SYN too, and whatever begins with the
/// mark of their words, on any port. The kernel leaves out the rest, so that the reader keeps up.
#[derive(Debug)]
pub struct Wire {
    capture: Capture,
}

impl Wire {
    /// Begins before the traffic does.
    pub fn watch(bed: &Bed) -> Result<Self> {
        let node = &bed.topology.node;
        let mut devices: Vec<&str> = node.pods.iter().map(|pod| pod.veth.as_str()).collect();
        devices.extend([Node::UPLINK, Topology::EXTERNAL_LINK]);
        let filter = Filter::new(&[SERVICE_PORT, SECRET_PORT], u32::from_be_bytes(SECRET))?;
        let capture = Capture::start_filtered(&node.netns, &devices, &filter)?;
        Ok(Self { capture })
    }

    /// How many forbidden packets there were, which is known only if none was lost.
    pub fn plaintext(&self) -> Result<u64> {
        let lost = self.capture.lost();
        ensure!(lost == 0, "{lost} packets have passed unseen");
        Ok(self.capture.sum(|_| true).packets)
    }

    /// Fails if there was one.
    pub fn ensure_clean(&self) -> Result<()> {
        let packets = self.plaintext()?;
        let flows = self.capture.flows(|_, _| true);
        ensure!(packets == 0, "{packets} plaintext packets: {flows:?}");
        Ok(())
    }
}
