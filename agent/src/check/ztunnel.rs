//! What is needed to have ztunnel as the tunnel.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::kernel::features::{Finding, Outcome};

const TAKEN: &str = "one agent a node: uninstall istio-cni's ambient mode, or give another tunnel.socket \
                     to one of them and to its ztunnel";

/// Looks whether the socket on which ztunnel is waited for can be had. `admin` is the agent's own.
pub(super) fn finding(socket: &Path, admin: &Path) -> Finding {
    let outcome = match look(socket) {
        Ok(Seen::Nothing(detail)) => Outcome::Works {
            detail: format!("{}: {detail}", socket.display()),
        },
        Ok(Seen::Server) if UnixStream::connect(admin).is_ok() => Outcome::Works {
            detail: format!("{}: the running agent's", socket.display()),
        },
        Ok(Seen::Server) => Outcome::Fails {
            reason: format!("{}: somebody else listens there", socket.display()),
        },
        Err(reason) => {
            let reason = format!("{}: {reason}", socket.display());
            let outcome = Outcome::Fails { reason };
            return Finding::new("ztunnel's socket", outcome)
                .or("mount the host's directory of it into the container");
        }
    };
    Finding::new("ztunnel's socket", outcome).or(TAKEN)
}

enum Seen {
    /// Nobody listens.
    Nothing(&'static str),
    Server,
}

fn look(path: &Path) -> Result<Seen, String> {
    match fs::metadata(path) {
        Ok(file) if !file.file_type().is_socket() => Err("not a socket".to_owned()),
        Ok(_) => connect(path),
        Err(error) if error.kind() == ErrorKind::NotFound => directory(path),
        Err(error) => Err(error.to_string()),
    }
}

/// Whoever listens hears of a connection that says nothing.
fn connect(path: &Path) -> Result<Seen, String> {
    let connected = Socket::new(Domain::UNIX, Type::SEQPACKET, None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match connected {
        Ok(()) => Ok(Seen::Server),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Ok(Seen::Nothing("left by an agent that is gone"))
        }
        // It listens, for another kind of socket.
        Err(error) if error.raw_os_error() == Some(nix::libc::EPROTOTYPE) => Ok(Seen::Server),
        Err(error) => Err(error.to_string()),
    }
}

fn directory(path: &Path) -> Result<Seen, String> {
    let above = path.ancestors().skip(1).find(|above| above.exists());
    let Some(above) = above.filter(|above| above.is_dir()) else {
        return Err("there is no directory for it".to_owned());
    };
    let status = nix::sys::statvfs::statvfs(above).map_err(|errno| errno.to_string())?;
    if status
        .flags()
        .contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
    {
        return Err(format!("{} is read-only", above.display()));
    }
    Ok(Seen::Nothing("will be made, ztunnel connects there"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

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
        fs::remove_file(&socket).expect("removed");
        fs::write(&socket, "").expect("a file");
        let (fails, text) = told();
        assert!(fails && text.contains("not a socket"), "{text}");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
