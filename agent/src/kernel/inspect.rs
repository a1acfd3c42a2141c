//! A look at everything in a pod's netns that capture depends on, in one visit.

use std::io;

use rtnetlink::Handle;
use thiserror::Error;

use super::hooks;
use super::link::Hook;
use super::listeners::{self, ListenersError, NoListener};
use super::netns::{NetnsError, PodNetns, PodNetwork};
use super::redirect::{self, RedirectError};
use super::route_socket::{RouteSocketError, with_route_socket};

/// Of `lo` in every netns.
pub const LOOPBACK_INDEX: u32 = 1;

/// What there is in a pod's netns.
#[derive(Debug)]
pub struct PodSight {
    pub network: PodNetwork,
    /// What of rules, routes, parameters and `lo` is missing, for the addresses of now.
    pub redirect: Vec<redirect::Drift>,
    pub programs: Vec<HookSight>,
    /// Ports of the tunnel on which it does not listen.
    pub no_listener: Vec<NoListener>,
}

/// The programs at one hook of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSight {
    pub device: u32,
    pub hook: Hook,
    /// Ids, in the order in which they run.
    pub programs: Vec<u32>,
}

#[derive(Debug, Error)]
pub enum InspectError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    RouteSocket(#[from] RouteSocketError),
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    #[error("cannot see the programs of device {device}")]
    Programs {
        device: u32,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Listeners(#[from] ListenersError),
}

impl PodNetns {
    /// Blocks, see [`PodNetns::run`].
    pub fn inspect(&self) -> Result<PodSight, InspectError> {
        self.run(inspect_here)?
    }
}

/// In the calling thread's netns. Blocks, and must not be on a thread of a runtime.
pub fn inspect_here() -> Result<PodSight, InspectError> {
    let (network, redirect) = with_route_socket(async |handle: Handle| {
        let network = PodNetwork::read(&handle).await?;
        let redirect = redirect::missing(&handle, &network).await?;
        Ok::<_, InspectError>((network, redirect))
    })?;
    let mut programs = vec![look(LOOPBACK_INDEX, Hook::TcxIngress)?];
    for device in &network.devices {
        for hook in [Hook::TcxEgress, Hook::TcxIngress] {
            programs.push(look(device.index, hook)?);
        }
    }
    Ok(PodSight {
        network,
        redirect,
        programs,
        no_listener: listeners::missing_here()?,
    })
}

/// A device that has gone away since it was listed has no programs.
fn look(device: u32, hook: Hook) -> Result<HookSight, InspectError> {
    let programs = match hooks::on_device(device, hook) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Vec::new(),
        programs => programs.map_err(|source| InspectError::Programs { device, source })?,
    };
    Ok(HookSight {
        device,
        hook,
        programs,
    })
}

impl PodSight {
    /// Ids of the programs at a hook, in order.
    pub fn programs_at(&self, device: u32, hook: Hook) -> &[u32] {
        let found = self
            .programs
            .iter()
            .find(|sight| sight.device == device && sight.hook == hook);
        found.map_or(&[], |sight| sight.programs.as_slice())
    }
}
