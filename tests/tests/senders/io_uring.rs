//! `connect()` without the system call.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use socket2::{Domain, SockAddr, Socket, Type};
use waysteer_tests::bed::{self, Bed};
use waysteer_tests::netns::NetNs;
use waysteer_tests::skip;

use super::watched::Watched;

const PATIENCE: Duration = Duration::from_secs(5);
const USER_DATA: u64 = 1;

#[test]
fn connections_of_io_uring_are_steered() -> Result<()> {
    if skip::without("io_uring", IoUring::new(2).is_ok())? {
        return Ok(());
    }
    let watched = Watched::new()?;
    let client = &watched.bed.pod("client").netns;
    for v6 in [false, true] {
        for to in [watched.pod("far", v6), Bed::service(bed::WEB, v6)] {
            let mark = watched.bed.mark()?;
            let stream = connect(client, to).with_context(|| format!("to {to}"))?;
            watched.ask_far(&stream, to)?;
            watched.is_steered(to, mark, true)?;
        }
        let stream = connect(client, watched.external(v6))?;
        ensure!(watched.ask(&stream)?.server == "external");
    }
    Ok(())
}

fn connect(netns: &NetNs, to: SocketAddr) -> Result<TcpStream> {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let address = SockAddr::from(to);
        let mut ring = IoUring::new(2)?;
        let entry = opcode::Connect::new(
            Fd(socket.as_raw_fd()),
            address.as_ptr().cast(),
            address.len(),
        )
        .build()
        .user_data(USER_DATA);
        // SAFETY: socket and address live until the completion below.
        unsafe { ring.submission().push(&entry) }?;
        ring.submit_and_wait(1)?;
        let completion = ring.completion().next().context("a completion")?;
        let result = completion.result();
        ensure!(
            result == 0,
            "{}",
            std::io::Error::from_raw_os_error(-result)
        );
        Ok(TcpStream::from(socket))
    })
}
