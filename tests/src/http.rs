//! As much HTTP/1.1 as the tests speak: requests without bodies, answers with a length.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde::{Deserialize, Serialize};

use crate::peers::Accepted;

/// What a server saw of a request; its answer's body, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server's name.
    pub server: String,
    /// The other end of its socket: the client, or whoever came for it.
    pub client: SocketAddr,
    pub local: SocketAddr,
    pub path: String,
    /// By lower-case name; the last of a name.
    pub headers: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as a server of ours wrote it.
    pub fn seen(&self) -> io::Result<Seen> {
        serde_json::from_slice(&self.body).map_err(io::Error::other)
    }
}

/// Asks and waits for the answer; the connection stays open.
pub fn get(stream: &TcpStream, host: &str, path: &str) -> io::Result<Response> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: waysteer\r\n\r\n");
    (&*stream).write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (first, headers) = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| malformed(&first))?;
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |length| length.parse());
    let mut body = vec![0; length.map_err(|_| malformed("content-length"))?];
    reader.read_exact(&mut body)?;
    Ok(Response {
        status,
        headers,
        body,
    })
}

/// Answers requests until the client has no more.
pub(crate) fn serve(stream: &TcpStream, name: &str, accepted: Accepted) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some((first, headers)) = read_head(&mut reader)? {
        let path = first.split(' ').nth(1).ok_or_else(|| malformed(&first))?;
        let seen = Seen {
            server: name.to_owned(),
            client: accepted.peer,
            local: accepted.local,
            path: path.to_owned(),
            headers,
        };
        let mut answer = serde_json::to_vec(&seen).map_err(io::Error::other)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        answer.splice(..0, head.into_bytes());
        (&*stream).write_all(&answer)?;
    }
    Ok(())
}

type Head = (String, BTreeMap<String, String>);

/// The first line and the headers; nothing where the stream is at its end.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first.trim_end().to_owned(), headers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(line))?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not HTTP/1.1: {what:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_up_to_the_empty_line() {
        let mut text: &[u8] = b"GET /a HTTP/1.1\r\nHost: b:80\r\nX-Via: c\r\n\r\nrest";
        let (first, headers) = read_head(&mut text)
            .expect("it reads")
            .expect("it is there");
        assert_eq!(first, "GET /a HTTP/1.1");
        assert_eq!(headers.get("host").map(String::as_str), Some("b:80"));
        assert_eq!(text, b"rest");
        assert!(read_head(&mut &b""[..]).expect("it reads").is_none());
        assert!(read_head(&mut &b"GET /a"[..]).is_err());
    }
}
