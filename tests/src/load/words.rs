//! What is said on a connection.
//!
//! Everything begins with a mark that tells what may be seen on a wire from what may not. A request
//! is a line, and so is its answer; a stream's words are of one size, and come back as they are.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::ways::Way;

pub(super) const SECRET: [u8; 4] = *b"ENCR";
const OPEN: [u8; 4] = *b"OPEN";
/// After the mark: a line follows, or words do.
const REQUEST: u8 = b'Q';
const STREAM: u8 = b'S';

/// A stream's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) [u8; 24]);

impl Word {
    pub(super) fn new(way: &Way, number: u64) -> Self {
        let mut word = [STREAM; 24];
        word[..4].copy_from_slice(&mark(way));
        word[8..16].copy_from_slice(&number.to_be_bytes());
        word[16..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Self(word)
    }
}

fn mark(way: &Way) -> [u8; 4] {
    if way.kind.is_secret() { SECRET } else { OPEN }
}

pub(super) async fn connect(way: &Way) -> Result<TcpStream, String> {
    let connected = TcpStream::connect(way.to).await;
    let stream = connected.map_err(|error| format!("connecting: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// One request on a connection of its own, from the SYN to both ends' FIN.
pub(super) async fn ask(way: &Way, number: u64) -> Result<(), String> {
    let mut stream = connect(way).await?;
    let request = format!("{} to {} from {}", number, way.to, way.server);
    let mut packet = Vec::from(mark(way));
    packet.push(REQUEST);
    packet.extend_from_slice(request.as_bytes());
    packet.push(b'\n');
    let sent = stream.write_all(&packet).await;
    sent.map_err(|error| format!("asking: {error}"))?;
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    let read = reader.read_line(&mut line).await;
    read.map_err(|error| format!("the answer: {error}"))?;
    let wanted = answer(way.server, way.seen_as, &request);
    if line != wanted {
        return Err(format!("{line:?}, not {wanted:?}"));
    }
    let end = async {
        stream.shutdown().await?;
        stream.read(&mut [0; 1]).await
    };
    match end.await {
        Ok(0) => Ok(()),
        other => Err(format!("at its end: {other:?}")),
    }
}

fn answer(server: &str, client: IpAddr, request: &str) -> String {
    format!("{server} saw {client} ask {request}\n")
}

/// The server's side of either.
pub(super) async fn serve(
    stream: &mut TcpStream,
    server: &str,
    client: SocketAddr,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    if head[4] == REQUEST {
        let mut line = String::new();
        let mut reader = BufReader::new(&mut *stream);
        reader.read_line(&mut line).await?;
        let answer = answer(server, client.ip().to_canonical(), line.trim_end());
        stream.write_all(answer.as_bytes()).await?;
    } else {
        stream.write_all(&head).await?;
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            size => stream.write_all(&buffer[..size]).await?,
        }
    }
}
