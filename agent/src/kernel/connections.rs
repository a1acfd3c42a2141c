//! Open connections of a pod that hang on its redirection: finding them, and ending them before it
//! goes. Without it what they still send would leave in plaintext, where their sockets point.
//!
//! Found by sock_diag: by their marks, and by what the programs have said of the socket, for an
//! application may have set its mark anew. Ended by `SOCK_DESTROY`, as if the peer
//! had reset them; the kernel must be built with `CONFIG_INET_DIAG_DESTROY`.

mod diag;
mod verdicts;

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::libc::{ENOENT, EOPNOTSUPP};
use thiserror::Error;
use waysteer_common::abi::names::{MARK_MASK, RETURN_MARK, STEER_MARK, TUNNEL_MARK};

use self::diag::{Diag, Found};
pub use self::verdicts::Verdicts;
use super::netns::PodNetwork;
use super::route_socket::RouteSocketError;

/// Connections that begin while others are ended are found by the next look. Those that are ended do
/// not come again, and where nothing is marked any more none begin: two looks are the rule.
const ROUNDS: usize = 32;

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that lead into the tunnel, of which no new ones come once the pod is out of the maps.
    Steered,
    /// Also those that come out of it, of which new ones come while `lo_ingress` is there.
    All,
}

#[derive(Debug, Error)]
pub enum ConnectionsError {
    #[error("sock_diag: cannot list connections")]
    List(#[source] io::Error),
    #[error("sock_diag: cannot end a connection")]
    End(#[source] io::Error),
    #[error(transparent)]
    Addresses(#[from] RouteSocketError),
    #[error(
        "{open} open connections hang on the redirection, and this kernel cannot end them \
         (CONFIG_INET_DIAG_DESTROY is off): without it they would go on in plaintext, so it stays \
         until they have ended; end them, or the pod, and try again"
    )]
    Unsupported { open: usize },
    #[error("{open} connections hang on the redirection, and new ones come faster than they end")]
    StillOpen { open: usize },
}

/// How many there are in the calling thread's netns.
pub fn count_here(verdicts: &[Verdicts]) -> Result<usize, ConnectionsError> {
    let mut diag = Diag::open().map_err(ConnectionsError::List)?;
    let found = list(&mut diag, verdicts, Which::All)?;
    Ok(found.iter().filter(|(_, end)| *end != End::Tunnel).count())
}

/// Ends those of the calling thread's netns, until there are none, and tells how many they were.
pub fn end_here(verdicts: &[Verdicts], which: Which) -> Result<usize, ConnectionsError> {
    let mut diag = Diag::open().map_err(ConnectionsError::List)?;
    let mut ended = 0;
    let mut open = 0;
    for _ in 0..ROUNDS {
        let found = list(&mut diag, verdicts, which)?;
        if found.is_empty() {
            return Ok(ended);
        }
        open = found.len();
        for (socket, end) in &found {
            match diag.destroy(socket) {
                // The tunnel's end goes with the application's, and is the same connection.
                Ok(()) => ended += usize::from(*end == End::Application),
                Err(error) if error.raw_os_error() == Some(ENOENT) => {}
                Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => {
                    return Err(ConnectionsError::Unsupported { open });
                }
                Err(error) => return Err(ConnectionsError::End(error)),
            }
        }
    }
    Err(ConnectionsError::StillOpen { open })
}

/// The cookies of sockets of one netns, by their connections.
#[derive(Debug)]
pub struct Cookies(Diag);

impl Cookies {
    /// Of the calling thread's netns.
    pub fn here() -> Result<Self, ConnectionsError> {
        Diag::open().map(Self).map_err(ConnectionsError::List)
    }

    /// `None` where no socket has the connection, whose own end is `local`.
    pub fn of_connection(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<u64>, ConnectionsError> {
        self.0.cookie(local, remote).map_err(ConnectionsError::List)
    }
}

/// Whether this kernel can end connections: asked of one that there is not.
pub fn can_end() -> Result<bool, ConnectionsError> {
    let mut diag = Diag::open().map_err(ConnectionsError::End)?;
    match diag.destroy(&Found::nobody()) {
        Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => Ok(false),
        Err(error) if error.raw_os_error() == Some(ENOENT) => Ok(true),
        ended => ended.map(|()| true).map_err(ConnectionsError::End),
    }
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Application,
    /// Has accepted what was steered; for senders without a socket of their own, such as virtual
    /// machines, there is no other.
    Tunnel,
}

fn list(
    diag: &mut Diag,
    verdicts: &[Verdicts],
    which: Which,
) -> Result<Vec<(Found, End)>, ConnectionsError> {
    let own = PodNetwork::of_this_thread()?.addresses;
    let mut all = Vec::new();
    let mut add = |found: Vec<Found>| {
        let chosen = found
            .into_iter()
            .filter_map(|found| Some((whose(&found, &own, which)?, found)));
        for (end, found) in chosen {
            if !all
                .iter()
                .any(|(known, _): &(Found, End)| known.is_same(&found))
            {
                all.push((found, end));
            }
        }
    };
    if verdicts.is_empty() {
        add(diag.list(None).map_err(ConnectionsError::List)?);
    }
    for verdicts in verdicts {
        // The kernel tells of the storage of one generation at a time.
        add(diag.list(Some(verdicts)).map_err(ConnectionsError::List)?);
    }
    // Applications' first: with them the tunnel's go by themselves.
    all.sort_by_key(|(_, end)| *end == End::Tunnel);
    Ok(all)
}

fn whose(found: &Found, own: &[IpAddr], which: Which) -> Option<End> {
    let mark = found.mark & MARK_MASK;
    let is_own = |address: IpAddr| own.contains(&address.to_canonical());
    if mark == STEER_MARK || found.is_steered {
        return Some(End::Application);
    }
    if mark == RETURN_MARK && which == Which::All {
        return Some(End::Application);
    }
    // From an address of the pod to one that is not: nobody else accepts such.
    let accepted = mark == TUNNEL_MARK && is_own(found.remote) && !is_own(found.local);
    accepted.then_some(End::Tunnel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mark: u32, is_steered: bool, local: &str, remote: &str) -> Found {
        let mut found = Found::nobody();
        found.mark = mark;
        found.is_steered = is_steered;
        found.local = local.parse().unwrap();
        found.remote = remote.parse().unwrap();
        found
    }

    #[test]
    fn what_hangs_on_the_redirection() {
        let own = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let (app, tunnel) = (Some(End::Application), Some(End::Tunnel));
        for (mark, is_steered, local, remote, all, steered) in [
            (STEER_MARK, false, "10.0.0.1", "10.9.9.9", app, app),
            // Other bits are the application's.
            (
                0xabcd_0000 | STEER_MARK,
                false,
                "fd00::1",
                "fd09::9",
                app,
                app,
            ),
            // Marked anew after the verdict.
            (7, true, "10.0.0.1", "10.9.9.9", app, app),
            (RETURN_MARK, false, "10.0.0.1", "10.9.9.9", app, None),
            (
                TUNNEL_MARK,
                false,
                "::ffff:10.9.9.9",
                "::ffff:10.0.0.1",
                tunnel,
                tunnel,
            ),
            // HBONE, and what the tunnel dials in the client's place.
            (TUNNEL_MARK, false, "10.0.0.1", "10.9.9.9", None, None),
            (TUNNEL_MARK, false, "10.0.0.1", "10.0.0.1", None, None),
            (0, false, "10.0.0.1", "10.9.9.9", None, None),
        ] {
            let found = found(mark, is_steered, local, remote);
            assert_eq!(whose(&found, &own, Which::All), all, "{found:?}");
            assert_eq!(whose(&found, &own, Which::Steered), steered, "{found:?}");
        }
    }
}
