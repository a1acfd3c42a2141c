//! The difference between what a netns should have and what it has.

use std::fmt;
use std::net::Ipv4Addr;

use rtnetlink::Handle;

use super::{ON, RedirectError, Wanted, loopback_is_up, routes, rules, sysctls, with_route_socket};

/// An IP version, with what is particular to a pod in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The address that connections through `lo` come from.
    V4 {
        source: Ipv4Addr,
    },
    V6,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    RuleMissing { family: Family, mark: u32 },
    RouteMissing { family: Family },
    SysctlChanged { name: &'static str, found: String },
    LoopbackDown,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4 { .. } => f.write_str("IPv4"),
            Self::V6 => f.write_str("IPv6"),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuleMissing { family, mark } => {
                write!(f, "no {family} rule for mark {mark:#x}")
            }
            Self::RouteMissing { family } => write!(f, "no local default {family} route"),
            Self::SysctlChanged { name, found } => write!(f, "sysctl {name} is {found}"),
            Self::LoopbackDown => f.write_str("lo is down"),
        }
    }
}

pub(super) fn of_this_thread(wanted: Wanted) -> Result<Vec<Drift>, RedirectError> {
    with_route_socket(async |handle| read(&handle, wanted).await)
}

/// In the calling thread's netns, which is the socket's.
pub(super) async fn read(handle: &Handle, wanted: Wanted) -> Result<Vec<Drift>, RedirectError> {
    let mut drifts = Vec::new();
    for sysctl in sysctls() {
        let found = sysctl.read()?;
        if found != ON {
            drifts.push(Drift::SysctlChanged {
                name: sysctl.0,
                found,
            });
        }
    }
    if !loopback_is_up(handle).await? {
        drifts.push(Drift::LoopbackDown);
    }
    for family in wanted.families() {
        let missing = rules::missing(handle, family).await?.into_iter();
        drifts.extend(missing.map(|mark| Drift::RuleMissing { family, mark }));
        if !routes::is_there(handle, family).await? {
            drifts.push(Drift::RouteMissing { family });
        }
    }
    Ok(drifts)
}
