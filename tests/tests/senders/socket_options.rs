//! What applications set on their sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use waysteer_common::abi::names::{MARK_MASK, RETURN_MARK, STEER_MARK, TUNNEL_MARK};
use waysteer_tests::dial::{Dial, disconnect};

use super::watched::{SECRET, SINK, Watched, transfer};

/// More than the buffers between client and server hold.
const BYTES: u64 = 24 << 20;

#[test]
fn a_mark_of_the_applications_own_keeps_its_other_bits() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let far = watched.pod("far", v6);
        for own in [0xabcd_e000, 0xabcd_e123, 0x7, STEER_MARK, RETURN_MARK] {
            let what = || format!("SO_MARK {own:#x} to {far}");
            let connection = Dial::new().mark(own).connect(client, far);
            let connection = connection.with_context(what)?;
            watched
                .ask_far(&connection.stream, far)
                .with_context(what)?;
            let mark = SockRef::from(&connection.stream.as_fd()).mark()?;
            ensure!(
                mark == own & !MARK_MASK | STEER_MARK,
                "{}: {mark:#x}",
                what()
            );
        }
        // What goes past the tunnel keeps all of it, but not ours.
        for own in [0xabcd_e123, STEER_MARK] {
            let to = watched.external(v6);
            let connection = Dial::new().mark(own).connect(client, to)?;
            ensure!(watched.ask(&connection.stream)?.server == "external");
            let mark = SockRef::from(&connection.stream.as_fd()).mark()?;
            let kept = if own == STEER_MARK { 0 } else { own };
            ensure!(mark == kept, "{own:#x} to {to}: {mark:#x}");
        }
    }
    Ok(())
}

#[test]
fn a_mark_that_is_changed_in_the_middle_of_a_transfer_leaks_nothing() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let to = SocketAddr::new(watched.bed.address("far", v6), SINK);
        for new in [0, 0x7, 0xabcd_e000, RETURN_MARK] {
            let returned = watched.action("guard_returned")?;
            let connection = Dial::new().connect(client, to)?;
            let socket = connection.stream.try_clone()?;
            transfer(&connection.stream, BYTES, || {
                Ok(SockRef::from(&socket).set_mark(new)?)
            })
            .with_context(|| format!("SO_MARK {new:#x} in a transfer to {to}"))?;
            watched.nothing_leaked(to)?;
            let now = watched.action("guard_returned")?;
            // The mark for answers leads to the tunnel too, by a rule of its own.
            ensure!(
                now > returned || new == RETURN_MARK,
                "SO_MARK {new:#x}: the guard saw nothing"
            );
        }
    }
    Ok(())
}

/// A guard that goes by who was heard last is not to be misled by the connection before.
#[test]
fn a_socket_that_went_past_the_tunnel_before_is_guarded_as_well() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let to = SocketAddr::new(watched.bed.address("far", v6), SINK);
        let stream = Dial::new().connect(client, watched.external(v6))?.stream;
        ensure!(watched.ask(&stream)?.server == "external");
        disconnect(&stream)?;
        SockRef::from(&stream).connect(&to.into())?;
        let returned = watched.action("guard_returned")?;
        let socket = stream.try_clone()?;
        transfer(&stream, BYTES, || Ok(SockRef::from(&socket).set_mark(0)?))
            .with_context(|| format!("without its mark to {to}"))?;
        watched.nothing_leaked(to)?;
        ensure!(watched.action("guard_returned")? > returned, "{to}");
    }
    Ok(())
}

#[test]
fn answers_whose_mark_is_taken_off_leak_nothing() -> Result<()> {
    let watched = Watched::new()?;
    for v6 in [false, true] {
        let own = SocketAddr::new(watched.bed.address("client", v6), 7070);
        let listener = watched
            .bed
            .pod("client")
            .netns
            .run(|| TcpListener::bind(own))?;
        let caller = Dial::new().connect(&watched.bed.pod("far").netns, own)?;
        let (accepted, from) = listener.accept()?;
        (&caller.stream).write_all(b"before")?;
        (&accepted).read_exact(&mut [0; 6])?;
        let returned = watched.action("guard_returned")?;
        SockRef::from(&accepted).set_mark(0)?;
        (&accepted).write_all(SECRET.as_bytes())?;
        let mut answer = vec![0; SECRET.len()];
        (&caller.stream).read_exact(&mut answer)?;
        ensure!(answer == SECRET.as_bytes());
        watched.nothing_leaked(from)?;
        ensure!(watched.action("guard_returned")? > returned, "{from}");
    }
    Ok(())
}

#[test]
fn binding_to_the_device_does_not_get_past_the_tunnel() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let far = watched.pod("far", v6);
        let connection = Dial::new().device("eth0").connect(client, far)?;
        watched.ask_far(&connection.stream, far)?;
        // Bound when it is connected: that it goes on is more than was promised.
        let connection = Dial::new()
            .timeout(Duration::from_secs(1))
            .connect(client, far)?;
        SockRef::from(&connection.stream).bind_device(Some(b"eth0"))?;
        let _ = watched.ask_secretly(&connection.stream);
        watched.nothing_leaked(far)?;
    }
    Ok(())
}

#[test]
fn a_source_of_the_applications_choice_is_kept() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        let far = watched.pod("far", v6);
        for port in [0, 40_123] {
            let source = SocketAddr::new(watched.bed.address("client", v6), port);
            let connection = Dial::new().source(source).connect(client, far)?;
            ensure!(connection.local.ip() == source.ip(), "{}", connection.local);
            ensure!(port == 0 || connection.local.port() == port);
            watched.ask_far(&connection.stream, far)?;
        }
    }
    Ok(())
}

#[test]
fn the_tunnels_mark_takes_privileges() -> Result<()> {
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    // Root in the node's user namespace may, and is trusted with it as the tunnel is.
    let far = watched.pod("far", false);
    let connection = Dial::new().mark(TUNNEL_MARK).connect(client, far)?;
    ensure!(watched.ask(&connection.stream)?.server == "far");
    let refused = client.run(|| -> Result<bool> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        // Capabilities are a thread's own, and this one ends here.
        without_privileges()?;
        Ok(socket.set_mark(TUNNEL_MARK).is_err())
    })?;
    ensure!(
        refused,
        "a process without privileges has set the tunnel's mark"
    );
    Ok(())
}

/// Gives up root for the calling thread only.
fn without_privileges() -> Result<()> {
    // SAFETY: the system call changes the calling thread's credentials only.
    let result = unsafe { nix::libc::syscall(nix::libc::SYS_setuid, 65_534) };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}
