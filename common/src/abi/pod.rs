//! What the kernel knows of an enrolled pod.

use zerocopy::network_endian::{U32, U64};

use super::{flag, wire};
use crate::addr::Address;

wire! {
    /// Key of `PODS`.
    pub struct PodKey {
        pub netns: U64,
    }
}

wire! {
    /// Value of `PODS`.
    pub struct PodValue {
        /// Id of the pod's workload; meaningful with [`PodValue::KNOWN`].
        pub workload: U64,
        /// Id of the pod's namespace.
        pub namespace: U64,
        /// Locality group, see [`super::key::ServicePortKey`].
        pub group: U32,
        pub flags: U32,
        /// The pod's main addresses; unspecified where it has none of the family.
        pub v4: Address,
        pub v6: Address,
    }
}

impl PodValue {
    flag!(/** The source of configuration knows this pod's workload. */ KNOWN = 0);
    flag!(/** The pod has addresses besides `v4` and `v6`: look them up in `POD_ADDRESSES`. */ MORE_ADDRESSES = 1);
    flag!(/** The pod is an endpoint of some waypoint. */ WAYPOINT = 2);
}
