//! What the programs need of a pod's netns besides themselves: policy rules and routes that turn
//! marked packets to `lo`, and three kernel parameters.
//!
//! Rules and routes carry a protocol number of our own, so that removal finds ours and nothing
//! else, also after a restart.

mod before;
mod drift;
mod routes;
mod rules;

use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use netlink_packet_route::link::LinkFlags;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};
use thiserror::Error;
use waysteer_common::abi::names::ROUTE_TABLE;

pub use self::before::Before;
pub use self::drift::{Drift, Family};
use super::netns::{NetnsError, PodNetns, PodNetwork};
use super::route_socket::{RouteSocketError, failed, with_route_socket};
use super::sysctl::{Sysctl, SysctlError};

/// `rtm_protocol` and `FRA_PROTOCOL` of what we add. Not in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 87;

/// The first device of every netns.
const LOOPBACK_INDEX: u32 = 1;

/// What must be `1`: the application's socket answers with the mark of the tunnel's packets, and so
/// does the kernel where that socket has gone (else its reset would leave through `eth0`); packets
/// from the pod's own address are taken from `lo`, and whether an address is reached through `lo` is
/// asked with the packet's mark.
const SYSCTLS: [Sysctl; 5] = [
    Sysctl("net/ipv4/tcp_fwmark_accept"),
    Sysctl("net/ipv4/fwmark_reflect"),
    Sysctl("net/ipv6/fwmark_reflect"),
    Sysctl("net/ipv4/conf/lo/accept_local"),
    Sysctl("net/ipv4/conf/lo/src_valid_mark"),
];
const ON: &str = "1";
/// What the kernel gives them.
const OFF: &str = "0";
const DISABLE_V6: Sysctl = Sysctl("net/ipv6/conf/lo/disable_ipv6");

/// Those that this kernel has: one without IPv6 has nothing to reflect there.
fn sysctls() -> impl Iterator<Item = Sysctl> {
    SYSCTLS.into_iter().filter(|sysctl| sysctl.is_there())
}

/// The redirection of one netns, and how it was there before.
#[derive(Debug)]
pub struct Redirect {
    before: Before,
}

#[derive(Debug, Error)]
pub enum RedirectError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    RouteSocket(#[from] RouteSocketError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("a default {family} route that is not ours is in table {ROUTE_TABLE}")]
    ForeignRoute { family: Family },
    #[error("what was set up did not stay: {}", list(.0))]
    NotInPlace(Vec<Drift>),
}

fn list(drifts: &[Drift]) -> String {
    drifts
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What a netns should have: a family only where the pod has an address of it. Without one the
/// application's `connect()` fails at once, as it would without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    v4: Option<Ipv4Addr>,
    v6: bool,
}

impl Wanted {
    fn of_this_thread() -> Result<Self, RedirectError> {
        Self::of(&PodNetwork::of_this_thread()?)
    }

    /// In the netns of the calling thread.
    fn of(network: &PodNetwork) -> Result<Self, RedirectError> {
        let v6 = DISABLE_V6
            .read_if_there()?
            .is_some_and(|disabled| disabled == "0");
        Ok(Self {
            v4: network.v4(),
            v6: v6 && network.v6().is_some(),
        })
    }

    fn families(self) -> Vec<Family> {
        let v4 = self.v4.map(|source| Family::V4 { source });
        v4.into_iter()
            .chain(self.v6.then_some(Family::V6))
            .collect()
    }
}

impl Redirect {
    /// Sets a netns up and looks whether it took. What is there already stays. After an error
    /// everything is as before. Blocks, see [`PodNetns::run`].
    pub fn install(netns: &PodNetns, network: &PodNetwork) -> Result<Self, RedirectError> {
        netns.run(|| {
            let redirect = Self::plan_here(None)?;
            match redirect.apply_here(network) {
                Ok(()) => Ok(redirect),
                Err(error) => {
                    // What failed is what is worth telling.
                    let _ = redirect.remove_here();
                    Err(error)
                }
            }
        })?
    }

    /// Of the calling thread's netns; nothing is changed yet. `known` is what an earlier process
    /// has found before it changed things.
    pub fn plan_here(known: Option<Before>) -> Result<Self, RedirectError> {
        let before = with_route_socket(async |handle| Before::look(&handle, known).await)?;
        Ok(Self { before })
    }

    /// What [`Self::remove_here`] will put back.
    pub fn before(&self) -> &Before {
        &self.before
    }

    /// Sets the calling thread's netns up, adds what is missing and looks whether it took.
    pub fn apply_here(&self, network: &PodNetwork) -> Result<(), RedirectError> {
        self.set_up(Wanted::of(network)?)
    }

    /// What [`Self::remove_here`] would undo in the calling thread's netns, in words. Without rules
    /// or routes of ours there, nothing was written down that still holds.
    pub fn traces_here(known: Option<&Before>) -> Result<Vec<String>, RedirectError> {
        let mut traces = with_route_socket(async |handle| {
            let mut traces = rules::ours(&handle).await?;
            traces.extend(routes::ours(&handle).await?);
            Ok::<_, RouteSocketError>(traces)
        })?;
        match known {
            Some(known) => traces.extend(known.changed()?),
            None if traces.is_empty() => {}
            None => traces.extend(Before::usual().changed()?),
        }
        Ok(traces)
    }

    /// Puts back what is missing, for the addresses that the pod has now. Blocks.
    pub fn repair(&mut self, netns: &PodNetns) -> Result<(), RedirectError> {
        netns.run(|| self.set_up(Wanted::of_this_thread()?))?
    }

    /// What is not as it should be, for the addresses that the pod has now. Blocks.
    pub fn verify(&self, netns: &PodNetns) -> Result<Vec<Drift>, RedirectError> {
        netns.run(|| drift::of_this_thread(Wanted::of_this_thread()?))?
    }

    /// Undoes what was done, see [`Self::remove_here`]. Blocks.
    pub fn remove(self, netns: &PodNetns) -> Result<(), RedirectError> {
        netns.run(|| self.remove_here())?
    }

    /// Undoes what was done in the calling thread's netns, and nothing else: our rules and routes,
    /// and each parameter that still has our value; `lo` goes down if we set it up, and keeps the
    /// address that the kernel gave it then. Goes on after an error, and returns the first.
    pub fn remove_here(self) -> Result<(), RedirectError> {
        let rules_and_routes = with_route_socket(async |handle| {
            let rules = rules::remove(&handle).await;
            let routes = routes::remove(&handle).await;
            let loopback = self.lower_loopback(&handle).await;
            rules.and(routes).and(loopback)
        });
        let sysctls = self.before.restore_sysctls();
        rules_and_routes?;
        sysctls
    }

    /// In the netns of the calling thread.
    fn set_up(&self, wanted: Wanted) -> Result<(), RedirectError> {
        for sysctl in sysctls() {
            if sysctl.read()? != ON {
                sysctl.write(ON)?;
            }
        }
        with_route_socket(async |handle| add(&handle, wanted).await)?;
        let drifts = drift::of_this_thread(wanted)?;
        if drifts.is_empty() {
            Ok(())
        } else {
            Err(RedirectError::NotInPlace(drifts))
        }
    }

    async fn lower_loopback(&self, handle: &Handle) -> Result<(), RedirectError> {
        if self.before.loopback_was_down() {
            set_loopback(handle, false).await?;
        }
        Ok(())
    }
}

/// What a netns lacks for these addresses, which are of now. In its own netns, by a socket of it.
pub(super) async fn missing(
    handle: &Handle,
    network: &PodNetwork,
) -> Result<Vec<Drift>, RedirectError> {
    drift::read(handle, Wanted::of(network)?).await
}

async fn add(handle: &Handle, wanted: Wanted) -> Result<(), RedirectError> {
    // A route through a device that is down is refused.
    if !loopback_is_up(handle).await? {
        set_loopback(handle, true).await?;
    }
    for family in wanted.families() {
        // The table is filled before anything is looked up in it.
        routes::add(handle, family).await?;
        rules::add(handle, family).await?;
    }
    Ok(())
}

async fn loopback_is_up(handle: &Handle) -> Result<bool, RouteSocketError> {
    let link = handle
        .link()
        .get()
        .match_index(LOOPBACK_INDEX)
        .execute()
        .try_next()
        .await;
    let link = link.map_err(failed("look at lo"))?;
    Ok(link.is_some_and(|link| link.header.flags.contains(LinkFlags::Up)))
}

async fn set_loopback(handle: &Handle, up: bool) -> Result<(), RouteSocketError> {
    let builder = LinkMessageBuilder::<LinkUnspec>::new().index(LOOPBACK_INDEX);
    let message = if up { builder.up() } else { builder.down() }.build();
    handle
        .link()
        .set(message)
        .execute()
        .await
        .map_err(failed("set lo up or down"))
}
