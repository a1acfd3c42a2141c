//! An application whose socket is gone without a word, as after a crash of its host: the kernel
//! answers in its place, to the tunnel and not to the client's address on the wire.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use waysteer_tests::bed::{Bed, Options};
use waysteer_tests::dial::Dial;
use waysteer_tests::load::Wire;

use super::PORT;

#[test]
fn the_client_of_a_socket_that_is_gone_is_told() -> Result<()> {
    let bed = Bed::new(&Options::default())?;
    let listener = bed
        .pod("server")
        .netns
        .run(|| TcpListener::bind(("::", PORT)))?;
    let wire = Wire::watch(&bed)?;
    for v6 in [false, true] {
        let to = SocketAddr::new(bed.address("server", v6), PORT);
        let dial = Dial::new().timeout(Duration::from_secs(10));
        let mut connection = dial.connect(&bed.pod("far").netns, to)?;
        let (mut accepted, _) = listener.accept()?;
        connection.stream.write_all(b"before")?;
        accepted.read_exact(&mut [0; 6])?;
        vanish(accepted).context("TCP_REPAIR")?;
        connection.stream.write_all(b"after")?;
        let answer = connection.stream.read(&mut [0; 1]);
        let told = match &answer {
            Ok(size) => *size == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        ensure!(told, "{to}: {answer:?}");
    }
    wire.ensure_clean()
}

/// Closes a socket of which the other end hears nothing.
fn vanish(stream: TcpStream) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a local of the size given, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
