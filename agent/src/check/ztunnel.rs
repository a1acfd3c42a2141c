//! What is needed to have ztunnel as the tunnel.

use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::kernel::features::{Finding, Outcome};
use crate::tunnel::{Occupant, occupant};

const TAKEN: &str = "one agent a node: uninstall istio-cni's ambient mode, or give another tunnel.socket \
                     to one of them and to its ztunnel";
const NO_DIRECTORY: &str = "mount the host's directory of it into the container";

/// Looks whether the socket on which ztunnel is waited for can be had. `admin` is the agent's own.
pub(super) fn finding(socket: &Path, admin: &Path) -> Finding {
    let is_agent = || UnixStream::connect(admin).is_ok();
    let (told, remedy) = match occupant(socket) {
        Ok(Occupant::Nothing) => (directory(socket), NO_DIRECTORY),
        Ok(Occupant::Stale) => (Ok("left by an agent that is gone"), TAKEN),
        Ok(Occupant::Server) if is_agent() => (Ok("the running agent's"), TAKEN),
        Ok(Occupant::Server) => (Err("somebody else listens there".to_owned()), TAKEN),
        Ok(Occupant::NoSocket) => (Err("not a socket".to_owned()), "remove it"),
        Err(error) => (Err(error.to_string()), NO_DIRECTORY),
    };
    let at = |what: &str| format!("{}: {what}", socket.display());
    let outcome = match told {
        Ok(detail) => Outcome::Works { detail: at(detail) },
        Err(reason) => Outcome::Fails {
            reason: at(&reason),
        },
    };
    Finding::new("ztunnel's socket", outcome).or(remedy)
}

/// Whether a socket can be made there.
fn directory(path: &Path) -> Result<&'static str, String> {
    let above = path.ancestors().skip(1).find(|above| above.exists());
    let Some(above) = above.filter(|above| above.is_dir()) else {
        return Err("there is no directory for it".to_owned());
    };
    let status = statvfs(above).map_err(|errno| errno.to_string())?;
    if status.flags().contains(FsFlags::ST_RDONLY) {
        return Err(format!("{} is read-only", above.display()));
    }
    Ok("will be made, ztunnel connects there")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn each_state_of_the_socket_is_told() {
        let directory =
            std::env::temp_dir().join(format!("waysteer-check-socket-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (socket, admin) = (directory.join("z.sock"), directory.join("a.sock"));
        let told = || {
            let finding = finding(&socket, &admin);
            (finding.is_failure(), format!("{finding:?}"))
        };
        assert!(!told().0, "{}", told().1);
        let listener = UnixListener::bind(&socket).expect("a listener");
        let (fails, text) = told();
        assert!(fails && text.contains("istio-cni"), "{text}");
        let agent = UnixListener::bind(&admin).expect("an agent");
        assert!(!told().0, "{}", told().1);
        drop((agent, listener));
        fs::remove_file(&admin).expect("removed");
        fs::remove_file(&socket).expect("removed");
        fs::write(&socket, "").expect("a file");
        let (fails, text) = told();
        assert!(fails && text.contains("not a socket"), "{text}");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn whoever_does_not_accept_is_not_waited_for() {
        let directory = std::env::temp_dir().join(format!("waysteer-full-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (path, admin) = (directory.join("z.sock"), directory.join("a.sock"));
        let address = SockAddr::unix(&path).expect("an address");
        let socket = || Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
        let listener = socket();
        listener.bind(&address).expect("bound");
        listener.listen(0).expect("listening");
        let waiting = socket();
        waiting.connect(&address).expect("in the backlog");
        let finding = finding(&path, &admin);
        assert!(finding.is_failure(), "{finding:?}");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
