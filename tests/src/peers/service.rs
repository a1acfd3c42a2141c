//! What the servers say.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use super::{Accepted, Service};
use crate::{bulk, http};

pub(super) fn serve(
    service: &Service,
    name: &str,
    stream: &TcpStream,
    accepted: Accepted,
) -> io::Result<()> {
    match service {
        Service::Echo => echo(stream),
        Service::Http => http::serve(stream, name, accepted),
        Service::Banner(banner) => {
            (&*stream).write_all(banner)?;
            echo(stream)
        }
        Service::Sink => {
            let checksum = bulk::receive(stream)?;
            (&*stream).write_all(&checksum.to_bytes())?;
            stream.shutdown(Shutdown::Write)
        }
        Service::Source(bytes) => {
            bulk::send(stream, *bytes)?;
            stream.shutdown(Shutdown::Write)?;
            // Closing with unread bytes would reset what is still under way.
            bulk::receive(stream).map(drop)
        }
    }
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let size = stream.read(&mut buffer)?;
        if size == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(buffer.get(..size).unwrap_or_default())?;
    }
}
